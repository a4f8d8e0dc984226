from .ports import address_of, find_port
from .scene import StartCamera, start_camera, viewer_page, viewer_server
from .up import Up
from .viewables import SUFFIXES, MeshFile, Viewable, read_viewable

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
