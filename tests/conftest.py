import jax
import pytest

# Silent broadcasting of different ranks hides shape mistakes.
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def golden_folder(request):
    return request.config.rootpath / "tests" / "golden"
