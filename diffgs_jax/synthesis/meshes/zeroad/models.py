"""0 A.D.'s meshes (PMD) and animations (PSA), and meshes in the pose that an animation begins with.

Both formats are little endian, with y up in a left-handed world; rotations are quaternions x, y, z, w. A PMD file is
"PSMD", version, size, counts of vertices and UV sets (u32 each); for every vertex position and normal (3 f32 each), its
UV sets (2 f32 each), 4 bone numbers (u8, 255 for none) and 4 weights (f32); a count and u16 triples of faces; a count
and poses (translation, rotation) of bones; a count of attachment points: name (length, text), translation, rotation,
bone (u8). A PSA file is "PSSA", version, size, a name, the time of a frame (f32), counts of bones and frames, and a
pose for every bone of every frame. Poses of bones are those of the object, not of the parent bone.

Source: the game's own loaders (ModelDef.h, SkeletonAnimDef.h).
"""

import struct
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from diffgs_jax.errors import DataError

_NO_BONE = 255


class Pose(NamedTuple):
    """Rotations and translations.

    Attributes:
        rotations: quaternions x, y, z, w.
        translations: xyz.
    """

    rotations: Float[np.ndarray, "b 4"]
    translations: Float[np.ndarray, "b 3"]


class AttachmentPoint(NamedTuple):
    """Where other models are put onto one.

    Attributes:
        transform: relative to its bone, or to the model.
        bone: number, or None.
    """

    transform: Float[np.ndarray, "4 4"]
    bone: int | None


class GameModel(NamedTuple):
    """A mesh as the game stores it.

    Attributes:
        positions: `[v, 3]`.
        normals: `[v, 3]`.
        uv: `[v, 2]`, v up, of the first set.
        bones: `[v, 4]` numbers, 255 for none.
        weights: `[v, 4]`.
        faces: `[f, 3]`.
        rest: poses of the bones that the positions belong to.
        points: by name.
    """

    positions: Float[np.ndarray, "v 3"]
    normals: Float[np.ndarray, "v 3"]
    uv: Float[np.ndarray, "v 2"]
    bones: UInt8[np.ndarray, "v 4"]
    weights: Float[np.ndarray, "v 4"]
    faces: Int[np.ndarray, "f 3"]
    rest: Pose
    points: dict[str, AttachmentPoint]


def read_pmd(data: bytes) -> GameModel:
    """Reads a mesh.

    Raises:
        DataError: if the file is another, of another version, or ends early.
    """
    try:
        if data[:4] != b"PSMD":
            raise ValueError("it does not begin with PSMD")
        version, _, count = struct.unpack_from("<III", data, 4)
        if version != 4:
            raise ValueError(f"it has version {version}, and 4 is read")
        (sets,), offset = struct.unpack_from("<I", data, 16), 20
        vertex = np.dtype(
            [
                ("position", "<f4", 3),
                ("normal", "<f4", 3),
                ("uv", "<f4", (sets, 2)),
                ("bones", "u1", 4),
                ("weights", "<f4", 4),
            ]
        )
        vertices: Any = np.frombuffer(data, vertex, count, offset)
        offset += vertices.nbytes
        (count,) = struct.unpack_from("<I", data, offset)
        faces = np.frombuffer(data, "<u2", 3 * count, offset + 4).reshape(-1, 3).astype(int)
        offset += 4 + 6 * count
        (count,) = struct.unpack_from("<I", data, offset)
        rest = _poses(data, count, offset + 4)
        points = _points(data, offset + 4 + 28 * count, count)
        if len(faces) and faces.max() >= len(vertices):
            raise ValueError("a face has a vertex that is not there")
    except (struct.error, ValueError) as error:
        raise DataError(f"no mesh of 0 A.D.: {error}") from None
    uv = vertices["uv"][:, 0] if sets else np.zeros((len(vertices), 2))
    return GameModel(
        vertices["position"].astype(float),
        vertices["normal"].astype(float),
        uv.astype(float),
        vertices["bones"].copy(),
        vertices["weights"].astype(float),
        faces,
        rest,
        points,
    )


def read_psa(data: bytes) -> Pose:
    """Returns the pose in which an animation begins.

    Raises:
        DataError: if the file is another, or ends early.
    """
    try:
        if data[:4] != b"PSSA":
            raise ValueError("it does not begin with PSSA")
        (name,) = struct.unpack_from("<I", data, 12)
        bones, frames = struct.unpack_from("<II", data, 20 + name)
        if not frames:
            raise ValueError("it has no frame")
        return _poses(data, bones, 28 + name)
    except (struct.error, ValueError) as error:
        raise DataError(f"no animation of 0 A.D.: {error}") from None


def pose_matrices(pose: Pose) -> Float[np.ndarray, "b 4 4"]:
    """Returns the matrices of poses."""
    x, y, z, w = np.moveaxis(pose.rotations / np.linalg.norm(pose.rotations, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrices = np.tile(np.eye(4), (len(x), 1, 1))
    matrices[:, :3, :3] = np.moveaxis(np.asarray(rows), -1, 0)
    matrices[:, :3, 3] = pose.translations
    return matrices


def posed_model(model: GameModel, pose: Pose | None) -> GameModel:
    """Returns a model moved to a pose, its attachment points relative to the model.

    Args:
        model: as read.
        pose: of its bones; its own, or one of other bones, leaves it at rest.
    """
    rest = pose_matrices(model.rest)
    bones = rest if pose is None or len(pose.rotations) != len(rest) else pose_matrices(pose)
    points = {
        name: AttachmentPoint(point.transform if point.bone is None else bones[point.bone] @ point.transform, None)
        for name, point in model.points.items()
    }
    if not len(rest):
        return model._replace(points=points)
    moves = np.concatenate([bones @ np.linalg.inv(rest), np.eye(4)[None]])
    used = np.where((model.bones == _NO_BONE) | (model.weights <= 0), 0.0, model.weights)
    numbers = np.where(used > 0, np.minimum(model.bones, len(rest)), len(rest))
    total = used.sum(axis=1, keepdims=True)
    used = np.where(total > 0, used / np.where(total > 0, total, 1.0), [1.0, 0.0, 0.0, 0.0])
    blended = np.einsum("vb,vbij->vij", used, moves[numbers])
    positions = np.einsum("vij,vj->vi", blended[:, :3, :3], model.positions) + blended[:, :3, 3]
    normals = np.einsum("vij,vj->vi", blended[:, :3, :3], model.normals)
    return model._replace(positions=positions, normals=normals, points=points)


def _poses(data: bytes, count: int, offset: int) -> Pose:
    values = np.frombuffer(data, "<f4", 7 * count, offset).reshape(count, 7).astype(float)
    return Pose(values[:, 3:], values[:, :3])


def _points(data: bytes, offset: int, bones: int) -> dict[str, AttachmentPoint]:
    (count,), offset = struct.unpack_from("<I", data, offset), offset + 4
    points = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<I", data, offset)
        name = data[offset + 4 : offset + 4 + length].decode("latin-1")
        offset += 4 + length
        transform = pose_matrices(_poses(data, 1, offset))[0]
        bone = data[offset + 28 : offset + 29]
        number = bone[0] if bone and bone[0] < bones else None
        points[name], offset = AttachmentPoint(transform, number), offset + 29
    return points
