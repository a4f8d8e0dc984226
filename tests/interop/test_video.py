"""Films are held against other decoders: ffmpeg for mp4, Pillow for gif and webp."""

import hashlib
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from diffgs_jax.errors import UserError
from diffgs_jax.interop import check_video, write_video


def waves(count=20, height=48, width=64):
    """Grey waves that move."""
    place = np.linspace(0, 1, width)
    rows = np.stack([np.round(255 * np.abs(np.sin(3 * place + phase))) for phase in np.linspace(0, 3, count)])
    return np.ascontiguousarray(np.broadcast_to(rows[:, None, :, None], (count, height, width, 3)).astype(np.uint8))


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_bytes_repeat(tmp_path, suffix):
    digests = set()
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}{suffix}", waves(), frames_per_second=12)
        digests.add(hashlib.sha256((tmp_path / f"{name}{suffix}").read_bytes()).hexdigest())
    assert len(digests) == 1
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "b"]


def test_mp4_is_readable(tmp_path):
    write_video(tmp_path / "a.mp4", waves(), frames_per_second=12)
    source = ["-i", str(tmp_path / "a.mp4"), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    decoded = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *source], capture_output=True, check=True)
    stream = next(line for line in decoded.stderr.decode().splitlines() if "Video: h264" in line)
    assert "yuv420p" in stream and "64x48" in stream and "12 fps" in stream
    again = np.frombuffer(decoded.stdout, np.uint8).reshape(waves().shape)
    assert np.abs(again.astype(int) - waves()).mean() < 3


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("rate", [12, 24])
def test_gif_and_webp_are_readable(tmp_path, suffix, rate):
    frames = waves(height=47, width=63)  # odd sizes are no trouble for these
    write_video(tmp_path / f"a{suffix}", frames, frames_per_second=rate)
    with Image.open(tmp_path / f"a{suffix}") as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (20, (63, 47), 0)
        shown, times = [], []
        for index in range(film.n_frames):
            film.seek(index)
            shown.append(np.asarray(film.convert("RGB")))
            times.append(film.info["duration"])
    assert sum(times) == pytest.approx(1000 * 20 / rate, abs=11)
    assert np.abs(np.stack(shown).astype(int) - frames).mean() < 4


def test_what_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="even"):
        write_video(tmp_path / "a.mp4", np.zeros((2, 31, 32, 3), np.uint8))
    with pytest.raises(UserError, match=r"\.mp4, \.gif, \.webp"):
        write_video(tmp_path / "a.avi", np.zeros((2, 32, 32, 3), np.uint8))
    for suffix in (".mp4", ".gif", ".webp"):
        with pytest.raises(UserError, match="cannot write"):
            write_video(tmp_path / "none" / f"a{suffix}", np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(UserError, match="needs frames"):
        write_video(tmp_path / "a.gif", np.zeros((0, 32, 32, 3), np.uint8))
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: (_ for _ in ()).throw(RuntimeError("none")))
    check_video(".webp", 64, 64)
    with pytest.raises(UserError, match="no ffmpeg"):
        check_video(".GIF", 64, 64)
