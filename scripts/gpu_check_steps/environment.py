"""Reports the machine: device, driver, versions, commit, and which packages are missing."""

import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import shutil
import subprocess

from gpu_check_steps.reporting import report

_VERSIONS = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "torch", "gsplat")
_NEEDED = (
    *("flax", "optax", "orbax", "grain", "tyro", "cattrs", "array_record", "jaxtyping", "lazy_loader"),
    *("msgpack", "scipy", "PIL", "imageio", "tqdm", "filelock"),
)
_WANTED = ("beartype", "pytest", "tensorboardX", "gsplat")


def main() -> None:
    """Reports; the packages first, because JAX may not even start."""
    missing = [name for name in (*_NEEDED, *_WANTED) if importlib.util.find_spec(name) is None]
    report(
        commit=os.environ.get("GPU_CHECK_COMMIT")
        or _output(["git", "-C", str(pathlib.Path(__file__).parent), "describe", "--always", "--dirty"]),
        python=platform.python_version(),
        cores=os.cpu_count(),
        driver=_output(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]),
        versions={name: _version(name) for name in _VERSIONS},
        missing=missing,
    )
    import jax

    device = jax.devices()[0]
    memory = (device.memory_stats() or {}).get("bytes_limit", 0)
    report(
        device=device.device_kind,
        devices=jax.device_count(),
        platform=jax.default_backend(),
        capability=str(getattr(device, "compute_capability", "")),
        memory_gb=round(memory / 1e9, 1),
    )


def _output(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip().split("\n")[0]
    except subprocess.TimeoutExpired:
        return ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
