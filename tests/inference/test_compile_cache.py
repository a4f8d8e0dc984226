"""The second start of a program finds what the first compiled."""

import os
import subprocess
import sys

PROGRAM = """
import jax
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
jax.jit(lambda x: x + 2)(1.0)  # compiled before there is a cache, which must not settle that there is none
from diffgs_jax.inference.compile_cache import use_compile_cache
folder = use_compile_cache()
jax.jit(lambda x: jax.numpy.sort(x * 3) @ x)(jax.numpy.arange(64.0))
print(folder, events.count("/jax/compilation_cache/cache_hits"), events.count("/jax/compilation_cache/cache_misses"))
"""


def start(**settings):
    """Runs the program and returns (folder, hits, misses)."""
    ours = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    environment = {name: value for name, value in os.environ.items() if name not in ours} | settings
    said = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    folder, hits, misses = said.stdout.split()
    return folder, int(hits), int(misses)


def test_second_start(tmp_path):
    folder, hits, misses = start(DIFFGS_JAX_CACHE=str(tmp_path / "cache"))
    assert folder.startswith(str(tmp_path / "cache" / "compiled")) and hits == 0 and misses > 0
    assert start(DIFFGS_JAX_CACHE=str(tmp_path / "cache")) == (folder, misses, 0)


def test_what_the_user_has_set_stands(tmp_path):
    folder, _, misses = start(DIFFGS_JAX_CACHE=str(tmp_path / "ours"), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"))
    assert folder == str(tmp_path / "mine") and misses and not (tmp_path / "ours").exists()
    off = start(DIFFGS_JAX_CACHE=str(tmp_path / "ours"), JAX_ENABLE_COMPILATION_CACHE="0")
    assert off == ("None", 0, 0) and not (tmp_path / "ours").exists()


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert start(DIFFGS_JAX_CACHE=str(tmp_path / "file" / "cache")) == ("None", 0, 0)
