"""diffsplat as a family: see `diffgs_jax.models.family` for what each function means."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PRNGKeyArray

from diffgs_jax.diffusion import (
    PUBLISHED_DIFFUSION,
    Denoise,
    Prediction,
    SamplerConfig,
    SamplerKind,
    Schedule,
    make_schedule,
    to_x0,
)
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras, Views
from diffgs_jax.models.bundles import (
    Batch,
    Cost,
    DataSettings,
    Frozen,
    Generated,
    Params,
    Purpose,
    Request,
    Requirements,
)
from diffgs_jax.models.capabilities import (
    MakesGrids,
)
from diffgs_jax.models.counting import parameter_count, product_flops, residual_bytes
from diffgs_jax.models.diffsplat.conditions import TextFeatures
from diffgs_jax.models.diffsplat.config import DiffSplatConfig, input_channels, latent_multiple
from diffgs_jax.models.diffsplat.controls import control_picture, control_turn, controlled_network
from diffgs_jax.models.diffsplat.inputs import Condition, image_latents, network_input, ray_maps, splat_cameras
from diffgs_jax.models.diffsplat.losses import clean_latents, loss, steered_loss
from diffgs_jax.models.diffsplat.network import (
    apply_denoiser,
    check_network,
    empty_text,
    init_params,
    param_shapes,
)
from diffgs_jax.models.diffsplat.published_config import import_published, recognizes
from diffgs_jax.models.diffsplat.splats import check_latents, splats_of, world_cameras
from diffgs_jax.models.diffsplat.text import load_prompts, null_text, text_features, tokenizer
from diffgs_jax.models.family import (
    family,
)
from diffgs_jax.models.generation import generate
from diffgs_jax.models.stored import load_stored, stored_config
from diffgs_jax.rasterizer import Backend, render


def check(config: DiffSplatConfig, data: DataSettings) -> None:
    """Refuses settings that contradict each other.

    Raises:
        UserError: naming them in one line.
    """
    check_network(config)
    latents, losses = config.latents, config.losses
    multiple = _image_multiple(config)
    is_flow = config.schedule.name == "flow"
    dropped = config.dropout.text + config.dropout.both + config.dropout.image
    problems = {
        f"data.resolution {data.resolution} must be a multiple of {multiple}, of model.latents.downsampling "
        f"{latents.downsampling} and the network's patches": bool(data.resolution % multiple),
        f"data.condition_views {data.condition_views} and data.noisy_views {data.noisy_views} must add up to "
        f"model.views {config.views}": data.condition_views + data.noisy_views != config.views,
        "model.image.encoder shows the network a view, and data.condition_views is 0": config.image.encoder != "none"
        and data.condition_views < 1,
        "model.image.encoder is none, and data.condition_views is not 0": config.image.encoder == "none"
        and data.condition_views > 0,
        "model.text.encoder and model.image.encoder are none: nothing says what to make": config.text.encoder
        == config.image.encoder
        == "none",
        f"model.prediction {config.prediction} does not go with model.schedule {config.schedule.name}": is_flow
        != (config.prediction == "flow"),
        f"model.losses.weighting {losses.weighting} is for flow schedules": losses.weighting in ("sigma_sqrt", "cosmap")
        and not is_flow,
        f"model.losses.weighting {losses.weighting} is undefined without signal, where flow begins": losses.weighting
        in ("min_snr", "edm")
        and is_flow,
        "model.losses.render_snr_gamma is undefined on a flow schedule": losses.render_snr_gamma > 0 and is_flow,
        "model.losses.weighting edm weighs the error of x0: set model.losses.error_of": losses.weighting == "edm"
        and losses.error_of != "x0",
        "model.dropout: the three chances must be at least 0 and add up to 1 at most": dropped > 1
        or min(config.dropout.text, config.dropout.both, config.dropout.image) < 0,
        "model.losses.render_probability must be in [0, 1]": not 0 <= losses.render_probability <= 1,
    }
    for problem, present in problems.items():
        if present:
            raise UserError(problem)


def requirements(config: DiffSplatConfig) -> Requirements:
    """Returns what the family needs of data and requests; the reconstructor's maps are read in training."""
    of_text, of_image = config.text.encoder != "none", config.image.encoder != "none"
    needed = _reconstructor_requirements(config)
    return Requirements(
        makes="gaussians",
        image_multiple=_image_multiple(config),
        background=needed.background,
        maps=needed.maps,
        tokenize=tokenizer(config.text),
        latents=True,
        condition_views=(0 if of_text else 1, 1) if of_image else (0, 0),
        prompt="none" if not of_text else "optional" if of_image else "required",
        cameras=True,
        guided=sum(dataclasses.astuple(config.dropout)) > 0,
        given_are_made=True,
        backend=config.backend,
        rendering=needed.rendering,
    )


def init(config: DiffSplatConfig, key: PRNGKeyArray) -> Params:
    """Returns fresh weights, nested dictionaries of float32 arrays."""
    return init_params(config, key)


def load_frozen(config: DiffSplatConfig, purpose: Purpose) -> Frozen:
    """Loads the reconstructor, the VAEs and stored prompts.

    Raises:
        UserError: if a checkpoint is not named, not there, or of a model whose latents are others.
        DataError: if one is damaged.
    """
    named = config.frozen
    _reconstructor_requirements(config)
    # What its loss of renderings needs is loaded where there is one.
    renders = purpose == "training" and config.losses.render_probability > 0
    frozen: Frozen = {"reconstructor": load_stored(named.reconstructor, "training" if renders else "sampling")}
    frozen["vae"] = load_stored(_named(named.vae, "vae"), "sampling")
    check_latents(config, named.vae, frozen["vae"], frozen["reconstructor"])
    if config.image.encoder == "vae" or named.image_vae:
        frozen["image_vae"] = load_stored(_named(named.image_vae, "image_vae"), "sampling")
        check_latents(config, named.image_vae, frozen["image_vae"])
    if config.text.encoder == "stored":
        frozen["prompts"] = load_prompts(config.text)
    return frozen


def cost(config: DiffSplatConfig, data: DataSettings) -> Cost:
    """Returns the cost of one sample, counted in the network's own program; frozen models are not in it."""
    params = param_shapes(config)
    size = data.resolution // config.latents.downsampling
    views = config.views + (config.image.encoder != "none")
    x = jax.ShapeDtypeStruct((1, views, size, size, input_channels(config)), jnp.float32)
    text = jax.eval_shape(lambda: empty_text(config, 1))
    run = functools.partial(apply_denoiser, config)
    arguments = (x, jax.ShapeDtypeStruct((1,), jnp.float32), text)
    return Cost(
        parameters=parameter_count(params),
        forward_flops=product_flops(run, params, *arguments),
        activation_bytes=residual_bytes(run, params, *arguments),
        counts={"views": views, "latent pixels": config.views * size**2},
    )


def is_hidden_matrix(path: tuple[str, ...]) -> bool:
    """Tells whether a leaf is a kernel of the stacked blocks."""
    return "blocks" in path and path[-1] == "kernel"


def in_low_memory(config: DiffSplatConfig, params: Params) -> tuple[DiffSplatConfig, Params]:
    """Returns the settings and weights of the same model with its denoiser in bfloat16: half the memory."""
    halved = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params["denoiser"])
    names = ("unet", "pixart", "mmdit")
    networks = {name: dataclasses.replace(getattr(config, name), dtype="bfloat16") for name in names}

    return dataclasses.replace(config, **networks), {**params, "denoiser": halved}


def with_backend(config: DiffSplatConfig, backend: Backend) -> DiffSplatConfig:
    """Returns the settings of the same model, rendered by `backend`."""
    return dataclasses.replace(config, backend=backend)


def schedule(config: DiffSplatConfig) -> Schedule:
    """Returns the noise schedule."""
    return make_schedule(config.schedule)


_PUBLISHED = {"ddim": "ddim", "dpm": "dpmsolver++", "dpm_sde": "sde-dpmsolver++", "edm": "edm", "euler": "flow"}
_PUBLISHED_BASES = {"sd15": "sd15", "sd21": "sd15", "sdxl": "sd15", "pixart_alpha": "pixart_sigma"}


def sampler_config(config: DiffSplatConfig, kind: SamplerKind) -> SamplerConfig:
    """Returns how a sampler is set: as the published code does if the config says so, else as the papers say.

    The schedules of SD2.1 and SDXL, and of PixArt-α, are taken to be those of SD1.5 and of PixArt-Σ.
    """
    if not config.published_samplers or kind not in _PUBLISHED:
        return SamplerConfig(kind)
    base = config.backbone if config.backbone == "pixart_sigma" else _PUBLISHED_BASES.get(config.backbone, "sd3")
    return PUBLISHED_DIFFUSION[base].samplers[_PUBLISHED[kind]]


def state_shape(config: DiffSplatConfig, request: Request) -> tuple[int, ...]:
    """Returns `(b, v, h, w, c)`: latents of the given view and of those asked for."""
    views, size = splat_cameras(request).intrinsics.shape[1], request.resolution // config.latents.downsampling
    return len(request.domain), views, size, size, config.latents.channels


def clean_state(config: DiffSplatConfig, params: Params, frozen: Frozen, batch: Batch) -> Float[Array, "b v h w c"]:
    """Returns the latents of the input views, condition views first."""
    return clean_latents(frozen, batch)


def condition(config: DiffSplatConfig, params: Params, frozen: Frozen, request: Request) -> Condition:
    """Returns prompt, rays and the given view's latents: zeros without one, and the empty prompt without a prompt."""
    return _told(config, params, frozen, request, request.text, is_given=True)


def null_condition(config: DiffSplatConfig, params: Params, frozen: Frozen, request: Request) -> Condition:
    """Returns the same with the negative prompt, or the empty one, and no view."""
    return _told(config, params, frozen, request, request.negative_text, is_given=False)


def _told(
    config: DiffSplatConfig, params: Params, frozen: Frozen, request: Request, text: Any, *, is_given: bool
) -> Condition:
    batch, size = len(request.domain), request.resolution // config.latents.downsampling
    text = null_text(config.text, batch) if text is None else text
    features = empty_text(config, batch) if text is None else text_features(config.text, params, frozen, text)
    rays = ray_maps(config, world_cameras(frozen, splat_cameras(request)), request.resolution)
    image = None
    if config.image.encoder != "none":
        image = jnp.zeros((batch, 1, size, size, config.latents.channels))
        if is_given and request.condition is not None:
            image = image_latents(config, params, frozen, request.condition)
    controls = tuple(one for one in request.controls if is_given or not one.guess)
    return Condition(features, rays, image, controls)


def state_of_image(
    config: DiffSplatConfig,
    params: Params,
    frozen: Frozen,
    request: Request,
    image: Float[Array | np.ndarray, "h w 3"],
) -> Float[Array, "b v h w c"]:
    """Returns the image VAE's latents of the image for every view: not those of a splat, but of its picture.

    Raises:
        UserError: if the model has no image VAE.
    """
    if "image_vae" not in frozen:
        raise UserError("a start from an image needs an image VAE: the model was made without model.frozen.image_vae")
    vae = frozen["image_vae"]
    latents = family(vae.config).encode(vae.config, vae.params, 2 * jnp.asarray(image)[None] - 1)
    return jnp.broadcast_to(latents[:, None], state_shape(config, request))


def denoiser(
    config: DiffSplatConfig, params: Params, frozen: Frozen, condition: Condition, *, views_at_once: int = 0
) -> Denoise:
    """Returns the function that samplers call: `(x_t [b, v, h, w, c], t [b]) -> Prediction(x0, None)`."""
    full = make_schedule(config.schedule)

    def denoise(x_t: Float[Array, "b v h w c"], t: Num[Array, "b"]) -> Prediction:
        shown = network_input(x_t, condition.rays, condition.image)
        output = apply_denoiser(config, params, shown, t, condition.text, condition.controls)
        output = output[:, output.shape[1] - x_t.shape[1] :]
        return Prediction(to_x0(full, config.prediction, output, x_t, t))

    return denoise


def decode(
    config: DiffSplatConfig, params: Params, frozen: Frozen, request: Request, x: Float[Array, "b v h w c"], aux: Any
) -> Generated:
    """Returns the Gaussians that latents stand for, and their renderings where the splats are seen from."""
    cameras = splat_cameras(request)
    given = cameras.intrinsics.shape[1] - (request.cameras or cameras).intrinsics.shape[1]
    gaussians, images = _decoded(config, frozen, x, cameras, request.resolution)
    if request.condition is not None:
        images = images.at[:, :given].set(jnp.asarray(request.condition.images))
    is_condition = jnp.broadcast_to(jnp.arange(images.shape[1]) < given, images.shape[:2])
    return Generated(gaussians=gaussians, views=Views(images, cameras, is_condition, jnp.asarray(request.domain)))


@functools.partial(jax.jit, static_argnums=(0, 4))
def _decoded(config: Any, frozen: Frozen, x: Array, cameras: Cameras, resolution: int) -> tuple[Any, Array]:
    """Returns Gaussians and their renderings at the cameras."""
    gaussians = splats_of(frozen, x, cameras)
    model = frozen["reconstructor"].config
    needs = family(model).requirements(model)
    images = render(
        gaussians,
        cameras,
        height=resolution,
        width=resolution,
        background=1.0 if needs.background is None else needs.background,
        backend=config.backend,
        **needs.rendering.arguments(),
    ).image
    return gaussians, images


def _reconstructor_requirements(config: DiffSplatConfig) -> Requirements:
    """Returns what the reconstructor needs.

    Raises:
        UserError: if its checkpoint is not named, not there, or that of a model that makes no grids.
        DataError: if it cannot be read.
    """
    folder = _named(config.frozen.reconstructor, "reconstructor")
    model = stored_config(folder)
    if not isinstance(family(model), MakesGrids):
        raise UserError(f"model.frozen.reconstructor {folder} is no model that makes splat grids")
    return family(model).requirements(model)


def _named(folder: str, field: str) -> str:
    if not folder:
        raise UserError(f"model.frozen.{field} names no checkpoint, and this model needs one")
    return folder


def _image_multiple(config: DiffSplatConfig) -> int:
    return config.latents.downsampling * latent_multiple(config)


__all__ = [
    "TextFeatures",
    "check",
    "clean_state",
    "condition",
    "control_picture",
    "control_turn",
    "controlled_network",
    "cost",
    "decode",
    "denoiser",
    "generate",
    "import_published",
    "in_low_memory",
    "init",
    "is_hidden_matrix",
    "load_frozen",
    "loss",
    "null_condition",
    "recognizes",
    "requirements",
    "sampler_config",
    "schedule",
    "state_of_image",
    "state_shape",
    "steered_loss",
    "with_backend",
]
