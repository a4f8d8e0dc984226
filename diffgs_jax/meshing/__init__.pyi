from diffgs_jax.meshing.color import linear_to_srgb, srgb_to_linear
from diffgs_jax.meshing.extraction import Mesh, extract_mesh
from diffgs_jax.meshing.files import MESH_SUFFIXES, read_mesh, write_mesh
from diffgs_jax.meshing.part_files import PART_SUFFIXES, read_parts
from diffgs_jax.meshing.parts import SOLID, MeshFilePart
from diffgs_jax.meshing.textures import nearest_texels

__all__ = [
    "MESH_SUFFIXES",
    "PART_SUFFIXES",
    "SOLID",
    "Mesh",
    "MeshFilePart",
    "extract_mesh",
    "linear_to_srgb",
    "nearest_texels",
    "read_mesh",
    "read_parts",
    "srgb_to_linear",
    "write_mesh",
]
