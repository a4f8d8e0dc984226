"""Other people's pictures and weights in, files for other tools out."""

from diffgs_jax.interop.contact_sheet import write_contact_sheet
from diffgs_jax.interop.open_diffusiongs import import_open_diffusiongs
from diffgs_jax.interop.pictures import (
    FOREGROUND_RATIO,
    Picture,
    frame_object,
    isolate_object,
    load_picture,
    read_picture,
)
from diffgs_jax.interop.ply import read_ply, write_ply
from diffgs_jax.interop.turntable import check_turntable, render_turntable, write_video

__all__ = [
    "FOREGROUND_RATIO",
    "Picture",
    "check_turntable",
    "frame_object",
    "import_open_diffusiongs",
    "isolate_object",
    "load_picture",
    "read_picture",
    "read_ply",
    "render_turntable",
    "write_contact_sheet",
    "write_ply",
    "write_video",
]
