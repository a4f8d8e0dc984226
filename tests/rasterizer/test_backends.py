"""Who renders: what `auto` takes, how a setting reaches the rasterizer, and what is said of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax import models
from diffgs_jax.commands.sample_options import SampleOptions
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import UserError
from diffgs_jax.evaluate import EvaluateOptions
from diffgs_jax.geometry import OBJECT, Views, orbit
from diffgs_jax.inference import load
from diffgs_jax.models import Renders
from diffgs_jax.models.ddpm import DDPMConfig
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, NetworkConfig
from diffgs_jax.rasterizer import backends, describe_backend, rendering, resolve_backend

TINY = DiffusionGSConfig(network=NetworkConfig(width=8, layers=1, heads=1, patch_size=4))


def test_auto_takes_kernels_only_where_they_are_proven(monkeypatch):
    kind = jax.devices()[0].device_kind
    assert resolve_backend("auto") == "xla"
    assert describe_backend("auto") == f"rendering by xla (auto, on {kind})"
    monkeypatch.setitem(backends.PROVEN, kind, "mosaic")
    assert resolve_backend("auto") == "mosaic"
    assert describe_backend("xla") == f"rendering by xla (on {kind})"


def test_what_cannot_run_here_is_refused():
    if jax.default_backend() != "cpu":
        pytest.skip("this device may run them")
    with pytest.raises(NotImplementedError, match=r"needs an NVIDIA GPU of compute capability 9.0 \(Hopper\)"):
        resolve_backend("mosaic")
    with pytest.raises(UserError, match="backend 'triton' needs an NVIDIA GPU"):
        load(backend="triton")


def test_the_setting_reaches_every_rendering_of_a_model(monkeypatch):
    """The denoiser's, the loss's and, by the requirements, whoever renders what a model made."""
    asked = []
    choose = rendering.choose_launcher

    def choose_and_note(backend):
        asked.append(backend)
        return choose("xla")

    monkeypatch.setattr(rendering, "choose_launcher", choose_and_note)
    module = models.family(TINY)
    assert isinstance(module, Renders)
    config = module.with_backend(TINY, "mosaic")
    assert config == dataclasses.replace(TINY, backend="mosaic")
    assert module.requirements(config).backend == "mosaic"

    cameras = jax.tree.map(lambda leaf: np.asarray(leaf)[None], orbit(np.asarray([0.0, 90.0])))
    images = jnp.zeros((1, 2, 8, 8, 3))
    views = Views(images, cameras, jnp.asarray([[True, False]]), jnp.full(1, OBJECT))

    def draw(params):
        record = jnp.zeros(1, jnp.int32)
        found, _ = module.loss(config, params, {}, models.Batch(views, views, record), jax.random.key(0), jnp.int32(9))
        condition = models.family(config).condition(
            config, params, {}, models.Request(8, views.domain, views, views.cameras)
        )
        denoise = module.denoiser(config, params, {}, condition)
        return found, denoise(jnp.zeros((1, 4, 8, 8, 3)), jnp.zeros(1)).x0

    jax.eval_shape(draw, jax.eval_shape(lambda: module.init(config, jax.random.key(0))))
    assert set(asked) == {"mosaic"}
    assert len(asked) >= 2


def test_command_lines_take_it(tmp_path):
    sample = parse_options(SampleOptions, ["--out", str(tmp_path), "--backend", "triton"], prog="sample")
    assert sample.backend == "triton"
    assert parse_options(EvaluateOptions, ["--out", str(tmp_path)], prog="evaluate").backend is None


def test_a_model_without_renderings_has_no_backend():
    assert not isinstance(models.family(DDPMConfig()), Renders)
