"""Rendering and rays of arrays whose types say how they are split over a mesh: the values of one device.

Run as a program, in a process of its own that has four devices.
"""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from diffgs_jax.geometry import (
    Cameras,
    Gaussians,
    covariances,
    embed_rays,
    orbit,
    pixel_rays,
    rotation_matrices,
    sh_to_color,
    world_to_camera,
)
from diffgs_jax.rasterizer import render, render_dense, render_sharded


@pytest.mark.long
def test_explicit_mesh_axes_change_no_value():
    found = subprocess.run([sys.executable, __file__], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-3000:]


def scene() -> tuple[Gaussians, Cameras, jax.Array]:
    """Four sets of Gaussians, two cameras each, a background for each camera."""
    rng = np.random.default_rng(0)
    gaussians = Gaussians(
        rng.uniform(-0.8, 0.8, (4, 20, 3)),
        rng.normal(size=(4, 20, 4)),
        rng.uniform(0.05, 0.3, (4, 20, 3)),
        rng.uniform(0.1, 1.0, (4, 20)),
        rng.normal(size=(4, 20, 4, 3)) * 0.3,
    )
    cameras = jax.tree.map(lambda leaf: np.stack([leaf] * 4), orbit(np.asarray([0.0, 120.0])))
    values = (gaussians, cameras, rng.uniform(size=(4, 2, 3)))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), values)


def split(mesh, values, *specs):
    return tuple(jax.device_put(tree, NamedSharding(mesh, spec)) for tree, spec in zip(values, specs, strict=True))


def assert_same(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 4)
    mesh = jax.make_mesh((2, 2), ("data", "fsdp"))
    assert set(mesh.axis_types) == {jax.sharding.AxisType.Explicit}
    values = scene()
    gaussians, cameras, background = values
    one_set = (jax.tree.map(lambda leaf: leaf[0], gaussians), *jax.tree.map(lambda leaf: leaf[:, 0], values[1:]))

    def loss(gaussians, cameras, background, draw):
        shown = draw(gaussians, cameras, height=9, width=9, background=background, features=gaussians.means)
        return jnp.sum(jnp.sin(3.0 * shown.image)) + jnp.sum(shown.depth) + jnp.sum(shown.features**2)

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)), static_argnums=3)
    geometry = jax.jit(
        lambda gaussians, cameras: (
            pixel_rays(cameras, 3, 5),
            [embed_rays(pixel_rays(cameras, 3, 5), kind) for kind in ("rppc", "plucker")],
            world_to_camera(cameras.camera_to_world),
            rotation_matrices(gaussians.rotations),
            covariances(gaussians.rotations, gaussians.scales),
            sh_to_color(gaussians.sh, gaussians.means, jnp.full((4, 3), 2.0)),
        )
    )
    expected, expected_geometry = gradient(*values, render), geometry(gaussians, cameras)
    expected_one = gradient(*one_set, render)
    everywhere = P(("data", "fsdp"))
    with jax.set_mesh(mesh):
        # Sets of Gaussians on all devices, on half of them, or Gaussians of a set and their cameras split as well.
        for specs in ((everywhere,) * 3, (P("data"),) * 3, (P("data", "fsdp"), P("data", "fsdp"), P("data"))):
            placed = split(mesh, values, *specs)
            assert_same(gradient(*placed, render), expected)
            assert_same(geometry(*placed[:2]), expected_geometry)
        for specs in ((P(), P(), P()), (P("fsdp"),) * 3):
            assert_same(gradient(*split(mesh, values, *specs), render_sharded), expected)
        assert_same(gradient(*split(mesh, values, *(P("data"),) * 3), render_dense), expected)
        # One set for cameras on all devices; by its type so is the image.
        placed = split(mesh, one_set, P(), everywhere, P())
        assert_same(gradient(*placed, render), expected_one)
        image = jax.jit(lambda *scene: render(*scene, height=9, width=9).image)(*placed[:2])
        assert image.sharding.spec[0] == ("data", "fsdp")
    # Without a mesh in context, arrays bring theirs.
    placed = split(mesh, values[:2], P("data"), P("data"))
    shown = render(*placed, height=9, width=9, background=0.5).image
    assert_same(shown, render(gaussians, cameras, height=9, width=9, background=0.5).image)


if __name__ == "__main__":
    main()
