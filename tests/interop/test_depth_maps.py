"""Normals are held against planes and a sphere, whose depth is known in closed form."""

import numpy as np
import pytest

from diffgs_jax.geometry import Cameras, orbit
from diffgs_jax.interop import depth_colors, normal_colors, normals_from_depth

SIZE = 96


def camera(azimuth=30.0, elevation=20.0):
    cameras = orbit(np.asarray([azimuth]), elevation_degrees=elevation, distance=3.0, fov_degrees=50.0)
    return Cameras(*(leaf[0] for leaf in cameras))


def rays(view):
    """World directions with z along the camera's axis 1, through every pixel's centre."""
    fx, fy, cx, cy = view.intrinsics
    centers = (np.arange(SIZE) + 0.5) / SIZE
    rows, columns = np.meshgrid(centers, centers, indexing="ij")
    directions = np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones_like(rows)], axis=-1)
    return directions @ view.camera_to_world[:3, :3].T


@pytest.mark.parametrize("normal", [(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.6, 0.64, 0.48)])
def test_a_plane_through_the_origin(normal):
    view = camera()
    directions, origin = rays(view), view.camera_to_world[:3, 3]
    depth = -(origin @ normal) / (directions @ np.asarray(normal))
    seen = (depth > 0.5) & (depth < 8)
    found = normals_from_depth(np.where(seen, depth, 0.0), seen.astype(float), view)
    inner = seen & np.roll(seen, 6, 0) & np.roll(seen, -6, 0) & np.roll(seen, 6, 1) & np.roll(seen, -6, 1)
    inner &= depth < 4
    inner[[0, 1, 2, 3, -4, -3, -2, -1]] = inner[:, [0, 1, 2, 3, -4, -3, -2, -1]] = False  # smoothing has one side there
    assert inner.sum() > 500
    towards = np.asarray(normal) * np.sign(origin @ normal)
    assert np.degrees(np.arccos(np.clip(found[inner] @ towards, -1, 1))).max() < 1.5
    assert (found[~seen] == 0).all()


def test_a_sphere_at_the_origin():
    view = camera(azimuth=-70.0)
    directions, origin = rays(view), view.camera_to_world[:3, 3].astype(float)
    square, along = np.sum(directions**2, -1), directions @ origin
    inside = along**2 - square * (origin @ origin - 0.64)
    seen = inside > 0
    depth = np.where(seen, (-along - np.sqrt(np.maximum(inside, 0))) / square, 0.0)
    found = normals_from_depth(depth, seen.astype(float), view)
    truth = (origin + depth[..., None] * directions) / 0.8
    facing = seen & (np.sum(truth * -directions, -1) / np.sqrt(square) > 0.5)
    angles = np.degrees(np.arccos(np.clip(np.sum(found * truth, -1)[facing], -1, 1)))
    assert facing.sum() > 800 and angles.mean() < 1.5 and angles.max() < 6
    lengths = np.linalg.norm(found[seen], axis=-1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_colours_rise_in_lightness_towards_the_camera():
    depths = np.linspace(4, 2, 101)[None].repeat(2, 0)
    colors = depth_colors(depths, np.ones_like(depths))
    luminance = colors[0] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) >= 0).all() and luminance[0] < 0.12 and luminance[-1] > 0.85
    alphas = np.ones_like(depths)
    alphas[:, :50] = 0.0  # only what is covered sets the range
    assert depth_colors(depths, alphas)[0, 50] @ [0.2126, 0.7152, 0.0722] < 0.12
    for odd in (np.zeros((2, 3)), np.full((2, 3), 2.5)):
        assert np.isfinite(depth_colors(odd, np.zeros((2, 3)))).all()


def test_normal_colours():
    np.testing.assert_array_equal(normal_colors(np.asarray([[[0.0, 0, 0], [1, 0, -1]]])), [[[0.5] * 3, [1, 0.5, 0]]])
