"""Networks that find the object of a photograph; both are optional, and none comes with the package."""

import functools
import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from diffgs_jax.errors import UserError

_ISNET_SIDE = 1024
"""What ISNet was trained with (Qin et al. 2022, "Highly accurate dichotomous image segmentation")."""


def cover_by_rembg(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Returns the cover in [0, 1] that the rembg package's ISNet finds; it downloads that once.

    Raises:
        UserError: if the package is missing, or its network cannot be had.
    """
    session, rembg = load_rembg()
    mask = rembg.remove(Image.fromarray(image), session=session, only_mask=True)
    return np.asarray(mask.convert("L"), np.float32) / 255


def cover_by_isnet(image: UInt8[np.ndarray, "h w 3"], file: str | os.PathLike[str] | None) -> Float[np.ndarray, "h w"]:
    """Returns the cover in [0, 1] that an ISNet ONNX file finds.

    The network reads `[1, 3, s, s]` in [−½, ½] and writes `[1, 1, s, s]` first; what it writes is stretched to [0, 1],
    as its authors do.

    Args:
        image: opaque.
        file: an export of ISNet, such as `isnet-general-use.onnx`.

    Raises:
        UserError: if onnxruntime is missing, or the file cannot be read or is no such network.
    """
    path = pathlib.Path(file or "")
    session = load_isnet(path)
    (entry, *_) = session.get_inputs()
    side = entry.shape[-1] if len(entry.shape) == 4 and isinstance(entry.shape[-1], int) else _ISNET_SIDE
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    planes = (np.asarray(small, np.float32) / 255 - 0.5).transpose(2, 0, 1)[None]
    try:
        found = np.asarray(session.run([session.get_outputs()[0].name], {entry.name: planes})[0], np.float32)
    except Exception as error:  # onnxruntime has a dozen kinds
        raise UserError(f"{path} does not read a picture of {side}×{side} as ISNet does: {_line(error)}") from error
    if found.ndim != 4 or found.shape[:2] != (1, 1) or not np.isfinite(found).all():
        raise UserError(f"{path} is not an ISNet: its first output has the shape {list(found.shape)}, not [1, 1, h, w]")
    low, high = found.min(), found.max()
    cover = Image.fromarray((found[0, 0] - low) / max(high - low, 1e-6))
    height, width = image.shape[:2]
    return np.clip(np.asarray(cover.resize((width, height), Image.Resampling.BILINEAR)), 0, 1)


@functools.lru_cache(maxsize=1)
def load_isnet(path: pathlib.Path) -> Any:
    """Returns onnxruntime's session of a file, and keeps it for the next picture.

    Raises:
        UserError: if the package is missing or the file cannot be used.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError('an ISNet file needs onnxruntime: pip install "diffgs_jax[matting]"') from error
    if not path.is_file():
        raise UserError(f"there is no matting model {path}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what matters is raised
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(f"{path} is not an ONNX network: {_line(error)}") from error


@functools.lru_cache(maxsize=1)
def load_rembg() -> tuple[Any, Any]:
    """Returns rembg's session, kept for the next picture, and the package.

    Raises:
        UserError: if the package is missing or its network cannot be had.
    """
    try:
        import rembg  # ty: ignore (optional)
    except (ImportError, SystemExit) as error:  # it exits where its onnxruntime is missing
        raise UserError('--matting rembg needs rembg: pip install "diffgs_jax[rembg]"') from error
    try:
        # By name: the package's own default has a licence that forbids commercial use.
        return rembg.new_session("isnet-general-use"), rembg
    except Exception as error:  # no network, no disk, …
        raise UserError(f"rembg cannot load its network: {_line(error)}") from error


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
