"""Real cameras: lens distortion, and square pinhole views cut out of what they took.

The models are COLMAP's and OpenCV's; a normalised point (x, y) is at x = (u − cx) / fx when there is no distortion.
Pixel (row i, column j) is centred at (j + 0.5, i + 0.5), as everywhere here and in COLMAP.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from diffgs_jax.datasets.opencv import opencv
from diffgs_jax.errors import DataError

_LARGEST_SIDE = 100_000


class Lens(NamedTuple):
    """A camera's projection, in pixels of a `width` × `height` picture.

    Attributes:
        width: pixels.
        height: pixels.
        fx: focal length in pixel widths.
        fy: focal length in pixel heights.
        cx: principal point from the left edge.
        cy: principal point from the top edge.
        radial: k1, k2, … (up to four for a fisheye, three otherwise).
        tangential: p1, p2.
        fisheye: whether `radial` acts on the angle (equidistant projection).
        divisor: k4, k5, k6 of OpenCV's rational model, by which the radial term is divided.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    radial: tuple[float, ...] = ()
    tangential: tuple[float, float] = (0.0, 0.0)
    fisheye: bool = False
    divisor: tuple[float, ...] = ()

    @property
    def is_pinhole(self) -> bool:
        """Whether straight lines stay straight."""
        return not self.fisheye and not any((*self.radial, *self.tangential, *self.divisor))

    def fits(self, width: int, height: int) -> bool:
        """Returns whether a picture of this size can be the lens's, made larger or smaller; each side may be rounded.

        A picture on its side is not, however square.
        """
        if (width, height) == (self.height, self.width):
            return width == height
        return abs(width * self.height - height * self.width) <= self.width + self.height

    def resized(self, width: int, height: int) -> "Lens":
        """Returns the same lens for the same picture at another size.

        Raises:
            DataError: if no resize makes a picture of this size from the lens's.
        """
        if not self.fits(width, height):
            raise DataError(f"a picture is {width}×{height} where its camera is {self.width}×{self.height}")
        x, y = width / self.width, height / self.height
        return self._replace(width=width, height=height, fx=self.fx * x, fy=self.fy * y, cx=self.cx * x, cy=self.cy * y)


COLMAP_MODELS: dict[int, tuple[str, int]] = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
    12: ("SIMPLE_DIVISION", 4),
    13: ("DIVISION", 5),
    14: ("SIMPLE_FISHEYE", 3),
    15: ("FISHEYE", 4),
    16: ("EUCM", 6),
    17: ("EQUIRECTANGULAR", 2),
}
"""COLMAP's camera models by number: name, and how many parameters they have (COLMAP 4.2)."""


def colmap_lens(model: int | str, width: int, height: int, parameters: list[float]) -> Lens:
    """Returns the lens of a COLMAP camera.

    Args:
        model: COLMAP's number of the model; the name of one that has none here.
        width: pixels.
        height: pixels.
        parameters: in COLMAP's order.

    Raises:
        DataError: if the model is not one of those supported, or the camera has no size.
    """
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        raise DataError(f"a camera is {width}×{height} pixels")
    if not all(math.isfinite(value) for value in parameters):
        raise DataError("a camera has a parameter that is not finite")
    size, p = (int(width), int(height)), parameters
    match model:
        case 0 | 2 | 3:  # SIMPLE_PINHOLE, SIMPLE_RADIAL, RADIAL: f, cx, cy, k…
            return Lens(*size, p[0], p[0], p[1], p[2], radial=tuple(p[3:]))
        case 1:  # PINHOLE
            return Lens(*size, p[0], p[1], p[2], p[3])
        case 4:  # OPENCV
            return Lens(*size, p[0], p[1], p[2], p[3], radial=tuple(p[4:6]), tangential=(p[6], p[7]))
        case 5 | 15:  # OPENCV_FISHEYE, FISHEYE
            return Lens(*size, p[0], p[1], p[2], p[3], radial=tuple(p[4:]), fisheye=True)
        case 6:  # FULL_OPENCV
            radial, divisor = (p[4], p[5], p[8]), tuple(p[9:])
            return Lens(*size, p[0], p[1], p[2], p[3], radial, (p[6], p[7]), divisor=divisor)
        case 8 | 9 | 14:  # SIMPLE_RADIAL_FISHEYE, RADIAL_FISHEYE, SIMPLE_FISHEYE
            return Lens(*size, p[0], p[0], p[1], p[2], radial=tuple(p[3:]), fisheye=True)
    name, _ = COLMAP_MODELS.get(model, (model, 0)) if isinstance(model, int) else (model, 0)
    raise DataError(f"COLMAP's camera model {name} is not supported; undistort the pictures with COLMAP first")


def distort(lens: Lens, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """Returns the pixel coordinates at which a lens shows normalised points (x/z, y/z).

    Source: COLMAP `src/colmap/sensor/models.h`, OpenCV `calib3d`; the coefficients mean the same in both.
    """
    x, y = points[..., 0], points[..., 1]
    r2 = x * x + y * y
    if lens.fisheye:
        r = np.sqrt(r2)
        theta = np.arctan(r)
        bent = theta * (1 + sum(k * theta ** (2 * (i + 1)) for i, k in enumerate(lens.radial)))
        factor = np.where(r > 1e-9, bent / np.maximum(r, 1e-9), 1.0)
        x, y = x * factor, y * factor
    else:
        factor = 1 + sum(k * r2 ** (i + 1) for i, k in enumerate(lens.radial))
        factor = factor / (1 + sum(k * r2 ** (i + 1) for i, k in enumerate(lens.divisor)))
        p1, p2 = lens.tangential
        x, y = (
            x * factor + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * factor + 2 * p2 * x * y + p1 * (r2 + 2 * y * y),
        )
    return np.stack([lens.fx * x + lens.cx, lens.fy * y + lens.cy], axis=-1)


def resample(
    pixels: Shaped[np.ndarray, "h w *c"],
    lens: Lens,
    intrinsics: Float[np.ndarray, "4"],
    size: int,
    *,
    nearest: bool = False,
    extend: bool = False,
) -> Shaped[np.ndarray, "s s *c"]:
    """Returns what a square pinhole camera in the same place would have taken.

    Args:
        pixels: the picture, `lens.height` × `lens.width`; uint8 or float32.
        lens: what it was taken with.
        intrinsics: of the wanted view, as fractions of its side.
        size: of the wanted view, pixels.
        nearest: for values that must not be mixed, as depth; linear otherwise.
        extend: repeat the picture's edge outside of it; zero there otherwise.

    Raises:
        UserError: if OpenCV is not installed.
    """
    cv2 = opencv()
    centers = (np.arange(size) + 0.5) / size
    fx, fy, cx, cy = np.asarray(intrinsics, np.float64)
    x, y = np.meshgrid((centers - cx) / fx, (centers - cy) / fy)
    places = distort(lens, np.stack([x, y], axis=-1)) - 0.5
    return cv2.remap(
        pixels,
        places[..., 0].astype(np.float32),
        places[..., 1].astype(np.float32),
        cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE if extend else cv2.BORDER_CONSTANT,
    )
