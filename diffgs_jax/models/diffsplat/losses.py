"""What diffsplat is trained to do (Lin et al. 2025, section 3.3): tell noise from latents, and render as views are.

Corrected against the published code: weights by SNR are one for each object, like the loss they weigh; the rendering
loss sees each view once.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32, PRNGKeyArray

from diffgs_jax.diffusion import Schedule, add_noise, make_schedule, sample_timesteps, to_x0, training_target
from diffgs_jax.geometry import Cameras, Views
from diffgs_jax.models.bundles import Batch, Control, Frozen, Metrics, Params, Text
from diffgs_jax.models.diffsplat.conditions import TextFeatures
from diffgs_jax.models.diffsplat.config import DiffSplatConfig, DropoutConfig
from diffgs_jax.models.diffsplat.inputs import image_latents, network_input, ray_maps
from diffgs_jax.models.diffsplat.network import apply_denoiser, empty_text
from diffgs_jax.models.diffsplat.splats import grids_of, latents_of, world_cameras
from diffgs_jax.models.diffsplat.text import null_text, text_features
from diffgs_jax.models.family import family
from diffgs_jax.models.stored import StoredModel


class Kept(NamedTuple):
    """Which conditions each sample keeps.

    Attributes:
        text: `[b]`.
        image: `[b]`.
    """

    text: Bool[Array, "b"]
    image: Bool[Array, "b"]


def kept_conditions(config: DropoutConfig, u: Float[Array, "b"]) -> Kept:
    """Returns which conditions samples keep: of u in [0, 1] the lowest lose the prompt, then both, then the image."""
    first = config.text
    second, third = first + config.both, first + config.both + config.image
    return Kept(text=u >= second, image=(u < first) | (u >= third))


def loss(
    config: DiffSplatConfig, params: Params, frozen: Frozen, batch: Batch, key: PRNGKeyArray, step: Int32[Array, ""]
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the scalar to descend and what to log; see `steered_loss`, here without anything that steers."""
    return steered_loss(config, params, frozen, batch, key, step, ())


def steered_loss(
    config: DiffSplatConfig,
    params: Params,
    frozen: Frozen,
    batch: Batch,
    key: PRNGKeyArray,
    step: Int32[Array, ""],
    controls: tuple[Control, ...],
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the scalar to descend and what to log: `latents`, the reconstructor's terms as `render_…`, and `loss`.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: the reconstructor, the VAE, and what else the settings ask for.
        batch: `inputs` are the views that splats are made of, the given one first; they and `targets` supervise
            renderings.
        key: draws timesteps, noise and which conditions are hidden.
        step: optimizer steps done.
        controls: what steers the network; they may be what is trained.
    """
    keys = dict(zip(("time", "noise", "dropout", "render", "images"), jax.random.split(key, 5), strict=True))
    views = given_first(batch.inputs)
    samples = views.images.shape[0]
    clean = clean_latents(frozen, batch)
    schedule = make_schedule(config.schedule)
    timesteps = sample_timesteps(keys["time"], samples, schedule.steps, config.losses.timestep_sampling)
    noise = jax.random.normal(keys["noise"], clean.shape, clean.dtype)
    noisy = add_noise(schedule, clean, timesteps, noise)
    kept = kept_conditions(config.dropout, jax.random.uniform(keys["dropout"], (samples,)))
    rays = ray_maps(config, world_cameras(frozen, views.cameras), views.images.shape[2])
    image = None
    if config.image.encoder != "none":
        image = image_latents(config, params, frozen, views)
        image = jnp.where(kept.image[:, None, None, None, None], image, 0.0)
    text = dropped_text(config, params, frozen, batch.text, kept.text)
    told = jnp.asarray(schedule.timesteps)[timesteps]
    output = apply_denoiser(config, params, network_input(noisy, rays, image), told, text, controls)
    output = output[:, output.shape[1] - clean.shape[1] :]
    predicted = to_x0(schedule, config.prediction, output, noisy, timesteps)
    if config.losses.error_of == "x0":
        error = predicted - clean
    else:
        error = output - training_target(schedule, config.prediction, clean, timesteps, noise)
    errors = jnp.mean(error**2, axis=(1, 2, 3, 4))
    weights = timestep_weights(config, schedule, timesteps)
    metrics: Metrics = {"latents": jnp.mean(errors)}
    total = config.losses.diffusion * jnp.mean(weights * errors)
    if config.losses.render_probability > 0:

        def rendered(predicted: Array) -> Metrics:
            ordered = jax.tree.map(jnp.asarray, batch._replace(inputs=views))
            return rendering_terms(config, frozen, ordered, predicted, timesteps, keys["images"], step)

        def nothing(predicted: Array) -> Metrics:
            shapes = jax.eval_shape(rendered, predicted)
            return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        if config.losses.render_probability >= 1:
            terms = rendered(predicted)
        else:
            drawn = jax.random.bernoulli(keys["render"], config.losses.render_probability)
            terms = jax.lax.cond(drawn, rendered, nothing, predicted)
        total = total + config.losses.render * terms.pop("weighed")
        metrics |= {f"render_{name}": value for name, value in terms.items()}
    return total, metrics | {"loss": total}


def clean_latents(frozen: Frozen, batch: Batch) -> Float[Array, "b v h w c"]:
    """Returns the latents of the splats of a batch's inputs, condition views first.

    Those that were computed before are of inputs in this order already: data has condition views in front.
    """
    if batch.latents is not None:
        return jnp.asarray(batch.latents)
    return latents_of(frozen, given_first(batch.inputs))


def timestep_weights(config: DiffSplatConfig, schedule: Schedule, timesteps: Int[Array, "b"]) -> Float[Array, "b"]:
    """Returns what the error of the latents of each sample counts.

    Args:
        config: of the model.
        schedule: its noise schedule.
        timesteps: rows of it.
    """
    losses, snr = config.losses, schedule.snr
    # Of the clean latents' error; what the network predicts has another.
    match losses.weighting:
        case "none":
            return jnp.ones(timesteps.shape)
        case "sigma_sqrt":
            table = schedule.sigma**-2.0
        case "cosmap":
            table = 2 / (np.pi * (1 - 2 * schedule.sigma + 2 * schedule.sigma**2))
        case "edm":
            table = snr
        case "min_snr":
            table = np.minimum(snr, losses.snr_gamma)
            if losses.error_of == "output":
                table = table / _output_gain(config, schedule)
    return jnp.asarray(table.astype(np.float32))[timesteps]


def _output_gain(config: DiffSplatConfig, schedule: Schedule) -> Any:
    """Returns the squared error of the output for a unit squared error of the clean array, by timestep."""
    match config.prediction:
        case "x0":
            return np.ones(schedule.steps)
        case "epsilon":
            return schedule.snr
        case "v":
            return 1 + schedule.snr
        case "flow":
            return schedule.sigma**-2.0


def rendering_terms(
    config: DiffSplatConfig,
    frozen: Frozen,
    batch: Batch,
    predicted: Float[Array, "b v h w c"],
    timesteps: Int[Array, "b"],
    key: PRNGKeyArray,
    step: Int32[Array, ""],
) -> Metrics:
    """Returns the reconstructor's loss of the predicted splats, its terms, and `weighed`, what the loss takes of it.

    Args:
        config: of the model.
        frozen: the reconstructor and a VAE that decodes.
        batch: its inputs in the order of the latents' views; they and its targets are compared with renderings.
        predicted: clean latents.
        timesteps: of each sample.
        key: of the reconstructor's draws.
        step: optimizer steps done.
    """
    model: StoredModel = frozen["reconstructor"]
    module, gamma = family(model.config), config.losses.render_snr_gamma
    grids = grids_of(frozen, predicted, config.losses.decoder)

    def compared(grids: Array, batch: Batch) -> tuple[Array, Metrics]:
        return module.grid_loss(model.config, model.frozen, grids, batch, key, step)

    if not gamma:
        value, terms = compared(grids, batch)
        return terms | {"weighed": value}
    # Each sample has a weight of its own, and so needs a loss of its own
    values, terms = jax.lax.map(lambda one: compared(*jax.tree.map(lambda leaf: leaf[None], one)), (grids, batch))
    table = np.minimum(make_schedule(config.schedule).snr, gamma).astype(np.float32)
    return jax.tree.map(jnp.mean, terms) | {"weighed": jnp.mean(jnp.asarray(table)[timesteps] * values)}


def dropped_text(
    config: DiffSplatConfig, params: Params, frozen: Frozen, text: Text | None, kept: Bool[Array, "b"]
) -> TextFeatures:
    """Returns the features of prompts, those of the empty one for samples that do not keep theirs."""
    nothing = null_text(config.text, len(kept))
    if nothing is None:
        return empty_text(config, len(kept))
    assert text is not None
    shown = jax.tree.map(lambda a, b: jnp.where(kept[:, None], jnp.asarray(a), jnp.asarray(b)), text, nothing)
    return text_features(config.text, params, frozen, shown)


def given_first(views: Views) -> Views:
    """Returns views in another order: those that are conditions in front."""
    order = jnp.argsort(~jnp.asarray(views.is_condition), axis=1, stable=True)

    def take(leaf: Any) -> Any:
        return jnp.take_along_axis(jnp.asarray(leaf), order.reshape(*order.shape, *(1,) * (leaf.ndim - 2)), axis=1)

    of_views = ("images", "is_condition", "alphas", "depths", "normals")
    fields: dict[str, Any] = {}
    for name in of_views:
        leaf = getattr(views, name)
        fields[name] = None if leaf is None else take(leaf)
    return views._replace(cameras=Cameras(*map(take, views.cameras)), **fields)
