"""A film of Gaussians seen from all around: their colours, how far they are, or which way their surface faces."""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from diffgs_jax.geometry import Gaussians, ObjectRig
from diffgs_jax.interop.depth_maps import depth_colors, normal_colors
from diffgs_jax.interop.orbit_views import render_orbit
from diffgs_jax.interop.turntable_settings import Shown
from diffgs_jax.rasterizer import Backend, RenderSettings


def render_turntable(
    gaussians: Gaussians,
    *,
    frames: int = 48,
    size: int = 256,
    rig: ObjectRig | None = None,
    background: float | tuple[float, float, float] = 1.0,
    shows: Shown = "color",
    rendering: RenderSettings = RenderSettings(),  # noqa: B008 (frozen)
    backend: Backend = "auto",
    progress: Callable[[int], object] | None = None,
) -> UInt8[np.ndarray, "frames size size 3"]:
    """Renders one turn about the z axis, the first frame from azimuth 0.

    Args:
        gaussians: one set, `[n, …]`, in the object frame.
        frames: pictures in the turn.
        size: side of a picture, pixels.
        rig: gives elevation, distance and field of view.
        background: grey value or RGB in [0, 1].
        shows: their colours; their depth, dark blue far and light yellow near; or the normals of the surface that the
            depth describes, x, y and z of the object frame as red, green and blue.
        rendering: how they are rendered.
        backend: who renders.
        progress: called with the number of frames that have been finished since the last call.
    """
    azimuths = np.arange(frames) * 360.0 / frames
    behind = np.broadcast_to(np.asarray(background, np.float32), 3)
    seen = render_orbit(
        gaussians,
        azimuths,
        size=size,
        rig=rig,
        background=background,
        rendering=rendering,
        backend=backend,
        progress=progress,
    )
    if shows == "color":
        return seen.images
    if shows == "depth":
        colors = depth_colors(seen.depths, seen.alphas)
    else:
        colors = normal_colors(seen.normals())
    mixed = seen.alphas[..., None] * colors + (1 - seen.alphas[..., None]) * behind
    return np.round(np.clip(mixed, 0, 1) * 255).astype(np.uint8)
