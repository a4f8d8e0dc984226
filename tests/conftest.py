import os
import shutil
import tempfile

# Most of the suite's time goes into compiling, often the same program again in a process of its own: share the results.
CACHE = tempfile.mkdtemp(prefix="diffgs-compiled-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# Programs of tests run once or twice: without LLVM's expensive passes the suite takes half as long. Set it to 0 to test
# the programs that users get.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax  # noqa: E402
import pytest  # noqa: E402

# Silent broadcasting of different ranks hides shape mistakes.
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=1, help="how often tests/training/test_kills.py kills a run")


def pytest_collection_modifyitems(items):
    """Puts the longest files first, so that no core waits for one of them at the end."""
    items.sort(key=lambda item: "tests/training/" not in item.nodeid)


def pytest_unconfigure():
    shutil.rmtree(CACHE, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Programs of one file are rarely those of another, and kept they would take gigabytes of a process."""
    yield
    jax.clear_caches()


@pytest.fixture
def golden_folder(request):
    return request.config.rootpath / "tests" / "golden"
