"""A splat that a test knows all about, and images of it by the dense reference."""

import jax
import jax.numpy as jnp
import numpy as np

from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.records import Record
from diffgs_jax.geometry import Cameras, Gaussians, orbit, sh_from_color
from diffgs_jax.rasterizer import render_dense

SIDE = 24


def known_splat():
    """A dozen Gaussians of several shapes and colours inside the unit sphere."""
    random = np.random.default_rng(5)
    colors = random.uniform(0.1, 0.9, (12, 3)).astype(np.float32)
    return Gaussians(
        means=random.uniform(-0.5, 0.5, (12, 3)).astype(np.float32),
        rotations=random.normal(size=(12, 4)).astype(np.float32),
        scales=random.uniform(0.08, 0.25, (12, 3)).astype(np.float32),
        opacities=random.uniform(0.6, 0.95, 12).astype(np.float32),
        sh=np.asarray(sh_from_color(jnp.asarray(colors))),
    )


def photograph():
    """Sixteen images of the splat, cut out, lossless enough: from two heights, all around."""
    rings = [orbit(np.arange(8) * 45.0 + turn, elevation_degrees=up) for turn, up in ((0.0, 10.0), (20.0, 45.0))]
    cameras = Cameras(*(np.concatenate(leaves).astype(np.float32) for leaves in zip(*rings, strict=True)))
    splat = known_splat()
    shoot = jax.jit(lambda cameras: render_dense(splat, cameras, height=SIDE, width=SIDE, background=0.0))
    seen = shoot(cameras)
    alpha = np.asarray(seen.alpha)[..., None]
    straight = np.clip(np.asarray(seen.image) / np.maximum(alpha, 1e-6), 0, 1)
    rgba = np.round(np.concatenate([straight, alpha], axis=-1) * 255).astype(np.uint8)
    return Record("known", "object", [encode_webp(one, quality=100) for one in rgba], cameras)
