"""Who renders: plain JAX, or the Pallas kernels where they can run and have been proven."""

from typing import Literal

from diffgs_jax.errors import UserError

Backend = Literal["auto", "xla", "triton", "mosaic"]
"""`xla` is pure JAX and runs on any device; `triton` (Ampere and newer, deprecated by JAX) and `mosaic` (Hopper and
newer) are Pallas kernels for NVIDIA GPUs; `auto` takes what `PROVEN` says of the device, else `xla`."""

PROVEN: dict[str, Literal["triton", "mosaic"]] = {}
"""Device kinds, as `jax.devices()[0].device_kind` has them ("NVIDIA H100 80GB HBM3"), on which kernels are proven, and
the fastest of them there. An entry needs a run of `python scripts/gpu_check.py` on such a device, its results in
`benchmarks/`, in which the kernel tests passed compiled and the rasterizer with that backend was `correct` and faster
than `xla`. None has run yet."""

_ELSEWHERE = "use backend='xla' or 'auto', which run anywhere"
_CAPABILITIES = {"triton": 8.0, "mosaic": 9.0}
_GENERATIONS = {8.0: "Ampere", 9.0: "Hopper"}


def resolve_backend(backend: Backend) -> Literal["xla", "triton", "mosaic"]:
    """Returns who renders on JAX's default device.

    Args:
        backend: what is asked for.

    Raises:
        ValueError: for a backend that does not exist.
        NotImplementedError: for one that the device cannot run.
    """
    match backend:
        case "auto":
            import jax

            return PROVEN.get(jax.devices()[0].device_kind, "xla")
        case "xla":
            return "xla"
        case "triton" | "mosaic":
            _check_device(backend)
            return backend
        case _:
            raise ValueError(f"backend must be 'auto', 'xla', 'triton' or 'mosaic', not {backend!r}")


def check_backend(backend: Backend) -> None:
    """Refuses a backend that cannot render here, before any work.

    Args:
        backend: what is asked for.

    Raises:
        UserError: saying what would do.
    """
    try:
        resolve_backend(backend)
    except (NotImplementedError, ValueError) as error:
        raise UserError(str(error)) from error


def describe_backend(backend: Backend) -> str:
    """Returns in words who renders, and whether that was asked for or chosen: "rendering by xla (auto, on cpu)".

    Args:
        backend: what is asked for, and can run here.
    """
    import jax

    why = "auto, " if backend == "auto" else ""
    return f"rendering by {resolve_backend(backend)} ({why}on {jax.devices()[0].device_kind})"


def _check_device(backend: str) -> None:
    """Raises a NotImplementedError if JAX's default device cannot run the backend."""
    import jax

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
