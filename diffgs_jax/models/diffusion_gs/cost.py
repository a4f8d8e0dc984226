"""What a DiffusionGS network costs, counted from its settings."""

import math

import jax

from diffgs_jax.models.bundles import (
    Cost,
    DataSettings,
)
from diffgs_jax.models.diffusion_gs.config import DiffusionGSConfig
from diffgs_jax.models.diffusion_gs.decoding import gaussian_channels
from diffgs_jax.models.diffusion_gs.denoiser import param_shapes


def cost(config: DiffusionGSConfig, data: DataSettings) -> Cost:
    """Returns the cost of one sample; `activation_bytes` follows the network's kind of rematerialisation.

    Args:
        config: of the model.
        data: says how many views the network reads, and their size.
    """
    views, resolution = data.condition_views + data.noisy_views, data.resolution
    network = config.network
    width, patch = network.width, network.patch_size
    patches = views * (resolution // patch) ** 2
    tokens = patches + network.free_gaussians // network.free_per_token
    channels = gaussian_channels(network.sh_degree)
    per_token = (8 + 4 * network.mlp_ratio) * width**2 + 4 * tokens * width  # qkv, projection, MLP; scores and values
    modulations = network.layers if network.modulation == "block" else 1
    flops = network.layers * tokens * per_token
    flops += modulations * 12 * width**2
    flops += 2 * patches * patch**2 * (9 + network.condition_channel) * width
    flops += 2 * patches * (patch // network.stride) ** 2 * (channels + network.color_skip) * width
    flops += 2 * network.free_gaussians * channels * width
    number = 2 if network.dtype == "bfloat16" else 4
    kept = 9 + 2 * network.mlp_ratio  # vectors of a token that a block keeps
    if network.remat:  # its input; and with it queries, keys, values, projection, hidden layer and output
        kept = 6 + network.mlp_ratio if network.remat_keeps == "products" else 1
    scores = 0 if network.remat or network.attention == "cudnn" else 2 * network.heads * tokens
    return Cost(
        parameters=sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(param_shapes(config))),
        forward_flops=float(flops),
        activation_bytes=network.layers * tokens * (kept * width + scores) * number,
        counts={
            "tokens": tokens,
            "Gaussians": network.free_gaussians + views * (resolution // network.stride) ** 2,
        },
    )
