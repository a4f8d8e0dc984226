"""Sample grids: what the model makes of test objects, beside what they are."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.diffusion import Denoise, ScheduleConfig, add_noise, make_sampler, make_schedule, sample
from diffgs_jax.geometry import Views
from diffgs_jax.rasterizer import Rendering, expected_depth, render
from diffgs_jax.training.state import Params


def make_grid_sampler(
    denoiser: Callable[[Params, Views], Denoise], schedule: ScheduleConfig, steps: int, background: float
) -> Callable[[Params, Any, Array], Array]:
    """Returns the jitted `(params, batch, key) -> grid [rows, columns, h, w, 3]`.

    A row is one object: its input views as they are; the same with noise of half the schedule on all but the condition,
    and what the network makes of them in one call; the views sampled from pure noise; its novel views as they are, the
    sampled Gaussians rendered there, and the depth of that rendering, near bright.

    Args:
        denoiser: `(params, views) -> Denoise`, the family's with its config bound.
        schedule: the model's noise schedule.
        steps: DDIM steps.
        background: grey level of the renderings.
    """
    full = make_schedule(schedule)
    sampler = make_sampler(full, "ddim", steps)

    def grid(params: Params, batch: Any, key: Array) -> Array:
        inputs, novel = batch.inputs, batch.novel
        images = jnp.asarray(inputs.images)
        noise = jax.random.normal(key, images.shape, images.dtype)
        denoise = denoiser(params, inputs)
        half = jnp.full(images.shape[:1], full.steps // 2, jnp.int32)
        is_condition = jnp.asarray(inputs.is_condition)[..., None, None, None]
        noisy = jnp.where(is_condition, images, add_noise(full, images, half, noise))
        prediction = sample(denoise, sampler, noise)
        height, width = images.shape[2:4]
        rendering = render(prediction.aux, novel.cameras, height=height, width=width, background=background)
        shown = [
            images,
            noisy,
            denoise(noisy, half).x0,
            prediction.x0,
            novel.images,
            rendering.image,
            _depth(rendering),
        ]
        return jnp.concatenate([jnp.asarray(part) for part in shown], axis=1)

    return jax.jit(grid)


def _depth(rendering: Rendering) -> Float[Array, "b v h w 3"]:
    """Returns grey pictures of the depth, from the nearest (white) to the farthest (black) pixel that is half covered.

    Uncovered pixels are black; all views of a sample share their range.
    """
    depth, is_covered = expected_depth(rendering), rendering.alpha > 0.5
    near = jnp.min(jnp.where(is_covered, depth, jnp.inf), axis=(1, 2, 3), keepdims=True)
    far = jnp.max(jnp.where(is_covered, depth, -jnp.inf), axis=(1, 2, 3), keepdims=True)
    nearness = (far - depth) / jnp.maximum(far - near, 1e-6)
    grey = jnp.where(is_covered, 0.1 + 0.9 * nearness, 0.0)
    return jnp.broadcast_to(grey[..., None], (*depth.shape, 3))


def tile_images(grid: Float[np.ndarray, "rows columns h w 3"], gap: int = 2) -> Float[np.ndarray, "height width 3"]:
    """Lays pictures out in rows and columns with a white gap of `gap` pixels between them."""
    padded = np.pad(grid, ((0, 0), (0, 0), (gap, 0), (gap, 0), (0, 0)), constant_values=1.0)
    rows, columns, height, width, _ = padded.shape
    return padded.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
