"""A film of Gaussians seen from all around."""

import functools
import os
import subprocess
from collections.abc import Callable

import imageio_ffmpeg
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras, Gaussians, ObjectRig, orbit
from diffgs_jax.interop._beside import written_beside
from diffgs_jax.rasterizer import render

_FRAMES_AT_ONCE = 8  # rendered by one call: bounds memory, and is the only shape that is compiled


def check_turntable(frames: int, size: int) -> None:
    """Finds out before any expensive work whether a film of this kind can be written; none (0 frames) always can.

    Raises:
        UserError: if the number of frames or their size is impossible, or there is no ffmpeg.
    """
    if frames < 0:
        raise UserError(f"the number of frames must be 0 or more, not {frames}")
    if size < 16 or size % 2:
        raise UserError(f"the turntable's size must be an even number of pixels, at least 16, not {size}")
    if frames:
        try:
            imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError as error:
            raise UserError(
                "no ffmpeg was found to write the turntable with: pip install imageio[ffmpeg], "
                "or point IMAGEIO_FFMPEG_EXE at one, or ask for --frames 0"
            ) from error


def render_turntable(
    gaussians: Gaussians,
    *,
    frames: int = 48,
    size: int = 256,
    rig: ObjectRig | None = None,
    background: float = 1.0,
    progress: Callable[[int], object] | None = None,
) -> UInt8[np.ndarray, "frames size size 3"]:
    """Renders one turn about the z axis, the first frame from azimuth 0.

    Args:
        gaussians: one set, `[n, …]`, in the object frame.
        frames: pictures in the turn.
        size: side of a picture, pixels.
        rig: gives elevation, distance and field of view.
        background: grey value in [0, 1].
        progress: called with the number of frames that have been finished since the last call.
    """
    rig = ObjectRig() if rig is None else rig
    gaussians = Gaussians(*(jnp.asarray(leaf, jnp.float32) for leaf in gaussians))
    azimuths = np.arange(-(-frames // _FRAMES_AT_ONCE) * _FRAMES_AT_ONCE) * 360.0 / frames
    pictures = []
    for start in range(0, frames, _FRAMES_AT_ONCE):
        turn = azimuths[start : start + _FRAMES_AT_ONCE]
        cameras = orbit(turn, elevation_degrees=rig.elevation, distance=rig.distance, fov_degrees=rig.fov)
        pictures.append(np.asarray(_frames(gaussians, Cameras(*map(jnp.asarray, cameras)), size, background)))
        if progress is not None:
            progress(min(_FRAMES_AT_ONCE, frames - start))
    return np.concatenate(pictures)[:frames]


def write_video(
    path: str | os.PathLike[str], frames: UInt8[np.ndarray, "frames h w 3"], *, frames_per_second: int = 24
) -> None:
    """Writes an H.264 mp4 that any player reads (yuv420p); the same frames give the same bytes.

    Raises:
        UserError: if the height or width is odd, which yuv420p cannot hold, or the film cannot be written.
    """
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise UserError(f"a film's height and width must be even, not {frames.shape[1]}×{frames.shape[2]}")
    _, height, width, _ = frames.shape
    # Not imageio's own writer: it starts ffmpeg by a plain fork, which can deadlock beside JAX's threads.
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(frames_per_second), "-i", "-"]
    # One thread, because x264's rate control depends on their number; no versions or dates in the file.
    coding = ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-threads", "1", "-movflags", "+faststart"]
    repeatable = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1"]
    with written_beside(path) as beside:
        program = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error"]
        finished = subprocess.run(
            [*program, *source, *coding, *repeatable, str(beside.absolute())],
            input=frames.tobytes(),
            capture_output=True,
        )
        if finished.returncode:
            reason = finished.stderr.decode(errors="replace").strip().splitlines() or ["ffmpeg failed"]
            raise UserError(f"cannot write {path}: {reason[-1]}")


@functools.partial(jax.jit, static_argnames=("size", "background"))
def _frames(gaussians: Gaussians, cameras: Cameras, size: int, background: float) -> Array:
    image = render(gaussians, cameras, height=size, width=size, background=background).image
    return jnp.round(jnp.clip(image, 0, 1) * 255).astype(jnp.uint8)
