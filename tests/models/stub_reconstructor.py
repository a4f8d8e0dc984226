"""A model family that only tests know: it makes grids of five channels of posed views, and renders them as they are."""

import dataclasses
import sys

import jax
import jax.numpy as jnp

from diffgs_jax.models import Cost, Requirements, register

CHANNELS = 5


@dataclasses.dataclass(frozen=True)
class StubGridsConfig:
    """Settings of the stub."""

    brightness: float = 1.0
    """What colours are multiplied with."""


def check(config, data):
    pass


def requirements(config):
    return Requirements(makes="gaussians", condition_views=(2, 2))


def init(config, key):
    return {"mix": {"kernel": jax.random.normal(key, (3, CHANNELS))}}


def load_frozen(config, purpose):
    return {}


def loss(config, params, frozen, batch, key, step):
    return grid_loss(config, frozen, grids(config, params, frozen, batch.inputs), batch, key, step)


def cost(config, data):
    return Cost(3 * CHANNELS, 1.0, 1, {"grids": 2})


def is_hidden_matrix(path):
    return False


def in_low_memory(config, params):
    return config, params


def grid_shape(config, views, resolution):
    return views, resolution, resolution, CHANNELS


def grids(config, params, frozen, views):
    return jnp.tanh(config.brightness * jnp.asarray(views.images) @ params["mix"]["kernel"])


def grid_cameras(config, cameras):
    return cameras


def grid_gaussians(config, grids, cameras):
    raise NotImplementedError("autoencoders do not place what they encode")


def grid_loss(config, frozen, grids, batch, key, step):
    value = jnp.mean((grids[..., :3] - jnp.asarray(batch.inputs.images)) ** 2)
    return value, {"loss": value, "image": value}


register("stub_grids", StubGridsConfig, sys.modules[__name__])
