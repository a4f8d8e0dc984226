"""The .splat is held against bytes worked out by hand from the layout; test_files.py asks another tool."""

import struct

import numpy as np
import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop import read_splat, write_splat


def one_gaussian():
    return Gaussians(
        means=np.asarray([[1.0, -0.5, 0.25]], np.float32),
        rotations=np.asarray([[1.6, 0.0, -1.2, 0.0]], np.float32),
        scales=np.asarray([[0.125, 0.0, 2.0]], np.float32),
        opacities=np.asarray([0.6], np.float32),
        sh=np.asarray([[[0.0, 1.0, -4.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0]]], np.float32),
    )


def test_written_bytes(tmp_path):
    assert write_splat(tmp_path / "a.splat", one_gaussian()) == 1
    content = (tmp_path / "a.splat").read_bytes()
    assert len(content) == 32
    assert struct.unpack("<6f", content[:24]) == pytest.approx((1.0, -0.5, 0.25, 0.125, 1e-12, 2.0))
    assert list(content[24:28]) == [128, 199, 0, 153]  # 255 · (0.5 + 0.2820948 c), and 255 · 0.6
    assert list(content[28:32]) == [230, 128, 51, 128]  # 128 + 128 · (0.8, 0, −0.6, 0)


def test_read_bytes(tmp_path):
    content = struct.pack("<6f", 1, 2, 3, 0.1, 0.2, 0.3) + bytes([255, 0, 51, 102, 128, 128, 128, 255])
    (tmp_path / "a.splat").write_bytes(content * 3)
    back = read_splat(tmp_path / "a.splat")
    np.testing.assert_array_equal(back.means, [[1, 2, 3]] * 3)
    np.testing.assert_allclose(back.scales, [[0.1, 0.2, 0.3]] * 3, rtol=1e-6)
    np.testing.assert_allclose(back.opacities, [0.4] * 3, rtol=1e-6)
    np.testing.assert_allclose(0.5 + 0.28209479 * back.sh[:, 0], [[1.0, 0.0, 0.2]] * 3, atol=1e-6)
    np.testing.assert_allclose(back.rotations, [[0, 0, 0, 127 / 128]] * 3)
    assert all(leaf.dtype == np.float32 for leaf in back)


def test_broken_files_are_told_in_one_line(tmp_path):
    path = tmp_path / "a.splat"
    path.write_bytes(bytes(33))
    with pytest.raises(DataError, match="not a multiple of 32"):
        read_splat(path)
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(DataError, match="not numbers"):
        read_splat(path)
    with pytest.raises(UserError, match="cannot read"):
        read_splat(tmp_path / "none.splat")
    with pytest.raises(DataError, match="not finite"):
        write_splat(path, one_gaussian()._replace(means=np.full((1, 3), np.inf, np.float32)))
