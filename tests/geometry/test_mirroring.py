"""A world and its mirror image: the same pictures, shapes reflected, and back again to the last bit."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diffgs_jax.geometry import Gaussians, covariances, mirror_cameras, mirror_gaussians, orbit, sh_to_color
from diffgs_jax.rasterizer import render

MIRROR = np.asarray([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])


@pytest.fixture(params=[0, 1, 2, 3])
def gaussians(request):
    random = np.random.default_rng(request.param)
    shape = (2, 40)
    values = Gaussians(
        means=random.uniform(-0.6, 0.6, (*shape, 3)),
        rotations=random.normal(size=(*shape, 4)),
        scales=np.exp(random.uniform(-4, -1.5, (*shape, 3))),
        opacities=random.uniform(0.2, 0.95, shape),
        sh=random.normal(size=(*shape, (request.param + 1) ** 2, 3)) * 0.4,
    )
    return Gaussians(*(leaf.astype(np.float32) for leaf in values))


def test_twice_is_the_identity(gaussians):
    for before, after in zip(gaussians, mirror_gaussians(mirror_gaussians(gaussians)), strict=True):
        assert after.dtype == np.float32
        np.testing.assert_array_equal(before, after)
    cameras = orbit(np.asarray([0.0, 75.0]))
    np.testing.assert_array_equal(
        mirror_cameras(mirror_cameras(cameras)).camera_to_world, np.asarray(cameras.camera_to_world)
    )


def test_shapes_are_reflected_and_rotations_stay_rotations(gaussians):
    mirrored = mirror_gaussians(gaussians)
    np.testing.assert_array_equal(mirrored.means, gaussians.means @ MIRROR.astype(np.float32))
    pair = (Gaussians(*map(jnp.asarray, one)) for one in (gaussians, mirrored))
    before, after = (np.asarray(covariances(one.rotations, one.scales)) for one in pair)
    np.testing.assert_allclose(after, MIRROR @ before @ MIRROR, atol=1e-6)
    theirs, ours = (Rotation.from_quat(np.roll(one.rotations[0], -1, -1)).as_matrix() for one in (gaussians, mirrored))
    np.testing.assert_allclose(ours, MIRROR @ theirs @ MIRROR, atol=1e-6)


def test_colours_are_those_seen_from_the_mirrored_side(gaussians):
    center = jnp.asarray([[0.3, -2.0, 1.1]] * 2)
    mirrored = mirror_gaussians(Gaussians(*map(jnp.asarray, gaussians)))
    before = sh_to_color(jnp.asarray(gaussians.sh), jnp.asarray(gaussians.means), center)
    after = sh_to_color(mirrored.sh, mirrored.means, center[:, jnp.asarray([1, 0, 2])])
    np.testing.assert_allclose(after, before, atol=2e-6)


@pytest.mark.slow
def test_mirrored_cameras_see_the_same_pictures_of_the_mirrored_world(gaussians):
    cameras = orbit(np.asarray([[0.0, 130.0], [20.0, 250.0]]).ravel(), elevation_degrees=25.0, distance=2.7)
    cameras = type(cameras)(*(leaf.reshape(2, 2, *leaf.shape[1:]) for leaf in cameras))
    assert (np.linalg.det(mirror_cameras(cameras).camera_to_world[..., :3, :3]) < 0).all()
    before = render(gaussians, cameras, height=32, width=32)
    after = render(mirror_gaussians(gaussians), mirror_cameras(cameras), height=32, width=32)
    assert np.ptp(before.image) > 0.3
    for name in ("image", "alpha", "depth"):
        # The sums are taken in another order, so the odd pixel may cross a threshold of 1/255.
        differences = np.abs(np.asarray(getattr(before, name)) - np.asarray(getattr(after, name)))
        assert differences.max() < 1e-2 and differences.mean() < 1e-5
