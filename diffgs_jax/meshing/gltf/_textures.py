"""Textures of a glTF file: their pixels, and where on them a surface looks.

Source: glTF 2.0 specification, section 3.8; KHR_texture_transform; EXT_texture_webp.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from diffgs_jax.errors import DataError
from diffgs_jax.files.images import open_image
from diffgs_jax.interop.gltf.accessors import view_bytes
from diffgs_jax.interop.gltf.document import Document, extension, integer, item, numbers, resource, unimplemented
from diffgs_jax.meshing.textures import shrunk_texture

_CLAMP, _MIRROR, _REPEAT = 33071, 33648, 10497


class PlacedTexture(NamedTuple):
    """A texture as a material uses it.

    Attributes:
        pixels: RGBA, display values, straight alpha, top row first.
        set: number of the texture coordinates (TEXCOORD_n).
        transform: takes them, v down as in the file, to those on the texture.
        wraps: of u and v, as OpenGL numbers them.
    """

    pixels: UInt8[np.ndarray, "h w 4"]
    set: int
    transform: Float[np.ndarray, "2 3"]
    wraps: tuple[int, int]

    def placed_as(self, other: "PlacedTexture") -> bool:
        """Returns whether the same point of both is at the same point of the surface."""
        same = self.set == other.set and self.wraps == other.wraps
        return same and bool(np.array_equal(self.transform, other.transform))


class TextureReader:
    """Reads the textures of one file, each image once."""

    def __init__(self, document: Document):
        self._document = document
        self._images: dict[int, np.ndarray] = {}

    def read(self, info: dict[str, Any] | None) -> PlacedTexture | None:
        """Returns what a `textureInfo` refers to, or None.

        Raises:
            DataError: if its image is of a kind that cannot be read, or damaged.
            ValueError: if it refers to something that is not there.
        """
        if info is None:
            return None
        content = self._document.content
        texture = item(content, "textures", info["index"])
        moved = extension(info, "KHR_texture_transform") or {}
        sampler = item(content, "samplers", texture["sampler"]) if "sampler" in texture else {}
        wraps = sampler.get("wrapS", _REPEAT), sampler.get("wrapT", _REPEAT)
        if not set(wraps) <= {_CLAMP, _MIRROR, _REPEAT}:
            raise ValueError(f"a sampler wraps like {str(wraps)[:40]}")
        texture_set = integer(moved.get("texCoord", info.get("texCoord")), 0)
        return PlacedTexture(self._pixels(self._source(texture)), texture_set, _transform(moved), wraps)

    def _source(self, texture: dict[str, Any]) -> int:
        """Returns the number of the image to use, one that an extension gives before the plain one."""
        webp = extension(texture, "EXT_texture_webp")
        if webp is not None and "source" in webp:
            return integer(webp["source"])
        if "source" in texture:
            return integer(texture["source"])
        names = ", ".join(map(str, texture.get("extensions", {})))
        if names:
            raise unimplemented(self._document, names)
        raise ValueError("a texture has no image")

    def _pixels(self, number: int) -> np.ndarray:
        if number not in self._images:
            image = item(self._document.content, "images", number)
            path = self._document.path
            if "uri" in image:
                encoded = resource(path, image["uri"])
            else:
                encoded = bytes(view_bytes(self._document, image["bufferView"]))
            self._images[number] = decode_texture(encoded, f"images[{number}] of {path}")
        return self._images[number]


def decode_texture(encoded: bytes, name: str) -> UInt8[np.ndarray, "h w 4"]:
    """Returns an image as a texture; colour profiles and orientations in it do not count (section 3.9.2).

    Raises:
        DataError: if it is of a kind that is not read, too large, or damaged.
    """
    if encoded[1:7] == b"KTX 20":
        raise DataError(f"{name} is KTX2 (KHR_texture_basisu), which is not implemented; export it as PNG or JPEG")
    image = open_image(encoded, name, upright=False)
    if image.format not in ("PNG", "JPEG", "WEBP"):
        raise DataError(f"{name} is a {image.format} picture; textures are PNG, JPEG or WebP")
    try:
        if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip
            image = Image.fromarray(np.rint(np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
        return shrunk_texture(image)
    except (ValueError, OSError, TypeError) as error:  # a palette or transparency that Pillow cannot convert
        raise DataError(f"{name} is an unreadable picture: {error}") from None


def unmirrored(texture: PlacedTexture) -> PlacedTexture:
    """Returns a texture that repeats, and shows what one showed that repeats mirrored."""
    pixels, transform = texture.pixels, texture.transform.copy()
    for axis, row in ((1, 0), (0, 1)):
        if texture.wraps[row] == _MIRROR:
            pixels = np.concatenate([pixels, np.flip(pixels, axis)], axis)
            transform[row] /= 2
    u, v = (_REPEAT if wrap == _MIRROR else wrap for wrap in texture.wraps)
    return texture._replace(pixels=pixels, transform=transform, wraps=(u, v))


def clamps(texture: PlacedTexture | None) -> tuple[bool, bool]:
    """Returns in which directions the texture's edge goes on outside of it."""
    return (False, False) if texture is None else (texture.wraps[0] == _CLAMP, texture.wraps[1] == _CLAMP)


def _transform(moved: dict[str, Any]) -> Float[np.ndarray, "2 3"]:
    """Returns offset · rotation · scale; the rotation is counter-clockwise as seen, with v down."""
    (angle,) = numbers(moved.get("rotation"), (0.0,))
    offset = numbers(moved.get("offset"), (0.0, 0.0))
    rotation = np.asarray([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.column_stack([rotation * numbers(moved.get("scale"), (1.0, 1.0)), offset])
