"""Families that know the answer: what a prior says of any noisy array is what a test wants the array to be."""

import dataclasses
import sys
import types

import jax.numpy as jnp
import numpy as np
from known import known_splat

from diffgs_jax.diffusion import Prediction, ScheduleConfig, make_schedule
from diffgs_jax.geometry import Gaussians
from diffgs_jax.models import Cost, Requirements, Text, register
from diffgs_jax.rasterizer import render_dense

COLORS = jnp.asarray([[0.9, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.9], [0.5, 0.5, 0.5]])
"""Of classes 0, 1 and 2, and of no class."""
SPLAT = Gaussians(*(np.asarray(leaf)[None] for leaf in known_splat()))


@dataclasses.dataclass(frozen=True)
class KnownViewsConfig:
    """A prior of several views, all of the known splat."""

    unused: int = 0
    """Nothing."""


@dataclasses.dataclass(frozen=True)
class ColorsConfig:
    """A prior of single images of one colour, which the class names."""

    unused: int = 0
    """Nothing."""


def _family(name, needs, condition, denoiser, clean_state):
    module = types.ModuleType(name)
    module.check = lambda config, data: None
    module.requirements = lambda config: needs
    module.init = lambda config, key: {"nothing": jnp.zeros(1)}
    module.load_frozen = lambda config, purpose: {}
    module.loss = module.generate = module.decode = lambda *arguments: None
    module.cost = lambda config, data: Cost(1, 1.0, 1, {"images": 1})
    module.is_hidden_matrix = lambda path: False
    module.in_low_memory = lambda config, params: (config, params)
    module.schedule = lambda config: make_schedule(ScheduleConfig())
    module.state_shape = lambda config, request: (1, request.resolution, request.resolution, 3)
    module.clean_state, module.condition, module.denoiser = clean_state, condition, denoiser
    module.null_condition = lambda config, params, frozen, request: condition(
        config, params, frozen, dataclasses.replace(request, labels=None)
    )
    sys.modules[name] = module
    return module


def _views_state(config, params, frozen, batch):
    return batch.inputs.images


def _views_denoiser(config, params, frozen, cameras, *, views_at_once=0):
    def denoise(x, t):
        side = x.shape[2]
        return Prediction(render_dense(SPLAT, cameras, height=side, width=side, background=1.0).image)

    return denoise


def _color_condition(config, params, frozen, request):
    labels = jnp.full(len(request.domain), -1) if request.labels is None else request.labels
    return COLORS[labels]


def _color_denoiser(config, params, frozen, colors, *, views_at_once=0):
    return lambda x, t: Prediction(jnp.broadcast_to(colors[:, None, None], x.shape))


register(
    "known_views",
    KnownViewsConfig,
    _family(
        "known_views",
        Requirements(makes="gaussians", background=1.0, cameras=True),
        lambda config, params, frozen, request: request.cameras,
        _views_denoiser,
        _views_state,
    ),
)
register(
    "colors",
    ColorsConfig,
    _family(
        "colors",
        Requirements(
            makes="images",
            labels=True,
            guided=True,
            tokenize=lambda words: Text(jnp.zeros((len(words), 1), jnp.int32), jnp.ones((len(words), 1), bool)),
        ),
        _color_condition,
        _color_denoiser,
        lambda config, params, frozen, batch: jnp.asarray(batch.inputs.images)[:, 0],
    ),
)
