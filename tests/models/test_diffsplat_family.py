"""What diffsplat's settings promise: conditions, weights of the loss, and one line for what contradicts itself."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stub_splats
from diffsplat_golden import golden

from diffgs_jax import sample
from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import SamplingConfig, TrainConfig, to_dict
from diffgs_jax.data import DataConfig
from diffgs_jax.diffusion import PUBLISHED_DIFFUSION, ScheduleConfig, make_schedule
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Cameras, ObjectRig, Views, orbit
from diffgs_jax.inference.guidance import guidance_factors
from diffgs_jax.models import Batch, Request, family
from diffgs_jax.models.diffsplat import (
    DiffSplatConfig,
    DropoutConfig,
    FrozenConfig,
    ImageConfig,
    LatentConfig,
    LatentLossConfig,
    PixArtConfig,
    TextConfig,
    published_diffsplat,
    published_sampling,
)
from diffgs_jax.models.diffsplat.losses import kept_conditions, timestep_weights
from diffgs_jax.models.diffsplat.text import hashed_words, load_prompts, stored_rows

TINY = DiffSplatConfig(
    pixart=PixArtConfig(layers=1, heads=2, head_width=8, text_width=16),
    latents=LatentConfig(downsampling=stub_splats.SHRINKS),
    text=TextConfig("learned", tokens=6, vocabulary=64, width=16, layers=1, heads=2),
)
DATA = DataConfig(resolution=16, condition_views=0, noisy_views=4, novel_views=0)


def change(config, **fields):
    """Returns settings with fields of fields changed: `losses__alpha=0`."""
    for name, value in fields.items():
        section, _, field = name.partition("__")
        if field:
            value = dataclasses.replace(getattr(config, section), **{field: value})
        config = dataclasses.replace(config, **{section: value})
    return config


@pytest.mark.parametrize(
    ("changes", "data", "line"),
    [
        ({}, {"resolution": 12}, "must be a multiple of 8"),
        ({}, {"noisy_views": 3}, "must add up to model.views 4"),
        ({"image__encoder": "learned"}, {}, "data.condition_views is 0"),
        ({"text__encoder": "none"}, {}, "nothing says what to make"),
        ({"prediction": "flow"}, {}, "does not go with model.schedule linear"),
        ({"losses__weighting": "cosmap"}, {}, "is for flow schedules"),
        ({"losses__weighting": "edm"}, {}, "weighs the error of x0"),
        ({"dropout__text": 0.95}, {}, "add up to 1 at most"),
        ({"losses__render_probability": 2.0}, {}, r"must be in \[0, 1\]"),
        ({"text__width": 24, "text__heads": 2}, {}, "must be the network's text_width = 16"),
        ({"backbone": "sd15"}, {"resolution": 32}, "must be the network's text_width = 768"),
        ({"latents__channels": 0}, {}, "at least 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_in_a_line(changes, data, line):
    with pytest.raises(UserError, match=line) as caught:
        family(TINY).check(change(TINY, **changes), dataclasses.replace(DATA, **data))
    assert "\n" not in str(caught.value)


def test_settings_that_fit_are_taken():
    family(TINY).check(TINY, DATA)


def test_checkpoints_that_are_not_named_or_not_there_are_told_in_a_line(tmp_path):
    with pytest.raises(UserError, match=r"model\.frozen\.reconstructor names no checkpoint"):
        family(TINY).requirements(TINY)
    missing = change(TINY, frozen=FrozenConfig(reconstructor=str(tmp_path / "none"), vae=str(tmp_path / "none")))
    with pytest.raises(UserError, match="none"):
        family(missing).load_frozen(missing, "sampling")


def test_words_are_the_same_in_any_case_and_cut_off():
    text = hashed_words(TINY.text, ["A Red chair", "a red, CHAIR!", "", "one two three four five six seven"])
    np.testing.assert_array_equal(text.tokens[0], text.tokens[1])
    assert text.mask.sum(axis=1).tolist() == [4, 4, 1, 6]
    assert (text.tokens[:, 0] == text.tokens[0, 0]).all() and text.tokens.max() < TINY.text.vocabulary
    assert len(set(text.tokens[0, 1:4].tolist())) == 3


def test_stored_prompts_are_found_by_their_words(tmp_path):
    file, tokens = tmp_path / "prompts.npz", np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    np.savez(file, prompts=np.array(["a chair", ""]), tokens=tokens, mask=np.ones((2, 3), bool))
    assert stored_rows(str(file), ["a chair", ""]).tokens.tolist() == [[0], [1]]
    features = load_prompts(TextConfig("stored", file=str(file)))
    np.testing.assert_array_equal(features.tokens, tokens)
    assert features.mask.dtype == np.float32 and features.pooled is None
    with pytest.raises(UserError, match="the prompt a lamp is not among the 2"):
        stored_rows(str(file), ["a lamp"])
    np.savez(tmp_path / "other.npz", prompts=np.array(["a chair"]), tokens=tokens[:1])
    with pytest.raises(DataError, match="lacks the empty prompt"):
        load_prompts(TextConfig("stored", file=str(tmp_path / "other.npz")))
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="truncated or no zip archive"):
        load_prompts(TextConfig("stored", file=str(tmp_path / "broken.npz")))


@pytest.mark.parametrize(
    ("arrays", "write", "message"),
    [
        ({"prompts": np.array(["", "a"])}, np.savez, "no prompts with tokens in it"),
        ({"prompts": np.array(["", "a"]), "tokens": np.ones((1, 3, 5))}, np.savez, "not as many features as prompts"),
        ({"prompts": np.array([None, "a"]), "tokens": np.ones((2, 3, 5))}, np.savez, "is no file of prompts"),
        ({"prompts": np.array([""] * 9), "tokens": np.zeros((9, 500, 500))}, np.savez_compressed, "other.npz"),
    ],
    ids=["no tokens", "too few", "pickled", "unpacks to more than the file"],
)
def test_odd_files_of_prompts_are_one_line(tmp_path, arrays, write, message):
    write(tmp_path / "other.npz", **arrays)
    with pytest.raises(DataError, match=message) as caught:
        load_prompts(TextConfig("stored", file=str(tmp_path / "other.npz")))
    assert "\n" not in str(caught.value)


def test_weights_of_timesteps_are_the_published_ones():
    arrays = golden("schedulers")
    config = DiffSplatConfig(
        schedule=PUBLISHED_DIFFUSION["sd15"].schedule, losses=LatentLossConfig(weighting="min_snr", snr_gamma=5.0)
    )
    schedule = make_schedule(config.schedule)
    timesteps = jnp.asarray(arrays["sd15/snr/t"], jnp.int32)
    for prediction, key in (("epsilon", "min_snr_eps_gamma5"), ("v", "min_snr_v_gamma5")):
        weights = timestep_weights(dataclasses.replace(config, prediction=prediction), schedule, timesteps)
        np.testing.assert_allclose(weights, arrays[f"sd15/snr/{key}"], rtol=2e-4)


def test_weights_of_flow_are_those_of_the_paper():
    """Esser et al. 2024: cosmap's law of timesteps as a weight integrates to 1, sigma_sqrt is 1 / σ²."""
    config = DiffSplatConfig(schedule=ScheduleConfig("flow"), losses=LatentLossConfig(weighting="cosmap"))
    schedule = make_schedule(config.schedule)
    rows = jnp.arange(1000)
    assert abs(float(timestep_weights(config, schedule, rows).mean()) - 1) < 1e-2
    config = change(config, losses__weighting="sigma_sqrt")
    np.testing.assert_allclose(timestep_weights(config, schedule, rows), schedule.sigma**-2, rtol=1e-5)


def test_edm_training_of_the_noise_is_plain_training_of_it():
    """(x̂₀ − x₀)² · SNR = (ε̂ − ε)², whatever the timestep (Karras et al. 2022, in other coordinates)."""
    schedule = make_schedule(ScheduleConfig("linear"))
    config = DiffSplatConfig(losses=LatentLossConfig(weighting="edm", error_of="x0"))
    rows = jnp.asarray([0, 10, 500, 999])
    error_of_x0 = (schedule.sigma / schedule.alpha)[np.asarray(rows)] ** 2  # for a unit error of the noise
    np.testing.assert_allclose(timestep_weights(config, schedule, rows) * error_of_x0, 1, rtol=1e-5)


def test_shares_of_dropped_conditions():
    u = (jnp.arange(2000) + 0.5) / 2000
    kept = kept_conditions(DropoutConfig(0.1, 0.2, 0.3), u)
    np.testing.assert_allclose([1 - kept.text.mean(), 1 - kept.image.mean()], [0.3, 0.5], atol=1e-3)
    assert (~(kept.text | kept.image)).mean() == pytest.approx(0.2, abs=1e-3)


def test_published_settings():
    steps = {"sd15": (20, 7.5), "sdxl": (20, 5.0), "pixart_sigma": (20, 4.5), "sd3m": (28, 5.0), "sd35m": (28, 5.0)}
    for backbone, (count, guidance) in steps.items():
        sampling = published_sampling(backbone)
        assert (sampling.steps, sampling.guidance) == (count, guidance)
    assert published_diffsplat("pixart_sigma", image=True).prediction == "v"
    assert published_diffsplat("sd35m", image=True).prediction == "flow"
    assert published_diffsplat("pixart_sigma").losses.render_snr_gamma == 1


def test_guidance_is_of_every_view_that_is_made():
    needs = family(stub_splats.FlatConfig()).requirements(None)
    needs = dataclasses.replace(needs, cameras=True, given_are_made=True)
    assert guidance_factors((1.0, 2.0, 3.0, 2.0), needs, 1, 3).ravel().tolist() == [1, 2, 3, 2]
    assert guidance_factors((4.5,), needs, 1, 3).ravel().tolist() == [4.5] * 4
    needs = dataclasses.replace(needs, given_are_made=False)
    assert guidance_factors((4.5,), needs, 1, 3).ravel().tolist() == [1, 4.5, 4.5, 4.5]


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    return FrozenConfig(**stub_splats.write_frozen(tmp_path_factory.mktemp("models")))


def cameras_of(objects, azimuths):
    ring = orbit(np.asarray(azimuths, float), elevation_degrees=10.0)
    return Cameras(*(np.broadcast_to(leaf, (objects, *leaf.shape)) for leaf in ring))


def batch_of(config, size=16):
    rng = np.random.default_rng(0)
    images = np.broadcast_to(rng.uniform(size=(2, 1, 1, 1, 3)), (2, 4, size, size, 3)).astype(np.float32)
    given = np.zeros((2, 4), bool)
    given[:, 1] = config.image.encoder != "none"  # wherever it stands
    views = Views(
        images, cameras_of(2, [90, 0, 180, 270]), given, np.zeros(2, np.int32), np.ones(images.shape[:-1], np.float32)
    )
    text = hashed_words(config.text, ["a red chair", "a lamp"])
    return Batch(views, None, np.zeros(2, np.int32), text)


def test_another_vae_is_refused_in_a_line(used):
    module = family(TINY)
    for changes, line in (
        ({"latents__channels": 8}, "have 4 channels, one for each 4 pixels along a side; model.latents says 8 and 4"),
        ({"frozen__vae": used.reconstructor}, "no model that encodes"),
        ({"frozen__reconstructor": used.vae}, "no model that makes splat grids"),
    ):
        with pytest.raises(UserError, match=line):
            module.load_frozen(change(TINY, frozen=used, **changes), "sampling")


@pytest.mark.long
@pytest.mark.parametrize("stage", ["first", "second", "sometimes"])
def test_training_learns_what_a_batch_looks_like(used, stage):
    probability = {"first": 0.0, "second": 1.0, "sometimes": 0.5}[stage]
    config = change(TINY, frozen=used, image=ImageConfig("learned"), prediction="v")
    config = change(config, losses__render_probability=probability, losses__render_snr_gamma=1.0)
    module, batch = family(config), batch_of(config)
    frozen = module.load_frozen(config, "training")

    @jax.jit
    def step(params, key):
        (_, metrics), slope = jax.value_and_grad(
            lambda params: module.loss(config, params, frozen, batch, key, jnp.asarray(0)), has_aux=True
        )(params)
        moved = jax.tree.map(lambda leaf, slope: leaf - 0.3 * slope, params, slope)
        return moved, metrics

    params = jax.jit(functools.partial(module.init, config))(jax.random.key(0))
    found = []
    for number in range(40):
        params, metrics = step(params, jax.random.key(number))
        found.append(metrics)
    mean = {name: np.mean([one[name] for one in found[-10:]]) for name in found[0]}
    assert mean["latents"] < 0.7 * np.mean([one["latents"] for one in found[:5]])
    assert all(np.isfinite(value) for value in mean.values())
    assert ("render_image" in mean) == (stage != "first")


@pytest.mark.long
def test_conditions_reach_the_prediction(used):
    """Prompt, given view and cameras each change it; without a view its latents are zeros."""
    config = change(TINY, frozen=used, image=ImageConfig("learned"))
    module, batch = family(config), batch_of(config)
    params = jax.jit(functools.partial(module.init, config))(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), params)
    frozen = module.load_frozen(config, "sampling")
    views = batch.inputs
    given = Views(views.images[:, :1], cameras_of(2, [0]), np.ones((2, 1), bool), views.domain)
    request = Request(16, views.domain, given, cameras_of(2, [90, 180, 270]), text=batch.text)
    x = jax.random.normal(jax.random.key(1), module.state_shape(config, request))

    @jax.jit
    def predict(request):
        told = module.condition(config, params, frozen, request)
        return module.denoiser(config, params, frozen, told)(x, jnp.full(2, 500)).x0

    base = predict(request)
    others = {
        "prompt": dataclasses.replace(request, text=hashed_words(config.text, ["a blue table", "a lamp"])),
        "view": dataclasses.replace(request, condition=given._replace(images=1 - given.images)),
        "cameras": dataclasses.replace(request, cameras=cameras_of(2, [80, 180, 270])),
    }
    for name, other in others.items():
        assert np.abs(predict(other) - base)[0].max() > 1e-4, name
    assert np.abs(predict(others["prompt"]) - base)[1].max() < 1e-5  # the same prompt
    nothing = module.null_condition(config, params, frozen, request)
    assert not nothing.image.any() and (module.condition(config, params, frozen, request).image != 0).any()


@pytest.mark.long
def test_a_file_of_prompts_becomes_folders(used, tmp_path, capsys):
    config = change(TINY, frozen=used)
    settings = TrainConfig(
        model=config,
        data=DATA,
        rig=ObjectRig(azimuths=(0.0, 90.0, 180.0, 270.0)),
        sampling=SamplingConfig(guidance=(3.0,)),
    )
    params = jax.jit(functools.partial(family(config).init, config))(jax.random.key(0))
    save_weights(tmp_path / "model", 1, params, {"config": to_dict(settings), "counters": {"samples": 0}})
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red chair\n\na lamp\n")
    common = ["--checkpoint", str(tmp_path / "model"), "--steps", "2", "--frames", "0"]
    sample.main([*common, "--prompt-file", str(prompts), "--out", str(tmp_path / "many"), "--lowest-guidance", "1"])
    folders = sorted(path.name for path in (tmp_path / "many").iterdir())
    assert folders == ["0_a_red_chair", "1_a_lamp"]
    record = json.loads((tmp_path / "many" / folders[0] / "sample.json").read_text())
    assert record["options"]["prompt"] == "a red chair" and (tmp_path / "many" / folders[0] / "gaussians.ply").exists()
    sample.main([*common, "--prompt", "a red chair", "--out", str(tmp_path / "one"), "--lowest-guidance", "1"])
    one, many = ((tmp_path / name / "gaussians.ply").read_bytes() for name in ("one", f"many/{folders[0]}"))
    assert one == many
    for words, line in (
        (["--prompt", "x", "--prompt-file", str(prompts)], "give one of them"),
        ([], "needs a prompt"),
        (["--prompt", "x", "--blob-spread", "0.1"], "needs an image VAE"),
    ):
        with pytest.raises(SystemExit):
            sample.main([*common, "--out", str(tmp_path / "no"), *words])
        assert line in capsys.readouterr().err
