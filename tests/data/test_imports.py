"""Settings cost nothing to import; everything else is there when it is asked for."""

import importlib
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import diffgs_jax, lazy_loader
before = set(sys.modules)
import diffgs_jax.data.config, diffgs_jax.datasets.options
diffgs_jax.data.DataConfig
new = set(sys.modules) - before
print(*sorted(name for name in new if name.split(".")[0] not in sys.stdlib_module_names))
"""


def test_settings_of_the_data_import_nothing_else():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    ours = ["data", "data.config", "datasets", "datasets.options"]
    assert done.stdout.split() == [f"diffgs_jax.{name}" for name in ours]


@pytest.mark.parametrize("package", ["diffgs_jax.data", "diffgs_jax.datasets"])
def test_every_name_of_a_package_is_there(package):
    module = importlib.import_module(package)
    assert module.__all__ and set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError):
        module.nothing_of_that_name  # noqa: B018
