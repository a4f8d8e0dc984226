"""The network of the noisy_classifier family.

    timestep ► sinusoids ► MLP ► SiLU ► every residual block
    noisy image in [−1, 1] ► way down of a U-Net ► norm ► SiLU ► mean over pixels ► linear ► logits

Parameters are a plain nested dict; Flax NNX describes the modules only.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Num, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.models.bundles import Params
from diffgs_jax.models.layers import (
    BlockSettings,
    Downsample,
    TimestepEmbedding,
    UNetBlock,
    draw_uniform,
    uniform_bounds,
)
from diffgs_jax.models.layers.resnet import convolution
from diffgs_jax.models.noisy_classifier.config import NoisyClassifierConfig


class NoisyClassifier(nnx.Module):
    """The network of a `NoisyClassifierConfig`."""

    def __init__(self, config: NoisyClassifierConfig, *, rngs: nnx.Rngs):
        network, inits = config.network, uniform_bounds()
        settings = BlockSettings(
            condition_width=4 * network.channels,
            injection="shift",
            groups=network.groups,
            head_width=network.head_width,
            attention="xla",
            dtype=jnp.dtype(network.dtype),
            initializers=inits,
        )
        widths = [network.channels * multiplier for multiplier in network.multipliers]
        self.timestep = TimestepEmbedding(settings.condition_width, initializers=inits, rngs=rngs)
        self.input = convolution(3, widths[0], dtype=settings.dtype, kernel_init=inits.linear, rngs=rngs)
        stages = {}
        for level, (before, width) in enumerate(itertools.pairwise([widths[0], *widths])):
            inputs = [before] + [width] * network.blocks
            for number, pair in enumerate(itertools.pairwise(inputs)):
                attends = level in network.attention_levels
                stages[f"{level}_{number}"] = UNetBlock(*pair, attends, settings, rngs=rngs)
            if level < len(widths) - 1:
                stages[f"{level}_down"] = Downsample(width, settings, rngs=rngs)
        self.stages = nnx.Dict(stages)
        self.norm = nnx.GroupNorm(widths[-1], network.groups, epsilon=1e-5, rngs=rngs)
        self.output = nnx.Linear(widths[-1], config.classes, kernel_init=inits.output, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w 3"], timesteps: Num[Array, "b"]) -> Float[Array, "b classes"]:
        """Returns the logits, float32."""
        condition = jax.nn.silu(self.timestep(timesteps))
        x = self.input(x)
        for stage in self.stages.values():
            x = stage(x) if isinstance(stage, Downsample) else stage(x, condition)
        pooled = jnp.mean(jax.nn.silu(self.norm(x)), axis=(1, 2))
        return self.output(pooled).astype(jnp.float32)


@functools.lru_cache(maxsize=32)
def _graphdef(config: NoisyClassifierConfig) -> nnx.GraphDef[NoisyClassifier]:
    return nnx.graphdef(nnx.eval_shape(lambda: NoisyClassifier(config, rngs=nnx.Rngs(0))))


def init_params(config: NoisyClassifierConfig, key: PRNGKeyArray) -> Params:
    """Draws the parameters of a new network, to which all classes are alike.

    Raises:
        UserError: if the config contradicts itself.
    """
    check_network(config)
    return draw_uniform(nnx.to_pure_dict(nnx.state(NoisyClassifier(config, rngs=nnx.Rngs(0)), nnx.Param)), key)


def param_shapes(config: NoisyClassifierConfig) -> Params:
    """Returns what `init_params` would, as `jax.ShapeDtypeStruct`s and at no cost."""
    return jax.eval_shape(lambda: init_params(config, jax.random.key(0)))


def apply_network(
    config: NoisyClassifierConfig, params: Params, x: Float[Array, "b h w 3"], timesteps: Num[Array, "b"]
) -> Float[Array, "b classes"]:
    """Returns the logits of noisy images.

    Args:
        config: of the model.
        params: of `init_params` or a checkpoint.
        x: noisy images; their clean ones are in [−1, 1].
        timesteps: of the noise, one for each image.
    """
    return nnx.merge(_graphdef(config), params)(x, timesteps)


def check_network(config: NoisyClassifierConfig) -> None:
    """Refuses settings that no network can have.

    Raises:
        UserError: naming the first such setting.
    """
    network, levels = config.network, len(config.network.multipliers)
    widths = [network.channels * multiplier for multiplier in network.multipliers]
    problems = {
        "multipliers is empty": not network.multipliers,
        f"groups = {network.groups} does not divide all of {widths}, channels × multipliers": any(
            width < 1 or width % network.groups for width in widths
        ),
        f"heads of head_width = {network.head_width} do not divide all of {widths}, channels × multipliers": any(
            width % max(width // network.head_width, 1) for width in widths
        ),
        f"attention_levels = {network.attention_levels} names levels other than 0 to {levels - 1}": not set(
            network.attention_levels
        )
        <= set(range(levels)),
        f"blocks = {network.blocks} is less than 1": network.blocks < 1,
    }
    for problem, present in problems.items():
        if present:
            raise UserError(f"model.network: {problem}")
