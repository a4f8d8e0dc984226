"""Rendering through the kernels, against the golden rasterizer and the pure-JAX path.

Interpreted where there is no GPU; on a GPU the same tests run the compiled kernels.
"""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import Cameras, Gaussians, sh_from_color
from diffgs_jax.rasterizer import render, rendering
from diffgs_jax.rasterizer._launchers import triton_launcher

HEIGHT, WIDTH = 21, 37
GRADIENTS = ("means", "quats", "scales", "opacities", "colors", "w2c", "background")


@pytest.fixture
def kernels(monkeypatch):
    """Makes `render` blend with the kernels, which it refuses to do without a GPU."""
    launcher = triton_launcher(interpret=jax.default_backend() != "gpu")
    choose = rendering.choose_launcher
    monkeypatch.setattr(rendering, "choose_launcher", lambda name: launcher if name == "triton" else choose(name))


def look_at_origin(azimuth):
    sine, cosine = np.sin(azimuth), np.cos(azimuth)
    right, forward = np.asarray([cosine, 0, sine]), np.asarray([-sine, 0, cosine])
    pose = np.eye(4)
    pose[:3, :4] = np.stack([right, [0, 1, 0], forward, -3 * forward], axis=1)
    return pose


def random_scene(seed=0, count=40):
    """Two cameras around Gaussians of all kinds: faint, opaque, huge, tiny, behind the camera, beside the image."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(count, 3)) * 0.7
    means[:3] = [[0, 0, -9], [9, 0, 0], [0, 0, 0]]
    scales = np.exp(rng.uniform(-4, -0.7, (count, 3)))
    scales[2:4] = [[30, 30, 30], [1e-5, 1e-5, 1e-5]]
    opacities = rng.uniform(0.1, 1.0, count)
    opacities[4:6] = [0.0, 1.0]
    gaussians = Gaussians(means, rng.normal(size=(count, 4)), scales, opacities, rng.normal(size=(count, 4, 3)) * 0.5)
    cameras = Cameras(
        np.stack([look_at_origin(0.0), look_at_origin(2.0)]), np.asarray([[0.8, 1.4, 0.5, 0.5], [1.0, 1.7, 0.45, 0.6]])
    )
    to_float32 = functools.partial(jax.tree.map, lambda values: jnp.asarray(values, jnp.float32))
    # A leading axis of one for the batch: [1, n] Gaussians seen by [1, 2] cameras.
    gaussians, cameras = jax.tree.map(lambda values: values[None], (to_float32(gaussians), to_float32(cameras)))
    features = jnp.asarray(rng.normal(size=(1, count, 2)), jnp.float32)
    return gaussians, cameras, features, jnp.asarray([0.2, 0.9, 0.4])


def value_and_gradients(scene, *, backend, capacity=None, one_camera_at_a_time=False):
    def render_views(gaussians, cameras, features, background):
        settings = {"height": HEIGHT, "width": WIDTH, "background": background, "capacity": capacity}
        draw = functools.partial(render, features=features, backend=backend, **settings)
        if not one_camera_at_a_time:
            return draw(gaussians, cameras)
        return jax.vmap(lambda camera: draw(gaussians, camera), in_axes=1, out_axes=1)(cameras)

    def loss(scene):
        images = render_views(*scene)
        weights = jax.tree.map(lambda values: jnp.cos(jnp.arange(values.size) * 0.7).reshape(values.shape), images)
        return sum(jax.tree.leaves(jax.tree.map(lambda values, w: jnp.sum(values * w), images, weights))), images

    gradients, images = jax.jit(jax.grad(loss, has_aux=True))(scene)
    return images, gradients


@pytest.fixture(scope="module")
def expected():
    return value_and_gradients(random_scene(), backend="xla")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="one pass, all cameras in one launch"),
        pytest.param({"capacity": 40, "one_camera_at_a_time": True}, id="many passes, under vmap"),
    ],
)
def test_images_and_gradients_are_those_of_plain_jax(kernels, expected, settings):
    images, gradients = value_and_gradients(random_scene(), backend="triton", **settings)
    expected_images, expected_gradients = expected
    for name, values in expected_images._asdict().items():
        error = np.abs(getattr(images, name) - values)
        assert np.mean(error < 1e-4) >= 0.995, f"{name}: {np.mean(error < 1e-4):.4f} within 1e-4"
    paths = jax.tree_util.tree_flatten_with_path(expected_gradients)[0]
    for (path, values), found in zip(paths, jax.tree.leaves(gradients), strict=True):
        error = np.linalg.norm(found - values) / np.linalg.norm(values)
        assert error < 1e-3, f"{jax.tree_util.keystr(path)}: relative error {error:.1e}"


def test_images_and_gradients_are_the_golden_ones(kernels, golden_folder):
    golden = np.load(golden_folder / "raster_small.npz")
    height, width = int(golden["height"]), int(golden["width"])
    intrinsics = jnp.asarray(golden["K"] / [width, height, width, height], jnp.float32)
    values = {key: jnp.asarray(golden[key], jnp.float32) for key in GRADIENTS}

    def loss(values):
        gaussians = Gaussians(
            values["means"], values["quats"], values["scales"], values["opacities"], sh_from_color(values["colors"])
        )
        images = render(
            gaussians,
            Cameras(jnp.linalg.inv(values["w2c"]), intrinsics),
            height=height,
            width=width,
            background=values["background"],
            backend="triton",
        )
        keys = ("image", "alpha", "depth")
        return sum(jnp.sum(getattr(images, key) * golden[f"cot_{key}"].astype(np.float32)) for key in keys), images

    gradients, images = jax.jit(jax.grad(loss, has_aux=True))(values)
    for key in ("image", "alpha", "depth"):
        error = np.abs(np.asarray(getattr(images, key), np.float64) - golden[key])
        assert np.mean(error < 1e-4) >= 0.995, f"{key}: {np.mean(error < 1e-4):.4f} of pixels within 1e-4"
    for key in GRADIENTS:
        # The last row of a pose is (0, 0, 0, 1) by definition, so only the other three have a meaning.
        expected, found = (array[:3] if key == "w2c" else array for array in (golden[f"grad_{key}"], gradients[key]))
        error = np.linalg.norm(np.asarray(found, np.float64) - expected) / np.linalg.norm(expected)
        assert error < 1e-3, f"gradient of {key}: relative error {error:.2e}"


def test_rendering_and_its_gradient_lower_for_cuda(monkeypatch):
    monkeypatch.setattr(rendering, "choose_launcher", lambda name: triton_launcher())
    scene = jax.tree.map(lambda values: jax.ShapeDtypeStruct(values.shape, values.dtype), random_scene())

    def loss(scene):
        gaussians, cameras, features, background = scene
        images = render(gaussians, cameras, height=HEIGHT, width=WIDTH, background=background, features=features)
        return sum(jnp.sum(values) for values in images)

    with naming_a_gpu():
        lowered = jax.jit(jax.value_and_grad(loss)).trace(scene).lower(lowering_platforms=("cuda",)).as_text()
    assert "__gpu$xla.gpu.triton" in lowered
    for kernel in ("blend_pass", "blend_pass_backward", "sum_rows"):
        assert f'name = "{kernel}"' in lowered


def naming_a_gpu():
    """Since jax 0.11 the Triton lowering asks what GPU it is for."""
    if jax.__version_info__ < (0, 11):
        return contextlib.nullcontext()
    gpu = jax.sharding.AbstractDevice("NVIDIA H100", None, "gpu")
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("x",), abstract_device=gpu))


@pytest.mark.parametrize("backend", ["triton", "mosaic"])
@pytest.mark.skipif(jax.default_backend() == "gpu", reason="the Triton backend is available")
def test_a_backend_that_is_not_available_says_what_to_do(backend):
    gaussians, cameras, _, _ = random_scene(count=6)
    with pytest.raises(NotImplementedError, match="use backend='xla'"):
        render(gaussians, cameras, height=4, width=4, backend=backend)
