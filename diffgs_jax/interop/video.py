"""Films that play anywhere: mp4, gif and webp."""

import os
import subprocess
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from diffgs_jax.errors import UserError
from diffgs_jax.files.atomic import written_beside

VIDEO_SUFFIXES = (".mp4", ".gif", ".webp")
"""What `write_video` knows."""

# One thread, because x264's rate control depends on their number.
_H264 = ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-threads", "1", "-movflags", "+faststart"]
# One palette for the whole film, or its colours flicker; a fixed pattern of dots, or its flat areas crawl.
_GIF = ["-filter_complex", "split[a][b];[a]palettegen=stats_mode=full[p];[b][p]paletteuse=dither=bayer:bayer_scale=3"]
_REPEATABLE = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1"]  # no versions or dates


def check_video(suffix: str, height: int, width: int) -> None:
    """Finds out before any expensive work whether a film of this kind can be written.

    Raises:
        UserError: if the suffix is of no known format, the size is impossible, or there is no ffmpeg.
    """
    if suffix.lower() not in VIDEO_SUFFIXES:
        raise UserError(f"a film's suffix must be one of {', '.join(VIDEO_SUFFIXES)}, not {suffix or 'none'}")
    if min(height, width) < 1:
        raise UserError(f"a film must have a height and a width, not {height}×{width}")
    if suffix.lower() == ".mp4" and (height % 2 or width % 2):
        raise UserError(f"an mp4's height and width must be even, not {height}×{width}")
    if suffix.lower() != ".webp":
        _ffmpeg()


def write_video(
    path: str | os.PathLike[str], frames: UInt8[np.ndarray, "frames h w 3"], *, frames_per_second: int = 24
) -> None:
    """Writes a film in the format that the suffix names; the same frames give the same bytes.

    `.mp4` is H.264 that any player reads (yuv420p); `.gif` and `.webp` repeat without end. A gif has 256 colours for
    the whole film, and its frames last whole hundredths of a second: their times are rounded so that the film's length
    is right.

    Args:
        path: the file; one that is there is replaced when the new one is complete.
        frames: at least one.
        frames_per_second: how fast it plays, 1 to 50.

    Raises:
        UserError: if the suffix is of no known format, the height or width of an mp4 is odd (yuv420p cannot hold it),
            there is no ffmpeg, or the film cannot be written.
    """
    if not len(frames) or not 1 <= frames_per_second <= 50:
        raise UserError(f"a film needs frames, 1 to 50 a second, not {len(frames)} at {frames_per_second} a second")
    _, height, width, _ = frames.shape
    suffix = Path(path).suffix.lower()
    check_video(suffix, height, width)
    if suffix == ".webp":
        ends = np.round(1000 / frames_per_second * np.arange(len(frames) + 1)).astype(int)
        first, *others = (Image.fromarray(frame) for frame in frames)
        with written_beside(path) as beside:
            durations = np.diff(ends).tolist()
            first.save(beside, append_images=others, save_all=True, duration=durations, loop=0, quality=85, method=4)
        return
    coding = _H264 if suffix == ".mp4" else _GIF
    # Not imageio's own writer: it starts ffmpeg by a plain fork, which can deadlock beside JAX's threads.
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(frames_per_second), "-i", "-"]
    with written_beside(path) as beside:
        program = [_ffmpeg(), "-y", "-loglevel", "error"]
        finished = subprocess.run(
            [*program, *source, *coding, *_REPEATABLE, str(beside.absolute())],
            input=frames.tobytes(),
            capture_output=True,
        )
        if finished.returncode:
            reason = finished.stderr.decode(errors="replace").strip().splitlines() or ["ffmpeg failed"]
            raise UserError(f"cannot write {path}: {reason[-1]}")


def _ffmpeg() -> str:
    """Returns the path of the program; it is 60 MB that a machine without films can do without.

    Raises:
        UserError: if there is none.
    """
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise UserError(
            "no ffmpeg was found to write the film with: pip install imageio[ffmpeg], "
            "or point IMAGEIO_FFMPEG_EXE at one, or ask for .webp"
        ) from error
