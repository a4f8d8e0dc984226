"""OpenCV, where it is installed: for lenses, 16-bit colour pictures and features."""

import importlib
from typing import Any

from diffgs_jax.errors import UserError


def opencv() -> Any:
    """Returns the OpenCV module.

    Raises:
        UserError: if it is not installed.
    """
    try:
        return importlib.import_module("cv2")
    except ImportError:
        raise UserError("this needs OpenCV: pip install 'diffgs_jax[sources]'") from None
