"""Where the nodes of a glTF file's scene are, and how skins move vertices.

Source: glTF 2.0 specification, sections 3.5 and 3.7.3.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from diffgs_jax.interop.gltf.accessors import read_accessor
from diffgs_jax.interop.gltf.document import Document, extension, integer, item, items, numbers, unimplemented

_UNIT = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def node_transforms(document: Document) -> list[Float[np.ndarray, "4 4"]]:
    """Returns every node's transform into the scene.

    Raises:
        ValueError: if the nodes are no trees, or a transform is not of finite numbers.
    """
    nodes = items(document.content, "nodes")
    parents = _parents(document)
    children: list[list[int]] = [[] for _ in nodes]
    for number, parent in enumerate(parents):
        if parent is not None:
            children[parent].append(number)
    transforms: list[Any] = [None] * len(nodes)
    waiting = [number for number, parent in enumerate(parents) if parent is None]
    while waiting:
        number = waiting.pop()
        parent = parents[number]
        local = _local(item(document.content, "nodes", number))
        transforms[number] = local if parent is None else transforms[parent] @ local
        waiting += children[number]
    if any(transform is None for transform in transforms):
        raise ValueError("some nodes are their own ancestors")
    return transforms


def shown_nodes(document: Document) -> list[int]:
    """Returns the nodes of the scene that have a mesh and are not hidden, in the file's order.

    The scene is the one that the file names, the first by default; all nodes where there is none.
    """
    content, parents = document.content, _parents(document)
    if items(content, "scenes"):
        scene = item(content, "scenes", content.get("scene", 0))
        waiting = [integer(number) for number in items(scene, "nodes")]
        if any(number < len(parents) and parents[number] is not None for number in waiting):
            raise ValueError("a scene's node is not a root")
    else:
        waiting = [number for number, parent in enumerate(parents) if parent is None]
    shown = set()
    while waiting:
        number = waiting.pop()
        node = item(content, "nodes", number)
        visible = (extension(node, "KHR_node_visibility") or {}).get("visible", True)
        if number in shown or visible is False:
            continue
        if extension(node, "EXT_mesh_gpu_instancing") is not None:
            raise unimplemented(document, "EXT_mesh_gpu_instancing")
        shown.add(number)
        waiting += [integer(child) for child in items(node, "children")]
    return sorted(number for number in shown if "mesh" in item(content, "nodes", number))


def skin_transforms(
    document: Document, skin: Any, transforms: list[Float[np.ndarray, "4 4"]]
) -> Float[np.ndarray, "j 4 4"]:
    """Returns what each joint of a skin does to a vertex it has to itself: its transform times its inverse bind one."""
    described = item(document.content, "skins", skin)
    joints = [integer(joint) for joint in items(described, "joints")]
    if not joints or max(joints) >= len(transforms):
        raise ValueError(f"skins[{skin}] has joints that are no nodes")
    moved = np.stack([transforms[joint] for joint in joints])
    if "inverseBindMatrices" not in described:
        return moved
    inverse = read_accessor(document, described["inverseBindMatrices"], ("MAT4",), "f")
    if len(inverse) < len(joints):
        raise ValueError(f"skins[{skin}] has more joints than inverse bind matrices")
    return moved @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)


def _parents(document: Document) -> list[int | None]:
    nodes = items(document.content, "nodes")
    parents: list[int | None] = [None] * len(nodes)
    for number in range(len(nodes)):
        for child in items(item(document.content, "nodes", number), "children"):
            child = integer(child)
            if child >= len(nodes) or parents[child] is not None:
                raise ValueError(f"nodes[{child}] has two parents, or is not there")
            parents[child] = number
    return parents


def _local(node: dict[str, Any]) -> Float[np.ndarray, "4 4"]:
    if "matrix" in node:
        matrix = np.asarray(numbers(node["matrix"], _UNIT)).reshape(4, 4).T  # stored by columns
        if (matrix[3] != (0.0, 0.0, 0.0, 1.0)).any():
            raise ValueError("a node's matrix is not affine")
        return matrix
    x, y, z, w = numbers(node.get("rotation"), (0.0, 0.0, 0.0, 1.0))
    length = np.sqrt(x * x + y * y + z * z + w * w)
    if length < 1e-9:
        raise ValueError("a node's rotation is zero")
    x, y, z, w = x / length, y / length, z / length, w / length
    rotation = np.asarray(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    transform = np.eye(4)
    transform[:3, :3] = rotation * numbers(node.get("scale"), (1.0, 1.0, 1.0))
    transform[:3, 3] = numbers(node.get("translation"), (0.0, 0.0, 0.0))
    return transform
