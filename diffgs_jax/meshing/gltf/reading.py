"""A glTF file's scene as parts."""

import pathlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import DataError
from diffgs_jax.interop.gltf.document import Document, item, items, open_document, valid_document
from diffgs_jax.interop.gltf.nodes import node_transforms, shown_nodes, skin_transforms
from diffgs_jax.meshing.gltf._materials import Look, read_material
from diffgs_jax.meshing.gltf._primitives import Primitive, morph_weights, read_primitive
from diffgs_jax.meshing.gltf._textures import TextureReader, clamps
from diffgs_jax.meshing.parts import MOST_TRIANGLES, MeshFilePart

GLTF_SUFFIXES = (".glb", ".gltf")

_MOST_TEXTURE_BYTES = 2**29
_MOST_NODES = 100_000


def read_gltf(path: pathlib.Path) -> list[MeshFilePart]:
    """Returns what the scene of a glTF 2.0 file shows, y up, colours linear.

    At most 512 MiB of files, 2 million triangles and 512 MiB of textures are read.

    Args:
        path: `.glb`, or `.gltf` with its buffers and images in its folder or below.

    Raises:
        DataError: if it cannot be read, is not as the specification demands, is too large, or needs an extension that
            is not implemented.
    """
    with valid_document(path):
        return list(_parts(open_document(path)))


def _parts(document: Document) -> Iterator[MeshFilePart]:
    if len(items(document.content, "nodes")) > _MOST_NODES:
        raise DataError(f"{document.path} has more than {_MOST_NODES} nodes")
    textures = TextureReader(document)
    looks: dict[int | None, Look] = {}
    primitives: dict[tuple, Primitive | None] = {}
    transforms = node_transforms(document)
    triangles = texture_bytes = 0
    for number in shown_nodes(document):
        node = item(document.content, "nodes", number)
        mesh = item(document.content, "meshes", node["mesh"])
        morph = morph_weights(mesh, node)
        joints = skin_transforms(document, node["skin"], transforms) if "skin" in node else None
        for place, described in enumerate(items(mesh, "primitives")):
            material = described.get("material")
            if material not in looks:
                looks[material] = read_material(document, material, textures)
                texture = looks[material].texture
                texture_bytes += 0 if texture is None else texture.pixels.nbytes
                if texture_bytes > _MOST_TEXTURE_BYTES:
                    raise DataError(f"{document.path} has more than {_MOST_TEXTURE_BYTES} bytes of textures")
            look, key = looks[material], (node["mesh"], place, morph)
            if key not in primitives:
                coordinates = set() if look.texture is None else {look.texture.set}
                primitives[key] = read_primitive(document, described, morph, coordinates)
            primitive = primitives[key]
            if primitive is not None and len(primitive.faces):
                triangles += len(primitive.faces)
                if triangles > MOST_TRIANGLES:
                    raise DataError(f"{document.path} has more than {MOST_TRIANGLES} triangles; simplify it first")
                yield _part(primitive, look, transforms[number], joints, str(document.path))


def _part(
    primitive: Primitive,
    look: Look,
    transform: Float[np.ndarray, "4 4"],
    joints: Float[np.ndarray, "j 4 4"] | None,
    path: str,
) -> MeshFilePart:
    vertices, normals = _placed(primitive, transform, joints)
    if not np.isfinite(vertices).all():
        raise DataError(f"{path} has vertices that are not finite")
    colors = np.tile(look.factor, (len(vertices), 1))
    if primitive.colors is not None:
        if look.vertex_colors == "refuse" and not np.allclose(primitive.colors[:, :3], 1.0, atol=1e-3):
            raise DataError(f"{path} has vertex colours on a surface that emits light, which is not implemented")
        colors[:, 3] *= primitive.colors[:, 3]
        if look.vertex_colors == "multiply":
            colors[:, :3] *= primitive.colors[:, :3]
    colors[:, :3] += look.emitted
    if look.alpha_mode == "BLEND":
        transparency = "blended"
    elif look.alpha_mode == "MASK" and look.cutoff > 0:
        transparency = "cut"
        colors[:, 3] /= 2 * look.cutoff  # which brings the cutoff to a half
    else:
        transparency, colors[:, 3] = "solid", 1.0
    uv = np.zeros((len(vertices), 2))
    if look.texture is not None:
        down = primitive.uv[look.texture.set] @ look.texture.transform[:, :2].T + look.texture.transform[:, 2]
        uv = np.stack([down[:, 0], 1 - down[:, 1]], axis=1)
        if not np.isfinite(uv).all():
            raise DataError(f"{path} has texture coordinates that are not finite")
    return MeshFilePart(
        vertices=vertices,
        normals=normals,
        faces=primitive.faces,
        uv=uv,
        colors=colors,
        linear=True,
        texture=None if look.texture is None else look.texture.pixels,
        clamped=clamps(look.texture),
        transparency=transparency,
    )


def _placed(
    primitive: Primitive, transform: Float[np.ndarray, "4 4"], joints: Float[np.ndarray, "j 4 4"] | None
) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, "v 3"] | None]:
    """Returns vertices and normals in the scene; a skinned mesh is where its joints are, not where its node is."""
    positions, normals = primitive.positions, primitive.normals
    if joints is None or not primitive.joints.shape[1]:
        moved = positions @ transform[:3, :3].T + transform[:3, 3]
        return moved, None if normals is None else normals @ _cofactors(transform[:3, :3]).T
    if primitive.joints[primitive.weights > 0].max() >= len(joints):
        raise ValueError("a vertex has a joint that its skin lacks")
    known = np.minimum(primitive.joints, len(joints) - 1)
    mixed = np.zeros((len(positions), 3, 4))
    for column in range(known.shape[1]):
        mixed += primitive.weights[:, column, None, None] * joints[known[:, column], :3]
    moved = np.einsum("vij,vj->vi", mixed[..., :3], positions) + mixed[..., 3]
    return moved, None if normals is None else np.einsum("vij,vj->vi", _cofactors(mixed[..., :3]), normals)


def _cofactors(matrix: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 3 3"]:
    """Returns what turns normals along with their surface: the inverse's transpose, times the determinant."""
    a, b, c = (matrix[..., row, :] for row in range(3))
    return np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=-2)
