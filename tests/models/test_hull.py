"""Where rays enter and leave the visual hull: exact for one ray of a ball, and every hull holds its object."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import OBJECT, Cameras, Similarity, Views, orbit
from diffgs_jax.models import family
from diffgs_jax.models.gsrecon import GSReconConfig, ReconstructorConfig
from diffgs_jax.models.gsrecon.hull import hull_depths
from diffgs_jax.models.gsrecon.inputs import grids_of_views
from diffgs_jax.models.gsrecon.losses import depth_error
from diffgs_jax.models.splat_grid import SplatGridConfig

SIDE, DISTANCE, RADIUS = 65, 2.7, 0.6


def views_of_a_ball(center, elevation):
    """Coverage and depth of a ball of radius 0.6 from four sides, ray by ray."""
    cameras = orbit(np.arange(4) * 90.0, elevation_degrees=elevation, distance=DISTANCE, fov_degrees=50.0)
    place = ((np.arange(SIDE) + 0.5) / SIDE - 0.5) / cameras.intrinsics[0, 0]
    x, y = np.meshgrid(place, place)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    alphas, depths = [], []
    for pose in np.asarray(cameras.camera_to_world, np.float64):
        offset = pose[:3, :3].T @ (pose[:3, 3] - center)
        a, b, c = (rays**2).sum(-1), rays @ offset, offset @ offset - RADIUS**2
        inside = b**2 - a * c
        alphas.append(inside >= 0)
        depths.append((-b - np.sqrt(np.maximum(inside, 0))) / a - np.linalg.norm(pose[:3, 3]))
    return np.stack(alphas)[None].astype(np.float32), np.stack(depths)[None], Cameras(*(leaf[None] for leaf in cameras))


def test_the_ray_through_the_middle_of_a_ball():
    """From the side its hull reaches r / √(1 − (r/D)²): where the tangent of the next camera crosses the ray."""
    alphas, _, cameras = views_of_a_ball(np.zeros(3), 0.0)
    near, far = jax.jit(lambda a: hull_depths(a, cameras, "centers"))(alphas)
    reach = RADIUS / np.sqrt(1 - (RADIUS / DISTANCE) ** 2)
    middle = SIDE // 2
    np.testing.assert_allclose(near[0, :, middle, middle], -reach, atol=0.05)
    np.testing.assert_allclose(far[0, :, middle, middle], reach, atol=0.05)
    assert not np.any(near[alphas == 0]) and not np.any(far[alphas == 0])


@pytest.mark.parametrize("elevation", [0.0, 25.0])
def test_the_hull_holds_the_object(elevation):
    """The surface that is seen lies inside, but for a step of the search and half a pixel of each silhouette."""
    alphas, depths, cameras = views_of_a_ball(np.asarray([0.1, -0.15, 0.05]), elevation)
    near, far = jax.jit(lambda a: hull_depths(a, cameras, "centers"))(alphas)
    seen = alphas > 0
    off = np.asarray(near)[seen] - depths[seen]
    assert np.mean(off > 0.05) < 0.02 and np.median(off) < 0
    assert np.mean(np.asarray(far)[seen] < depths[seen] - 0.05) < 0.02


def test_a_fresh_network_that_starts_from_the_hull_is_the_hull():
    """And the depth error of its grids is the distance between the hull and the ball, pixel by pixel."""
    side = SIDE - 1
    alphas, depths, cameras = views_of_a_ball(np.zeros(3), 10.0)
    alphas, depths = alphas[..., :side, :side], depths[..., :side, :side]
    network = ReconstructorConfig(width=16, layers=1, heads=1, hidden=16, maps=("silhouettes",), hull_skip=True)
    config = GSReconConfig(network=network, grid=SplatGridConfig(places="centers"))
    params = jax.jit(lambda key: family(config).init(config, key))(jax.random.key(0))
    images = np.full((*alphas.shape, 3), 0.5, np.float32)
    views = Views(images, cameras, np.ones((1, 4), bool), np.full(1, OBJECT, np.int32), alphas)
    grids = np.asarray(jax.jit(lambda p: grids_of_views(config, p, views))(params))
    near = np.asarray(jax.jit(lambda a: hull_depths(a, cameras, "centers"))(alphas)[0])
    np.testing.assert_allclose(grids[..., 11], near, atol=1e-5)
    np.testing.assert_allclose(grids[..., 10] / 2 + 0.5, np.clip(alphas, 0.01, 0.99), atol=1e-5)

    seen = alphas > 0
    distances = np.linalg.norm(cameras.camera_to_world[..., :3, 3], axis=-1)[..., None, None]
    true = np.where(seen, depths + distances, np.nan).astype(np.float32)
    similarity = Similarity(*(np.asarray(leaf, np.float32)[None] for leaf in (np.eye(3), 1.0, np.zeros(3))))
    error = jax.jit(lambda g: depth_error(g, true, similarity, cameras))(jnp.asarray(grids))
    assert float(error) == pytest.approx(np.abs(near - depths)[seen].mean(), rel=1e-4)
