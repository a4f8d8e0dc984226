"""The cameras of the published code, and an imported object model, which sees our world in the mirror."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.errors import DataError
from diffgs_jax.geometry import (
    OBJECT,
    Cameras,
    Views,
    covariances,
    denoised_cameras,
    mirror_cameras,
    orbit,
    pixel_rays,
    sh_to_color,
    turn_to_azimuth_zero,
)
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, NetworkConfig
from diffgs_jax.models.diffusion_gs import family as diffusion_gs
from diffgs_jax.models.diffusion_gs.denoiser import predict_gaussians
from diffgs_jax.models.diffusion_gs.published_files import PUBLISHED_RIG, read_camera_template

MIRROR = np.asarray([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
predict_gaussians = jax.jit(predict_gaussians, static_argnums=0)
# Four views of an object, a quarter turn apart.
AZIMUTHS, ELEVATIONS = np.asarray([37.0, 127.0, 217.0, 307.0]), np.asarray([12.0, 20.0, 14.0, 18.0])


def published_poses(azimuths, elevations, distance, radius):
    """Camera poses as the published object loader makes them, written anew from what it does.

    Azimuths count from the first view's. In an OpenGL world (y up, azimuth from +z to +x) each camera is put where it
    looks at the origin, with OpenCV axes; then the world's y and z change places, and all centres are scaled so that
    the last one's distance is `radius`.
    """
    poses = []
    for azimuth, elevation in zip(np.radians(azimuths - azimuths[0]), np.radians(elevations), strict=True):
        outwards = [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
        forward = -np.asarray(outwards)
        right = np.cross(forward, [0.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(forward, right), forward, -distance * forward], axis=1)
        poses.append(pose[[0, 2, 1, 3]])
    stacked = np.stack(poses)
    stacked[:, :3, 3] *= radius / np.linalg.norm(stacked[-1, :3, 3])
    return stacked.astype(np.float32)


def test_the_published_world_is_ours_with_x_and_y_exchanged():
    theirs = published_poses(AZIMUTHS, ELEVATIONS, distance=1.9, radius=3.0)
    np.testing.assert_allclose(np.linalg.det(theirs[:, :3, :3]), -1.0, atol=1e-5)
    rings = [
        orbit(azimuth[None], elevation_degrees=elevation, distance=3.0)
        for azimuth, elevation in zip(AZIMUTHS, ELEVATIONS, strict=True)
    ]
    ours = np.concatenate([ring.camera_to_world for ring in rings])
    ours = Cameras(turn_to_azimuth_zero(ours, ours[0]), np.concatenate([ring.intrinsics for ring in rings]))
    np.testing.assert_allclose(mirror_cameras(ours).camera_to_world, theirs, atol=1e-5)


def test_the_lens_is_that_of_the_published_data():
    intrinsics = np.asarray(denoised_cameras(PUBLISHED_RIG).intrinsics)
    np.testing.assert_allclose(intrinsics[:, :2], 1422.222 / 1024, rtol=1e-3)


def save_template(file, poses, size=512):
    torch = pytest.importorskip("torch")
    lens = np.asarray([1422.222 / 1024 * size] * 2 + [size / 2] * 2, np.float32)
    template = {"gen_c2w": poses[None], "gen_fxfycxcys": np.tile(lens, (1, len(poses), 1))}
    torch.save({name: torch.from_numpy(array.copy()) for name, array in template.items()}, file)


def test_a_camera_template_becomes_the_rig(tmp_path):
    save_template(tmp_path / "camera_template.pt", published_poses(AZIMUTHS, ELEVATIONS, distance=1.9, radius=3.1))
    rig = read_camera_template(tmp_path / "camera_template.pt")
    assert rig.azimuths == pytest.approx((90.0, 180.0, 270.0), abs=1e-3)
    assert (rig.elevation, rig.distance) == pytest.approx((16.0, 3.1), abs=1e-3)
    assert rig.fov == pytest.approx(39.6, abs=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda poses: poses[:, [1, 0, 2, 3]], "they are not of the mirrored world"),
        (lambda poses: poses[:3], "they are not four"),
        (lambda poses: poses + np.asarray([0, 0, 0, 1], np.float32), "they do not look at the origin"),
        (
            lambda poses: poses * np.linspace(1, 2, 4, dtype=np.float32)[:, None, None] ** [0, 0, 0, 1],
            "distances differ",
        ),
    ],
)
def test_cameras_that_are_no_ring_are_refused(tmp_path, change, message):
    poses = published_poses(AZIMUTHS, ELEVATIONS, distance=1.9, radius=3.0)
    save_template(tmp_path / "camera_template.pt", change(poses))
    with pytest.raises(DataError, match=message):
        read_camera_template(tmp_path / "camera_template.pt")


@pytest.fixture(scope="module")
def mirrored_model():
    """A model with colours that depend on the direction, every weight drawn, and what it is given."""
    network = NetworkConfig(width=32, layers=1, heads=2, patch_size=8, stride=4, sh_degree=2)
    config = DiffusionGSConfig(network=network, mirrored_world=True)
    shapes = jax.eval_shape(lambda: diffusion_gs.init(config, jax.random.key(0)))
    random = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: (0.2 * random.normal(size=leaf.shape)).astype(np.float32), shapes)
    ring = orbit(np.asarray([0.0, 90, 180, 270]), distance=3.0, fov_degrees=39.6)
    cameras = Cameras(*(leaf[None] for leaf in ring))
    images = random.random((1, 4, 16, 16, 3), np.float32)
    is_condition = np.asarray([[True, False, False, False]])
    return config, params, Views(images, cameras, is_condition, np.full(1, OBJECT, np.int32))


@pytest.mark.slow
def test_a_mirrored_model_is_a_plain_one_between_two_mirrors(mirrored_model):
    config, params, views = mirrored_model
    times = np.full(1, 400)
    plain = dataclasses.replace(config, mirrored_world=False)
    inside = predict_gaussians(plain, params, views._replace(cameras=mirror_cameras(views.cameras)), times)
    outside = predict_gaussians(config, params, views, times)
    np.testing.assert_allclose(outside.means, inside.means @ MIRROR, atol=1e-6)
    reflected = MIRROR @ np.asarray(covariances(inside.rotations, inside.scales)) @ MIRROR
    np.testing.assert_allclose(covariances(outside.rotations, outside.scales), reflected, atol=1e-6)
    center = jnp.asarray([[0.4, -2.0, 1.1]])
    colors = sh_to_color(outside.sh, outside.means, center)
    seen_inside = sh_to_color(inside.sh, inside.means, center[:, jnp.asarray([1, 0, 2])])
    assert np.ptp(colors) > 0.5
    np.testing.assert_allclose(colors, seen_inside, atol=1e-5)
    # And its pixel-aligned Gaussians lie on our cameras' rays.
    rays = pixel_rays(views.cameras, 4, 4)
    means = outside.means[:, config.network.free_gaussians :].reshape(rays.origins.shape)
    np.testing.assert_allclose(jnp.cross(means - rays.origins, rays.directions), 0.0, atol=1e-5)
