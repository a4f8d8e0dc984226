"""A film of Gaussians seen from all around: their colours, how far they are, or which way their surface faces."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from diffgs_jax.geometry import Cameras, Gaussians, ObjectRig, orbit
from diffgs_jax.interop.depth_maps import depth_colors, normal_colors, normals_from_depth
from diffgs_jax.interop.turntable_settings import Shown
from diffgs_jax.rasterizer import Backend, RenderSettings, expected_depth, render

_FRAMES_AT_ONCE = 8  # rendered by one call: bounds memory, and is the only shape that is compiled
_GROUP = 2048  # numbers of Gaussians are rounded up to multiples, so that few programs are compiled


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
    rig = ObjectRig() if rig is None else rig
    spare = -len(gaussians.opacities) % _GROUP  # nothing, of no opacity
    padded = (np.pad(np.asarray(leaf), [(0, spare)] + [(0, 0)] * (np.ndim(leaf) - 1)) for leaf in gaussians)
    gaussians = Gaussians(*(jnp.asarray(leaf, jnp.float32) for leaf in padded))
    azimuths = np.arange(-(-frames // _FRAMES_AT_ONCE) * _FRAMES_AT_ONCE) * 360.0 / frames
    behind = np.broadcast_to(np.asarray(background, np.float32), 3)
    cameras = orbit(azimuths, elevation_degrees=rig.elevation, distance=rig.distance, fov_degrees=rig.fov)
    images, alphas, depths = [], [], []
    for start in range(0, frames, _FRAMES_AT_ONCE):
        turn = Cameras(*(jnp.asarray(leaf[start : start + _FRAMES_AT_ONCE]) for leaf in cameras))
        image, alpha, depth = _frames(gaussians, turn, jnp.asarray(behind), size, rendering, backend)
        if shows == "color":
            images.append(np.asarray(image))
        else:
            alphas.append(np.asarray(alpha))
            depths.append(np.asarray(depth))
        if progress is not None:
            progress(min(_FRAMES_AT_ONCE, frames - start))
    if shows == "color":
        return np.concatenate(images)[:frames]
    alphas, depths = np.concatenate(alphas)[:frames], np.concatenate(depths)[:frames]
    if shows == "depth":
        colors = depth_colors(depths, alphas)
    else:
        views = [(depths[i], alphas[i], Cameras(*(np.asarray(leaf[i]) for leaf in cameras))) for i in range(frames)]
        colors = normal_colors(np.stack([normals_from_depth(*view) for view in views]))
    mixed = alphas[..., None] * colors + (1 - alphas[..., None]) * behind
    return np.round(np.clip(mixed, 0, 1) * 255).astype(np.uint8)


@functools.partial(jax.jit, static_argnames=("size", "rendering", "backend"))
def _frames(
    gaussians: Gaussians, cameras: Cameras, background: Array, size: int, rendering: RenderSettings, backend: Backend
) -> tuple[Array, Array, Array]:
    seen = render(
        gaussians, cameras, height=size, width=size, background=background, backend=backend, **rendering.arguments()
    )
    return jnp.round(jnp.clip(seen.image, 0, 1) * 255).astype(jnp.uint8), seen.alpha, expected_depth(seen)
