"""Refining and distilling: descent towards given images, first looks and priors, from views drawn around the object."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import (
    DILATION,
    Cameras,
    Gaussians,
    ObjectRig,
    intrinsics_from_fov,
    look_at,
    sh_from_color,
    spherical_position,
)
from diffgs_jax.models import Request, family
from diffgs_jax.optimization.adapter import Adapter, new_adapter
from diffgs_jax.optimization.descent import RUN, Fitting, Run, descend, means_rates, turns
from diffgs_jax.optimization.guided_config import DistilConfig, GuidedConfig
from diffgs_jax.optimization.guided_steps import GuidedKnobs, GuidedPlan, Pulling, run_guided_steps
from diffgs_jax.optimization.priors import Prior
from diffgs_jax.optimization.state import FitState
from diffgs_jax.optimization.steps import knobs_of

_EXTENT = 1.0
"""Of an object, in the object frame: what positions move by is relative to its bounding sphere."""


def guide(
    pulling: Pulling,
    state: FitState,
    config: GuidedConfig,
    rig: ObjectRig = ObjectRig(),  # noqa: B008 (frozen)
    *,
    dilation: float = DILATION,
    pause_every: int = RUN,
) -> Iterator[Fitting]:
    """Goes from a state to `config.steps`, and yields where it stands after every run of steps.

    Args:
        pulling: what pulls at the Gaussians.
        state: before; of `initial_state`, with `new_adapters` for `vsd`.
        config: how.
        rig: distance and field of view of the views from elsewhere; priors have their own.
        dilation: of `render`, square pixels.
        pause_every: yields at least at every multiple of this step.

    Raises:
        DataError: if the loss is not finite.
    """
    on_device = jax.tree.map(jnp.asarray, pulling)
    knobs = GuidedKnobs(
        knobs_of(config), config.image_weight, config.stay_weight, config.still_weight, config.prior_weight, _EXTENT
    )
    sides = config.resolutions or (0,)
    starts = [config.steps * number // len(sides) for number in range(len(sides))]

    def take(state: FitState, run: Run) -> tuple[FitState, Array]:
        side = [side for start, side in zip(starts, sides, strict=True) if start <= run.start][-1]
        return run_guided_steps(
            state,
            on_device,
            plan_run(run.start, pulling, config, rig),
            run.stop - run.start,
            run.degree,
            run.key,
            knobs,
            side=side,
            settings=config.distillation,
            dilation=dilation,
        )

    def is_outside(state: FitState) -> Bool[Array, "n"]:
        return jnp.linalg.norm(state.parameters.means, axis=1) > config.radius

    return descend(state, config, take, is_outside, _EXTENT, pause_every=pause_every, pauses=tuple(starts[1:]))


def plan_run(start: int, pulling: Pulling, config: GuidedConfig, rig: ObjectRig) -> GuidedPlan:
    """Returns what the `RUN` steps from `start` on look at: a function of the seed and the number of the step alone.

    Args:
        start: steps done.
        pulling: what pulls at the Gaussians.
        config: ranges and numbers of views.
        rig: cameras of the views from elsewhere.
    """
    random = [np.random.default_rng([config.seed, 1 + number]) for number in range(start, start + RUN)]
    azimuths = np.stack([spread_azimuths(one, config.stay_views) for one in random])
    heights = np.stack([spread_elevations(one, config.elevations, config.stay_views) for one in random])
    stay = _cameras(azimuths, heights, rig)
    seen, at = [], []
    for prior in pulling.priors:
        turned, heights = _views_of(prior, config, random)
        seen.append(_cameras(turned + float(prior.front), heights, prior.rig))
        at.append(turned.astype(np.float32))
    count = 0 if pulling.given is None else len(pulling.given.pixels)
    return GuidedPlan(
        images=turns(start, 1, count, config.seed)[:, 0] if count else np.zeros(RUN, np.int32),
        stay=stay,
        stay_shares=_shares(stay, pulling),
        seen=tuple(seen),
        azimuths=tuple(at),
        means_rates=means_rates(start, config, _EXTENT),
        progress=(np.arange(start, start + RUN) / config.steps).astype(np.float32),
    )


def fog(config: DistilConfig) -> Gaussians:
    """Returns grey, faint Gaussians evenly in a ball: what distillation starts from."""
    random = np.random.default_rng(config.seed)
    count = config.start_count
    directions = random.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    means = config.start_radius * directions * np.cbrt(random.random((count, 1)))
    # As large as they are apart
    size = config.start_radius * (4 / 3 * np.pi / count) ** (1 / 3)
    return Gaussians(
        means=means.astype(np.float32),
        rotations=np.tile(np.asarray([[1.0, 0.0, 0.0, 0.0]], np.float32), (count, 1)),
        scales=np.full((count, 3), 0.6 * size, np.float32),
        opacities=np.full(count, 0.1, np.float32),
        sh=np.asarray(sh_from_color(jnp.asarray(random.uniform(0.4, 0.6, (count, 3)), jnp.float32))),
    )


def new_adapters(priors: tuple[Prior, ...], config: GuidedConfig) -> tuple[Adapter, ...]:
    """Returns the networks of `vsd`, one for each prior; none for `sds`."""
    if config.distillation.kind == "sds":
        return ()
    key = jax.random.key(config.seed)
    return tuple(
        new_adapter(channels_of(prior), config.distillation.adapter_width, jax.random.fold_in(key, number))
        for number, prior in enumerate(priors)
    )


def channels_of(prior: Prior) -> int:
    """Returns the channels of the images that a prior diffuses.

    Raises:
        UserError: if it diffuses something else.
    """
    side = prior.resolution
    cameras = Cameras(np.zeros((1, 1, 4, 4), np.float32), np.zeros((1, 1, 4), np.float32))
    request = Request(side, np.zeros(1, np.int32), cameras=cameras)
    shape = family(prior.config).state_shape(prior.config, request)
    if len(shape) < 4:
        raise UserError("--distillation.kind vsd needs priors of images: give sds")
    return shape[-1]


def spread_azimuths(random: np.random.Generator, count: int) -> Float[np.ndarray, "{count}"]:
    """Draws azimuths at equal steps around the object, in degrees, beginning anywhere."""
    return (random.uniform(0, 360) + np.arange(count) * 360 / count) % 360


def spread_elevations(
    random: np.random.Generator, limits: tuple[float, float], count: int
) -> Float[np.ndarray, "{count}"]:
    """Draws elevations, in degrees, all parts of a sphere's zone being alike."""
    low, high = np.sin(np.radians(limits))
    return np.degrees(np.arcsin(random.uniform(low, high, count)))


def _views_of(prior: Prior, config: GuidedConfig, random: list[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
    """Returns azimuths and elevations `[RUN, v]` at which a prior looks at the splat."""
    rig = prior.rig
    if prior.has_rig:
        turned = [np.asarray(rig.azimuths) + one.uniform(-config.jitter, config.jitter) for one in random]
        return np.stack(turned) % 360, np.full((RUN, len(rig.azimuths)), rig.elevation)
    views = config.distillation.views
    azimuths = np.stack([spread_azimuths(one, views) for one in random])
    return azimuths, np.stack([spread_elevations(one, config.elevations, views) for one in random])


def _cameras(azimuths: np.ndarray, elevations: np.ndarray, rig: ObjectRig) -> Cameras:
    turned, up = np.radians(azimuths), np.radians(elevations)
    poses = look_at(spherical_position(turned, up, np.full_like(turned, rig.distance)))
    intrinsics = np.broadcast_to(intrinsics_from_fov(rig.fov), (*turned.shape, 4))
    return Cameras(poses.astype(np.float32), intrinsics.astype(np.float32))


def _shares(cameras: Cameras, pulling: Pulling) -> Float[np.ndarray, "length k"]:
    """Returns how far cameras are from the nearest given one: (1 − cos) / 2 of the angle at the origin, 0 to 1."""
    places = np.asarray(cameras.camera_to_world)[..., :3, 3]
    places = places / np.linalg.norm(places, axis=-1, keepdims=True)
    if pulling.given is None:
        return np.ones(places.shape[:-1], np.float32)
    given = np.asarray(pulling.given.cameras.camera_to_world)[:, :3, 3]
    given = given / np.linalg.norm(given, axis=-1, keepdims=True)
    return ((1 - (places @ given.T).max(axis=-1)) / 2).astype(np.float32)
