"""What cameras on a circle around Gaussians see: colours, coverage and depth."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from diffgs_jax.geometry import Cameras, Gaussians, ObjectRig, orbit
from diffgs_jax.interop.depth_maps import normals_from_depth
from diffgs_jax.rasterizer import Backend, RenderSettings, expected_depth, render

_VIEWS_AT_ONCE = 8  # rendered by one call: bounds memory, and is the only shape that is compiled
_GROUP = 2048  # numbers of Gaussians are rounded up to multiples, so that few programs are compiled


class OrbitViews(NamedTuple):
    """Views of a circle.

    Attributes:
        cameras: `[v]`.
        images: `[v, s, s, 3]` on the background.
        alphas: `[v, s, s]` coverage in [0, 1].
        depths: `[v, s, s]` z along each camera's axis, world units; 0 where nothing is.
    """

    cameras: Cameras
    images: UInt8[np.ndarray, "v s s 3"]
    alphas: Float[np.ndarray, "v s s"]
    depths: Float[np.ndarray, "v s s"]

    def normals(self) -> Float[np.ndarray, "v s s 3"]:
        """Returns the unit normals of the surface that depth shows, in world axes; 0 where nothing is."""
        views = zip(self.depths, self.alphas, *self.cameras, strict=True)
        return np.stack([normals_from_depth(depth, alpha, Cameras(*camera)) for depth, alpha, *camera in views])


def render_orbit(
    gaussians: Gaussians,
    azimuths: Sequence[float] | Float[np.ndarray, "v"],
    *,
    size: int,
    rig: ObjectRig | None = None,
    background: float | tuple[float, float, float] = 1.0,
    rendering: RenderSettings = RenderSettings(),  # noqa: B008 (frozen)
    backend: Backend = "auto",
    progress: Callable[[int], object] | None = None,
) -> OrbitViews:
    """Renders Gaussians from some azimuths.

    Args:
        gaussians: one set, `[n, …]`, in the object frame.
        azimuths: of the cameras, degrees.
        size: side of a picture, pixels.
        rig: gives elevation, distance and field of view.
        background: grey value or RGB in [0, 1].
        rendering: how they are rendered.
        backend: who renders.
        progress: called with the number of views that have been finished since the last call.
    """
    rig = ObjectRig() if rig is None else rig
    cameras = orbit(
        np.asarray(azimuths, np.float64),
        elevation_degrees=rig.elevation,
        distance=rig.distance,
        fov_degrees=rig.fov,
    )
    return render_cameras(
        gaussians, cameras, size=size, background=background, rendering=rendering, backend=backend, progress=progress
    )


def render_cameras(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    size: int,
    background: float | tuple[float, float, float] = 1.0,
    rendering: RenderSettings = RenderSettings(),  # noqa: B008 (frozen)
    backend: Backend = "auto",
    progress: Callable[[int], object] | None = None,
) -> OrbitViews:
    """Renders Gaussians from some cameras, a few at a time.

    Args:
        gaussians: one set, `[n, …]`.
        cameras: `[v]`, in its frame.
        size: side of a picture, pixels.
        background: grey value or RGB in [0, 1].
        rendering: how they are rendered.
        backend: who renders.
        progress: called with the number of views that have been finished since the last call.
    """
    spare = -len(gaussians.opacities) % _GROUP  # nothing, of no opacity
    padded = (np.pad(np.asarray(leaf), [(0, spare)] + [(0, 0)] * (np.ndim(leaf) - 1)) for leaf in gaussians)
    gaussians = Gaussians(*(jnp.asarray(leaf, jnp.float32) for leaf in padded))
    count = len(cameras.intrinsics)
    order = np.minimum(np.arange(-(-count // _VIEWS_AT_ONCE) * _VIEWS_AT_ONCE), count - 1)
    cameras = Cameras(*(np.asarray(leaf)[order] for leaf in cameras))
    behind = jnp.asarray(np.broadcast_to(np.asarray(background, np.float32), 3))
    seen = []
    for start in range(0, count, _VIEWS_AT_ONCE):
        some = Cameras(*(jnp.asarray(leaf[start : start + _VIEWS_AT_ONCE]) for leaf in cameras))
        seen.append([np.asarray(layer) for layer in _views(gaussians, some, behind, size, rendering, backend)])
        if progress is not None:
            progress(min(_VIEWS_AT_ONCE, count - start))
    layers = (np.concatenate(layer)[:count] for layer in zip(*seen, strict=True))
    return OrbitViews(Cameras(*(np.asarray(leaf)[:count] for leaf in cameras)), *layers)


@functools.partial(jax.jit, static_argnames=("size", "rendering", "backend"))
def _views(
    gaussians: Gaussians, cameras: Cameras, background: Array, size: int, rendering: RenderSettings, backend: Backend
) -> tuple[Array, Array, Array]:
    seen = render(
        gaussians, cameras, height=size, width=size, background=background, backend=backend, **rendering.arguments()
    )
    return jnp.round(jnp.clip(seen.image, 0, 1) * 255).astype(jnp.uint8), seen.alpha, expected_depth(seen)
