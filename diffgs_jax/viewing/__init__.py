"""Splats and meshes in a browser: a viewer of files, and the parts of the web page."""

from diffgs_jax.viewing.ports import address_of, find_port
from diffgs_jax.viewing.scene import StartCamera, start_camera, viewer_page, viewer_server
from diffgs_jax.viewing.viewables import SUFFIXES, MeshFile, Up, Viewable, read_viewable

__all__ = [
    "SUFFIXES",
    "MeshFile",
    "StartCamera",
    "Viewable",
    "Up",
    "address_of",
    "find_port",
    "read_viewable",
    "start_camera",
    "viewer_page",
    "viewer_server",
]
