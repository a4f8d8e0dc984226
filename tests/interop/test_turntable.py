"""The film is held against the geometry of an orbit."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Gaussians, ObjectRig, sh_from_color
from diffgs_jax.interop import check_turntable, render_turntable


def dot(position, color=(1.0, 0.0, 0.0)):
    """One small opaque ball."""
    return Gaussians(
        means=np.asarray([position], np.float32),
        rotations=np.asarray([[1, 0, 0, 0]], np.float32),
        scales=np.full((1, 3), 0.05, np.float32),
        opacities=np.ones(1, np.float32),
        sh=np.asarray(sh_from_color(jnp.asarray([color], jnp.float32))),
    )


@pytest.mark.slow
def test_a_ball_moves_as_the_orbit_says():
    """A camera at azimuth φ and elevation 0 sees the point (r, 0, 0) at column 0.5 − f·r·sin φ / (d − r·cos φ)."""
    rig = ObjectRig(elevation=0.0, distance=3.0, fov=60.0)
    frames = render_turntable(dot((0.8, 0.0, 0.0)), frames=12, size=64, rig=rig)
    assert frames.shape == (12, 64, 64, 3) and frames.dtype == np.uint8
    focal = 0.5 / np.tan(np.radians(30))
    for index, frame in enumerate(frames):
        angle = 2 * np.pi * index / 12
        weight = 255.0 - frame[..., 1]
        column = (weight.sum(0) * (np.arange(64) + 0.5)).sum() / weight.sum() / 64
        row = (weight.sum(1) * (np.arange(64) + 0.5)).sum() / weight.sum() / 64
        expected = 0.5 - focal * 0.8 * np.sin(angle) / (3 - 0.8 * np.cos(angle))
        assert (column, row) == pytest.approx((expected, 0.5), abs=0.01)


def test_depth_and_normals_of_a_ball():
    """Near is light and far is dark; what faces the camera's azimuth φ is coloured by (cos φ, sin φ, 0)."""
    near_and_far = Gaussians(
        *(np.concatenate(pair) for pair in zip(dot((0.7, 0, 0)), dot((-0.7, 0.3, 0)), strict=True))
    )
    rig = ObjectRig(elevation=0.0, distance=3.0)
    depth = render_turntable(near_and_far, frames=2, size=64, rig=rig, shows="depth", background=(1.0, 0.0, 0.0))
    assert depth[0, 2, 2].tolist() == [255, 0, 0]
    front, back = depth[0, 32, 32], depth[0, 32, 37]
    assert front.sum() > 550 and back.sum() < 250 and back[2] > back[1]
    turned = depth[1, 32, 32]
    assert turned.sum() < 250  # half a turn later it is the far one

    ball = dot((0.0, 0.0, 0.0))._replace(scales=np.full((1, 3), 0.3, np.float32))
    normals = render_turntable(ball, frames=4, size=64, rig=rig, shows="normals")
    for index, facing in enumerate([(1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, -1, 0)]):
        expected = 255 * (0.5 + 0.5 * np.asarray(facing))
        assert np.abs(normals[index, 32, 32] - expected).max() < 8
        assert normals[index, 2, 2].tolist() == [255, 255, 255]


def test_progress_and_background():
    done = []
    frames = render_turntable(dot((0.0, 0.0, 0.0)), frames=10, size=64, background=0.0, progress=done.append)
    assert sum(done) == len(frames) == 10
    assert frames[:, 0].max() == 0 and frames[:, 32, 32, 0].min() > 150


def test_impossible_turntables_are_refused_early(monkeypatch):
    for frames, size in [(-1, 64), (8, 63), (8, 0)]:
        with pytest.raises(UserError):
            check_turntable(frames, size)
    check_turntable(8, 64)
    check_turntable(8, 63, ".gif")
    with pytest.raises(UserError, match=r"\.mp4, \.gif, \.webp"):
        check_turntable(8, 64, ".avi")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "")
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: (_ for _ in ()).throw(RuntimeError("none")))
    check_turntable(0, 64)
    with pytest.raises(UserError, match="no ffmpeg"):
        check_turntable(8, 64)
    check_turntable(8, 64, ".webp")
