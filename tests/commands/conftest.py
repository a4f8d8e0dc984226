import numpy as np
import pytest
from PIL import Image
from tiny import TINY, weights

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import to_dict
from diffgs_jax.inference import load


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    save_weights(folder, 7, weights(TINY), {"config": to_dict(TINY)})
    return folder


@pytest.fixture(scope="session")
def pipeline(checkpoint):
    return load(checkpoint)


@pytest.fixture
def loaded(monkeypatch, pipeline):
    """Saves commands the time to load."""
    monkeypatch.setattr("diffgs_jax.inference.load", lambda *_, **__: pipeline)
    return pipeline


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    pixels = np.full((50, 60, 3), 255, np.uint8)
    pixels[10:40, 20:50] = (200, 30, 40)
    pixels[15:20, 25:45] = (20, 90, 180)
    path = tmp_path_factory.mktemp("pictures") / "red.png"
    Image.fromarray(pixels).save(path)
    return path
