"""COLMAP's sparse models: cameras and poses, binary or text.

Only what a dataset needs is read, with every length checked: COLMAP's own reader takes the process down on a
truncated file.
Format: https://colmap.github.io/format.html. World-to-camera poses, OpenCV axes, quaternions wxyz.
"""

import pathlib
import struct
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffgs_jax.datasets._files import read_bytes
from diffgs_jax.datasets._lenses import Lens, colmap_lens
from diffgs_jax.errors import DataError

_PARAMETERS = {0: 3, 1: 4, 2: 4, 3: 5, 4: 8, 5: 8, 6: 12, 7: 5, 8: 4, 9: 5, 10: 12}
"""How many numbers a camera model has, by COLMAP's number of the model."""
_NAMES = {
    "SIMPLE_PINHOLE": 0,
    "PINHOLE": 1,
    "SIMPLE_RADIAL": 2,
    "RADIAL": 3,
    "OPENCV": 4,
    "OPENCV_FISHEYE": 5,
    "FULL_OPENCV": 6,
    "FOV": 7,
    "SIMPLE_RADIAL_FISHEYE": 8,
    "RADIAL_FISHEYE": 9,
    "THIN_PRISM_FISHEYE": 10,
}


class PosedImage(NamedTuple):
    """One registered picture: its file's name, lens and pose (OpenCV axes, COLMAP's world)."""

    name: str
    lens: Lens
    camera_to_world: Float[np.ndarray, "4 4"]


def read_colmap(folder: pathlib.Path) -> list[PosedImage]:
    """Returns the registered pictures of a sparse model, by name.

    Args:
        folder: with cameras.bin and images.bin, or cameras.txt and images.txt.

    Raises:
        DataError: if a file is missing, truncated, or contradicts the other.
    """
    binary = (folder / "images.bin").exists() or not (folder / "images.txt").exists()
    try:
        lenses = _binary_lenses(folder / "cameras.bin") if binary else _text_lenses(folder / "cameras.txt")
        images = _binary_images(folder / "images.bin") if binary else _text_images(folder / "images.txt")
        posed = [PosedImage(name, lenses[camera], _pose(numbers)) for name, camera, numbers in images]
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise DataError(f"{folder} holds a truncated or damaged COLMAP model ({error})") from None
    except (KeyError, ValueError) as error:
        raise DataError(f"{folder} holds no readable COLMAP model: {error}") from None
    return sorted(posed, key=lambda image: image.name)


def _binary_lenses(file: pathlib.Path) -> dict[int, Lens]:
    data, lenses = read_bytes(file), {}
    (count,), place = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<iiQQ", data, place)
        if model not in _PARAMETERS:
            raise DataError(f"{file} has a camera of the unknown model {model}")
        parameters = struct.unpack_from(f"<{_PARAMETERS[model]}d", data, place + 24)
        place += 24 + 8 * len(parameters)
        lenses[number] = colmap_lens(model, width, height, list(parameters))
    return lenses


def _binary_images(file: pathlib.Path) -> list[tuple[str, int, tuple[float, ...]]]:
    data, images = read_bytes(file), []
    (count,), place = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        _, *numbers, camera = struct.unpack_from("<i7di", data, place)
        end = data.index(b"\0", place + 64)
        (points,) = struct.unpack_from("<Q", data, end + 1)
        place_after = end + 9 + 24 * points  # x, y and the 3D point's number of every feature
        if place_after > len(data):
            raise struct.error(f"{file.name} ends within image {len(images)}")
        images.append((data[place + 64 : end].decode(), camera, tuple(numbers)))
        place = place_after
    return images


def _text_lenses(file: pathlib.Path) -> dict[int, Lens]:
    lenses = {}
    for line in _lines(file):
        if line:
            number, model, width, height, *parameters = line.split()
            values = [float(value) for value in parameters]
            lenses[int(number)] = colmap_lens(_NAMES[model], int(width), int(height), values)
    return lenses


def _text_images(file: pathlib.Path) -> list[tuple[str, int, tuple[float, ...]]]:
    images = []
    for line in _lines(file)[::2]:  # every second line lists the features
        if line:
            _, *numbers, camera, name = line.split(maxsplit=9)
            images.append((name, int(camera), tuple(float(value) for value in numbers)))
    return images


def _lines(file: pathlib.Path) -> list[str]:
    return [line.strip() for line in read_bytes(file).decode().splitlines() if not line.startswith("#")]


def _pose(numbers: tuple[float, ...]) -> np.ndarray:
    """Returns `camera_to_world` from the quaternion and translation of world-to-camera."""
    quaternion, translation = np.asarray(numbers[:4]), np.asarray(numbers[4:])
    length = np.linalg.norm(quaternion)
    if not np.isfinite(length) or length < 1e-12:
        return np.full((4, 4), np.nan)
    w, x, y, z = quaternion / length
    rotation = np.asarray(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.T, -rotation.T @ translation
    return pose
