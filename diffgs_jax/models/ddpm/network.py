"""The network of the ddpm family: a U-Net told of the time and, if there are classes, of the class.

    timestep ► sinusoids ► MLP ─┐
    class ► embedding ──────────┴► SiLU ► every residual block
    noisy image in [−1, 1] ► U-Net ► prediction

Parameters are a plain nested dict; Flax NNX describes the modules only.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.models.bundles import (
    Params,
)
from diffgs_jax.models.ddpm.config import DDPMConfig
from diffgs_jax.models.layers import BlockSettings, TimestepEmbedding, UNet, draw_uniform, uniform_bounds


class NoisePredictor(nnx.Module):
    """The network of a `DDPMConfig`. Its condition has four times the channels of full resolution (Ho et al. 2020)."""

    def __init__(self, config: DDPMConfig, *, rngs: nnx.Rngs):
        unet, width, inits = config.network, 4 * config.network.channels, uniform_bounds()
        self.timestep = TimestepEmbedding(width, kind=config.network.time, initializers=inits, rngs=rngs)
        self.classes = (
            # One more stands for no class. The bound is that of unit variance.
            nnx.Embed(config.classes + 1, width, embedding_init=jax.nn.initializers.constant(3**0.5), rngs=rngs)
            if config.classes
            else None
        )
        self.unet = UNet(
            3,
            3,
            [unet.channels * multiplier for multiplier in unet.multipliers],
            unet.blocks,
            unet.attention_levels,
            BlockSettings(
                condition_width=width,
                injection=unet.injection,
                groups=unet.groups,
                head_width=unet.head_width,
                attention=unet.attention,
                dtype=jnp.dtype(unet.dtype),
                initializers=inits,
            ),
            rngs=rngs,
        )

    def __call__(
        self, x: Float[Array, "b h w 3"], timesteps: Num[Array, "b"], classes: Int[Array, "b"] | None
    ) -> Float[Array, "b h w 3"]:
        """Returns the prediction."""
        condition = self.timestep(timesteps)
        if self.classes is not None:
            assert classes is not None
            condition = condition + self.classes(classes)
        return self.unet(x, jax.nn.silu(condition))


@functools.lru_cache(maxsize=32)
def _graphdef(config: DDPMConfig) -> nnx.GraphDef[NoisePredictor]:
    return nnx.graphdef(nnx.eval_shape(lambda: NoisePredictor(config, rngs=nnx.Rngs(0))))


def init_params(config: DDPMConfig, key: PRNGKeyArray) -> Params:
    """Draws the parameters of a new network, whose output is zero.

    Raises:
        UserError: if the config contradicts itself.
    """
    check_network(config)
    return draw_uniform(nnx.to_pure_dict(nnx.state(NoisePredictor(config, rngs=nnx.Rngs(0)), nnx.Param)), key)


def param_shapes(config: DDPMConfig) -> Params:
    """Returns what `init_params` would, as `jax.ShapeDtypeStruct`s and at no cost."""
    return jax.eval_shape(lambda: init_params(config, jax.random.key(0)))


def apply_network(
    config: DDPMConfig,
    params: Params,
    x: Float[Array, "b h w 3"],
    timesteps: Num[Array, "b"],
    classes: Int[Array, "b"] | None,
) -> Float[Array, "b h w 3"]:
    """Runs the network.

    Args:
        config: of the model.
        params: of `init_params` or a checkpoint.
        x: noisy images; their clean ones are in [−1, 1].
        timesteps: of the noise, one for each image.
        classes: of `class_numbers`; None if there are no classes.
    """
    return nnx.merge(_graphdef(config), params)(x, timesteps, classes)


def check_network(config: DDPMConfig) -> None:
    """Refuses settings that no network can have.

    Raises:
        UserError: naming the first such setting.
    """
    network, levels = config.network, len(config.network.multipliers)
    widths = [network.channels * multiplier for multiplier in network.multipliers]
    ungrouped = [width for width in widths if width < 1 or width % network.groups]
    unsplit = [width for width in widths if width % max(width // network.head_width, 1)]
    problems = {
        "multipliers is empty": not network.multipliers,
        f"groups = {network.groups} does not divide {ungrouped}, of channels × multipliers": bool(ungrouped),
        f"heads of head_width = {network.head_width} do not divide {unsplit}, of channels × multipliers": bool(unsplit),
        f"attention_levels = {network.attention_levels} names levels other than 0 to {levels - 1}": not set(
            network.attention_levels
        )
        <= set(range(levels)),
        f"blocks = {network.blocks} is less than 1": network.blocks < 1,
        "attention = cudnn needs dtype = bfloat16": network.attention == "cudnn" and network.dtype != "bfloat16",
    }
    for problem, present in problems.items():
        if present:
            raise UserError(f"model.network: {problem}")
