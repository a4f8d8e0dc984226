"""controlnet as a family: see `diffgs_jax.models.family` for what each function means."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Num, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.models.bundles import (
    Batch,
    Control,
    Cost,
    DataSettings,
    Frozen,
    MapName,
    Metrics,
    Params,
    Purpose,
    Requirements,
)
from diffgs_jax.models.capabilities import TakesControls
from diffgs_jax.models.controlnet.config import ControlNetModelConfig
from diffgs_jax.models.controlnet.published import import_published, recognizes
from diffgs_jax.models.counting import parameter_count, product_flops, residual_bytes
from diffgs_jax.models.family import family
from diffgs_jax.models.layers.latent_unet import (
    AddedCondition,
    ControlNetConfig,
    ControlResiduals,
    check_latent_unet,
    control_residuals,
    control_views,
    controlnet_shapes,
    init_controlnet,
)
from diffgs_jax.models.stored import StoredModel, load_stored, stored_config

_MAPS: dict[str, tuple[MapName, ...]] = {"depth": ("depth",), "normal": ("normals",), "canny": ()}


def check(config: ControlNetModelConfig, data: DataSettings) -> None:
    """Refuses settings that contradict each other.

    Raises:
        UserError: naming them in one line.
    """
    check_latent_unet(config.network.unet)
    if not config.network.picture_widths:
        raise UserError("model.network.picture_widths is empty")
    if not config.base or not pathlib.Path(config.base).exists():
        return  # settings can be read before the base is trained; `requirements` says that it is missing
    base = _base_config(config)
    family(base).check(base, data)
    check_base(config, base)


def check_base(config: ControlNetModelConfig, base: Any) -> None:
    """Refuses a model that this ControlNet cannot steer.

    Args:
        config: of the ControlNet.
        base: settings of that model.

    Raises:
        UserError: saying why.
    """
    module = family(base)
    if not isinstance(module, TakesControls):
        raise UserError("a ControlNet steers diffsplat models only, and this is none")
    steered = module.controlled_network(base)
    theirs = ControlNetConfig(dataclasses.replace(steered.unet, dtype="float32", attention="xla", remat=False))
    ours = dataclasses.replace(config.network.unet, dtype="float32", attention="xla", remat=False)
    if ours != theirs.unet:
        other = next(
            field.name
            for field in dataclasses.fields(ours)
            if getattr(ours, field.name) != getattr(theirs.unet, field.name)
        )
        raise UserError(
            f"the ControlNet is for a U-Net with {other} {getattr(ours, other)}, and this model has "
            f"{getattr(theirs.unet, other)}"
        )
    halvings = len(config.network.picture_widths) - 1
    if 2**halvings != steered.downsampling:
        raise UserError(
            f"model.network.picture_widths halve pictures {halvings} times, and latents are "
            f"{steered.downsampling} times smaller than views"
        )


def requirements(config: ControlNetModelConfig) -> Requirements:
    """Returns what the base needs of data, with the maps that pictures are made of.

    Raises:
        UserError: if the base's checkpoint is not named or not there.
        DataError: if it cannot be read.
    """
    base = _base_config(config)
    needs = family(base).requirements(base)
    maps = _MAPS[config.picture] if config.source == "records" else ()
    return dataclasses.replace(needs, makes="nothing", maps=tuple(dict.fromkeys((*needs.maps, *maps))))


def init(config: ControlNetModelConfig, key: PRNGKeyArray) -> Params:
    """Returns fresh weights, which add nothing yet; `first_params` puts the base's in."""
    check_latent_unet(config.network.unet)
    return init_controlnet(config.network, None, key)


def first_params(config: ControlNetModelConfig, params: Params, frozen: Frozen) -> Params:
    """Returns the weights that training begins with: the half of a U-Net is the base's own."""
    base: StoredModel = frozen["base"]
    return {**params, "encoder": base.params["denoiser"]["encoder"]}


def load_frozen(config: ControlNetModelConfig, purpose: Purpose) -> Frozen:
    """Loads the model that is steered, for training; nothing for sampling.

    Raises:
        UserError: if it is not there, or cannot be steered.
        DataError: if it cannot be read.
    """
    if purpose == "sampling":
        return {}
    check_base(config, _base_config(config))
    return {"base": load_stored(config.base, "training")}


def loss(
    config: ControlNetModelConfig,
    params: Params,
    frozen: Frozen,
    batch: Batch,
    key: PRNGKeyArray,
    step: Int32[Array, ""],
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the base's own loss when it is steered by pictures of the first view of each object.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: holds the `base`.
        batch: as the base wants it, with the maps that pictures are made of.
        key: as for the base.
        step: optimizer steps done.
    """
    base: StoredModel = frozen["base"]
    module = family(base.config)
    picture = module.control_picture(base.config, base.frozen, batch.inputs, config.picture, config.source)
    control = Control(
        config,
        params,
        jax.lax.stop_gradient(picture),
        scale=jnp.ones(()),
        times=jnp.asarray([jnp.inf, -jnp.inf]),
    )
    return module.steered_loss(base.config, base.params, base.frozen, batch, key, step, (control,))


def residuals(
    config: ControlNetModelConfig,
    params: Params,
    x: Float[Array, "b v h w inputs"],
    timesteps: Num[Array, "b"],
    text: Float[Array, "b m context"],
    picture: Float[Array | np.ndarray, "b height width 3"],
    *,
    scale: Float[Array, ""],
    guess: bool,
    added: AddedCondition | None,
) -> ControlResiduals:
    """Returns what is added to the U-Net: see `diffgs_jax.models.layers.latent_unet.control_residuals`.

    Args:
        config: of the ControlNet.
        params: its weights.
        x: what the U-Net is given.
        timesteps: of each object.
        text: of each object.
        picture: of the first view of each; the other views have white ones.
        scale: of all it adds.
        guess: let what is finer count less.
        added: what SDXL is told beside.
    """
    pictures = control_views(picture, x.shape[1])
    return control_residuals(
        config.network, params, x, timesteps, text, pictures, scale=scale, guess=guess, added=added
    )


def cost(config: ControlNetModelConfig, data: DataSettings) -> Cost:
    """Returns the cost of one sample, counted in the ControlNet's own program; the base's is not in it."""
    unet, views = config.network.unet, data.condition_views + data.noisy_views
    size = data.resolution // 2 ** (len(config.network.picture_widths) - 1)
    added = None
    if unet.size_features:
        parts: Any = (jax.ShapeDtypeStruct((1, width), jnp.float32) for width in (unet.pooled_width, 6))
        added = AddedCondition(*parts)
    picture = (1, data.resolution, data.resolution, config.network.picture_channels)

    def run(params: Params, x: Array, timesteps: Array, text: Array, picture: Array, added: Any) -> Any:
        settings: dict[str, Any] = {"scale": jnp.ones(()), "guess": False, "added": added}
        return residuals(config, params, x, timesteps, text, picture, **settings).middle

    params = controlnet_shapes(config.network)
    arguments = (
        *(
            jax.ShapeDtypeStruct(shape, jnp.float32)
            for shape in ((1, views, size, size, unet.inputs), (1,), (1, 77, unet.text_width), picture)
        ),
        added,
    )
    return Cost(
        parameters=parameter_count(params),
        forward_flops=product_flops(run, params, *arguments),
        activation_bytes=residual_bytes(run, params, *arguments),
        counts={"views": views, "latent pixels": views * size**2},
    )


def is_hidden_matrix(path: tuple[str, ...]) -> bool:
    """Tells whether a leaf is a kernel of the stacked blocks."""
    return "blocks" in path and path[-1] == "kernel" and path[0] == "encoder"


def in_low_memory(config: ControlNetModelConfig, params: Params) -> tuple[ControlNetModelConfig, Params]:
    """Returns the settings and weights of the same model in bfloat16: half the memory."""
    unet = dataclasses.replace(config.network.unet, dtype="bfloat16")
    network = dataclasses.replace(config.network, unet=unet)
    halved = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    return dataclasses.replace(config, network=network), halved


def _base_config(config: ControlNetModelConfig) -> Any:
    """Returns the settings of the model that is steered.

    Raises:
        UserError: if it is not named or not there.
        DataError: if it cannot be read.
    """
    if not config.base:
        raise UserError("model.base names no checkpoint, and a ControlNet is trained beside the model that it steers")
    return stored_config(config.base)


__all__ = [
    "check",
    "check_base",
    "cost",
    "first_params",
    "import_published",
    "in_low_memory",
    "init",
    "is_hidden_matrix",
    "load_frozen",
    "loss",
    "recognizes",
    "requirements",
    "residuals",
]
