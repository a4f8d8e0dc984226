"""The classifier of noisy images as a family: see `diffgs_jax.models.family` for what each function means."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32, Num, PRNGKeyArray

from diffgs_jax.diffusion import LogProbability, Schedule, add_noise, make_schedule, sample_timesteps
from diffgs_jax.errors import UserError
from diffgs_jax.models.bundles import Batch, Cost, DataSettings, Frozen, Metrics, Params, Purpose, Requirements
from diffgs_jax.models.counting import parameter_count, product_flops, residual_bytes
from diffgs_jax.models.noisy_classifier.config import NoisyClassifierConfig
from diffgs_jax.models.noisy_classifier.network import apply_network, check_network, init_params, param_shapes


def check(config: NoisyClassifierConfig, data: DataSettings) -> None:
    """Refuses settings that contradict each other.

    Raises:
        UserError: naming them in one line.
    """
    check_network(config)
    multiple = _image_multiple(config)
    if data.resolution % multiple:
        raise UserError(f"data.resolution {data.resolution} must be a multiple of {multiple} for this many levels")
    if data.condition_views or data.novel_views:
        raise UserError(
            f"data.condition_views {data.condition_views} and data.novel_views {data.novel_views} must be 0: this "
            "model learns from data.noisy_views alone"
        )
    if config.classes < 2 or config.classes != len(data.labels):
        raise UserError(
            f"model.classes is {config.classes}, and data.labels names {len(data.labels)} classes: make both the same, "
            "at least 2"
        )
    if not 0 <= config.label_smoothing < 1:
        raise UserError(f"model.label_smoothing is {config.label_smoothing}; give 0 to less than 1")


def requirements(config: NoisyClassifierConfig) -> Requirements:
    """Returns what the family needs of data."""
    return Requirements(
        makes="nothing", image_multiple=_image_multiple(config), labels=True, domains=("object", "scene")
    )


def init(config: NoisyClassifierConfig, key: PRNGKeyArray) -> Params:
    """Returns fresh weights, nested dictionaries of float32 arrays."""
    return init_params(config, key)


def load_frozen(config: NoisyClassifierConfig, purpose: Purpose) -> Frozen:
    """Returns nothing: all weights are trained."""
    return {}


def loss(
    config: NoisyClassifierConfig,
    params: Params,
    frozen: Frozen,
    batch: Batch,
    key: PRNGKeyArray,
    step: Int32[Array, ""],
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean cross entropy of the classes of noisy images that have one, and how many were told right.

    The v views of a sample are images of their own, each with its timestep and its noise.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: nothing is read.
        batch: images in [0, 1] are `inputs.images`, classes `labels`.
        key: draws timesteps and noise.
        step: not read.
    """
    key_time, key_noise = jax.random.split(key)
    samples, views = batch.inputs.images.shape[:2]
    count = samples * views
    assert batch.labels is not None  # asked for in `requirements`
    labels = jnp.repeat(jnp.asarray(batch.labels), views)
    x0 = 2 * jnp.asarray(batch.inputs.images).reshape(count, *batch.inputs.images.shape[2:]) - 1
    rows = sample_timesteps(key_time, count, config.schedule.steps, config.timestep_sampling)
    schedule = make_schedule(config.schedule)
    x_t = add_noise(schedule, x0, rows, jax.random.normal(key_noise, x0.shape, x0.dtype))
    logits = apply_network(config, params, x_t, jnp.asarray(schedule.timesteps)[rows])
    is_known = (labels >= 0) & (labels < config.classes)
    target = jax.nn.one_hot(labels, config.classes)
    target = (1 - config.label_smoothing) * target + config.label_smoothing / config.classes
    weights = is_known / jnp.maximum(jnp.sum(is_known), 1)
    value = -jnp.sum(weights * jnp.sum(target * jax.nn.log_softmax(logits), axis=-1))
    return value, {"loss": value, "accuracy": jnp.sum(weights * (jnp.argmax(logits, axis=-1) == labels))}


def cost(config: NoisyClassifierConfig, data: DataSettings) -> Cost:
    """Returns the cost of one sample, counted in the network's own program."""
    params, views = param_shapes(config), data.noisy_views
    images = jax.ShapeDtypeStruct((views, data.resolution, data.resolution, 3), jnp.float32)
    numbers = jax.ShapeDtypeStruct((views,), jnp.int32)

    def run(params: Params, x: Array, timesteps: Array) -> Array:
        return apply_network(config, params, x, timesteps)

    return Cost(
        parameters=parameter_count(params),
        forward_flops=product_flops(run, params, images, numbers),
        activation_bytes=residual_bytes(run, params, images, numbers),
        counts={"images": views, "pixels": views * data.resolution**2},
    )


def is_hidden_matrix(path: tuple[str, ...]) -> bool:
    """Tells whether a leaf is a matrix of a block: attention's, the time's, a skip's; never a convolution."""
    return "stages" in path and path[-1] == "kernel" and path[-2] in ("qkv", "projection", "condition", "skip")


def in_low_memory(config: NoisyClassifierConfig, params: Params) -> tuple[NoisyClassifierConfig, Params]:
    """Returns the settings and weights of the same model computing in bfloat16."""
    return dataclasses.replace(config, network=dataclasses.replace(config.network, dtype="bfloat16")), params


def predict(
    config: NoisyClassifierConfig, params: Params, frozen: Frozen, images: Float[Array | np.ndarray, "b h w 3"]
) -> dict[str, Array]:
    """Returns `class` and `probabilities` of images in [0, 1], taken for the least noisy ones."""
    told = jnp.full(len(images), make_schedule(config.schedule).timesteps[0])
    logits = apply_network(config, params, 2 * jnp.asarray(images) - 1, told)
    return {"class": jnp.argmax(logits, axis=-1), "probabilities": jax.nn.softmax(logits)}


def noise_schedule(config: NoisyClassifierConfig) -> Schedule:
    """Returns the noise schedule that it was trained with."""
    return make_schedule(config.schedule)


def log_probability(
    config: NoisyClassifierConfig, params: Params, frozen: Frozen, labels: Int[Array | np.ndarray, "b"]
) -> LogProbability:
    """Returns log p(label | x_t) of noisy images in [−1, 1]; 0 where a label is no class."""
    labels = jnp.asarray(labels)
    is_known = (labels >= 0) & (labels < config.classes)

    def of(x: Float[Array, "b h w 3"], t: Num[Array, "b"]) -> Float[Array, "b"]:
        found = jax.nn.log_softmax(apply_network(config, params, x, t))
        chosen = jnp.take_along_axis(found, jnp.where(is_known, labels, 0)[:, None], axis=1)[:, 0]
        return jnp.where(is_known, chosen, 0.0)

    return of


def _image_multiple(config: NoisyClassifierConfig) -> int:
    return 2 ** (len(config.network.multipliers) - 1)


__all__ = [
    "check",
    "cost",
    "in_low_memory",
    "init",
    "is_hidden_matrix",
    "load_frozen",
    "log_probability",
    "loss",
    "noise_schedule",
    "predict",
    "requirements",
]
