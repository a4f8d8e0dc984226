"""Posed photographs, or renderings given as such, made into one record: undistorted, square, upright."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from diffgs_jax.data.maps import encode_depth
from diffgs_jax.data.records import EncodedMap, Record
from diffgs_jax.data.validation import check_intrinsics
from diffgs_jax.datasets._images import decode_pixels, encode_pixels, shrink, shrink_map
from diffgs_jax.datasets._lenses import Lens, resample
from diffgs_jax.datasets._object_frame import frame_from_silhouettes
from diffgs_jax.datasets._poses import rigid_poses, upright
from diffgs_jax.datasets.options import SourceOptions
from diffgs_jax.datasets.reprojection import move_world
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Cameras

_MARGIN = 1.05
"""How much wider than the object its views are cut."""
_HULL_SIDE = 256
_COVERED = 12
"""Alpha from which a pixel belongs to the silhouette; low, for what is thinner than a pixel."""


class Photograph(NamedTuple):
    """One posed picture.

    Attributes:
        name: for messages.
        read: returns RGB or RGBA pixels, the way up that the lens has them (see `photograph_pixels`).
        lens: of the published picture, at any of its sizes.
        camera_to_world: OpenCV axes.
        read_depth: returns planar z, world units, NaN where there is none; or None.
    """

    name: str
    read: Callable[[], UInt8[np.ndarray, "h w c"]]
    lens: Lens
    camera_to_world: Float[np.ndarray, "4 4"]
    read_depth: Callable[[], Float[np.ndarray, "h w"]] | None = None


def photograph_pixels(encoded: bytes, name: str, lens: Lens) -> UInt8[np.ndarray, "h w c"]:
    """Returns a picture the way up that its camera was calculated for.

    Programs that find cameras take pictures as they are stored, or as their EXIF block turns them: the size says which.

    Args:
        encoded: the file.
        name: for messages.
        lens: of the picture at any size.

    Raises:
        DataError: if it cannot be decoded, or neither has the lens's shape.
    """
    stored = decode_pixels(encoded, name, upright=False)
    height, width = stored.shape[:2]
    if lens.fits(width, height):
        return stored
    turned = decode_pixels(encoded, name, upright=True)
    if lens.fits(turned.shape[1], turned.shape[0]):
        return turned
    on_side = " (a portrait on its side?)" if lens.fits(height, width) else ""
    raise DataError(f"{name} is {width}×{height} where its camera is {lens.width}×{lens.height}{on_side}")


def scene_record(uid: str, photographs: Sequence[Photograph], options: SourceOptions) -> Record:
    """Returns a record of a scene: the middle square of every photograph, undistorted, in a world with z up.

    The world's origin and scale are the source's.

    Args:
        uid: of the record.
        photographs: in the order of the video.
        options: of all sources.

    Raises:
        DataError: if a photograph cannot be read, or a camera is wrong.
    """
    poses = upright(_poses(photographs))
    images, intrinsics, depths = [], [], []
    for photograph in photographs:
        pixels = np.ascontiguousarray(photograph.read()[..., :3])
        lens = _lens_at(photograph, pixels)
        side = min(lens.width, lens.height)
        window = _middle_square(lens)
        check_intrinsics(window, photograph.name)
        images.append(
            encode_pixels(shrink(_view(pixels, lens, window, side, extend=True), options.size), options.quality)
        )
        intrinsics.append(window)
        depths.append(_depth(photograph, window, side, options))
    cameras = Cameras(poses.astype(np.float32), np.asarray(intrinsics, np.float32))
    return Record(uid, "scene", images, cameras, maps=_maps(depths))


def object_record(
    uid: str, photographs: Sequence[Photograph], options: SourceOptions, *, in_object_frame: bool = False
) -> Record:
    """Returns a record of an object that stands in all photographs, without its background, in the object frame.

    The views are cut to one field of view about the optical axis, the smallest that holds the object in all of them,
    unless the photographs are square pinhole views already. Position and size are those of the visual hull.

    Args:
        uid: of the record.
        photographs: RGBA, transparent where the object is not.
        options: of all sources.
        in_object_frame: the poses are in the object frame already, and stay as they are.

    Raises:
        DataError: if a photograph cannot be read or has no alpha, a camera is wrong, or the silhouettes contradict
            each other.
    """
    poses = _poses(photographs) if in_object_frame else upright(_poses(photographs))
    pictures, lenses = [], []
    for photograph in photographs:
        pixels = photograph.read()
        if pixels.shape[-1] != 4:
            raise DataError(f"{photograph.name} has no mask")
        pictures.append(pixels)
        lenses.append(_lens_at(photograph, pixels))
    if all(lens.is_pinhole and lens.width == lens.height for lens in lenses):
        windows = [_middle_square(lens) for lens in lenses]
        sides = [lens.width for lens in lenses]
    else:
        focal = 0.5 / (_MARGIN * _half_field(pictures, lenses, photographs))
        windows = [np.asarray([focal, focal, 0.5, 0.5])] * len(lenses)
        sides = [max(8, round(lens.fx / focal)) for lens in lenses]
    images, masks, depths = [], [], []
    for photograph, pixels, lens, window, side in zip(photographs, pictures, lenses, windows, sides, strict=True):
        check_intrinsics(window, photograph.name)
        view = _view(pixels, lens, window, side, extend=False)
        masks.append(shrink(view, _HULL_SIDE)[..., 3] > _COVERED)
        images.append(encode_pixels(shrink(view, options.size), options.quality))
        depths.append(_depth(photograph, window, side, options))
    cameras = Cameras(poses.astype(np.float32), np.asarray(windows, np.float32))
    offset, scale = np.zeros(3), 1.0
    if not in_object_frame:
        offset, scale = frame_from_silhouettes(masks, cameras, turned=options.turned_frame)
    scaled = [depth if depth is None else depth * np.float32(scale) for depth in depths]
    return Record(uid, "object", images, move_world(cameras, offset, scale), maps=_maps(scaled))


def _poses(photographs: Sequence[Photograph]) -> np.ndarray:
    if not photographs:
        raise DataError("it has no posed pictures")
    names = [photograph.name for photograph in photographs]
    return rigid_poses(np.stack([photograph.camera_to_world for photograph in photographs]), names)


def _lens_at(photograph: Photograph, pixels: np.ndarray) -> Lens:
    try:
        return photograph.lens.resized(pixels.shape[1], pixels.shape[0])
    except DataError as error:
        raise DataError(f"{photograph.name}: {error}") from None


def _middle_square(lens: Lens) -> np.ndarray:
    """Returns the intrinsics of the largest square in the middle, aligned to whole pixels."""
    side = min(lens.width, lens.height)
    left, top = (lens.width - side) // 2, (lens.height - side) // 2
    return np.asarray([lens.fx, lens.fy, lens.cx - left, lens.cy - top]) / side


def _view(pixels: np.ndarray, lens: Lens, window: np.ndarray, side: int, *, extend: bool) -> np.ndarray:
    if lens.is_pinhole and np.allclose(window, _middle_square(lens)) and side == min(lens.width, lens.height):
        left, top = (lens.width - side) // 2, (lens.height - side) // 2
        return np.ascontiguousarray(pixels[top : top + side, left : left + side])
    if pixels.shape[-1] == 3:
        return resample(pixels, lens, window, side, extend=extend)
    # Mixed with their alpha multiplied in (Pillow's RGBa), or what is hidden would show at the edges.
    premultiplied = np.asarray(Image.fromarray(pixels).convert("RGBa"))
    view = np.ascontiguousarray(resample(premultiplied, lens, window, side))
    return np.asarray(Image.frombytes("RGBa", (side, side), view.tobytes()).convert("RGBA"))


def _half_field(images: Sequence[np.ndarray], lenses: Sequence[Lens], photographs: Sequence[Photograph]) -> float:
    """Returns the largest |x/z| or |y/z| of any object pixel in any view."""
    largest = 0.0
    for pixels, lens, photograph in zip(images, lenses, photographs, strict=True):
        # A generous undistorted view of the mask, at low resolution; half a picture beyond each edge.
        reach = max(lens.width / lens.fx, lens.height / lens.fy)
        intrinsics = np.asarray([0.5 / reach, 0.5 / reach, 0.5, 0.5])
        mask = resample(np.ascontiguousarray(pixels[..., 3]), lens, intrinsics, 2 * _HULL_SIDE) > _COVERED
        if not mask.any():
            raise DataError(f"{photograph.name} has an empty mask")
        rows, columns = np.nonzero(mask)
        extent = np.abs(np.concatenate([rows, columns]) + 0.5 - _HULL_SIDE).max() + 0.5
        largest = max(largest, extent / _HULL_SIDE * reach)
    return largest


def _depth(photograph: Photograph, window: np.ndarray, side: int, options: SourceOptions) -> np.ndarray | None:
    if photograph.read_depth is None or not options.maps:
        return None
    depth = photograph.read_depth()
    lens = _lens_at(photograph, depth)
    square = resample(depth.astype(np.float32), lens, window, side, nearest=True)
    return shrink_map(square, options.size)


def _maps(depths: list[np.ndarray | None]) -> dict[str, EncodedMap]:
    found = [depth for depth in depths if depth is not None]
    if len(found) < len(depths) or len({depth.shape for depth in found}) > 1:
        return {}
    return {"depth": encode_depth(np.stack(found))}
