"""Meshes are held against shapes that are known, and against what the rasterizer and another ray caster see."""

import jax
import numpy as np
import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Gaussians, orbit
from diffgs_jax.meshing import extract_mesh
from diffgs_jax.meshing.surface import tidy
from diffgs_jax.rasterizer import render

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("skimage")
pytest.importorskip("fast_simplification")

SETTINGS = {"resolution": 48, "views": 24}  # the same everywhere, so that few programs are compiled
RED, BLUE = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)


def directions(count):
    """Points spread evenly over the unit sphere."""
    index = np.arange(count) + 0.5
    z, azimuth = 1 - 2 * index / count, np.pi * (1 + np.sqrt(5)) * index
    return np.stack([np.sqrt(1 - z**2) * np.cos(azimuth), np.sqrt(1 - z**2) * np.sin(azimuth), z], axis=-1)


def balls(means, scale, colors, opacity=0.9):
    count = len(means)
    return Gaussians(
        means=np.asarray(means, np.float32),
        rotations=np.tile(np.asarray([[1, 0, 0, 0]], np.float32), (count, 1)),
        scales=np.full((count, 3), scale, np.float32),
        opacities=np.full(count, opacity, np.float32),
        sh=((np.broadcast_to(colors, (count, 3)) - 0.5) / 0.28209479)[:, None].astype(np.float32),
    )


def two_coloured_ball(radius=0.6, center=(0.0, 0.0, 0.0)):
    points = directions(900)
    colors = np.where(points[:, :1] > 0, [RED], [BLUE])
    return balls(np.asarray([center]) + radius * points, 0.07 * radius, colors)


def opened(mesh):
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


@pytest.fixture(scope="module")
def ball():
    return extract_mesh(two_coloured_ball(), **SETTINGS)


@pytest.mark.slow
def test_a_ball_is_a_ball(ball):
    model = opened(ball)
    assert model.is_watertight and model.is_winding_consistent and model.body_count == 1
    radii = np.linalg.norm(ball.vertices, axis=1)
    assert 0.6 < radii.mean() < 0.7 and radii.std() < 0.02
    assert model.volume == pytest.approx(4 / 3 * np.pi * radii.mean() ** 3, rel=0.03)  # positive: faces point outwards
    assert model.euler_number == 2


@pytest.mark.slow
def test_colours_are_where_they_were(ball):
    for side, color in ((1, RED), (-1, BLUE)):
        found = ball.colors[side * ball.vertices[:, 0] > 0.2]
        np.testing.assert_allclose(np.median(found, axis=0), color, atol=0.08)
        np.testing.assert_allclose(found.mean(axis=0), color, atol=0.12)


@pytest.mark.slow
def test_place_and_size_do_not_matter(ball):
    elsewhere = extract_mesh(two_coloured_ball(radius=30.0, center=(100.0, -20.0, 7.0)), **SETTINGS)
    moved = elsewhere.vertices - np.asarray([[100.0, -20.0, 7.0]])
    assert np.linalg.norm(moved, axis=1).mean() / 30 == pytest.approx(
        np.linalg.norm(ball.vertices, axis=1).mean() / 0.6, rel=0.01
    )


@pytest.mark.slow
def test_silhouettes_of_a_foggy_ring_match():
    """A torus of faint Gaussians: there is no surface, but alpha above a half has an outline, with a hole."""
    ray = pytest.importorskip("trimesh.ray.ray_pyembree", exc_type=ImportError)
    draw = np.random.default_rng(0)
    around, about = draw.uniform(0, 2 * np.pi, (2, 1500))
    wide = 0.6 + 0.15 * np.cos(about)
    fog = balls(np.stack([wide * np.cos(around), wide * np.sin(around), 0.15 * np.sin(about)], -1), 0.06, RED, 0.12)
    mesh = extract_mesh(fog, **SETTINGS)
    model = opened(mesh)
    assert model.is_watertight and model.euler_number == 0
    cameras = orbit(np.asarray([13.0, 100.0]), elevation_degrees=35.0)
    alpha = np.asarray(jax.jit(lambda fog: render(fog, cameras, height=64, width=64).alpha)(fog)) > 0.5
    centers = (np.arange(64) + 0.5) / 64
    rows, columns = np.meshgrid(centers, centers, indexing="ij")
    for pose, (fx, fy, cx, cy), truth in zip(*cameras, alpha, strict=True):
        towards = np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones_like(rows)], -1).reshape(-1, 3)
        origins = np.tile(pose[:3, 3], (len(towards), 1))
        hit = ray.RayMeshIntersector(model).intersects_any(origins, towards @ pose[:3, :3].T).reshape(64, 64)
        assert (hit & truth).sum() / (hit | truth).sum() > 0.92


@pytest.mark.slow
def test_a_bowl_is_hollow():
    """No silhouette shows the inside of a bowl with a rim; that it is seen through to does."""
    points = directions(3600)
    wall = 0.7 * points[points[:, 2] < 0.1]
    mesh = extract_mesh(balls(wall, 0.035, RED, 0.95), **SETTINGS)
    model = opened(mesh)
    assert model.is_watertight
    inside = model.contains(np.asarray([[0.0, 0.0, -0.1], [0.2, 0.0, -0.3], [0.0, 0.0, -0.45], [0.0, 0.0, -0.7]]))
    assert inside.tolist() == [False, False, False, True]


@pytest.mark.slow
def test_dust_and_stray_gaussians_are_not_meshed():
    parts = [0.5 * directions(500), [0.0, 0.0, 0.9] + 0.01 * directions(3)]
    scales = np.concatenate([np.full((500, 3), 0.05), np.full((3, 3), 0.012)]).astype(np.float32)
    strays = 40 * directions(2)
    gaussians = balls(np.concatenate([*parts, strays]), 0.05, BLUE)
    gaussians = gaussians._replace(scales=np.concatenate([scales, np.full((2, 3), 0.05, np.float32)]))
    done = []
    mesh = extract_mesh(gaussians, **SETTINGS, progress=done.append)
    assert sum(done) == SETTINGS["views"]
    assert opened(mesh).body_count == 1 and np.linalg.norm(mesh.vertices, axis=1).max() < 0.7
    assert all(np.isfinite(leaf).all() for leaf in mesh) and mesh.colors.min() >= 0 and mesh.colors.max() <= 1


@pytest.mark.slow
def test_few_faces_and_the_same_again(ball):
    few = extract_mesh(two_coloured_ball(), faces=600, **SETTINGS)
    assert len(few.faces) <= 600 and opened(few).is_watertight
    again = extract_mesh(two_coloured_ball(), **SETTINGS)
    for one, other in zip(again, ball, strict=True):
        np.testing.assert_array_equal(one, other)


def test_tidy_by_hand():
    """A tetrahedron, twice a corner, a sliver, a pair of triangles back to back, and a speck far away."""
    corners = np.asarray(
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [5, 5, 5], [5.01, 5, 5], [5, 5.01, 5], [9, 9, 9]], float
    )
    faces = np.asarray([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 4], [3, 4, 0], [1, 2, 8], [2, 1, 8], [5, 6, 7]])
    vertices, left = tidy(corners, faces)
    assert vertices.shape == (4, 3) and left.shape == (4, 3)
    model = trimesh.Trimesh(vertices, left, process=False)
    assert model.is_watertight and model.volume == pytest.approx(1 / 6)


def test_what_cannot_be_meshed():
    faint = balls(directions(10), 0.05, RED, opacity=0.01)
    with pytest.raises(DataError, match="nowhere half opaque"):
        extract_mesh(faint, **SETTINGS)
    with pytest.raises(DataError, match="no visible"):
        extract_mesh(faint._replace(opacities=np.zeros(10, np.float32)), **SETTINGS)
    for settings in ({"resolution": 8}, {"resolution": 4000}, {"views": 2}, {"faces": 3}):
        with pytest.raises(UserError, match="a mesh needs"):
            extract_mesh(faint, **settings)
