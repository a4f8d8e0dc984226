"""Other people's pictures and weights in, files for other tools out."""

from diffgs_jax.interop.cleaning import Box, Sphere, check_cleaning, clean_gaussians
from diffgs_jax.interop.contact_sheet import write_contact_sheet
from diffgs_jax.interop.depth_maps import depth_colors, normal_colors, normals_from_depth
from diffgs_jax.interop.files import SPLAT_SUFFIXES, read_gaussians, write_gaussians
from diffgs_jax.interop.matting import Matting, check_matting, isolate_object
from diffgs_jax.interop.picture_files import PICTURE_SUFFIXES, read_picture
from diffgs_jax.interop.pictures import FOREGROUND_RATIO, Picture, frame_object, load_picture
from diffgs_jax.interop.ply import read_ply, write_ply
from diffgs_jax.interop.splat import read_splat, write_splat
from diffgs_jax.interop.spz import read_spz, write_spz
from diffgs_jax.interop.trajectory import render_trajectory
from diffgs_jax.interop.turntable import Shown, check_turntable, render_turntable
from diffgs_jax.interop.video import VIDEO_SUFFIXES, check_video, write_video

__all__ = [
    "FOREGROUND_RATIO",
    "PICTURE_SUFFIXES",
    "SPLAT_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Box",
    "Matting",
    "Picture",
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
    "load_picture",
    "normal_colors",
    "normals_from_depth",
    "read_gaussians",
    "read_picture",
    "read_ply",
    "read_splat",
    "read_spz",
    "render_trajectory",
    "render_turntable",
    "write_contact_sheet",
    "write_gaussians",
    "write_ply",
    "write_splat",
    "write_spz",
    "write_video",
]
