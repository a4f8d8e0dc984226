import jax
import numpy as np
import pytest
from balls import SIZE, ball, photograph

from diffgs_jax import models
from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import TrainConfig, to_dict
from diffgs_jax.data import DataConfig, Record, encode_record
from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.store import write_store
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, NetworkConfig


@pytest.fixture(autouse=True)
def no_lpips_weights(tmp_path, monkeypatch):
    """What is tested does not depend on what this machine happens to have fetched."""
    monkeypatch.setenv("DIFFGS_JAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def weights():
    """A little random network of VGG16's shape."""
    rng = np.random.default_rng(0)
    return {
        "kernels": tuple(rng.normal(0, 0.4, (3, 3, 3 if i == 0 else 4, 4)).astype(np.float32) for i in range(13)),
        "biases": (np.full(4, 0.1, np.float32),) * 13,
        "heads": (np.ones(4, np.float32),) * 5,
    }


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """A record store and a random little model, as the command line finds them."""
    folder = tmp_path_factory.mktemp("evaluate")

    def records(names):
        for number, name in enumerate(names):
            random = np.random.default_rng(number)
            color = random.uniform(0.1, 0.9, 3)
            azimuths, elevations = random.uniform(0, 360, 4), random.uniform(-10, 60, 4)
            item = photograph(name, ball(color), azimuths, elevations)
            rgba = np.concatenate([np.broadcast_to(color, item.images.shape), item.alphas[..., None]], axis=-1)
            images = [encode_webp(view) for view in (rgba * 255).round().astype(np.uint8)]
            record = Record(name, "object", images, item.cameras)
            yield name, lambda record=record: encode_record(record)

    splits = {"train": list(records("abc")), "test": list(records("xyz"))}
    write_store(folder / "data", splits, {"name": "balls"})
    network = NetworkConfig(width=16, layers=1, heads=1, patch_size=8, stride=4, free_gaussians=1)
    config = TrainConfig(model=DiffusionGSConfig(network=network), data=DataConfig(resolution=SIZE))
    weights = models.family(config.model).init(config.model, jax.random.key(0))
    save_weights(folder / "model", 1, weights, {"config": to_dict(config), "counters": {"samples": 8}})
    return folder
