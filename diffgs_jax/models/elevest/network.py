"""The network of the elevest family: a vision transformer, and two heads on its class token.

    picture ► resize, normalise ► vision transformer ► class token ┬► which interval
                                                                   └► where in it, in degrees

Parameters are a plain nested dict; Flax NNX describes the modules only.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.models.bundles import Params
from diffgs_jax.models.elevest.config import ElevEstConfig
from diffgs_jax.models.layers import ExactMLP, VisionTransformer, initializers

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet, which pictures are normalised with."""

_WHITE = 0.02  # how far from white a pixel of the object is at least


class Elevations(NamedTuple):
    """What the network says of pictures.

    Attributes:
        logits: `[b, intervals]`.
        offset: `[b]`, from the beginning of the interval, degrees, as the head gives it: it may lie outside.
        interval: `[b]`, the likeliest.
        elevation: `[b]`, degrees above the object.
    """

    logits: Float[Array, "b intervals"]
    offset: Float[Array, "b"]
    interval: Int[Array, "b"]
    elevation: Float[Array, "b"]


class ElevationEstimator(nnx.Module):
    """The network of an `ElevEstConfig`."""

    def __init__(self, config: ElevEstConfig, *, rngs: nnx.Rngs):
        network, inits = config.network, initializers("gated")
        width, dtype = network.width, jnp.dtype(network.dtype)
        self.backbone = VisionTransformer(
            width=width,
            layers=network.layers,
            heads=network.heads,
            mlp_ratio=network.mlp_ratio,
            patch_size=network.patch_size,
            position_grid=network.position_grid,
            registers=network.registers,
            layer_scale=network.layer_scale,
            attention=network.attention,
            dtype=dtype,
            initializers=inits,
            rngs=rngs,
        )
        # The heads are small and their errors are degrees: always float32
        self.class_head = ExactMLP(width, width, config.intervals, dtype=jnp.float32, initializers=inits, rngs=rngs)
        self.offset_head = ExactMLP(width, width, 1, dtype=jnp.float32, initializers=inits, rngs=rngs)

    def __call__(
        self, images: Float[Array, "b h w 3"]
    ) -> tuple[Float[Array, "b n width"], Float[Array, "b intervals"], Float[Array, "b"]]:
        """Returns the features of all tokens, and what the heads make of the first."""
        features = self.backbone(images)
        return features, *self.heads(features[:, 0])

    def heads(self, features: Float[Array, "b width"]) -> tuple[Float[Array, "b intervals"], Float[Array, "b"]]:
        """Returns the logits of the intervals, and the offset in degrees as it is."""
        return self.class_head(features), self.offset_head(features)[:, 0]


@functools.lru_cache(maxsize=32)
def _graphdef(config: ElevEstConfig) -> nnx.GraphDef[ElevationEstimator]:
    return nnx.graphdef(nnx.eval_shape(lambda: ElevationEstimator(config, rngs=nnx.Rngs(0))))


def init_params(config: ElevEstConfig, key: PRNGKeyArray) -> Params:
    """Draws the parameters of a new network, whose offsets begin in the middle of the interval.

    Raises:
        UserError: if the config contradicts itself.
    """
    check_network(config)
    params = nnx.to_pure_dict(nnx.state(ElevationEstimator(config, rngs=nnx.Rngs(key)), nnx.Param))
    # Outside of the interval an offset has no gradient
    bias = params["offset_head"]["output"]["bias"]
    params["offset_head"]["output"]["bias"] = bias + interval_size(config) / 2
    return params


def param_shapes(config: ElevEstConfig) -> Params:
    """Returns what `init_params` would, as `jax.ShapeDtypeStruct`s and at no cost."""
    return jax.eval_shape(lambda: init_params(config, jax.random.key(0)))


def apply_network(
    config: ElevEstConfig, params: Params, images: Float[Array | np.ndarray, "b h w 3"]
) -> tuple[Float[Array, "b n width"], Elevations]:
    """Runs the network.

    Args:
        config: of the model.
        params: of `init_params` or a checkpoint.
        images: in [0, 1], on white, of any size.

    Returns:
        The features of the class token, the registers and the patches, and what the heads make of the first.
    """
    features, logits, offset = nnx.merge(_graphdef(config), params)(normalize(prepare(config, images)))
    return features, read_heads(config, logits, offset)


def apply_heads(config: ElevEstConfig, params: Params, features: Float[Array, "b width"]) -> Elevations:
    """Runs the heads alone, on features of class tokens."""
    return read_heads(config, *nnx.merge(_graphdef(config), params).heads(features))


def read_heads(config: ElevEstConfig, logits: Float[Array, "b intervals"], offset: Float[Array, "b"]) -> Elevations:
    """Returns the elevation in the likeliest interval; an offset outside of it is cut off there."""
    interval, size = jnp.argmax(logits, axis=-1), interval_size(config)
    elevation = config.lowest + size * interval + jnp.clip(offset, 0.0, size)
    return Elevations(logits, offset, interval, elevation)


def prepare(config: ElevEstConfig, images: Float[Array | np.ndarray, "b h w 3"]) -> Float[Array, "b r r 3"]:
    """Returns pictures of the resolution, squashed if they were no squares: bilinear with antialiasing."""
    images, size = jnp.asarray(images), config.resolution
    if config.foreground_ratio:
        return jax.vmap(functools.partial(_framed, size=size, ratio=config.foreground_ratio))(images)
    if images.shape[1:3] == (size, size):
        return images
    return jax.image.resize(images, (len(images), size, size, 3), "linear", antialias=True)


def normalize(images: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Returns colours less ImageNet's mean, over its standard deviation."""
    mean, deviation = (jnp.asarray(of, images.dtype)[None, None, None] for of in (MEAN, DEVIATION))
    return (images - mean) / deviation


def _framed(image: Float[Array, "h w 3"], *, size: int, ratio: float) -> Float[Array, "{size} {size} 3"]:
    """Returns a picture with what is not white in its middle; one that is all white stays so."""
    ink = 1.0 - image
    is_object = jnp.max(ink, axis=-1) > _WHITE
    spans = [_span(jnp.any(is_object, axis=axis)) for axis in (1, 0)]
    longest = jnp.maximum(jnp.maximum(spans[0][1], spans[1][1]), 1.0)
    scale = ratio * size / longest
    # Where a pixel x comes to lie: scale · x + translation, counted from the pixels' edges
    shift = jnp.stack([size / 2 - scale * middle for middle, _ in spans])
    scaled = jax.image.scale_and_translate(
        ink, (size, size, 3), (0, 1), jnp.stack([scale, scale]), shift, "linear", antialias=True
    )
    return 1.0 - scaled


def _span(present: Array) -> tuple[Array, Array]:
    """Returns the middle and the length of the span of pixels that are there; the whole axis if none is."""
    count = present.shape[0]
    first = jnp.argmax(present)
    end = count - jnp.argmax(present[::-1])
    return (first + end) / 2, (end - first).astype(jnp.float32)


def interval_size(config: ElevEstConfig) -> float:
    """Returns the size of an interval, degrees."""
    return (config.highest - config.lowest) / config.intervals


def check_network(config: ElevEstConfig) -> None:
    """Refuses settings that no network can have.

    Raises:
        UserError: naming the first such setting.
    """
    network = config.network
    problems = {
        f"network.heads {network.heads} does not divide network.width {network.width}": network.heads < 1
        or network.width % network.heads,
        f"network.layers {network.layers} is less than 1": network.layers < 1,
        f"resolution {config.resolution} is no multiple of network.patch_size {network.patch_size}": network.patch_size
        < 1
        or config.resolution < 1
        or config.resolution % network.patch_size,
        f"intervals {config.intervals} is less than 2": config.intervals < 2,
        f"lowest {config.lowest} and highest {config.highest} are no elevations, the lower first": not (
            -90 <= config.lowest < config.highest <= 90
        ),
        f"foreground_ratio {config.foreground_ratio} is not from 0 to 1": not 0 <= config.foreground_ratio <= 1,
        "network.attention cudnn needs network.dtype bfloat16": network.attention == "cudnn"
        and network.dtype != "bfloat16",
    }
    for problem, present in problems.items():
        if present:
            raise UserError(f"model: {problem}")
