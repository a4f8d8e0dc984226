"""Sets of Gaussians fitted to a store, at tiny size: resumed, sharded, and put into a store of their own."""

import importlib.util
import pathlib

import numpy as np
import pytest

from diffgs_jax.data import Record, encode_record, open_store
from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import orbit
from diffgs_jax.models.gsd import read_statistics

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("fit_objects", ROOT / "scripts" / "gsd" / "fit_objects.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("text", ["4/4", "-1/2", "1", "a/b", "0/0"])
def test_parts_are_named_by_number_and_count(script, text):
    assert script.parse_shard("3/4") == (3, 4)
    with pytest.raises(UserError, match="--shard is I/N"):
        script.parse_shard(text)


@pytest.mark.long
def test_a_store_of_balls_becomes_a_store_of_sets(script, tmp_path, monkeypatch, capsys):
    side = 16
    disc = np.hypot(*np.mgrid[-1.6 : 1.6 : side * 1j, -1.6 : 1.6 : side * 1j]) < 1

    def records(names):
        for number, name in enumerate(names):
            pixels = np.zeros((side, side, 4), np.uint8)
            pixels[..., :3], pixels[..., 3] = 40 + 60 * number, 255 * disc
            record = Record(name, "object", [encode_webp(pixels)] * 8, orbit(np.arange(8) * 45.0), caption=name)
            yield name, lambda record=record: encode_record(record)

    write_store(tmp_path / "data", {"train": list(records("abc")), "test": list(records("x"))}, {"name": "balls"})
    options = script.FitObjectsConfig(
        data=tmp_path / "data", out=tmp_path / "sets", gaussians=24, steps=60, resolution=side, held_out=2
    )
    words = ["--data", str(options.data), "--out", str(options.out), "--gaussians", "24", "--steps", "60"]
    words += ["--resolution", str(side), "--held-out", "2"]
    script.main([*words, "--shard", "0/2"])
    assert "2 of 4 objects are still to be fitted" in capsys.readouterr().out and not options.out.exists()
    fitted, fit = [], script.fit_record
    monkeypatch.setattr(script, "fit_record", lambda record, asked: fitted.append(record.uid) or fit(record, asked))
    script.main(words)
    assert sorted(fitted) == ["b", "x"]  # the others were there
    told = capsys.readouterr().out
    assert "ceiling on views kept from the fits, at 16²: train" in told and "test" in told
    for split, names in (("train", ["a", "b", "c"]), ("test", ["x"])):
        store = open_store(options.out, split)
        assert store.uids == names
        for record in store:
            assert record.gaussians.shape[1] == 14 and len(record.gaussians) <= 24 and record.caption == record.uid
    assert store.index["gaussians"]["ceiling"]["train"] > 12 and store.index["name"] == "balls"
    assert len(read_statistics(options.out).mean) == 14
    with pytest.raises(UserError, match="is there already"):
        script.fit_objects(options)
