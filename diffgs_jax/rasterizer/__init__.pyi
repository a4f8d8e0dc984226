from ._groups import render_in_groups
from ._sharded import render_sharded
from .backends import Backend, check_backend, describe_backend, resolve_backend
from .projection import Projection, project
from .rendering import Rendering, expected_depth, render, render_dense
from .settings import DIFFSPLAT_RENDERING, RenderSettings
from .surfaces import SurfaceRendering, render_surfaces

__all__ = [
    "DIFFSPLAT_RENDERING",
    "RenderSettings",
    "Backend",
    "Projection",
    "Rendering",
    "SurfaceRendering",
    "check_backend",
    "describe_backend",
    "expected_depth",
    "project",
    "render",
    "render_dense",
    "render_in_groups",
    "render_sharded",
    "render_surfaces",
    "resolve_backend",
]
