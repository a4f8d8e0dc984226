"""What a film of one turn may be, as settings: importing it is cheap."""

from typing import Literal

from diffgs_jax.errors import UserError
from diffgs_jax.interop.video import check_video

Shown = Literal["color", "depth", "normals"]
"""What a turntable shows."""


def check_turntable(frames: int, size: int, suffix: str = ".mp4") -> None:
    """Finds out before any expensive work whether a film of this kind can be written; none (0 frames) always can.

    Raises:
        UserError: if the number of frames, their size or the suffix is impossible, or there is no ffmpeg.
    """
    if frames < 0:
        raise UserError(f"the number of frames must be 0 or more, not {frames}")
    if size < 16 or (size % 2 and suffix == ".mp4"):
        raise UserError(f"the turntable's size must be an even number of pixels, at least 16, not {size}")
    if frames:
        check_video(suffix, size, size)
