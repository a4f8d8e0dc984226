"""Compiled programs kept on disk, so that a second start does not compile again."""

import os
import pathlib
import platform
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from diffgs_jax.errors import UserError
from diffgs_jax.files import cache_folder, text_sha256


def use_compile_cache() -> pathlib.Path | None:
    """Makes JAX keep what it compiles in the user's cache folder, and returns the folder; None if there is none.

    What a user has set stands: `JAX_COMPILATION_CACHE_DIR` (or the JAX setting of that name) is another folder,
    `JAX_ENABLE_COMPILATION_CACHE=0` switches it off. Where the folder cannot be written, every start compiles, as
    without a cache. Small programs are kept too: there are dozens of them.
    """
    settings: Any = jax.config  # whose attributes are made at run time
    if not settings.jax_enable_compilation_cache:
        return None
    folder = settings.jax_compilation_cache_dir
    if folder is None:
        try:
            folder = str(cache_folder() / "compiled" / _processor())
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        except (OSError, UserError):
            return None
        if not os.access(folder, os.W_OK):
            return None
        jax.config.update("jax_compilation_cache_dir", folder)
        compilation_cache.reset_cache()  # or what was compiled before has settled that there is none
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return pathlib.Path(folder)


def _processor() -> str:
    """Returns a name for the kind of processor: machines that share a home folder may not run each other's programs."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        features = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        features = platform.processor()
    return f"{platform.machine()}-{text_sha256(features)[:8]}"
