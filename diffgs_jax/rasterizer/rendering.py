"""The public functions of the rasterizer: Gaussians and cameras in, images out."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from diffgs_jax.geometry import Cameras, Gaussians, color_columns, covariance_entries, join_columns, split_columns
from diffgs_jax.rasterizer._blending import blend_tiles
from diffgs_jax.rasterizer._checks import check_arrays, check_settings
from diffgs_jax.rasterizer._explicit import draw_split, explicit_layout
from diffgs_jax.rasterizer._launchers import choose_launcher
from diffgs_jax.rasterizer._tiles import TileGrid
from diffgs_jax.rasterizer.backends import Backend
from diffgs_jax.rasterizer.projection import (
    ALPHA_MIN,
    ProjectedColumns,
    Projection,
    project_columns,
    usable_cameras,
)
from diffgs_jax.rasterizer.reference import blend_dense

_LARGEST = 1e9
"""Scales, coefficients of colours, features and backgrounds beyond count as this: their products stay finite."""


_LONGEST_QUATERNION = 1e3
"""Components of quaternions that are not normalised count as at most this."""


class Rendering(NamedTuple):
    """What a camera sees.

    Attributes:
        image: `[*batch, h, w, 3]` on the background, unbounded above as colours are. An empty pixel reads the
            background.
        alpha: `[*batch, h, w]` coverage 1 − T in [0, 1]. An empty pixel reads 0.
        depth: `[*batch, h, w]` Σ T·alpha·z, world units, not divided by alpha. An empty pixel reads 0.
        features: `[*batch, h, w, c]` blended like colours, on zero; None if none were given.
        radii: `[*batch, n, 2]` half-width and half-height, pixels, of the box in which a Gaussian can be seen; zero for
            one that is not drawn or misses the image, so `radii[..., 0] > 0` says which are in view. Without gradient;
            None unless asked for.
    """

    image: Float[Array, "*batch h w 3"]
    alpha: Float[Array, "*batch h w"]
    depth: Float[Array, "*batch h w"]
    features: Float[Array, "*batch h w c"] | None = None
    radii: Float[Array, "*batch n 2"] | None = None


def expected_depth(rendering: Rendering) -> Float[Array, "*batch h w"]:
    """Returns depth divided by alpha: the mean z of what is seen, world units; an empty pixel reads 0.

    Args:
        rendering: of any number of cameras.
    """
    is_empty = rendering.alpha < ALPHA_MIN
    return jnp.where(is_empty, 0.0, rendering.depth / jnp.where(is_empty, 1.0, rendering.alpha))


def render(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    height: int,
    width: int,
    background: float | Float[Array | np.ndarray, "*background"] = 1.0,
    near: float = 0.01,
    dilation: float = 0.3,
    antialiased: bool = False,
    subpixel_dimming: bool = False,
    unit_rotations: bool = True,
    features: Float[Array | np.ndarray, "*batch n c"] | None = None,
    shown: Bool[Array | np.ndarray, "*shown n"] | None = None,
    with_radii: bool = False,
    capacity: int | None = None,
    backend: Backend = "auto",
) -> Rendering:
    """Renders Gaussians from any number of cameras (3DGS, Kerbl et al. 2023), all of them in one launch.

    alpha = min(0.99, o·exp(−½ dᵀ Σ'⁻¹ d)), skipped under 1/255; blending is front to back by z (ties by index) and
    stops, for good, at the Gaussian that would take transmittance under 1e-4. Works under jit, vmap, grad and shard_map
    (`check_vma=False`), with static `height`, `width`, `capacity`.

    Gradients reach everything that is an array: Gaussians, poses, intrinsics, background and features. They are those
    of the formulas above with the depth order held fixed, and are exactly zero for a Gaussian that is not drawn (behind
    `near`, fainter than 1/255, any of its numbers NaN or infinite) and finite for any finite input: what is farther
    than 1e12 world units, or seen by a camera so far away, is not drawn, and scales, `sh`, features and background
    count as at most 1e9, without gradient where they are more.

    Args:
        gaussians: `[*batch, n]`.
        cameras: `[*batch, *views]`; every view of a batch element sees the same Gaussians.
        height: of the images, pixels.
        width: of the images, pixels.
        background: what shows through: a number, `[3]`, or `[*batch, *views, 3]`.
        near: Gaussians with z ≤ near are dropped; world units, at least 1e-6.
        dilation: added to both 2D variances, square pixels.
        antialiased: dim what the dilation widens, so that thin Gaussians keep their weight at any resolution
            (Mip-Splatting, Yu et al. 2024; gsplat's "antialiased").
        subpixel_dimming: dim what is smaller than a pixel (RaDe-GS; see `project`).
        unit_rotations: normalise quaternions; False takes the matrix of each as it is (see `geometry.covariances`).
        features: `[*batch, n, c]`, blended like colours on zero (normals, coordinates, anything).
        shown: `[*batch, *views, n]`, which Gaussians each view is rendered of, as if there were no others; all by
            default.
        with_radii: also return where each Gaussian can be seen.
        capacity: how many (tile, Gaussian) pairs are held at once. It bounds memory, never the result: what does not
            fit is blended in further passes. By default ample for splats of a few pixels.
        backend: who does the blending: "xla" is plain JAX and runs on any device; "triton" (Ampere and newer,
            deprecated by JAX) and "mosaic" (Hopper and newer) are Pallas kernels for NVIDIA GPUs. "auto" takes the
            kernels where they are proven (`backends.PROVEN`), else "xla".

    Returns:
        Images `[*batch, *views, h, w, …]`.

    Raises:
        ValueError: if shapes, types or settings do not fit together.
        NotImplementedError: for a backend that is not available.
    """
    check_settings(height, width, near, dilation, capacity)
    launcher = choose_launcher(backend)
    grid = TileGrid(height, width, launcher.tile)

    def blend(splats: ProjectedColumns, channels: list[Array]) -> tuple[Array, Array]:
        count = splats.depths.size
        most = _default_capacity(count) if capacity is None else capacity
        most = min(max(most, grid.tiles), count * grid.tiles)
        opacities = jnp.where(splats.is_visible, splats.opacities, 0.0)
        table = join_columns([*splats.means, *splats.conics, opacities, *channels])
        return blend_tiles(_joined(splats), table, grid=grid, capacity=most, launcher=launcher)

    optics = _Optics(height, width, near, dilation, antialiased, subpixel_dimming)
    return _draw(blend, optics, gaussians, cameras, background, features, shown, unit_rotations, with_radii=with_radii)


def render_dense(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    height: int,
    width: int,
    background: float | Float[Array | np.ndarray, "*background"] = 1.0,
    near: float = 0.01,
    dilation: float = 0.3,
    antialiased: bool = False,
    subpixel_dimming: bool = False,
    unit_rotations: bool = True,
    features: Float[Array | np.ndarray, "*batch n c"] | None = None,
    shown: Bool[Array | np.ndarray, "*shown n"] | None = None,
    with_radii: bool = False,
) -> Rendering:
    """Renders like `render`, by the definition: all Gaussians against all pixels, gradients by autodiff.

    The reference that faster paths are held against. Memory grows like Gaussians × pixels.

    Args:
        gaussians: as in `render`.
        cameras: as in `render`.
        height: of the images, pixels.
        width: of the images, pixels.
        background: as in `render`.
        near: as in `render`.
        dilation: as in `render`.
        antialiased: as in `render`.
        subpixel_dimming: as in `render`.
        unit_rotations: as in `render`.
        features: as in `render`.
        shown: as in `render`.
        with_radii: as in `render`.

    Raises:
        ValueError: as in `render`.
    """
    check_settings(height, width, near, dilation, None)

    def blend(splats: ProjectedColumns, channels: list[Array]) -> tuple[Array, Array]:
        return blend_dense(_joined(splats), join_columns(channels), height=height, width=width)

    optics = _Optics(height, width, near, dilation, antialiased, subpixel_dimming)
    return _draw(blend, optics, gaussians, cameras, background, features, shown, unit_rotations, with_radii=with_radii)


class _Scene(NamedTuple):
    """All images of a call as one flat batch."""

    splats: ProjectedColumns
    channels: list[Float[Array, "images n"]]


class _Optics(NamedTuple):
    """How `project` shall project."""

    height: int
    width: int
    near: float
    dilation: float
    antialiased: bool
    subpixel_dimming: bool


def _draw(
    blend: Callable[[ProjectedColumns, list[Array]], tuple[Array, Array]],
    optics: _Optics,
    gaussians: Gaussians,
    cameras: Cameras,
    background: float | Array | np.ndarray,
    features: Array | np.ndarray | None,
    shown: Array | np.ndarray | None,
    unit_rotations: bool,
    *,
    with_radii: bool,
) -> Rendering:
    """Checks the arrays, projects, blends, and composes; each device its own images where arrays are split by type."""
    check_arrays(gaussians, cameras, features, shown)
    height, width = optics.height, optics.width

    def draw(
        gaussians: Gaussians,
        cameras: Cameras,
        background: float | Array | np.ndarray,
        features: Array | np.ndarray | None,
        shown: Array | np.ndarray | None,
    ) -> Rendering:
        splats, channels = _flatten(gaussians, cameras, features, shown, optics, unit_rotations)
        images, count = splats.depths.shape
        if images * count == 0:
            blended = jnp.zeros((images, height, width, len(channels)), splats.depths.dtype)
            transmittance = jnp.ones((images, height, width), splats.depths.dtype)
        else:
            blended, transmittance = blend(splats, channels)
        rendering = _compose(blended, transmittance, cameras, background, has_features=features is not None)
        return rendering._replace(radii=_radii(_joined(splats), cameras, height, width)) if with_radii else rendering

    layout = explicit_layout(gaussians, cameras, features)
    if layout is None:
        return draw(gaussians, cameras, background, features, shown)
    return draw_split(draw, layout, gaussians, cameras, background, features, shown)


def _flatten(
    gaussians: Gaussians,
    cameras: Cameras,
    features: Array | np.ndarray | None,
    shown: Array | np.ndarray | None,
    optics: _Optics,
    unit_rotations: bool,
) -> _Scene:
    """Projects and colours every Gaussian for every camera; channels are colour, depth and features."""
    # Eight bits of a bfloat16 do not say at which pixel something is.
    dtype = jnp.result_type(*gaussians, *cameras, *([] if features is None else [features]), jnp.float32)
    batch, lead = gaussians.opacities.shape[:-1], cameras.intrinsics.shape[:-1]
    views = (1,) * (len(lead) - len(batch))
    images = int(np.prod(lead))
    if images * gaussians.opacities.shape[-1] >= 2**31:
        raise ValueError(
            f"{images} images × {gaussians.opacities.shape[-1]} Gaussians are more than 2³¹ − 1 splats; "
            "render fewer cameras at once"
        )

    def per_image(column: Array) -> Array:
        """Repeats `[*batch, n]` for every view and flattens `[*batch, *views]`."""
        count = column.shape[-1]
        column = column.reshape(*batch, *views, count)
        return jnp.broadcast_to(column, (*lead, count)).reshape(images, count)

    means, rotations, scales, (opacities,), sh, *others = _finite_columns(gaussians, features, dtype)
    if not unit_rotations:
        rotations = [jnp.clip(value, -_LONGEST_QUATERNION, _LONGEST_QUATERNION) for value in rotations]
    spread = covariance_entries(rotations, [_bounded(value) for value in scales], unit=unit_rotations)
    poses = jnp.asarray(cameras.camera_to_world, dtype).reshape(images, 4, 4)
    flat = Cameras(poses, jnp.asarray(cameras.intrinsics, dtype).reshape(images, 4))
    places = [per_image(value) for value in means]
    seen = per_image(opacities)
    if shown is not None:  # one that cannot be seen is not drawn, so that the others are projected and sorted once
        seen = jnp.where(jnp.asarray(shown).reshape(seen.shape), seen, 0.0)
    splats = project_columns(
        places,
        {place: per_image(value) for place, value in spread.items()},
        seen,
        flat,
        **optics._asdict(),
    )
    usable, _ = usable_cameras(flat, height=optics.height, width=optics.width)
    centers = jnp.asarray(usable.camera_to_world)[..., :3, 3]
    colors = color_columns(
        [[per_image(_bounded(value)) for value in sh[3 * k : 3 * k + 3]] for k in range(len(sh) // 3)],
        [jnp.where(splats.is_visible, place, 0.0) for place in places],
        centers,
    )
    channels = [*colors, splats.depths, *(per_image(_bounded(value)) for leaf in others for value in leaf)]
    return _Scene(splats, [jnp.where(splats.is_visible, channel, 0.0) for channel in channels])


def _joined(splats: ProjectedColumns) -> Projection:
    return Projection(*(join_columns(field) if isinstance(field, list) else field for field in splats))


def _radii(projection: Projection, cameras: Cameras, height: int, width: int) -> Float[Array, "*batch n 2"]:
    """Returns the extents of what can be seen, with the cameras' leading axes."""
    seen = jax.lax.stop_gradient(projection)
    size = jnp.asarray([width, height], seen.means.dtype).reshape(1, 1, 2)
    is_inside = jnp.all((seen.means + seen.extents > 0.0) & (seen.means - seen.extents < size), axis=-1)
    radii = jnp.where((seen.is_visible & is_inside)[..., None], seen.extents, 0.0)
    return radii.reshape(*cameras.intrinsics.shape[:-1], *radii.shape[1:])


def _finite_columns(
    gaussians: Gaussians, features: Array | np.ndarray | None, dtype: jnp.dtype
) -> list[list[Float[Array, "*batch n"]]]:
    """Returns the components of every array, zeros for what has a NaN or an infinity anywhere.

    So it is transparent before these can reach any gradient.
    """
    leaves = [jnp.asarray(leaf, dtype) for leaf in (*gaussians, *([] if features is None else [features]))]
    lead = gaussians.opacities.shape
    columns = [
        split_columns(leaf.reshape(*lead, int(np.prod(leaf.shape[len(lead) :])))) if leaf.ndim > len(lead) else [leaf]
        for leaf in leaves
    ]
    is_finite = functools.reduce(jnp.logical_and, (jnp.isfinite(value) for leaf in columns for value in leaf))
    return [[jnp.where(is_finite, value, 0.0) for value in leaf] for leaf in columns]


def _bounded(values: Array) -> Array:
    return jnp.clip(values, -_LARGEST, _LARGEST)


def _compose(
    blended: Float[Array, "images h w c"],
    transmittance: Float[Array, "images h w"],
    cameras: Cameras,
    background: float | Array | np.ndarray,
    *,
    has_features: bool,
) -> Rendering:
    """Puts blended colours on the background and gives everything its leading axes back."""
    lead = cameras.intrinsics.shape[:-1]
    height, width = transmittance.shape[1:]
    behind = _bounded(jnp.asarray(background, blended.dtype))
    if behind.shape not in ((), (3,), (*lead, 3)):
        raise ValueError(f"background must be a number, [3] or {[*lead, 3]}, not {list(behind.shape)}")
    behind = jnp.broadcast_to(behind.reshape((1,) * (len(lead) + 1 - behind.ndim) + behind.shape), (*lead, 3))
    behind = behind.reshape(-1, 1, 1, 3)
    image = blended[..., :3] + transmittance[..., None] * behind
    return Rendering(
        image=image.reshape(*lead, height, width, 3),
        alpha=(1.0 - transmittance).reshape(*lead, height, width),
        depth=blended[..., 3].reshape(*lead, height, width),
        features=blended[..., 4:].reshape(*lead, height, width, -1) if has_features else None,
    )


def _default_capacity(splats: int) -> int:
    """Six pairs a splat hold splats of a few pixels; past some number of them passes are cheaper than memory.

    On a GPU that is 33 million pairs (400 MB). On a CPU it is two million: lists stay nearer to the caches, and every
    pass leaves out what the passes before it have hidden (eight views of 262,144 Gaussians take 2/3 of the time).
    """
    most = 1 << 21 if jax.default_backend() == "cpu" else max(1 << 25, splats)
    return max(1 << 14, min(6 * splats, most))
