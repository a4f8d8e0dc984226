"""A picture of known points is changed with its camera: the points must be where the new camera sees them."""

import numpy as np
import pytest

from diffgs_jax.data import CameraAugmentation
from diffgs_jax.data.augmentation import change_cameras, change_images, change_maps, change_normals, draw_change
from diffgs_jax.geometry import OBJECT, SCENE, Cameras, look_at, turn_to_azimuth_zero

SIZE = 160
POINTS = np.asarray([[0.3, 0.1, 0.2], [-0.2, 0.25, -0.1], [0.05, -0.3, 0.15]])


def project(cameras, points):
    """Pinhole projection as the conventions state it: fractions of width and height, `[v, n, 2]`."""
    to_camera = np.linalg.inv(np.asarray(cameras.camera_to_world, np.float64))
    local = np.einsum("vij,nj->vni", to_camera[:, :3, :3], points) + to_camera[:, None, :3, 3]
    focal, center = cameras.intrinsics[:, None, :2], cameras.intrinsics[:, None, 2:]
    return local[..., :2] / local[..., 2:] * focal + center


def some_cameras(domain, seed=0):
    random = np.random.default_rng(seed)
    if domain == OBJECT:
        poses = look_at(random.normal(size=(5, 3)) * 0.4 + [2.2, 0.0, 0.5])
        poses = turn_to_azimuth_zero(poses, poses[0])
    else:
        poses = look_at(random.normal(size=(5, 3)) * 0.2 + [2.2, 0.0, 0.5], random.normal(size=(5, 3)) * 0.1)
        poses = (np.linalg.inv(poses[0]) @ poses).astype(np.float32)
    intrinsics = np.asarray([1.1, 1.2, 0.5, 0.47]) + random.uniform(-0.03, 0.03, (5, 4))
    return Cameras(poses, intrinsics.astype(np.float32))


def paint(cameras, points):
    """One soft dot a point, each in a channel of its own, on nothing."""
    rows, columns = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    pictures = []
    for places in project(cameras, points):
        dots = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2 / 0.02**2) for x, y in places]
        pictures.append(np.rint(255 * np.stack([*dots, np.max(dots, axis=0)], axis=-1)).astype(np.uint8))
    return pictures


def dots_in(picture):
    """Centroids of the three channels, fractions of width and height."""
    size = len(picture)
    rows, columns = (np.mgrid[:size, :size] + 0.5) / size
    weights = picture[..., :3].astype(np.float64)
    total = weights.sum(axis=(0, 1))
    return np.stack([(weights * axis[..., None]).sum(axis=(0, 1)) / total for axis in (columns, rows)], axis=-1)


@pytest.mark.parametrize("domain", [OBJECT, SCENE])
@pytest.mark.parametrize(
    "settings",
    [
        CameraAugmentation(flip=1.0),
        CameraAugmentation(roll=25.0),
        CameraAugmentation(crop=0.85),
        CameraAugmentation(flip=1.0, roll=15.0, crop=0.9),
    ],
)
def test_points_are_where_the_changed_camera_sees_them(domain, settings):
    cameras = some_cameras(domain)
    points = POINTS
    if domain == SCENE:  # seen from the first camera, two metres ahead
        points = POINTS + [0.0, 0.0, 2.2]
    change = draw_change(settings, 5, domain, np.random.default_rng(1))
    pictures = change_images(change, paint(cameras, points), cameras.intrinsics, SIZE // 2)
    after = change_cameras(change, cameras, domain)
    world = points.copy()
    if settings.flip:
        world[:, 1 if domain == OBJECT else 0] *= -1
    assert all(picture.shape == (SIZE // 2, SIZE // 2, 4) for picture in pictures)
    np.testing.assert_allclose(np.linalg.det(after.camera_to_world[:, :3, :3]), 1.0, atol=1e-5)
    found = np.stack([dots_in(picture) for picture in pictures])
    np.testing.assert_allclose(found, project(after, world), atol=0.1 / SIZE)


def plane_depths(cameras, size, normal, offset):
    """Planar z of the plane `normal · x = offset` at every pixel centre, `[v, s, s]`."""
    centers = (np.arange(size) + 0.5) / size
    depths = []
    for pose, (fx, fy, cx, cy) in zip(np.asarray(cameras.camera_to_world, np.float64), cameras.intrinsics, strict=True):
        x, y = np.meshgrid((centers - cx) / fx, (centers - cy) / fy)
        directions = np.stack([x, y, np.ones_like(x)], axis=-1) @ pose[:3, :3].T
        depths.append((offset - normal @ pose[:3, 3]) / (directions @ normal))
    return np.stack(depths).astype(np.float32)


@pytest.mark.parametrize("settings", [CameraAugmentation(), CameraAugmentation(flip=1.0, roll=15.0, crop=0.9)])
def test_depth_is_what_the_changed_camera_measures(settings):
    cameras = some_cameras(OBJECT)
    normal, offset = np.asarray([0.9, 0.3, 0.2]), -0.4
    change = draw_change(settings, 5, OBJECT, np.random.default_rng(1))
    depths = [*plane_depths(cameras, SIZE, normal, offset)]
    found = change_maps(change, [*depths[:4], None], cameras.intrinsics, SIZE // 2)
    assert found[4] is None
    mirrored = normal * [1.0, -1.0, 1.0] if settings.flip else normal
    expected = plane_depths(change_cameras(change, cameras, OBJECT), SIZE // 2, mirrored, offset)[:4]
    found = np.stack(found[:4])
    known = np.isfinite(found)
    assert known.mean() > 0.9 and (known.all() or settings.roll)
    # A stored pixel's centre is at most half its diagonal from where it is looked up.
    slope = np.abs(np.diff(depths, axis=1)).max() + np.abs(np.diff(depths, axis=2)).max()
    assert np.abs(found - expected)[known].max() <= 0.6 * slope


def sphere_normals(cameras, center, size):
    """A sphere of radius 0.8: the normal is where a pixel's ray meets it first, seen from its centre."""
    centers = (np.arange(size) + 0.5) / size
    found = []
    for pose, (fx, fy, cx, cy) in zip(np.asarray(cameras.camera_to_world, np.float64), cameras.intrinsics, strict=True):
        x, y = np.meshgrid((centers - cx) / fx, (centers - cy) / fy)
        rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ pose[:3, :3].T
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        start = pose[:3, 3] - center
        along = rays @ start
        inside = along**2 - start @ start + 0.8**2
        distance = -along - np.sqrt(np.where(inside > 0, inside, np.nan))
        found.append(((start + distance[..., None] * rays) / 0.8).astype(np.float32))
    return np.stack(found)


@pytest.mark.parametrize("domain", [OBJECT, SCENE])
@pytest.mark.parametrize("settings", [CameraAugmentation(), CameraAugmentation(flip=1.0, roll=15.0, crop=0.9)])
def test_normals_are_those_that_the_changed_camera_sees(domain, settings):
    cameras = some_cameras(domain)
    center = np.asarray([0.1, 0.2, 0.0]) if domain == OBJECT else np.asarray([0.1, 0.0, 2.2])
    change = draw_change(settings, 5, domain, np.random.default_rng(1))
    normals = sphere_normals(cameras, center, SIZE)
    found = change_normals(change, [*normals[:4], None], cameras.intrinsics, SIZE // 2, domain)
    assert found[4] is None
    if settings.flip:
        center = center * ([1.0, -1.0, 1.0] if domain == OBJECT else [-1.0, 1.0, 1.0])
    after = change_cameras(change, cameras, domain)
    expected = sphere_normals(after, center, SIZE // 2)[:4]
    found = np.stack(found[:4])
    rays = center + 0.8 * expected - after.camera_to_world[:4, None, None, :3, 3]
    facing = -np.sum(expected * rays, axis=-1) / np.linalg.norm(rays, axis=-1)
    known = np.isfinite(found).all(axis=-1) & (facing > 0.5)  # at the silhouette a pixel spans many directions
    assert known.mean() > 0.2
    np.testing.assert_allclose(np.linalg.norm(found[known], axis=-1), 1.0, rtol=1e-5)
    assert np.degrees(np.arccos(np.sum(found * expected, axis=-1)[known].clip(-1, 1))).max() < 2.0


def test_the_first_camera_stays_where_the_network_expects_it():
    change = draw_change(CameraAugmentation(flip=1.0), 5, OBJECT, np.random.default_rng(0))
    pose = change_cameras(change, some_cameras(OBJECT), OBJECT).camera_to_world[0]
    assert abs(pose[1, 3]) < 1e-6 and pose[0, 3] > 0
    pose = change_cameras(change, some_cameras(SCENE), SCENE).camera_to_world[0]
    np.testing.assert_allclose(pose, np.eye(4), atol=1e-5)


def test_cameras_in_scenes_are_not_turned_and_no_settings_change_nothing():
    random = np.random.default_rng(0)
    assert not draw_change(CameraAugmentation(roll=90.0), 5, SCENE, random).roll.any()
    cameras = some_cameras(OBJECT)
    pictures = paint(cameras, POINTS)
    change = draw_change(CameraAugmentation(), 5, OBJECT, random)
    for same, picture in zip(change_images(change, pictures, cameras.intrinsics, SIZE), pictures, strict=True):
        np.testing.assert_array_equal(same, picture)
    after = change_cameras(change, cameras, OBJECT)
    np.testing.assert_allclose(after.camera_to_world, cameras.camera_to_world, atol=1e-6)
    np.testing.assert_allclose(after.intrinsics, cameras.intrinsics, atol=1e-6)


def test_changes_stay_within_their_settings():
    settings = CameraAugmentation(flip=0.3, roll=10.0, crop=0.8)
    changes = [draw_change(settings, 4, OBJECT, np.random.default_rng(seed)) for seed in range(500)]
    assert 0.2 < np.mean([change.flip for change in changes]) < 0.4
    rolls = np.degrees([change.roll for change in changes])
    assert np.abs(rolls).max() <= 10.0 and np.abs(rolls).max() > 9.0
    left, top, side = np.concatenate([change.window for change in changes]).T
    assert side.min() >= 0.8 and side.max() <= 1.0 and min(left.min(), top.min()) >= 0
    assert (left + side).max() <= 1 + 1e-12 and (top + side).max() <= 1 + 1e-12
