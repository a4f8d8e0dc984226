"""What terms and samples count at a step and at a timestep, and the condition that is hidden now and then."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.config import TrainConfig, apply_overrides, from_dict, to_dict
from diffgs_jax.data import DataConfig
from diffgs_jax.diffusion import ScheduleConfig, classifier_free_guidance
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import OBJECT, Cameras, Gaussians, Views, orbit
from diffgs_jax.models import Batch
from diffgs_jax.models.diffusion_gs import (
    DiffusionGSConfig,
    LossConfig,
    LossSchedules,
    NetworkConfig,
    Ramp,
    losses,
)
from diffgs_jax.models.diffusion_gs import family as diffusion_gs
from diffgs_jax.models.diffusion_gs.conditioning import draw_hidden, hide_conditions
from diffgs_jax.models.diffusion_gs.losses import term_weights
from diffgs_jax.models.losses import min_snr_weights, ramp_factor, renderings, signal_weights
from diffgs_jax.rasterizer import Rendering

CONFIG = DiffusionGSConfig(network=NetworkConfig(width=16, layers=1, heads=2, patch_size=8, stride=4))
SIZE = 16


def make_views(seed=0, count=3):
    rng = np.random.default_rng(seed)
    cameras = Cameras(*(np.tile(leaf, (2, *(1,) * leaf.ndim)) for leaf in orbit(np.linspace(0, 300, count))))
    flags = np.zeros((2, count), bool)
    flags[0, 0] = flags[1, -1] = True  # wherever in the list it is
    images = rng.random((2, count, SIZE, SIZE, 3), np.float32)
    return Views(images, cameras, flags, np.full(2, OBJECT, np.int32))


@pytest.fixture
def network(monkeypatch):
    """Stand-ins for network and renderer; the network's keeps what it was given."""
    given = []

    def predict(config, params, views, timesteps, *, training=False):
        given.append((views, timesteps))
        shapes = [(2, 4, 3), (2, 4, 4), (2, 4, 3), (2, 4), (2, 4, 1, 3)]
        return Gaussians(*(jnp.full(shape, 0.2) for shape in shapes))

    def shoot(gaussians, cameras, views_at_once, *, height, width, **_):
        shape = (*cameras.intrinsics.shape[:2], height, width)
        return Rendering(jnp.full((*shape, 3), 0.4), jnp.ones(shape), jnp.ones(shape))

    for module in (losses, diffusion_gs):
        monkeypatch.setattr(module, "predict_gaussians", predict)
    for module in (renderings, diffusion_gs):
        monkeypatch.setattr(module, "render_in_groups", shoot)
    return given


def training_loss(settings, inputs, key=0, step=0, frozen=None):
    config = dataclasses.replace(CONFIG, losses=settings)
    batch = Batch(inputs, make_views(9, 1), np.zeros(2, np.int32))
    return losses.loss(config, {}, frozen or {}, batch, jax.random.key(key), jnp.int32(step))


def test_a_ramp_is_a_line_between_two_constants():
    ramp = Ramp(start=0.5, end=2.0, from_step=10, to_step=20)
    factor = jax.jit(lambda step: ramp_factor(ramp, step))
    expected = {0: 0.5, 10: 0.5, 12: 0.8, 15: 1.25, 20: 2.0, 1000: 2.0}
    np.testing.assert_allclose([factor(step) for step in expected], list(expected.values()), rtol=1e-6)
    jump = Ramp(start=0.0, end=1.0, from_step=10, to_step=10)
    assert [float(ramp_factor(jump, step)) for step in (9, 10, 11)] == [0, 1, 1]
    assert ramp_factor(Ramp(), jnp.int32(3)) == 1.0 and isinstance(ramp_factor(Ramp(), jnp.int32(3)), float)


def test_term_weights_are_weights_times_factors():
    schedules = LossSchedules(perceptual=Ramp(0.0, 1.0, 100, 200), novel=Ramp(2.0, 2.0))
    config = LossConfig(novel=0.5, perceptual=0.8, alpha=0.25, schedules=schedules)
    weights = term_weights(config, 150)
    assert weights._replace(perceptual=0.0) == (1.0, 1.0, 0.0, 0.0, 0.25, 0.0)
    np.testing.assert_allclose(weights.perceptual, 0.4)


def test_the_loss_follows_its_schedules(network):
    schedules = LossSchedules(denoise=Ramp(1.0, 0.0, 0, 10), novel=Ramp(0.0, 3.0, 0, 10))
    inputs = make_views()
    for step, denoise, novel in [(0, 1.0, 0.0), (5, 0.5, 1.5), (10, 0.0, 3.0)]:
        value, terms = training_loss(LossConfig(schedules=schedules), inputs, step=step)
        np.testing.assert_allclose(value, denoise * terms["denoise"] + novel * terms["novel"], rtol=1e-5)


def test_schedules_travel_through_json_and_the_command_line():
    config = TrainConfig(model=CONFIG, data=DataConfig(resolution=SIZE))
    words = ["--model.losses.schedules.perceptual.from-step", "7", "--model.losses.perceptual", "0.5"]
    changed = apply_overrides(config, words).model.losses
    assert changed == LossConfig(perceptual=0.5, schedules=LossSchedules(perceptual=Ramp(from_step=7)))
    config = dataclasses.replace(config, model=dataclasses.replace(CONFIG, losses=changed))
    assert from_dict(to_dict(config)) == config
    # A checkpoint of before there were schedules can be read.
    fields = to_dict(config)
    fields["model"]["losses"] = {"novel": 2.0}
    assert from_dict(fields).model.losses == LossConfig(novel=2.0)


def test_min_snr_weights_are_those_computed_by_hand():
    # The cosine schedule's ᾱ, a product of clipped ratios (Nichol & Dhariwal 2021, eq. 17).
    remaining = [np.cos((t / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2 for t in range(1001)]
    kept = np.cumprod([max(after / before, 0.001) for before, after in zip(remaining, remaining[1:], strict=False)])
    timesteps = np.array([0, 100, 250, 300, 500, 750, 999])
    expected = [min(kept[t] / (1 - kept[t]), 5.0) for t in timesteps]
    assert expected[0] == expected[1] == 5.0 and 3 < expected[3] < 5 and 0.9 < expected[4] < 1 and expected[6] < 1e-4
    weights = min_snr_weights(ScheduleConfig(), 5.0, timesteps)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    with pytest.raises(UserError, match="min_snr_gamma"):
        min_snr_weights(ScheduleConfig(), -1.0, timesteps)


def test_min_snr_weighs_every_sample_by_its_own_timestep(network, monkeypatch):
    """Sample 0 at γ, sample 1 at next to nothing: the loss is half of γ times that of sample 0."""
    monkeypatch.setattr(losses, "sample_timesteps", lambda *_, **__: jnp.array([0, 999]))
    inputs = make_views()
    _, terms = training_loss(LossConfig(min_snr_gamma=4.0), inputs)
    found = {}

    def capture(rendering, targets, weights, *_, **__):
        found["weights"] = weights
        return {name: jnp.zeros(()) for name in ("denoise", "novel", "alpha")}

    monkeypatch.setattr(losses, "comparison_losses", capture)
    training_loss(LossConfig(), inputs)
    plain = found["weights"]
    training_loss(LossConfig(min_snr_gamma=4.0), inputs)
    np.testing.assert_allclose(found["weights"][:, 0], 4 * plain[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found["weights"][:, 1], 0, atol=1e-5)
    assert 0 < terms["denoise"] and 0 < terms["novel"]


def test_signal_weights_are_powers_of_the_cosine():
    # Where its ratios are not clipped, ᾱ of the cosine schedule is a quotient of cosines (Nichol & Dhariwal 2021).
    timesteps = np.array([0, 250, 500, 900])
    start, remaining = (np.cos((at + 0.008) / 1.008 * np.pi / 2) ** 2 for at in (0.0, (timesteps + 1) / 1000))
    for power in (0.5, 1.0, 2.0):
        weights = signal_weights(ScheduleConfig(), power, timesteps)
        np.testing.assert_allclose(weights, (remaining / start) ** power, rtol=1e-4)
    with pytest.raises(UserError, match="perceptual_signal_power"):
        signal_weights(ScheduleConfig(), -1.0, timesteps)


def test_lpips_can_be_left_to_samples_with_little_noise(network, monkeypatch):
    """Sample 0 is all but clean and keeps its LPIPS, sample 1 is noise and loses it; no other term moves."""
    monkeypatch.setattr(losses, "sample_timesteps", lambda *_, **__: jnp.array([0, 999]))
    found = []

    def capture(weights, rendered, targets, shares, *_):
        found.append(np.asarray(shares))
        return jnp.sum(shares)

    monkeypatch.setattr(renderings, "perceptual_distance", capture)
    settings = LossConfig(perceptual=0.5)
    _, plain = training_loss(settings, make_views(), frozen={"lpips": None})
    _, weighed = training_loss(
        dataclasses.replace(settings, perceptual_signal_power=1.0), make_views(), frozen={"lpips": None}
    )
    assert np.sum(found[0][0]) == pytest.approx(np.sum(found[0][1])) and np.sum(found[0][0]) > 0
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-3)
    np.testing.assert_allclose(found[1][1], 0, atol=1e-6)
    for name in ("denoise", "novel", "alpha"):
        np.testing.assert_array_equal(plain[name], weighed[name])
    np.testing.assert_allclose(weighed["perceptual"], plain["perceptual"] / 2, rtol=1e-3)


def test_conditions_are_hidden_as_often_as_asked():
    hidden = draw_hidden(jax.random.key(0), 4000, 0.1)
    assert abs(float(jnp.mean(hidden)) - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 4000)
    assert not jnp.any(draw_hidden(jax.random.key(0), 100, 0.0)) and jnp.all(draw_hidden(jax.random.key(0), 100, 1.0))
    with pytest.raises(UserError, match="condition_dropout"):
        draw_hidden(jax.random.key(0), 4, 1.5)


def test_the_network_is_given_in_training_what_guidance_gives_it(network):
    """Hidden in training, and the unconditional branch of guidance: the same inputs, to the last bit."""
    inputs = make_views()
    training_loss(LossConfig(condition_dropout=1.0), inputs)
    shown, timesteps = network[-1]
    told = [diffusion_gs.Condition(inputs, views.images) for views in (inputs, hide_conditions(inputs))]
    conditional, unconditional = (diffusion_gs.denoiser(CONFIG, {}, {}, condition) for condition in told)
    guided = classifier_free_guidance(conditional, unconditional, 3.0)(jnp.asarray(shown.images), timesteps)
    (without, _), (given, _) = network[-2:]
    for name, a, b in zip(Views._fields, shown, without, strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b), name
    # The condition is gone from the one and in the other; the noisy views are in both.
    flags = inputs.is_condition
    np.testing.assert_array_equal(without.images[flags], 0.5)
    np.testing.assert_array_equal(given.images[flags], inputs.images[flags])
    np.testing.assert_array_equal(given.images[~flags], without.images[~flags])
    # Guided samples keep the condition view, whatever the scale.
    np.testing.assert_allclose(guided.x0[flags], inputs.images[flags], atol=1e-6)


def test_only_hidden_samples_lose_their_condition_and_nothing_else_is_drawn_anew(network):
    inputs = make_views()
    before = training_loss(LossConfig(), inputs)
    seen = set()
    for key in range(12):
        training_loss(LossConfig(), inputs, key)
        training_loss(LossConfig(condition_dropout=0.5), inputs, key)
        (plain, time), (shown, same_time) = network[-2:]
        np.testing.assert_array_equal(time, same_time)
        hidden = [bool(np.all(shown.images[i][inputs.is_condition[i]] == 0.5)) for i in range(2)]
        for i in range(2):
            if not hidden[i]:
                np.testing.assert_array_equal(shown.images[i], plain.images[i])
        noisy = ~inputs.is_condition
        np.testing.assert_array_equal(np.asarray(shown.images)[noisy], np.asarray(plain.images)[noisy])
        seen.add(tuple(hidden))
    assert len(seen) > 2
    again = training_loss(LossConfig(condition_dropout=0.0), inputs)
    np.testing.assert_array_equal(before[0], again[0])
