"""Who blends a pass of tile lists: plain JAX, or the Pallas kernels; both fill the same seam."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax

from diffgs_jax.rasterizer import _tile_blending

Backend = Literal["auto", "xla", "triton", "mosaic"]
"""`xla` is pure JAX and runs on any device; `triton` and `mosaic` are Pallas kernels; `auto` chooses."""


@dataclasses.dataclass(frozen=True)
class Launcher:
    """The two directions of blending one pass, as `_tile_blending` describes them, and the tiles that suit them."""

    blend_pass: Callable
    blend_pass_backward: Callable
    tile: int
    """Side of a tile, pixels."""


XLA = Launcher(_tile_blending.blend_pass, _tile_blending.blend_pass_backward, tile=8)


def choose_launcher(backend: Backend) -> Launcher:
    """Returns who blends.

    Args:
        backend: `auto` is `xla` on every platform, for as long as the kernels have not been timed on a GPU.

    Raises:
        ValueError: for a backend that does not exist.
        NotImplementedError: for one that is not available here.
    """
    match backend:
        case "auto" | "xla":
            return XLA
        case "triton":
            platform = jax.default_backend()
            if platform not in ("gpu", "cuda"):
                raise NotImplementedError(
                    f"backend 'triton' needs an NVIDIA GPU, and JAX runs on {platform!r} here; "
                    "use backend='xla' or 'auto', or install jax[cuda13] on a machine with a GPU"
                )
            return triton_launcher()
        case "mosaic":
            raise NotImplementedError(
                "backend 'mosaic' is not there yet; use backend='xla' or 'auto', which run anywhere, or 'triton'"
            )
        case _:
            raise ValueError(f"backend must be 'auto', 'xla', 'triton' or 'mosaic', not {backend!r}")


@functools.cache  # equal launchers must be equal to jit's cache
def triton_launcher(*, interpret: bool = False) -> Launcher:
    """Returns the Pallas kernels launched through Triton.

    Args:
        interpret: run them on any device, slowly, as plain JAX: for tests.
    """
    # Whoever does not use the kernels need not import Pallas, which takes a while and part of which is deprecated.
    from diffgs_jax.rasterizer import _kernel_blending

    return Launcher(
        functools.partial(_kernel_blending.blend_pass, interpret=interpret),
        functools.partial(_kernel_blending.blend_pass_backward, interpret=interpret),
        tile=16,
    )
