"""Whole runs of the published pipelines: prompts, given views, guidance and samplers together."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffsplat_golden import config_of, difference, golden, last, params_of

from diffgs_jax.diffusion import (
    classifier_free_guidance,
    make_schedule,
    sample,
    sampler_from_config,
    starting_later,
    triangle_scales,
)
from diffgs_jax.geometry import Cameras
from diffgs_jax.inference.blob import blob_image
from diffgs_jax.models.diffsplat.conditions import TextFeatures
from diffgs_jax.models.diffsplat.config import DropoutConfig
from diffgs_jax.models.diffsplat.family import denoiser, sampler_config
from diffgs_jax.models.diffsplat.inputs import Condition, network_input, ray_maps
from diffgs_jax.models.diffsplat.losses import kept_conditions
from diffgs_jax.models.diffsplat.presets import published_diffsplat

RUNS = {
    # name: network, kind, sampler, scale
    "sd_text_ddim": ("unet_sd15", "text", "ddim", 7.5),
    "sd_text_dpm": ("unet_sd15", "text", "dpm", 7.5),
    "sd_text_nocfg": ("unet_sd15", "text", "ddim", 1.0),
    "sd_image": ("unet_sd15", "image", "ddim", 2.0),
    "sd_image_triangle": ("unet_sd15", "image", "ddim", triangle_scales(4, 1.0, 2.0)),
    "sd_blob": ("unet_sd15", "text", "dpm", 7.5),
    "pas_text": ("pixart", "text", "dpm", 4.5),
    "pas_image_triangle": ("pixart", "image", "dpm", triangle_scales(4, 1.0, 3.0)),
    "sd3_text": ("sd3", "text", "euler", 5.0),
    "sd3_text_dpm": ("sd3", "text", "dpm", 5.0),
    "sd3_image": ("sd3", "image", "euler", 2.0),
}
QUICK = ("pas_image_triangle",)


def config_as_published(name, kind):
    """The settings of a published model, with the tiny network of a file."""
    backbone = {"unet_sd15": "sd15", "pixart": "pixart_sigma", "sd3": "sd3m"}[name]
    tiny = config_of(name, kind)
    networks = {part: getattr(tiny, part) for part in ("unet", "pixart", "mmdit")}
    return dataclasses.replace(published_diffsplat(backbone, image=kind == "image"), **networks)


def conditions(config, name, kind, objects, image):
    """What a run is told, with its condition and without."""
    arrays, base = golden("guidance"), {"unet_sd15": "sd", "pixart": "pas", "sd3": "sd3"}[name]

    def features(prefix):
        def take(key):
            return jnp.asarray(arrays[f"{base}/{key}"])[:objects] if f"{base}/{key}" in arrays else None

        mask = take("negative_mask" if prefix else "prompt_mask")
        return TextFeatures(take(f"{prefix}prompt_embeds"), mask, take(f"{prefix}pooled"))

    cameras = Cameras(jnp.asarray(arrays["c2w"][:objects]), jnp.asarray(arrays["fxfycxcy"][:objects]))
    rays = ray_maps(config, cameras, 64)
    assert difference(rays, last(arrays["plucker_64to8"])[:objects]) < 1e-4
    nothing = None if image is None else jnp.zeros_like(image)
    return Condition(features(""), rays, image), Condition(features("negative_"), rays, nothing)


@pytest.mark.parametrize("run", [run if run in QUICK else pytest.param(run, marks=pytest.mark.long) for run in RUNS])
def test_runs_are_the_published_ones(run):
    name, kind, sampler, scale = RUNS[run]
    config, arrays = config_as_published(name, kind), golden("guidance")
    latents = last(arrays[f"{run}/latents"])
    objects, steps = latents.shape[1] // 4, len(latents) - 1
    latents = latents.reshape(steps + 1, objects, 4, *latents.shape[2:])
    image = read = None
    if kind == "image":
        shown = run if f"{run}/net_in_step0" in arrays else "sd_image"
        read = last(arrays[f"{shown}/net_in_step0"])
        read = read.reshape(2, objects, 5, *read.shape[1:])
        image = jnp.asarray(read[1, :, :1, ..., : latents.shape[-1]])
    given, nothing = conditions(config, name, kind, objects, image)
    start = jnp.asarray(latents[0])
    if read is not None:
        halves = [network_input(start, one.rays, one.image) for one in (nothing, given)]
        assert difference(jnp.stack(halves), read) < 1e-4
    settings = sampler_config(config, sampler)
    if sampler == "ddim":
        settings = dataclasses.replace(settings, eta=0.0)
    planned = len(arrays[f"{run}/sched_timesteps_full"]) if run == "sd_blob" else steps
    table = sampler_from_config(make_schedule(config.schedule), settings, planned)
    if run == "sd_blob":  # starts from a picture, with noise
        table = starting_later(table, 0.75)
    np.testing.assert_allclose(table.timesteps, arrays[f"{run}/net_t"], rtol=1e-6)
    factor = jnp.asarray(scale, jnp.float32)
    factor = factor.reshape(1, -1, 1, 1, 1) if factor.ndim else factor

    @jax.jit
    def whole(params, start):
        parts = (denoiser(config, params, {}, one) for one in (given, nothing))
        return sample(classifier_free_guidance(*parts, factor), table, None, start).x0

    assert difference(whole(params_of(name, kind), start), latents[-1]) < 1e-3


def test_triangle_scales_are_the_published_ones():
    for key, scales in golden("guidance").items():
        if key.startswith("triangle/"):
            views, lowest, highest = key.removeprefix("triangle/V").split("_")
            np.testing.assert_allclose(triangle_scales(int(views), float(lowest), float(highest)), scales, rtol=1e-6)


def test_conditions_are_dropped_as_published():
    arrays = golden("guidance")
    kept = kept_conditions(DropoutConfig(), jnp.asarray(arrays["dropout/u"]))
    np.testing.assert_array_equal(kept.text, arrays["dropout/text_kept"] > 0.5)
    np.testing.assert_array_equal(kept.image, arrays["dropout/image_kept"] > 0.5)


def test_the_blob_is_the_published_one():
    arrays = golden("guidance")
    view = blob_image(64, 0.1)[..., 0] * 2 - 1
    np.testing.assert_allclose(view, arrays["sd_blob/init_image_view"][0, 0], atol=1e-6)
    for spread, background in ((0.1, 0.0), (0.25, 0.2)):
        four = np.tile(blob_image(16, spread, background)[..., 0] * 2 - 1, (2, 2))
        np.testing.assert_allclose(four, arrays[f"blob/H32_std{spread}_bg{background}"][0, 0], atol=1e-6)
