"""A splat to look at, a model that takes no time, and a browser if there is one."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffgs_jax.config import TrainConfig
from diffgs_jax.data import DataConfig
from diffgs_jax.geometry import Gaussians, ObjectRig, Views, orbit
from diffgs_jax.inference.pipeline import Pipeline, Result
from diffgs_jax.interop import load_framed
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig
from diffgs_jax.viewing import assets


def splat(count=200, seed=0):
    """A red ball beside a blue one, radius about 0.3, on the x axis' two sides as seen from azimuth 0."""
    rng = np.random.default_rng(seed)
    side = np.where(np.arange(count) % 2, 1.0, -1.0)
    means = 0.15 * rng.standard_normal((count, 3)) + np.stack([0 * side, 0.5 * side, 0 * side], axis=-1)
    color = np.where(side[:, None] > 0, [[0.9, 0.1, 0.1]], [[0.1, 0.1, 0.9]])
    return Gaussians(
        means=means.astype(np.float32),
        rotations=np.tile(np.asarray([[1, 0, 0, 0]], np.float32), (count, 1)),
        scales=np.full((count, 3), 0.05, np.float32),
        opacities=np.full(count, 0.9, np.float32),
        sh=((color - 0.5) / 0.28209479)[:, None].astype(np.float32),
    )


class FakePipeline(Pipeline):
    """Reads the picture as the real one does, then counts steps instead of denoising."""

    seconds = 0.0
    count = 200
    calls = []
    given = []
    finished = []

    def __call__(self, image, *, inputs, sampling, on_step=None):
        seed, steps = sampling.seed, sampling.steps or 2
        for source in image if isinstance(image, list) else [image]:
            if source is not None and not isinstance(source, np.ndarray) and source.suffix != ".json":
                load_framed(source, resolution=32)
        self.calls.append((inputs, sampling))
        self.given.append(image)
        pause = self.seconds / steps
        for step in range(steps + 1):
            if on_step is not None:
                on_step(step)
            time.sleep(pause)
        self.finished.append(seed)
        cameras = orbit(np.arange(2) * 90.0)
        views = Views(
            np.full((1, 2, 32, 32, 3), 0.5, np.float32),
            type(cameras)(*(leaf[None] for leaf in cameras)),
            np.asarray([[True, False]]),
            np.zeros(1, np.int32),
        )
        return Result(splat(self.count), views, rig=ObjectRig())


@pytest.fixture
def fake_pipeline(monkeypatch):
    """The fake model."""
    monkeypatch.setattr(FakePipeline, "seconds", 0.0)
    monkeypatch.setattr(FakePipeline, "calls", [])
    monkeypatch.setattr(FakePipeline, "given", [])
    monkeypatch.setattr(FakePipeline, "finished", [])
    monkeypatch.setattr(assets, "FRAMES", 8)
    monkeypatch.setattr(assets, "FILM_SIZE", 32)
    monkeypatch.setattr(assets, "MESH_VIEWS", 8)
    return FakePipeline(TrainConfig(DiffusionGSConfig(), DataConfig()), {})


@pytest.fixture
def no_rendering(monkeypatch):
    """Films, meshes and viewers that take no time either."""

    def film(gaussians, *, frames, size, progress, **others):
        progress(frames)
        return np.zeros((frames, size, size, 3), np.uint8)

    monkeypatch.setattr(assets, "render_turntable", film)
    monkeypatch.setattr(assets, "viewer_page", lambda *viewable, **others: "<!doctype html>a viewer")
    monkeypatch.setattr(assets, "extract_mesh", lambda *viewable, **others: None)
    monkeypatch.setattr(assets, "write_mesh", lambda path, mesh: path.write_text("a mesh"))
    monkeypatch.setattr(assets, "read_viewable", lambda path: None)


@pytest.fixture
def gaussians():
    return splat()


@pytest.fixture
def picture(tmp_path):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[16:48, 16:48] = (200, 30, 40, 255)
    path = tmp_path / "red.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def browser():
    """A real browser, drawing 3D in software."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = os.environ.get("DIFFGS_JAX_BROWSER") or next(filter(None, map(shutil.which, names)), None)
    if program is None or not Path(program).exists():
        pytest.skip("no browser: put chromium on the PATH or its path into DIFFGS_JAX_BROWSER")
    playwright = pytest.importorskip("playwright.sync_api", reason="driving a browser needs playwright")
    software = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=["--no-sandbox", *software])
        yield running
        running.close()
