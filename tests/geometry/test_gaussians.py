import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from diffgs_jax.geometry import covariances, rotation_matrices, sh_from_color, sh_to_color, spherical_harmonics


def test_rotations_agree_with_scipy_at_any_length():
    quaternions = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) * 7
    expected = Rotation.from_quat(quaternions[:, [1, 2, 3, 0]]).as_matrix()
    np.testing.assert_allclose(rotation_matrices(jnp.asarray(quaternions)), expected, atol=1e-5)


def test_a_zero_quaternion_has_a_finite_value_and_gradient():
    value, gradient = jax.value_and_grad(lambda q: jnp.sum(rotation_matrices(q)))(jnp.zeros(4))
    assert value == 3.0 and np.all(np.asarray(gradient) == 0)


def test_covariances_have_the_squared_scales_as_eigenvalues():
    rng = np.random.default_rng(1)
    scales = np.sort(rng.uniform(0.1, 2.0, size=(20, 3)).astype(np.float32), axis=1)
    matrices = covariances(jnp.asarray(rng.normal(size=(20, 4)), jnp.float32), jnp.asarray(scales))
    np.testing.assert_allclose(np.linalg.eigvalsh(matrices), scales**2, rtol=1e-3, atol=1e-5)


def test_harmonics_are_scipys_up_to_order_and_sign():
    directions = np.random.default_rng(2).normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    ours = np.asarray(spherical_harmonics(jnp.asarray(directions, jnp.float32), 3))
    theta = np.arccos(directions[:, 2])
    phi = np.arctan2(directions[:, 1], directions[:, 0])
    column = 0
    for degree in range(4):
        for order in range(-degree, degree + 1):
            complex_value = sph_harm_y(degree, abs(order), theta, phi)
            # Real form with the Condon-Shortley phase kept, which scipy includes: the sign convention of 3DGS files.
            expected = {-1: np.sqrt(2) * complex_value.imag, 0: complex_value.real, 1: np.sqrt(2) * complex_value.real}[
                np.sign(order)
            ]
            np.testing.assert_allclose(ours[:, column], expected, atol=1e-5, err_msg=f"{degree} {order}")
            column += 1
    with pytest.raises(ValueError, match="degrees 0 to 3"):
        spherical_harmonics(jnp.ones(3), 4)


def test_colors_are_clamped_below_and_survive_a_round_trip():
    color = jnp.asarray([[0.2, 0.9, 0.4]])
    means, center = jnp.ones((1, 3)), jnp.zeros(3)
    np.testing.assert_allclose(sh_to_color(sh_from_color(color), means, center), color, atol=1e-6)
    assert jnp.all(sh_to_color(jnp.full((1, 1, 3), -9.0), means, center) == 0)


def test_a_gaussian_at_the_camera_has_finite_gradients():
    sh = jnp.ones((1, 16, 3))
    gradient = jax.grad(lambda means: jnp.sum(sh_to_color(sh, means, jnp.zeros(3))))(jnp.zeros((1, 3)))
    assert np.all(np.isfinite(gradient))
