"""The .spz is held against bytes worked out by hand from its specification; test_files.py asks another tool."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from scipy.special import sph_harm_y

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop import read_spz, write_spz

HEADER = struct.Struct("<IIIBBBB")
MAGIC = 0x5053474E


def one_gaussian():
    return Gaussians(
        means=np.asarray([[1.0, -0.5, 0.25]], np.float32),
        rotations=np.asarray([[1.6, 0.0, 1.2, 0.0]], np.float32),  # of length 2: (0.8, 0, 0.6, 0) when unit
        scales=np.exp(np.asarray([[-10.0, -2.0, 0.0]], np.float32)),
        opacities=np.asarray([0.5], np.float32),
        sh=np.asarray([[[0.0, 1.0, -4.0]]], np.float32),
    )


ONE = bytes(
    [
        *(0x00, 0x10, 0x00),  # x: 1 · 4096
        *(0x00, 0x08, 0x00),  # y up: 0.5 · 4096
        *(0x00, 0xFC, 0xFF),  # z back: −0.25 · 4096, two's complement
        128,  # opacity: 127.5, rounded
        *(128, 166, 0),  # colour: 255 · (0.15 c + 0.5), cut at 0
        *(0, 128, 160),  # scales: 16 · (log s + 10)
        # Of x y z w = 0, −0.6 (turned), 0, 0.8 the last is left out: 3 on two bits, then 0, sign | 434, 0 on ten each;
        # 434 = round(511 · 0.6 · √2).
        *(0x00, 0xC8, 0x0E, 0xC0),
    ]
)


def test_written_bytes(tmp_path):
    assert write_spz(tmp_path / "a.spz", one_gaussian()) == 1
    content = gzip.decompress((tmp_path / "a.spz").read_bytes())
    assert HEADER.unpack(content[:16]) == (MAGIC, 3, 1, 0, 12, 0, 0)
    assert content[16:] == ONE


def test_read_bytes(tmp_path):
    (tmp_path / "a.spz").write_bytes(gzip.compress(HEADER.pack(MAGIC, 3, 1, 0, 12, 0, 0) + ONE))
    back = read_spz(tmp_path / "a.spz")
    np.testing.assert_array_equal(back.means, [[1.0, -0.5, 0.25]])
    np.testing.assert_allclose(back.rotations, [[0.8, 0.0, 0.6, 0.0]], atol=1e-3)
    np.testing.assert_allclose(np.log(back.scales), [[-10.0, -2.0, 0.0]], atol=1e-5)
    np.testing.assert_allclose(back.opacities, [128 / 255], rtol=1e-6)
    np.testing.assert_allclose(back.sh[0, 0], [0.5 / 255 / 0.15, (166 / 255 - 0.5) / 0.15, -0.5 / 0.15], rtol=1e-5)
    assert all(leaf.dtype == np.float32 for leaf in back)


def test_version_2_and_other_fractions(tmp_path):
    """Rotations are three bytes over [−1, 1], w is what they leave; the header says how many bits are fractions."""
    content = HEADER.pack(MAGIC, 2, 2, 0, 8, 1, 0) + bytes([0, 1, 0] * 6) + bytes([255, 0]) + bytes(6) + bytes(6)
    content += bytes([255, 128, 128]) + bytes([128, 128, 51])
    (tmp_path / "a.spz").write_bytes(gzip.compress(content + b"an extension"))
    back = read_spz(tmp_path / "a.spz")
    np.testing.assert_array_equal(back.means, [[1.0, -1.0, -1.0]] * 2)
    np.testing.assert_array_equal(back.opacities, [1.0, 0.0])
    np.testing.assert_allclose(back.rotations, [[0, 1, 0, 0], [0.8, 0, 0, 0.6]], atol=6e-3)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_harmonics_turn_with_the_axes(tmp_path, degree):
    """The stored function of direction is ours seen from axes turned by 180° about x; scipy's definition decides."""
    draw = np.random.default_rng(degree)
    count = (degree + 1) ** 2
    gaussians = one_gaussian()._replace(sh=draw.uniform(-0.9, 0.9, (1, count, 3)).astype(np.float32))
    write_spz(tmp_path / "a.spz", gaussians)
    content = gzip.decompress((tmp_path / "a.spz").read_bytes())
    stored = (np.frombuffer(content[16 + 20 :], np.uint8).reshape(count - 1, 3) - 128.0) / 128.0

    def radiance(coefficients, direction):
        x, y, z = direction
        polar, azimuth = np.arccos(z), np.arctan2(y, x)
        total = np.zeros(3)
        index = 0
        for band in range(1, degree + 1):
            for order in range(-band, band + 1):
                value = sph_harm_y(band, abs(order), polar, azimuth)
                real = value.real if order >= 0 else value.imag
                total += coefficients[index] * real * (np.sqrt(2) if order else 1)
                index += 1
        return total

    for direction in draw.normal(size=(5, 3)):
        direction /= np.linalg.norm(direction)
        turned = direction * [1, -1, -1]
        np.testing.assert_allclose(
            radiance(stored, turned), radiance(gaussians.sh[0, 1:], direction), atol=0.08 * count**0.5
        )
    np.testing.assert_allclose(read_spz(tmp_path / "a.spz").sh[:, 1:], gaussians.sh[:, 1:], atol=1 / 15)


def test_far_positions_give_up_fractions(tmp_path):
    gaussians = one_gaussian()._replace(means=np.asarray([[10000.0, -5000.25, 0.5]], np.float32))
    write_spz(tmp_path / "a.spz", gaussians)
    np.testing.assert_allclose(read_spz(tmp_path / "a.spz").means, gaussians.means, atol=2**-10)
    with pytest.raises(DataError, match="world units away"):
        write_spz(tmp_path / "b.spz", gaussians._replace(means=np.full((1, 3), 1e8, np.float32)))
    assert not (tmp_path / "b.spz").exists()


def test_rotations_of_any_kind(tmp_path):
    draw = np.random.default_rng(0)
    rotations = np.concatenate([draw.normal(size=(2000, 4)), np.eye(4), -np.eye(4), np.ones((1, 4)), np.zeros((1, 4))])
    count = len(rotations)
    gaussians = Gaussians(*(np.repeat(leaf, count, 0) for leaf in one_gaussian()))
    write_spz(tmp_path / "a.spz", gaussians._replace(rotations=rotations.astype(np.float32)))
    back = read_spz(tmp_path / "a.spz").rotations
    rotations[-1] = [1, 0, 0, 0]
    unit = rotations / np.linalg.norm(rotations, axis=1, keepdims=True)
    angle = 2 * np.arccos(np.minimum(1, np.abs(np.sum(unit * back, axis=1))))
    assert np.degrees(angle).max() < 0.3


def test_same_bytes_and_empty(tmp_path):
    for name in ("a.spz", "b.spz"):
        write_spz(tmp_path / name, one_gaussian())
    assert (tmp_path / "a.spz").read_bytes() == (tmp_path / "b.spz").read_bytes()
    write_spz(tmp_path / "c.spz", Gaussians(*(leaf[:0] for leaf in one_gaussian())))
    assert [leaf.shape for leaf in read_spz(tmp_path / "c.spz")] == [(0, 3), (0, 4), (0, 3), (0,), (0, 1, 3)]


def test_broken_files_are_told_in_one_line(tmp_path):
    path = tmp_path / "a.spz"
    write_spz(path, Gaussians(*(np.repeat(leaf, 100, 0) for leaf in one_gaussian())))
    whole = path.read_bytes()
    good = gzip.decompress(whole)
    broken = {
        "truncated": whole[: len(whole) // 2],
        "not an .spz": b"ply\nformat binary_little_endian 1.0\n",
        "is not an .spz file": gzip.compress(b"something else entirely"),
        "version 4": b"NGSP" + bytes(100),
        "version 7": gzip.compress(good[:4] + b"\7" + good[5:]),
        "corrupt or too large": gzip.compress(good[:8] + b"\xff" * 4 + good[12:]),
        "corrupt": whole[:-8] + bytes(8),  # its checksum
    }
    for reason, content in broken.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=reason) as error:
            read_spz(path)
        assert "\n" not in str(error.value) and "a.spz" in str(error.value)
    path.write_bytes(b"")
    with pytest.raises(DataError):
        read_spz(path)
    with pytest.raises(UserError, match="cannot read"):
        read_spz(tmp_path / "none.spz")
    with pytest.raises(DataError, match="not finite"):
        write_spz(tmp_path / "n.spz", one_gaussian()._replace(opacities=np.asarray([np.nan], np.float32)))


def test_a_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "a.spz"
    path.write_bytes(gzip.compress(HEADER.pack(MAGIC, 3, 1, 0, 12, 0, 0) + ONE + bytes(200_000_000), compresslevel=1))
    tracemalloc.start()
    read_spz(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000  # the packed file itself takes about one


def test_a_header_that_announces_far_more_than_the_file_has(tmp_path):
    """617 KB of zeros that claim ten million Gaussians took 4.5 GB."""
    path = tmp_path / "a.spz"
    header = HEADER.pack(MAGIC, 3, 10_000_000, 3, 12, 0, 0)
    path.write_bytes(gzip.compress(header + bytes(40_000_000), compresslevel=1))
    tracemalloc.start()
    with pytest.raises(DataError, match="made to fill the memory: .* kB announce 650 MB"):
        read_spz(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_checksum_that_is_cut_off(tmp_path):
    path = tmp_path / "a.spz"
    write_spz(path, one_gaussian())
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="truncated"):
        read_spz(path)
