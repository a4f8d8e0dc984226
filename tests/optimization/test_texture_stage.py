"""The second stage of distillation on a wall: its texture becomes what images show, or what a prior knows."""

import jax.numpy as jnp
import numpy as np
import pytest
from oracle_families import COLORS, ColorsConfig

from diffgs_jax.geometry import Cameras, ObjectRig, intrinsics_from_fov, look_at
from diffgs_jax.meshing import TexturedMesh, see_surface, show_texture
from diffgs_jax.optimization import (
    Asked,
    DistilConfig,
    PosedImages,
    Prior,
    Pulling,
    TextureStage,
    optimize_texture,
)

SIDE = 16
FACES = np.asarray([[0, 1, 2], [0, 2, 3]], np.int32)
CORNERS = np.asarray([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
VERTICES = np.concatenate([np.zeros((4, 1)), 1.2 * CORNERS - 0.6], axis=1).astype(np.float32)
GREY = TexturedMesh(VERTICES, FACES, CORNERS, np.full((64, 64, 3), 128, np.uint8))


def test_a_texture_becomes_what_a_given_image_shows():
    camera = Cameras(
        look_at(np.asarray([[2.7, 0.0, 0.0]])).astype(np.float32), np.asarray(intrinsics_from_fov(50.0))[None]
    )
    truth = np.zeros((64, 64, 3), np.float32)
    truth[:32, :, 0], truth[32:, :, 2] = 0.9, 0.7
    seen = see_surface(VERTICES, FACES, CORNERS, camera, SIDE)
    image = np.asarray(show_texture(jnp.asarray(truth), seen, 1.0))
    alpha = np.asarray(show_texture(jnp.ones((64, 64, 3)), seen, 0.0))[..., :1]
    straight = np.where(alpha > 0, (image - (1 - alpha)) / np.maximum(alpha, 1e-6), 0)
    pixels = np.round(255 * np.clip(np.concatenate([straight, alpha], axis=-1), 0, 1)).astype(np.uint8)
    pulling = Pulling(PosedImages(pixels, camera))
    stage = TextureStage(steps=80, rate=0.02, keep_weight=0.0)
    *_, last = optimize_texture(GREY, pulling, DistilConfig(), stage, ObjectRig())
    after = np.asarray(show_texture(jnp.asarray(last.mesh.texture, jnp.float32) / 255, seen, 1.0))
    assert last.step == 80 and np.abs(after - image).max() < 0.06
    np.testing.assert_array_equal(last.mesh.vertices, VERTICES)


@pytest.mark.slow
def test_a_texture_becomes_what_several_priors_know_as_they_are_weighted():
    """Where w₁ (c − c₁) + w₂ (c − c₂) = 0, at any noise: the weighted mean of what the two know."""
    priors = tuple(
        Prior(
            config=ColorsConfig(),
            resolution=SIDE,
            background=1.0,
            params={"nothing": jnp.zeros(1)},
            frozen={},
            asked=(Asked(label=np.asarray(label, np.int32)),),
            weight=weight,
        )
        for label, weight in ((0, 1.0), (1, 3.0))
    )
    stage = TextureStage(steps=200, rate=0.015, keep_weight=0.0)
    every = optimize_texture(GREY, Pulling(priors=priors), DistilConfig(elevations=(0.0, 10.0)), stage, ObjectRig())
    # Each prior looks from elsewhere at every step, so the texture wavers around what it comes to
    middle = np.mean([now.mesh.texture[24:40, 24:40].mean(axis=(0, 1)) for now in list(every)[150:]], axis=0) / 255
    expected = (np.asarray(COLORS[0]) + 3 * np.asarray(COLORS[1])) / 4
    assert np.abs(middle - expected).max() < 0.1, (middle, expected)
