"""Gaussians to pixels: project, bin, blend, with one custom VJP; the dense reference beside it."""

from diffgs_jax.rasterizer._groups import render_in_groups
from diffgs_jax.rasterizer._sharded import render_sharded
from diffgs_jax.rasterizer.projection import Projection, project
from diffgs_jax.rasterizer.rendering import Backend, Rendering, expected_depth, render, render_dense

__all__ = [
    "Backend",
    "Projection",
    "Rendering",
    "expected_depth",
    "project",
    "render",
    "render_dense",
    "render_in_groups",
    "render_sharded",
]
