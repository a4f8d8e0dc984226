import jax
import pytest


@pytest.fixture
def doubles():
    """Float64 arrays; rank promotion stays refused."""
    with jax.enable_x64(True):
        yield
