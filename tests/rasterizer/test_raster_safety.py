"""No finite input may put a NaN into a gradient, no input may hang, and bad shapes are named."""

import functools
import itertools
from collections.abc import Collection
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import Cameras, Gaussians, orbit
from diffgs_jax.rasterizer import render, render_dense

COUNT = 24
SMALL = [0.0, 1e-45, 1e-38, -1e-20, 1e-12, 1e-6, 0.01, -1.0]
EXTREMES = [*SMALL, 1.0, 1e4, 1e6, -1e9, 1e12, -1e15, 1e18, -1e25, 3e38, -3.4e38]


class Inputs(NamedTuple):
    """Everything a render is differentiable in."""

    gaussians: Gaussians
    cameras: Cameras
    features: jax.Array
    background: jax.Array


FIELDS = [*Gaussians._fields, *Cameras._fields, "features", "background"]


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


def extreme_inputs(seed: int, fields: Collection[str], share: float) -> Inputs:
    """A scene in which a share of the numbers of some fields is extreme."""
    rng = np.random.default_rng([seed, len(fields)])
    gaussians, cameras = scene(seed)
    leaves = {**gaussians._asdict(), **cameras._asdict()}
    leaves |= {"features": rng.normal(size=(COUNT, 2)), "background": rng.uniform(size=(2, 3))}
    for name in fields:
        values = np.asarray(leaves[name])
        leaves[name] = np.where(rng.random(values.shape) < share, rng.choice(EXTREMES, values.shape), values)
    leaves = {name: jnp.asarray(values, jnp.float32) for name, values in leaves.items()}
    gaussians, cameras = (kind(*(leaves[name] for name in kind._fields)) for kind in (Gaussians, Cameras))
    return Inputs(gaussians, cameras, leaves["features"], leaves["background"])


def loss(inputs: Inputs, draw, **settings):
    """A fixed random projection of everything that is rendered."""
    gaussians, cameras, features, background = inputs
    shown = draw(gaussians, cameras, features=features, background=background, height=10, width=11, **settings)
    rng = np.random.default_rng(0)
    values = [leaf for leaf in shown if leaf is not None]
    return sum(jnp.sum(leaf * rng.normal(size=leaf.shape).astype(np.float32)) for leaf in values), shown


GRADIENTS = {
    "tiled": jax.jit(jax.grad(functools.partial(loss, draw=render), has_aux=True)),
    "dense": jax.jit(jax.grad(functools.partial(loss, draw=render_dense), has_aux=True)),
    "thin": jax.jit(
        jax.grad(functools.partial(loss, draw=render, dilation=1e-4, antialiased=True, near=1e-6), has_aux=True)
    ),
    "undilated": jax.jit(jax.grad(functools.partial(loss, draw=render, dilation=0.0, near=1e-6), has_aux=True)),
    # As it is written: a compiler that moves factors can hide that one has overflown, and the next one shows it.
    "not compiled": jax.grad(functools.partial(loss, draw=render_dense), has_aux=True),
}


def assert_finite(gradient, inputs: Inputs, trial: str) -> None:
    """Holds the gradients and everything that is rendered."""
    for path, found in jax.tree_util.tree_leaves_with_path(gradient(inputs)):
        assert np.isfinite(found).all(), f"{trial}: {jax.tree_util.keystr(path)}"


@pytest.mark.slow
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", ["tiled", "dense"])
def test_extreme_but_finite_inputs_have_finite_pictures_and_gradients(kind, field):
    for trial in range(12):
        inputs = extreme_inputs(trial, [field], 0.3 if trial % 3 else 1.0)
        assert_finite(GRADIENTS[kind], inputs, f"trial {trial}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "tiled",
        "dense",
        "thin",
        pytest.param("undilated", marks=pytest.mark.slow),
        pytest.param("not compiled", marks=pytest.mark.slow),
    ],
)
def test_everything_extreme_at_once(kind):
    for trial in range(4 if kind == "not compiled" else 40):
        pair = np.random.default_rng(trial).choice(FIELDS, 2, replace=False).tolist()
        fields, share = (pair, 0.3) if trial % 2 else (FIELDS, 0.15 if trial % 4 else 0.02)
        assert_finite(GRADIENTS[kind], extreme_inputs(trial, fields, share), f"trial {trial}, {fields}")


@pytest.mark.slow
def test_gaussians_that_are_not_drawn_have_exactly_no_gradient():
    gaussians, cameras = scene()
    hidden = np.arange(COUNT) % 2 == 0
    means = np.where(hidden[:, None], [50.0, 0.0, 0.0], gaussians.means)  # behind the camera
    gaussians = gaussians._replace(means=jnp.asarray(means, jnp.float32))
    behind = jax.tree.map(lambda values: jnp.stack([values[0]] * 2), cameras)
    inputs = Inputs(gaussians, behind, jnp.zeros((COUNT, 2)), jnp.ones((2, 3)))
    for name, found in GRADIENTS["tiled"](inputs)[0].gaussians._asdict().items():
        np.testing.assert_array_equal(np.asarray(found)[hidden], 0.0, err_msg=name)
        assert np.any(np.asarray(found)[~hidden] != 0.0) or name == "rotations"


@pytest.mark.slow
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
        ({"dilation": np.inf}, "dilation must"),
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
