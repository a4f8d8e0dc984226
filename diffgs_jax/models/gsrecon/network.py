"""The network of the gsrecon family: patches of posed views to patches of their splat grids.

    patches of [2·colour − 1 (, 2·map − 1 …), ray] ► linear ► Llama blocks over the tokens of all views ► norm ► heads

Parameters are a plain nested dict; Flax NNX describes the modules only. There are no positions: rays tell tokens apart.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.models.bundles import Params
from diffgs_jax.models.gsrecon.config import ReconstructorConfig
from diffgs_jax.models.layers import LlamaTrunk, patchify, swiglu_width, unpatchify

HEADS = {"rgb": 3, "scale": 3, "rotation": 4, "opacity": 1, "depth": 1}
"""The heads in the order of a grid's channels, with how many each makes."""

MAP_CHANNELS = {"normals": 3, "coordinates": 3, "metallic_roughness": 2, "silhouettes": 3}
"""Channels of the maps a view may show."""

_EPSILON = 1e-5
_OPACITY_OFFSET = -2.0
_LEAST_NORM = 1e-12
_LEAST_COLOR = 0.01
"""Colours, coverage and places are kept so far from 0 and 1 before their logit is taken."""


class Reconstructor(nnx.Module):
    """The network of a `ReconstructorConfig`."""

    def __init__(self, config: ReconstructorConfig, *, rngs: nnx.Rngs):
        xavier, zeros = jax.nn.initializers.xavier_uniform(), jax.nn.initializers.zeros
        width, in_patch = config.width, (config.patch_size // config.stride) ** 2
        self.config = config
        self.embedding = nnx.Linear(config.patch_size**2 * input_channels(config), width, kernel_init=xavier, rngs=rngs)
        self.trunk = LlamaTrunk(
            width,
            config.layers,
            config.heads,
            config.hidden or swiglu_width(width),
            attention=config.attention,
            dtype=jnp.dtype(config.dtype),
            remat=config.remat,
            unroll=config.unroll,
            rngs=rngs,
        )
        self.norm = nnx.LayerNorm(width, epsilon=_EPSILON, use_fast_variance=False, rngs=rngs)
        # What starts at zero: a plane through the origin, of middling scale and faint; and with a skip, the pixel's
        # own colour.
        closed = {"depth", "scale", "opacity"} | ({"rgb"} if config.color_skip else set())
        self.heads = nnx.Dict(
            {
                name: nnx.Linear(
                    width,
                    in_patch * channels,
                    use_bias=False,
                    kernel_init=zeros if name in closed else xavier,
                    rngs=rngs,
                )
                for name, channels in HEADS.items()
            }
        )

    def __call__(self, channels: Float[Array, "b v h w c"]) -> dict[str, Float[Array, "b v rows columns _"]]:
        """Returns what each head says of each pixel of the grids, before any activation.

        Args:
            channels: everything known of a pixel, channels last.
        """
        config = self.config
        batch, views, height, width, _ = channels.shape
        tokens = self.embedding(patchify(channels, config.patch_size)).reshape(batch, -1, config.width)
        tokens = self.norm(self.trunk(tokens))
        sides = (size // config.stride for size in (config.patch_size, height, width))
        patch, rows, columns = sides
        return {
            name: unpatchify(head(tokens).reshape(batch, views, -1, head.out_features), patch, rows, columns)
            for name, head in self.heads.items()
        }


def input_channels(config: ReconstructorConfig) -> int:
    """Returns how many channels a pixel of the network's input has: colours, maps, a ray."""
    return 3 + sum(MAP_CHANNELS[name] for name in config.maps) + 6


@functools.lru_cache(maxsize=32)
def _graphdef(config: ReconstructorConfig) -> nnx.GraphDef[Reconstructor]:
    return nnx.graphdef(nnx.eval_shape(lambda: Reconstructor(config, rngs=nnx.Rngs(0))))


def init_params(config: ReconstructorConfig, key: PRNGKeyArray) -> Params:
    """Draws the parameters of a new network.

    Raises:
        UserError: if the config contradicts itself.
    """
    check_network(config)
    return nnx.to_pure_dict(nnx.state(Reconstructor(config, rngs=nnx.Rngs(key)), nnx.Param))


def param_shapes(config: ReconstructorConfig) -> Params:
    """Returns what `init_params` would, as `jax.ShapeDtypeStruct`s and at no cost."""
    return jax.eval_shape(lambda: init_params(config, jax.random.key(0)))


def apply_network(
    config: ReconstructorConfig, params: Params, channels: Float[Array, "b v h w c"]
) -> Float[Array, "b v rows columns 12"]:
    """Runs the network and returns splat grids, their quaternions of unit length (see `models/splat_grid.py`).

    Args:
        config: of the network.
        params: of `init_params` or a checkpoint.
        channels: `input_channels` of each pixel: colours and maps as 2x − 1, the colours first, rays last.
    """
    raw = nnx.merge(_graphdef(config), params)(channels)
    if config.color_skip:
        raw["rgb"] = raw["rgb"] + _logit(_pooled(channels[..., :3], config.stride) / 2 + 0.5)
    if config.hull_skip:
        before = config.maps[: config.maps.index("silhouettes")]
        first = 3 + sum(MAP_CHANNELS[name] for name in before)
        coverage, entry = (_pooled(channels[..., first + i, None], config.stride) / 2 + 0.5 for i in (0, 1))
        raw["opacity"] = raw["opacity"] + _logit(coverage) - _OPACITY_OFFSET
        raw["depth"] = raw["depth"] + _logit(entry)
    rotation = raw["rotation"]
    # The norm's slope is infinite at zero, where nothing but a dead network is.
    length = jnp.sqrt(jnp.maximum(jnp.sum(rotation**2, axis=-1, keepdims=True), _LEAST_NORM**2))
    activated = {
        "rgb": _bounded(raw["rgb"]),
        "scale": _bounded(raw["scale"]),
        "rotation": rotation / length,
        "opacity": _bounded(raw["opacity"] + _OPACITY_OFFSET),
        "depth": _bounded(raw["depth"]),
    }
    return jnp.concatenate([activated[name] for name in HEADS], axis=-1)


def _bounded(x: Array) -> Array:
    return 2 * jax.nn.sigmoid(x) - 1


def _logit(colors: Array) -> Array:
    colors = jnp.clip(colors, _LEAST_COLOR, 1 - _LEAST_COLOR)
    return jnp.log(colors) - jnp.log1p(-colors)


def _pooled(images: Float[Array, "b v h w c"], stride: int) -> Float[Array, "b v rows columns c"]:
    """Returns the mean of each square of stride × stride pixels."""
    batch, views, height, width, channels = images.shape
    squares = images.reshape(batch, views, height // stride, stride, width // stride, stride, channels)
    return jnp.mean(squares, axis=(3, 5))


def check_network(config: ReconstructorConfig) -> None:
    """Refuses settings that no network can have.

    Raises:
        UserError: naming the first such setting.
    """
    problems = {
        f"heads = {config.heads} does not divide width = {config.width}": config.width % config.heads,
        f"stride = {config.stride} does not divide patch_size = {config.patch_size}": config.patch_size % config.stride,
        f"layers = {config.layers} is less than 1": config.layers < 1,
        "maps names one twice": len(set(config.maps)) < len(config.maps),
        "hull_skip needs silhouettes in maps": config.hull_skip and "silhouettes" not in config.maps,
        "attention = cudnn needs dtype = bfloat16": config.attention == "cudnn" and config.dtype != "bfloat16",
    }
    for problem, present in problems.items():
        if present:
            raise UserError(f"model.network: {problem}")
