"""No finite input may put a NaN into a gradient, no input may hang, and bad shapes are named."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import Cameras, Gaussians, orbit
from diffgs_jax.rasterizer import render, render_dense

COUNT = 24
EXTREMES = [0.0, 1e-38, -1e-20, 1e-6, 0.01, -1.0, 1.0, 1e4, -1e10, 1e18, 3e38, -3e38]


def scene(seed: int = 0) -> tuple[Gaussians, Cameras]:
    rng = np.random.default_rng(seed)
    gaussians = Gaussians(
        rng.uniform(-1, 1, (COUNT, 3)),
        rng.normal(size=(COUNT, 4)),
        rng.uniform(0.02, 0.4, (COUNT, 3)),
        rng.uniform(0.1, 1.0, COUNT),
        rng.normal(size=(COUNT, 4, 3)),
    )
    return jax.tree.map(lambda values: jnp.asarray(values, jnp.float32), (gaussians, orbit(np.asarray([0.0, 120.0]))))


def _loss(renderer, gaussians, cameras):
    rendering = renderer(gaussians, cameras, height=10, width=11)
    # Extreme colours and depths may overflow a pixel; what is asked for is the gradient of a bounded loss.
    return sum(jnp.mean(jnp.tanh(values)) for values in rendering if values is not None)


_tiled = jax.jit(jax.grad(lambda *inputs: _loss(render, *inputs), argnums=(0, 1)))
_dense = jax.jit(jax.grad(lambda *inputs: _loss(render_dense, *inputs), argnums=(0, 1)))


@pytest.mark.parametrize("gradient", [_tiled, _dense], ids=["tiled", "dense"])
@pytest.mark.parametrize("field", ["means", "rotations", "scales", "opacities", "camera_to_world", "intrinsics"])
def test_gradients_of_extreme_but_finite_inputs_are_finite(field, gradient):
    for trial in range(12):
        gaussians, cameras = scene(trial)
        rng = np.random.default_rng(trial)
        owner = gaussians if field in Gaussians._fields else cameras
        values = np.array(getattr(owner, field))
        chosen = rng.random(values.shape) < (0.3 if trial % 3 else 1.0)
        values[chosen] = rng.choice(EXTREMES, chosen.sum())
        owner = owner._replace(**{field: jnp.asarray(values)})
        inputs = (owner, cameras) if field in Gaussians._fields else (gaussians, owner)
        for path, found in jax.tree_util.tree_leaves_with_path(gradient(*inputs)):
            assert np.isfinite(found).all(), f"trial {trial}: gradient of {jax.tree_util.keystr(path)}"


def test_everything_extreme_at_once():
    for trial in range(12):
        rng = np.random.default_rng(100 + trial)
        gaussians, cameras = scene(trial)
        noisy = [
            jnp.asarray(np.where(rng.random(x.shape) < 0.15, rng.choice(EXTREMES, x.shape), x), jnp.float32)
            for x in gaussians[:4]
        ]
        for path, found in jax.tree_util.tree_leaves_with_path(_tiled(Gaussians(*noisy, gaussians.sh), cameras)):
            assert np.isfinite(found).all(), f"trial {trial}: gradient of {jax.tree_util.keystr(path)}"


def test_gaussians_that_are_not_drawn_have_exactly_no_gradient():
    gaussians, cameras = scene()
    hidden = np.arange(COUNT) % 2 == 0
    means = np.where(hidden[:, None], [50.0, 0.0, 0.0], gaussians.means)  # behind the camera
    gaussians = gaussians._replace(means=jnp.asarray(means, jnp.float32))
    behind = jax.tree.map(lambda values: jnp.stack([values[0]] * 2), cameras)
    for name, found in _tiled(gaussians, behind)[0]._asdict().items():
        np.testing.assert_array_equal(np.asarray(found)[hidden], 0.0, err_msg=name)
        assert np.any(np.asarray(found)[~hidden] != 0.0) or name == "rotations"


def test_what_is_not_finite_is_not_drawn_and_does_not_hang():
    gaussians, cameras = scene()
    draw = jax.jit(lambda *scene: render(*scene, height=10, width=11, capacity=7))
    expected = draw(gaussians._replace(opacities=gaussians.opacities.at[:5].set(0.0)), cameras)
    for name, value in itertools.product(("means", "rotations", "opacities"), (np.nan, np.inf, -np.inf)):
        broken = gaussians._replace(**{name: getattr(gaussians, name).at[:5].set(value)})
        found = draw(broken, cameras)
        np.testing.assert_allclose(found.image, expected.image, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": jnp.zeros((COUNT, 2))}, "gaussians.means must be"),
        ({"rotations": jnp.zeros((COUNT + 1, 4))}, "gaussians.rotations must be"),
        ({"sh": jnp.zeros((COUNT, 5, 3))}, "gaussians.sh must be"),
        ({"opacities": jnp.zeros(COUNT, jnp.int32)}, "opacities must be floating point"),
        ({"intrinsics": jnp.zeros((2, 3))}, "cameras.intrinsics must be"),
        ({"camera_to_world": jnp.zeros((3, 4, 4))}, "cameras.camera_to_world must be"),
        ({"features": jnp.zeros((COUNT - 1, 2))}, "features must be"),
        ({"background": jnp.zeros(2)}, "background must be"),
        ({"height": 0}, "at least one pixel"),
        ({"near": 0.0}, "near must be"),
        ({"dilation": -1.0}, "dilation must not"),
        ({"capacity": 0}, "capacity must be"),
    ],
)
def test_bad_input_is_named(change, message, monkeypatch):
    import jaxtyping

    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the messages are for who runs without it
    gaussians, cameras = scene()
    settings = {"height": 8, "width": 8}
    for name, value in change.items():
        if name in Gaussians._fields:
            gaussians = gaussians._replace(**{name: value})
        elif name in Cameras._fields:
            cameras = cameras._replace(**{name: value})
        else:
            settings[name] = value
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda *scene: render(*scene, **settings), gaussians, cameras)
