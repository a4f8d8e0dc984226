from .color import linear_to_srgb, srgb_to_linear
from .extraction import Mesh, extract_mesh
from .files import MESH_SUFFIXES, read_mesh, write_mesh
from .part_files import PART_SUFFIXES, read_parts
from .parts import SOLID, MeshFilePart
from .texture_settings import check_texture
from .textures import nearest_texels
from .texturing import TexturedMesh, bake_texture
from .visibility import VisibleSurface, covered_pixels, see_surface, show_texture

__all__ = [
    "VisibleSurface",
    "covered_pixels",
    "see_surface",
    "show_texture",
    "TexturedMesh",
    "bake_texture",
    "check_texture",
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
