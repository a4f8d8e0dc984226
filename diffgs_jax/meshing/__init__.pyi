from .extraction import Mesh, extract_mesh
from .files import MESH_SUFFIXES, read_mesh, write_mesh

__all__ = ["MESH_SUFFIXES", "Mesh", "extract_mesh", "read_mesh", "write_mesh"]
