"""The small network of variational score distillation: what a prior says, corrected towards the renderings themselves.

ProlificDreamer (Wang et al. 2023) fine-tunes low-rank parts of the prior; here three convolutions, which see the noisy
array and what the prior predicts and are told time and camera, correct that prediction. Their last kernel starts at
zero, so the corrected prior starts as the prior, as low-rank parts do, and training them takes no gradient of the
prior.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Num, PRNGKeyArray

from diffgs_jax.diffusion import Denoise, Prediction, Schedule, add_noise
from diffgs_jax.geometry import Cameras
from diffgs_jax.models.layers import sinusoidal_embedding

_TIMES = 32
"""Features of the timestep."""


class Adapter(NamedTuple):
    """The network's weights and what trains them.

    Attributes:
        params: nested dictionaries of arrays.
        moments: Adam's.
    """

    params: Any
    moments: Any


class _Correction(nnx.Module):
    """Three convolutions over images, with time and camera added to the features."""

    def __init__(self, channels: int, width: int, *, rngs: nnx.Rngs):
        self.first = nnx.Conv(2 * channels, width, (3, 3), rngs=rngs)
        self.told = nnx.Linear(_TIMES + 12, width, rngs=rngs)
        self.second = nnx.Conv(width, width, (3, 3), rngs=rngs)
        self.last = nnx.Conv(width, channels, (3, 3), kernel_init=jax.nn.initializers.zeros, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w seen"], told: Float[Array, "n k"]) -> Float[Array, "n h w c"]:
        hidden = jax.nn.silu(self.first(x) + self.told(told)[:, None, None])
        return self.last(jax.nn.silu(self.second(hidden)))


@functools.lru_cache(maxsize=32)
def _graphdef(channels: int, width: int) -> nnx.GraphDef[_Correction]:
    return nnx.graphdef(nnx.eval_shape(lambda: _Correction(channels, width, rngs=nnx.Rngs(0))))


def new_adapter(channels: int, width: int, key: PRNGKeyArray) -> Adapter:
    """Returns a network that corrects nothing yet.

    Args:
        channels: of the images that the prior diffuses.
        width: channels inside.
        key: of the weights.
    """
    params = nnx.to_pure_dict(nnx.state(_Correction(channels, width, rngs=nnx.Rngs(key)), nnx.Param))
    return Adapter(params, _adam().init(params))


def adapted(params: Any, plain: Denoise, cameras: Cameras, width: int) -> Denoise:
    """Returns a prior's denoiser with the correction of what it predicts.

    Args:
        params: of the network.
        plain: the prior, not guided. No gradient goes into it.
        cameras: of all images of the state, in order: `[b]` of `[b, h, w, c]`, `[b · v]` of `[b, v, h, w, c]`.
        width: channels inside.
    """
    poses = jnp.asarray(cameras.camera_to_world)[:, :3].reshape(-1, 12)

    def denoise(x: Float[Array, "b *shape"], t: Num[Array, "b"]) -> Prediction:
        images = x.reshape(-1, *x.shape[-3:])
        times = jnp.repeat(sinusoidal_embedding(t, _TIMES), len(images) // len(x), axis=0)
        network = nnx.merge(_graphdef(x.shape[-1], width), params)
        said = jax.lax.stop_gradient(plain(x, t).x0)
        seen = jnp.concatenate([images, said.reshape(images.shape)], axis=-1)
        correction = network(seen, jnp.concatenate([times, poses], axis=1)).reshape(x.shape)
        return Prediction(said + correction)

    return denoise


def trained(
    adapter: Adapter,
    plain: Denoise,
    schedule: Schedule,
    cameras: Cameras,
    x: Float[Array, "b *shape"],
    key: PRNGKeyArray,
    *,
    width: int,
    rate: float | Float[Array, ""],
) -> Adapter:
    """Takes one step of Adam on the squared error of the corrected prior on the noised renderings.

    Args:
        adapter: before.
        plain: the prior, not guided.
        schedule: of the prior.
        cameras: as for `adapted`.
        x: the state, without noise.
        key: of timesteps and noise.
        width: channels inside.
        rate: learning rate.
    """
    x = jax.lax.stop_gradient(x)
    of_time, of_noise = jax.random.split(key)
    rows = jax.random.randint(of_time, x.shape[:1], 0, schedule.steps)
    noise = jax.random.normal(of_noise, x.shape, x.dtype)
    x_t, told = add_noise(schedule, x, rows, noise), jnp.asarray(schedule.timesteps)[rows]

    def loss(params: Any) -> Array:
        return jnp.mean((adapted(params, plain, cameras, width)(x_t, told).x0 - x) ** 2)

    updates, moments = _adam().update(jax.grad(loss)(adapter.params), adapter.moments)
    params = jax.tree.map(lambda leaf, update: leaf - rate * update, adapter.params, updates)
    return Adapter(params, moments)


def _adam() -> optax.GradientTransformation:
    return optax.scale_by_adam()
