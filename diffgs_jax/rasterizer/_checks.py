"""Checks of what the rasterizer is given."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffgs_jax.geometry import Cameras, Gaussians

_NEAREST = 1e-6


def check_settings(height: int, width: int, near: float, dilation: float, capacity: int | None) -> None:
    """Raises a ValueError that names the first setting that makes no sense."""
    if height < 1 or width < 1:
        raise ValueError(f"the image must have at least one pixel, not {height} × {width}")
    if not near >= _NEAREST:
        raise ValueError(f"near must be at least {_NEAREST} world units, not {near}")
    if not 0.0 <= dilation < math.inf:
        raise ValueError(f"dilation must not be negative and must be finite, but is {dilation}")
    if capacity is not None and capacity < 1:
        raise ValueError(f"capacity must be at least 1, not {capacity}")


def check_arrays(
    gaussians: Gaussians,
    cameras: Cameras,
    features: Array | np.ndarray | None,
    shown: Array | np.ndarray | None = None,
) -> None:
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
    if shown is not None and shown.shape != (*lead, count):
        raise ValueError(f"shown must be {[*lead, count]}, not {list(shown.shape)}")
    for name, values in {**gaussians._asdict(), **cameras._asdict(), "features": features}.items():
        if values is not None and not jnp.issubdtype(values.dtype, jnp.floating):
            raise ValueError(f"{name} must be floating point, not {values.dtype}")
