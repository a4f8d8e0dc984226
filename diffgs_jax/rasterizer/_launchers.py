"""Who blends a pass of tile lists: plain JAX, or the Pallas kernels; both fill the same seam."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

from diffgs_jax.rasterizer import _tile_blending
from diffgs_jax.rasterizer.backends import Backend, resolve_backend


@dataclasses.dataclass(frozen=True)
class Launcher:
    """The two directions of blending one pass, as `_tile_blending` describes them, and the tiles that suit them."""

    blend_pass: Callable
    blend_pass_backward: Callable
    tile: int
    """Side of a tile, pixels."""
    with_owners: bool = False
    """Whether lists must say where each Gaussian's entries stand: for gradients that are written in that order."""


XLA = Launcher(_tile_blending.blend_pass, _tile_blending.blend_pass_backward, tile=8)


def choose_launcher(backend: Backend) -> Launcher:
    """Returns who blends.

    Args:
        backend: as in `resolve_backend`.

    Raises:
        ValueError: for a backend that does not exist.
        NotImplementedError: for one that is not available here.
    """
    found = resolve_backend(backend)
    return XLA if found == "xla" else kernel_launcher(found)


@functools.cache  # equal launchers must be equal to jit's cache
def kernel_launcher(name: Literal["triton", "mosaic"], *, interpret: bool = False) -> Launcher:
    """Returns the Pallas kernels.

    Args:
        name: who launches them.
        interpret: run them on any device, slowly, as plain JAX: for tests.
    """
    # Whoever does not use the kernels need not import Pallas, which takes a while and part of which is deprecated.
    from diffgs_jax.rasterizer import _kernel_blending

    settings = {"launcher": name, "interpret": interpret}
    return Launcher(
        functools.partial(_kernel_blending.blend_pass, **settings),
        functools.partial(_kernel_blending.blend_pass_backward, **settings),
        tile=16,
        with_owners=True,
    )
