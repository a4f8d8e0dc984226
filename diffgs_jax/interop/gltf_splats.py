"""Gaussians to and from glTF: the extension KHR_gaussian_splatting, release candidate of 2026.

A mesh of points whose attributes are the Gaussians: scales as they are, opacities in [0, 1], quaternions xyzw, one
attribute for each harmonic. glTF has y up: the node turns the object frame, so that the numbers stay those of the .ply.
Source: github.com/KhronosGroup/glTF, extensions/2.0/Khronos/KHR_gaussian_splatting, and glTF 2.0, section 4 (GLB).
"""

import json
import math
import os
import pathlib
import struct
from typing import Any

import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import DataError
from diffgs_jax.files import shown
from diffgs_jax.files.atomic import written_beside
from diffgs_jax.geometry import Gaussians, turn_gaussians
from diffgs_jax.interop._finished import LARGEST_COUNT, all_finite, finished
from diffgs_jax.interop.gltf.accessors import read_accessor
from diffgs_jax.interop.gltf.document import (
    Document,
    extension,
    item,
    items,
    open_document,
    unimplemented,
    valid_document,
)
from diffgs_jax.interop.gltf.nodes import node_transforms, shown_nodes

EXTENSION = "KHR_gaussian_splatting"

_FLOAT, _BYTE = 5126, 5121  # component types
_WIDTHS = {3: "VEC3", 4: "VEC4", 1: "SCALAR"}
_Y00 = 0.5 / math.sqrt(math.pi)
_FRAME_TO_FILE = np.asarray([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])  # as meshes: z up becomes y up
_NODE_ROTATION = (-0.5, -0.5, -0.5, 0.5)  # the same, as a quaternion xyzw
_SMALLEST_SCALE = 1e-12


def write_gltf_splats(path: str | os.PathLike[str], gaussians: Gaussians) -> int:
    """Writes one set of Gaussians as a GLB, float32, with colours for readers that show points instead.

    Args:
        path: the file; one that is there is replaced when the new one is complete.
        gaussians: without batch axes, `[n, …]`, SH degree 0 to 3, at least one.

    Returns:
        The number of Gaussians written.

    Raises:
        DataError: if a value is not finite, or there are no Gaussians.
        UserError: if the file cannot be written.
    """
    means, rotations, scales, opacities, sh = finished(path, gaussians)
    if not len(means):
        raise DataError(f"{path} was not written: there are no Gaussians, and glTF has no empty arrays")
    colors = np.concatenate([0.5 + _Y00 * sh[:, 0], opacities[:, None]], axis=1)
    arrays = {
        "POSITION": means.astype("<f4"),
        "COLOR_0": np.round(255 * colors.clip(0, 1)).astype(np.uint8),
        f"{EXTENSION}:ROTATION": _unit(rotations[:, [1, 2, 3, 0]]),
        f"{EXTENSION}:SCALE": np.maximum(scales, _SMALLEST_SCALE).astype("<f4"),
        f"{EXTENSION}:OPACITY": opacities.clip(0, 1).astype("<f4")[:, None],
    }
    for index, name in enumerate(_harmonic_names(math.isqrt(sh.shape[1]) - 1)):
        arrays[name] = sh[:, index].astype("<f4")
    with written_beside(path) as beside:
        beside.write_bytes(_glb(arrays))
    return len(means)


def read_gltf_splats(path: str | os.PathLike[str]) -> Gaussians:
    """Reads the Gaussians of a `.glb` or `.gltf`; those of several nodes become one set.

    Files of the drafts before the release candidate store logarithms of scales, which are told by some being negative.

    Returns:
        Float32 numpy Gaussians `[n, …]`, activations applied, turned so that the file's y is z.

    Raises:
        UserError: if the file is missing or cannot be read.
        DataError: if it is damaged, holds no Gaussians, or has them in a way that is not implemented.
    """
    path = pathlib.Path(path)
    with valid_document(path):
        document = open_document(path)
        parts = list(_parts(document))
        if not parts:
            raise DataError(f"{shown(path)} holds no Gaussians")
        coefficients = max(part.sh.shape[1] for part in parts)
        padded = [
            part._replace(sh=np.pad(part.sh, [(0, 0), (0, coefficients - part.sh.shape[1]), (0, 0)])) for part in parts
        ]
        joined = Gaussians(*(np.concatenate(leaves).astype(np.float32) for leaves in zip(*padded, strict=True)))
    if len(joined.means) > LARGEST_COUNT:
        raise DataError(f"{shown(path)} holds {len(joined.means)} Gaussians; at most {LARGEST_COUNT} are read")
    return all_finite(joined, shown(path))


def holds_gltf_splats(path: str | os.PathLike[str]) -> bool:
    """Returns whether a glTF file uses the extension, so that it is no mesh.

    Raises:
        DataError: if the file cannot be read.
    """
    path = pathlib.Path(path)
    with valid_document(path):
        return EXTENSION in items(open_document(path).content, "extensionsUsed")


def _glb(arrays: dict[str, np.ndarray]) -> bytes:
    views, accessors, place = [], [], 0
    for array in arrays.values():
        views.append({"buffer": 0, "byteOffset": place, "byteLength": array.nbytes})
        is_float = array.dtype.kind == "f"
        accessor: dict[str, Any] = {
            "bufferView": len(accessors),
            "componentType": _FLOAT if is_float else _BYTE,
            "count": len(array),
            "type": _WIDTHS[array.shape[1]],
        }
        if not is_float:
            accessor["normalized"] = True
        accessors.append(accessor)
        place += array.nbytes
    positions = arrays["POSITION"]
    accessors[0] |= {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    primitive = {
        "attributes": {name: index for index, name in enumerate(arrays)},
        "mode": 0,
        "extensions": {EXTENSION: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}},
    }
    tree = {
        "asset": {"version": "2.0", "generator": "diffgs_jax"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "rotation": _NODE_ROTATION}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": place}],
    }
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())  # whole words, all of them
    length = 12 + 8 + len(text) + 8 + len(binary)
    return b"".join(
        [
            struct.pack("<4sII", b"glTF", 2, length),
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", len(binary), b"BIN\0"),
            binary,
        ]
    )


def _parts(document: Document) -> list[Gaussians]:
    found, transforms = [], node_transforms(document)
    for number in shown_nodes(document):
        mesh = item(document.content, "meshes", item(document.content, "nodes", number)["mesh"])
        for primitive in items(mesh, "primitives"):
            told = extension(primitive, EXTENSION)
            if told is not None:
                local = _gaussians_of(document, primitive, told)
                found.append(_placed(document, local, transforms[number]))
    return found


def _gaussians_of(document: Document, primitive: dict[str, Any], told: dict[str, Any]) -> Gaussians:
    if primitive.get("mode") != 0:
        raise ValueError("Gaussians are no points")
    for name, known in (("kernel", "ellipse"), ("colorSpace", "srgb_rec709_display")):
        if told.get(name, known) != known:
            raise DataError(f"{document.path} has Gaussians of the {name} {str(told[name])[:40]}; {known} can be read")
    for name in told.get("extensions", {}):
        raise unimplemented(document, str(name))
    attributes = primitive["attributes"]

    def values(name: str, *kinds: str) -> Float[np.ndarray, "n w"]:
        return read_accessor(document, attributes[name], kinds)

    means = values("POSITION", "VEC3")
    scales, opacities = values(f"{EXTENSION}:SCALE", "VEC3"), values(f"{EXTENSION}:OPACITY", "SCALAR")
    if (scales < 0).any():
        with np.errstate(over="ignore"):
            scales = np.exp(scales)
    degree = 0
    while degree < 3 and f"{EXTENSION}:SH_DEGREE_{degree + 1}_COEF_0" in attributes:
        degree += 1
    sh = np.stack([values(name, "VEC3") for name in _harmonic_names(degree)], axis=1)
    rotations = values(f"{EXTENSION}:ROTATION", "VEC4")[:, [3, 0, 1, 2]]
    if len({len(leaf) for leaf in (means, rotations, scales, opacities, sh)}) != 1:
        raise ValueError("attributes of Gaussians have different counts")
    return Gaussians(means, rotations, scales, opacities[:, 0].clip(0, 1), sh)


def _placed(document: Document, gaussians: Gaussians, transform: Float[np.ndarray, "4 4"]) -> Gaussians:
    """Returns Gaussians of a node in the object frame."""
    linear = _FRAME_TO_FILE.T @ transform[:3, :3]
    size = abs(np.linalg.det(linear)) ** (1 / 3)
    if size < 1e-12 or not np.allclose(linear @ linear.T, size**2 * np.eye(3), atol=1e-4 * size**2):
        raise DataError(
            f"{document.path} has Gaussians in a node that stretches them unevenly, which is not implemented"
        )
    if np.linalg.det(linear) < 0:
        raise DataError(f"{document.path} has Gaussians in a node that mirrors them, which is not implemented")
    turned = turn_gaussians(gaussians, linear / size)
    return turned._replace(means=turned.means * size + _FRAME_TO_FILE.T @ transform[:3, 3], scales=turned.scales * size)


def _harmonic_names(degree: int) -> list[str]:
    """Returns the attributes of all harmonics up to a degree, in their order."""
    return [f"{EXTENSION}:SH_DEGREE_{band}_COEF_{index}" for band in range(degree + 1) for index in range(2 * band + 1)]


def _unit(quaternions: Float[np.ndarray, "n 4"]) -> np.ndarray:
    """Returns float32 quaternions, of unit length as far as float32 can say it."""
    return (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).astype("<f4")
