"""Latents that were computed before are those that training would compute, of the same samples."""

import dataclasses
import functools
import importlib.util
import json
import pathlib

import jax
import numpy as np
import pytest
import stub_splats

from diffgs_jax.data import DataConfig, Record, encode_record, training_batches
from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.latents import ABOUT, LatentStore
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import orbit
from diffgs_jax.models import Requirements, family
from diffgs_jax.models.diffsplat import DiffSplatConfig, FrozenConfig, LatentConfig, TextConfig

ROOT, SIZE = pathlib.Path(__file__).parents[2], 16


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with a store, the latents of its choices, and the settings of both."""
    folder = tmp_path_factory.mktemp("latents")
    disc = np.hypot(*np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]) < 0.7

    def records(names):
        for number, name in enumerate(names):
            random = np.random.default_rng(number)
            pixels = [random.integers(0, 255, (SIZE, SIZE, 4)).astype(np.uint8) for _ in range(8)]
            for one in pixels:
                one[..., 3] = 255 * disc
            record = Record(name, "object", [encode_webp(one) for one in pixels], orbit(np.arange(8) * 45.0), name=name)
            yield name, lambda record=record: encode_record(record)

    write_store(folder / "store", {"train": list(records("abcde")), "test": list(records("x"))}, {"name": "noise"})
    frozen = FrozenConfig(**stub_splats.write_frozen(folder))
    model = DiffSplatConfig(
        latents=LatentConfig(downsampling=stub_splats.SHRINKS),
        frozen=frozen,
        text=TextConfig("learned", tokens=4, vocabulary=16, width=8, heads=1),
    )
    config = folder / "config.py"
    config.write_text(
        "import pathlib\n"
        "from diffgs_jax.config import TrainConfig\n"
        "from diffgs_jax.data import DataConfig\n"
        "from diffgs_jax.models.diffsplat import *\n"
        "def get_config():\n"
        f"    data = DataConfig(path={str(folder / 'store')!r}, resolution={SIZE}, batch_size=3, condition_views=0,\n"
        "        noisy_views=4, novel_views=1, threads=0)\n"
        f"    model = DiffSplatConfig(pixart=PixArtConfig(layers=1, heads=1, head_width=8, text_width=8),\n"
        f"        latents=LatentConfig(downsampling={stub_splats.SHRINKS}), frozen={frozen!r},\n"
        "        text=TextConfig('learned', tokens=4, vocabulary=16, width=8, heads=1))\n"
        "    return TrainConfig(model=model, data=data)\n"
    )
    spec = importlib.util.spec_from_file_location(
        "precompute_latents", ROOT / "scripts" / "diffsplat" / "precompute_latents.py"
    )
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    run = functools.partial(script.main, ["--config", str(config), "--choices", "3", "--out", str(folder / "latents")])
    run()
    data = DataConfig(
        path=str(folder / "store"),
        resolution=SIZE,
        batch_size=3,
        condition_views=0,
        noisy_views=4,
        novel_views=1,
        threads=0,
        choices=3,
        latents=str(folder / "latents"),
    )
    return folder, run, model, data


def test_they_are_those_that_training_would_compute(prepared):
    _, _, model, data = prepared
    module = family(model)
    needs, frozen = module.requirements(model), module.load_frozen(model, "training")
    encode = jax.jit(lambda frozen, batch: module.clean_state(model, {}, frozen, batch))
    before = training_batches(data, requirements=needs)
    now = training_batches(dataclasses.replace(data, latents=""), requirements=needs)
    seen = set()
    for _ in range(6):
        stored, fresh = next(before), next(now)
        np.testing.assert_array_equal(stored.inputs.images, fresh.inputs.images)
        assert fresh.latents is None
        np.testing.assert_allclose(stored.latents, encode(frozen, fresh), atol=1e-6)
        np.testing.assert_array_equal(module.clean_state(model, {}, frozen, stored), stored.latents)
        seen |= {
            (int(record), image.tobytes()) for record, image in zip(fresh.record, fresh.inputs.images, strict=True)
        }
    assert len({record for record, _ in seen}) < len(seen) <= 15  # several choices of a record, and no more than three
    state = now.get_state()
    before.set_state(state)  # a run may go on with them or without
    before.close(), now.close()


def test_views_of_a_record_are_chosen_in_so_many_ways(prepared):
    *_, data = prepared
    batches = training_batches(dataclasses.replace(data, latents="", choices=2), requirements=Requirements("nothing"))
    views = {}
    for _ in range(12):
        batch = next(batches)
        for record, images in zip(batch.record, batch.inputs.images, strict=True):
            views.setdefault(int(record), set()).add(images.tobytes())
    batches.close()
    assert {len(one) for one in views.values()} == {2}


def test_latents_of_others_are_refused_in_a_line(prepared, tmp_path):
    folder, run, model, data = prepared
    needs = family(model).requirements(model)
    for changes, line in (
        ({"choices": 4}, "choices 3 → 4"),
        ({"seed": 1}, "seed 0 → 1"),
        ({"random_background": 0.5}, "of views as they are"),
        ({"latents": str(tmp_path)}, "holds no latents"),
    ):
        with pytest.raises(UserError, match=line) as caught:
            training_batches(dataclasses.replace(data, **changes), requirements=needs)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="learns no latents"):
        training_batches(data, requirements=Requirements("nothing"))
    store = LatentStore(data.latents)
    store.check_makers({"reconstructor": store.about["made_by"]["reconstructor"]})
    with pytest.raises(UserError, match="made by another vae"):
        store.check_makers({"vae": "0"})
    (tmp_path / ABOUT).write_text(json.dumps(store.about))
    (tmp_path / "latents.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot read"):
        LatentStore(str(tmp_path))


def test_a_broken_off_run_goes_on(prepared, tmp_path, capsys):
    folder, run, *_ = prepared
    run()
    assert "is complete" in capsys.readouterr().out
    values = np.load(folder / "latents" / "latents.npy")
    about = json.loads((folder / "latents" / ABOUT).read_text())
    (folder / "latents" / ABOUT).unlink()
    broken = values.copy()
    broken[2:] = np.nan
    np.save(folder / "latents" / "latents.npy", broken)
    (folder / "latents" / "unfinished.json").write_text(json.dumps({"done": 2, "about": about}))
    run()
    np.testing.assert_array_equal(np.load(folder / "latents" / "latents.npy"), values)
    assert sorted(path.name for path in (folder / "latents").iterdir()) == ["latents.json", "latents.npy"]
