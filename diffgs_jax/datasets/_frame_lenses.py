"""The lens of a frame of transforms.json: its size, focal lengths, principal point and distortion.

Sources: nerfstudio's "data conventions" and `cameras.py`; instant-ngp's `nerf_loader.cu`; OpenCV's `calib3d` for what
the coefficients mean.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from diffgs_jax.datasets._lenses import Lens
from diffgs_jax.errors import DataError

_FISHEYE = "OPENCV_FISHEYE"
_FULL = "FULL_OPENCV"
_PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
_TERMS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "s1", "s2", "s3", "s4")
_KNOWN = {
    _FISHEYE: {"k1", "k2", "k3", "k4"},
    _FULL: {"k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2"},
}
_KNOWN_PERSPECTIVE = {"k1", "k2", "k3", "p1", "p2"}  # of k4, OpenCV, nerfstudio and instant-ngp say different things
_REFUSED = (
    "black_transparent",
    "equirectangular",
    "fix_premult",
    "ftheta_p0",
    "latlong",
    "mask_color",
    "normal_mts_args",
    "rolling_shutter",
    "transform_matrix_start",
    "white_transparent",
)
"""Of instant-ngp: other projections, poses and transparencies."""
_LARGEST_SIDE = 100_000


def frame_lens(frame: dict[str, Any], stored_size: Callable[[], tuple[int, int]]) -> Lens:
    """Returns a frame's lens.

    Args:
        frame: with what the file says of all frames.
        stored_size: returns width and height of the stored picture, which count where the frame has no `w` and `h`.

    Raises:
        DataError: if it has no focal length, or a field that is not implemented.
    """
    for name in _REFUSED:
        value = frame.get(name)
        if any(value) if isinstance(value, list) else value not in (None, False, 0):
            raise DataError(f"it has {name}, which is not supported")
    width, height = (_side(frame["w"]), _side(frame["h"])) if "w" in frame and "h" in frame else stored_size()
    fx, fy = _focal(frame, "x", width), _focal(frame, "y", height)
    if fx is None and fy is None:
        raise DataError("it has neither fl_x nor camera_angle_x")
    cx, cy = _number(frame, "cx", width / 2), _number(frame, "cy", height / 2)
    model = _model(frame)
    terms = {name: _number(frame, name, 0.0) for name in _TERMS}
    unknown = [name for name, value in terms.items() if value and name not in _KNOWN.get(model, _KNOWN_PERSPECTIVE)]
    if unknown:
        raise DataError(f"it has {', '.join(unknown)} of a camera {model}, which is not supported")
    return Lens(
        width,
        height,
        fx if fx is not None else fy or 0.0,
        fy if fy is not None else fx or 0.0,
        cx,
        cy,
        radial=tuple(terms[f"k{number}"] for number in range(1, 5 if model == _FISHEYE else 4)),
        tangential=(terms["p1"], terms["p2"]),
        fisheye=model == _FISHEYE,
        divisor=(terms["k4"], terms["k5"], terms["k6"]) if model == _FULL else (),
    )


def _model(frame: dict[str, Any]) -> str:
    model, flag = frame.get("camera_model"), frame.get("is_fisheye")
    if model is None:
        return _FISHEYE if flag else "OPENCV"
    if model not in (_FISHEYE, _FULL, *_PERSPECTIVE):
        raise DataError(f"it has the camera model {str(model)[:40]}, which is not supported")
    if flag is not None and bool(flag) != (model == _FISHEYE):
        raise DataError(f"it has the camera model {model}, and is_fisheye says otherwise")
    return model


def _focal(frame: dict[str, Any], axis: str, size: int) -> float | None:
    """Returns a focal length in pixels, or None where the frame has none for this axis."""
    if f"fl_{axis}" in frame:
        return _number(frame, f"fl_{axis}", 0.0)
    for name, degrees in ((f"camera_angle_{axis}", False), (f"{axis}_fov", True)):
        if name in frame:
            angle = _number(frame, name, 0.0)
            angle = math.radians(angle) if degrees else angle
            if not 0 < angle < math.pi:
                raise DataError(f"it has the {name} {frame[name]}")
            return float(0.5 * size / np.tan(angle / 2))
    return None


def _number(frame: dict[str, Any], name: str, default: float) -> float:
    value = float(frame.get(name, default))
    if not math.isfinite(value):
        raise DataError(f"its {name} is not finite")
    return value


def _side(value: Any) -> int:
    side = int(value)
    if not 0 < side <= _LARGEST_SIDE:
        raise DataError(f"it is {side} pixels wide or high")
    return side
