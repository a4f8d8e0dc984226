"""Steps of refining and distilling: Gaussians pulled by given images, by what they looked like, and by priors."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray

from diffgs_jax.diffusion import distillation_gradient, distillation_timesteps, pull
from diffgs_jax.geometry import Cameras, Gaussians
from diffgs_jax.optimization.adapter import Adapter, adapted, trained
from diffgs_jax.optimization.guided_config import Distillation
from diffgs_jax.optimization.parameters import Parameters, to_gaussians
from diffgs_jax.optimization.posed_images import PosedImages
from diffgs_jax.optimization.priors import Asked, Prior, denoisers_of, state_of
from diffgs_jax.optimization.state import FitState
from diffgs_jax.optimization.steps import Knobs, image_loss, moved, on_backgrounds, regulariser, render_copies
from diffgs_jax.rasterizer import render


class Pulling(NamedTuple):
    """All that pulls at the Gaussians; what is not there is None or empty.

    Attributes:
        given: images that are to be matched.
        start: `[m]`, whose looks from elsewhere are to be kept.
        priors: models that are asked.
    """

    given: PosedImages | None = None
    start: Gaussians | None = None
    priors: tuple[Prior, ...] = ()


class GuidedPlan(NamedTuple):
    """What a run of steps does; its length is fixed, and only the first steps of it may be taken.

    Attributes:
        images: `[length]` numbers of the given images that each step looks at.
        stay: `[length, k]` cameras of what is to stay.
        stay_shares: `[length, k]` how much each of them counts.
        seen: for each prior, `[length, v]` cameras that it looks through.
        azimuths: for each prior, `[length, v]`, degrees from the front.
        means_rates: `[length]` learning rates of the positions, world units.
        progress: `[length]` in [0, 1].
    """

    images: Int32[Array | np.ndarray, "length"]
    stay: Cameras
    stay_shares: Float[Array | np.ndarray, "length k"]
    seen: tuple[Cameras, ...]
    azimuths: tuple[Float[Array | np.ndarray, "length v"], ...]
    means_rates: Float[Array | np.ndarray, "length"]
    progress: Float[Array | np.ndarray, "length"]


class GuidedKnobs(NamedTuple):
    """The numbers of a `GuidedConfig` that steps depend on: values of the compiled program, not a part of it.

    Attributes:
        knobs: rates and weights that a fit has too.
        image: weight of the given images.
        stay: weight of the first looks.
        still: weight of the mean squared move, in extents of the scene.
        prior: weight of the priors together.
        extent: of the scene, world units.
    """

    knobs: Knobs
    image: float | Float[Array, ""]
    stay: float | Float[Array, ""]
    still: float | Float[Array, ""]
    prior: float | Float[Array, ""]
    extent: float | Float[Array, ""]


class _Seen(NamedTuple):
    """What a step's renderings leave behind: which Gaussians the leading images show, and what each prior was shown."""

    is_seen: Bool[Array, "v n"]
    shown: tuple[Any, ...]


@functools.partial(jax.jit, static_argnames=("side", "settings", "dilation"))
def run_guided_steps(
    state: FitState,
    pulling: Pulling,
    plan: GuidedPlan,
    count: int | Int32[Array, ""],
    degree: int | Int32[Array, ""],
    key: PRNGKeyArray,
    knobs: GuidedKnobs,
    *,
    side: int,
    settings: Distillation,
    dilation: float,
) -> tuple[FitState, Float[Array, ""]]:
    """Takes some steps, and returns the state with the mean of their losses.

    Args:
        state: before; with an `Adapter` for each prior in its `adapters` for `vsd`.
        pulling: what pulls.
        plan: which images and views each step looks at, and rates.
        count: how many steps are taken.
        degree: of the harmonics that count.
        key: of all that is drawn, together with the number of the step.
        knobs: rates and weights.
        side: at which priors see the splat, pixels; 0 for their own.
        settings: how priors are asked.
        dilation: of `render`, square pixels.
    """
    first = state.parameters.means if pulling.start is None else jnp.asarray(pulling.start.means)

    def body(index: Array, carry: tuple[FitState, Array]) -> tuple[FitState, Array]:
        state, total = carry
        now = jax.tree.map(lambda leaf: jnp.asarray(leaf)[index], plan)
        drawn = jax.random.fold_in(key, state.step)
        state, value = _step(state, pulling, now, first, degree, drawn, knobs, side, settings, dilation)
        return state, total + value

    state, total = jax.lax.fori_loop(0, count, body, (state, jnp.zeros((), jnp.float32)))
    return state, total / jnp.maximum(count, 1)


def _step(
    state: FitState,
    pulling: Pulling,
    now: GuidedPlan,
    first: Array,
    degree: int | Array,
    key: PRNGKeyArray,
    knobs: GuidedKnobs,
    side: int,
    settings: Distillation,
    dilation: float,
) -> tuple[FitState, Array]:
    of_background, of_noise, of_priors, of_adapters = jax.random.split(key, 4)
    # Pulls are counted where most is seen: in the first prior's views, or else in the given images.
    leads = bool(pulling.priors)
    cameras = now.seen[0] if leads else _cameras_of_given(pulling, now)

    def loss(parameters: Parameters, offsets: Array) -> tuple[Array, _Seen]:
        gaussians = to_gaussians(parameters, state.is_used, degree)
        total = regulariser(gaussians, state.is_used, knobs.knobs)
        still = jnp.zeros((len(cameras.intrinsics), *parameters.means.shape))
        is_seen = jnp.zeros(offsets.shape[:2], bool)
        shown = []
        if pulling.given is not None:
            value, seen = _given_loss(
                pulling.given, now, gaussians, still[:1] if leads else offsets, of_background, knobs, dilation
            )
            total += knobs.image * value
            is_seen = is_seen if leads else seen
        if pulling.start is not None:
            total += knobs.stay * _stay_loss(pulling, now, gaussians, dilation)
            moves = jnp.where(state.is_used[:, None], parameters.means - first, 0.0) / knobs.extent
            total += knobs.still * jnp.mean(jnp.sum(moves**2, axis=1))
        for number, prior in enumerate(pulling.priors):
            at = now.seen[number]
            at_rest = jnp.zeros((len(at.intrinsics), *parameters.means.shape))
            rendering = render_copies(
                gaussians,
                offsets if number == 0 else at_rest,
                at,
                side or prior.resolution,
                jnp.full((len(at.intrinsics), 3), prior.background),
                dilation,
            )
            assert rendering.radii is not None
            is_seen = rendering.radii[..., 0] > 0 if number == 0 else is_seen
            images = _enlarged(rendering.image, prior.resolution)
            asked = prior.asked[0] if prior.is_joint or len(prior.asked) == 1 else Asked()
            x, request = state_of(prior, images, at, asked)
            adapter = state.adapters[number] if state.adapters else None
            cameras_of_state = request_cameras(prior, at, x)
            gradient = prior_gradient(
                prior,
                x,
                request,
                jnp.asarray(now.azimuths[number]),
                jnp.asarray(now.progress),
                jax.random.fold_in(of_priors, number),
                settings,
                None if adapter is None else (adapter, cameras_of_state),
            )
            total += knobs.prior * prior.weight * pull(x, gradient)
            shown.append((jax.lax.stop_gradient(x), request))
        return total, _Seen(is_seen, tuple(shown))

    offsets = jnp.zeros((len(cameras.intrinsics), *state.parameters.means.shape))
    (value, seen), (gradient, by_image) = jax.value_and_grad(loss, (0, 1), has_aux=True)(state.parameters, offsets)
    adapters = tuple(
        trained(
            adapter,
            denoisers_of(prior, request, jnp.asarray(now.azimuths[number]), settings.away).plain,
            prior.schedule,
            request_cameras(prior, now.seen[number], x),
            x,
            jax.random.fold_in(of_adapters, number),
            width=settings.adapter_width,
            rate=settings.adapter_rate,
        )
        for number, (prior, adapter, (x, request)) in enumerate(
            zip(pulling.priors, state.adapters, seen.shown, strict=False)
        )
    )
    state = moved(state, gradient, by_image, seen.is_seen, cameras, jnp.asarray(now.means_rates), of_noise, knobs.knobs)
    return state._replace(adapters=adapters), value


def request_cameras(prior: Prior, at: Cameras, x: Float[Array, "b *state"]) -> Cameras:
    """Returns the cameras of all images of a prior's state, those that are given first where they are part of it."""
    if not prior.is_joint or prior.given is None or x.shape[1] == len(at.intrinsics):
        return at
    return Cameras(*(jnp.concatenate([jnp.asarray(a)[0], b]) for a, b in zip(prior.given.cameras, at, strict=True)))


def prior_gradient(
    prior: Prior,
    x: Float[Array, "b *state"],
    request: Any,
    azimuths: Float[Array, "v"],
    progress: Float[Array, ""],
    key: PRNGKeyArray,
    settings: Distillation,
    adapter: tuple[Adapter, Cameras] | None = None,
) -> Float[Array, "b *state"]:
    """Returns what a prior has against a state: the gradient of score distillation at a timestep of the progress.

    Args:
        prior: the model.
        x: of `state_of`.
        request: that came with it.
        azimuths: of the views, degrees from the front.
        progress: of the optimization, in [0, 1].
        key: of timestep and noise.
        settings: how priors are asked.
        adapter: the network of `vsd`, and the cameras of all images of the state.
    """
    of_time, of_noise = jax.random.split(key)
    schedule = prior.schedule
    t = distillation_timesteps(
        of_time,
        len(x),
        schedule,
        progress,
        annealing=settings.annealing,
        low=settings.low,
        high=settings.high,
    )
    says = denoisers_of(prior, request, azimuths, settings.away)
    baseline = None
    if adapter is not None:
        baseline = adapted(adapter[0].params, says.plain, adapter[1], settings.adapter_width)
    noise = jax.random.normal(of_noise, x.shape, x.dtype)
    return distillation_gradient(says.guided, schedule, x, t, noise, weight=settings.weight, baseline=baseline).gradient


def _cameras_of_given(pulling: Pulling, now: GuidedPlan) -> Cameras:
    assert pulling.given is not None
    return Cameras(*(jnp.asarray(leaf)[now.images][None] for leaf in pulling.given.cameras))


def _given_loss(
    given: PosedImages,
    now: GuidedPlan,
    gaussians: Gaussians,
    offsets: Array,
    key: PRNGKeyArray,
    knobs: GuidedKnobs,
    dilation: float,
) -> tuple[Array, Array]:
    shown = jax.tree.map(lambda leaf: jnp.asarray(leaf)[now.images][None], given)
    target, background = on_backgrounds(shown.pixels, key, knobs.knobs.random_background)
    seen = render_copies(gaussians, offsets, shown.cameras, shown.pixels.shape[1], background, dilation)
    assert seen.radii is not None
    return image_loss(seen, target, shown.depths, knobs.knobs.ssim, knobs.knobs.depth), seen.radii[..., 0] > 0


def _stay_loss(pulling: Pulling, now: GuidedPlan, gaussians: Gaussians, dilation: float) -> Array:
    """Returns the mean difference in colour and coverage to the first splat, view by view with its share."""
    assert pulling.start is not None and pulling.given is not None
    side = pulling.given.pixels.shape[1]
    ours, first = (
        render(one, now.stay, height=side, width=side, dilation=dilation) for one in (gaussians, pulling.start)
    )
    first = jax.lax.stop_gradient(first)
    each = jnp.mean(jnp.abs(ours.image - first.image), axis=(1, 2, 3))
    each += jnp.mean(jnp.abs(ours.alpha - first.alpha), axis=(1, 2))
    return jnp.mean(now.stay_shares * each)


def _enlarged(images: Float[Array, "v s s 3"], side: int) -> Float[Array, "v side side 3"]:
    if images.shape[1] == side:
        return images
    return jax.image.resize(images, (len(images), side, side, 3), "bilinear")
