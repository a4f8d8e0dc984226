"""Every published config of diffsplat takes a step of training at its own depth; only widths and data are smaller."""

import functools
import pathlib

import jax
import numpy as np
import pytest

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.commands.training import train
from diffgs_jax.config import TrainConfig, load_config, to_dict
from diffgs_jax.data import Record, encode_record
from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.store import write_store
from diffgs_jax.geometry import orbit
from diffgs_jax.models import family
from diffgs_jax.models.gsrecon import GSReconConfig, ReconstructionLossConfig, ReconstructorConfig
from diffgs_jax.models.gsvae import AutoencoderConfig, GSVAEConfig, TinyDecoderConfig

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
SIZE, TEXT, POOLED = 64, 8, 16
_UNET = ["--model.unet.groups", "4", "--model.unet.text-width", str(TEXT)]
_FOUR = [*_UNET, "--model.unet.channels", *["8"] * 4, "--model.unet.heads", *["2"] * 4]
_PIXART = ["--model.pixart.heads", "1", "--model.pixart.head-width", "8", "--model.pixart.text-width", str(TEXT)]
_MMDIT = [
    *("--model.mmdit.heads", "1", "--model.mmdit.head-width", "8", "--model.mmdit.text-width", str(TEXT)),
    *("--model.mmdit.pooled-width", str(POOLED)),
]
NARROW = {
    "sd15": _FOUR,
    "sd21": _FOUR,
    "sdxl": [
        *_UNET,
        *("--model.unet.channels", *["8"] * 3, "--model.unet.heads", *["2"] * 3),
        *("--model.unet.size-features", "4", "--model.unet.pooled-width", str(POOLED)),
    ],
    "pixart_alpha": _PIXART,
    "pixart_sigma": _PIXART,
    "sd3m": _MMDIT,
    "sd35m": _MMDIT,
    "sd35l": _MMDIT,
}


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A store of two objects, their prompts, and checkpoints of a reconstructor and two VAEs."""
    folder, random = tmp_path_factory.mktemp("published"), np.random.default_rng(0)
    disc = np.hypot(*np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]) < 0.7

    def records(names):
        for name in names:
            pixels = random.integers(0, 255, (SIZE, SIZE, 4)).astype(np.uint8)
            pixels[..., 3] = 255 * disc
            record = Record(name, "object", [encode_webp(pixels)] * 8, orbit(np.arange(8) * 45.0), caption="a chair")
            yield name, lambda record=record: encode_record(record)

    write_store(folder / "store", {"train": list(records("ab")), "test": list(records("x"))}, {"name": "noise"})
    arrays = {"tokens": random.normal(size=(2, 5, TEXT)), "mask": np.ones((2, 5), bool)}
    pooled = random.normal(size=(2, POOLED))
    np.savez(folder / "prompts.npz", prompts=np.array(["a chair", ""]), **arrays, pooled=pooled)
    models = {
        "reconstructor": GSReconConfig(
            network=ReconstructorConfig(width=16, layers=1, heads=1, hidden=16),
            losses=ReconstructionLossConfig(perceptual=0.0),
        )
    }
    for channels in (4, 16):
        network = AutoencoderConfig(latents=channels, widths=(4, 4, 4, 4), blocks=1, groups=2)
        models[f"vae_{channels}"] = GSVAEConfig(network=network, tiny=TinyDecoderConfig(width=4, blocks=1))
    for name, model in models.items():
        params = jax.jit(functools.partial(family(model).init, model))(jax.random.key(0))
        metadata = {"config": to_dict(TrainConfig(model=model)), "counters": {"samples": 0}}
        save_weights(folder / name, 1, params, metadata)
    return folder


def test_every_published_config_is_tried():
    own = {"tiny", "furniture_small"}
    assert {path.stem for path in (CONFIGS / "diffsplat").glob("*.py")} - own == set(NARROW)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if "pixart_sigma" in name else pytest.mark.long) for name in NARROW],
)
def test_a_published_config_takes_a_step(used, tmp_path, name):
    config = load_config(CONFIGS / "diffsplat" / f"{name}.py")
    channels = config.model.latents.channels
    words = [
        *NARROW[name],
        *("--model.frozen.reconstructor", str(used / "reconstructor"), "--model.frozen.image-vae", ""),
        *("--model.frozen.vae", str(used / f"vae_{channels}"), "--model.text.file", str(used / "prompts.npz")),
        *("--data.path", str(used / "store"), "--data.resolution", str(SIZE), "--data.batch-size", "2"),
        *("--data.threads", "0", "--optimizer.accumulate", "1", "--run.folder", str(tmp_path / "run")),
        *("--run.steps", "1", "--run.preview-every", "0"),
    ]
    narrow = load_config(CONFIGS / "diffsplat" / f"{name}.py", words)
    for part in ("unet", "pixart", "mmdit"):
        for depth in ("blocks", "depths", "middle_depth", "layers", "dual_layers", "qk_norm", "position_side"):
            ours, published = (getattr(getattr(one.model, part), depth, None) for one in (narrow, config))
            assert ours == published
    state = train(narrow)
    assert int(state.step) == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
