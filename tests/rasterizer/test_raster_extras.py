"""What is rendered beside colour, held against formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import Cameras, Gaussians, sh_from_color, sh_to_color
from diffgs_jax.rasterizer import expected_depth, render

SIDE, FOCAL, DISTANCE = 32, 40.0, 2.0
CAMERA = Cameras(
    jnp.eye(4), jnp.asarray([FOCAL / SIDE, FOCAL / SIDE, (SIDE / 2 + 0.5) / SIDE, (SIDE / 2 + 0.5) / SIDE])
)  # looks along z, and its axis goes through the centre of pixel (16, 16)


def splats(pixels: list[float], opacity: float = 0.8, depth: float = DISTANCE, x: float = 0.0) -> Gaussians:
    """Round Gaussians of these standard deviations, pixels, on the camera's axis or x world units beside it."""
    count = len(pixels)
    return Gaussians(
        means=jnp.tile(jnp.asarray([[x, 0.0, depth]]), (count, 1)),
        rotations=jnp.tile(jnp.asarray([[1.0, 0.0, 0.0, 0.0]]), (count, 1)),
        scales=jnp.asarray(pixels)[:, None] * jnp.ones((1, 3)) * depth / FOCAL,
        opacities=jnp.full(count, opacity),
        sh=sh_from_color(jnp.full((count, 3), 0.25)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("pixels", [0.2, 0.7, 3.0])
def test_antialiasing_divides_out_what_dilation_adds(pixels):
    """A round splat of variance s² is dimmed by s² / (s² + d), so the sum of its alphas stays 2π s² o."""
    rendering = render(splats([pixels]), CAMERA, height=SIDE, width=SIDE, antialiased=True)
    kept = pixels**2 / (pixels**2 + 0.3)
    assert rendering.alpha[16, 16] == pytest.approx(0.8 * kept, rel=1e-4)
    if pixels > 0.5:  # otherwise a good part of it is under 1/255
        assert jnp.sum(rendering.alpha) == pytest.approx(0.8 * 2 * np.pi * pixels**2, rel=0.05)


@pytest.mark.slow
def test_a_splat_that_antialiasing_dims_away_has_no_gradient():
    gradient = jax.grad(lambda splat: jnp.sum(render(splat, CAMERA, height=SIDE, width=SIDE, antialiased=True).image))(
        splats([0.0, 0.01])
    )
    for name, found in gradient._asdict().items():
        np.testing.assert_array_equal(found, 0.0, err_msg=name)


@pytest.mark.slow
def test_gradients_of_antialiasing_are_finite_differences():
    with jax.enable_x64(True):
        splat = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), splats([0.4, 2.0], opacity=0.6))
        camera = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), CAMERA)

        def total(scales: jax.Array) -> jax.Array:
            shown = render(splat._replace(scales=scales), camera, height=SIDE, width=SIDE, antialiased=True)
            return jnp.sum(shown.alpha[12:20, 12:20])

        found = jax.grad(total)(splat.scales)
        for index in np.ndindex(*splat.scales.shape):
            step = jnp.zeros_like(splat.scales).at[index].set(1e-7)
            slope = (total(splat.scales + step) - total(splat.scales - step)) / 2e-7
            np.testing.assert_allclose(found[index], slope, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_expected_depth_is_that_of_what_is_seen():
    rendering = render(splats([4.0, 4.0], depth=DISTANCE), CAMERA, height=SIDE, width=SIDE)
    depth = expected_depth(rendering)
    assert depth[16, 16] == pytest.approx(DISTANCE, rel=1e-5)
    assert depth[0, 0] == 0.0


@pytest.mark.slow
def test_radii_are_half_the_box_in_which_alpha_reaches_its_threshold():
    scene = jax.tree.map(
        lambda *leaves: jnp.concatenate(leaves),
        splats([1.5]),  # in view
        splats([1.5], depth=-DISTANCE),  # behind the camera
        splats([1.5], x=30.0),  # beside the image
        splats([1.5], opacity=0.003),  # fainter than 1/255
    )
    cameras = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), CAMERA)
    radii = render(scene, cameras, height=SIDE, width=SIDE, with_radii=True).radii
    radius = np.sqrt(2 * np.log(255 * 0.8) * (1.5**2 + 0.3))
    np.testing.assert_allclose(radii, np.tile([[radius] * 2, [0, 0], [0, 0], [0, 0]], (2, 1, 1)), rtol=1e-5)
    seen = np.asarray(render(splats([1.5]), CAMERA, height=SIDE, width=SIDE).alpha) > 0
    assert np.ptp(np.nonzero(seen)[0]) + 1 == 2 * np.floor(radius) + 1


@pytest.mark.slow
def test_features_are_blended_like_colours_however_many():
    rng = np.random.default_rng(0)
    count = 60
    gaussians = Gaussians(
        jnp.asarray(
            np.concatenate([rng.uniform(-0.5, 0.5, (count, 2)), rng.uniform(1, 3, (count, 1))], 1), jnp.float32
        ),
        jnp.asarray(rng.normal(size=(count, 4)), jnp.float32),
        jnp.asarray(rng.uniform(0.02, 0.2, (count, 3)), jnp.float32),
        jnp.asarray(rng.uniform(0.1, 1, count), jnp.float32),
        jnp.asarray(rng.normal(size=(count, 16, 3)), jnp.float32),
    )
    colors = sh_to_color(gaussians.sh, gaussians.means, jnp.zeros(3))
    weights = jnp.asarray(rng.normal(size=(3, 21)), jnp.float32)
    shown = render(gaussians, CAMERA, height=SIDE, width=SIDE, features=colors @ weights, background=0.0)
    np.testing.assert_allclose(shown.features, shown.image @ weights, atol=1e-4)


@pytest.mark.slow
def test_every_view_has_its_background():
    cameras = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), CAMERA)
    background = jnp.asarray([[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]])
    shown = render(splats([2.0]), cameras, height=SIDE, width=SIDE, background=background)
    np.testing.assert_allclose(shown.image[:, 0, 0], background, atol=1e-6)
    through = 1.0 - shown.alpha[0, 16, 16]
    np.testing.assert_allclose(
        shown.image[0, 16, 16] - shown.image[1, 16, 16], through * (background[0] - background[1]), atol=1e-6
    )
