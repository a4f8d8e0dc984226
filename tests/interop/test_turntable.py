"""The film is held against the geometry of an orbit, and its file against another decoder's reading."""

import hashlib
import subprocess

import imageio_ffmpeg
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Gaussians, ObjectRig, sh_from_color
from diffgs_jax.interop import check_turntable, render_turntable, write_video


def dot(position, color=(1.0, 0.0, 0.0)):
    """One small opaque ball."""
    return Gaussians(
        means=np.asarray([position], np.float32),
        rotations=np.asarray([[1, 0, 0, 0]], np.float32),
        scales=np.full((1, 3), 0.05, np.float32),
        opacities=np.ones(1, np.float32),
        sh=np.asarray(sh_from_color(jnp.asarray([color], jnp.float32))),
    )


def test_a_ball_moves_as_the_orbit_says():
    """A camera at azimuth φ and elevation 0 sees the point (r, 0, 0) at column 0.5 − f·r·sin φ / (d − r·cos φ)."""
    rig = ObjectRig(elevation=0.0, distance=3.0, fov=60.0)
    frames = render_turntable(dot((0.8, 0.0, 0.0)), frames=12, size=96, rig=rig)
    assert frames.shape == (12, 96, 96, 3) and frames.dtype == np.uint8
    focal = 0.5 / np.tan(np.radians(30))
    for index, frame in enumerate(frames):
        angle = 2 * np.pi * index / 12
        weight = 255.0 - frame[..., 1]
        column = (weight.sum(0) * (np.arange(96) + 0.5)).sum() / weight.sum() / 96
        row = (weight.sum(1) * (np.arange(96) + 0.5)).sum() / weight.sum() / 96
        expected = 0.5 - focal * 0.8 * np.sin(angle) / (3 - 0.8 * np.cos(angle))
        assert (column, row) == pytest.approx((expected, 0.5), abs=0.01)


def test_progress_and_background():
    done = []
    frames = render_turntable(dot((0.0, 0.0, 0.0)), frames=10, size=32, background=0.0, progress=done.append)
    assert sum(done) == len(frames) == 10
    assert frames[:, 0].max() == 0 and frames[:, 16, 16, 0].min() > 150


def test_film_is_readable_and_its_bytes_repeat(tmp_path):
    place = np.linspace(0, 1, 64)
    frames = np.stack([np.round(255 * np.abs(np.sin(3 * place + phase))) for phase in np.linspace(0, 3, 20)])
    frames = np.broadcast_to(frames[:, None, :, None], (20, 48, 64, 3)).astype(np.uint8)
    digests = set()
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames, frames_per_second=12)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
    decode = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-i",
        str(tmp_path / "a.mp4"),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    decoded = subprocess.run(decode, capture_output=True, check=True)
    stream = next(line for line in decoded.stderr.decode().splitlines() if "Video: h264" in line)
    assert "yuv420p" in stream and "64x48" in stream and "12 fps" in stream
    again = np.frombuffer(decoded.stdout, np.uint8).reshape(frames.shape)
    assert np.abs(again.astype(int) - frames).mean() < 3


def test_unwritable_or_impossible(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="even"):
        write_video(tmp_path / "a.mp4", np.zeros((2, 31, 32, 3), np.uint8))
    with pytest.raises(UserError, match="cannot write"):
        write_video(tmp_path / "none" / "a.mp4", np.zeros((2, 32, 32, 3), np.uint8))
    for frames, size in [(-1, 64), (8, 63), (8, 0)]:
        with pytest.raises(UserError):
            check_turntable(frames, size)
    check_turntable(8, 64)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "")
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: (_ for _ in ()).throw(RuntimeError("none")))
    check_turntable(0, 64)
    with pytest.raises(UserError, match="no ffmpeg"):
        check_turntable(8, 64)
