"""From 3D Gaussians to 2D ones: camera space, the perspective Jacobian, conics and opacity-aware extents.

Everything here is plain differentiable `jnp`, written out by component: XLA has no good way with a hundred thousand
3×3 products, and may take dot products of default precision in TF32 on a GPU, a tenth of a pixel off.

A Gaussian that cannot be drawn (behind the near plane, fainter than 1/255 everywhere, not finite, absurdly far) is
replaced by a harmless constant *before* any arithmetic that could overflow, so that its gradient is exactly zero. What
is left is bounded so that no product of the forward or the backward pass overflows: no NaN can come out, whatever
finite numbers go in.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from diffgs_jax.geometry import Cameras, world_to_camera

ALPHA_MIN = 1.0 / 255.0
"""Contributions fainter than this are skipped (3DGS)."""

_DIMMED_AREA = 1e-6
"""Determinant of a covariance in the image, pixels⁴, below which subpixel dimming leaves nothing (RaDe-GS)."""

_WINDOW = 1.3
"""Sides of the window in which x/z and y/z are left as they are, over those of the image (3DGS)."""

# What lies beyond is not drawn.
_FARTHEST = 1e12  # world units, of anything from the origin and from the camera
_LARGEST_COVARIANCE = 1e19  # square world units
_SCALES_OF_POSES = (1e-6, 1e6)  # lengths of the axes of `camera_to_world`
_LARGEST_LENS = 1e10  # pixels, of focal length and principal point
_LARGEST_MAGNIFICATION = 1e12  # pixels per world unit
_FARTHEST_PIXEL = 1e9  # from where not even the widest splat reaches the image
_NARROWEST_VARIANCE = 1e-18  # square pixels; only of points and lines drawn without dilation
_LARGEST_OPACITY = 1e3
_LARGEST_VARIANCE = 1e16  # square pixels; a larger one is shrunk


class Projection(NamedTuple):
    """2D Gaussians, one for each (camera, Gaussian).

    Attributes:
        means: `[*batch, n, 2]` pixels (x, y); pixel (row i, column j) is centred at (j + 0.5, i + 0.5).
        conics: `[*batch, n, 3]` the inverse 2D covariance (xx, xy, yy), 1/pixels².
        depths: `[*batch, n]` z in the camera's frame, world units; 1 where not visible.
        extents: `[*batch, n, 2]` half-width and half-height, pixels, of the region where alpha can reach 1/255.
        is_visible: `[*batch, n]` False where the Gaussian must not be drawn. Its other values are then meaningless.
        opacities: `[*batch, n]` peak alphas in the image, in [0, 1]; below those given where something dims them.
    """

    means: Float[Array, "*batch n 2"]
    conics: Float[Array, "*batch n 3"]
    depths: Float[Array, "*batch n"]
    extents: Float[Array, "*batch n 2"]
    is_visible: Bool[Array, "*batch n"]
    opacities: Float[Array, "*batch n"]


class ProjectedColumns(NamedTuple):
    """A `Projection` by component.

    Attributes:
        means: x and y.
        conics: xx, xy, yy.
        depths: as in `Projection`.
        extents: half-width and half-height.
        is_visible: as in `Projection`.
        opacities: as in `Projection`.
    """

    means: list[Float[Array, "*batch n"]]
    conics: list[Float[Array, "*batch n"]]
    depths: Float[Array, "*batch n"]
    extents: list[Float[Array, "*batch n"]]
    is_visible: Bool[Array, "*batch n"]
    opacities: Float[Array, "*batch n"]


def project(
    means: Float[Array, "*batch n 3"],
    covariances: Float[Array, "*batch n 3 3"],
    opacities: Float[Array, "*batch n"],
    cameras: Cameras,
    *,
    height: int,
    width: int,
    near: float = 0.01,
    dilation: float = 0.3,
    antialiased: bool = False,
    subpixel_dimming: bool = False,
) -> Projection:
    """Projects Gaussians by the local affine approximation (Zwicker et al. 2001; 3DGS eq. 5).

    Σ' = J W Σ Wᵀ Jᵀ + dilation·I. Inside J only, x/z is clamped to where the image, widened by 15 % of its width to
    either side, begins and ends: [−(cx + 0.15 w)/fx, (w − cx + 0.15 w)/fx] in pixels, and y/z likewise; ±1.3·tan(fov/2)
    for a centred principal point. So a crop and its camera see what the whole picture's camera sees there, of all
    Gaussians whose centres lie inside both widened images.

    Args:
        means: centres, world units.
        covariances: symmetric, world units squared. `geometry.covariances` makes them from rotations and scales.
        opacities: peak alphas; they decide the extents.
        cameras: one for each element of `*batch`.
        height: of the image, pixels.
        width: of the image, pixels.
        near: Gaussians with z ≤ near are dropped; world units, at least 1e-6.
        dilation: added to both variances, square pixels.
        antialiased: dim each Gaussian by sqrt(det Σ' before dilation / after), so that what is thinner than a pixel
            does not gain by being dilated (Yu et al. 2024, the 2D filter of Mip-Splatting).
        subpixel_dimming: multiply each opacity by sqrt(det Σ' before dilation / (after + 1e-6) + 1e-6), and drop what
            has a determinant of at most 1e-6 before it (RaDe-GS, Zhang et al. 2024). Without dilation it dims what is
            smaller than a pixel by half at most.
    """
    spread = {(i, j): 0.5 * (covariances[..., i, j] + covariances[..., j, i]) for i in range(3) for j in range(i, 3)}
    found = project_columns(
        [means[..., i] for i in range(3)],
        spread,
        opacities,
        cameras,
        height=height,
        width=width,
        near=near,
        dilation=dilation,
        antialiased=antialiased,
        subpixel_dimming=subpixel_dimming,
    )
    means2d, conics, extents = (jnp.stack(values, axis=-1) for values in (found.means, found.conics, found.extents))
    return Projection(means2d, conics, found.depths, extents, found.is_visible, found.opacities)


def project_columns(
    places: Sequence[Float[Array, "*batch n"]],
    spread: Mapping[tuple[int, int], Float[Array, "*batch n"]],
    opacities: Float[Array, "*batch n"],
    cameras: Cameras,
    *,
    height: int,
    width: int,
    near: float,
    dilation: float,
    antialiased: bool,
    subpixel_dimming: bool,
) -> ProjectedColumns:
    """Projects like `project`, from components to components.

    Args:
        places: x, y, z of the means.
        spread: entries (row, column) of the upper triangles of the covariances.
        opacities: as in `project`.
        cameras: as in `project`.
        height: as in `project`.
        width: as in `project`.
        near: as in `project`.
        dilation: as in `project`.
        antialiased: as in `project`.
        subpixel_dimming: as in `project`.
    """
    cameras, is_usable = usable_cameras(cameras, height=height, width=width)
    view = world_to_camera(jnp.asarray(cameras.camera_to_world))
    lens = jnp.asarray(cameras.intrinsics) * _sizes(height, width, cameras.intrinsics)
    focal, center = ([lens[..., None, i] for i in pair] for pair in ((0, 1), (2, 3)))

    is_visible = (_largest(places) < _FARTHEST) & is_usable[..., None]
    is_visible &= _largest(list(spread.values())) < _LARGEST_COVARIANCE
    is_visible &= (opacities >= ALPHA_MIN) & (opacities < _LARGEST_OPACITY)
    world = [jnp.where(is_visible, place, 0.0) for place in places]
    camera = [_dot([view[..., None, i, j] for j in range(3)], world) + view[..., None, i, 3] for i in range(3)]
    is_visible &= (_largest(camera) < _FARTHEST) & (camera[2] > near)
    x, y = (jnp.where(is_visible, value, 0.0) for value in camera[:2])
    depth = jnp.where(is_visible, camera[2], 1.0)

    slopes = [x / depth, y / depth]
    centers = [focal[axis] * slopes[axis] + center[axis] for axis in range(2)]
    rows = []
    for axis, side in enumerate((width, height)):
        # A row of J W: J = [[fx/z, 0, -fx x/z²], [0, fy/z, -fy y/z²]].
        slope = _clamped(slopes[axis], focal[axis], center[axis], side)
        magnification = focal[axis] / depth
        rows.append([magnification * (view[..., None, axis, i] - slope * view[..., None, 2, i]) for i in range(3)])
    is_visible &= (_largest(centers) < _FARTHEST_PIXEL) & (_largest(rows[0] + rows[1]) < _LARGEST_MAGNIFICATION)
    centers = [jnp.where(is_visible, value, 0.0) for value in centers]
    rows = [[jnp.where(is_visible, value, 0.0) for value in row] for row in rows]
    entry = {place: jnp.where(is_visible, value, 0.0) for place, value in spread.items()}
    opacities = jnp.where(is_visible, opacities, 1.0)

    xx, xy, yy = _projected_covariance(rows, entry)
    # det(Σ + dI) = det Σ + d·tr Σ + d². Each term is non-negative, so rounding in the first cannot make the sum vanish.
    determinant = jnp.maximum(xx * yy - xy * xy, 0.0) + dilation * (xx + yy) + dilation * dilation
    is_visible &= determinant > _NARROWEST_VARIANCE * (xx + yy + 2.0 * dilation)
    if antialiased:
        kept = _kept_by_dilation(dilation, xx, xy, yy, jnp.where(is_visible, determinant, 1.0))
        # What would be dimmed below 1/255 is dropped first: the square root has no slope at zero.
        is_visible &= kept * opacities**2 >= ALPHA_MIN**2
        opacities = opacities * jnp.sqrt(jnp.where(is_visible, kept, 1.0))
    if subpixel_dimming:
        before = xx * yy - xy * xy
        is_visible &= before > _DIMMED_AREA
        before = jnp.where(is_visible, before, 1.0)
        after = jnp.where(is_visible, determinant, 1.0)
        opacities = opacities * jnp.sqrt(before / (after + _DIMMED_AREA) + _DIMMED_AREA)
        is_visible &= opacities >= ALPHA_MIN
    conics = _conics(xx + dilation, xy, yy + dilation, jnp.where(is_visible, determinant, 1.0))

    # alpha ≥ 1/255 inside dᵀ Σ'⁻¹ d ≤ 2 ln(255 o), whose bounding box has half-sides sqrt(2 ln(255 o) Σ'ᵢᵢ).
    level = 2.0 * jnp.log(jnp.maximum(opacities / ALPHA_MIN, 1.0))
    extents = [jnp.sqrt(jax.lax.stop_gradient(level * (variance + dilation))) for variance in (xx, yy)]
    return ProjectedColumns(centers, list(conics), depth, extents, is_visible, opacities)


def usable_cameras(cameras: Cameras, *, height: int, width: int) -> tuple[Cameras, Bool[Array, "*batch"]]:
    """Replaces cameras with which nothing can be drawn, before any arithmetic with them, and says which are usable.

    Those are left that are finite, have an inverse that float32 can find, and stay within the bounds of this module.

    Args:
        cameras: any number of them.
        height: of the image, pixels.
        width: of the image, pixels.
    """
    pose, lens = jnp.asarray(cameras.camera_to_world), jnp.asarray(cameras.intrinsics)
    still = jax.lax.stop_gradient(pose)
    x, y, z = (still[..., :3, i] for i in range(3))
    lengths = [jnp.linalg.norm(axis, axis=-1) for axis in (x, y, z)]
    determinant = jnp.abs(jnp.sum(jnp.cross(x, y) * z, axis=-1))
    is_usable = determinant > 1e-6 * lengths[0] * lengths[1] * lengths[2]
    for length in lengths:
        is_usable &= (length > _SCALES_OF_POSES[0]) & (length < _SCALES_OF_POSES[1])
    is_usable &= jnp.all(jnp.abs(still[..., :3, 3]) < _FARTHEST, axis=-1) & jnp.all(jnp.isfinite(still), axis=(-2, -1))
    is_usable &= jnp.all(jnp.abs(lens * _sizes(height, width, lens)) < _LARGEST_LENS, axis=-1)
    lead = (1,) * is_usable.ndim
    harmless_pose = jnp.eye(4, dtype=pose.dtype).reshape(*lead, 4, 4)
    harmless_lens = jnp.asarray([1.0, 1.0, 0.5, 0.5], lens.dtype).reshape(*lead, 4)
    pose = jnp.where(is_usable[..., None, None], pose, harmless_pose)
    return Cameras(pose, jnp.where(is_usable[..., None], lens, harmless_lens)), is_usable


def _sizes(height: int, width: int, intrinsics: Array | np.ndarray) -> Float[Array, "... 4"]:
    """Returns what makes pixels of fractions."""
    sizes = jnp.asarray([width, height, width, height], intrinsics.dtype)
    return sizes.reshape((1,) * (intrinsics.ndim - 1) + (4,))


def _clamped(
    slope: Float[Array, "*batch n"], focal: Float[Array, "*batch 1"], center: Float[Array, "*batch 1"], side: int
) -> Float[Array, "*batch n"]:
    """Returns x/z, no farther from the middle of the image than the edge of the widened one."""
    focal = jnp.where(jnp.abs(focal) < 1e-6, 1e-6, focal)
    middle, reach = (0.5 * side - center) / focal, _WINDOW * 0.5 * side / jnp.abs(focal)
    return jnp.clip(slope, middle - reach, middle + reach)


def _projected_covariance(
    rows: list[list[Float[Array, "*batch n"]]], entry: dict[tuple[int, int], Float[Array, "*batch n"]]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch n"], Float[Array, "*batch n"]]:
    """Returns xx, xy, yy of J W Σ Wᵀ Jᵀ in square pixels, limited to what float32 can square.

    Args:
        rows: the two rows of J W.
        entry: those of Σ, i ≤ j.
    """
    x, y = rows
    bound = 9.0 * _largest(x + y) ** 2
    largest = _largest(list(entry.values()))
    ratio = _LARGEST_VARIANCE / jnp.maximum(bound, 1e-12)
    # A splat wider than 10⁸ pixels is flat over any image: shrinking it there changes nothing but the overflow.
    shrink = jax.lax.stop_gradient(jnp.where(largest > ratio, ratio / jnp.maximum(largest, 1e-30), 1.0))

    def spread(row: list[Array]) -> list[Array]:
        return [shrink * _dot([entry[min(i, j), max(i, j)] for j in range(3)], row) for i in range(3)]

    spread_x, spread_y = spread(x), spread(y)
    return _dot(x, spread_x), _dot(y, spread_x), _dot(y, spread_y)


@jax.custom_jvp
def _conics(xx: Array, xy: Array, yy: Array, determinant: Array) -> tuple[Array, Array, Array]:
    """Returns xx, xy, yy of the inverse of symmetric 2×2 matrices, whose determinants are known more exactly."""
    return yy / determinant, -xy / determinant, xx / determinant


@_conics.defjvp
def _conics_jvp(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    """d(Σ⁻¹) = −Σ⁻¹ dΣ Σ⁻¹: without the square of a determinant, which overflows."""
    xx, xy, yy = conics = _conics(*primals)
    by_xx, by_xy, by_yy, _ = tangents
    change = (
        -(xx * xx * by_xx + 2.0 * xx * xy * by_xy + xy * xy * by_yy),
        -(xx * xy * by_xx + (xx * yy + xy * xy) * by_xy + xy * yy * by_yy),
        -(xy * xy * by_xx + 2.0 * xy * yy * by_xy + yy * yy * by_yy),
    )
    return conics, change


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _kept_by_dilation(dilation: float, xx: Array, xy: Array, yy: Array, determinant: Array) -> Array:
    """Returns det Σ over the determinant of Σ + dI, which is given."""
    return jnp.maximum(xx * yy - xy * xy, 0.0) / determinant


@_kept_by_dilation.defjvp
def _kept_by_dilation_jvp(dilation: float, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """With D = det(Σ + dI): d tr(adj(Σ)/D (Σ + dI)⁻¹ dΣ), without differences of large numbers."""
    xx, xy, yy, determinant = primals
    by_xx, by_xy, by_yy, _ = tangents
    before = (yy / determinant, -xy / determinant, xx / determinant)
    after = _conics(xx + dilation, xy, yy + dilation, determinant)
    slope_xx = before[0] * after[0] + before[1] * after[1]
    slope_xy = before[0] * after[1] + before[1] * after[2]
    slope_yy = before[1] * after[1] + before[2] * after[2]
    change = dilation * (slope_xx * by_xx + 2.0 * slope_xy * by_xy + slope_yy * by_yy)
    return _kept_by_dilation(dilation, *primals), change


def _dot(left: Sequence[Array], right: Sequence[Array]) -> Array:
    return left[0] * right[0] + left[1] * right[1] + left[2] * right[2]


def _largest(values: Sequence[Array]) -> Array:
    return functools.reduce(jnp.maximum, map(jnp.abs, values))
