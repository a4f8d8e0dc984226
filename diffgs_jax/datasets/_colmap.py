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
from diffgs_jax.datasets._lenses import COLMAP_MODELS, Lens, colmap_lens
from diffgs_jax.errors import DataError

_NUMBERS = {name: number for number, (name, _) in COLMAP_MODELS.items()}


class _Camera(NamedTuple):
    """A camera as the file has it: its model may be one that is not supported, if no picture was taken with it."""

    model: int | str
    width: int
    height: int
    parameters: list[float]


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
        DataError: if a file is missing, truncated, or contradicts the other, or a picture's camera is of a model that
            is not supported.
    """
    binary = (folder / "images.bin").exists() or not (folder / "images.txt").exists()
    try:
        cameras = _binary_cameras(folder / "cameras.bin") if binary else _text_cameras(folder / "cameras.txt")
        images = _binary_images(folder / "images.bin") if binary else _text_images(folder / "images.txt")
        lenses = {number: colmap_lens(*cameras[number]) for number in {camera for _, camera, _ in images}}
        posed = [PosedImage(name, lenses[camera], _pose(numbers)) for name, camera, numbers in images]
    except DataError as error:
        raise DataError(f"{folder}: {error}") from None
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise DataError(f"{folder} holds a truncated or damaged COLMAP model ({error})") from None
    except KeyError as error:
        raise DataError(f"{folder} holds no readable COLMAP model: there is no camera {error}") from None
    except ValueError as error:
        raise DataError(f"{folder} holds no readable COLMAP model: {error}") from None
    return sorted(posed, key=lambda image: image.name)


def _binary_cameras(file: pathlib.Path) -> dict[int, _Camera]:
    data, cameras = read_bytes(file), {}
    (count,), place = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<iiQQ", data, place)
        if model not in COLMAP_MODELS:
            raise DataError(f"{file.name} has a camera of the unknown model {model}")
        parameters = struct.unpack_from(f"<{COLMAP_MODELS[model][1]}d", data, place + 24)
        place += 24 + 8 * len(parameters)
        cameras[number] = _Camera(model, width, height, list(parameters))
    return cameras


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


def _text_cameras(file: pathlib.Path) -> dict[int, _Camera]:
    cameras = {}
    for line in _lines(file):
        if line and not line.startswith("#"):
            number, model, width, height, *parameters = line.split()
            known = _NUMBERS.get(model)
            if known is not None and len(parameters) != COLMAP_MODELS[known][1]:
                raise ValueError(f"{file.name} has a camera {model} of {len(parameters)} parameters")
            values = [float(value) for value in parameters]
            cameras[int(number)] = _Camera(model if known is None else known, int(width), int(height), values)
    return cameras


def _text_images(file: pathlib.Path) -> list[tuple[str, int, tuple[float, ...]]]:
    """Reads pairs of lines: a picture and its features, where an empty line or, left out by some tools, none may be.

    COLMAP takes whatever follows a picture for its features, and so loses every second picture of such a file.
    """
    images, after_image = [], False
    for line in _lines(file):
        is_features = after_image and _are_features(line)
        after_image = False
        if is_features or not line or line.startswith("#"):
            continue
        words = line.split(maxsplit=9)
        if len(words) != 10:
            raise ValueError(f"{file.name} has a line that is neither a picture nor its features: {line[:60]!r}")
        _, *numbers, camera, name = words
        images.append((name, int(camera), tuple(float(value) for value in numbers)))
        after_image = True
    return images


def _are_features(line: str) -> bool:
    """Returns whether a line lists features: x, y and the number of a 3D point, again and again."""
    words = line.split()
    try:
        return len(words) % 3 == 0 and all(np.isfinite(float(word)) for word in words)
    except ValueError:
        return False


def _lines(file: pathlib.Path) -> list[str]:
    return [line.strip() for line in read_bytes(file).decode().split("\n")]


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
