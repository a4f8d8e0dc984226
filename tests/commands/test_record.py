"""A sample is made again from its sample.json, and from nothing else."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny import TINY, command, failure, weights

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.commands.sample_record import read_options
from diffgs_jax.config import to_dict
from diffgs_jax.sample import main

MORE = ["--seed", "5", "--sampler", "ddpm", "--elevation", "12.5", "--foreground-ratio", "0.6", "--trajectory"]


@pytest.fixture
def made(checkpoint, loaded, picture, tmp_path):
    main(command(checkpoint, picture, tmp_path / "first", *MORE))
    return tmp_path / "first" / "sample.json"


def test_the_same_bytes(made, tmp_path):
    main(["--repeat", str(made), "--out", str(tmp_path / "again")])
    names = sorted(path.name for path in made.parent.iterdir())
    assert names == ["gaussians.ply", "sample.json", "trajectory.mp4", "turntable.mp4", "views.png"]
    for name in names:
        assert (made.parent / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_what_did_not_exist_when_a_record_was_written_is_not_done(made):
    record = json.loads(made.read_text())
    for name in ("filter", "prune"):
        assert record["options"].pop(name) is True
    made.write_text(json.dumps(record))
    options, _ = read_options(made, made.parent)
    assert (options.filter, options.prune) == (False, False)


def test_what_is_stated_counts_for_more(made, tmp_path):
    main(["--repeat", str(made), "--out", str(tmp_path / "other"), "--seed", "6", "--frames", "0"])
    options = json.loads((tmp_path / "other" / "sample.json").read_text())["options"]
    assert options["seed"] == 6 and options["elevation"] == 12.5 and options["foreground_ratio"] == 0.6
    assert not (tmp_path / "other" / "turntable.mp4").exists()
    assert (tmp_path / "other" / "gaussians.ply").read_bytes() != (made.parent / "gaussians.ply").read_bytes()


def test_another_picture_is_refused_and_the_same_elsewhere_is_not(made, picture, tmp_path, capsys):
    other = tmp_path / "other.png"
    Image.fromarray(255 - np.asarray(Image.open(picture))).save(other)
    words = ["--repeat", str(made), "--out", str(tmp_path / "out")]
    code, line = failure([*words, "--image", str(other)], capsys)
    assert code == 1 and f"{other} is not the image" in line
    other.write_bytes(picture.read_bytes())
    main([*words, "--image", str(other), "--frames", "0"])


def test_another_checkpoint_is_refused(made, tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    changed = {name: part for name, part in weights(TINY).items()}
    changed["free_tokens"] = changed["free_tokens"] + 1e-3
    save_weights(tmp_path / "changed", 1, changed, {"config": to_dict(TINY)})
    words = ["--repeat", str(made), "--out", str(tmp_path / "out"), "--checkpoint", str(tmp_path / "changed")]
    code, line = failure(words, capsys)
    assert code == 1 and "not the one that" in line and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (None, 2, "cannot read"),
        ("{", 1, "is not JSON"),
        ("[]", 1, "is a list where a JSON object is expected"),
        ('{"version": 9}', 1, "version 9"),
        ('{"version": 1, "options": {"image": "a.png", "colour": "red"}}', 1, "not a sample.json"),
    ],
)
def test_damaged_records(tmp_path, capsys, content, code, message):
    path = tmp_path / "sample.json"
    if content is not None:
        path.write_text(content)
    found, line = failure(["--repeat", str(path), "--out", str(tmp_path / "out")], capsys)
    assert found == code and message in line and str(path) in line
