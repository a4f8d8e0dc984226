"""gsvae as a family: see `diffgs_jax.models.family` for what each function means."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.models.bundles import Cost, DataSettings, Frozen, Params, Purpose, Requirements
from diffgs_jax.models.capabilities import (
    MakesGrids,
)
from diffgs_jax.models.counting import parameter_count, product_flops, residual_bytes
from diffgs_jax.models.family import (
    family,
)
from diffgs_jax.models.gsvae import published
from diffgs_jax.models.gsvae.config import GSVAEConfig
from diffgs_jax.models.gsvae.loss import loss
from diffgs_jax.models.gsvae.network import (
    check_network,
    decode_raw,
    decode_tiny,
    encode_posterior,
    from_diffusion,
    init_params,
    param_shapes,
    side_multiple,
    to_diffusion,
)
from diffgs_jax.models.importing import (
    ImportedModel,
    ImportOptions,
    PublishedWeights,
    refuse_other_options,
    tensor_reader,
)
from diffgs_jax.models.losses import load_lpips
from diffgs_jax.models.stored import load_stored, stored_config

_IMAGE_CHANNELS = 3


def check(config: GSVAEConfig, data: DataSettings) -> None:
    """Refuses settings that contradict each other.

    Raises:
        UserError: naming them in one line.
    """
    check_network(config)
    multiple, channels = side_multiple(config), config.network.channels
    if config.reconstructor:
        if config.losses.perceptual:
            raise UserError("model.losses.perceptual is of images; renderings have the reconstructor's")
        if not pathlib.Path(config.reconstructor).exists():
            return  # settings can be read before the reconstructor is trained; `requirements` says that it is missing
        model = _reconstructor_config(config)
        family(model).check(model, data)
        *_, height, width, made = _grid_shape(model, data)
        if channels != made:
            raise UserError(f"model.network.channels {channels} must be {made}, the grids' of {config.reconstructor}")
        if height % multiple or width % multiple:
            raise UserError(
                f"the grids of {config.reconstructor} have sides of {height} and {width}, which must be multiples of "
                f"{multiple}: model.network.widths halves them {len(config.network.widths) - 1} times"
            )
        return
    if channels != _IMAGE_CHANNELS:
        raise UserError(
            f"model.network.channels {channels} are no image's; name the checkpoint that makes grids with "
            "model.reconstructor, or give 3"
        )
    if data.resolution % multiple:
        raise UserError(f"data.resolution {data.resolution} must be a multiple of {multiple}")
    if data.condition_views or data.novel_views:
        raise UserError(
            f"data.condition_views {data.condition_views} and data.novel_views {data.novel_views} must be 0: an "
            "autoencoder of images learns from data.noisy_views alone"
        )


def requirements(config: GSVAEConfig) -> Requirements:
    """Returns what the family needs of data and requests: what its reconstructor needs, if it has one.

    Raises:
        UserError: if the reconstructor's checkpoint is not there.
        DataError: if it cannot be read.
    """
    if not config.reconstructor:
        return Requirements(makes="nothing", image_multiple=side_multiple(config), domains=("object", "scene"))
    model = _reconstructor_config(config)
    return dataclasses.replace(family(model).requirements(model), makes="nothing")


def init(config: GSVAEConfig, key: PRNGKeyArray) -> Params:
    """Returns fresh weights, nested dictionaries of float32 arrays."""
    return init_params(config, key)


def load_frozen(config: GSVAEConfig, purpose: Purpose) -> Frozen:
    """Loads the reconstructor for training on its grids, `lpips` for a perceptual term; nothing for sampling.

    Raises:
        UserError: if they are not there, or the checkpoint makes no grids.
        DataError: if they cannot be read.
    """
    if purpose == "sampling":
        return {}
    if config.reconstructor:
        _reconstructor_config(config)
        return {"reconstructor": load_stored(config.reconstructor, purpose)}
    return {"lpips": load_lpips("vgg")} if config.losses.perceptual else {}


def cost(config: GSVAEConfig, data: DataSettings) -> Cost:
    """Returns the cost of one sample, counted in the network's own program; the reconstructor's is not in it."""
    params = param_shapes(config)
    shape = (data.noisy_views, data.resolution, data.resolution, _IMAGE_CHANNELS)
    if config.reconstructor:
        shape = _grid_shape(_reconstructor_config(config), data)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)

    def run(params: Params, x: Array) -> Array:
        mean = encode_posterior(config, params, x).mean
        if config.stage == "autoencoder":
            return decode_raw(config, params, mean)
        return decode_tiny(config, params, jax.lax.stop_gradient(mean))

    multiple = side_multiple(config)
    return Cost(
        parameters=parameter_count(params),
        forward_flops=product_flops(run, params, x),
        activation_bytes=residual_bytes(run, params, x),
        counts={
            "grids" if config.reconstructor else "images": shape[0],
            "latent pixels": shape[0] * (shape[1] // multiple) * (shape[2] // multiple),
        },
    )


def is_hidden_matrix(path: tuple[str, ...]) -> bool:
    """Tells whether a leaf is a matrix inside: attention's, a skip's; never a convolution."""
    return path[-1] == "kernel" and path[-2] in ("qkv", "projection", "skip")


def is_trained(config: GSVAEConfig, path: tuple[str, ...]) -> bool:
    """Tells whether a leaf is what the stage trains."""
    return path[0] == config.stage


def in_low_memory(config: GSVAEConfig, params: Params) -> tuple[GSVAEConfig, Params]:
    """Returns the settings and weights of the same model in bfloat16: half the memory, fewer digits."""
    network = dataclasses.replace(config.network, dtype="bfloat16")
    return dataclasses.replace(config, network=network), jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)


def encode(config: GSVAEConfig, params: Params, x: Float[Array, "b h w c"]) -> Float[Array, "b hl wl cl"]:
    """Returns the likeliest latents of grids or images in [−1, 1], shifted and scaled as diffusion knows them."""
    return to_diffusion(config, encode_posterior(config, params, jnp.asarray(x)).mean)


def decode_latents(config: GSVAEConfig, params: Params, latents: Float[Array, "b hl wl cl"]) -> Float[Array, "b h w c"]:
    """Returns the grids or images in [−1, 1] of such latents; quaternions are not of unit length again."""
    return jnp.clip(decode_raw(config, params, from_diffusion(config, jnp.asarray(latents))), -1.0, 1.0)


def decode_quickly(config: GSVAEConfig, params: Params, latents: Float[Array, "b hl wl cl"]) -> Float[Array, "b h w c"]:
    """Returns about the same by the tiny decoder, for losses on the way.

    Raises:
        UserError: if the model has none.
    """
    return jnp.clip(decode_tiny(config, params, jnp.asarray(latents)), -1.0, 1.0)


def recognizes(source: PublishedWeights) -> bool:
    """Tells whether published weights are an autoencoder's."""
    return source.tensors is not None and published.recognizes(list(source.tensors))


def import_published(source: PublishedWeights, options: ImportOptions) -> ImportedModel:
    """Returns DiffSplat's published autoencoder, or one of images from a folder of diffusers.

    Raises:
        UserError: if an option is wrong, or says nothing of these weights.
        DataError: if the weights are others, listing everything that is wrong with them.
    """
    assert source.tensors is not None
    refuse_other_options(options, {"channels", "base", "groups"}, source.path)
    tensors = published.adapted(source.tensors, channels=options.channels)
    base = options.base or ("sdxl" if "sdxl" in str(source.path) else None)
    config = published.read_config(tensors.shapes, source.described, base=base, groups=options.groups)
    network = dataclasses.replace(config.network, dtype=options.dtype)
    config = dataclasses.replace(config, network=network)
    shapes = param_shapes(config)
    is_image = network.channels == _IMAGE_CHANNELS
    of = "images" if is_image else f"{network.channels}-channel grids"
    given, noisy, novel = (0, 1, 0) if is_image else (4, 0, 4)
    return ImportedModel(
        config,
        shapes,
        tensor_reader(shapes, published.naming(config), tensors),
        f"autoencoder of {of} with latents of {network.latents} channels, scaled by {config.scaling_factor:g}, from "
        f"{tensors.source}",
        {"resolution": 256, "condition_views": given, "noisy_views": noisy, "novel_views": novel},
    )


def _reconstructor_config(config: GSVAEConfig) -> Any:
    """Returns the settings of the reconstructor.

    Raises:
        UserError: if its checkpoint is not there or makes no grids.
        DataError: if it cannot be read.
    """
    model = stored_config(config.reconstructor)
    if not isinstance(family(model), MakesGrids):
        raise UserError(f"model.reconstructor {config.reconstructor} is no model that makes splat grids")
    return model


def _grid_shape(model: Any, data: DataSettings) -> tuple[int, ...]:
    """Returns the shape of the grids of one sample."""
    return family(model).grid_shape(model, data.condition_views + data.noisy_views, data.resolution)


__all__ = [
    "check",
    "cost",
    "decode_latents",
    "decode_quickly",
    "encode",
    "import_published",
    "in_low_memory",
    "init",
    "is_hidden_matrix",
    "is_trained",
    "load_frozen",
    "loss",
    "recognizes",
    "requirements",
]
