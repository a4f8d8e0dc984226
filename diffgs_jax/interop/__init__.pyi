from .cleaning import clean_gaussians, visible_gaussians
from .contact_sheet import write_contact_sheet
from .converter import CONVERTED_SUFFIXES, check_converter, converted_suffix
from .crops import Box, Sphere, check_cleaning
from .depth_maps import depth_colors, normal_colors, normals_from_depth
from .files import SPLAT_SUFFIXES, read_gaussians, write_gaussians
from .framing import FramedImage, frame_object, frame_turntable, load_framed, load_framed_mask, load_isolated
from .gltf_splats import holds_gltf_splats, read_gltf_splats, write_gltf_splats
from .image_files import IMAGE_SUFFIXES, read_image
from .image_grid import labelled_columns, square_grid, tile_images, to_bytes, write_image
from .map_files import png_16, write_maps
from .map_settings import MapFormat, MapKind, check_maps
from .matting import Matting, check_matting, isolate_object
from .orbit_views import OrbitViews, render_cameras, render_orbit
from .ply import read_ply, write_ply
from .splat import read_splat, write_splat
from .splat_transform import read_converted, write_converted
from .spz import SpzVersion, read_spz, write_spz
from .trajectory import render_trajectory
from .turntable import render_turntable
from .turntable_settings import Shown, check_turntable
from .video import VIDEO_SUFFIXES, check_video, write_video

__all__ = [
    "CONVERTED_SUFFIXES",
    "render_cameras",
    "render_orbit",
    "OrbitViews",
    "write_maps",
    "png_16",
    "check_maps",
    "MapKind",
    "MapFormat",
    "SpzVersion",
    "write_converted",
    "read_converted",
    "converted_suffix",
    "check_converter",
    "write_gltf_splats",
    "read_gltf_splats",
    "holds_gltf_splats",
    "IMAGE_SUFFIXES",
    "SPLAT_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Box",
    "Matting",
    "FramedImage",
    "Shown",
    "Sphere",
    "check_cleaning",
    "check_matting",
    "check_turntable",
    "check_video",
    "clean_gaussians",
    "depth_colors",
    "frame_object",
    "isolate_object",
    "labelled_columns",
    "frame_turntable",
    "load_framed",
    "load_isolated",
    "load_framed_mask",
    "normal_colors",
    "normals_from_depth",
    "read_gaussians",
    "read_image",
    "read_ply",
    "read_splat",
    "read_spz",
    "render_trajectory",
    "render_turntable",
    "square_grid",
    "tile_images",
    "to_bytes",
    "visible_gaussians",
    "write_contact_sheet",
    "write_gaussians",
    "write_image",
    "write_ply",
    "write_splat",
    "write_spz",
    "write_video",
]
