"""Depth and normals through their files, held against the error that rounding to their steps allows."""

import io

import numpy as np
import pytest
from PIL import Image

from diffgs_jax.data.maps import decode_depth, decode_normals, encode_depth, encode_normals
from diffgs_jax.data.records import EncodedMap
from diffgs_jax.errors import DataError


@pytest.mark.parametrize("largest", [1e-3, 3.7, 500.0])
def test_depth_is_kept_to_half_a_step(largest):
    depth = np.random.default_rng(0).uniform(0.01 * largest, largest, (3, 8, 6)).astype(np.float32)
    depth[0, 0, 0] = largest
    encoded = encode_depth(depth)
    decoded = decode_depth(encoded)
    assert decoded.dtype == np.float32 and decoded.shape == depth.shape
    assert np.abs(decoded - depth).max() <= 0.51 * largest / 65535
    np.testing.assert_allclose(encoded.meaning["scale"], largest / 65535, rtol=1e-6)
    assert encoded.meaning["kind"] == "planar z" and encoded.meaning["invalid"] == 0


def test_coarse_steps_keep_half_a_step_and_make_small_files():
    y, x = np.mgrid[0:64, 0:64] / 64
    depth = (3 + x**2 + 0.7 * np.sin(5 * y))[None]
    fine, coarse = encode_depth(depth), encode_depth(depth, least_step=0.01)
    assert coarse.meaning["scale"] == 0.01 and np.abs(decode_depth(coarse) - depth).max() <= 0.005 + 1e-6
    assert len(coarse.views[0]) < 0.7 * len(fine.views[0])


def test_what_is_no_depth_stays_none_and_the_nearest_stays_valid():
    depth = np.full((1, 2, 4), 2.0)
    depth[0, 0] = np.nan, np.inf, 0.0, -1.0
    depth[0, 1, 0] = 1e-9
    decoded = decode_depth(encode_depth(depth))
    assert np.isnan(decoded[0, 0]).all() and np.isfinite(decoded[0, 1]).all()
    assert np.isnan(decode_depth(encode_depth(np.zeros((2, 3, 3))))).all()


def test_other_programs_read_the_files():
    depth = np.asarray([[[0.5, 1.0], [np.nan, 2.0]]])
    with Image.open(io.BytesIO(encode_depth(depth).views[0])) as picture:
        assert picture.mode in ("I", "I;16")
        np.testing.assert_array_equal(np.asarray(picture), [[16384, 32768], [0, 65535]])
    normals = np.asarray([[[[1.0, 0, 0], [0, 0, -1]], [[0, 0.6, 0.8], [0, 0, 0]]]])
    with Image.open(io.BytesIO(encode_normals(normals).views[0])) as picture:
        expected = [[[255, 128, 128], [128, 128, 0]], [[128, 204, 230], [0, 0, 0]]]
        assert picture.mode == "RGB" and np.abs(np.asarray(picture, int) - expected).max() <= 1


def test_normals_are_kept_to_half_a_degree():
    normals = np.random.default_rng(0).normal(size=(2, 30, 30, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[1, 0, :3] = [[0, 0, 0], [np.nan, 0, 1], [3, 0, 0]]
    decoded = decode_normals(encode_normals(normals.astype(np.float32)))
    assert np.isnan(decoded[1, 0, :3]).all() and np.isfinite(decoded[1, 1:]).all()
    cosine = np.sum(decoded[0] * normals[0], axis=-1)
    assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < 0.5
    np.testing.assert_allclose(np.linalg.norm(decoded[0], axis=-1), 1.0, rtol=1e-5)


def test_some_views_only():
    depth = np.arange(1.0, 5.0)[:, None, None] * np.ones((4, 2, 2))
    np.testing.assert_allclose(decode_depth(encode_depth(depth), [3, 1])[:, 0, 0], [4.0, 2.0], rtol=1e-4)
    normals = np.eye(3)[[0, 1, 2]][:, None, None] * np.ones((3, 2, 2, 1))
    np.testing.assert_allclose(decode_normals(encode_normals(normals), [2])[0, 0, 0], [0, 0, 1], atol=0.01)


def test_foreign_maps_are_refused():
    depth, normals = encode_depth(np.ones((1, 2, 2))), encode_normals(np.zeros((1, 2, 2, 3)))
    with pytest.raises(DataError, match="no map of planar depth"):
        decode_depth(normals)
    with pytest.raises(DataError, match="no map of normals"):
        decode_normals(depth)
    with pytest.raises(DataError, match="scale nan"):
        decode_depth(depth._replace(meaning={**depth.meaning, "scale": float("nan")}))
    with pytest.raises(DataError, match="view 0 cannot be decoded"):
        decode_depth(EncodedMap([b"no picture"], depth.meaning))
    with pytest.raises(DataError, match="wrong shape"):
        decode_depth(EncodedMap(normals.views, depth.meaning))
