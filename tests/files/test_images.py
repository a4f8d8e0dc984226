"""Pictures of every mode against their numbers worked out by hand, by OpenCV, or by the standards of colour."""

import io
import resource
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from diffgs_jax.data.images import decode_premultiplied
from diffgs_jax.datasets._images import decode_mask, decode_pixels
from diffgs_jax.errors import DataError
from diffgs_jax.files.images import decode_image, image_size, open_image
from diffgs_jax.interop import read_image

DRAW = np.random.default_rng(0)
COLORS = DRAW.integers(0, 256, (12, 16, 3), dtype=np.uint8)
ALPHA = DRAW.integers(0, 256, (12, 16), dtype=np.uint8)


def encoded(pixels, kind="PNG", **options):
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, kind, **options)
    return file.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, kind, rows, *others):
    """A PNG by its specification: rows of bytes, each after a filter byte of 0."""
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(others) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def icc(space, tags):
    """An ICC profile of version 2 of a display, with tags in the order given."""
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    white = struct.pack(">iii", *(round(65536 * value) for value in (0.9642, 1.0, 0.8249)))
    header = struct.pack(
        ">I4sI4s4s4s", 132 + len(table) - 4 + len(body), b"\0\0\0\0", 0x02100000, b"mntr", space, b"XYZ "
    )
    header += bytes(12) + b"acsp" + bytes(28) + white
    return header.ljust(128, b"\0") + table + body


def xyz(*values):
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(65536 * value) for value in values))


def gamma(value):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * value))


WHITE = {b"wtpt": xyz(0.9642, 1.0, 0.8249)}
# Display P3's primaries, adapted to D50 (Bradford), as its profiles have them; and here with a plain gamma of 2.2.
WIDE = icc(
    b"RGB ",
    WHITE
    | {b"rXYZ": xyz(0.51512, 0.2412, -0.00105), b"gXYZ": xyz(0.29198, 0.69225, 0.04189)}
    | {b"bXYZ": xyz(0.1571, 0.06657, 0.78407), b"rTRC": gamma(2.2), b"gTRC": gamma(2.2), b"bTRC": gamma(2.2)},
)
LINEAR_GREY = icc(b"GRAY", WHITE | {b"kTRC": gamma(1.0)})
# From linear Display P3 to linear sRGB (CSS Color 4, sample code for section 17).
TO_SRGB = np.asarray(
    [
        [1.2249401762, -0.2249401762, 0.0],
        [-0.0420569547, 1.0420569547, 0.0],
        [-0.0196375546, -0.0786360456, 1.0982736001],
    ]
)


def srgb(linear):
    """IEC 61966-2-1."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_profile_of_colours_becomes_srgb(kind):
    # Slow changes, which a lossy format keeps.
    ramp = np.linspace(40, 215, 64)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], 128.0), axis=-1).round().astype(np.uint8)
    options = {"PNG": {}, "JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}[kind]
    stored = encoded(pixels, kind, icc_profile=WIDE, **options)
    expected = 255 * srgb((pixels / 255.0) ** 2.2 @ TO_SRGB.T)
    assert np.abs(expected - pixels).max() > 20
    for found in (
        np.asarray(decode_image(stored, "x")),
        decode_pixels(stored, "x", upright=True),
        decode_premultiplied(stored)[..., :3],
    ):
        apart = np.abs(found - expected)
        assert apart.max() < 1.5 or (kind == "JPEG" and apart.mean() < 1 and np.percentile(apart, 99) < 4)


def test_alpha_and_palettes_keep_theirs_beside_a_profile():
    expected = 255 * srgb((COLORS / 255.0) ** 2.2 @ TO_SRGB.T)
    found = np.asarray(decode_image(encoded(np.dstack([COLORS, ALPHA]), icc_profile=WIDE), "x"))
    np.testing.assert_allclose(found[..., :3], expected, atol=1.5)
    np.testing.assert_array_equal(found[..., 3], ALPHA)
    palette = Image.fromarray((np.arange(192) % 4).reshape(12, 16).astype(np.uint8)).convert("P")
    palette.putpalette(COLORS[0, :4].ravel().tolist())
    found = np.asarray(decode_image(encoded(palette, icc_profile=WIDE), "x"))
    np.testing.assert_allclose(found[0, :4], expected[0, :4], atol=1.5)


def test_a_profile_of_grey_at_8_and_16_bits():
    levels = np.arange(0, 65536, 13, dtype=np.uint16)[:5000].reshape(50, 100)
    found = np.asarray(decode_image(encoded(levels, icc_profile=LINEAR_GREY), "x"))
    np.testing.assert_allclose(found, np.repeat(255 * srgb(levels / 65535.0)[..., None], 3, -1), atol=1.5)
    bytes_ = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = np.asarray(decode_image(encoded(bytes_, icc_profile=LINEAR_GREY), "x"))
    np.testing.assert_allclose(found, np.repeat(255 * srgb(bytes_ / 255.0)[..., None], 3, -1), atol=1.5)
    # Equal red, green and blue where the profile is one of colours.
    found = np.asarray(decode_image(encoded(bytes_, icc_profile=WIDE), "x"))
    np.testing.assert_allclose(found, np.repeat(255 * srgb((bytes_ / 255.0) ** 2.2)[..., None], 3, -1), atol=1.5)


@pytest.mark.parametrize("profile", [LINEAR_GREY, b"", b"no profile", WIDE[:200], WIDE.replace(b"mntr", b"abst")])
def test_a_profile_that_does_not_belong_is_ignored(profile):
    found = np.asarray(decode_image(encoded(COLORS, icc_profile=profile), "x"))
    np.testing.assert_array_equal(found, COLORS)


def test_16_bits_as_opencv_reads_them():
    deep = DRAW.integers(0, 65536, (12, 16), dtype=np.uint16)
    _, stored = cv2.imencode(".png", deep)
    theirs = cv2.imdecode(stored, cv2.IMREAD_UNCHANGED)
    found = np.asarray(decode_image(stored.tobytes(), "x"))
    np.testing.assert_array_equal(found[..., 0], np.rint(theirs / 257))
    np.testing.assert_array_equal(np.asarray(open_image(stored.tobytes(), "x")), theirs)
    mask = decode_mask(stored.tobytes(), "x")
    np.testing.assert_allclose(mask, theirs * (255 / theirs.max()), atol=0.51)
    for channels in (3, 4):
        deep = DRAW.integers(0, 65536, (12, 16, channels), dtype=np.uint16)
        _, stored = cv2.imencode(".png", deep)
        found = np.asarray(decode_image(stored.tobytes(), "x"))
        order = [2, 1, 0, 3][:channels]
        np.testing.assert_allclose(found, (deep / 257)[..., order], atol=1)


def test_cmyk_by_the_plain_formula():
    inks = DRAW.integers(0, 256, (16, 16, 4), dtype=np.uint8) // 64 * 64
    stored = encoded(Image.fromarray(np.repeat(np.repeat(inks, 8, 0), 8, 1), "CMYK"), "JPEG", quality=100)
    found = np.asarray(decode_image(stored, "x"))[4::8, 4::8].astype(float)
    expected = 255 * (1 - inks[..., :3] / 255.0) * (1 - inks[..., 3:] / 255.0)
    np.testing.assert_allclose(found, expected, atol=6)


def test_what_is_transparent_by_a_single_colour():
    for depth, rows, mark, seen in (
        (1, [b"\x50", b"\xa0"], b"\0\0", [[0, 255, 0, 255], [255, 0, 255, 0]]),
        (8, [b"\0\1\2\3", b"\3\2\1\0"], b"\0\2", [[255, 255, 0, 255], [255, 0, 255, 255]]),
        (16, [b"\1\0\1\1\2\0\3\0", b"\1\0\1\1\2\0\3\0"], b"\1\1", [[255, 0, 255, 255]] * 2),
    ):
        found = np.asarray(decode_image(png(4, 2, depth, 0, rows, chunk(b"tRNS", mark)), "x"))
        np.testing.assert_array_equal(found[..., 3], seen)
    rows = [b"\1\2\3\4\5\6", b"\4\5\6\1\2\3"]
    found = np.asarray(decode_image(png(2, 2, 8, 2, rows, chunk(b"tRNS", b"\0\4\0\5\0\6")), "x"))
    np.testing.assert_array_equal(found[..., 3], [[255, 0], [0, 255]])
    grey = np.dstack([COLORS[..., 0], ALPHA])
    found = np.asarray(decode_image(encoded(Image.fromarray(grey, "LA")), "x"))
    np.testing.assert_array_equal(found, np.dstack([grey[..., 0]] * 3 + [ALPHA]))


# What turns the stored rows upright, by the table of EXIF 2.3 (tag 0x0112).
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", TURNS)
def test_every_reader_turns_a_picture_upright(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4, 1) * 20, np.ones((8, 8, 3), np.uint8))
    options = {"PNG": {}, "JPEG": {"quality": 100}, "WEBP": {"lossless": True}}[kind]
    stored = encoded(pixels, kind, exif=exif, **options)
    expected = TURNS[orientation](pixels).astype(int)
    (tmp_path / "a").write_bytes(stored)
    for found in (
        read_image(tmp_path / "a")[..., :3],
        decode_pixels(stored, "x", upright=True),
        np.asarray(decode_image(stored, "x")),
    ):
        np.testing.assert_allclose(found, expected, atol=2)
    if kind == "JPEG":
        theirs = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_allclose(theirs, expected, atol=2)
    assert image_size(stored, "x") == expected.shape[1::-1]
    assert image_size(stored, "x", upright=False) == (32, 24)
    np.testing.assert_allclose(decode_pixels(stored, "x", upright=False), pixels, atol=2)
    square = encoded(pixels[:, :24], kind, exif=exif, **options)
    np.testing.assert_allclose(decode_premultiplied(square)[..., :3], TURNS[orientation](pixels[:, :24]), atol=2)
    np.testing.assert_allclose(decode_mask(stored, "x", upright=True), expected[..., 0] * (255 / 220), atol=3)


def exif_block(order, entries, start=8, count=None):
    body = struct.pack(f"{order}H", len(entries) if count is None else count) + b"".join(entries)
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start) + body


@pytest.mark.parametrize(
    ("block", "orientation"),
    [
        (exif_block(">", [struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)]), 6),
        (exif_block("<", [struct.pack("<HHII", 0x0100, 4, 2**31, 8), struct.pack("<HHIHH", 0x0112, 3, 1, 8, 0)]), 8),
        (exif_block("<", [struct.pack("<HHIHH", 0x0112, 3, 1, 9, 0)]), 1),
        (exif_block("<", [struct.pack("<HHII", 0x0112, 5, 1, 6)]), 1),
        (exif_block("<", [], count=65535), 1),
        (exif_block("<", [], start=2**32 - 1), 1),
        (b"II*\0", 1),
        (b"", 1),
    ],
)
def test_odd_exif_blocks(block, orientation):
    stored = encoded(np.zeros((2, 3, 3), np.uint8), "JPEG")
    segment = b"Exif\0\0" + block
    stored = stored[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + stored[2:]
    assert image_size(stored, "x") == ((2, 3) if orientation >= 5 else (3, 2))
    assert decode_image(stored, "x").size == image_size(stored, "x")


def test_the_first_picture_of_an_animation_is_read():
    frames = [Image.fromarray(np.full((8, 9, 3), 40 * i, np.uint8)) for i in range(1, 5)]
    for kind in ("GIF", "PNG", "WEBP"):
        stored = encoded(
            frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
        )
        found = np.asarray(decode_image(stored, "x").convert("RGB"))
        np.testing.assert_array_equal(found, np.full((8, 9, 3), 40))


def test_bmp_and_transparent_gif():
    np.testing.assert_array_equal(np.asarray(decode_image(encoded(COLORS, "BMP"), "x")), COLORS)
    palette = Image.fromarray(ALPHA % 3).convert("P")
    palette.putpalette([9, 8, 7, 1, 2, 3, 4, 5, 6])
    found = np.asarray(decode_image(encoded(palette, "GIF", transparency=1), "x"))
    np.testing.assert_array_equal(found[..., 3], np.where(ALPHA % 3 == 1, 0, 255))
    np.testing.assert_array_equal(found[ALPHA % 3 == 2][:, :3], [[4, 5, 6]] * int((ALPHA % 3 == 2).sum()))


def scans(count):
    stored = encoded(np.zeros((16, 16, 3), np.uint8), "JPEG", progressive=True)
    first = stored.index(b"\xff\xda")
    second = stored.index(b"\xff\xda", first + 2)
    return stored[:first] + stored[first:second] * count + stored[second:]


def swollen_exif():
    """One block whose 5000 entries all claim the same 60 KB, and a thousand such blocks one after another."""
    block = exif_block("<", [struct.pack("<HHII", 0x9000 + i, 7, 60000, 8) for i in range(5000)])
    segment = b"Exif\0\0" + block
    stored = encoded(np.zeros((8, 8, 3), np.uint8), "JPEG")
    return stored[:2] + (b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment) * 500 + stored[2:]


def commented_gif():
    stored = encoded(Image.fromarray(ALPHA), "GIF")
    place = stored.index(b"\x2c\0\0\0\0")
    return stored[:place] + b"\x21\xfe" + (b"\xff" + bytes([32]) * 255) * 200_000 + b"\0" + stored[place:]


def test_bombs_take_neither_time_nor_memory():
    giants = png(13300, 13300, 1, 0, [bytes(1663)] * 13300), png(2**31 - 1, 2**31 - 1, 16, 6, [b""])
    bitmap = struct.pack("<2sIHHIIiiHHIIIIII", b"BM", 0, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    for content, message in (
        (giants[0], "too many pixels: 13300×13300"),
        (giants[1], "too many pixels"),
        (scans(200), "more than 100 scans"),
        (bitmap, "too many pixels"),
    ):
        with pytest.raises(DataError, match=message):
            decode_image(content, "x")
    for content in (swollen_exif(), commented_gif()):
        decode_image(content, "x")
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def unknown_chunk(content):
    return content[:33] + chunk(b"CgBI", b"\0\0\0\0") + content[33:]


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_what_is_refused_is_named():
    whole = encoded(COLORS)
    run_lengths = (
        b"BM" + struct.pack("<IHHIIiiHHIIIIII", 80, 0, 0, 1078, 40, 4, 4, 1, 8, 1, 4, 0, 0, 256, 0) + bytes(1028)
    )
    cases = {
        "empty": b"",
        "a text file": b"hello",
        "a TIFF file": b"II*\0\x08\0\0\0",
        "a PostScript file": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "a PDF file": b"%PDF-1.7",
        "an SVG or XML file": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "a HEIC file": b"\0\0\0\x18ftypheic",
        "an AVIF file": b"\0\0\0\x18ftypavif",
        "of another kind": b"\0\1\2\3",
        "does not have its checksum": flipped(whole, len(whole) - 30),
        "a PNG without its end": whole[:-12],
        "a PNG whose last chunk is cut off": whole[:-20],
        "with a chunk 'CgBI'": unknown_chunk(whole),
        "a JPEG whose segment 0xdb is cut off": encoded(COLORS, "JPEG")[:30],
        "damaged and cannot be decoded": encoded(COLORS, "JPEG")[:-60],
        "a GIF without pixels": encoded(Image.fromarray(ALPHA), "GIF")[:20],
        "damaged or unusual WEBP": encoded(COLORS, "WEBP")[:40],
        "damaged or unusual BMP": encoded(COLORS, "BMP")[:30],
        "packed in a way that is not read": run_lengths + bytes(1028),
    }
    for message, content in cases.items():
        with pytest.raises(DataError, match=message) as caught:
            decode_image(content, "a.png")
        assert "\n" not in str(caught.value) and str(caught.value).startswith("a.png is ")
