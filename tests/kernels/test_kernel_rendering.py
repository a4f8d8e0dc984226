"""Rendering through the kernels, against the golden rasterizer and the pure-JAX path."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import Cameras, Gaussians, sh_from_color
from diffgs_jax.rasterizer import render, rendering
from diffgs_jax.rasterizer._launchers import choose_launcher, kernel_launcher

HEIGHT, WIDTH = 21, 37
GRADIENTS = ("means", "quats", "scales", "opacities", "colors", "w2c", "background")


@pytest.fixture
def backend(launcher, interpret, monkeypatch):
    """Makes `render` blend with the kernels, which it refuses to do without a GPU."""
    found = kernel_launcher(launcher, interpret=interpret)
    choose = rendering.choose_launcher
    monkeypatch.setattr(rendering, "choose_launcher", lambda name: found if name == launcher else choose(name))
    return launcher


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


def value_and_gradients(scene, **settings):
    gradients, images = jax.jit(jax.grad(functools.partial(loss, **settings), has_aux=True))(scene)
    return images, gradients


def loss(scene, *, backend, capacity=None, one_camera_at_a_time=False):
    gaussians, cameras, features, background = scene
    settings = {"height": HEIGHT, "width": WIDTH, "background": background, "capacity": capacity}
    draw = functools.partial(render, features=features, backend=backend, **settings)
    if one_camera_at_a_time:
        images = jax.vmap(lambda camera: draw(gaussians, camera), in_axes=1, out_axes=1)(cameras)
    else:
        images = draw(gaussians, cameras)
    weights = jax.tree.map(lambda values: jnp.cos(jnp.arange(values.size) * 0.7).reshape(values.shape), images)
    return sum(jax.tree.leaves(jax.tree.map(lambda values, w: jnp.sum(values * w), images, weights))), images


@pytest.fixture(scope="module")
def expected():
    return value_and_gradients(random_scene(), backend="xla")


@pytest.mark.parametrize(
    "capacity",
    [
        pytest.param(None, id="one pass", marks=pytest.mark.long),
        pytest.param(40, id="many passes", marks=pytest.mark.slow),
    ],
)
def test_images_and_gradients_are_those_of_plain_jax(backend, interpret, expected, capacity):
    # All cameras in one launch, or vmapped over them; Mosaic's interpreter cannot be vmapped, only its kernels can.
    one_camera_at_a_time = capacity is not None and not (interpret and backend == "mosaic")
    settings = {"capacity": capacity, "one_camera_at_a_time": one_camera_at_a_time}
    images, gradients = value_and_gradients(random_scene(), backend=backend, **settings)
    expected_images, expected_gradients = expected
    for name in ("image", "alpha", "depth", "features"):
        error = np.abs(getattr(images, name) - getattr(expected_images, name))
        assert np.mean(error < 1e-4) >= 0.995, f"{name}: {np.mean(error < 1e-4):.4f} within 1e-4"
    paths = jax.tree_util.tree_flatten_with_path(expected_gradients)[0]
    for (path, values), found in zip(paths, jax.tree.leaves(gradients), strict=True):
        error = np.linalg.norm(found - values) / np.linalg.norm(values)
        assert error < 1e-3, f"{jax.tree_util.keystr(path)}: relative error {error:.1e}"


@pytest.mark.parametrize("name", ["raster_small", pytest.param("raster_dense", marks=pytest.mark.long)])
def test_images_and_gradients_are_the_golden_ones(backend, golden_folder, name):
    golden = np.load(golden_folder / f"{name}.npz")
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
            backend=backend,
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


@pytest.mark.parametrize("one_camera_at_a_time", [False, True])
def test_rendering_and_its_gradient_lower_for_cuda(monkeypatch, launcher, naming_a_gpu, one_camera_at_a_time):
    monkeypatch.setattr(rendering, "choose_launcher", kernel_launcher)
    scene = jax.tree.map(lambda values: jax.ShapeDtypeStruct(values.shape, values.dtype), random_scene())
    settings = {"backend": launcher, "capacity": 40, "one_camera_at_a_time": one_camera_at_a_time}
    gradient = jax.jit(jax.grad(functools.partial(loss, **settings), has_aux=True))
    with naming_a_gpu:
        lowered = gradient.trace(scene).lower(lowering_platforms=("cuda",)).as_text()
    in_triton = {"add_rows"}
    if launcher == "mosaic":
        assert lowered.count("@mosaic_gpu") >= 2
    else:
        in_triton |= {"blend_pass", "blend_pass_backward"}
    assert "__gpu$xla.gpu.triton" in lowered
    for kernel in in_triton:
        assert f'name = "{kernel}"' in lowered


@pytest.mark.parametrize("backend", ["triton", "mosaic"])
@pytest.mark.skipif(jax.default_backend() == "gpu", reason="the backends are available")
def test_a_backend_that_is_not_available_says_what_to_do(backend):
    gaussians, cameras, _, _ = random_scene(count=6)
    with pytest.raises(NotImplementedError, match="use backend='xla'"):
        render(gaussians, cameras, height=4, width=4, backend=backend)


def test_an_older_gpu_is_told_what_it_can_do(monkeypatch):
    class Ampere:
        device_kind = "NVIDIA A100"
        compute_capability = "8.0"

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [Ampere])
    assert choose_launcher("triton") == kernel_launcher("triton")
    with pytest.raises(NotImplementedError, match="9.0 .*NVIDIA A100.*backend='triton'"):
        choose_launcher("mosaic")
    monkeypatch.setattr(Ampere, "compute_capability", "9.0")
    assert choose_launcher("mosaic") == kernel_launcher("mosaic")
