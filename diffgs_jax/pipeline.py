"""From a picture to 3D Gaussians in one call, for Python users and for the command line."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from diffgs_jax import models, training
from diffgs_jax.config import TrainConfig, from_dict
from diffgs_jax.diffusion import Prediction, Sampler, SamplerKind, make_sampler, make_schedule, sample
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import OBJECT, Cameras, Gaussians, ObjectRig, Views, condition_camera, denoised_cameras
from diffgs_jax.interop import load_picture

BUNDLED_CHECKPOINT = pathlib.Path(__file__).parent / "checkpoints" / "furniture"
"""The checkpoint that comes with the package."""


class Result(NamedTuple):
    """What a picture became.

    Attributes:
        gaussians: one set, `[n, …]`, in the object frame; the picture was taken from azimuth 0.
        views: `[1, v]`, the picture as the model saw it (`is_condition`), then the Gaussians rendered at the denoised
            views' cameras.
    """

    gaussians: Gaussians
    views: Views


class _Progress:
    """Where the running call's progress goes; one object for each pipeline, so that its listener may change freely.

    A compiled program keeps the callable it was traced with: a new callable would mean a new compilation.
    """

    def __init__(self) -> None:
        self.listener: Callable[[int], object] | None = None

    def __call__(self, done: int) -> None:
        if self.listener is not None:
            self.listener(done)


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A trained model, ready to sample from: `load()` makes one, calling it turns a picture into Gaussians."""

    config: TrainConfig
    """Everything the model was trained with."""
    params: dict[str, Any]
    """Its weights."""
    _progress: _Progress = dataclasses.field(default_factory=_Progress, repr=False, compare=False)

    def __call__(
        self,
        image: str | os.PathLike[str] | np.ndarray,
        *,
        seed: int = 0,
        steps: int | None = None,
        sampler: SamplerKind | None = None,
        elevation: float | None = None,
        foreground_ratio: float | Literal["model"] | None = "model",
        on_step: Callable[[int], object] | None = None,
    ) -> Result:
        """Turns a picture of one object into 3D Gaussians.

        All steps are one compiled program; a second call with the same number of steps and the same kind of sampler
        does not compile again. The same arguments give the same result, bit for bit, on the same machine.

        Args:
            image: path of a PNG, JPEG or WebP with a transparent or plain background, or pixels `[h, w, 3 or 4]`,
                uint8 or floats in [0, 1].
            seed: of the noise, 0 to 2³² − 1.
            steps: denoiser calls, from 1 to the length of the schedule; as many as the model's config says if None.
            sampler: `ddim` or `dpm` (deterministic given the first noise), or `ddpm` (ancestral, as published); what
                the model's config says if None.
            elevation: of the camera that took the picture above the object's horizon, degrees in [−90, 90]; what the
                model takes an unposed picture's to be (20° as a rule) if None.
            foreground_ratio: the object's larger side over the side of the view that the model is shown; "model" takes
                what the model was trained with; None keeps the picture's own framing.
            on_step: called with the number of steps done, for a progress bar: with 0 once the picture is accepted and
                compilation may begin, then after every step.

        Raises:
            UserError: if the file is missing or a setting is out of range.
            DataError: if the picture cannot be read or its object not isolated.
        """
        config = self.config
        if not 0 <= seed < 2**32:
            raise UserError(f"the seed must be from 0 to {2**32 - 1}, not {seed}")
        if elevation is not None and not -90 <= elevation <= 90:
            raise UserError(f"the elevation must be from -90 to 90 degrees, not {elevation}")
        usual = config.sampling
        table = make_sampler(
            make_schedule(config.model.diffusion.schedule),
            usual.sampler if sampler is None else sampler,
            usual.steps if steps is None else steps,
        )
        picture = load_picture(
            image,
            resolution=config.data.resolution,
            foreground_ratio=usual.foreground_ratio if foreground_ratio == "model" else foreground_ratio,
            background=config.model.background,
            smallest_side=config.model.network.patch_size,
        )
        views = views_to_denoise(picture.image, config.rig, elevation)
        self._progress.listener = on_step
        self._progress(0)
        prediction = _sample(config.model, self.params, views, table, jax.random.key(seed), self._progress)
        prediction = jax.block_until_ready(prediction)
        jax.effects_barrier()  # the last progress calls may come after the result
        self._progress.listener = None
        gaussians = Gaussians(*(np.asarray(leaf[0]) for leaf in prediction.aux))
        return Result(gaussians, views._replace(images=np.asarray(prediction.x0)))


def load(checkpoint: str | os.PathLike[str] | None = None) -> Pipeline:
    """Loads a trained model.

    Args:
        checkpoint: the folder of a run or of its checkpoints; the model that comes with the package if None.

    Raises:
        UserError: if there is no checkpoint.
        DataError: if it cannot be read, or its weights are not those of its config's architecture.
    """
    folder = pathlib.Path(BUNDLED_CHECKPOINT if checkpoint is None else checkpoint)
    if checkpoint is None and not folder.exists():
        raise UserError("this installation comes without a trained model: name one with --checkpoint")
    config = from_dict(training.read_metadata(folder)["config"], str(folder))
    expected = jax.eval_shape(partial(models.family(config.model).init, config.model), jax.random.key(0))
    return Pipeline(config, training.load_weights(folder, expected))


def views_to_denoise(image: np.ndarray, rig: ObjectRig, elevation: float | None = None) -> Views:
    """Returns `[1, 1 + len(rig.azimuths)]` views: the picture, and those to denoise, their images zero.

    Args:
        image: the condition view, `[h, w, 3]` in [0, 1].
        rig: the cameras.
        elevation: of the condition camera, degrees; the rig's by default.
    """
    condition, denoised = condition_camera(rig, elevation), denoised_cameras(rig)
    cameras = Cameras(*(np.concatenate(pair)[None] for pair in zip(condition, denoised, strict=True)))
    images = np.zeros((1, 1 + len(rig.azimuths), *image.shape), np.float32)
    images[0, 0] = image
    is_condition = np.zeros(images.shape[:2], bool)
    is_condition[0, 0] = True
    return Views(images, cameras, is_condition, domain=np.full(1, OBJECT, np.int32))


@partial(jax.jit, static_argnames=("model", "on_step"))
def _sample(
    model: models.ModelConfig,
    params: dict[str, Any],
    views: Views,
    table: Sampler,
    key: PRNGKeyArray,
    on_step: _Progress,
) -> Prediction:
    start_key, step_key = jax.random.split(key)
    images: Array = jnp.asarray(views.images)
    start = jax.random.normal(start_key, images.shape, images.dtype)
    denoise = models.family(model).denoiser(model, params, views)
    return sample(denoise, table, start, step_key, on_step=on_step)
