"""Input that a network gone wrong or a careless user sends: none of it may hang or crash, all of it has a meaning."""

import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import Cameras, Gaussians, covariances, orbit, sh_from_color
from diffgs_jax.rasterizer import Projection, project, render

CAMERA = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), orbit(np.asarray([0.0])))


def crowd(count: int, opacity: float = 0.5, scale: float = 0.001) -> Gaussians:
    """Gaussians all at the origin, ever lighter from front to back, which is by index."""
    grey = jnp.linspace(0.1, 1.0, count)
    return Gaussians(
        jnp.zeros((count, 3)),
        jnp.tile(jnp.asarray([[1.0, 0.0, 0.0, 0.0]]), (count, 1)),
        jnp.full((count, 3), scale),
        jnp.full(count, opacity),
        sh_from_color(jnp.tile(grey[:, None], (1, 3))),
    )


@pytest.mark.long
def test_a_million_gaussians_on_one_pixel():
    """Only the first few are seen: with alpha a, the k-th has weight a (1 − a)^k, until light would go under 1e-4."""
    count, alpha = 1_000_000, 0.5
    run = jax.jit(jax.value_and_grad(lambda g: render(g, CAMERA, height=33, width=33, background=0.0).image[16, 16, 0]))
    value, gradient = run(crowd(count, alpha))
    blended = int(np.floor(np.log(1e-4) / np.log(1 - alpha)))
    weights = alpha * (1 - alpha) ** np.arange(blended)
    assert value == pytest.approx(float(np.sum(weights * np.linspace(0.1, 1.0, count)[:blended])), rel=1e-3)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    by_color = np.asarray(gradient.sh)[:, 0, 0]
    np.testing.assert_allclose(by_color[:blended], weights * 0.28209479, rtol=1e-3)
    np.testing.assert_array_equal(by_color[blended:], 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (1, 4096), (4096, 1)])
def test_extreme_image_sizes(size):
    height, width = size
    camera = Cameras(CAMERA.camera_to_world, jnp.asarray([0.9 * max(size) / width, 0.9 * max(size) / height, 0.5, 0.5]))
    shown = jax.jit(lambda g: render(g, camera, height=height, width=width))(crowd(3, 0.9, 0.05))
    assert shown.image.shape == (height, width, 3)
    assert np.isfinite(shown.image).all()
    center = shown.alpha[height // 2, width // 2]
    assert center == pytest.approx(1 - 0.1**3, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", [*Gaussians._fields, "features"])
def test_what_is_not_finite_is_left_out_of_picture_and_gradients(field, value):
    rng = np.random.default_rng(0)
    count, broken = 12, 5
    leaves = {
        "means": rng.uniform(-0.5, 0.5, (count, 3)),
        "rotations": rng.normal(size=(count, 4)),
        "scales": rng.uniform(0.05, 0.3, (count, 3)),
        "opacities": rng.uniform(0.2, 0.9, count),
        "sh": rng.normal(size=(count, 4, 3)),
        "features": rng.normal(size=(count, 2)),
    }
    leaves = {name: np.asarray(leaf, np.float32) for name, leaf in leaves.items()}
    without = {name: np.delete(leaf, broken, axis=0) for name, leaf in leaves.items()}
    leaves[field].reshape(count, -1)[broken, 0] = value

    def total(leaves: dict, camera: Cameras) -> jax.Array:
        features = leaves.pop("features")
        shown = render(Gaussians(**leaves), camera, height=9, width=9, features=features)
        return jnp.sum(jnp.sin(3 * shown.image)) + jnp.sum(shown.features) + jnp.sum(shown.depth)

    run = _compiled(total)
    found, (found_leaves, found_pose) = run(leaves, CAMERA)
    expected, (expected_leaves, expected_pose) = run(without, CAMERA)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), found_pose, expected_pose)
    for name, gradient in found_leaves.items():
        np.testing.assert_array_equal(gradient[broken], 0.0, err_msg=name)
        np.testing.assert_allclose(np.delete(gradient, broken, axis=0), expected_leaves[name], rtol=1e-3, atol=1e-4)


_programs: dict[str, object] = {}


def _compiled(total):
    """Compiles once for all parameters of the test."""
    return _programs.setdefault(
        "total", jax.jit(jax.value_and_grad(lambda leaves, camera: total(dict(leaves), camera), argnums=(0, 1)))
    )


@pytest.mark.slow
def test_a_camera_that_is_not_finite_sees_the_background():
    poses = CAMERA.camera_to_world.at[0, 3].set(jnp.nan)
    shown = jax.jit(lambda pose: render(crowd(3), CAMERA._replace(camera_to_world=pose), height=5, width=5))(poses)
    np.testing.assert_array_equal(shown.image, 1.0)
    np.testing.assert_array_equal(shown.alpha, 0.0)


def blend_in_numpy(seen: Projection, opacities: np.ndarray, pixel: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Returns the weight of every Gaussian at one pixel, and the light left, in float64 and one after the other."""
    row, column = pixel
    offset = np.asarray([column + 0.5, row + 0.5]) - np.asarray(seen.means, np.float64)
    xx, xy, yy = np.asarray(seen.conics, np.float64).T
    power = 0.5 * (xx * offset[:, 0] ** 2 + yy * offset[:, 1] ** 2) + xy * offset[:, 0] * offset[:, 1]
    alphas = np.minimum(0.99, opacities * np.exp(-power))
    alphas[(alphas < 1 / 255) | ~np.asarray(seen.is_visible)] = 0.0
    weights, light = np.zeros(len(alphas)), 1.0
    for index in np.argsort(np.asarray(seen.depths), kind="stable"):
        if alphas[index] and light * (1 - alphas[index]) < 1e-4:
            break
        weights[index], light = light * alphas[index], light * (1 - alphas[index])
    return weights, light


@pytest.mark.long
def test_an_untrained_network_renders_within_bounds_and_exactly(tmp_path):
    """262,144 wide, faint Gaussians in 8 views at 256²: gradient within 1.5 GB, and the definition's pixels."""
    root = pathlib.Path(__file__).parents[2]
    command = ["scripts/bench_rasterizer.py", "--workload", "heavy", "--views", "8", "--rounds", "1"]
    subprocess.run([sys.executable, *command, "--out", tmp_path / "line.jsonl"], cwd=root, check=True)
    assert json.loads((tmp_path / "line.jsonl").read_text())["memory_mb"]["gradient"] < 1500

    rng = np.random.default_rng(0)
    count, side = 4 * 256**2, 256
    direction = rng.normal(size=(count, 3))
    means = direction / np.linalg.norm(direction, axis=1, keepdims=True) * rng.choice([0.7, 1.2], (count, 1))
    gaussians = Gaussians(
        jnp.asarray(means, jnp.float32),
        jnp.asarray(rng.normal(size=(count, 4)), jnp.float32),
        jnp.full((count, 3), 0.1),
        jnp.full(count, 0.12),
        sh_from_color(jnp.asarray(rng.random((count, 3)), jnp.float32)),
    )
    cameras = jax.tree.map(jnp.asarray, orbit(np.arange(8) * 45.0))
    shown = jax.jit(lambda g: render(g, cameras, height=side, width=side, background=0.0))(gaussians)
    spread = covariances(gaussians.rotations, gaussians.scales)
    colors = np.asarray(gaussians.sh[:, 0] * 0.28209479177 + 0.5, np.float64)
    for view in (0, 5):
        camera = jax.tree.map(lambda leaf: leaf[view], cameras)  # noqa: B023 (used at once)
        seen = project(gaussians.means, spread, gaussians.opacities, camera, height=side, width=side)
        for pixel in [(0, 0), (3, 200), (128, 128), (100, 57), (255, 130), (255, 255)]:
            weights, light = blend_in_numpy(seen, np.asarray(gaussians.opacities, np.float64), pixel)
            np.testing.assert_allclose(shown.image[view][pixel], weights @ colors, atol=3e-4)
            np.testing.assert_allclose(shown.alpha[view][pixel], 1 - light, atol=1e-4)
