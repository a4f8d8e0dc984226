"""The filter is held against its formula, and against what rendering adds in training."""

import jax
import numpy as np
import pytest

from diffgs_jax.geometry import DILATION, Cameras, Gaussians, look_at, smoothed
from diffgs_jax.rasterizer import render_dense

SIZE = 24


def line_of_gaussians(*depths, scale=0.02):
    """Along x, the optical axis of `camera(…)`."""
    count = len(depths)
    means = np.stack([np.asarray(depths, np.float32), np.zeros(count), np.zeros(count)], axis=-1).astype(np.float32)
    rotations = np.tile(np.asarray([1, 0, 0, 0], np.float32), (count, 1))
    scales = np.full((count, 3), scale, np.float32) * np.asarray([1, 2, 0.1], np.float32)
    return Gaussians(means, rotations, scales, np.full(count, 0.8, np.float32), np.zeros((count, 1, 3), np.float32))


def cameras(*positions, focal=1.2):
    poses = look_at(np.asarray(positions, np.float64))
    intrinsics = np.tile(np.asarray([focal, focal, 0.5, 0.5], np.float32), (len(positions), 1))
    return Cameras(poses.astype(np.float32), intrinsics)


def test_a_pixel_of_the_nearest_camera_that_sees_it_is_added():
    made = line_of_gaussians(0.0, 0.5, -0.5)
    wider = smoothed(made, cameras((3.0, 0.0, 0.0), (-2.0, 0.0, 0.0)), SIZE)
    nearest = np.asarray([2.0, 2.5, 1.5])
    pixel = nearest / (1.2 * SIZE)
    expected = np.sqrt(made.scales.astype(np.float64) ** 2 + 0.3 * pixel[:, None] ** 2)
    np.testing.assert_allclose(wider.scales, expected, rtol=1e-5)
    for name in ("means", "rotations", "opacities", "sh"):
        np.testing.assert_array_equal(getattr(wider, name), getattr(made, name))


def test_what_no_camera_sees_takes_the_largest_pixel_of_the_others():
    made = line_of_gaussians(0.0, 1.0, 4.0)  # the last is behind the camera
    made.means[1, 1] = 0.1
    wider = smoothed(made, cameras((3.0, 0.0, 0.0)), SIZE)
    added = np.sqrt(wider.scales**2 - made.scales**2)[:, 2] * 1.2 * SIZE / np.sqrt(0.3)
    np.testing.assert_allclose(added, [3.0, 2.0, 3.0], rtol=1e-4)


def test_no_variance_changes_nothing_and_batches_are_apart():
    made = line_of_gaussians(0.0, 0.5)
    seen = [cameras((3.0, 0.0, 0.0)), cameras((2.0, 0.0, 0.0))]
    assert smoothed(made, seen[0], SIZE, 0.0) is made
    both = Gaussians(*(np.stack([leaf, leaf]) for leaf in made))
    together = smoothed(both, Cameras(*(np.stack(leaves) for leaves in zip(*seen, strict=True))), SIZE)
    for index, one in enumerate(seen):
        np.testing.assert_allclose(together.scales[index], smoothed(made, one, SIZE).scales, rtol=1e-6)


@pytest.mark.slow
def test_at_the_resolution_of_training_it_stands_for_what_rendering_adds():
    """On the optical axis the two are equal; four times larger, the bare one is a needle and the other one is not."""
    made, camera = line_of_gaussians(0.0), cameras((3.0, 0.0, 0.0))
    wider = smoothed(made, camera, SIZE)
    draw = jax.jit(render_dense, static_argnames=("height", "width", "dilation"))

    def alpha(gaussians, size, dilation):
        return np.asarray(draw(gaussians, camera, height=size, width=size, dilation=dilation).alpha[0])

    trained = alpha(made, SIZE, DILATION)
    np.testing.assert_allclose(alpha(wider, SIZE, 0.0), trained, atol=2e-3)
    # What covers a share of a picture covers the same share of a larger one
    assert alpha(wider, 4 * SIZE, 0.0).mean() == pytest.approx(trained.mean(), rel=0.02)
    assert alpha(made, 4 * SIZE, DILATION).mean() < 0.7 * trained.mean()
