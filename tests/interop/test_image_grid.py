"""Pictures of many pictures: where each of them lies."""

import numpy as np

from diffgs_jax.interop import labelled_columns, tile_images


def test_names_stand_above_their_columns_and_the_images_are_as_they_were():
    rng = np.random.default_rng(0)
    groups = {
        "first": rng.random((2, 3, 20, 20, 3)).astype(np.float32),
        "a name that is longer than its column": rng.random((2, 1, 20, 20, 3)).astype(np.float32),
        "": rng.random((2, 2, 20, 20, 3)).astype(np.float32),
    }
    sheet = labelled_columns(groups)
    whole = tile_images(np.concatenate(list(groups.values()), axis=1))
    np.testing.assert_array_equal(sheet[-len(whole) :], whole)
    ink = (sheet[: -len(whole)] < 0.5).any(axis=(0, 2))  # columns with dark pixels
    assert ink[:40].any() and ink[66:88].any() and not ink[88:].any()
