"""Samples on backgrounds of their own are rendered on those."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import OBJECT, Cameras, Gaussians, Views, orbit
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, LossConfig, losses
from diffgs_jax.models.losses import rendering_losses

COLORS = np.asarray([[0.1, 0.5, 0.9], [0.7, 0.0, 0.3]], np.float32)
CONFIG = DiffusionGSConfig(losses=LossConfig(alpha=1.0, supervised_noisy_views=2))


def views_on(colors, count):
    cameras = Cameras(*(np.tile(leaf, (2, *(1,) * leaf.ndim)) for leaf in orbit(np.linspace(0, 300, count))))
    images = np.broadcast_to(colors[:, None, None, None], (2, count, 16, 16, 3)).astype(np.float32)
    flags, domain = np.zeros((2, count), bool), np.full(2, OBJECT, np.int32)
    return Views(images, cameras, flags, domain, np.zeros((2, count, 16, 16), np.float32), COLORS)


@pytest.mark.slow
def test_nothing_in_front_of_a_background_is_the_background():
    nothing = Gaussians(
        jnp.zeros((2, 4, 3)), jnp.ones((2, 4, 4)), jnp.full((2, 4, 3), 0.1), jnp.zeros((2, 4)), jnp.ones((2, 4, 1, 3))
    )
    supervised = choose_supervised(CONFIG.losses, views_on(COLORS, 3), views_on(COLORS, 1), jax.random.key(0))
    targets, weights = supervised.targets, supervised.weights
    terms = rendering_losses(nothing, targets, weights, losses.term_weights(CONFIG.losses, 0), ["alpha"])
    np.testing.assert_allclose([terms["denoise"], terms["novel"], terms["alpha"]], 0.0, atol=1e-10)
    swapped = targets._replace(background=COLORS[::-1])
    expected = np.mean((COLORS - COLORS[::-1]) ** 2)
    terms = rendering_losses(nothing, swapped, weights, losses.term_weights(CONFIG.losses, 0), ["alpha"])
    np.testing.assert_allclose([terms["denoise"], terms["novel"]], expected, rtol=1e-5)
