"""A trained model made finer: every pixel-aligned Gaussian becomes four of half its size."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.errors import UserError
from diffgs_jax.models.diffusion_gs.config import DiffusionGSConfig


def split_gaussians(config: DiffusionGSConfig, params: dict[str, Any]) -> tuple[DiffusionGSConfig, dict[str, Any]]:
    """Halves a model's stride, so that it goes on learning with four times as many Gaussians.

    The four begin with what the one had: the same distance along rays of their own, colour, opacity and shape, half the
    scale. So the pictures change little, and only the last layer grows.

    Args:
        config: of the model; its stride is even.
        params: of `init_params` or a checkpoint.

    Raises:
        UserError: if the stride is odd.
    """
    network = config.network
    if network.stride % 2:
        raise UserError(f"Gaussians of stride {network.stride} cannot be split: the stride must be even")
    side = network.patch_size // network.stride

    def finer(kernel: Float[Array | np.ndarray, "width features"]) -> Float[Array, "width finer_features"]:
        cells = kernel.reshape(kernel.shape[0], side, side, -1)
        return jnp.repeat(jnp.repeat(cells, 2, axis=1), 2, axis=2).reshape(kernel.shape[0], -1)

    decoders = {}
    for domain, parts in params["decoders"].items():
        decoders[domain] = dict(parts)
        for name in {"patch", "color_skip"} & parts.keys():
            projection = {"kernel": finer(parts[name]["projection"]["kernel"])}
            decoders[domain][name] = parts[name] | {"projection": projection}
    split = dataclasses.replace(
        config,
        network=dataclasses.replace(network, stride=network.stride // 2),
        gaussians=dataclasses.replace(
            config.gaussians,
            scale_offset=config.gaussians.scale_offset - math.log(2),
            scale_limit=config.gaussians.scale_limit - math.log(2),
        ),
    )
    return split, params | {"decoders": decoders}
