"""What a baked texture may be, as settings: importing it is cheap."""

import importlib.util

from diffgs_jax.errors import UserError


def check_texture(size: int) -> None:
    """Finds out before any expensive work whether a texture can be baked.

    Raises:
        UserError: if its size is impossible or xatlas is not installed.
    """
    if not 64 <= size <= 4096:
        raise UserError(f"a texture's side must be 64 to 4096 pixels, not {size}")
    if importlib.util.find_spec("xatlas") is None:
        raise UserError('a texture needs xatlas: pip install "diffgs_jax[mesh]"')
