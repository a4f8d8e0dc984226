"""The second stage of distillation: a texture that is optimised on a mesh whose geometry stays.

As in Magic3D (Lin et al. 2023) and DreamGaussian (Tang et al. 2024, section 3.2); there the shape moves too, or
pictures are made by several steps of denoising.

What pulls is what pulled at the splat: given images, and priors, now at little noise, so that they say something about
detail. Which texel a pixel shows follows from the geometry and is known before the first step. There are more texels
than pixels that look at them, so what is optimised is a change of each texel and one of each block of them: what is
never hit goes with what is beside it.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from diffgs_jax.data.images import composite
from diffgs_jax.diffusion import pull
from diffgs_jax.geometry import Cameras, ObjectRig
from diffgs_jax.meshing import TexturedMesh, VisibleSurface, see_surface, show_texture
from diffgs_jax.optimization.descent import RUN
from diffgs_jax.optimization.guided import plan_run
from diffgs_jax.optimization.guided_config import Distillation, GuidedConfig, TextureStage
from diffgs_jax.optimization.guided_steps import Pulling, prior_gradient
from diffgs_jax.optimization.priors import Asked, state_of

_WHITE = 1.0
_BLOCK = 4  # texels along a side of what changes together; as many lie between two charts


_Changes = tuple[Float[Array, "t t 3"], Float[Array, "k k 3"]]
"""Of each texel, and of each block of them."""


class Texturing(NamedTuple):
    """Where the stage stands.

    Attributes:
        mesh: with the texture of now.
        step: steps done.
        loss: of the last step.
    """

    mesh: TexturedMesh
    step: int
    loss: float


class _Known(NamedTuple):
    """Given images on white, and what their cameras see of the mesh."""

    images: Float[Array | np.ndarray, "n h h 3"]
    seen: VisibleSurface


def optimize_texture(
    mesh: TexturedMesh, pulling: Pulling, config: GuidedConfig, stage: TextureStage, rig: ObjectRig
) -> Iterator[Texturing]:
    """Optimises a mesh's texture by Adam, and yields where it stands after every step.

    Args:
        mesh: of the splat, with a texture to start from.
        pulling: given images and priors.
        config: of the first stage, with weights, elevations and how priors are asked.
        stage: steps, rate and noise of this one.
        rig: cameras of views from elsewhere.
    """
    settings = Distillation(
        views=config.distillation.views,
        weight=config.distillation.weight,
        annealing="linear",
        low=config.distillation.low,
        high=stage.high,
        away=config.distillation.away,
    )
    known = None
    if pulling.given is not None:
        images, _ = composite(np.asarray(pulling.given.pixels), _WHITE)
        cameras = Cameras(*map(np.asarray, pulling.given.cameras))
        known = _Known(images, see_surface(*mesh[:3], cameras, images.shape[1]))
    first = jnp.asarray(mesh.texture, jnp.float32) / 255
    blocks = -(-len(first) // _BLOCK)
    changes = jnp.zeros_like(first), jnp.zeros((blocks, blocks, 3))
    moments = optax.scale_by_adam().init(changes)
    key = jax.random.key(config.seed)
    priors = pulling.priors if config.prior_weight else ()
    plan = None
    for step in range(stage.steps):
        if plan is None or step % RUN == 0:
            plan = plan_run(step, pulling._replace(priors=priors), config, rig)
        at = step % RUN
        looks = [Cameras(*(np.asarray(leaf)[at] for leaf in seen)) for seen in plan.seen]
        surfaces = tuple(
            see_surface(*mesh[:3], look, prior.resolution) for look, prior in zip(looks, priors, strict=True)
        )
        changes, moments, loss = _step(
            changes,
            moments,
            first,
            None if known is None else _one_of(known, int(plan.images[at])),
            pulling._replace(given=None, start=None, priors=priors),
            tuple(looks),
            surfaces,
            tuple(azimuths[at] for azimuths in plan.azimuths),
            # `linear` falls with 1 − progress, from T: so that it begins at the stage's own highest
            jnp.asarray(1 - stage.high * (1 - step / stage.steps), jnp.float32),
            jax.random.fold_in(key, step),
            jnp.asarray([config.image_weight, config.prior_weight, stage.keep_weight, stage.rate], jnp.float32),
            settings=settings,
        )
        # Clipped for files alone: inside the loss what is beyond would have no gradient to come back by
        shown = np.round(255 * np.clip(np.asarray(_changed(first, changes)), 0, 1)).astype(np.uint8)
        yield Texturing(mesh._replace(texture=shown), step + 1, float(loss))


def _one_of(known: _Known, number: int) -> _Known:
    """Returns one of the given images alone."""
    part = slice(number, number + 1)
    return _Known(known.images[part], VisibleSurface(*(leaf[part] for leaf in known.seen)))


@jax.jit
def _changed(first: Float[Array, "t t 3"], changes: _Changes) -> Float[Array, "t t 3"]:
    """Returns the texture with both kinds of changes, smooth between the blocks."""
    texels, blocks = changes
    return first + texels + jax.image.resize(blocks, texels.shape, "linear")


@functools.partial(jax.jit, static_argnames="settings")
def _step(
    changes: _Changes,
    moments: Any,
    first: Float[Array, "t t 3"],
    known: _Known | None,
    pulling: Pulling,
    looks: tuple[Cameras, ...],
    surfaces: tuple[VisibleSurface, ...],
    azimuths: tuple[Float[Array, "v"], ...],
    progress: Float[Array, ""],
    key: PRNGKeyArray,
    weights: Float[Array, "4"],
    *,
    settings: Distillation,
) -> tuple[_Changes, Any, Float[Array, ""]]:
    """Takes one step of Adam; `weights` are of images, priors and the first texture, and the rate."""
    of_image, of_priors, of_first, rate = weights

    def loss(changes: _Changes) -> Array:
        texture = _changed(first, changes)
        total = of_first * jnp.mean((texture - first) ** 2)
        if known is not None:
            total += of_image * jnp.mean((show_texture(texture, known.seen, _WHITE) - known.images) ** 2)
        for number, prior in enumerate(pulling.priors):
            images = show_texture(texture, surfaces[number], prior.background)
            asked = prior.asked[0] if prior.is_joint or len(prior.asked) == 1 else Asked()
            x, request = state_of(prior, images, looks[number], asked)
            of_prior = jax.random.fold_in(key, number)
            gradient = prior_gradient(prior, x, request, azimuths[number], progress, of_prior, settings)
            total += of_priors * prior.weight * pull(x, gradient)
        return total

    value, gradient = jax.value_and_grad(loss)(changes)
    updates, moments = optax.scale_by_adam().update(gradient, moments)
    return jax.tree.map(lambda leaf, update: leaf - rate * update, changes, updates), moments, value
