"""LPIPS against the original PyTorch network (tests/golden/README.md), and its properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import arrays_sha256
from diffgs_jax.models import losses as perceptual

NETWORKS = ["alex", "vgg"]


@pytest.fixture(scope="module")
def golden(request):
    with np.load(request.config.rootpath / "tests" / "golden" / "lpips.npz") as file:
        return dict(file)


@pytest.fixture(scope="module", params=NETWORKS)
def published(request):
    """A network's name and weights, if they were fetched."""
    if not perceptual.is_installed(request.param):
        pytest.skip("the weights of LPIPS are not installed: python scripts/fetch_lpips.py")
    return request.param, perceptual.load_lpips(request.param)


def random_weights(network):
    """Weights of the right shapes: what does not depend on the values is tested without fetching anything."""
    rng = np.random.default_rng(0)
    if network == "vgg":
        widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
        sides, heads = [3] * 13, [64, 128, 256, 512, 512]
    else:
        widths, sides, heads = [3, 64, 192, 384, 256, 256], [11, 5, 3, 3, 3], [64, 192, 384, 256, 256]
    shapes = [(side, side, *pair) for side, pair in zip(sides, zip(widths, widths[1:], strict=False), strict=True)]
    return {
        "kernels": tuple(rng.normal(0, np.sqrt(2 / np.prod(s[:3])), s).astype(np.float32) for s in shapes),
        "biases": tuple(np.zeros(s[3], np.float32) for s in shapes),
        "heads": tuple(rng.uniform(0, 1, n).astype(np.float32) for n in heads),
    }


@jax.jit
def distances(weights, a, b):
    """The distance of each pair and the gradient of their sum, compiled once for each shape."""

    def total(a):
        each = perceptual.lpips(weights, a, b)
        return jnp.sum(each), each

    gradient, each = jax.grad(total, has_aux=True)(a)
    return each, gradient


def test_lpips_and_its_gradient_are_those_of_the_original_network(published, golden):
    network, weights = published
    a, b = (golden[name].astype(np.float32) / 255 for name in "ab")
    value, gradient = distances(weights, a, b)
    np.testing.assert_allclose(value, golden[f"{network}/lpips"], atol=1e-4)
    # A maximum or a ReLU that is decided by the last bit moves the gradient of the pixels under it, and only theirs.
    expected = golden[f"{network}/gradient"]
    assert np.linalg.norm(gradient[:2] - expected) / np.linalg.norm(expected) < 1e-2
    height, width = golden[f"{network}/small_size"]
    small = jax.jit(perceptual.lpips)(weights, a[:, :height, :width], b[:, :height, :width])
    np.testing.assert_allclose(small, golden[f"{network}/small"], atol=1e-4)
    assert perceptual.smallest_size(network) == height


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_equal_pictures_have_neither_distance_nor_gradient_and_others_have_both(network):
    weights, size, rng = random_weights(network), perceptual.smallest_size(network), np.random.default_rng(1)
    noise = rng.random((2, size, size, 3), np.float32)
    partly = np.where(np.arange(size)[:, None, None] < size // 2, noise[0], noise[1])
    a, b = np.stack([noise[0], noise[0], partly]), np.stack([noise[0], partly, noise[0]])
    value, gradient = distances(weights, a, b)
    # Compiled, the two pictures' programs round differently, by one bit here and there.
    np.testing.assert_allclose(value[0], 0, atol=1e-12)
    np.testing.assert_allclose(gradient[0], 0, atol=1e-5)
    assert np.all(value[1:] > 0) and np.all(np.isfinite(gradient))
    assert np.all(np.any(gradient[1:] != 0, axis=(1, 2, 3)))
    np.testing.assert_allclose(value[1], value[2], rtol=1e-5)  # either way round

    # Where no feature is above zero, the derivative of the root must not make the gradient NaN.
    dead = weights | {"biases": (np.full_like(weights["biases"][0], -1e3), *weights["biases"][1:])}
    value, gradient = distances(dead, a, b)
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("network", NETWORKS)
def test_pictures_that_vanish_in_the_network_are_refused(network):
    size = perceptual.smallest_size(network)
    small = np.zeros((1, size - 1, 64, 3), np.float32)
    with pytest.raises(ValueError, match=f"at least {size} x {size} pixels, not {size - 1} x 64"):
        perceptual.lpips(random_weights(network), small, small)


def test_missing_weights_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFGS_JAX_CACHE", str(tmp_path))
    assert not perceptual.is_installed("vgg")
    with pytest.raises(UserError, match="python scripts/fetch_lpips.py"):
        perceptual.load_lpips("vgg")


def test_foreign_or_damaged_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFGS_JAX_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="not the published weights"):
        perceptual.save_lpips("alex", random_weights("alex"))
    path = perceptual.weights_file("alex")
    for content in [b"", b"not a zip file"]:
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            perceptual.load_lpips("alex")
    for arrays in [{"kernels/0": np.zeros(3)}, {}, {"kernels/7": np.zeros(3), "other": np.zeros(1)}]:
        np.savez(path, **arrays)
        with pytest.raises(DataError, match="does not hold the published weights"):
            perceptual.load_lpips("alex")


def test_what_is_saved_is_what_is_loaded(published, tmp_path, monkeypatch):
    network, weights = published
    monkeypatch.setenv("DIFFGS_JAX_CACHE", str(tmp_path))
    assert perceptual.save_lpips(network, weights) == tmp_path / f"lpips_{network}.npz"
    assert [path.name for path in tmp_path.iterdir()] == [f"lpips_{network}.npz"]
    assert arrays_sha256(perceptual.load_lpips(network)) == arrays_sha256(weights)
