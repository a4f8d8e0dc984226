"""Steps of gradient descent: images rendered, compared, and Gaussians moved, many steps in one compiled program."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray, UInt8

from diffgs_jax.geometry import DILATION, Cameras, Gaussians, covariances
from diffgs_jax.models.losses import depth_errors, ssim
from diffgs_jax.optimization.config import OptimizationConfig
from diffgs_jax.optimization.parameters import Parameters, to_gaussians
from diffgs_jax.optimization.posed_images import PosedImages
from diffgs_jax.optimization.state import FitState, Pulls, adam
from diffgs_jax.rasterizer import Rendering, render

_STILL = 100.0, 0.005
"""Steepness and middle of the gate that lets noise move only what is faint (Kheradmand et al. 2024)."""
_REST_SHARE = 1 / 20
"""Rate of the higher harmonics, relative to that of degree 0; published."""


class Plan(NamedTuple):
    """What a run of steps does; its length is fixed, and only the first steps of it may be taken.

    Attributes:
        images: `[length, v]` numbers of the images that each step looks at.
        means_rates: `[length]` learning rates of the positions, world units.
    """

    images: Int32[Array | np.ndarray, "length v"]
    means_rates: Float[Array | np.ndarray, "length"]


class Knobs(NamedTuple):
    """The numbers of a config that steps depend on: values of the compiled program, not a part of it.

    Attributes:
        rates: Adam's, of each parameter; that of the means is the plan's.
        ssim: weight of the loss.
        depth: weight of the loss.
        noise: of the positions; 0 without relocation, like the next two.
        opacity_weight: of the regulariser.
        scale_weight: of the regulariser.
        random_background: draw a background for each image; white otherwise.
    """

    rates: Parameters
    ssim: float | Float[Array, ""]
    depth: float | Float[Array, ""]
    noise: float | Float[Array, ""]
    opacity_weight: float | Float[Array, ""]
    scale_weight: float | Float[Array, ""]
    random_background: bool | Bool[Array, ""]


def knobs_of(config: OptimizationConfig) -> Knobs:
    """Returns the numbers of a config that steps depend on."""
    rates, walk = config.rates, float(config.growth == "relocation")
    return Knobs(
        rates=Parameters(
            means=jnp.float32(0),
            log_scales=jnp.float32(rates.scales),
            rotations=jnp.float32(rates.rotations),
            logits=jnp.float32(rates.opacities),
            sh_dc=jnp.float32(rates.colors),
            sh_rest=jnp.float32(rates.colors * _REST_SHARE),
        ),
        ssim=config.loss.ssim,
        depth=config.loss.depth,
        noise=walk * config.by_relocation.noise,
        opacity_weight=walk * config.by_relocation.opacity_weight,
        scale_weight=walk * config.by_relocation.scale_weight,
        random_background=config.random_background,
    )


@jax.jit
def run_steps(
    state: FitState,
    images: PosedImages,
    plan: Plan,
    count: int | Int32[Array, ""],
    degree: int | Int32[Array, ""],
    key: PRNGKeyArray,
    knobs: Knobs,
) -> tuple[FitState, Float[Array, ""]]:
    """Takes some steps, and returns the state with the mean of their losses.

    Args:
        state: before.
        images: all that are fitted.
        plan: which of them each step looks at, and rates.
        count: how many steps are taken.
        degree: of the harmonics that count.
        key: of backgrounds and noise, together with the number of the step.
        knobs: rates and weights.
    """

    def body(index: Array, carry: tuple[FitState, Array]) -> tuple[FitState, Array]:
        state, total = carry
        chosen, rate = jnp.asarray(plan.images)[index], jnp.asarray(plan.means_rates)[index]
        shown = jax.tree.map(lambda leaf: jnp.asarray(leaf)[chosen], images)
        drawn = jax.random.fold_in(key, state.step)
        state, loss = _step(state, shown, rate, degree, drawn, knobs)
        return state, total + loss

    state, total = jax.lax.fori_loop(0, count, body, (state, jnp.zeros((), jnp.float32)))
    return state, total / jnp.maximum(count, 1)


def image_loss(
    rendering: Rendering,
    target: Float[Array, "v s s 3"],
    depths: Float[Array | np.ndarray, "v s s"] | None,
    ssim_weight: float | Float[Array, ""],
    depth_weight: float | Float[Array, ""],
) -> Float[Array, ""]:
    """Returns (1 − λ)·L1 + λ·(1 − SSIM) (Kerbl et al. 2023, equation 7, whose D-SSIM it is) and the error of depth.

    Args:
        rendering: `[v]`.
        target: on the same background.
        depths: planar z, NaN where it is not known.
        ssim_weight: λ.
        depth_weight: of the relative error of the depth.
    """
    total = (1 - ssim_weight) * jnp.mean(jnp.abs(rendering.image - target))
    total += ssim_weight * (1 - jnp.mean(ssim(rendering.image, target)))
    if depths is not None:
        each = Rendering(*(leaf[:, None] for leaf in (rendering.image, rendering.alpha, rendering.depth)))
        total += depth_weight * jnp.mean(depth_errors(each, depths[:, None]))
    return total


def _step(
    state: FitState,
    shown: PosedImages,
    means_rate: Array,
    degree: int | Array,
    key: PRNGKeyArray,
    knobs: Knobs,
) -> tuple[FitState, Array]:
    of_background, of_noise = jax.random.split(key)
    side = shown.pixels.shape[1]
    target, background = on_backgrounds(shown.pixels, of_background, knobs.random_background)

    def loss(parameters: Parameters, offsets: Array) -> tuple[Array, Array]:
        gaussians = to_gaussians(parameters, state.is_used, degree)
        seen = render_copies(gaussians, offsets, shown.cameras, side, background)
        total = image_loss(seen, target, shown.depths, knobs.ssim, knobs.depth)
        total += regulariser(gaussians, state.is_used, knobs)
        assert seen.radii is not None
        return total, seen.radii[..., 0] > 0

    offsets = jnp.zeros((len(shown.pixels), *state.parameters.means.shape))
    (value, is_seen), (gradient, by_image) = jax.value_and_grad(loss, (0, 1), has_aux=True)(state.parameters, offsets)
    return moved(state, gradient, by_image, is_seen, shown.cameras, means_rate, of_noise, knobs), value


def on_backgrounds(
    pixels: UInt8[Array | np.ndarray, "v s s 4"], key: PRNGKeyArray, is_random: bool | Bool[Array, ""]
) -> tuple[Float[Array, "v s s 3"], Float[Array, "v 3"]]:
    """Returns images on backgrounds, and these: drawn for each image, or white.

    Args:
        pixels: RGBA, colours multiplied by alpha.
        key: of the draw.
        is_random: whether they are drawn.
    """
    pixels = jnp.asarray(pixels)
    background = jnp.where(is_random, jax.random.uniform(key, (len(pixels), 3)), 1.0)
    colors = pixels.astype(jnp.float32) / 255
    return colors[..., :3] + (1 - colors[..., 3:]) * background[:, None, None], background


def render_copies(
    gaussians: Gaussians,
    offsets: Float[Array, "v n 3"],
    cameras: Cameras,
    side: int,
    background: float | Float[Array, "v 3"],
    dilation: float = DILATION,
) -> Rendering:
    """Renders one copy of the Gaussians for each camera, so that each image's pull on a position is known by itself.

    Args:
        gaussians: `[n]`.
        offsets: zeros; their gradients are the pulls.
        cameras: `[v]`.
        side: height and width, pixels.
        background: of each image.
        dilation: of `render`, square pixels.
    """
    copies = Gaussians(*(jnp.broadcast_to(leaf[None], (len(offsets), *leaf.shape)) for leaf in gaussians))
    copies = copies._replace(means=copies.means + offsets)
    return render(copies, cameras, height=side, width=side, background=background, with_radii=True, dilation=dilation)


def moved(
    state: FitState,
    gradient: Parameters,
    by_image: Float[Array, "v n 3"],
    is_seen: Bool[Array, "v n"],
    cameras: Cameras,
    means_rate: float | Float[Array, ""],
    key: PRNGKeyArray,
    knobs: Knobs,
) -> FitState:
    """Returns the state after one step of Adam, with what it says of how images pull.

    Args:
        state: before.
        gradient: of the loss, a mean over the images.
        by_image: gradient by the positions of each image's copy (`render_copies`).
        is_seen: which Gaussians each image shows.
        cameras: `[v]`.
        means_rate: learning rate of the positions, world units.
        key: of the noise.
        knobs: rates and weights.
    """
    updates, after = adam().update(gradient, state.moments)
    moments: Any = after
    rates = knobs.rates._replace(means=jnp.asarray(means_rate))
    parameters = jax.tree.map(lambda leaf, update, rate: leaf - rate * update, state.parameters, updates, rates)
    noise = _noise(parameters, key) * (knobs.noise * means_rate)
    parameters = parameters._replace(means=parameters.means + jnp.where(state.is_used[:, None], noise, 0.0))
    pulls = _pulls(by_image * len(by_image), state.parameters.means, cameras)
    pulls = Pulls(
        state.pulls.total + jnp.sum(jnp.where(is_seen, pulls, 0.0), axis=0),
        state.pulls.images + jnp.sum(is_seen, axis=0),
    )
    return state._replace(step=state.step + 1, parameters=parameters, moments=moments, pulls=pulls)


def regulariser(gaussians: Gaussians, is_used: Bool[Array, "n"], knobs: Knobs) -> Float[Array, ""]:
    """Returns what the sums over opacities and scales cost (Kheradmand et al. 2024, section 3.4), as means."""
    used = jnp.maximum(jnp.sum(is_used), 1)
    scales = jnp.sum(jnp.where(is_used[:, None], gaussians.scales, 0.0)) / (3 * used)
    return knobs.opacity_weight * jnp.sum(gaussians.opacities) / used + knobs.scale_weight * scales


def _noise(parameters: Parameters, key: PRNGKeyArray) -> Float[Array, "n 3"]:
    """Returns Σ·η for each Gaussian, next to nothing for those that can be seen (equation 8)."""
    steepness, middle = _STILL
    gate = jax.nn.sigmoid(-steepness * (jax.nn.sigmoid(parameters.logits) - middle))
    drawn = jax.random.normal(key, parameters.means.shape) * gate[:, None]
    spread = covariances(parameters.rotations, jnp.exp(parameters.log_scales))
    return jnp.sum(spread * drawn[:, None, :], axis=-1)


def _pulls(by_image: Float[Array, "v n 3"], means: Float[Array, "n 3"], cameras: Cameras) -> Float[Array, "v n"]:
    """Returns the lengths of gradients by the place in the image, which is 2 wide and high.

    A place is u = 2·f·x/z, so ∂L/∂u = ∂L/∂x·z/(2f), where x, y, z are the camera's axes. What a move across the image
    does to the Gaussian's shape and colour there is in it too; 3DGS leaves that out, which is small beside the rest.

    Args:
        by_image: ∂L/∂mean of each image's own loss.
        means: world units.
        cameras: `[v]`.
    """
    poses = jnp.asarray(cameras.camera_to_world)
    local = jnp.sum(by_image[..., None] * poses[:, None, :3, :2], axis=2)
    depth = jnp.sum((means[None] - poses[:, None, :3, 3]) * poses[:, None, :3, 2], axis=-1)
    place = local * depth[..., None] / (2 * jnp.asarray(cameras.intrinsics)[:, None, :2])
    return jnp.linalg.norm(place, axis=-1)
