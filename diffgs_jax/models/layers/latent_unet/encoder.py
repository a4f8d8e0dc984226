"""The half of a latent U-Net that looks: what is told apart from the picture, the way down, and the middle.

A ControlNet is this half once more.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Num

from diffgs_jax.models.layers.embeddings import sinusoidal_embedding
from diffgs_jax.models.layers.initialization import uniform_bounds
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.models.layers.latent_unet.transformer import Transformer
from diffgs_jax.models.layers.resnet import BlockSettings, Downsample, ResNetBlock, Upsample, convolution

_SIZES = 6  # numbers that SDXL is told: height and width of the original, top and left of the crop, height and width


class AddedCondition(NamedTuple):
    """What SDXL is told beside the text's tokens.

    Attributes:
        pooled: the pooled text.
        sizes: height and width of the original picture, top and left of the crop, height and width wanted, in pixels.
    """

    pooled: Float[Array, "b pooled"]
    sizes: Num[Array, "b 6"]


class Looked(NamedTuple):
    """What the half leaves for the other one.

    Attributes:
        x: behind the middle.
        left: what goes to the way up, the finest first.
        condition: of the residual blocks, through its SiLU.
    """

    x: Float[Array, "views h w c"]
    left: list[Array]
    condition: Float[Array, "views condition"]


class Embedding(nnx.Module):
    """Two linear layers around a SiLU, in float32."""

    def __init__(self, inputs: int, width: int, settings: BlockSettings, *, rngs: nnx.Rngs):
        init = settings.initializers.embedding
        self.hidden = nnx.Linear(inputs, width, kernel_init=init, rngs=rngs)
        self.output = nnx.Linear(width, width, kernel_init=init, rngs=rngs)

    def __call__(self, x: Float[Array, "b inputs"]) -> Float[Array, "b width"]:
        """Returns one vector for each sample."""
        return self.output(jax.nn.silu(self.hidden(x)))


class Level(nnx.Module):
    """The blocks of one resolution, and what leads to the next one."""

    def __init__(
        self,
        widths: list[tuple[int, int]],
        depth: int,
        heads: int,
        resample: Downsample | Upsample | None,
        config: LatentUNetConfig,
        settings: BlockSettings,
        *,
        transformers: int | None = None,
        rngs: nnx.Rngs,
    ):
        """Draws the weights.

        Args:
            widths: channels before and behind each residual block.
            depth: of the transformers; 0 for none.
            heads: of theirs.
            resample: what leads on, None for nothing.
            config: of the network.
            settings: of all blocks.
            transformers: how many there are, each behind its residual block; behind all by default.
            rngs: randomness.
        """
        self.remat = config.remat
        self.residuals = nnx.Dict(
            {str(number): ResNetBlock(a, b, settings, rngs=rngs) for number, (a, b) in enumerate(widths)}
        )
        count = (len(widths) if transformers is None else transformers) if depth else 0
        self.transformers = nnx.Dict(
            {
                str(number): Transformer(
                    widths[number][1], config.text_width, depth, heads, settings, remat=config.remat, rngs=rngs
                )
                for number in range(count)
            }
        )
        self.resample = resample

    def block(
        self,
        number: int,
        x: Float[Array, "views h w inputs"],
        condition: Float[Array, "views condition"],
        text: Float[Array, "b m context"],
    ) -> Float[Array, "views h w outputs"]:
        """Runs one residual block, and the transformer behind it if there is one."""
        residual = self.residuals[str(number)]
        if self.remat:
            graphdef, state = nnx.split(residual)
            x = jax.checkpoint(lambda state, *inputs: nnx.merge(graphdef, state)(*inputs))(state, x, condition)
        else:
            x = residual(x, condition)
        return self.transformers[str(number)](x, text) if str(number) in self.transformers else x


def block_settings(config: LatentUNetConfig) -> BlockSettings:
    """Returns what all blocks of a network have in common; kernels are bounds for `draw_uniform`."""
    return BlockSettings(
        condition_width=4 * config.channels[0],
        injection="shift",
        groups=config.groups,
        head_width=1,  # of `AttentionBlock`, which such networks have none of
        attention=config.attention,
        dtype=jnp.dtype(config.dtype),
        initializers=uniform_bounds(),
    )


class UNetEncoder(nnx.Module):
    """Embeddings of the time and of sizes, the way down and the middle."""

    def __init__(self, config: LatentUNetConfig, settings: BlockSettings, *, rngs: nnx.Rngs):
        self.config = config
        channels, width = config.channels, settings.condition_width
        self.timestep = Embedding(channels[0], width, settings, rngs=rngs)
        told = config.pooled_width + _SIZES * config.size_features if config.size_features else 0
        self.added = Embedding(told, width, settings, rngs=rngs) if told else None
        kernel_init, last = settings.initializers.linear, len(channels) - 1
        self.input = convolution(config.inputs, channels[0], dtype=settings.dtype, kernel_init=kernel_init, rngs=rngs)
        down = {}
        for level, (before, after) in enumerate(itertools.pairwise([channels[0], *channels])):
            widths = list(itertools.pairwise([before] + [after] * config.blocks))
            resample = Downsample(after, settings, rngs=rngs) if level < last else None
            depth, heads = config.depths[level], config.heads[level]
            down[str(level)] = Level(widths, depth, heads, resample, config, settings, rngs=rngs)
        self.down = nnx.Dict(down)
        self.middle = Level(
            [(channels[-1], channels[-1])] * 2,
            config.middle_depth,
            config.heads[-1],
            None,
            config,
            settings,
            transformers=1,
            rngs=rngs,
        )

    def __call__(
        self,
        x: Float[Array, "b v h w inputs"],
        timesteps: Num[Array, "b"],
        text: Float[Array, "b m context"],
        added: AddedCondition | None,
        shift: Float[Array, "views h w c"] | None = None,
    ) -> Looked:
        """Looks at the views of objects.

        Args:
            x: the views.
            timesteps: of each object.
            text: of each object.
            added: of each object, where the network is told of sizes.
            shift: added to the first convolution's output: a ControlNet's picture.
        """
        batch, views, height, width, _ = x.shape
        multiple = 2 ** (len(self.config.channels) - 1)
        if height % multiple or width % multiple:
            raise ValueError(
                f"{len(self.config.channels)} levels need sides that {multiple} divides, not {x.shape[2:4]}"
            )
        condition = jnp.repeat(jax.nn.silu(self._condition(timesteps, added)), views, axis=0)
        x = self.input(x.reshape(batch * views, *x.shape[2:]))
        x = x if shift is None else x + shift.astype(x.dtype)
        left = [x]
        for number in range(len(self.config.channels)):
            level = self.down[str(number)]
            for block in range(self.config.blocks):
                x = level.block(block, x, condition, text)
                left.append(x)
            if level.resample is not None:
                x = level.resample(x)
                left.append(x)
        for block in range(2):
            x = self.middle.block(block, x, condition, text)
        return Looked(x, left, condition)

    def _condition(self, timesteps: Num[Array, "b"], added: AddedCondition | None) -> Float[Array, "b condition"]:
        condition = self.timestep(sinusoidal_embedding(timesteps, self.config.channels[0]))
        if self.added is None:
            return condition
        if added is None:
            raise ValueError("this network is told of the pooled text and of sizes")
        batch = len(timesteps)
        sizes = sinusoidal_embedding(added.sizes.reshape(-1), self.config.size_features).reshape(batch, -1)
        return condition + self.added(jnp.concatenate([added.pooled.astype(jnp.float32), sizes], axis=-1))
