"""Colours by name: Lab against known values, captions that say what is there, copies on the same side of the split."""

import importlib.util
import pathlib

import numpy as np
import pytest

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import Record, encode_record, open_store
from diffgs_jax.data.coloring import (
    COLORS,
    TARGETS,
    colored_copies,
    from_lab,
    named_colors,
    nearest_names,
    recolored,
    to_lab,
)
from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import orbit

ROOT = pathlib.Path(__file__).parents[2]


def test_lab_is_the_one_of_the_standard():
    """Values of the sRGB primaries (Lindbloom's calculator, D65)."""
    known = {
        (255, 0, 0): (53.24, 80.09, 67.20),
        (0, 255, 0): (87.73, -86.18, 83.18),
        (0, 0, 255): (32.30, 79.19, -107.86),
    }
    for rgb, lab in known.items():
        np.testing.assert_allclose(to_lab(np.asarray(rgb, np.uint8)), lab, atol=0.02)
    np.testing.assert_allclose(to_lab(np.ones((2, 3))), [[100, 0, 0]] * 2, atol=0.02)
    rgb = np.random.default_rng(0).uniform(size=(50, 3))
    np.testing.assert_allclose(from_lab(to_lab(rgb)), rgb, atol=1e-6)


def test_every_name_is_its_own_colour_and_none_is_close_to_another():
    lab = to_lab(np.asarray(list(COLORS.values()), np.uint8))
    np.testing.assert_array_equal(nearest_names(lab), np.arange(len(COLORS)))
    apart = np.linalg.norm(lab[:, None] - lab, axis=-1) + 1e3 * np.eye(len(lab))
    assert apart.min() > 20 and set(TARGETS) <= set(COLORS)


def shaded(color, size=24, other=None):
    """A disc of one colour, lit from above, with a stripe of another."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    light = (0.9 - 0.2 * y)[..., None]
    rgb = np.broadcast_to(np.asarray(COLORS[color], float), (size, size, 3)) * light
    if other is not None:
        rgb = np.where((np.abs(x) < 0.12)[..., None], COLORS[other], rgb)
    alpha = 255.0 * (np.hypot(x, y) < 0.8)
    return np.concatenate([np.clip(rgb, 0, 255), alpha[..., None]], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("color", ["red", "green", "blue", "purple", "orange"])
def test_colours_are_found_and_changed(color):
    pictures = [shaded(color, other="black")] * 2
    found = named_colors(pictures)
    assert found.names == (color,) and found.shares.sum() == pytest.approx(1)
    for target in ("yellow", "blue", "brown"):
        if target == color:
            continue
        changed = recolored(pictures, found, target)
        again = named_colors(changed)
        assert again.names[0] == target
        stripe, rest = changed[0][12, 12, :3], changed[0][12, 5, :3].astype(int)
        assert np.abs(stripe.astype(int) - COLORS["black"]).max() < 40  # what is of another colour stays
        assert np.abs(rest - changed[0][5, 8, :3]).max() > 4  # and so does the light
        np.testing.assert_array_equal(changed[0][..., 3], pictures[0][..., 3])


def record_of(uid, color):
    images = [encode_webp(shaded(color))] * 2
    return Record(uid, "object", images, orbit(np.arange(2) * 90.0), caption="Arm chair, chair")


def test_captions_say_what_is_seen():
    made = colored_copies(record_of("a", "red"), 4)
    assert [one.uid for one in made][0] == "a" and len({one.uid for one in made}) == 5
    assert "red" in made[0].caption and "chair" in made[0].caption
    for one in made[1:]:
        target = one.uid.partition("#")[2]
        assert target != "red" and target in one.caption
    assert len({one.caption.replace(one.uid.partition("#")[2], "") for one in made[1:]}) == 4  # templates differ
    again = colored_copies(record_of("a", "red"), 4)
    assert [one.caption for one in again] == [one.caption for one in made]
    empty = np.zeros((8, 8, 4), np.uint8)
    with pytest.raises(DataError, match="shows? nothing"):
        named_colors([empty])


def test_a_store_gets_captions_and_copies_on_the_same_side(tmp_path):
    sides = {"train": ["a", "b"], "test": ["c"]}
    encoded = {
        side: [(uid, lambda uid=uid: encode_record(record_of(uid, "green"))) for uid in uids]
        for side, uids in sides.items()
    }
    write_store(tmp_path / "plain", encoded, {"name": "discs", "license": "CC0-1.0"})
    spec = importlib.util.spec_from_file_location("color_captions", ROOT / "scripts" / "color_captions.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    words = ["--in", str(tmp_path / "plain"), "--out", str(tmp_path / "colored"), "--copies", "2"]
    script.main(parse_options(script.ColorCaptionsConfig, words))
    train, test = (open_store(tmp_path / "colored", side) for side in ("train", "test"))
    assert len(train) == 6 and len(test) == 1
    assert {uid.partition("#")[0] for uid in train.uids} == {"a", "b"} and test.uids == ["c"]
    assert all(train[number].caption for number in range(6)) and "green" in test[0].caption
    with pytest.raises(UserError, match="--copies"):
        script.main(parse_options(script.ColorCaptionsConfig, [*words[:-1], "20"]))
