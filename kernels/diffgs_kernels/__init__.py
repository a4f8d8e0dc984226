"""Pallas tile kernels for Gaussian splatting: arrays in, arrays out; imports nothing of diffgs_jax.

A kernel blends one pass of tile lists: `blend_pass` forwards, `blend_pass_backward` backwards, with the state of every
pixel carried in and out, so that a picture whose lists do not fit into memory is made in several passes. What a
Gaussian does to the pixels of a tile is written once, in `_tile_body.py`, as functions of scalars and vectors; a
launcher (`_triton.py`, `_mosaic.py`) decides which program works on which tile, and how a row gets to it.

Rows of Gaussians are read by their number, so that nothing is copied into the order of the lists. Nothing is added
atomically: the backward kernel writes one gradient row per list entry, those of a Gaussian one behind the other, and
`add_rows` adds them up in a fixed order. So the same input gives the same bits.
"""

from diffgs_kernels._kernels import Launcher, add_rows, blend_pass, blend_pass_backward
from diffgs_kernels._settings import Rules, Tiling
from diffgs_kernels._tile_body import GEOMETRY

__all__ = ["GEOMETRY", "Launcher", "Rules", "Tiling", "add_rows", "blend_pass", "blend_pass_backward"]
