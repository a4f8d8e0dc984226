"""From 3D Gaussians to 2D ones: camera space, the perspective Jacobian, conics and opacity-aware extents.

Everything here is plain differentiable `jnp`. A Gaussian that cannot be drawn (behind the near plane, fainter than
1/255 everywhere, not finite) is replaced by a harmless constant *before* any arithmetic that could overflow, so that
its gradient is exactly zero and no NaN can come out of the backward pass, whatever finite numbers go in.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from diffgs_jax.geometry import Cameras, world_to_camera

ALPHA_MIN = 1.0 / 255.0
"""Contributions fainter than this are skipped (3DGS)."""

_WINDOW = 1.3
"""Sides of the window in which x/z and y/z are left as they are, over those of the image (3DGS)."""

_FARTHEST = 1e15  # world units from the camera: squares of coordinates stay far from overflow
_LARGEST_VARIANCE = 1e16  # square pixels: products of two variances stay far from overflow


class Projection(NamedTuple):
    """2D Gaussians, one for each (camera, Gaussian).

    Attributes:
        means: `[*batch, n, 2]` pixels (x, y); pixel (row i, column j) is centred at (j + 0.5, i + 0.5).
        conics: `[*batch, n, 3]` the inverse 2D covariance (xx, xy, yy), 1/pixels².
        depths: `[*batch, n]` z in the camera's frame, world units; 1 where not visible.
        extents: `[*batch, n, 2]` half-width and half-height, pixels, of the region where alpha can reach 1/255.
        is_visible: `[*batch, n]` False where the Gaussian must not be drawn. Its other values are then meaningless.
        opacities: `[*batch, n]` peak alphas in the image, in [0, 1]; below those given where antialiasing dims them.
    """

    means: Float[Array, "*batch n 2"]
    conics: Float[Array, "*batch n 3"]
    depths: Float[Array, "*batch n"]
    extents: Float[Array, "*batch n 2"]
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
    """
    view, is_posed = _safe_world_to_camera(jnp.asarray(cameras.camera_to_world))
    size = jnp.asarray([width, height, width, height], view.dtype)
    intrinsics = jnp.asarray(cameras.intrinsics) * size.reshape((1,) * (cameras.intrinsics.ndim - 1) + (4,))
    focal, center = intrinsics[..., None, :2], intrinsics[..., None, 2:]

    linear, offset = view[..., :3, :3], view[..., :3, 3]
    camera = jnp.einsum("...ij,...nj->...ni", linear, means) + offset[..., None, :]
    is_visible = jnp.all(jnp.abs(camera) < _FARTHEST, axis=-1) & (camera[..., 2] > near) & is_posed[..., None]
    is_visible &= jnp.all(jnp.isfinite(covariances), axis=(-2, -1))
    is_visible &= (opacities >= ALPHA_MIN) & jnp.isfinite(opacities)
    is_visible &= jnp.all(jnp.isfinite(intrinsics), axis=-1)[..., None]

    harmless = jnp.asarray([0.0, 0.0, 1.0], camera.dtype).reshape((1,) * (camera.ndim - 1) + (3,))
    camera = jnp.where(is_visible[..., None], camera, harmless)
    covariances = jnp.where(is_visible[..., None, None], covariances, 0.0)
    opacities = jnp.where(is_visible, opacities, 1.0)
    focal = jnp.where(jnp.isfinite(focal), focal, 1.0)
    center = jnp.where(jnp.isfinite(center), center, 0.0)

    depth = camera[..., 2]
    slope = camera[..., :2] / depth[..., None]
    means2d = focal * slope + center

    slope = _clamped(slope, focal, center, height, width)
    variances = _projected_covariance(slope, depth, focal, linear, covariances)
    xx, xy, yy = variances[..., 0], variances[..., 1], variances[..., 2]
    # det(Σ + dI) = det Σ + d·tr Σ + d². Each term is non-negative, so rounding in the first cannot make the sum vanish.
    undilated = jnp.maximum(xx * yy - xy * xy, 0.0)
    determinant = undilated + dilation * (xx + yy) + dilation * dilation
    is_visible &= determinant > 1e-24  # only a point splat drawn without dilation has no area
    if antialiased:
        # What would be dimmed below 1/255 is dropped first: the square root has no slope at zero.
        kept = undilated / jnp.where(is_visible, determinant, 1.0)
        is_visible &= kept * opacities**2 >= ALPHA_MIN**2
        opacities = opacities * jnp.sqrt(jnp.where(is_visible, kept, 1.0))
    determinant = jnp.where(is_visible, determinant, 1.0)
    conics = jnp.stack([yy + dilation, -xy, xx + dilation], axis=-1) / determinant[..., None]

    # alpha ≥ 1/255 inside dᵀ Σ'⁻¹ d ≤ 2 ln(255 o), whose bounding box has half-sides sqrt(2 ln(255 o) Σ'ᵢᵢ).
    level = 2.0 * jnp.log(jnp.maximum(opacities / ALPHA_MIN, 1.0))
    extents = jnp.sqrt(jax.lax.stop_gradient(level[..., None] * (variances[..., ::2] + dilation)))
    is_visible &= jnp.all(jnp.isfinite(means2d), axis=-1) & jnp.all(jnp.isfinite(conics), axis=-1)
    return Projection(means2d, conics, depth, extents, is_visible, opacities)


def _safe_world_to_camera(
    camera_to_world: Float[Array, "*batch 4 4"],
) -> tuple[Float[Array, "*batch 4 4"], Bool[Array, "*batch"]]:
    """Inverts poses; a matrix without an inverse is replaced by the identity and reported."""
    x, y, z = (jax.lax.stop_gradient(camera_to_world[..., :3, i]) for i in range(3))
    determinant = jnp.abs(jnp.sum(jnp.cross(x, y) * z, axis=-1))
    size = jnp.linalg.norm(x, axis=-1) * jnp.linalg.norm(y, axis=-1) * jnp.linalg.norm(z, axis=-1)
    is_posed = (determinant > 1e-6 * size) & (determinant > 1e-18) & (determinant < 1e18)
    is_posed &= jnp.all(jnp.isfinite(camera_to_world), axis=(-2, -1))
    identity = jnp.eye(4, dtype=camera_to_world.dtype).reshape((1,) * (camera_to_world.ndim - 2) + (4, 4))
    return world_to_camera(jnp.where(is_posed[..., None, None], camera_to_world, identity)), is_posed


def _clamped(
    slope: Float[Array, "*batch n 2"],
    focal: Float[Array, "*batch 1 2"],
    center: Float[Array, "*batch 1 2"],
    height: int,
    width: int,
) -> Float[Array, "*batch n 2"]:
    """Returns x/z and y/z, no farther from the middle of the image than the edge of the widened one."""
    half_size = jnp.asarray([0.5 * width, 0.5 * height], slope.dtype).reshape((1,) * (slope.ndim - 1) + (2,))
    focal = jnp.where(jnp.abs(focal) < 1e-6, 1e-6, focal)
    middle, reach = (half_size - center) / focal, _WINDOW * half_size / jnp.abs(focal)
    return jnp.clip(slope, middle - reach, middle + reach)


def _projected_covariance(
    slope: Float[Array, "*batch n 2"],
    depth: Float[Array, "*batch n"],
    focal: Float[Array, "*batch 1 2"],
    linear: Float[Array, "*batch 3 3"],
    covariances: Float[Array, "*batch n 3 3"],
) -> Float[Array, "*batch n 3"]:
    """Returns (xx, xy, yy) of J W Σ Wᵀ Jᵀ in square pixels, limited to what float32 can square."""
    magnification = focal / depth[..., None]
    # Rows of J W: J = [[fx/z, 0, -fx x/z²], [0, fy/z, -fy y/z²]]. Written out by component, because XLA has no good way
    # with a hundred thousand 3×3 products.
    x, y = (
        [
            magnification[..., axis] * (linear[..., None, axis, i] - slope[..., axis] * linear[..., None, 2, i])
            for i in range(3)
        ]
        for axis in range(2)
    )
    bound = 9.0 * functools.reduce(jnp.maximum, (jnp.abs(value) for value in x + y)) ** 2
    entry = {(i, j): 0.5 * (covariances[..., i, j] + covariances[..., j, i]) for i in range(3) for j in range(i, 3)}
    largest = functools.reduce(jnp.maximum, (jnp.abs(value) for value in entry.values()))
    ratio = _LARGEST_VARIANCE / jnp.maximum(bound, 1e-12)
    # A splat wider than 10⁸ pixels is flat over any image: shrinking it there changes nothing but the overflow.
    shrink = jax.lax.stop_gradient(jnp.where(largest > ratio, ratio / jnp.maximum(largest, 1e-30), 1.0))

    def dot(left: list[Array], right: list[Array]) -> Array:
        return left[0] * right[0] + left[1] * right[1] + left[2] * right[2]

    def times(row: list[Array]) -> list[Array]:
        return [shrink * dot([entry[min(i, j), max(i, j)] for j in range(3)], row) for i in range(3)]

    spread_x, spread_y = times(x), times(y)
    return jnp.stack([dot(x, spread_x), dot(y, spread_x), dot(y, spread_y)], axis=-1)
