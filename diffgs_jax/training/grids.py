"""Sample grids: what the model makes of test objects, beside what they are."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.diffusion import Denoise, ScheduleConfig, make_sampler, make_schedule, sample
from diffgs_jax.geometry import Views
from diffgs_jax.rasterizer import render
from diffgs_jax.training.state import Params


def make_grid_sampler(
    denoiser: Callable[[Params, Views], Denoise], schedule: ScheduleConfig, steps: int, background: float
) -> Callable[[Params, Any, Array], Array]:
    """Returns the jitted `(params, batch, key) -> grid [rows, columns, h, w, 3]`.

    A row is one object: its input views as they are, the same views as predicted, its novel views, and the Gaussians
    rendered there.

    Args:
        denoiser: `(params, views) -> Denoise`, the family's with its config bound.
        schedule: the model's noise schedule.
        steps: DDIM steps.
        background: grey level of the renderings.
    """
    sampler = make_sampler(make_schedule(schedule), "ddim", steps)

    def grid(params: Params, batch: Any, key: Array) -> Array:
        inputs, novel = batch.inputs, batch.novel
        images = jnp.asarray(inputs.images)
        noise = jax.random.normal(key, images.shape, images.dtype)
        prediction = sample(denoiser(params, inputs), sampler, noise)
        height, width = images.shape[2:4]
        rendering = render(prediction.aux, novel.cameras, height=height, width=width, background=background)
        return jnp.concatenate([images, prediction.x0, jnp.asarray(novel.images), rendering.image], axis=1)

    return jax.jit(grid)


def tile_images(grid: Float[np.ndarray, "rows columns h w 3"], gap: int = 2) -> Float[np.ndarray, "height width 3"]:
    """Lays pictures out in rows and columns with a white gap of `gap` pixels between them."""
    padded = np.pad(grid, ((0, 0), (0, 0), (gap, 0), (gap, 0), (0, 0)), constant_values=1.0)
    rows, columns, height, width, _ = padded.shape
    return padded.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
