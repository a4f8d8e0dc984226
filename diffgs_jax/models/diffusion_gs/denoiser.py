"""The DiffusionGS denoiser: posed views, some of them noisy, in; 3D Gaussians out (Cai et al., ICCV 2025).

    patches of [2·image − 1, ray embedding (, condition flag)] ─┐
    learned tokens of the free Gaussians ───────────────────────┴► norm ► DiT blocks ► decoders, one pair a domain
    timestep ► sinusoids ► MLP ► SiLU ► adaLN everywhere

Parameters are a plain nested dict. Flax NNX describes the modules only: `init_params` makes the dict, and the other
functions merge it with a graph definition that depends on nothing but the config.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int32, Num, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Gaussians, Views, embed_rays, mirror_cameras, mirror_gaussians, pixel_rays
from diffgs_jax.models.diffusion_gs.config import DiffusionGSConfig, NetworkConfig
from diffgs_jax.models.diffusion_gs.decoding import (
    RawGaussians,
    activate,
    decode,
    gaussian_channels,
    select_domain,
)
from diffgs_jax.models.layers import (
    Initializers,
    ScaleNorm,
    TimestepEmbedding,
    Trunk,
    initializers,
    modulate,
    patchify,
    unpatchify,
)

Params = dict[str, Any]
"""Nested dict of float32 arrays; what is trained, averaged, saved and sharded."""


class Decoder(nnx.Module):
    """Tokens to Gaussian channels: a norm modulated by the timestep and one linear layer, all in float32."""

    def __init__(self, width: int, features: int, *, initializers: Initializers, rngs: nnx.Rngs):
        self.norm = ScaleNorm(width, rngs=rngs)
        self.modulation = nnx.Linear(width, 2 * width, kernel_init=initializers.modulation, rngs=rngs)
        self.projection = nnx.Linear(width, features, use_bias=False, kernel_init=initializers.output, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b n width"], condition: Float[Array, "b width"]
    ) -> Float[Array, "b n features"]:
        """Returns the channels of each token's Gaussians."""
        shift, scale = jnp.split(self.modulation(condition), 2, axis=-1)
        return self.projection(modulate(self.norm(x), shift, scale))


class DomainDecoder(nnx.Module):
    """The decoders of one domain: one for the free Gaussians' tokens, one for the patches."""

    def __init__(self, config: NetworkConfig, *, initializers: Initializers, rngs: nnx.Rngs):
        channels = gaussian_channels(config.sh_degree)
        self.in_patch = in_patch = (config.patch_size // config.stride) ** 2
        self.free = Decoder(config.width, config.free_per_token * channels, initializers=initializers, rngs=rngs)
        self.patch = Decoder(config.width, in_patch * channels, initializers=initializers, rngs=rngs)
        if config.color_skip:  # modules of its own, so that a network without one is the same network but for them
            closed = initializers._replace(output=jax.nn.initializers.zeros)
            self.color_skip = Decoder(config.width, in_patch, initializers=closed, rngs=rngs)

    def pixels(
        self, patches: Float[Array, "b n width"], condition: Float[Array, "b width"]
    ) -> Float[Array, "b n pixels channels"]:
        """Returns the channels of the Gaussians of each patch's pixels; with a colour skip, its share comes last."""
        channels = self.patch(patches, condition).reshape(*patches.shape[:2], self.in_patch, -1)
        if not hasattr(self, "color_skip"):
            return channels
        return jnp.concatenate([channels, self.color_skip(patches, condition)[..., None]], axis=-1)


class Denoiser(nnx.Module):
    """The transformer of `NetworkConfig`."""

    def __init__(self, config: NetworkConfig, *, rngs: nnx.Rngs):
        inits = initializers(config.initialization)
        channels = 3 + 6 + config.condition_channel
        self.config = config
        self.tokenizer = nnx.Linear(
            config.patch_size**2 * channels, config.width, use_bias=False, kernel_init=inits.linear, rngs=rngs
        )
        self.free_count = config.free_gaussians // config.free_per_token
        self.free_tokens = nnx.Param(inits.embedding(rngs.params(), (self.free_count, config.width), jnp.float32))
        self.norm = ScaleNorm(config.width, rngs=rngs)
        self.timestep = TimestepEmbedding(config.width, initializers=inits, rngs=rngs)
        self.trunk = Trunk(
            config.width,
            config.layers,
            config.heads,
            config.mlp_ratio,
            modulation=config.modulation,
            attention=config.attention,
            dtype=jnp.dtype(config.dtype),
            remat=config.remat,
            remat_keeps=config.remat_keeps,
            unroll=config.unroll,
            initializers=inits,
            rngs=rngs,
        )
        self.decoders = nnx.Dict(
            {name: DomainDecoder(config, initializers=inits, rngs=rngs) for name in config.domains}
        )

    def __call__(
        self,
        images: Float[Array, "b v h w c"],
        timesteps: Num[Array | np.ndarray, "b"],
        domain: Int32[Array | np.ndarray, "b"],
    ) -> tuple[Float[Array, "b f channels"], Float[Array, "b v rows columns pixel_channels"]]:
        """Returns the channels of the free Gaussians and of each pixel of the Gaussians' grid (see `DomainDecoder`).

        Args:
            images: everything known of a pixel, channels last.
            timesteps: of each sample.
            domain: of each sample; selects its decoder.
        """
        config = self.config
        batch, views, height, width, _ = images.shape
        condition = jax.nn.silu(self.timestep(timesteps))
        patches = self.tokenizer(patchify(images, config.patch_size).reshape(batch, -1, self.tokenizer.in_features))
        free = jnp.broadcast_to(self.free_tokens[...][None], (batch, self.free_count, config.width))
        tokens = self.norm(jnp.concatenate([free, patches], axis=1))
        tokens = self.trunk(tokens, condition)
        free, patches = tokens[:, : self.free_count], tokens[:, self.free_count :]
        domain = jnp.asarray(domain)
        free = select_domain({name: one.free(free, condition) for name, one in self.decoders.items()}, domain)
        free = free.reshape(batch, config.free_gaussians, gaussian_channels(config.sh_degree))
        patches = select_domain({name: one.pixels(patches, condition) for name, one in self.decoders.items()}, domain)
        pixels = unpatchify(
            patches.reshape(batch, views, -1, patches.shape[-2] * patches.shape[-1]),
            config.patch_size // config.stride,
            height // config.stride,
            width // config.stride,
        )
        return free, pixels


@functools.lru_cache(maxsize=32)
def _graphdef(config: NetworkConfig) -> nnx.GraphDef[Denoiser]:
    return nnx.graphdef(nnx.eval_shape(lambda: Denoiser(config, rngs=nnx.Rngs(0))))


def init_params(config: DiffusionGSConfig, key: PRNGKeyArray) -> Params:
    """Draws the parameters of a new model.

    With `initialization="gated"` (see `diffgs_jax.models.layers.initializers`) an untrained model already gives
    a sensible cloud: pixel-aligned Gaussians at the middle of their distance law, scales near exp(scale_offset),
    opacities near σ(opacity_offset) and colours near mid grey, with a relative spread of about 0.1.

    Args:
        config: of the model; see `check_network` for what makes one invalid.
        key: a typed or raw JAX random key.

    Raises:
        UserError: if the config contradicts itself.
    """
    check_network(config.network)
    return nnx.to_pure_dict(nnx.state(Denoiser(config.network, rngs=nnx.Rngs(key)), nnx.Param))


def check_network(config: NetworkConfig) -> None:
    """Refuses settings that no network can have.

    Raises:
        UserError: naming the first such setting.
    """
    problems = {
        f"heads = {config.heads} does not divide width = {config.width}": config.width % config.heads,
        f"stride = {config.stride} does not divide patch_size = {config.patch_size}": config.patch_size % config.stride,
        f"free_per_token = {config.free_per_token} does not divide free_gaussians = {config.free_gaussians}": (
            config.free_per_token < 1 or config.free_gaussians % config.free_per_token
        ),
        f"sh_degree = {config.sh_degree} is not in 0 to 3": not 0 <= config.sh_degree <= 3,
        "attention = cudnn needs dtype = bfloat16": config.attention == "cudnn" and config.dtype != "bfloat16",
        "domains is empty or names one twice": not config.domains or len(set(config.domains)) < len(config.domains),
    }
    for problem, present in problems.items():
        if present:
            raise UserError(f"model.network: {problem}")


def param_shapes(config: DiffusionGSConfig) -> Params:
    """Returns what `init_params` would, as `jax.ShapeDtypeStruct`s and at no cost."""
    return jax.eval_shape(lambda: init_params(config, jax.random.key(0)))


def raw_gaussians(
    config: DiffusionGSConfig, params: Params, views: Views, timesteps: Num[Array | np.ndarray, "b"]
) -> RawGaussians:
    """Runs the network and returns its Gaussians before exp, sigmoid, normalisation and clipping, in its own world.

    Under `mirrored_world` that is the mirror image of everyone else's, cameras included.

    Args:
        config: of the model.
        params: of `init_params`, a checkpoint or an importer.
        views: what the network is given: `images` clean where `is_condition` and noised elsewhere, in [0, 1] up to
            noise. `alphas` are not read.
        timesteps: of the noise, one for each sample, in [0, 1000).

    Returns:
        n = free_gaussians + v · (h / stride) · (w / stride) Gaussians: free ones first, then (view, row, column).

    Raises:
        ValueError: if the patch size does not divide the images.
    """
    network = config.network
    images = jnp.asarray(views.images, jnp.float32)
    _, _, height, width, _ = images.shape
    channels = [2 * images - 1, embed_rays(pixel_rays(views.cameras, height, width), network.ray_embedding)]
    if network.condition_channel:
        flag = jnp.asarray(views.is_condition, jnp.float32)[:, :, None, None, None]
        channels.append(jnp.broadcast_to(flag, (*images.shape[:-1], 1)))
    model = nnx.merge(_graphdef(network), params)
    free, pixels = model(jnp.concatenate(channels, axis=-1), timesteps, views.domain)
    rays = pixel_rays(views.cameras, height // network.stride, width // network.stride)
    return decode(network, config.gaussians, free, pixels, rays, views.domain, _pooled(images, network.stride))


def _pooled(images: Float[Array, "b v h w 3"], stride: int) -> Float[Array, "b v rows columns 3"]:
    """Returns the mean colour of each square of stride × stride pixels."""
    batch, views, height, width, _ = images.shape
    squares = images.reshape(batch, views, height // stride, stride, width // stride, stride, 3)
    return jnp.mean(squares, axis=(3, 5))


def predict_gaussians(
    config: DiffusionGSConfig,
    params: Params,
    views: Views,
    timesteps: Num[Array | np.ndarray, "b"],
    *,
    training: bool = False,
) -> Gaussians:
    """Runs the network and returns Gaussians ready to render, in the order of `raw_gaussians`.

    Args:
        config: of the model.
        params: of `init_params`, a checkpoint or an importer.
        views: what the network is given, as for `raw_gaussians`.
        timesteps: of the noise, one for each sample, in [0, 1000).
        training: clip the means of objects to [−1, 1]³ if the config says so.
    """
    if config.mirrored_world:
        views = views._replace(cameras=mirror_cameras(views.cameras))
    raw = raw_gaussians(config, params, views, timesteps)
    gaussians = activate(raw, config.gaussians, views.domain, training=training)
    return mirror_gaussians(gaussians) if config.mirrored_world else gaussians
