"""From a picture to 3D Gaussians in one call, for Python users and for the command line."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import numpy as np

from diffgs_jax import models
from diffgs_jax.checkpoints import load_weights, read_metadata
from diffgs_jax.config import TrainConfig, from_dict, to_dict
from diffgs_jax.diffusion import Sampler, SamplerKind, make_sampler, make_schedule
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Gaussians, ObjectRig, Views
from diffgs_jax.inference.compile_cache import use_compile_cache
from diffgs_jax.inference.conditions import Condition, read_posed_pictures, show_picture, views_to_denoise
from diffgs_jax.inference.denoising import Network, denoise
from diffgs_jax.inference.result import Result, Trajectory
from diffgs_jax.interop import Matting

BUNDLED_CHECKPOINT = pathlib.Path(__file__).parents[1] / "checkpoints" / "furniture"
"""The checkpoint that comes with the package."""


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A trained model, ready to sample from: `load()` makes one, calling it turns a picture into Gaussians."""

    config: TrainConfig
    """Everything the model was trained with."""
    params: dict[str, Any]
    """Its weights."""
    one_view_at_a_time: bool = False
    """Render predictions one after the other, which takes less memory."""

    def __call__(
        self,
        image: str | os.PathLike[str] | np.ndarray | Condition,
        *,
        seed: int = 0,
        steps: int | None = None,
        sampler: SamplerKind | None = None,
        guidance: float | tuple[float, ...] = 1.0,
        views: int | None = None,
        elevation: float | None = None,
        foreground_ratio: float | Literal["model"] | None = "model",
        matting: Matting = "auto",
        matting_model: str | os.PathLike[str] | None = None,
        trajectory: bool = False,
        on_step: Callable[[int], object] | None = None,
    ) -> Result:
        """Turns a picture of one object, or several posed ones, into 3D Gaussians.

        The program is compiled for a number of views, once for every seed, sampler and number of steps. It is called
        once, or once a step where somebody watches. The same arguments give the same result, bit for bit, on the same
        machine.

        Args:
            image: path of a picture; pixels `[h, w, 3 or 4]`, uint8 or floats in [0, 1]; the path of a
                `transforms.json` that lists posed pictures (see `diffgs_jax.inference.conditions`); or a `Condition`.
            seed: of the noise, 0 to 2³² − 1.
            steps: denoiser calls, from 1 to the length of the schedule; as many as the model's config says if None.
            sampler: `ddim` or `dpm` (deterministic given the first noise), or `ddpm` (ancestral, as published); what
                the model's config says if None.
            guidance: how far to go from what the model would do without the picture (0) towards and beyond what it
                does with it (1); above 1 exaggerates the picture. One number, or one for each denoised view. Other than
                1 is for models that were trained for it, and takes twice the time.
            views: how many views to denoise, evenly around the object; those the model was trained with if None.
            elevation: of the camera that took a picture without a pose above the object's horizon, degrees in
                [−90, 90]; what the model takes it to be (20° as a rule) if None.
            foreground_ratio: the object's larger side over the side of the view that the model is shown; "model" takes
                what the model was trained with; None keeps the picture's own framing.
            matting: who tells the object from its background; see `diffgs_jax.interop.Matting`.
            matting_model: an ISNet ONNX file, for backgrounds that are not plain.
            trajectory: keep what was predicted at every step.
            on_step: called with the number of steps done, for a progress bar: with 0 once the picture is accepted and
                compilation may begin, then after every step. What it raises ends the sampling.

        Raises:
            UserError: if the file is missing or a setting is out of range.
            DataError: if the picture cannot be read or its object not isolated.
        """
        table = self.check(seed=seed, steps=steps, sampler=sampler, guidance=guidance, views=views, elevation=elevation)
        rig = self._rig(views)
        given = self.prepare(
            image, elevation=elevation, foreground_ratio=foreground_ratio, matting=matting, matting_model=matting_model
        )
        shown = views_to_denoise(given, rig)
        if on_step is not None:
            on_step(0)
        is_given = shown.is_condition[0][:, None, None, None]
        kept, done, state = [], 0, None
        for done, state in denoise(
            Network(self.config.model, self.one_view_at_a_time),
            self.params,
            shown,
            table,
            jax.random.key(seed),
            guidance=_guidance_of_views(guidance, shown),
            stride=1 if trajectory or on_step is not None else None,
        ):
            jax.block_until_ready(state)
            if trajectory:
                predicted = np.asarray(state.prediction.x0[0])
                kept.append((np.where(is_given, predicted, state.x[0]), predicted))
            if on_step is not None:
                on_step(done)
        assert state is not None  # there is a step at least
        return Result(
            Gaussians(*(np.asarray(leaf[0]) for leaf in state.prediction.aux)),
            shown._replace(images=np.asarray(state.prediction.x0)),
            rig,
            self.config.model.background,
            Trajectory(*map(np.stack, zip(*kept, strict=True))) if kept else None,
        )

    def prepare(
        self,
        image: str | os.PathLike[str] | np.ndarray | Condition,
        *,
        elevation: float | None = None,
        foreground_ratio: float | Literal["model"] | None = "model",
        matting: Matting = "auto",
        matting_model: str | os.PathLike[str] | None = None,
    ) -> Condition:
        """Returns what the model would be shown: the object alone, framed as in training; arguments as in a call."""
        if isinstance(image, Condition):
            return image
        removal: Any = {"matting": matting, "matting_model": matting_model}
        if not isinstance(image, np.ndarray) and pathlib.Path(image).suffix.lower() == ".json":
            return read_posed_pictures(image, self.config, **removal)
        return show_picture(image, self.config, elevation=elevation, foreground_ratio=foreground_ratio, **removal)

    def check(
        self,
        *,
        seed: int = 0,
        steps: int | None = None,
        sampler: SamplerKind | None = None,
        guidance: float | tuple[float, ...] = 1.0,
        views: int | None = None,
        elevation: float | None = None,
    ) -> Sampler:
        """Refuses settings that no picture could be sampled with, and returns the sampler's steps.

        Args:
            seed: as in a call, and so the others.
            steps: denoiser calls.
            sampler: the rule.
            guidance: for all denoised views or each.
            views: to denoise.
            elevation: degrees.

        Raises:
            UserError: naming the setting and what it may be.
        """
        if "object" not in self.config.model.network.domains:
            raise UserError("this model knows scenes only, and a picture of an object is asked for")
        if not 0 <= seed < 2**32:
            raise UserError(f"the seed must be from 0 to {2**32 - 1}, not {seed}")
        if elevation is not None and not -90 <= elevation <= 90:
            raise UserError(f"the elevation must be from -90 to 90 degrees, not {elevation}")
        if views is not None and not 1 <= views <= 64:
            raise UserError(f"the number of views must be from 1 to 64, not {views}")
        scales = guidance if isinstance(guidance, tuple) else (guidance,)
        denoised = len(self._rig(views).azimuths)
        if len(scales) not in (1, denoised) or not all(np.isfinite(scales)):
            raise UserError(
                f"guidance is one finite number, or one for each of the {denoised} views, not {list(scales)}"
            )
        if any(scale != 1 for scale in scales) and not models.family(self.config.model).can_be_guided(
            self.config.model
        ):
            raise UserError(
                "this model cannot be guided: it was never trained without its picture "
                "(model.losses.condition_dropout was 0); leave the guidance at 1"
            )
        usual = self.config.sampling
        return make_sampler(
            make_schedule(self.config.model.diffusion.schedule),
            usual.sampler if sampler is None else sampler,
            usual.steps if steps is None else steps,
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """A SHA-256 of the settings and the weights: what the results depend on, wherever the files lie."""
        digest = hashlib.sha256(json.dumps(to_dict(self.config)["model"], sort_keys=True).encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.params):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.ascontiguousarray(leaf).view(np.uint8).data)
        return digest.hexdigest()

    def _rig(self, views: int | None) -> ObjectRig:
        """Returns the rig's cameras, or others around the object at the same height, evenly beside azimuth 0."""
        if views is None:
            return self.config.rig
        azimuths = tuple(360.0 * number / (views + 1) for number in range(1, views + 1))
        return dataclasses.replace(self.config.rig, azimuths=azimuths)


def load(checkpoint: str | os.PathLike[str] | None = None, *, low_memory: bool = False) -> Pipeline:
    """Loads a trained model, and has JAX keep what it compiles on disk (see `compile_cache`).

    Args:
        checkpoint: the folder of a run or of its checkpoints; the model that comes with the package if None.
        low_memory: render one view at a time and, on accelerators, keep and run the network's trunk in bfloat16. On a
            CPU that would cost memory: XLA makes a float32 copy of the weights.

    Raises:
        UserError: if there is no checkpoint.
        DataError: if it cannot be read, or its weights are not those of its config's architecture.
    """
    folder = pathlib.Path(BUNDLED_CHECKPOINT if checkpoint is None else checkpoint)
    if checkpoint is None and not folder.exists():
        raise UserError("this installation comes without a trained model: name one with --checkpoint")
    use_compile_cache()
    config = from_dict(read_metadata(folder)["config"], str(folder))
    family = models.family(config.model)
    expected = jax.eval_shape(partial(family.init, config.model), jax.random.key(0))
    params = load_weights(folder, expected)
    if low_memory and jax.default_backend() != "cpu":
        model, params = family.lightened(config.model, params)
        config = dataclasses.replace(config, model=model)
    return Pipeline(config, params, one_view_at_a_time=low_memory)


def _guidance_of_views(guidance: float | tuple[float, ...], views: Views) -> np.ndarray | None:
    """Returns a scale for each view, 1 for the given ones; None where nothing is to be guided."""
    scales = np.asarray(guidance, np.float32)
    if np.all(scales == 1):
        return None
    is_condition = np.asarray(views.is_condition)
    factors = np.ones(is_condition.shape, np.float32)
    factors[~is_condition] = scales
    return factors[..., None, None, None]
