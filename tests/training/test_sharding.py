"""The same losses however devices are arranged, in one process or two; rules and rendering on a mesh."""

import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.config import MeshConfig
from diffgs_jax.errors import UserError
from diffgs_jax.training import make_mesh, state_shardings
from diffgs_jax.training.step import accumulate_gradients

OWN = ["--model.diffusion.scheduled-sampling", "0.5"]
STEPS = ["--run.steps", "20", "--run.checkpoint-every", "10", *OWN]


@pytest.mark.long
def test_losses_do_not_depend_on_the_mesh_nor_on_the_number_of_processes(runs, tmp_path):
    """Twenty steps on 1 device, on 8 as 1×8, 2×4, 4×2 and 8×1, and on two processes of four."""
    runs.finish(runs.start(tmp_path / "one", *STEPS))
    expected = runs.losses(tmp_path / "one")
    assert len(expected) == 20
    for data, fsdp in ((8, 1), (4, 2), (2, 4), (1, 8)):
        folder = tmp_path / f"{data}x{fsdp}"
        shape = ["--mesh.data", str(data), "--mesh.fsdp", str(fsdp)]
        said = runs.finish(runs.start(folder, *STEPS, *shape, devices=8))
        assert f"data × fsdp = {data} × {fsdp}" in said
        same(runs.losses(folder), expected)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cluster = ["--cluster.join", "explicit", "--cluster.coordinator", f"127.0.0.1:{port}", "--cluster.processes", "2"]
    shape = ["--mesh.fsdp", "4"]
    pair = [
        runs.start(tmp_path / "two", *STEPS, *shape, *cluster, "--cluster.process", str(number), devices=4)
        for number in range(2)
    ]
    for process in pair:
        runs.finish(process)
    same(runs.losses(tmp_path / "two"), expected)

    # What eight devices saved, one continues.
    more = ["--run.steps", "21", *OWN]
    runs.finish(runs.start(tmp_path / "2x4", *more))
    runs.finish(runs.start(tmp_path / "one", *more))
    same(runs.losses(tmp_path / "2x4"), runs.losses(tmp_path / "one"))


def same(found: dict, expected: dict) -> None:
    assert list(found) == list(expected)
    np.testing.assert_allclose([loss for loss, _ in found.values()], [loss for loss, _ in expected.values()], rtol=1e-4)


def test_the_rule_divides_the_largest_axis_that_can_be():
    mesh = jax.sharding.AbstractMesh((2, 4), ("data", "fsdp"))
    shapes = {"wide": (24, 256, 1024), "odd": (3, 333, 7777), "small": (8, 8), "tall": (1000, 4, 64), "number": ()}
    tree = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    found = {name: tuple(sharding.spec) for name, sharding in state_shardings(tree, mesh).items()}
    assert found == {"wide": (None, None, "fsdp"), "odd": (), "small": (), "tall": ("fsdp",), "number": ()}


@pytest.mark.parametrize(("data", "fsdp"), [(3, 1), (0, 3), (2, 0)])
def test_a_mesh_that_does_not_fit_is_refused(data, fsdp):
    with pytest.raises(UserError, match="do not fit"):
        make_mesh(MeshConfig(data=data, fsdp=fsdp), jax.devices()[:1] * 4)


@pytest.mark.slow
def test_rendering_on_a_mesh_is_rendering(request):
    """Values and gradients of a batch over four devices; a batch that does not divide is rendered all the same."""
    script = """
import jax, jax.numpy as jnp, numpy as np
from diffgs_jax.geometry import Gaussians, orbit
from diffgs_jax.rasterizer import render, render_sharded
from diffgs_jax.config import MeshConfig
from diffgs_jax.training import batch_sharding, make_mesh
rng = np.random.default_rng(0)
def scene(b):
    n = 40
    leaves = rng.uniform(-.6, .6, (b, n, 3)), rng.normal(size=(b, n, 4)), rng.uniform(.02, .2, (b, n, 3))
    leaves += rng.uniform(.1, 1, (b, n)), rng.normal(size=(b, n, 1, 3))
    cameras = jax.tree.map(lambda x: np.broadcast_to(x, (b, *x.shape)), orbit(np.asarray([0., 120.])))
    return Gaussians(*(np.float32(leaf) for leaf in leaves)), cameras, np.float32(rng.uniform(size=(b, 2, 3)))
mesh = make_mesh(MeshConfig(fsdp=2))
for b in (4, 3):
    inputs = scene(b)
    def total(gaussians, cameras, background, draw):
        shown = draw(gaussians, cameras, height=9, width=11, background=background)
        return jnp.sum(shown.image ** 2) + jnp.sum(shown.depth), shown.image
    def run(draw):
        return jax.jit(jax.value_and_grad(lambda *x: total(*x, draw), argnums=(0, 1, 2), has_aux=True))
    expected = run(render)(*inputs)
    with jax.set_mesh(mesh):
        on_mesh = jax.device_put(inputs, batch_sharding(mesh)) if b == 4 else inputs
        program = run(render_sharded)
        found = program(*on_mesh)
        text = program.lower(*on_mesh).compile().as_text()
    def same(a, e):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(e).max()))
    jax.tree.map(same, found, expected)
    assert b != 4 or "all-gather" not in text, "devices exchange Gaussians"
"""
    command = [sys.executable, "-c", "import jax; jax.config.update('jax_num_cpu_devices', 4)" + script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=request.config.rootpath, timeout=900)
    assert done.returncode == 0, done.stderr


def test_accumulated_gradients_are_those_of_the_whole_batch():
    batch = {"x": jnp.arange(12.0).reshape(6, 2)}

    def loss(params, frozen, batch, key, step):
        value = jnp.mean((batch["x"] @ params["w"] - 1.0) ** 2)
        return value, {"loss": value}

    params = {"w": jnp.asarray([0.3, -0.2])}
    arguments = (params, {}, batch, jax.random.key(0), jnp.int32(0))
    expected = accumulate_gradients(loss, *arguments, 1)
    for parts in (2, 3, 6):
        found = jax.jit(lambda *x, parts=parts: accumulate_gradients(loss, *x, parts))(*arguments)
        jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5), found, expected)
    with pytest.raises(ValueError, match="do not divide"):
        accumulate_gradients(loss, *arguments, 4)
