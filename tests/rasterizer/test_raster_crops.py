"""A crop of a picture, with its camera: the whole picture's pixels and gradients, wherever the principal point is."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import Cameras, Gaussians, look_at
from diffgs_jax.rasterizer import project, render, render_dense

WHOLE = (28, 36)  # pixels
FOCAL, CENTER = 14.0, np.asarray([17.0, 13.0])  # pixels, (x, y): a wide lens
POSE = look_at(np.asarray([0.0, -3.0, 0.5]), np.asarray([0.2, 0.0, 0.0]))
SIZE = (12, 14)
CROPS = {"left": (8, 0), "below": (16, 10), "corner": (16, 22), "middle": (7, 10)}  # first row and column
OUTSIDE = {"left": (True, False), "below": (False, True), "corner": (True, True), "middle": (False, False)}


def camera(height: int, width: int, row: int, column: int) -> Cameras:
    """The camera of the part of the picture that begins at a row and a column."""
    x, y = CENTER - [column, row]
    intrinsics = [FOCAL / width, FOCAL / height, x / width, y / height]
    return Cameras(jnp.asarray(POSE), jnp.asarray(intrinsics, jnp.float32))


def gaussians_seen_at(row: int, column: int, seed: int, count: int = 40) -> Gaussians:
    """Gaussians whose centres lie in the crop widened by 14 % on every side, and in the whole picture widened so."""
    rng = np.random.default_rng(seed)
    low = np.maximum([column - 0.14 * SIZE[1], row - 0.14 * SIZE[0]], -0.14 * np.asarray(WHOLE[::-1]))
    high = np.minimum([column + 1.14 * SIZE[1], row + 1.14 * SIZE[0]], 1.14 * np.asarray(WHOLE[::-1]))
    depth = rng.uniform(1.0, 3.0, (count, 1))
    local = np.concatenate([(rng.uniform(low, high, (count, 2)) - CENTER) / FOCAL * depth, depth], axis=1)
    leaves = Gaussians(
        means=local @ POSE[:3, :3].T + POSE[:3, 3],
        rotations=rng.normal(size=(count, 4)),
        scales=np.exp(rng.uniform(np.log(0.02), np.log(0.4), (count, 3))),
        opacities=rng.uniform(0.1, 0.9, count),
        sh=rng.normal(size=(count, 4, 3)) * 0.4,
    )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), leaves)


def loss(gaussians: Gaussians, camera: Cameras, start: jax.Array, draw: Callable, size: tuple[int, int]) -> tuple:
    """A fixed random projection of the part of a picture that begins at a row and a column, and that part."""
    shown = draw(gaussians, camera, height=size[0], width=size[1], background=0.3)
    seen = jnp.concatenate([shown.image, shown.alpha[..., None], shown.depth[..., None]], axis=-1)
    seen = jax.lax.dynamic_slice_in_dim(seen, start[0], SIZE[0], axis=0)
    seen = jax.lax.dynamic_slice_in_dim(seen, start[1], SIZE[1], axis=1)
    return jnp.sum(seen * np.random.default_rng(0).normal(size=seen.shape).astype(np.float32)), seen


run = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True), static_argnames=("draw", "size"))


@pytest.mark.slow
@pytest.mark.parametrize(("draw", "name"), [*((render, name) for name in CROPS), (render_dense, "corner")])
def test_a_crop_shows_the_pixels_of_the_whole(name, draw):
    row, column = CROPS[name]
    gaussians = gaussians_seen_at(row, column, seed=len(name))
    whole, crop = camera(*WHOLE, 0, 0), camera(*SIZE, row, column)
    is_outside = (np.asarray(crop.intrinsics[2:]) < 0) | (np.asarray(crop.intrinsics[2:]) > 1)
    assert tuple(is_outside) == OUTSIDE[name]
    gradients, expected = run(gaussians, whole, jnp.asarray([row, column]), draw=draw, size=WHOLE)
    found_gradients, found = run(gaussians, crop, jnp.asarray([0, 0]), draw=draw, size=SIZE)
    assert np.ptp(found[..., 3]) > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # Intrinsics are fractions, of another picture each.
    sides = (np.asarray([*size[::-1], *size[::-1]], np.float32) for size in (SIZE, WHOLE))
    named, expected_named = (
        {**scene._asdict(), "camera_to_world": seen.camera_to_world, "intrinsics": seen.intrinsics / side}
        for (scene, seen), side in zip((found_gradients, gradients), sides, strict=True)
    )
    for field, values in named.items():
        error = np.linalg.norm(values - expected_named[field]) / np.linalg.norm(expected_named[field])
        assert error < 1e-4, f"gradient of {field}: relative error {error:.1e}"


@pytest.mark.slow
@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["upright", "upside down"])
def test_the_clamp_begins_where_the_widened_picture_ends(sign):
    """The Jacobian of a point outside is that of the nearest place of the window (−(cx + 0.15 w)/f, …)."""
    size, focal, center = (10, 20), np.asarray([15.0, 12.0]) * sign, np.asarray([3.0, 8.0])
    sides = zip(size[::-1], focal, center, strict=True)
    ends = [((-0.15 * side - c) / f, (1.15 * side - c) / f) for side, f, c in sides]
    (left, right), (top, bottom) = map(sorted, ends)
    slopes = np.asarray([[x, y] for x in (left - 0.7, 0.0, right + 0.9) for y in (top - 0.4, 0.1, bottom + 2.0)])
    depth, deviation = 2.0, 0.3
    means = depth * np.concatenate([slopes, np.ones((len(slopes), 1))], axis=1)
    spread = np.tile(deviation**2 * np.eye(3), (len(slopes), 1, 1))
    lens = np.concatenate([focal, center]) / np.asarray([*size[::-1], *size[::-1]])
    seen = project(
        *(jnp.asarray(leaf, jnp.float32) for leaf in (means, spread, np.full(len(slopes), 0.5))),
        Cameras(jnp.eye(4), jnp.asarray(lens, jnp.float32)),
        height=size[0],
        width=size[1],
    )
    np.testing.assert_allclose(seen.means, slopes * focal + center, rtol=1e-5, atol=1e-4)
    x, y = np.clip(slopes, [left, top], [right, bottom]).T
    jacobian = np.zeros((len(slopes), 2, 3))
    jacobian[:, 0, 0], jacobian[:, 0, 2] = 1.0, -x
    jacobian[:, 1, 1], jacobian[:, 1, 2] = 1.0, -y
    jacobian *= (focal / depth)[:, None]
    expected = np.linalg.inv(deviation**2 * jacobian @ jacobian.swapaxes(1, 2) + 0.3 * np.eye(2))
    found = np.asarray(seen.conics)[:, [0, 1, 1, 2]].reshape(-1, 2, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
