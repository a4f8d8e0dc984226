"""elevest as a family: see `diffgs_jax.models.family` for what each function means."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.models.bundles import Cost, DataSettings, Frozen, Params, Purpose, Requirements
from diffgs_jax.models.counting import parameter_count, product_flops, residual_bytes
from diffgs_jax.models.elevest import published
from diffgs_jax.models.elevest.config import ElevEstConfig
from diffgs_jax.models.elevest.loss import loss
from diffgs_jax.models.elevest.network import apply_network, check_network, init_params, param_shapes
from diffgs_jax.models.importing import (
    ImportedModel,
    ImportOptions,
    PublishedWeights,
    refuse_other_options,
    tensor_reader,
)


def check(config: ElevEstConfig, data: DataSettings) -> None:
    """Refuses settings that contradict each other.

    Raises:
        UserError: naming them in one line.
    """
    check_network(config)
    if data.resolution != config.resolution:
        raise UserError(
            f"data.resolution {data.resolution} must be model.resolution {config.resolution}: training resizes nothing"
        )
    if data.condition_views or data.novel_views:
        raise UserError(
            f"data.condition_views {data.condition_views} and data.novel_views {data.novel_views} must be 0: this "
            "model learns from data.noisy_views alone"
        )
    if data.background != 1.0:
        raise UserError(f"data.background {data.background} must be 1: this model knows objects on white")


def requirements(config: ElevEstConfig) -> Requirements:
    """Returns what the family needs of data and requests."""
    return Requirements(makes="nothing", image_multiple=config.network.patch_size, background=1.0)


def init(config: ElevEstConfig, key: PRNGKeyArray) -> Params:
    """Returns fresh weights, nested dictionaries of float32 arrays."""
    return init_params(config, key)


def load_frozen(config: ElevEstConfig, purpose: Purpose) -> Frozen:
    """Returns nothing: all weights are trained."""
    return {}


def cost(config: ElevEstConfig, data: DataSettings) -> Cost:
    """Returns the cost of one sample, counted in the network's own program."""
    params, views = param_shapes(config), data.noisy_views
    images = jax.ShapeDtypeStruct((views, config.resolution, config.resolution, 3), jnp.float32)

    def run(params: Params, images: Array) -> Array:
        return apply_network(config, params, images)[1].logits

    patches = (config.resolution // config.network.patch_size) ** 2
    return Cost(
        parameters=parameter_count(params),
        forward_flops=product_flops(run, params, images),
        activation_bytes=residual_bytes(run, params, images),
        counts={"images": views, "tokens": views * (1 + config.network.registers + patches)},
    )


def is_hidden_matrix(path: tuple[str, ...]) -> bool:
    """Tells whether a leaf is a matrix of a block."""
    return "blocks" in path and path[-1] == "kernel"


def in_low_memory(config: ElevEstConfig, params: Params) -> tuple[ElevEstConfig, Params]:
    """Returns the settings and weights of the same model with its backbone in bfloat16."""
    network = dataclasses.replace(config.network, dtype="bfloat16")
    backbone = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params["backbone"])
    return dataclasses.replace(config, network=network), {**params, "backbone": backbone}


def predict(
    config: ElevEstConfig, params: Params, frozen: Frozen, images: Float[Array | np.ndarray, "b h w 3"]
) -> dict[str, Array]:
    """Returns `elevation`, degrees above the object, and the `probability` of the interval that it lies in.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: nothing is read.
        images: in [0, 1], on white, of any size.
    """
    return _predict(config, params, jnp.asarray(images))


def recognizes(source: PublishedWeights) -> bool:
    """Tells whether published weights are an ElevEst's."""
    return source.tensors is not None and published.recognizes(list(source.tensors))


def import_published(source: PublishedWeights, options: ImportOptions) -> ImportedModel:
    """Returns DiffSplat's published estimator, its angles turned around.

    Raises:
        UserError: if an option is wrong, or says nothing of these weights.
        DataError: if the weights are others, listing everything that is wrong with them.
    """
    assert source.tensors is not None
    refuse_other_options(options, {"head_dim"}, source.path)
    tensors = published.adapted(source.tensors)
    config = published.read_config(tensors.shapes, head_dim=options.head_dim)
    attention = "cudnn" if options.dtype == "bfloat16" else "xla"
    network = dataclasses.replace(config.network, dtype=options.dtype, attention=attention)
    config = dataclasses.replace(config, network=network)
    shapes = param_shapes(config)
    return ImportedModel(
        config,
        shapes,
        tensor_reader(shapes, published.NAMING, tensors),
        f"estimator of elevations of {network.layers} layers of width {network.width} from {tensors.source}",
        {"resolution": config.resolution, "condition_views": 0, "noisy_views": 8, "novel_views": 0},
    )


@functools.partial(jax.jit, static_argnums=0)
def _predict(config: ElevEstConfig, params: Params, images: Array) -> dict[str, Array]:
    found = apply_network(config, params, images)[1]
    return {"elevation": found.elevation, "probability": jnp.max(jax.nn.softmax(found.logits), axis=-1)}


__all__ = [
    "check",
    "cost",
    "import_published",
    "in_low_memory",
    "init",
    "is_hidden_matrix",
    "load_frozen",
    "loss",
    "predict",
    "recognizes",
    "requirements",
]
