"""The networks of the gsvae family.

    grid or image ► encoder ► mean, log-variance ► latent ► decoder ► grid or image
                                                     └► (z − shift) · scale ► projection ► tiny decoder ► the same

Parameters are a plain nested dict; Flax NNX describes the modules only.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.models.bundles import Params
from diffgs_jax.models.gsvae.config import GSVAEConfig
from diffgs_jax.models.layers import (
    CodecDecoder,
    CodecEncoder,
    CodecSettings,
    TinyDecoder,
    draw_uniform,
    uniform_bounds,
)

_LEAST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE = -30.0, 20.0


class Posterior(NamedTuple):
    """The distribution of a latent: a normal one, its numbers independent.

    Attributes:
        mean: `[b, hl, wl, c]`.
        log_variance: likewise, in [−30, 20].
    """

    mean: Float[Array, "b hl wl c"]
    log_variance: Float[Array, "b hl wl c"]


class Autoencoder(nnx.Module):
    """Encoder and decoder of a `GSVAEConfig`."""

    def __init__(self, config: GSVAEConfig, *, rngs: nnx.Rngs):
        network = config.network
        settings = CodecSettings(network.groups, jnp.dtype(network.dtype), uniform_bounds())
        self.encoder = CodecEncoder(
            network.channels,
            network.latents,
            network.widths,
            network.blocks,
            last_projection=network.projections,
            settings=settings,
            rngs=rngs,
        )
        self.decoder = CodecDecoder(
            network.latents,
            network.channels,
            network.widths,
            network.blocks,
            first_projection=network.projections,
            settings=settings,
            rngs=rngs,
        )


class Networks(nnx.Module):
    """All that a `GSVAEConfig` has weights of."""

    def __init__(self, config: GSVAEConfig, *, rngs: nnx.Rngs):
        network = config.network
        self.autoencoder = Autoencoder(config, rngs=rngs)
        self.tiny_decoder = (
            TinyDecoder(
                network.latents,
                network.channels,
                config.tiny.width,
                config.tiny.blocks,
                len(network.widths) - 1,
                settings=CodecSettings(network.groups, jnp.dtype(network.dtype), uniform_bounds()),
                rngs=rngs,
            )
            if config.tiny.width
            else None
        )


@functools.lru_cache(maxsize=32)
def _graphdef(config: GSVAEConfig) -> nnx.GraphDef[Networks]:
    return nnx.graphdef(nnx.eval_shape(lambda: Networks(config, rngs=nnx.Rngs(0))))


def init_params(config: GSVAEConfig, key: PRNGKeyArray) -> Params:
    """Draws the parameters of a new network, whose decoded values are zero.

    Raises:
        UserError: if the config contradicts itself.
    """
    check_network(config)
    bounds = nnx.to_pure_dict(nnx.state(Networks(config, rngs=nnx.Rngs(0)), nnx.Param))
    params = draw_uniform(bounds, key)
    if config.tiny.width:
        # 2 y − 1 of what it ends with
        output = params["tiny_decoder"]["output"]
        output["bias"] = output["bias"] + 0.5
    return params


def param_shapes(config: GSVAEConfig) -> Params:
    """Returns what `init_params` would, as `jax.ShapeDtypeStruct`s and at no cost."""
    return jax.eval_shape(lambda: init_params(config, jax.random.key(0)))


def encode_posterior(config: GSVAEConfig, params: Params, x: Float[Array, "b h w c"]) -> Posterior:
    """Runs the encoder.

    Args:
        config: of the model.
        params: its weights.
        x: grids or images in [−1, 1]; their sides are multiples of `side_multiple`.

    Raises:
        UserError: if the channels or the sides are others.
    """
    multiple = side_multiple(config)
    if x.shape[-1] != config.network.channels:
        raise UserError(f"this autoencoder encodes {config.network.channels} channels, not {x.shape[-1]}")
    if x.shape[1] % multiple or x.shape[2] % multiple:
        raise UserError(f"this autoencoder encodes sides that are multiples of {multiple}, not {x.shape[1:3]}")
    moments = _networks(config, params).autoencoder.encoder(x)
    mean, log_variance = jnp.split(moments, 2, axis=-1)
    return Posterior(mean, jnp.clip(log_variance, _LEAST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE))


def draw(posterior: Posterior, key: PRNGKeyArray) -> Float[Array, "b hl wl c"]:
    """Returns a latent of each distribution."""
    noise = jax.random.normal(key, posterior.mean.shape, posterior.mean.dtype)
    return posterior.mean + jnp.exp(posterior.log_variance / 2) * noise


def divergence(posterior: Posterior) -> Float[Array, "b"]:
    """Returns the Kullback–Leibler divergence from the standard normal, summed over each latent's numbers."""
    variance = jnp.exp(posterior.log_variance)
    return 0.5 * jnp.sum(posterior.mean**2 + variance - 1 - posterior.log_variance, axis=(1, 2, 3))


def decode_raw(config: GSVAEConfig, params: Params, z: Float[Array, "b hl wl c"]) -> Float[Array, "b h w c2"]:
    """Runs the decoder on latents as the encoder gives them; what comes out is not clipped."""
    _check_latents(config, z)
    return _networks(config, params).autoencoder.decoder(z)


def decode_tiny(config: GSVAEConfig, params: Params, z: Float[Array, "b hl wl c"]) -> Float[Array, "b h w c2"]:
    """Runs the tiny decoder on latents as diffusion knows them; what comes out is not clipped.

    Raises:
        UserError: if the model has none.
    """
    _check_latents(config, z)
    networks = _networks(config, params)
    if networks.tiny_decoder is None:
        raise UserError("this autoencoder has no tiny decoder: model.tiny.width is 0")
    return networks.tiny_decoder(networks.autoencoder.decoder.project(z))


def to_diffusion(config: GSVAEConfig, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns latents as diffusion knows them: shifted, then scaled."""
    return config.scaling_factor * (z - config.shift_factor)


def from_diffusion(config: GSVAEConfig, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns latents as the encoder gives them: the inverse of `to_diffusion`."""
    return z / config.scaling_factor + config.shift_factor


def side_multiple(config: GSVAEConfig) -> int:
    """Returns what a latent's pixel is on a side, pixels of the grid or image."""
    return 2 ** (len(config.network.widths) - 1)


def _networks(config: GSVAEConfig, params: Params) -> Networks:
    return nnx.merge(_graphdef(config), params)


def _check_latents(config: GSVAEConfig, z: Float[Array, "b hl wl c"]) -> None:
    if z.shape[-1] != config.network.latents:
        raise UserError(
            f"these latents have {z.shape[-1]} channels, and this autoencoder's have {config.network.latents}: they "
            "are of another one"
        )


def check_network(config: GSVAEConfig) -> None:
    """Refuses settings that no network can have.

    Raises:
        UserError: naming the first such setting.
    """
    network = config.network
    ungrouped = [width for width in network.widths if width < 1 or network.groups < 1 or width % network.groups]
    problems = {
        "network.widths is empty": not network.widths,
        f"network.groups {network.groups} does not divide {ungrouped}, of network.widths": bool(ungrouped),
        f"network.blocks {network.blocks} is less than 1": network.blocks < 1,
        f"network.channels {network.channels} and network.latents {network.latents} are not 1 or more": min(
            network.channels, network.latents
        )
        < 1,
        f"tiny.blocks {config.tiny.blocks} or tiny.width {config.tiny.width} is too small": config.tiny.blocks < 1
        or config.tiny.width < 0,
        f"scaling_factor {config.scaling_factor} is not above 0": not config.scaling_factor > 0,
        "stage tiny_decoder trains what tiny.width 0 leaves out": config.stage == "tiny_decoder"
        and config.tiny.width == 0,
    }
    for problem, present in problems.items():
        if present:
            raise UserError(f"model: {problem}")
