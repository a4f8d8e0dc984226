"""The .spz is held against bytes worked out by hand from its specification; test_files.py asks another tool."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
import zstandard
from scipy.spatial.transform import Rotation
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


FIELDS = [
    bytes(
        [
            *(0x00, 0x10, 0x00),  # x: 1 · 4096
            *(0x00, 0xF8, 0xFF),  # y: −0.5 · 4096, two's complement
            *(0x00, 0x04, 0x00),  # z: 0.25 · 4096
        ]
    ),
    bytes([128]),  # opacity: 127.5, rounded
    bytes([128, 166, 0]),  # colour: 255 · (0.15 c + 0.5), cut at 0
    bytes([0, 128, 160]),  # scales: 16 · (log s + 10)
    # Of x y z w = 0, 0.6, 0, 0.8 the last is left out: 3 on two bits, then 0, 434, 0 on ten each;
    # 434 = round(511 · 0.6 · √2).
    bytes([0x00, 0xC8, 0x06, 0xC0]),
]
ONE = b"".join(FIELDS)


def version_4(fields, *, degree=0, flags=0, records=b"", sizes=None, count=1):
    """A file by the README's drawing: header, extension records, table, streams."""
    streams = [zstandard.compress(field) for field in fields]
    sizes = [len(field) for field in fields] if sizes is None else sizes
    header = struct.pack("<IIIBBBBI12x", MAGIC, 4, count, degree, 12, flags, len(fields), 32 + len(records))
    table = b"".join(struct.pack("<QQ", len(stream), size) for stream, size in zip(streams, sizes, strict=True))
    return header + records + table + b"".join(streams)


def test_written_bytes(tmp_path):
    assert write_spz(tmp_path / "a.spz", one_gaussian(), version=3) == 1
    content = gzip.decompress((tmp_path / "a.spz").read_bytes())
    assert HEADER.unpack(content[:16]) == (MAGIC, 3, 1, 0, 12, 0, 0)
    assert content[16:] == ONE
    write_spz(tmp_path / "a.spz", one_gaussian(), version=2)
    content = gzip.decompress((tmp_path / "a.spz").read_bytes())
    assert HEADER.unpack(content[:16]) == (MAGIC, 2, 1, 0, 12, 0, 0)
    assert content[16:] == ONE[:-4] + bytes([128, 204, 128])  # 127.5 · (1 + 0.6)


def test_written_bytes_of_version_4(tmp_path):
    """A plain header of 32 bytes, a table of packed and unpacked sizes, a zstd frame for each attribute."""
    assert write_spz(tmp_path / "a.spz", one_gaussian()) == 1
    content = (tmp_path / "a.spz").read_bytes()
    assert struct.unpack_from("<IIIBBBBI", content) == (MAGIC, 4, 1, 0, 12, 0, 5, 32)
    assert content[20:32] == bytes(12)
    place = 32 + 5 * 16
    for index, field in enumerate(FIELDS):
        packed, size = struct.unpack_from("<QQ", content, 32 + 16 * index)
        assert size == len(field)
        assert zstandard.decompress(content[place : place + packed]) == field
        place += packed
    assert place == len(content)


@pytest.mark.parametrize("kind", ["3", "4", "4 with an empty stream of harmonics"])
def test_read_bytes(tmp_path, kind):
    (tmp_path / "a.spz").write_bytes(
        gzip.compress(HEADER.pack(MAGIC, 3, 1, 0, 12, 0, 0) + ONE)
        if kind == "3"
        else version_4(FIELDS if kind == "4" else [*FIELDS, b""])
    )
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
    np.testing.assert_array_equal(back.means, [[1.0, 1.0, 1.0]] * 2)
    np.testing.assert_array_equal(back.opacities, [1.0, 0.0])
    np.testing.assert_allclose(back.rotations, [[0, 1, 0, 0], [0.8, 0, 0, -0.6]], atol=6e-3)


def radiance(coefficients, direction, degree):
    """Of the higher harmonics, by scipy's definition."""
    x, y, z = direction
    polar, azimuth = np.arccos(z), np.arctan2(y, x)
    total, index = np.zeros(3), 0
    for band in range(1, degree + 1):
        for order in range(-band, band + 1):
            value = sph_harm_y(band, abs(order), polar, azimuth)
            real = value.real if order >= 0 else value.imag
            total += coefficients[index] * real * (np.sqrt(2) if order else 1)
            index += 1
    return total


@pytest.mark.parametrize(("code", "signs"), [(4, (1, -1, -1)), (6, (1, 1, 1)), (7, (-1, -1, 1)), (8, (1, -1, 1))])
def test_axes_that_an_extension_names(tmp_path, code, signs):
    """Right-up-back, right-down-front (a .ply's), left-up-front, right-up-front (mirrored)."""
    draw = np.random.default_rng(code)
    signs = np.asarray(signs)
    fields = [*FIELDS[:4], bytes([10, 200, 30, 0x40]), draw.integers(0, 256, 45, np.uint8).tobytes()]
    records = struct.pack("<II3s", 0xADBE0002, 3, b"abc") + struct.pack("<III", 0xADBE0003, 4, code)
    (tmp_path / "plain.spz").write_bytes(version_4(fields, degree=3))
    (tmp_path / "a.spz").write_bytes(version_4(fields, degree=3, flags=2, records=records))
    plain, turned = read_spz(tmp_path / "plain.spz"), read_spz(tmp_path / "a.spz")
    np.testing.assert_allclose(turned.means, plain.means * signs)
    flip = np.diag(signs)
    matrix = Rotation.from_quat(plain.rotations[0, [1, 2, 3, 0]]).as_matrix()
    np.testing.assert_allclose(
        Rotation.from_quat(turned.rotations[0, [1, 2, 3, 0]]).as_matrix(), flip @ matrix @ flip, atol=1e-6
    )
    for direction in draw.normal(size=(5, 3)):
        direction /= np.linalg.norm(direction)
        np.testing.assert_allclose(
            radiance(turned.sh[0, 1:], direction * signs, 3), radiance(plain.sh[0, 1:], direction, 3), atol=1e-5
        )


def test_harmonics_of_degree_4_are_passed_over(tmp_path):
    content = np.random.default_rng(0).integers(0, 256, 72, np.uint8).tobytes()
    (tmp_path / "a.spz").write_bytes(version_4([*FIELDS, content], degree=4))
    back = read_spz(tmp_path / "a.spz")
    assert back.sh.shape == (1, 16, 3)
    stored = np.frombuffer(content, np.uint8)[:45].reshape(15, 3)
    np.testing.assert_allclose(back.sh[0, 1:], (stored - 128.0) / 128.0)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_harmonics_come_back(tmp_path, version):
    draw = np.random.default_rng(0)
    gaussians = one_gaussian()._replace(sh=draw.uniform(-0.9, 0.9, (1, 16, 3)).astype(np.float32))
    write_spz(tmp_path / "a.spz", gaussians, version=version)
    back = read_spz(tmp_path / "a.spz")
    np.testing.assert_allclose(back.sh[:, 1:4], gaussians.sh[:, 1:4], atol=1 / 31)
    np.testing.assert_allclose(back.sh[:, 1:], gaussians.sh[:, 1:], atol=1 / 15)
    np.testing.assert_allclose(back.rotations, [[0.8, 0, 0.6, 0]], atol=6e-3)


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
    many = Gaussians(*(np.repeat(leaf, 100, 0) for leaf in one_gaussian()))
    write_spz(path, many, version=3)
    old = path.read_bytes()
    write_spz(path, many)
    new = path.read_bytes()
    good = gzip.decompress(old)
    axes = struct.pack("<III", 0xADBE0003, 4, 9)
    broken = [
        ("truncated", old[: len(old) // 2]),
        ("truncated", old[:-3]),
        ("not an .spz", b"ply\nformat binary_little_endian 1.0\n"),
        ("is not an .spz file", gzip.compress(b"something else entirely")),
        ("version 7", gzip.compress(good[:4] + b"\7" + good[5:])),
        ("corrupt or too large", gzip.compress(good[:8] + b"\xff" * 4 + good[12:])),
        ("corrupt", old[:-8] + bytes(8)),  # its checksum
        ("not an .spz", b""),
        ("truncated", new[:20]),
        ("truncated", new[:-10]),
        ("version 5", new[:4] + b"\5" + new[5:]),
        ("corrupt or too large", new[:8] + b"\xff" * 4 + new[12:]),
        ("a table of 200 streams", new[:15] + b"\xc8" + new[16:]),
        ("a table of 5 streams at byte 4000000000", new[:16] + struct.pack("<I", 4_000_000_000) + new[20:]),
        ("4 bytes stands where 9 belong", version_4(FIELDS, sizes=[4, 1, 3, 3, 4])),
        ("does not hold the 9 bytes", version_4([b"1234", *FIELDS[1:]], sizes=[9, 1, 3, 3, 4])),
        ("corrupt", new[:112] + bytes(len(new) - 112)),
        ("ends after its table begins", version_4(FIELDS, flags=2, records=axes[:4] + b"\xff" * 4 + b"1234")),
        ("axes of a kind", version_4(FIELDS, flags=2, records=axes)),
    ]
    for reason, content in broken:
        path.write_bytes(content)
        with pytest.raises(DataError, match=reason) as error:
            read_spz(path)
        assert "\n" not in str(error.value) and "a.spz" in str(error.value)
    with pytest.raises(UserError, match="cannot read"):
        read_spz(tmp_path / "none.spz")
    with pytest.raises(DataError, match="not finite"):
        write_spz(tmp_path / "n.spz", one_gaussian()._replace(opacities=np.asarray([np.nan], np.float32)))


def test_a_stream_that_unpacks_to_more_is_not_unpacked(tmp_path):
    path = tmp_path / "a.spz"
    path.write_bytes(version_4([bytes(500_000_000), *FIELDS[1:]], sizes=[9, 1, 3, 3, 4]))
    tracemalloc.start()
    with pytest.raises(DataError, match="does not hold the 9 bytes"):
        read_spz(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


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
