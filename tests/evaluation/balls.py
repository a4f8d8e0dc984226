"""Objects that a test can know all about: a single round Gaussian each."""

import jax
import jax.numpy as jnp
import numpy as np

from diffgs_jax import evaluation
from diffgs_jax.geometry import Cameras, Gaussians, orbit, sh_from_color
from diffgs_jax.rasterizer import render_dense

SIZE = 16


def ball(color, center=(0.0, 0.0, 0.0)):
    """A single round Gaussian: what the tiny objects of these tests are."""
    return Gaussians(
        means=np.asarray([center], np.float32),
        rotations=np.asarray([[1.0, 0.0, 0.0, 0.0]], np.float32),
        scales=np.full((1, 3), 0.3, np.float32),
        opacities=np.full(1, 0.95, np.float32),
        sh=np.asarray(sh_from_color(jnp.asarray(color))).reshape(1, 1, 3).astype(np.float32),
    )


@jax.jit
def shoot(gaussians, cameras):
    return render_dense(gaussians, cameras, height=SIZE, width=SIZE, background=1.0)


def photograph(uid, gaussians, azimuths, elevations):
    """An object with known Gaussians, seen from an orbit."""
    cameras = [
        orbit(np.asarray([a], np.float64), elevation_degrees=float(e))
        for a, e in zip(azimuths, elevations, strict=True)
    ]
    cameras = Cameras(*(np.concatenate(leaves) for leaves in zip(*cameras, strict=True)))
    seen = shoot(gaussians, cameras)
    condition = evaluation.condition_index(cameras, 20.0)
    return evaluation.PosedObject(uid, np.asarray(seen.image), np.asarray(seen.alpha), cameras, condition)
