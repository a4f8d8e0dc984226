"""The vertices of a glTF primitive: morphed, its strips and fans as triangles.

Source: glTF 2.0 specification, section 3.7.2.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from diffgs_jax.interop.gltf.accessors import has_data, read_accessor
from diffgs_jax.interop.gltf.document import Document, integer, items, numbers, unimplemented

_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_MOST_INFLUENCES = 4
"""Sets of four joints for a vertex."""


class Primitive(NamedTuple):
    """Triangles of a mesh, before a node places them.

    Attributes:
        positions: `[v, 3]`.
        normals: `[v, 3]` or None.
        faces: `[f, 3]`.
        uv: texture coordinates `[v, 2]` by the number of their set, v down.
        colors: `[v, 4]` linear, in [0, 1]; None for white.
        joints: `[v, k]` numbers of a skin's joints, k = 0 where nothing is skinned.
        weights: `[v, k]`, of sum 1.
        material: its index, or None.
    """

    positions: Float[np.ndarray, "v 3"]
    normals: Float[np.ndarray, "v 3"] | None
    faces: Int[np.ndarray, "f 3"]
    uv: dict[int, Float[np.ndarray, "v 2"]]
    colors: Float[np.ndarray, "v 4"] | None
    joints: Int[np.ndarray, "v k"]
    weights: Float[np.ndarray, "v k"]
    material: int | None


def read_primitive(
    document: Document, primitive: dict[str, Any], morph: tuple[float, ...], coordinates: set[int]
) -> Primitive | None:
    """Returns a primitive, or None where it has no triangles, only points or lines.

    Args:
        document: the file.
        primitive: of a mesh.
        morph: weights of its morph targets.
        coordinates: numbers of the texture coordinates that its material needs.

    Raises:
        DataError: if an extension has compressed it.
        ValueError: if it is not as the specification demands.
    """
    mode, attributes = integer(primitive.get("mode"), _TRIANGLES), primitive["attributes"]
    if mode > _FAN:
        raise ValueError(f"a primitive has the mode {mode}")
    if mode < _TRIANGLES or "POSITION" not in attributes:
        return None
    _refuse_compressed(document, primitive)
    positions = read_accessor(document, attributes["POSITION"], ("VEC3",))
    count = len(positions)

    def read(name: str, *types: str, kinds: str = "fiu", normalize: bool | None = None) -> np.ndarray | None:
        if name not in attributes:
            return None
        values = read_accessor(document, attributes[name], types, kinds, normalize=normalize)
        if len(values) != count:
            raise ValueError(f"a primitive has {count} positions and {len(values)} of {name}")
        return values

    normals = read("NORMAL", "VEC3", normalize=True)
    uv = {number: read(f"TEXCOORD_{number}", "VEC2") for number in coordinates}
    colors = _with_alpha(read("COLOR_0", "VEC3", "VEC4", kinds="fu", normalize=True), 1.0)
    joints, weights = [], []
    for number in range(_MOST_INFLUENCES + 1):
        if f"JOINTS_{number}" in attributes:
            if number == _MOST_INFLUENCES:
                raise ValueError(f"a primitive has more than {_MOST_INFLUENCES} sets of joints")
            joints.append(read(f"JOINTS_{number}", "VEC4", kinds="u"))
            weights.append(read(f"WEIGHTS_{number}", "VEC4", kinds="fu", normalize=True))
    for target, weight in zip(items(primitive, "targets"), morph, strict=False):
        positions = positions + weight * _offset(document, target, "POSITION", positions)
        normals = None if normals is None else normals + weight * _offset(document, target, "NORMAL", normals)
        colors = None if colors is None else colors + weight * _offset(document, target, "COLOR_0", colors)
        for number, values in uv.items():
            if values is not None:
                uv[number] = values + weight * _offset(document, target, f"TEXCOORD_{number}", values)
    if "indices" in primitive:
        order = read_accessor(document, primitive["indices"], ("SCALAR",), "u")[:, 0]
        if order.max() >= count:
            raise ValueError(f"a primitive of {count} vertices has the index {order.max()}")
    else:
        order = np.arange(count)
    lacking = [number for number, values in uv.items() if values is None]
    if lacking:
        raise ValueError(f"a primitive has a texture on TEXCOORD_{lacking[0]}, which it lacks")
    known = {number: values for number, values in uv.items() if values is not None}
    shares = np.concatenate(weights, axis=1) if weights else np.zeros((count, 0))
    if weights and ((shares < 0).any() or (shares.sum(axis=1) <= 0).any()):
        raise ValueError("a vertex has no joint, or one with a negative weight")
    whole = Primitive(
        positions=positions,
        normals=normals,
        faces=_faces(mode, order),
        uv=known,
        colors=None if colors is None else np.clip(colors, 0.0, 1.0),
        joints=np.concatenate(joints, axis=1) if joints else np.zeros((count, 0), np.int64),
        weights=shares / shares.sum(axis=1, keepdims=True) if weights else shares,
        material=integer(primitive["material"]) if "material" in primitive else None,
    )
    return _without_unused(whole)


def morph_weights(mesh: dict[str, Any], node: dict[str, Any]) -> tuple[float, ...]:
    """Returns the weights of a mesh's morph targets, up to the last that is not 0."""
    stored = node.get("weights", mesh.get("weights", []))
    weights = numbers(stored, (0.0,) * len(stored))
    while weights and weights[-1] == 0:
        weights = weights[:-1]
    return weights


def _without_unused(whole: Primitive) -> Primitive:
    """Leaves out vertices of no triangle: primitives often share the vertices of a whole file."""
    used = np.zeros(len(whole.positions), bool)
    used[whole.faces.reshape(-1)] = True
    if used.all():
        return whole
    return Primitive(
        positions=whole.positions[used],
        normals=None if whole.normals is None else whole.normals[used],
        faces=(np.cumsum(used) - 1)[whole.faces],
        uv={number: values[used] for number, values in whole.uv.items()},
        colors=None if whole.colors is None else whole.colors[used],
        joints=whole.joints[used],
        weights=whole.weights[used],
        material=whole.material,
    )


def _faces(mode: int, order: Int[np.ndarray, "n"]) -> Int[np.ndarray, "f 3"]:
    if mode == _TRIANGLES:
        if len(order) % 3:
            raise ValueError(f"a primitive has {len(order)} corners, which is no multiple of 3")
        return order.reshape(-1, 3)
    start = np.arange(max(0, len(order) - 2))
    if mode == _FAN:
        return np.stack([order[start + 1], order[start + 2], np.full_like(start, order[0])], axis=1)
    return np.stack([order[start], order[start + 1 + start % 2], order[start + 2 - start % 2]], axis=1)


def _offset(document: Document, target: dict[str, Any], name: str, values: np.ndarray) -> np.ndarray:
    if name not in target:
        return np.zeros_like(values)
    moved = read_accessor(document, target[name], ("VEC2", "VEC3", "VEC4"))
    if name == "COLOR_0":
        moved = _with_alpha(moved, 0.0)
    if moved is None or moved.shape != values.shape:
        raise ValueError(f"a morph target's {name} is not of its primitive's shape")
    return moved


def _with_alpha(colors: np.ndarray | None, alpha: float) -> np.ndarray | None:
    if colors is None or colors.shape[1] == 4:
        return colors
    return np.column_stack([colors, np.full(len(colors), alpha)])


def _refuse_compressed(document: Document, primitive: dict[str, Any]) -> None:
    """Refuses a primitive whose data only an extension could make."""
    known = [*primitive["attributes"].values(), *([primitive["indices"]] if "indices" in primitive else [])]
    for name in primitive.get("extensions", {}):
        if "compression" in name and not all(has_data(document, number) for number in known):
            raise unimplemented(document, name)
