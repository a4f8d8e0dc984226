import jax
import numpy as np
import pytest

from diffgs_jax import evaluation
from diffgs_jax.evaluation.depth import nearest_views
from diffgs_jax.geometry import Cameras, orbit

SIZE = 48
DIRECTIONS = [(0, 0), (8, 3), (-30, 10), (-22, 5)]


def a_wall(cameras, colour):
    """Views of the plane x = 0 painted with `colour(y, z)`, by ray casting: image, alpha and planar depth."""
    images, depths = [], []
    for pose, (fx, fy, cx, cy) in zip(*map(np.asarray, cameras), strict=True):
        grid = (np.arange(SIZE) + 0.5) / SIZE
        x, y = np.meshgrid((grid - cx) / fx, (grid - cy) / fy)
        directions = np.stack([x, y, np.ones_like(x)], -1) @ pose[:3, :3].T.astype(np.float64)
        depth = -pose[0, 3] / directions[..., 0]  # z, because directions have z = 1 in the camera
        points = pose[:3, 3] + depth[..., None] * directions
        images.append(colour(points[..., 1], points[..., 2]))
        depths.append(depth)
    return np.stack(images), np.ones((len(images), SIZE, SIZE)), np.stack(depths)


def smooth(y, z):
    return np.stack([0.5 + 0.4 * np.sin(2 * y), 0.5 + 0.4 * np.cos(3 * z), 0.5 + 0.3 * np.sin(y + z)], -1)


def cameras():
    views = [orbit(np.asarray([float(a)]), elevation_degrees=float(e)) for a, e in DIRECTIONS]
    return Cameras(*(np.concatenate(leaves) for leaves in zip(*views, strict=True)))


measure = jax.jit(evaluation.consistency)


def arrays(*values):
    return [np.asarray(value, np.float32) for value in values]


def test_nearest_views_are_the_nearest_other_targets():
    centers = np.asarray(cameras().camera_to_world)[:, :3, 3]
    assert nearest_views(centers, np.ones(4, bool)).tolist() == [1, 0, 3, 2]
    assert nearest_views(centers, np.asarray([True, False, True, True])).tolist() == [3, 0, 3, 2]


def test_views_of_one_surface_are_consistent_and_wrong_depth_is_not():
    image, alpha, depth = a_wall(cameras(), smooth)
    everyone = np.ones(4, bool)
    right = measure(*arrays(image, alpha, depth), cameras(), everyone)
    assert (right > 40).all()  # bilinear interpolation of a smooth picture
    wrong = measure(*arrays(image, alpha, depth * 1.3), cameras(), everyone)
    assert (np.asarray(wrong) < np.asarray(right) - 15).all()
    unlike = image.copy()
    unlike[1] = 1 - unlike[1]
    assert measure(*arrays(unlike, alpha, depth), cameras(), everyone)[0] < 15


def test_what_another_view_cannot_see_does_not_count():
    image, alpha, depth = a_wall(cameras(), smooth)
    # The second view has a black screen right before its camera: whatever the first sees lies behind it.
    image[1], depth[1] = 0.0, 0.1
    found = measure(*arrays(image, alpha, depth), cameras(), np.asarray([True, True, False, False]))
    assert np.isnan(found[0])


def test_depth_error_is_the_mean_relative_difference_where_both_know():
    truth = np.full((2, 4, 4), 2.0, np.float32)
    truth[0, :2] = np.nan
    predicted = np.full((2, 4, 4), 2.5, np.float32)
    predicted[0, 3] = 1.0
    alpha = np.ones((2, 4, 4), np.float32)
    alpha[1] = 0.2  # nothing is covered
    found = np.asarray(evaluation.depth_error(predicted, alpha, truth))
    assert found[0] == pytest.approx((0.25 + 0.5) / 2)
    assert np.isnan(found[1])
