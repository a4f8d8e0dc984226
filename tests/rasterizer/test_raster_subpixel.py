"""DiffSplat's rendering against an independent float64 rasterizer, written here from what its papers and code compute.

No dilation, dimming by the area in the image, covariances of quaternions that are not normalised, near plane 0.2, and
the depth and normals of RaDe-GS (Zhang et al. 2024).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import Cameras, Gaussians, covariances, look_at, sh_from_color, with_unit_rotations
from diffgs_jax.rasterizer import DIFFSPLAT_RENDERING, render, render_dense, render_surfaces

SIDE, COUNT, FOCAL = 32, 200, 1.388889
KEYS = ("means", "quaternions", "scales", "opacities", "colors")


def splats():
    """Random splats about the origin: quaternions of lengths 0.4 to 1.5, a third of a pixel to five pixels and less."""
    random = np.random.default_rng(7)
    quaternions = random.normal(size=(COUNT, 4))
    quaternions *= random.uniform(0.4, 1.5, (COUNT, 1)) / np.linalg.norm(quaternions, axis=1, keepdims=True)
    pixel = 1.4 / (FOCAL * SIDE)
    scales = pixel * np.exp(random.uniform(np.log(0.1), np.log(3.0), (COUNT, 3)))
    scales[:20] = pixel * random.uniform(0.005, 0.05, (20, 3))  # next to nothing, or nothing
    means = random.uniform(-0.45, 0.45, (COUNT, 3))
    means[-5:] = [0.05, -1.3, 0.47]  # before the near plane
    colors = random.uniform(0, 1, (COUNT, 3))
    return dict(zip(KEYS, (means, quaternions, scales, random.uniform(0.1, 0.95, COUNT), colors), strict=True))


POSE = look_at(np.asarray([0.0, -1.3, 0.52])).astype(np.float64)


def matrix(q):
    """The identity plus twice w[v] and [v][v], which is a rotation for unit quaternions only."""
    cross = jnp.asarray([[0.0, -q[3], q[2]], [q[3], 0.0, -q[1]], [-q[2], q[1], 0.0]])
    return jnp.eye(3) + 2 * q[0] * cross + 2 * cross @ cross


def distance_along(ray, inverse, center):
    """How far away the density is greatest along a ray, of any length."""
    return (ray @ inverse @ center) / (ray @ inverse @ ray) * jnp.linalg.norm(ray)


def reference_splat(mean, quaternion, scale, opacity):
    """One splat as the camera sees it: place, inverse covariance, dimmed opacity, z, distance and slopes, normal."""
    view = jnp.linalg.inv(POSE)
    turn, center = view[:3, :3], view[:3, :3] @ mean + view[:3, 3]
    spread = turn @ matrix(quaternion) @ jnp.diag(scale)
    spread = spread @ spread.T
    x, y, z = center
    focal, limit = FOCAL * SIDE, 1.3 * 0.5 / FOCAL
    u, v = jnp.clip(x / z, -limit, limit), jnp.clip(y / z, -limit, limit)
    slopes = jnp.asarray([[1.0, 0.0, -u], [0.0, 1.0, -v]]) * focal / z
    flat = slopes @ spread @ slopes.T
    area = jnp.linalg.det(flat)
    dim = jnp.where(area > 1e-6, jnp.sqrt(jnp.maximum(area, 1e-6) / (jnp.maximum(area, 1e-6) + 1e-6) + 1e-6), 0.0)
    place = focal * center[:2] / z + SIDE / 2
    inverse = jnp.linalg.inv(spread)
    ray = center / z

    def at(offset):
        return distance_along(ray + jnp.append(offset, 0.0) / focal, inverse, center)

    slope = jax.grad(at)(jnp.zeros(2))
    facing = inverse @ center
    normal = -facing / jnp.linalg.norm(facing)
    is_drawn = (z > 0.2) & (area > 1e-6)
    return place, jnp.linalg.inv(flat), jnp.where(is_drawn, opacity * dim, 0.0), z, at(jnp.zeros(2)), slope, normal


def reference(values):
    """Image, alpha, depth, normals: all splats at all pixels, front to back."""
    arrays = (values[key] for key in ("means", "quaternions", "scales", "opacities"))
    places, conics, opacities, z, distances, slopes, normals = jax.vmap(reference_splat)(*arrays)
    order = jnp.argsort(jax.lax.stop_gradient(jnp.where(opacities > 0, z, jnp.inf)))
    rows, columns = jnp.meshgrid(jnp.arange(SIDE) + 0.5, jnp.arange(SIDE) + 0.5, indexing="ij")

    def add(carry, index):
        passed, is_open, total = carry
        dx, dy = columns - places[index, 0], rows - places[index, 1]
        conic = conics[index]
        power = conic[0, 0] * dx**2 + 2 * conic[0, 1] * dx * dy + conic[1, 1] * dy**2
        alpha = jnp.minimum(0.99, opacities[index] * jnp.exp(-power / 2))
        alpha = jnp.where(alpha < 1 / 255, 0.0, alpha)
        is_open &= passed * (1 - alpha) >= 1e-4
        weight = jnp.where(is_open, passed * alpha, 0.0)
        distance = distances[index] + slopes[index, 0] * dx + slopes[index, 1] * dy
        color = jnp.broadcast_to(values["colors"][index], (SIDE, SIDE, 3))
        normal = jnp.broadcast_to(normals[index], (SIDE, SIDE, 3))
        seen = jnp.concatenate([color, normal, distance[..., None]], axis=-1)
        return (jnp.where(is_open, passed * (1 - alpha), passed), is_open, total + weight[..., None] * seen), None

    start = jnp.ones((SIDE, SIDE)), jnp.ones((SIDE, SIDE), bool), jnp.zeros((SIDE, SIDE, 7))
    (passed, _, total), _ = jax.lax.scan(add, start, order)
    alpha = 1 - passed
    u, v = ((places / SIDE - 0.5) / FOCAL for places in (columns, rows))
    depth = jnp.where(alpha > 0, total[..., 6] / jnp.maximum(alpha, 1e-12), 0.0) / jnp.sqrt(1 + u**2 + v**2)
    squared = jnp.sum(total[..., 3:6] ** 2, axis=-1, keepdims=True)  # of nothing, the root has no slope
    normals = jnp.where(squared > 0, total[..., 3:6] / jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)
    return {"image": total[..., :3] + passed[..., None], "alpha": alpha, "depth": depth, "normals": normals}


def ours(values, settings=DIFFSPLAT_RENDERING, surfaces=False, renderer=render):
    gaussians = Gaussians(*(values[key] for key in KEYS[:4]), sh_from_color(values["colors"]))
    dtype = values["means"].dtype
    cameras = Cameras(jnp.asarray(POSE[None], dtype), jnp.asarray([[FOCAL, FOCAL, 0.5, 0.5]], dtype))
    if surfaces:
        seen = render_surfaces(gaussians, cameras, settings, height=SIDE, width=SIDE)
        return {name: getattr(seen, name)[0] for name in ("image", "alpha", "depth", "normals")}
    seen = renderer(gaussians, cameras, height=SIDE, width=SIDE, **settings.arguments())
    return {"image": seen.image[0], "alpha": seen.alpha[0]}


@pytest.fixture(scope="module")
def values():
    return splats()


@pytest.fixture(scope="module")
def expected(values):
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(reference)(values))


def psnr(a, b):
    return -10 * np.log10(np.mean((np.asarray(a) - np.asarray(b)) ** 2))


def test_images_depth_and_normals_are_those_of_the_reference(values, expected):
    with jax.enable_x64(True):
        found = jax.jit(functools.partial(ours, surfaces=True))(jax.tree.map(jnp.asarray, values))
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5, err_msg=name)
    assert (expected["alpha"] > 0.5).mean() > 0.3


@pytest.mark.slow
def test_float32_is_near_it_and_dilation_is_not(values, expected):
    single = {key: jnp.asarray(array, jnp.float32) for key, array in values.items()}
    drawn = jax.jit(functools.partial(ours, renderer=render_dense), static_argnums=1)
    found = drawn(single, DIFFSPLAT_RENDERING)
    for name in ("image", "alpha"):
        assert np.mean(np.abs(found[name] - expected[name]) < 1e-4) > 0.995
    dilated = drawn(single, dataclasses.replace(DIFFSPLAT_RENDERING, dilation=0.3))
    assert psnr(dilated["image"], expected["image"]) < 35


@pytest.mark.slow
@pytest.mark.parametrize("surfaces", [False, True])
def test_gradients_are_those_of_the_reference(values, surfaces):
    names = ("image", "alpha", "depth", "normals") if surfaces else ("image", "alpha")
    shapes = {"image": (SIDE, SIDE, 3), "alpha": (SIDE, SIDE), "depth": (SIDE, SIDE), "normals": (SIDE, SIDE, 3)}
    random = np.random.default_rng(1)
    weights = {name: random.normal(size=shapes[name]) for name in names}

    def total(draw, values):
        drawn = draw(values)
        return sum(jnp.sum(drawn[name] * weights[name]) for name in names)

    with jax.enable_x64(True):
        arrays = jax.tree.map(jnp.asarray, values)
        found, expected = (
            jax.jit(jax.grad(functools.partial(total, draw)))(arrays)
            for draw in (functools.partial(ours, surfaces=surfaces), reference)
        )
    for key in KEYS:
        np.testing.assert_allclose(found[key], expected[key], atol=1e-3 * np.abs(expected[key]).max(), err_msg=key)


def test_unit_quaternions_and_principal_axes_look_the_same(values):
    raw = Gaussians(*(values[key] for key in KEYS[:4]), np.zeros((COUNT, 1, 3)))
    stored = with_unit_rotations(raw)
    np.testing.assert_allclose(np.linalg.norm(stored.rotations, axis=1), 1, atol=1e-5)
    found = covariances(jnp.asarray(stored.rotations), jnp.asarray(stored.scales))
    expected = covariances(*(jnp.asarray(leaf, jnp.float32) for leaf in (raw.rotations, raw.scales)), unit=False)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
