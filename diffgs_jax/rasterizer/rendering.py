"""The public door of the rasterizer: Gaussians and cameras in, images out."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.geometry import Cameras, Gaussians, covariances, sh_to_color
from diffgs_jax.rasterizer._blending import blend_tiles
from diffgs_jax.rasterizer._launchers import Backend, choose_launcher
from diffgs_jax.rasterizer._tiles import TileGrid
from diffgs_jax.rasterizer.projection import Projection, project
from diffgs_jax.rasterizer.reference import blend_dense

_LARGEST_SCALE = 1e9  # world units; beyond it variances overflow, and any image is covered anyway
_NEAREST = 1e-6


class Rendering(NamedTuple):
    """What a camera sees.

    Attributes:
        image: `[*batch, h, w, 3]` on the background, unbounded above as colours are. An empty pixel reads the
            background.
        alpha: `[*batch, h, w]` coverage 1 − T in [0, 1]. An empty pixel reads 0.
        depth: `[*batch, h, w]` Σ T·alpha·z, world units, not divided by alpha. An empty pixel reads 0.
        features: `[*batch, h, w, c]` blended like colours, on zero; None if none were given.
    """

    image: Float[Array, "*batch h w 3"]
    alpha: Float[Array, "*batch h w"]
    depth: Float[Array, "*batch h w"]
    features: Float[Array, "*batch h w c"] | None = None


def render(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    height: int,
    width: int,
    background: float | Float[Array | np.ndarray, "*background"] = 1.0,
    near: float = 0.01,
    dilation: float = 0.3,
    features: Float[Array | np.ndarray, "*batch n c"] | None = None,
    capacity: int | None = None,
    backend: Backend = "auto",
) -> Rendering:
    """Renders Gaussians from any number of cameras (3DGS, Kerbl et al. 2023), all of them in one launch.

    alpha = min(0.99, o·exp(−½ dᵀ Σ'⁻¹ d)), skipped under 1/255; blending is front to back by z (ties by index) and
    stops, for good, at the Gaussian that would take transmittance under 1e-4. Works under jit, vmap, grad and shard_map
    (`check_vma=False`), with static `height`, `width`, `capacity`.

    Gradients reach everything that is an array: Gaussians, poses, intrinsics, background and features. They are those
    of the formulas above with the depth order held fixed, and are exactly zero for a Gaussian that is not drawn (behind
    `near`, fainter than 1/255, not finite) and finite for any finite input.

    Args:
        gaussians: `[*batch, n]`.
        cameras: `[*batch, *views]`; every view of a batch element sees the same Gaussians.
        height: of the images, pixels.
        width: of the images, pixels.
        background: what shows through: a number, `[3]`, or `[*batch, *views, 3]`.
        near: Gaussians with z ≤ near are dropped; world units, at least 1e-6.
        dilation: added to both 2D variances, square pixels.
        features: `[*batch, n, c]`, blended like colours on zero (normals, coordinates, anything).
        capacity: how many (tile, Gaussian) pairs are held at once. It bounds memory, never the result: what does not
            fit is blended in further passes. By default ample for splats of a few pixels.
        backend: who does the blending: "xla" is plain JAX and runs on any device; "triton" are Pallas kernels for an
            NVIDIA GPU. "auto" is "xla" everywhere for now: the kernels have been interpreted and lowered, never timed.

    Returns:
        Images `[*batch, *views, h, w, …]`.

    Raises:
        ValueError: if shapes, types or settings do not fit together.
        NotImplementedError: for a backend that is not available.
    """
    _check_settings(height, width, near, dilation, capacity)
    launcher = choose_launcher(backend)
    scene = _flatten(gaussians, cameras, features, height=height, width=width, near=near, dilation=dilation)
    grid = TileGrid(height, width, launcher.tile)
    images, count = scene.opacities.shape
    if images * count == 0:
        blended = jnp.zeros((images, height, width, scene.channels.shape[-1]), scene.channels.dtype)
        transmittance = jnp.ones((images, height, width), scene.channels.dtype)
    else:
        capacity = _default_capacity(images * count) if capacity is None else capacity
        capacity = min(max(capacity, grid.tiles), images * count * grid.tiles)
        blended, transmittance = blend_tiles(
            scene.projection, scene.opacities, scene.channels, grid=grid, capacity=capacity, launcher=launcher
        )
    return _compose(blended, transmittance, cameras, background, has_features=features is not None)


def render_dense(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    height: int,
    width: int,
    background: float | Float[Array | np.ndarray, "*background"] = 1.0,
    near: float = 0.01,
    dilation: float = 0.3,
    features: Float[Array | np.ndarray, "*batch n c"] | None = None,
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
        features: as in `render`.

    Raises:
        ValueError: as in `render`.
    """
    _check_settings(height, width, near, dilation, None)
    scene = _flatten(gaussians, cameras, features, height=height, width=width, near=near, dilation=dilation)
    if scene.opacities.size == 0:
        images = scene.opacities.shape[0]
        blended = jnp.zeros((images, height, width, scene.channels.shape[-1]), scene.channels.dtype)
        transmittance = jnp.ones((images, height, width), scene.channels.dtype)
    else:
        blended, transmittance = blend_dense(
            scene.projection, scene.opacities, scene.channels, height=height, width=width
        )
    return _compose(blended, transmittance, cameras, background, has_features=features is not None)


class _Scene(NamedTuple):
    """All images of a call as one flat batch."""

    projection: Projection
    opacities: Float[Array, "images n"]
    channels: Float[Array, "images n c"]


def _flatten(
    gaussians: Gaussians,
    cameras: Cameras,
    features: Array | np.ndarray | None,
    *,
    height: int,
    width: int,
    near: float,
    dilation: float,
) -> _Scene:
    """Projects and colours every Gaussian for every camera; channels are colour, depth and features."""
    _check_arrays(gaussians, cameras, features)
    dtype = jnp.result_type(*gaussians, *cameras, *([] if features is None else [features]))
    batch, lead = gaussians.opacities.shape[:-1], cameras.intrinsics.shape[:-1]
    views = (1,) * (len(lead) - len(batch))
    images = int(np.prod(lead))
    if images * gaussians.opacities.shape[-1] >= 2**31:
        raise ValueError(
            f"{images} images × {gaussians.opacities.shape[-1]} Gaussians are more than 2³¹ − 1 splats; "
            "render fewer cameras at once"
        )

    def per_image(values: Array | np.ndarray) -> Array:
        """Repeats `[*batch, …]` for every view and flattens `[*batch, *views]`."""
        inner = values.shape[len(batch) :]
        values = jnp.asarray(values, dtype).reshape(batch + views + inner)
        return jnp.broadcast_to(values, lead + inner).reshape((images, *inner))

    scales = jnp.clip(jnp.asarray(gaussians.scales, dtype), -_LARGEST_SCALE, _LARGEST_SCALE)
    spread = covariances(_bounded(jnp.asarray(gaussians.rotations, dtype)), scales)
    poses = jnp.asarray(cameras.camera_to_world, dtype).reshape(images, 4, 4)
    flat = Cameras(poses, jnp.asarray(cameras.intrinsics, dtype).reshape(images, 4))
    means, opacities = per_image(gaussians.means), per_image(gaussians.opacities)
    projection = project(
        means, per_image(spread), opacities, flat, height=height, width=width, near=near, dilation=dilation
    )
    is_visible = projection.is_visible[..., None]
    colors = sh_to_color(per_image(gaussians.sh), jnp.where(is_visible, means, 0.0), poses[..., :3, 3])
    channels = [jnp.where(is_visible, colors, 0.0), jnp.where(is_visible, projection.depths[..., None], 0.0)]
    if features is not None:
        channels.append(jnp.where(is_visible, per_image(features), 0.0))
    return _Scene(projection, opacities, jnp.concatenate(channels, axis=-1))


def _bounded(quaternions: Float[Array, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """Divides quaternions by their largest component, so that very long ones cannot overflow when squared."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(quaternions), axis=-1, keepdims=True))
    return quaternions / jnp.where(largest < 1e-12, 1.0, largest)


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
    behind = jnp.asarray(background, blended.dtype)
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
    """Six pairs a splat hold splats of a few pixels; past 33 million pairs (400 MB) passes are cheaper than memory."""
    return max(1 << 14, min(6 * splats, max(1 << 25, splats)))


def _check_settings(height: int, width: int, near: float, dilation: float, capacity: int | None) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"the image must have at least one pixel, not {height} × {width}")
    if not near >= _NEAREST:
        raise ValueError(f"near must be at least {_NEAREST} world units, not {near}")
    if not dilation >= 0.0:
        raise ValueError(f"dilation must not be negative, but is {dilation}")
    if capacity is not None and capacity < 1:
        raise ValueError(f"capacity must be at least 1, not {capacity}")


def _check_arrays(gaussians: Gaussians, cameras: Cameras, features: Array | np.ndarray | None) -> None:
    """Raises a ValueError that names the first array that does not fit."""
    batch, count = gaussians.opacities.shape[:-1], gaussians.opacities.shape[-1] if gaussians.opacities.ndim else 0
    if gaussians.opacities.ndim < 1:
        raise ValueError("gaussians.opacities must be [*batch, n], not a number")
    expected = {"means": (3,), "rotations": (4,), "scales": (3,)}
    for name, inner in expected.items():
        shape = getattr(gaussians, name).shape
        if shape != (*batch, count, *inner):
            raise ValueError(
                f"gaussians.{name} must be {[*batch, count, *inner]} to go with opacities, not {list(shape)}"
            )
    shape = gaussians.sh.shape
    if (
        len(shape) != len(batch) + 3
        or shape[:-2] != (*batch, count)
        or shape[-1] != 3
        or shape[-2] not in (1, 4, 9, 16)
    ):
        raise ValueError(f"gaussians.sh must be {[*batch, count]} + [1, 4, 9 or 16, 3], not {list(shape)}")
    lead = cameras.intrinsics.shape[:-1]
    if cameras.intrinsics.shape[-1:] != (4,) or lead[: len(batch)] != batch:
        raise ValueError(
            f"cameras.intrinsics must be {list(batch)} + [*views, 4] for Gaussians {[*batch, count]}, "
            f"not {list(cameras.intrinsics.shape)}"
        )
    if cameras.camera_to_world.shape != (*lead, 4, 4):
        raise ValueError(
            f"cameras.camera_to_world must be {[*lead, 4, 4]} to go with the intrinsics, "
            f"not {list(cameras.camera_to_world.shape)}"
        )
    if features is not None and (features.ndim != len(batch) + 2 or features.shape[:-1] != (*batch, count)):
        raise ValueError(f"features must be {[*batch, count]} + [c], not {list(features.shape)}")
    for name, values in {**gaussians._asdict(), **cameras._asdict(), "features": features}.items():
        if values is not None and not jnp.issubdtype(values.dtype, jnp.floating):
            raise ValueError(f"{name} must be floating point, not {values.dtype}")
