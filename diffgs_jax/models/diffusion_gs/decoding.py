"""What the channels of a decoder mean: from raw numbers per pixel to Gaussians (DiffusionGS, section 3.2)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32

from diffgs_jax.geometry import OBJECT, SCENE, Gaussians, Rays
from diffgs_jax.geometry.spherical_harmonics import BAND_0
from diffgs_jax.models.diffusion_gs.config import DistanceLaw, GaussianConfig, NetworkConfig

DOMAIN_NUMBERS = {"object": OBJECT, "scene": SCENE}
"""How `NetworkConfig.domains` and `Views.domain` name the same thing."""


class RawGaussians(NamedTuple):
    """Gaussians before exp, sigmoid and normalisation: free ones first, then (view, row, column).

    Attributes:
        means: `[b, n, 3]` positions, world units, already on their rays; never clipped.
        sh: `[b, n, k, 3]` spherical-harmonic colours.
        log_scales: `[b, n, 3]`, offset and limit applied.
        rotations: `[b, n, 4]` quaternions wxyz of any length.
        opacity_logits: `[b, n]`, offset applied.
    """

    means: Float[Array, "b n 3"]
    sh: Float[Array, "b n k 3"]
    log_scales: Float[Array, "b n 3"]
    rotations: Float[Array, "b n 4"]
    opacity_logits: Float[Array, "b n"]


def gaussian_channels(sh_degree: int) -> int:
    """Returns how many numbers make a Gaussian: position 3, colour 3 (degree + 1)², scale 3, rotation 4, opacity 1."""
    return 3 + 3 * (sh_degree + 1) ** 2 + 3 + 4 + 1


def ray_distance(law: DistanceLaw, a: Float[Array, "*shape"], along: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns how far along its unit ray a Gaussian lies, world units (DiffusionGS eq. 8 and the published code).

    Args:
        law: of the sample's domain.
        a: the decoder's output, any real number.
        along: o·d, minus the distance of the ray's point nearest the origin.
    """
    weight = jax.nn.sigmoid(a)
    if law.kind == "reference_point":
        return (2 * weight - 1) * law.reach - along
    return law.near + weight * (law.far - law.near)


def decode(
    network: NetworkConfig,
    gaussians: GaussianConfig,
    free: Float[Array, "b f channels"],
    pixels: Float[Array, "b v rows columns pixel_channels"],
    rays: Rays,
    domain: Int32[Array | np.ndarray, "b"],
    colors: Float[Array, "b v rows columns 3"],
) -> RawGaussians:
    """Places what the decoders said.

    A free Gaussian's three position channels are its way from its first place; of a pixel's, the mean is its place on
    the ray.

    Args:
        network: which domains there are, and the degree of the colours.
        gaussians: offsets and distance laws.
        free: channels of the free Gaussians.
        pixels: channels of each pixel of the Gaussians' grid; with a colour skip its share comes last.
        rays: `[b, v, rows, columns, 3]` through those pixels.
        domain: `OBJECT` or `SCENE` for each sample. Where there is one domain only, its law holds for all samples.
        colors: that the network was shown at those pixels, in [0, 1] up to noise; a colour skip adds its share of them.
    """
    batch = free.shape[0]
    if network.color_skip:
        pixels = _add_colors(pixels[..., :-1], pixels[..., -1:], colors)
    a = jnp.mean(pixels[..., :3], axis=-1)
    along = jnp.sum(rays.origins * rays.directions, axis=-1)
    laws = {"object": gaussians.object_distance, "scene": gaussians.scene_distance}
    distances = select_domain(
        {name: ray_distance(laws[name], a, along) for name in network.domains}, jnp.asarray(domain)
    )
    means = rays.origins + distances[..., None] * rays.directions
    raw = jnp.concatenate([free, pixels.reshape(batch, -1, pixels.shape[-1])], axis=1)
    coefficients = (network.sh_degree + 1) ** 2
    _, sh, scales, rotations, opacities = jnp.split(
        raw, [3, 3 + 3 * coefficients, 6 + 3 * coefficients, 10 + 3 * coefficients], axis=-1
    )
    free_means = free[..., :3] + free_places(free.shape[1], gaussians.free_spread)[None]
    return RawGaussians(
        means=jnp.concatenate([free_means, means.reshape(batch, -1, 3)], axis=1),
        sh=sh.reshape(*sh.shape[:-1], coefficients, 3),
        log_scales=jnp.minimum(scales + gaussians.scale_offset, gaussians.scale_limit),
        rotations=rotations,
        opacity_logits=opacities[..., 0] + gaussians.opacity_offset,
    )


def free_places(count: int, radius: float) -> Float32[np.ndarray, "{count} 3"]:
    """Returns points spread evenly over a ball about the origin, always the same (R₃ sequence, Roberts 2018).

    Args:
        count: how many.
        radius: of the ball, world units.
    """
    plastic = 1.22074408460575947536  # the root of x⁴ = x + 1
    unit = (0.5 + np.arange(1, count + 1)[:, None] / plastic ** np.arange(1, 4)) % 1.0
    height, angle = 2 * unit[:, :1] - 1, 2 * np.pi * unit[:, 1:2]
    around = np.sqrt(np.maximum(1 - height**2, 0.0))
    directions = np.concatenate([around * np.cos(angle), around * np.sin(angle), height], axis=1)
    return (radius * np.cbrt(unit[:, 2:]) * directions).astype(np.float32)


def _add_colors(
    pixels: Float[Array, "b v rows columns channels"],
    shares: Float[Array, "b v rows columns 1"],
    colors: Float[Array, "b v rows columns 3"],
) -> Float[Array, "b v rows columns channels"]:
    """Adds shares of the pixels' colours, counted from mid grey, to the first coefficient of the Gaussians' colours."""
    added = shares * (colors - 0.5) / BAND_0
    return jnp.concatenate([pixels[..., :3], pixels[..., 3:6] + added, pixels[..., 6:]], axis=-1)


def select_domain(choices: dict[str, Array], domain: Int32[Array, "b"]) -> Array:
    """Takes each sample's array from its own domain; the others' receive exactly zero gradient from it.

    Args:
        choices: for each domain, one array `[b, …]`. A single one is returned for all samples.
        domain: `[b]`.
    """
    (_, chosen), *rest = choices.items()
    for name, array in rest:
        mask = (domain == DOMAIN_NUMBERS[name]).reshape(-1, *(1,) * (array.ndim - 1))
        chosen = jnp.where(mask, array, chosen)
    return chosen


def activate(
    raw: RawGaussians, config: GaussianConfig, domain: Int32[Array | np.ndarray, "b"], *, training: bool
) -> Gaussians:
    """Turns raw outputs into Gaussians.

    Args:
        raw: of `decode`.
        config: whether the means of objects are clipped.
        domain: `OBJECT` or `SCENE` for each sample.
        training: clip only then, as published: a mean that has left the cube has no gradient along the axes it left by.
    """
    means = raw.means
    if training and config.clip_objects:
        is_object = (jnp.asarray(domain) == OBJECT)[:, None, None]
        means = jnp.where(is_object, jnp.clip(means, -1.0, 1.0), means)
    return Gaussians(
        means=means,
        rotations=raw.rotations,
        scales=jnp.exp(raw.log_scales),
        opacities=jax.nn.sigmoid(raw.opacity_logits),
        sh=raw.sh,
    )


def views_of_gaussians(network: NetworkConfig, views: int, height: int, width: int) -> Int32[np.ndarray, "n"]:
    """Returns by Gaussian the number of its view; −1 for free ones."""
    each = (height // network.stride) * (width // network.stride)
    owners = np.repeat(np.arange(views, dtype=np.int32), each)
    return np.concatenate([np.full(network.free_gaussians, -1, np.int32), owners])


def split_views(
    network: NetworkConfig, values: Float[Array | np.ndarray, "b n c"], height: int, width: int
) -> Float[Array | np.ndarray, "b v rows columns c"]:
    """Returns the pixel-aligned part of any per-Gaussian array, laid out as one grid for each view.

    Args:
        network: how many free Gaussians to leave out, and the stride.
        values: for example the means, `[b, free + views · rows · columns, 3]`.
        height: of the views' images, pixels; rows = height / stride.
        width: of the views' images, pixels; columns = width / stride.
    """
    rows, columns = height // network.stride, width // network.stride
    return values[:, network.free_gaussians :].reshape(values.shape[0], -1, rows, columns, values.shape[-1])
