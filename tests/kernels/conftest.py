import contextlib

import jax
import pytest

LAUNCHERS = ("triton", "mosaic")


@pytest.fixture(scope="session")
def interpret():
    """Interpreted where there is no GPU; on a GPU the same tests run the compiled kernels."""
    return jax.default_backend() != "gpu"


@pytest.fixture(params=LAUNCHERS, scope="session")
def launcher(request, interpret):
    if not interpret and request.param == "mosaic" and float(jax.devices()[0].compute_capability) < 9.0:
        pytest.skip("Mosaic needs a GPU of compute capability 9.0 or more")
    return request.param


@pytest.fixture
def naming_a_gpu():
    """A context in which programs are lowered for a GPU that is not there: since jax 0.11 Pallas asks which."""
    if jax.__version_info__ < (0, 11):
        return contextlib.nullcontext()
    gpu = jax.sharding.AbstractDevice("NVIDIA H100", None, "gpu")
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("x",), abstract_device=gpu))
