"""Viewpoints around an object: random ones, the same for the same object whatever else is rendered, and rings."""

import hashlib
from collections.abc import Sequence

import numpy as np

from diffgs_jax.geometry import Cameras, intrinsics_from_fov, look_at, spherical_position


def random_viewpoints(
    uid: str,
    views: int,
    *,
    seed: int = 0,
    elevation_range: tuple[float, float] = (-10.0, 60.0),
    distance_range: tuple[float, float] = (2.7, 2.7),
    fov: float = 50.0,
) -> Cameras:
    """Returns `[views]` cameras that look at the origin.

    Azimuths are uniform and elevations uniform in their sine, so every direction within the range is as likely.

    Args:
        uid: the object's name; with `seed` it decides every camera.
        views: how many.
        seed: another seed gives other viewpoints.
        elevation_range: lowest and highest, degrees.
        distance_range: nearest and farthest, object-frame units; uniform between.
        fov: field of view, degrees.
    """
    random = _random_of(f"{seed}/{uid}")
    azimuth = random.uniform(0.0, 2 * np.pi, views)
    elevation = np.arcsin(random.uniform(*np.sin(np.radians(elevation_range)), views))
    distance = random.uniform(*distance_range, views)
    pose = look_at(spherical_position(azimuth, elevation, distance))
    return Cameras(pose, np.tile(intrinsics_from_fov(fov), (views, 1)))


def own_elevation(uid: str, elevation_range: tuple[float, float], *, seed: int = 0) -> float:
    """Returns the elevation of an object's ring, degrees, uniform within the range.

    Args:
        uid: the object's name; with `seed` it decides the elevation.
        elevation_range: lowest and highest, degrees.
        seed: another seed gives another elevation.
    """
    return float(_random_of(f"{seed}/{uid}/ring").uniform(*elevation_range))


def ring_viewpoints(elevations: Sequence[float], views: int, *, distance: float = 2.7, fov: float = 50.0) -> Cameras:
    """Returns `[rings * views]` cameras that look at the origin, ring after ring, each beginning at azimuth 0.

    Args:
        elevations: of the rings, degrees.
        views: evenly spaced on each ring, counter-clockwise seen from above.
        distance: from the origin, object-frame units.
        fov: field of view, degrees.
    """
    azimuth = np.tile(np.arange(views) * 2 * np.pi / views, len(elevations))
    elevation = np.repeat(np.radians(np.asarray(elevations, np.float64)), views)
    pose = look_at(spherical_position(azimuth, elevation, np.full(len(azimuth), distance)))
    return Cameras(pose, np.tile(intrinsics_from_fov(fov), (len(azimuth), 1)))


def _random_of(name: str) -> np.random.Generator:
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
