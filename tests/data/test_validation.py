"""Every fault a record can have is named with its view; sound records pass."""

import io

import numpy as np
import pytest
from PIL import Image

from diffgs_jax.data import EncodedMap
from diffgs_jax.data.validation import validate_record
from diffgs_jax.errors import DataError


def poses_with(record, change):
    poses, intrinsics = (np.array(array) for array in record.cameras)
    change(poses, intrinsics)
    return record._replace(cameras=type(record.cameras)(poses, intrinsics))


def picture(mode="RGBA", size=(8, 8), alpha=0):
    file = io.BytesIO()
    color = (10, 20, 30, alpha)[: len(mode)]
    Image.new(mode, size, color).save(file, "PNG")
    return file.getvalue()


def with_image(record, view, encoded):
    return record._replace(images=[*record.images[:view], encoded, *record.images[view + 1 :]])


FAULTS = {
    "view 2 has a pose that is not finite": lambda r: poses_with(r, lambda p, k: p[2].__setitem__((0, 3), np.nan)),
    "view 1 has a pose that is not finite": lambda r: poses_with(r, lambda p, k: p[1].__setitem__((2, 2), np.inf)),
    "view 3 has a left-handed pose": lambda r: poses_with(r, lambda p, k: p[3, :3].__imul__([[-1], [1], [1]])),
    "view 0 has a pose that is not rigid": lambda r: poses_with(r, lambda p, k: p[0, :3, :3].__imul__(1.5)),
    "view 4 has a pose that is not rigid": lambda r: poses_with(r, lambda p, k: p[4].__setitem__((3, 0), 1.0)),
    "view 5 has absurd intrinsics": lambda r: poses_with(r, lambda p, k: k[5].__setitem__(0, 0.0)),
    "view 6 has absurd intrinsics": lambda r: poses_with(r, lambda p, k: k[6].__setitem__(1, 1111.0)),
    "view 7 has absurd intrinsics": lambda r: poses_with(r, lambda p, k: k[7].__setitem__(2, 1.5)),
    "view 7 has absurd intrinsics: fx, fy, cx, cy = nan": lambda r: poses_with(r, lambda p, k: k[7].fill(np.nan)),
    "view 3 is missing": lambda r: with_image(r, 3, b""),
    "7 images, but cameras of shapes": lambda r: r._replace(images=r.images[1:]),
    "it has no views": lambda r: r._replace(images=[]),
    "view 2 is an unreadable image": lambda r: with_image(r, 2, r.images[2][:-30]),
    "view 1 is an unreadable image": lambda r: with_image(r, 1, b"text"),
    "view 2 is 8×6; views must be square": lambda r: with_image(r, 2, picture(size=(8, 6), alpha=255)),
    "view 4 shows nothing: its mask is empty": lambda r: with_image(r, 4, picture(alpha=0)),
    "8 images, but 3 of its map depth": lambda r: r._replace(maps={"depth": EncodedMap([b"1"] * 3, {})}),
    "view 0 has an unreadable map depth": lambda r: r._replace(maps={"depth": EncodedMap([b"1"] * 8, {})}),
}


@pytest.mark.parametrize("message", FAULTS)
def test_every_fault_is_named(numbered_record, message):
    record = FAULTS[message](numbered_record(0))
    with pytest.raises(DataError) as caught:
        validate_record(record)
    assert str(caught.value).startswith(f"record thing/000: {message}")


def test_sound_records_pass(numbered_record):
    record = numbered_record(0)
    validate_record(record, views=8)
    validate_record(with_image(record, 4, picture(alpha=0))._replace(domain="scene"))
    validate_record(with_image(record, 4, picture("RGB")))
    validate_record(with_image(record, 4, picture(alpha=0)), images=False)
    # Published poses have a few decimals.
    validate_record(poses_with(record, lambda p, k: p[:, :3, :3].__setitem__(..., p[:, :3, :3].round(3))))
    with pytest.raises(DataError, match="8 views where there must be 40"):
        validate_record(record, views=40)
