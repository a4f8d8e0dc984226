"""Geometry and rasterizer round no dot product: by default a GPU takes float32 ones in TF32, with 10 bits."""

import jax
import jax.numpy as jnp
import pytest

from diffgs_jax.geometry import Cameras, Gaussians, covariances, embed_rays, pixel_rays, sh_to_color, world_to_camera
from diffgs_jax.rasterizer import render, render_dense

SHAPE = jax.ShapeDtypeStruct
CAMERAS = Cameras(SHAPE((2, 3, 4, 4), jnp.float32), SHAPE((2, 3, 4), jnp.float32))
GAUSSIANS = Gaussians(
    *(SHAPE((2, 30, *inner), jnp.float32) for inner in ((3,), (4,), (3,), (), (16, 3))),
)


def dot_products(function, *inputs) -> list[str]:
    """The dot products of a function and of its gradient, as they are handed to the compiler."""

    def total(*inputs):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(function(*inputs)))

    gradient = jax.value_and_grad(total, argnums=tuple(range(len(inputs))))
    text = jax.jit(gradient).lower(*inputs).as_text()
    return [line.strip() for line in text.splitlines() if "dot_general" in line or "convolution" in line]


def test_a_dot_product_of_default_precision_is_found():
    assert len(dot_products(lambda a: a @ a, SHAPE((4, 4), jnp.float32))) == 3


@pytest.mark.parametrize("draw", [render, render_dense])
def test_rendering_asks_for_full_precision(draw):
    def shown(gaussians, cameras):
        settings = {"height": 16, "width": 24, "antialiased": True, "features": gaussians.scales}
        return draw(gaussians, cameras, **settings)._replace(radii=None)

    found = dot_products(shown, GAUSSIANS, CAMERAS)
    assert found and all("precision = [HIGHEST, HIGHEST]" in line for line in found), found


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        pytest.param(lambda cameras: embed_rays(pixel_rays(cameras, 6, 8), "rppc"), (CAMERAS,), id="rppc"),
        pytest.param(lambda cameras: embed_rays(pixel_rays(cameras, 6, 8), "plucker"), (CAMERAS,), id="plucker"),
        pytest.param(world_to_camera, (CAMERAS.camera_to_world,), id="world_to_camera"),
        pytest.param(covariances, (GAUSSIANS.rotations, GAUSSIANS.scales), id="covariances"),
        pytest.param(sh_to_color, (GAUSSIANS.sh, GAUSSIANS.means, SHAPE((2, 3), jnp.float32)), id="sh_to_color"),
    ],
)
def test_geometry_has_no_dot_products(function, inputs):
    assert not dot_products(function, *inputs)
