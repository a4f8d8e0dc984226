"""A model family that only tests know: it shares no field with any other, and diffuses vectors."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np

from diffgs_jax.diffusion import Prediction, ScheduleConfig, add_noise, make_schedule
from diffgs_jax.errors import UserError
from diffgs_jax.models import Cost, Generated, Requirements, register
from diffgs_jax.models.generation import generate

LENGTH = 6


@dataclasses.dataclass(frozen=True)
class Spring:
    """How stiff it is."""

    stiffness: float = 0.5
    """In no unit."""


@dataclasses.dataclass(frozen=True)
class StubConfig:
    """Settings of the stub."""

    flavour: str = "plain"
    """What it tastes of."""
    units: int = 8
    """Hidden features."""
    spring: Spring = Spring()
    """Its spring."""


def check(config, data):
    if config.units < 1:
        raise UserError("model.units must be at least 1")


def requirements(config):
    return Requirements(makes="images", guided=True)


def init(config, key):
    first, second = jax.random.split(key)
    return {
        "inner": {"kernel": 0.1 * jax.random.normal(first, (LENGTH + 1, config.units))},
        "outer": {"kernel": 0.1 * jax.random.normal(second, (config.units, LENGTH))},
    }


def load_frozen(config, purpose):
    return {"offset": np.full(LENGTH, config.spring.stiffness, np.float32)}


def is_hidden_matrix(path):
    return False


def in_low_memory(config, params):
    return config, params


def cost(config, data):
    return Cost(1, 2.0 * LENGTH * config.units, 4 * config.units, {"numbers": LENGTH})


def schedule(config):
    return make_schedule(ScheduleConfig(name="linear", steps=50))


def state_shape(config, request):
    return len(request.domain), LENGTH


def clean_state(config, params, frozen, batch):
    """The mean colour of the first view, twice."""
    color = jnp.mean(jnp.asarray(batch.inputs.images)[:, 0], axis=(1, 2))
    return jnp.concatenate([color, color], axis=-1)


def condition(config, params, frozen, request):
    return jnp.ones(len(request.domain))


def null_condition(config, params, frozen, request):
    return jnp.zeros(len(request.domain))


def _predict(params, frozen, x, given):
    hidden = jnp.tanh(jnp.concatenate([x, given[:, None]], axis=-1) @ params["inner"]["kernel"])
    return hidden @ params["outer"]["kernel"] + jnp.asarray(frozen["offset"])[None]


def denoiser(config, params, frozen, condition, *, views_at_once=0):
    return lambda x, t: Prediction(_predict(params, frozen, x, condition), None)


def decode(config, params, frozen, request, x, aux):
    colors = jnp.reshape(x[:, :3], (-1, 1, 1, 3))
    return Generated(images=jnp.broadcast_to(colors, (len(x), request.resolution, request.resolution, 3)))


def loss(config, params, frozen, batch, key, step):
    clean = clean_state(config, params, frozen, batch)
    noise = jax.random.normal(key, clean.shape)
    times = jax.random.randint(jax.random.fold_in(key, 1), clean.shape[:1], 0, 50)
    noisy = add_noise(schedule(config), clean, times, noise)
    value = jnp.mean((_predict(params, frozen, noisy, jnp.ones(len(clean))) - clean) ** 2)
    return value, {"loss": value}


__all__ = ["generate"]

register("stub", StubConfig, sys.modules[__name__])
