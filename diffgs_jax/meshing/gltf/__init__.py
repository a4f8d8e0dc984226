"""glTF 2.0 files: what their scene shows, as triangles with colours and textures.

Animations are not played: nodes, skins and morph targets are as the file stores them. Points, lines, lamps and cameras
are left out. What would look different without an extension that is not implemented is refused.
"""

from diffgs_jax.meshing.gltf.reading import GLTF_SUFFIXES, read_gltf

__all__ = ["GLTF_SUFFIXES", "read_gltf"]
