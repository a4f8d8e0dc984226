"""What a fit leaves behind: the splat, images of it, scores and the record of the run."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax import evaluation
from diffgs_jax.commands.fit_inputs import FitInputs
from diffgs_jax.commands.fit_options import FitOptions
from diffgs_jax.commands.optimization_run import OptimizedSplat
from diffgs_jax.commands.sample_record import made_with
from diffgs_jax.data.images import composite
from diffgs_jax.files import filled_folder, write_json
from diffgs_jax.geometry import DILATION, Cameras, Gaussians
from diffgs_jax.interop import tile_images, write_gaussians, write_image
from diffgs_jax.rasterizer import render

_VERSION = 1


def score(gaussians: Gaussians, inputs: FitInputs, dilation: float = DILATION) -> dict[str, Any]:
    """Returns how close the splat comes to the images, on white: means, and of held-out images each one's.

    Objects are scored by `evaluation.score_views` with their alpha, so on their bounding boxes too; scenes without.
    """
    parts = {"fitted": inputs.fitted, "held_out": inputs.held_out}
    scores: dict[str, Any] = {}
    for name, images in parts.items():
        if images is None:
            continue
        image, alpha = render_images(gaussians, images.cameras, images.side, dilation)
        target, target_alpha = composite(np.asarray(images.pixels), 1.0)
        known = target_alpha if inputs.is_object else None
        each = [
            jax.device_get(_scored(image[view], alpha[view], target[view], None if known is None else known[view]))
            for view in range(len(image))
        ]
        scores[name] = {metric: float(np.mean([one[metric] for one in each])) for metric in each[0]}
        if name == "held_out":
            scores["of_each_held_out"] = {metric: [float(one[metric]) for one in each] for metric in each[0]}
    return scores


def draw_views(gaussians: Gaussians, inputs: FitInputs, most: int = 8) -> Float[np.ndarray, "height width 3"]:
    """Returns some held-out images (fitted ones if none were held out), above what the splat shows there."""
    images = inputs.fitted if inputs.held_out is None else inputs.held_out
    shown = evaluation.spread(len(images.pixels), most)
    cameras = Cameras(*(np.asarray(leaf)[shown] for leaf in images.cameras))
    image, _ = render_images(gaussians, cameras, images.side)
    target, _ = composite(np.asarray(images.pixels)[shown], 1.0)
    return tile_images(np.stack([target, image]))


def write_outputs(options: FitOptions, inputs: FitInputs, done: OptimizedSplat, scores: dict[str, Any]) -> None:
    """Fills the folder, with all files or none.

    Raises:
        UserError: if it cannot be written.
    """
    with filled_folder(options.out) as folder:
        for suffix in options.formats:
            write_gaussians(folder / f"gaussians.{suffix}", done.gaussians)
        write_image(folder / "views.png", draw_views(done.slots, inputs))
        settings = {name: _plain(value) for name, value in dataclasses.asdict(options).items()}
        record = {
            "version": _VERSION,
            "options": settings,
            "record": inputs.name,
            "images": {
                "fitted": len(inputs.fitted.pixels),
                "held_out": inputs.held_out_views,
                "side": inputs.fitted.side,
                "sha256": inputs.sha256,
            },
            "gaussians": len(done.gaussians.opacities),
            "capacity_full_at_step": done.full_at,
            "seconds": done.seconds,
            "processor_seconds": done.processor_seconds,
            "scores": scores,
            "made_with": made_with(),
        }
        write_json(folder / "fit.json", record)


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | dict | list | tuple | None) else str(value)


def render_images(
    gaussians: Gaussians, cameras: Cameras, side: int, dilation: float = DILATION
) -> tuple[Float[np.ndarray, "n s s 3"], Float[np.ndarray, "n s s"]]:
    """Returns what cameras `[n]` see on white, and coverage.

    Args:
        gaussians: `[m]`.
        cameras: `[n]`.
        side: height and width, pixels.
        dilation: of `render`, square pixels.
    """
    # One at a time: memory does not grow with their number, and one program serves any number of them.
    seen = [
        _rendered(gaussians, Cameras(*(jnp.asarray(leaf[view]) for leaf in cameras)), side, dilation)
        for view in range(len(cameras.intrinsics))
    ]
    images, alphas = zip(*seen, strict=True)
    return np.stack(images), np.stack(alphas)


@functools.partial(jax.jit, static_argnames=("side", "dilation"))
def _rendered(gaussians: Gaussians, camera: Cameras, side: int, dilation: float) -> tuple[Array, Array]:
    seen = render(gaussians, camera, height=side, width=side, dilation=dilation)
    return jnp.clip(seen.image, 0, 1), seen.alpha


@jax.jit
def _scored(image: Array, alpha: Array, target: Array, target_alpha: Array | None) -> dict[str, Array]:
    return evaluation.score_views(image, alpha, target, target_alpha)
