"""Pictures of every format, against OpenCV's decoders, and as the readers of records and masks take them."""

import io
import pathlib

import cv2
import numpy as np
from mutations import Case, Seed
from PIL import Image
from table import Reader

from diffgs_jax.data.images import decode_premultiplied
from diffgs_jax.datasets._images import decode_mask
from diffgs_jax.files import read_regular
from diffgs_jax.files.images import IMAGE_BYTES
from diffgs_jax.interop import read_image


def some_pixels(channels: int = 3, size: int = 24) -> np.ndarray:
    draw = np.random.default_rng(channels)
    coarse = draw.integers(0, 256, (4, 4, channels), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, kind, **options)
    return file.getvalue()


def opencv(path: str) -> np.ndarray | None:
    """Returns RGBA by OpenCV."""
    data = np.frombuffer(pathlib.Path(path).read_bytes(), np.uint8)
    if b"acTL" in data.tobytes():
        return None
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("not decoded")
    if data[:3].tobytes() == b"\xff\xd8\xff":
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)  # the only flag by which OpenCV looks at the orientation
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[-1])]]
    return pixels if pixels.shape[-1] == 4 else np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])


def seed(name: str, suffix: str, content: bytes) -> Seed:
    return Seed(name, {f"a{suffix}": content}, f"a{suffix}")


def png() -> Reader:
    def seeds() -> list[Seed]:
        exif = Image.Exif()
        exif[0x0112] = 6
        deep = np.arange(24 * 20, dtype=np.uint16).reshape(20, 24) * 136
        return [
            seed("colours and alpha", ".png", encoded(some_pixels(4), "PNG")),
            seed("grey of 16 bits", ".png", encoded(deep, "PNG")),
            seed("palette, turned", ".png", encoded(Image.fromarray(some_pixels()).quantize(8), "PNG", exif=exif)),
        ]

    def giants():
        for side in (8000, 9000, 13300, 30000):
            content = encoded(Image.new("1", (side, side)), "PNG") if side < 14000 else b""
            if content:
                yield Case(f"giant of {side}²", {"a.png": content}, "a.png", "a.png")

    def reference(path: str) -> np.ndarray | None:
        data = pathlib.Path(path).read_bytes()
        return None if b"eXIf" in data or data[16:20] == b"\0\0\x1f\x40" else opencv(path)

    return Reader("png", seeds, read_image, reference, giants)


def jpeg() -> Reader:
    def seeds() -> list[Seed]:
        exif = Image.Exif()
        exif[0x0112] = 8
        pixels = some_pixels(size=40)[:32]
        return [
            seed("plain", ".jpg", encoded(pixels, "JPEG", quality=90)),
            seed("progressive, turned", ".jpg", encoded(pixels, "JPEG", progressive=True, exif=exif)),
        ]

    return Reader("jpeg", seeds, read_image, opencv, atol=3, share=0.02)


def webp() -> Reader:
    def seeds() -> list[Seed]:
        return [
            seed("lossy", ".webp", encoded(some_pixels(4), "WEBP")),
            seed("lossless", ".webp", encoded(some_pixels(), "WEBP", lossless=True)),
        ]

    return Reader("webp", seeds, read_image, opencv, atol=3, share=0.02)


def gif() -> Reader:
    def seeds() -> list[Seed]:
        frames = [Image.fromarray(some_pixels(size=size)).quantize(8) for size in (24, 20)]
        return [seed("two pictures", ".gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))]

    return Reader("gif", seeds, read_image)


def bmp() -> Reader:
    def seeds() -> list[Seed]:
        return [seed("colours", ".bmp", encoded(some_pixels(), "BMP"))]

    return Reader("bmp", seeds, read_image, opencv)


def views() -> Reader:
    """A record's views, which come as bytes."""

    def read(path: str) -> np.ndarray:
        return decode_premultiplied(read_regular(path, limit=IMAGE_BYTES), 16)

    def seeds() -> list[Seed]:
        return [seed("a view", ".webp", encoded(some_pixels(4), "WEBP", quality=90))]

    return Reader("views", seeds, read)


def masks() -> Reader:
    def read(path: str) -> np.ndarray:
        return decode_mask(read_regular(path, limit=IMAGE_BYTES), "a mask")

    def seeds() -> list[Seed]:
        deep = np.arange(24 * 20, dtype=np.uint16).reshape(20, 24) * 130
        return [seed("grey of 16 bits", ".png", encoded(deep, "PNG"))]

    def reference(path: str) -> np.ndarray:
        pixels = cv2.imdecode(np.frombuffer(pathlib.Path(path).read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        return np.rint(pixels * (255 / max(1, pixels.max()))).astype(np.uint8)

    return Reader("masks", seeds, read, reference, atol=1)
