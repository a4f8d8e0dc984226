"""What a run leaves for people to look at: lines, pictures, and Weights & Biases by a stand-in."""

import json
import sys
import types

import imageio.v3 as imageio
import jax
import numpy as np
import pytest

from diffgs_jax import training
from diffgs_jax.diffusion import Prediction
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import OBJECT, Cameras, Gaussians, Views, orbit
from diffgs_jax.models import Batch
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig
from diffgs_jax.models.diffusion_gs import family as diffusion_gs
from diffgs_jax.training import preview


class Tracker:
    """Remembers what Weights & Biases is told."""

    def __init__(self):
        self.logged, self.finished = [], False

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self):
        self.finished = True


def test_weights_and_biases_is_told_what_the_other_logs_are(tmp_path, monkeypatch):
    tracker, begun = Tracker(), {}
    stand_in = types.SimpleNamespace(init=lambda **how: begun.update(how) or tracker, Image=lambda pixels: pixels.shape)
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    log = training.open_log(tmp_path, 0, wandb_project="splats", config={"width": 8})
    training.log_metrics(log, 20, {"loss": 0.5})
    training.log_image(log, 20, "test", np.full((4, 6, 3), 0.5, np.float32))
    training.close_log(log)
    # The same id makes a continued run continue its curve.
    assert begun["project"] == "splats" and begun["id"] == tmp_path.name and begun["resume"] == "allow"
    assert begun["config"] == {"width": 8}
    assert tracker.logged == [(20, {"loss": 0.5}), (20, {"test": (4, 6, 3)})] and tracker.finished
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 20, "loss": 0.5}
    assert imageio.imread(tmp_path / "previews" / "test_0000020.png").shape == (4, 6, 3)


def test_weights_and_biases_that_is_not_installed_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="pip install wandb"):
        training.open_log(tmp_path, 0, wandb_project="splats")


@pytest.mark.slow
def test_a_preview_shows_noise_predictions_and_depth(monkeypatch):
    """One opaque ball in front of a farther one: what each column must show is known."""
    cameras = Cameras(*(np.asarray(leaf)[None] for leaf in orbit(np.array([0.0, 90.0]))))
    inputs = Views(
        np.full((1, 2, 16, 16, 3), 0.25, np.float32), cameras, np.array([[True, False]]), np.full(1, OBJECT, np.int32)
    )
    novel = inputs._replace(cameras=Cameras(*(leaf[:, :1] for leaf in cameras)), images=inputs.images[:, :1])
    toward = np.asarray(cameras.camera_to_world)[0, 0, :3, 3]
    toward = toward / np.linalg.norm(toward)
    up = np.array([0.0, 0.0, 1.0])
    balls = Gaussians(
        means=np.stack([0.6 * toward + 0.3 * up, -0.6 * toward - 0.5 * up])[None].astype(np.float32),
        rotations=np.tile(np.array([1.0, 0, 0, 0], np.float32), (1, 2, 1)),
        scales=np.full((1, 2, 3), 0.15, np.float32),
        opacities=np.full((1, 2), 0.99, np.float32),
        sh=np.zeros((1, 2, 1, 3), np.float32),
    )

    def denoiser(config, params, frozen, condition, *, views_at_once=0):
        return lambda x, t: Prediction(x * 0 + 0.75, jax.tree.map(jax.numpy.asarray, balls))

    monkeypatch.setattr(diffusion_gs, "denoiser", denoiser)
    monkeypatch.setattr(diffusion_gs, "views_of_gaussians", lambda config, request: np.arange(2, dtype=np.int32))
    batch = Batch(inputs, novel, np.zeros(1, np.int32))
    columns, shares = preview(DiffusionGSConfig(), {"weight": np.zeros(1)}, {}, batch, 2)
    assert shares["preview/denoised_opacity_sampled"] == pytest.approx(0.5)  # equal balls, one of each view
    # The nearer ball, of the condition view, hides none of the other from its own camera
    assert shares["preview/denoised_weight_sampled"] == pytest.approx(0.3, abs=0.15)
    shown = np.concatenate([np.asarray(images) for images in columns.values()], axis=1)[0]
    clean, noisy, predicted, sampled, truth, drawn, depth = np.split(shown, [2, 4, 6, 8, 9, 10])
    np.testing.assert_array_equal(noisy[0], clean[0])  # the condition stays clean
    assert np.std(noisy[1] - clean[1]) > 0.3
    for shown in (predicted, sampled):
        np.testing.assert_array_equal(shown[0], clean[0])
        np.testing.assert_allclose(shown[1], 0.75, atol=1e-6)
    assert np.all(truth == 0.25) and drawn.min() < 0.6
    upper, lower = depth[0, :8].max(), depth[0, 8:].max()
    assert upper > 0.9 and 0.05 < lower < 0.3  # near is bright, far is dark but not black
    assert depth[0, 0, 0, 0] == 0
