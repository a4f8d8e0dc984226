"""The network of gsd: a transformer over the Gaussians of a set, equivariant under their permutations.

    14 numbers of each Gaussian ► linear ► DiT blocks (adaLN on timestep and class) ► norm ► linear ► 14 numbers

No token knows its place in the set, so whoever permutes the Gaussians permutes the output.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.models.gaussian_sets import CHANNELS
from diffgs_jax.models.gsd.config import GSDConfig
from diffgs_jax.models.layers import ScaleNorm, TimestepEmbedding, Trunk, initializers, modulate

Params = dict[str, Any]


class SetTransformer(nnx.Module):
    """The network of `SetNetworkConfig`."""

    def __init__(self, config: GSDConfig, *, rngs: nnx.Rngs):
        network, inits = config.network, initializers("gated")
        width = network.width
        self.embedding = nnx.Linear(CHANNELS, width, kernel_init=inits.linear, rngs=rngs)
        self.timestep = TimestepEmbedding(width, initializers=inits, rngs=rngs)
        if config.classes:  # the last row is for no class
            self.classes = nnx.Embed(config.classes + 1, width, embedding_init=inits.embedding, rngs=rngs)
        self.trunk = Trunk(
            width,
            network.layers,
            network.heads,
            network.mlp_ratio,
            modulation="shared",
            attention=network.attention,
            dtype=jnp.dtype(network.dtype),
            remat=network.remat,
            unroll=False,
            initializers=inits,
            rngs=rngs,
        )
        self.norm = ScaleNorm(width, rngs=rngs)
        self.modulation = nnx.Linear(width, 2 * width, kernel_init=inits.modulation, rngs=rngs)
        self.output = nnx.Linear(width, CHANNELS, kernel_init=inits.output, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b n 14"], timesteps: Num[Array, "b"], classes: Int[Array, "b"] | None
    ) -> Float[Array, "b n 14"]:
        """Returns what is predicted of each Gaussian."""
        condition = self.timestep(timesteps)
        if classes is not None:
            condition = condition + self.classes(classes)
        condition = jax.nn.silu(condition)
        tokens = self.trunk(self.embedding(x), condition)
        shift, scale = jnp.split(self.modulation(condition), 2, axis=-1)
        return self.output(modulate(self.norm(tokens), shift, scale))


@functools.lru_cache(maxsize=32)
def _graphdef(config: GSDConfig) -> nnx.GraphDef[SetTransformer]:
    return nnx.graphdef(nnx.eval_shape(lambda: SetTransformer(config, rngs=nnx.Rngs(0))))


def init_params(config: GSDConfig, key: PRNGKeyArray) -> Params:
    """Draws the parameters of a new model.

    Raises:
        UserError: if the config contradicts itself.
    """
    check_network(config)
    return nnx.to_pure_dict(nnx.state(SetTransformer(config, rngs=nnx.Rngs(key)), nnx.Param))


def param_shapes(config: GSDConfig) -> Params:
    """Returns what `init_params` would, as `jax.ShapeDtypeStruct`s and at no cost."""
    return jax.eval_shape(lambda: init_params(config, jax.random.key(0)))


def apply_network(
    config: GSDConfig,
    params: Params,
    x: Float[Array, "b n 14"],
    timesteps: Num[Array, "b"],
    classes: Int[Array, "b"] | None,
) -> Float[Array, "b n 14"]:
    """Runs the network.

    Args:
        config: of the model.
        params: of `init_params` or a checkpoint.
        x: noisy sets, in normalised numbers.
        timesteps: of the noise, one for each set.
        classes: of `class_numbers`; None if there are no classes.
    """
    return nnx.merge(_graphdef(config), params)(x, timesteps, classes)


def check_network(config: GSDConfig) -> None:
    """Refuses settings that no network can have.

    Raises:
        UserError: naming the first such setting.
    """
    network, statistics = config.network, config.statistics
    problems = {
        f"network.heads = {network.heads} does not divide width = {network.width}": network.width % network.heads,
        "network.attention = cudnn needs dtype = bfloat16": network.attention == "cudnn"
        and network.dtype != "bfloat16",
        f"gaussians = {config.gaussians} is less than 1": config.gaussians < 1,
        f"statistics has {len(statistics.mean)} means and {len(statistics.std)} deviations, not {CHANNELS} each": (
            len(statistics.mean) != CHANNELS or len(statistics.std) != CHANNELS
        ),
        "statistics.std is not above 0 everywhere": min(statistics.std, default=0.0) <= 0,
        f"guidance.scale = {config.guidance.scale} is negative": config.guidance.scale < 0,
        f"clip_x0 = {config.clip_x0} is not above 0": config.clip_x0 <= 0,
    }
    for problem, present in problems.items():
        if present:
            raise UserError(f"model.{problem}")
