"""Both rasterizers against an independent float64 one, with gradients (tests/golden/README.md)."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import Cameras, Gaussians, sh_from_color
from diffgs_jax.rasterizer import render, render_dense

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
GRADIENTS = ("means", "quats", "scales", "opacities", "colors", "w2c", "background")


def _render(renderer, values, golden):
    height, width = int(golden["height"]), int(golden["width"])
    intrinsics = np.asarray(golden["K"] / [width, height, width, height], np.float32)
    gaussians = Gaussians(
        values["means"], values["quats"], values["scales"], values["opacities"], sh_from_color(values["colors"])
    )
    # The golden pose is world-to-camera; ours is the other way round, and inverted again as a general matrix.
    cameras = Cameras(jnp.linalg.inv(values["w2c"]), intrinsics)
    return renderer(gaussians, cameras, height=height, width=width, background=values["background"])


@pytest.mark.parametrize("renderer", [render, render_dense])
@pytest.mark.parametrize("name", ["small", "dense"])
def test_images_and_gradients_are_the_golden_ones(name, renderer):
    golden = np.load(GOLDEN / f"raster_{name}.npz")
    values = {key: jnp.asarray(golden[key], jnp.float32) for key in GRADIENTS}

    def loss(values):
        rendering = _render(renderer, values, golden)
        total = sum(
            jnp.sum(getattr(rendering, key) * jnp.asarray(golden[f"cot_{key}"], jnp.float32))
            for key in ("image", "alpha", "depth")
        )
        return total, rendering

    gradients, rendering = jax.jit(jax.grad(loss, has_aux=True))(values)
    for key in ("image", "alpha", "depth"):
        error = np.abs(np.asarray(getattr(rendering, key), np.float64) - golden[key])
        assert np.mean(error < 1e-4) >= 0.995, f"{key}: {np.mean(error < 1e-4):.4f} of pixels within 1e-4"
    for key in GRADIENTS:
        # The last row of a pose is (0, 0, 0, 1) by definition, so only the other three have a meaning.
        expected, found = (values[:3] if key == "w2c" else values for values in (golden[f"grad_{key}"], gradients[key]))
        error = np.linalg.norm(np.asarray(found, np.float64) - expected) / np.linalg.norm(expected)
        assert error < 1e-3, f"gradient of {key}: relative error {error:.2e}"
