"""What the Gaussians of denoised views contribute to renderings, beside those of the views that are given.

A model may learn to draw everything with the Gaussians of what it is given, and leave those of the views it denoises
transparent. Its losses do not say so; these shares do.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from diffgs_jax.geometry import Cameras, Gaussians
from diffgs_jax.rasterizer import Backend, Rendering, RenderSettings, render

FAINT = 0.1
"""A share under which denoised views count for next to nothing."""


class Shares(NamedTuple):
    """What some of the Gaussians contribute, in [0, 1].

    Attributes:
        opacity: `[b]`, their part of the sum of all opacities.
        weight: `[b, v]`, their part of the blending weight Σ T·α of a rendering, summed over its pixels; 0 where
            nothing is drawn.
    """

    opacity: Float[Array | np.ndarray, "b"]
    weight: Float[Array | np.ndarray, "b v"]


def opacity_share(gaussians: Gaussians, chosen: Bool[Array | np.ndarray, "b n"]) -> Float[Array, "b"]:
    """Returns the part that some Gaussians `[b, n]` have in the sum of all opacities."""
    total = jnp.sum(gaussians.opacities, axis=1)
    return jnp.sum(jnp.where(chosen, gaussians.opacities, 0.0), axis=1) / jnp.maximum(total, 1e-9)


def weight_shares(rendering: Rendering) -> Float[Array, "b v"]:
    """Returns the part that some Gaussians have in the blending weight of each view.

    Args:
        rendering: `[b, v]`; its last feature is 1 for the Gaussians that are meant, 0 for the others.
    """
    assert rendering.features is not None
    part = jnp.sum(rendering.features[..., -1], axis=(2, 3))
    return part / jnp.maximum(jnp.sum(rendering.alpha, axis=(2, 3)), 1e-9)


def shares(
    gaussians: Gaussians,
    chosen: Bool[Array | np.ndarray, "b n"],
    cameras: Cameras,
    resolution: int,
    *,
    backend: Backend = "auto",
    settings: RenderSettings = RenderSettings(),  # noqa: B008 (frozen)
) -> Shares:
    """Returns what some Gaussians contribute to renderings.

    Args:
        gaussians: `[b, n]`.
        chosen: which are meant.
        cameras: `[b, v]` of the renderings.
        resolution: height and width of the renderings, pixels.
        backend: who renders.
        settings: how.
    """
    flags = jnp.asarray(chosen, jnp.float32)[..., None]
    rendering = render(
        gaussians, cameras, height=resolution, width=resolution, features=flags, backend=backend, **settings.arguments()
    )
    return Shares(opacity_share(gaussians, chosen), weight_shares(rendering))


def of_denoised_views(
    owners: Int32[np.ndarray, "n"], is_condition: Bool[Array | np.ndarray, "b v"]
) -> Bool[Array, "b n"]:
    """Tells which Gaussians belong to views that are denoised.

    Args:
        owners: number of the view of each Gaussian, −1 for none.
        is_condition: which views are given.
    """
    is_denoised = ~jnp.asarray(is_condition)
    return is_denoised[:, np.maximum(owners, 0)] & (owners >= 0)[None]


def faint_line(share: float) -> str | None:
    """Returns what is to be said of the denoised views' share of the blending weight, if it is too small."""
    if share >= FAINT:
        return None
    return (
        f"the denoised views' Gaussians hold {share:.1%} of the blending weight, less than {FAINT:.0%}: the model "
        "draws with those of the given views alone (docs/training.md, What denoised views contribute)"
    )


def by_noise(
    name: str, values: Float[Array, "b"], is_known: Bool[Array, "b"], timesteps: Int32[Array, "b"], steps: int
) -> dict[str, Array]:
    """Returns the mean of a value over samples, and over those of each third of the noise schedule, for the log.

    Where no sample is of a third, its mean is that of all samples: single steps of small batches miss some.

    Args:
        name: of the value.
        values: of each sample.
        is_known: samples that have one; all count where none has.
        timesteps: of the samples.
        steps: of the schedule.
    """
    is_known = jnp.where(jnp.any(is_known), is_known, True)

    def mean(among: Array, otherwise: Array) -> Array:
        count = jnp.sum(among)
        return jnp.where(count > 0, jnp.sum(jnp.where(among, values, 0.0)) / jnp.maximum(count, 1), otherwise)

    overall = mean(is_known, jnp.zeros((), values.dtype))
    third = jnp.minimum(timesteps * 3 // steps, 2)
    parts = {f"{name}_{label}_noise": mean(is_known & (third == i), overall) for i, label in enumerate(_THIRDS)}
    return jax.lax.stop_gradient({name: overall} | parts)


_THIRDS = ("low", "middle", "high")
