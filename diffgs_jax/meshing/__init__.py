"""From Gaussians to triangles: a surface with the splat's silhouettes, and files for other tools."""

from diffgs_jax.meshing.extraction import Mesh, extract_mesh
from diffgs_jax.meshing.files import MESH_SUFFIXES, read_mesh, write_mesh

__all__ = ["MESH_SUFFIXES", "Mesh", "extract_mesh", "read_mesh", "write_mesh"]
