import jax
import numpy as np
import pytest

from diffgs_jax.evaluation import ViewImages, billboard, copied_view, mean_view
from diffgs_jax.geometry import Cameras, orbit

see = jax.jit(billboard)


def condition_and_camera(azimuth=0.0, size=24):
    """A picture without any symmetry, partly transparent, seen from azimuth and elevation 0."""
    random = np.random.default_rng(0)
    alpha = random.uniform(size=(1, size, size)).astype(np.float32)
    alpha[:, :, :5] = 0.0
    color = random.uniform(size=(1, size, size, 3)).astype(np.float32)
    image = color * alpha[..., None] + 1.0 - alpha[..., None]
    return ViewImages(image, alpha), orbit(np.array([azimuth]), elevation_degrees=0.0)


def targets(azimuths, elevation=0.0):
    cameras = orbit(np.asarray(azimuths, np.float64), elevation_degrees=elevation)
    return Cameras(cameras.camera_to_world[None], cameras.intrinsics[None])


def test_billboard_seen_from_the_condition_camera_is_the_picture():
    picture, camera = condition_and_camera(azimuth=70.0)
    seen = see(picture, camera, targets([70.0]))
    np.testing.assert_allclose(seen.image[0, 0], picture.image[0], atol=1e-4)
    np.testing.assert_allclose(seen.alpha[0, 0], picture.alpha[0], atol=1e-4)


def test_billboard_seen_from_behind_is_the_mirror_image():
    picture, camera = condition_and_camera()
    seen = see(picture, camera, targets([180.0]))
    np.testing.assert_allclose(seen.image[0, 0], picture.image[0, :, ::-1], atol=1e-4)
    np.testing.assert_allclose(seen.alpha[0, 0], picture.alpha[0, :, ::-1], atol=1e-4)


def test_billboard_seen_edge_on_is_the_background():
    picture, camera = condition_and_camera()
    seen = see(picture, camera, targets([90.0]))
    assert np.isfinite(np.asarray(seen.image)).all()
    # The plane covers no area; at most the column of pixels it passes through could show it.
    np.testing.assert_allclose(np.asarray(seen.image)[0, 0, :, :11], 1.0)
    np.testing.assert_allclose(np.asarray(seen.alpha)[0, 0, :, 13:], 0.0)


def test_billboard_puts_a_point_of_the_plane_where_a_pinhole_camera_sees_it():
    # A dot at (0, y, z) of the plane x = 0, found again in a camera at azimuth 40°, elevation 30°.
    size, (y, z) = 65, (0.3, 0.4)
    camera, target = orbit(np.zeros(1), elevation_degrees=0.0), targets([40.0], elevation=30.0)

    def pixel(pose, intrinsics):
        local = np.linalg.inv(pose.astype(np.float64)) @ [0.0, y, z, 1.0]
        return local[1] / local[2] * intrinsics[1] + 0.5, local[0] / local[2] * intrinsics[0] + 0.5

    grid = (np.arange(size) + 0.5) / size
    row, column = pixel(camera.camera_to_world[0], camera.intrinsics[0])
    alpha = np.exp(-((grid[:, None] - row) ** 2 + (grid[None, :] - column) ** 2) / (2 * 0.015**2))
    alpha = alpha[None].astype(np.float32)
    seen = see(ViewImages(np.ones((1, size, size, 3), np.float32), alpha), camera, target)
    mass = np.asarray(seen.alpha)[0, 0]
    found = (mass.sum(1) @ grid / mass.sum(), mass.sum(0) @ grid / mass.sum())
    expected = pixel(target.camera_to_world[0, 0], target.intrinsics[0, 0])
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_copied_view_is_the_condition_view_everywhere():
    picture, _ = condition_and_camera()
    copy = copied_view(picture, 3)
    assert copy.image.shape == (1, 3, 24, 24, 3)
    for view in range(3):
        np.testing.assert_array_equal(copy.image[:, view], picture.image)
        np.testing.assert_array_equal(copy.alpha[:, view], picture.alpha)


def test_mean_view_is_the_mean_whatever_the_grouping():
    random = np.random.default_rng(2)
    images, alphas = random.uniform(size=(7, 8, 8, 3)), random.uniform(size=(7, 8, 8))
    mean = mean_view([(images[:3], alphas[:3]), (images[3:], alphas[3:])])
    np.testing.assert_allclose(mean.image, images.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(mean.alpha, alphas.mean(axis=0), atol=1e-6)
    with pytest.raises(ValueError, match="no view"):
        mean_view([])
