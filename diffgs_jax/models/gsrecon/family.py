"""gsrecon as a family: see `diffgs_jax.models.family` for what each function means."""

import dataclasses
import functools
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras, Gaussians, Views
from diffgs_jax.models.bundles import (
    Cost,
    DataSettings,
    Frozen,
    Generated,
    MapName,
    Params,
    Progress,
    Purpose,
    Request,
    Requirements,
    Sampling,
)
from diffgs_jax.models.counting import parameter_count, product_flops, residual_bytes
from diffgs_jax.models.gsrecon import published
from diffgs_jax.models.gsrecon.config import GSReconConfig
from diffgs_jax.models.gsrecon.frame import model_cameras, to_model_frame, turned_by_rebuilding
from diffgs_jax.models.gsrecon.inputs import (
    check_maps,
    gaussians_of_grids,
    grids_of_views,
    reconstruct,
    to_request_frame,
)
from diffgs_jax.models.gsrecon.losses import grid_loss, loss
from diffgs_jax.models.gsrecon.network import (
    apply_network,
    check_network,
    init_params,
    input_channels,
    param_shapes,
)
from diffgs_jax.models.importing import (
    ImportedModel,
    ImportOptions,
    PublishedWeights,
    refuse_other_options,
    tensor_reader,
)
from diffgs_jax.models.losses import load_lpips
from diffgs_jax.models.splat_grid import GRID_CHANNELS
from diffgs_jax.rasterizer import Backend

_MOST_TURNED = 2.0
"""Degrees that rebuilding may turn a camera without a word."""


def check(config: GSReconConfig, data: DataSettings) -> None:
    """Refuses settings that contradict each other.

    Raises:
        UserError: naming them in one line.
    """
    check_network(config.network)
    patch = config.network.patch_size
    if data.resolution % patch:
        raise UserError(f"data.resolution {data.resolution} must be a multiple of model.network.patch_size {patch}")
    if data.background != config.background:
        raise UserError(f"data.background {data.background} and model.background {config.background} must be equal")
    if data.condition_views != config.views or data.noisy_views:
        raise UserError(
            f"data.condition_views {data.condition_views} must be model.views {config.views} and data.noisy_views "
            f"{data.noisy_views} must be 0: this model is shown clean views only"
        )
    if not 0 < config.grid.smallest_scale < config.grid.largest_scale:
        raise UserError("model.grid.smallest_scale must be above 0 and below model.grid.largest_scale")
    if "metallic_roughness" in config.network.maps:
        raise UserError("model.network.maps asks for metallic_roughness, which records do not hold")


def requirements(config: GSReconConfig) -> Requirements:
    """Returns what the family needs of data and requests."""
    shown, losses = config.network.maps, config.losses
    maps: list[MapName] = []
    if "coordinates" in shown or losses.coordinates or losses.depth:
        maps.append("depth")
    if "normals" in shown or losses.normals:
        maps.append("normals")
    return Requirements(
        makes="gaussians",
        image_multiple=config.network.patch_size,
        background=config.background,
        maps=tuple(maps),
        condition_views=(config.views, config.views),
        backend=config.backend,
        rendering=config.rendering,
        seeded=False,
        upright=True,
    )


def init(config: GSReconConfig, key: PRNGKeyArray) -> Params:
    """Returns fresh weights, nested dictionaries of float32 arrays."""
    return init_params(config.network, key)


def load_frozen(config: GSReconConfig, purpose: Purpose) -> Frozen:
    """Loads `lpips` if training has a perceptual term, else nothing.

    Raises:
        UserError: if its weights were never fetched.
        DataError: if they are damaged.
    """
    losses = config.losses
    return {"lpips": load_lpips(losses.perceptual_network)} if losses.perceptual and purpose == "training" else {}


def cost(config: GSReconConfig, data: DataSettings) -> Cost:
    """Returns the cost of one sample, counted in the network's own program."""
    network, views, size = config.network, data.condition_views, data.resolution
    params = param_shapes(network)
    channels = jax.ShapeDtypeStruct((1, views, size, size, input_channels(network)), jnp.float32)
    run = functools.partial(apply_network, network)
    return Cost(
        parameters=parameter_count(params),
        forward_flops=product_flops(run, params, channels),
        activation_bytes=residual_bytes(run, params, channels),
        counts={
            "tokens": views * (size // network.patch_size) ** 2,
            "Gaussians": views * (size // network.stride) ** 2,
        },
    )


def is_hidden_matrix(path: tuple[str, ...]) -> bool:
    """Tells whether a leaf is a kernel of the stacked blocks."""
    return "blocks" in path and path[-1] == "kernel"


def in_low_memory(config: GSReconConfig, params: Params) -> tuple[GSReconConfig, Params]:
    """Returns the settings and weights of the same model with its blocks in bfloat16: half the memory, fewer digits."""
    network = dataclasses.replace(config.network, dtype="bfloat16")
    trunk = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params["trunk"])
    return dataclasses.replace(config, network=network), {**params, "trunk": trunk}


def with_backend(config: GSReconConfig, backend: Backend) -> GSReconConfig:
    """Returns the settings of the same model, rendered by `backend`."""
    return dataclasses.replace(config, backend=backend)


def recognizes(source: PublishedWeights) -> bool:
    """Tells whether published weights are a GSRecon's."""
    return source.tensors is not None and published.recognizes(list(source.tensors))


def import_published(source: PublishedWeights, options: ImportOptions) -> ImportedModel:
    """Returns DiffSplat's published reconstructor.

    Raises:
        UserError: if an option says nothing of these weights.
        DataError: if the weights are others, listing everything that is wrong with them.
    """
    assert source.tensors is not None
    refuse_other_options(options, {"head_dim"}, source.path)
    config = published.read_config(source.tensors.shapes, head_width=options.head_dim)
    attention = "cudnn" if options.dtype == "bfloat16" else "xla"
    network = dataclasses.replace(config.network, dtype=options.dtype, attention=attention)
    shapes = param_shapes(network)
    maps = f", {' and '.join(network.maps).replace('_', ' ')}" if network.maps else ""
    return ImportedModel(
        dataclasses.replace(config, network=network),
        shapes,
        tensor_reader(shapes, published.NAMING, source.tensors),
        f"reconstructor of {network.layers} layers of width {network.width}, of colours{maps} and rays, from "
        f"{source.tensors.source}",
        {
            "resolution": 256,
            "condition_views": config.views,
            "noisy_views": 0,
            "novel_views": 4,
        },
        {"filter": 0.0},
    )


def generate(
    config: GSReconConfig, params: Params, frozen: Frozen, request: Request, sampling: Sampling, keys: Key[Array, "b"]
) -> Iterator[Progress]:
    """Yields the Gaussians of the given views, in the request's frame; there is one step and nothing is drawn.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: not used.
        request: gives `config.views` views of each object, about the origin, z up.
        sampling: not used.
        keys: not used.

    Raises:
        UserError: if the views are not given, or not with the maps that the network is shown.
        DataError: if their depth cannot be that of these views.
    """
    if request.condition is None or request.condition.images.shape[1] != config.views:
        raise UserError(f"this model needs {config.views} posed views of the object")
    check_maps(config, request.condition)
    if config.frame.rebuilt:
        turned = float(turned_by_rebuilding(request.condition.cameras).max())
        if turned > _MOST_TURNED:
            print(
                f"warning: this model takes cameras to be upright and aimed at the object's centre; one of these is "
                f"{turned:.1f} degrees off, and its picture is used as if it were not",
                file=sys.stderr,
            )
    gaussians = _reconstruct(config, params, request.condition)
    yield Progress(1, 1, Generated(gaussians=gaussians, views=request.condition))


@functools.partial(jax.jit, static_argnums=0)
def _reconstruct(config: Any, params: Params, views: Any) -> Any:
    gaussians, similarity = reconstruct(config, params, views)
    return to_request_frame(gaussians, similarity)


def grid_shape(config: GSReconConfig, views: int, resolution: int) -> tuple[int, ...]:
    """Returns the shape of the grids of so many views of that height and width, pixels."""
    side = resolution // config.network.stride
    return views, side, side, GRID_CHANNELS


def grids(config: GSReconConfig, params: Params, frozen: Frozen, views: Views) -> Float[Array, "b v h w 12"]:
    """Returns the splat grids of views `[b, v]`, in the frame of a request and with the maps that it is shown."""
    return grids_of_views(config, params, views)


def grid_cameras(config: GSReconConfig, cameras: Cameras) -> Cameras:
    """Returns cameras `[b, v]` of the frame of a request in the world that the network knows."""
    return model_cameras(config.frame, to_model_frame(config.frame, cameras), cameras)


def grid_gaussians(config: GSReconConfig, grids: Float[Array, "b v h w 12"], cameras: Cameras) -> Gaussians:
    """Returns the Gaussians of the grids of cameras `[b, v]`, in the cameras' own frame."""
    return to_request_frame(*gaussians_of_grids(config, grids, cameras))


__all__ = [
    "check",
    "cost",
    "generate",
    "grid_cameras",
    "grid_gaussians",
    "grid_loss",
    "grid_shape",
    "grids",
    "in_low_memory",
    "import_published",
    "init",
    "is_hidden_matrix",
    "load_frozen",
    "loss",
    "recognizes",
    "requirements",
    "with_backend",
]
