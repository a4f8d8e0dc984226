import numpy as np
import pytest

from diffgs_jax.data import to_scene_frame as frame_and_scale
from diffgs_jax.geometry import look_at


def to_scene_frame(*arguments, **options):
    return frame_and_scale(*arguments, **options)[0]


def walk(seed, frames=6):
    random = np.random.default_rng(seed)
    positions = np.cumsum(random.normal(size=(frames, 3)) * 0.3, axis=0) + random.normal(size=3) * 5
    return look_at(positions, positions + [2.0, 0.5, 0.1] + random.normal(size=(frames, 3)) * 0.4)


def moved(poses, seed):
    """The same cameras in a world of another origin, orientation and unit."""
    random = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    result = poses.astype(np.float64)
    result[:, :3, :3] = rotation @ result[:, :3, :3]
    result[:, :3, 3] = (result[:, :3, 3] @ rotation.T) * random.uniform(0.01, 100) + random.normal(size=3) * 10
    return result.astype(np.float32)


@pytest.mark.parametrize("frame", ["first_view", "mean_camera"])
@pytest.mark.parametrize("seed", range(5))
def test_neither_origin_nor_orientation_nor_unit_of_the_world_matters(frame, seed):
    poses = walk(seed)
    expected = to_scene_frame(poses, 4, frame=frame)
    np.testing.assert_allclose(to_scene_frame(moved(poses, seed), 4, frame=frame), expected, atol=1e-3)
    assert expected.dtype == np.float32


@pytest.mark.parametrize("frame", ["first_view", "mean_camera"])
def test_the_cameras_are_moved_together(frame):
    """One similarity takes all the old poses to the new ones."""
    before, after = walk(0).astype(np.float64), to_scene_frame(walk(0), 4, frame=frame).astype(np.float64)
    turns = after[:, :3, :3] @ before[:, :3, :3].transpose(0, 2, 1)
    np.testing.assert_allclose(turns, np.broadcast_to(turns[0], turns.shape), atol=1e-5)
    old = np.linalg.norm(before[:, None, :3, 3] - before[None, :, :3, 3], axis=-1)
    new = np.linalg.norm(after[:, None, :3, 3] - after[None, :, :3, 3], axis=-1)
    scale = new[0, 1] / old[0, 1]
    np.testing.assert_allclose(new, old * scale, atol=1e-4)
    np.testing.assert_allclose(frame_and_scale(walk(0), 4, frame=frame)[1], scale, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.det(after[:, :3, :3]), 1.0, atol=1e-5)


def test_the_first_camera_is_the_identity_and_the_inputs_fill_the_extent():
    after = to_scene_frame(walk(1), 4, extent=0.5)
    np.testing.assert_allclose(after[0], np.eye(4), atol=1e-5)
    np.testing.assert_allclose(np.abs(after[:4, :3, 3]).max(), 0.5, atol=1e-5)


def test_the_mean_camera_is_at_the_origin_and_looks_along_z():
    after = to_scene_frame(walk(2), 4, frame="mean_camera")
    np.testing.assert_allclose(after[:4, :3, 3].mean(axis=0), 0.0, atol=1e-5)
    forward, down = after[:4, :3, 2].mean(axis=0), after[:4, :3, 1].mean(axis=0)
    np.testing.assert_allclose(forward[:2], 0.0, atol=1e-5)
    assert forward[2] > 0 and down[1] > 0 and abs(down[0]) < 1e-5
    np.testing.assert_allclose(np.abs(after[:4, :3, 3]).max(), 1 / 1.35, atol=1e-5)


def test_novel_views_change_nothing():
    poses = walk(3)
    np.testing.assert_array_equal(to_scene_frame(poses, 4)[:4], to_scene_frame(poses[:4], 4))


@pytest.mark.parametrize("frame", ["first_view", "mean_camera"])
def test_a_camera_that_only_turns_keeps_its_unit(frame):
    position = np.tile([1.0, 2.0, 3.0], (4, 1))
    angles = np.linspace(0, 2 * np.pi, 4, endpoint=False)
    poses = look_at(position, position + np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1))
    after = to_scene_frame(poses, 4, frame=frame)
    assert np.isfinite(after).all() and np.abs(after[:, :3, 3]).max() < 1e-5
