"""Who blends a pass of tile lists: plain JAX, or the Pallas kernels; both fill the same seam."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax

from diffgs_jax.rasterizer import _tile_blending

Backend = Literal["auto", "xla", "triton", "mosaic"]
"""`xla` is pure JAX and runs on any device; `triton` and `mosaic` are Pallas kernels; `auto` chooses."""

_ELSEWHERE = "use backend='xla' or 'auto', which run anywhere"
_CAPABILITIES = {"triton": 8.0, "mosaic": 9.0}
_GENERATIONS = {8.0: "Ampere", 9.0: "Hopper"}


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
        case "triton" | "mosaic":
            _check_device(backend)
            return kernel_launcher(backend)
        case _:
            raise ValueError(f"backend must be 'auto', 'xla', 'triton' or 'mosaic', not {backend!r}")


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
    )


def _check_device(backend: str) -> None:
    """Raises a NotImplementedError if JAX's default device cannot run the backend."""
    platform = jax.default_backend()
    needed = _CAPABILITIES[backend]
    needs = f"backend {backend!r} needs an NVIDIA GPU of compute capability {needed} ({_GENERATIONS[needed]}) or more"
    if platform not in ("gpu", "cuda"):
        raise NotImplementedError(
            f"{needs}, and JAX runs on {platform!r} here; {_ELSEWHERE}, or install jax[cuda13] on a machine with one"
        )
    device = jax.devices()[0]
    try:
        capability = float(getattr(device, "compute_capability", 0.0))
    except ValueError:  # what other vendors' GPUs say
        capability = 0.0
    if capability < needed:
        other = ", or backend='triton'" if capability >= _CAPABILITIES["triton"] else ""
        raise NotImplementedError(f"{needs}, and JAX runs on {device.device_kind!r} here; {_ELSEWHERE}{other}")
