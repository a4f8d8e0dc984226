"""Trained models as priors: from renderings to what a family's denoiser says of them."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Num

from diffgs_jax.diffusion import (
    Denoise,
    Prediction,
    Scale,
    Schedule,
    classifier_free_guidance,
    perpendicular_guidance,
    view_shares,
)
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import OBJECT, Cameras, ObjectRig, Views
from diffgs_jax.models import Batch, Diffuses, Frozen, ModelConfig, Params, Request, Text, family, request_of


class Asked(NamedTuple):
    """What is asked of a prior, the same for all views or of one direction.

    Attributes:
        label: the class; None for none.
        text: `[1]` the prompt; None for none.
    """

    label: Int32[Array | np.ndarray, ""] | None = None
    text: Text | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prior:
    """A model that is asked what is missing in renderings.

    Attributes:
        config: its settings, of a family that `Diffuses`.
        resolution: of the images that it knows, pixels.
        background: grey level in [0, 1] that they are on.
        rig: distance and field of view of the cameras that it knows; one of several views at once sees the splat from
            the rig's azimuths and elevation.
        params: its weights.
        frozen: weights that it uses and does not train.
        given: `[1, n]` images that it is shown, for priors that read images, their world turned so that the first has
            azimuth 0.
        asked: what it is asked for: once, or for each of front, side and back.
        negative: the prompt to stay away from; None for none.
        front: azimuth in the world of the prior's azimuth 0, degrees: that of the first image it is shown.
        weight: of what it says, beside other priors.
        guidance: scale of classifier-free guidance; None leaves the unconditional branch out.
    """

    config: ModelConfig = dataclasses.field(metadata={"static": True})
    resolution: int = dataclasses.field(metadata={"static": True})
    background: float = dataclasses.field(metadata={"static": True})
    params: Params
    frozen: Frozen
    given: Views | None = None
    asked: tuple[Asked, ...] = (Asked(),)
    negative: Text | None = None
    front: float | Float[Array | np.ndarray, ""] = 0.0
    weight: float | Float[Array | np.ndarray, ""] = 1.0
    guidance: float | Float[Array | np.ndarray, ""] | None = None
    rig: ObjectRig = dataclasses.field(default=ObjectRig(), metadata={"static": True})

    @property
    def is_joint(self) -> bool:
        """Whether several views are one sample of it."""
        return family(self.config).requirements(self.config).cameras

    @property
    def has_rig(self) -> bool:
        """Whether it knows the rig's views alone, and not such from anywhere."""
        return self.is_joint and not family(self.config).requirements(self.config).views_apart

    @property
    def schedule(self) -> Schedule:
        """Its noise schedule."""
        return family(self.config).schedule(self.config)


class Denoisers(NamedTuple):
    """What a prior says.

    Attributes:
        guided: with guidance, and kept from other directions.
        plain: its conditional denoiser alone.
    """

    guided: Denoise
    plain: Denoise


def check_prior(config: ModelConfig, resolution: int, *, guidance: float, name: str) -> None:
    """Refuses a model that cannot be a prior.

    Args:
        config: its settings.
        resolution: of the images that it knows, pixels.
        guidance: that is asked for.
        name: of the model, for messages.

    Raises:
        UserError: in one line.
    """
    module = family(config)
    if not isinstance(module, Diffuses):
        raise UserError(f"{name} is no model that takes noise away: it cannot be a prior")
    needs = module.requirements(config)
    if guidance != 1 and not needs.guided:
        raise UserError(f"{name} cannot be guided: it was never trained without its condition; leave --guidance at 1")
    if resolution % needs.image_multiple:
        raise UserError(f"{name} knows images whose sides are multiples of {needs.image_multiple}, not {resolution}")


def state_of(
    prior: Prior, images: Float[Array, "v s s 3"], cameras: Cameras, asked: Asked
) -> tuple[Float[Array, "b *state"], Request]:
    """Returns renderings as the array that a prior diffuses, differentiable by them, and what is asked with it.

    A prior of single images takes each as a sample of its own; one of several views takes all as one sample, behind the
    images that it is given.

    Args:
        prior: the model.
        images: at its resolution, on its background.
        cameras: of them, in the world of the splat.
        asked: what is asked for.
    """
    joint = prior.is_joint
    axis = 0 if joint else 1
    shown = jnp.expand_dims(images, axis)
    turned = cameras._replace(camera_to_world=_turned(jnp.asarray(cameras.camera_to_world), -jnp.radians(prior.front)))
    at = Cameras(*(jnp.expand_dims(jnp.asarray(leaf), axis) for leaf in turned))
    is_condition = np.zeros(shown.shape[:2], bool)
    if joint and prior.given is not None:
        shown = jnp.concatenate([jnp.asarray(prior.given.images), shown], axis=1)
        pairs = zip(prior.given.cameras, at, strict=True)
        at = Cameras(*(jnp.concatenate([jnp.asarray(a), b], axis=1) for a, b in pairs))
        is_condition = np.arange(shown.shape[1])[None] < prior.given.images.shape[1]
    samples = len(shown)
    domain = np.full(samples, OBJECT, np.int32)

    def repeated(text: Text | None) -> Text | None:
        if text is None:
            return None
        return Text(*(jnp.broadcast_to(jnp.asarray(leaf), (samples, *leaf.shape[1:])) for leaf in text))

    labels = None
    if family(prior.config).requirements(prior.config).labels:
        labels = jnp.broadcast_to(jnp.asarray(-1 if asked.label is None else asked.label, jnp.int32), (samples,))
    batch = Batch(
        inputs=Views(shown, at, is_condition, domain),
        targets=None,
        record=np.zeros(samples, np.int32),
        text=repeated(asked.text),
        labels=labels,
    )
    state = family(prior.config).clean_state(prior.config, prior.params, prior.frozen, batch)
    request = dataclasses.replace(request_of(batch), negative_text=repeated(prior.negative))
    return state, request


def denoisers_of(prior: Prior, request: Request, azimuths: Float[Array, "v"], away: float) -> Denoisers:
    """Returns what a prior says of the state that came with a request.

    With a condition for each of front, side and back, a view's condition is the mixture that `view_shares` gives, and
    it is kept from the other directions by Perp-Neg.

    Args:
        prior: the model.
        request: of `state_of`.
        azimuths: of the views, degrees from the front.
        away: how much views are kept from other directions.
    """
    module = family(prior.config)

    def of(condition: Any) -> Denoise:
        return module.denoiser(prior.config, prior.params, prior.frozen, condition)

    def conditional(asked: Asked) -> Denoise:
        labels, text = request.labels, request.text
        if asked.label is not None:
            assert labels is not None
            labels = jnp.full(labels.shape, jnp.asarray(asked.label, jnp.int32))
        if asked.text is not None:
            text = Text(*(jnp.broadcast_to(jnp.asarray(x), (len(request.domain), *x.shape[1:])) for x in asked.text))
        told = dataclasses.replace(request, labels=labels, text=text)
        return of(module.condition(prior.config, prior.params, prior.frozen, told))

    unconditional = of(module.null_condition(prior.config, prior.params, prior.frozen, request))
    if len(prior.asked) == 1 or prior.is_joint:
        plain = conditional(prior.asked[0])
        if prior.guidance is None:
            return Denoisers(plain, plain)
        return Denoisers(classifier_free_guidance(plain, unconditional, jnp.asarray(prior.guidance)), plain)
    directions = [conditional(asked) for asked in prior.asked]
    shares = view_shares(azimuths)
    plain = _mixed(directions, list(shares))
    negatives: list[tuple[Denoise, Scale]] = [
        (direction, lambda t, share=share: -away * (1 - share))
        for direction, share in zip(directions, shares, strict=True)
    ]
    scale = jnp.asarray(1.0 if prior.guidance is None else prior.guidance)
    return Denoisers(perpendicular_guidance(plain, unconditional, negatives, scale), plain)


def _mixed(denoisers: list[Denoise], shares: list[Float[Array, "b"]]) -> Denoise:
    """Returns the denoiser that says each sample's mixture of what some denoisers say."""

    def denoise(x: Float[Array, "b *shape"], t: Num[Array, "b"]) -> Prediction:
        total = jnp.zeros_like(x)
        for one, share in zip(denoisers, shares, strict=True):
            total = total + share.reshape(share.shape + (1,) * (x.ndim - 1)) * one(x, t).x0
        return Prediction(total)

    return denoise


def _turned(poses: Float[Array, "v 4 4"], angle: float | Float[Array, ""]) -> Float[Array, "v 4 4"]:
    """Returns poses in a world that is turned about z, by radians."""
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    zero, one = jnp.zeros_like(cosine), jnp.ones_like(cosine)
    rows = [[cosine, -sine, zero, zero], [sine, cosine, zero, zero], [zero, zero, one, zero], [zero, zero, zero, one]]
    turn = jnp.stack([jnp.stack(row) for row in rows])
    # Written out: products of matrices may be rounded on GPUs
    return jnp.sum(turn[None, :, :, None] * poses[:, None], axis=2)
