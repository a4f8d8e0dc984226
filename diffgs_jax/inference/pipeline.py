"""From an image to 3D Gaussians in one call, for Python users and for the command line."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from diffgs_jax.config import TrainConfig, background_of, to_dict
from diffgs_jax.diffusion import (
    Sampler,
    SamplerConfig,
    SamplerKind,
    sampler_from_config,
    sampler_kinds,
    starting_later,
)
from diffgs_jax.errors import UserError
from diffgs_jax.files import model_sha256
from diffgs_jax.geometry import (
    OBJECT,
    Cameras,
    Gaussians,
    ObjectRig,
    Views,
    denoised_cameras,
)
from diffgs_jax.inference.blob import blob_image
from diffgs_jax.inference.checks import check_options
from diffgs_jax.inference.classifiers import load_classifier
from diffgs_jax.inference.conditions import PosedImages, check_posed, read_posed_images
from diffgs_jax.inference.controls import Steered, check_controls, make_controls
from diffgs_jax.inference.filtering import filtered, rendering_of
from diffgs_jax.inference.guidance import guidance_factors, guidance_scales
from diffgs_jax.inference.options import InputOptions, SamplingOptions, with_changes
from diffgs_jax.inference.result import Result, Trajectory
from diffgs_jax.inference.rigs import azimuths_of, rig_beside
from diffgs_jax.inference.unposed import UnposedImage, show_image, show_turntable
from diffgs_jax.models import (
    ChoosesSamplers,
    Classifier,
    Diffuses,
    Frozen,
    Generated,
    GuidedByViews,
    Progress,
    Request,
    Requirements,
    Sampling,
    StartsFromImage,
    TakesControls,
    family,
)
from diffgs_jax.rasterizer import describe_backend

ImageSource = UnposedImage | PosedImages | Sequence[UnposedImage | None]
"""Path of an image; pixels `[h, w, 3 or 4]`, uint8 or floats in [0, 1]; the path of a `transforms.json` that lists
posed images (see `diffgs_jax.inference.conditions`); a `PosedImages`; or a list of images of a turntable
(`show_turntable`)."""


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A trained model, ready to sample from: `load()` makes one, calling it turns an image into Gaussians."""

    config: TrainConfig
    """Everything the model was trained with."""
    params: dict[str, Any]
    """Its weights."""
    frozen: Frozen = dataclasses.field(default_factory=dict)
    """Weights that it uses beside its own."""
    views_at_once: int = 0
    """Views of a prediction that are rendered together; 1 takes the least memory, 0 renders all at once."""

    @functools.cached_property
    def requirements(self) -> Requirements:
        """What the model needs and what it makes."""
        return family(self.config.model).requirements(self.config.model)

    def described(self) -> str:
        """Returns in a few words what the model is, for people."""
        size = sum(leaf.size for leaf in jax.tree.leaves(self.params)) / 1e6
        side = self.config.data.resolution
        return f"{size:.1f} M parameters, {side} × {side} pixels, on {jax.devices()[0].device_kind}"

    @property
    def background(self) -> float:
        """Grey level in [0, 1] that images are on, given and generated ones."""
        return background_of(self.config)

    def __call__(
        self,
        image: ImageSource | None = None,
        *,
        inputs: InputOptions = InputOptions(),  # noqa: B008 (frozen)
        sampling: SamplingOptions = SamplingOptions(),  # noqa: B008 (frozen)
        trajectory: bool = False,
        on_step: Callable[[int], object] | None = None,
        **changes: Any,
    ) -> Result:
        """Turns an image of one object, or several posed ones, into 3D Gaussians; or whatever the model makes.

        The program is compiled for a number of views, once for every seed, sampler and number of steps. It is called
        once, or once a step where the caller watches. The same arguments give the same result, bit for bit, on the same
        machine.

        Args:
            image: what is given; None for models that need none.
            inputs: what is said of it.
            sampling: how to sample.
            trajectory: keep what was predicted at every step.
            on_step: called with the number of steps done, for a progress bar: with 0 once the image is accepted and
                compilation may begin, then after every step. What it raises ends the sampling.
            **changes: single fields of `inputs` and `sampling`: `pipeline("chair.png", seed=1, elevation=10)`.

        Raises:
            UserError: if the file is missing, or an option is unknown or out of range.
            DataError: if the image cannot be read or its object not isolated.
        """
        inputs, sampling = with_changes(inputs, sampling, changes)
        self.check(inputs, sampling, has_image=image is not None)
        given = None if image is None else self.prepare(image, inputs)
        request = self.request(given, inputs, sampling)
        if on_step is not None:
            on_step(0)
        kept: list[tuple[np.ndarray, np.ndarray]] = []
        generated = None
        for progress in self.generate(request, [sampling.seed], sampling, watch=trajectory, often=on_step is not None):
            generated = progress.generated
            if trajectory and generated is not None and progress.noisy is not None:
                kept.append((_images_of(progress.noisy), _images_of(generated)))
            jax.block_until_ready(generated)
            if on_step is not None:
                on_step(progress.done)
        assert generated is not None  # the last step carries it
        found = jax.tree.map(np.asarray, generated)
        gaussians, variance = found.gaussians, self.filter_variance(sampling)
        if gaussians is not None:
            gaussians = Gaussians(*(leaf[0] for leaf in filtered(gaussians, request, variance)))
        moved = None if given is None else given.given
        return Result(
            gaussians=gaussians,
            views=found.views,
            images=found.images,
            rig=self._rig(sampling, given),
            background=self.background,
            rendering=rendering_of(self.requirements, variance),
            backend=self.requirements.backend,
            trajectory=Trajectory(*map(np.stack, zip(*kept, strict=True))) if kept else None,
            given=moved,
            frame="cameras" if moved is not None and self.requirements.condition_views[0] > 1 else "object",
        )

    def generate(
        self,
        request: Request,
        seeds: list[int],
        sampling: SamplingOptions = SamplingOptions(),  # noqa: B008 (frozen)
        *,
        watch: bool = False,
        often: bool = False,
    ) -> Iterator[Progress]:
        """Yields how far a generation is; the last `Progress` carries what was generated.

        Args:
            request: what is asked for, one thing a seed.
            seeds: of the noise of each.
            sampling: how; its own seed is not looked at.
            watch: decode at every step.
            often: yield after every step, not only at the end.
        """
        given = 0 if request.condition is None else request.condition.images.shape[1]
        generated = 0 if request.cameras is None else np.shape(request.cameras.intrinsics)[1]
        scales = guidance_scales(self.config.sampling.guidance, sampling, self.requirements, given, generated)
        settings = Sampling(
            self.sampler(sampling),
            guidance=guidance_factors(scales, self.requirements, given, generated),
            classifier=self.classifier(sampling),
            stride=1 if watch or often else None,
            watch=watch,
            views_at_once=self.views_at_once,
            start=self._start(request, sampling),
        )
        keys = jax.numpy.stack([jax.random.key(seed) for seed in seeds])
        module, model = family(self.config.model), self.config.model
        if sampling.view_guidance is not None and isinstance(module, GuidedByViews):
            model = module.with_view_guidance(model, sampling.view_guidance)
        return module.generate(model, self.params, self.frozen, request, settings, keys)

    def prepare(self, image: ImageSource, inputs: InputOptions = InputOptions()) -> PosedImages:  # noqa: B008 (frozen)
        """Returns what the model would be shown: the object alone, framed as in training."""
        if isinstance(image, PosedImages):
            check_posed(image, self.config)
            return image
        if isinstance(image, Sequence) and not isinstance(image, str):
            return show_turntable(image, self.config, inputs)
        if not isinstance(image, np.ndarray) and pathlib.Path(image).suffix.lower() == ".json":
            return read_posed_images(image, self.config, inputs)
        if self.requirements.condition_views[0] > 1:
            count = self.requirements.condition_views[0]
            raise UserError(
                f"this model needs {count} pictures: give the transforms.json that lists posed ones, or a folder of "
                f"{count} taken at equal steps around the object"
            )
        return show_image(image, self.config, inputs)

    def request(
        self, given: PosedImages | None, inputs: InputOptions, sampling: SamplingOptions, *, count: int = 1
    ) -> Request:
        """Returns what the model is asked for: `count` things, of what is given or of nothing."""
        domain = np.full(count, OBJECT, np.int32)

        def repeated(cameras: Cameras) -> Cameras:
            return Cameras(*(np.broadcast_to(leaf, (count, *np.shape(leaf))) for leaf in cameras))

        condition = mask = None
        if given is not None:
            mask = np.ones(given.images.shape[:3], bool) if given.mask is None and sampling.reconstruct else given.mask
            mask = None if mask is None else np.broadcast_to(mask, (count, *mask.shape))
            images = np.broadcast_to(given.images, (count, *given.images.shape))
            alphas = None if given.alphas is None else np.broadcast_to(given.alphas, images.shape[:-1])
            condition = Views(images, repeated(given.cameras), np.ones(images.shape[:2], bool), domain, alphas)
        cameras = None
        if self.requirements.cameras:
            rig = self._rig(sampling, given)
            if self.requirements.given_are_made:  # all views of a splat are of one height
                height = inputs.elevation if given is None else given.elevation
                rig = dataclasses.replace(rig, elevation=height) if isinstance(height, (int, float)) else rig
            cameras = repeated(denoised_cameras(rig))
        text = negative = None
        if self.requirements.tokenize is not None:
            text = self.requirements.tokenize([inputs.prompt or ""] * count)
            negative = self.requirements.tokenize([inputs.negative_prompt] * count)
        labels = None
        if self.requirements.labels or sampling.classifier is not None:
            labels = np.full(count, -1 if inputs.label is None else inputs.label, np.int32)
        controls = ()
        if sampling.controlnet:
            assert cameras is not None  # of what can be steered
            sampler = self.sampler(sampling)
            steered = Steered(self.config, self.frozen, self.requirements)
            times = np.zeros(0) if sampler is None else np.asarray(sampler.timesteps)
            controls = make_controls(inputs, sampling, steered, times, cameras)
        return Request(
            self.config.data.resolution,
            domain,
            condition,
            cameras,
            text=text,
            negative_text=negative,
            controls=controls,
            mask=mask,
            labels=labels,
        )

    def check(
        self,
        inputs: InputOptions = InputOptions(),  # noqa: B008 (frozen)
        sampling: SamplingOptions = SamplingOptions(),  # noqa: B008 (frozen)
        *,
        has_image: bool = True,
        scene: bool = False,
    ) -> None:
        """Refuses options that nothing could be sampled with.

        Raises:
            UserError: naming the option and what it may be.
        """
        check_controls(inputs, sampling)
        if sampling.controlnet and not isinstance(family(self.config.model), TakesControls):
            raise UserError("ControlNets steer diffsplat models only, and this is none: leave --controlnet out")
        if sampling.view_guidance is not None:
            if not isinstance(family(self.config.model), GuidedByViews):
                raise UserError("given views are this model's condition and do not guide it: leave --view-guidance out")
            if not (0 <= sampling.view_guidance < float("inf") and has_image):
                raise UserError("--view-guidance is 0 or more, and goes with a picture (--image)")
        if inputs.azimuth and self.config.data.object_frame != "record":
            raise UserError("to this model every picture is the front: leave --azimuth out")
        generated = len(rig_beside(self.config, [0.0] if has_image else [], sampling.views).azimuths)
        if scene:
            generated = self.config.data.noisy_views if sampling.views is None else sampling.views
        check_options(
            inputs,
            sampling,
            self.requirements,
            has_image=has_image,
            scene=scene,
            generated=generated,
            scales=guidance_scales(
                self.config.sampling.guidance, sampling, self.requirements, int(has_image), generated
            ),
        )
        if self.sampler(sampling) is None and (sampling.steps is not None or sampling.sampler is not None):
            raise UserError("this model takes no steps: leave --steps and --sampler out")
        self.classifier(sampling)

    @property
    def sampler_kinds(self) -> tuple[SamplerKind, ...]:
        """The samplers that go with the model's noise schedule; none for a model that does not diffuse."""
        module = family(self.config.model)
        if not isinstance(module, Diffuses):
            return ()
        return sampler_kinds(module.schedule(self.config.model))

    def sampler(self, sampling: SamplingOptions) -> Sampler | None:
        """Returns the steps that are taken; None for a model that takes none.

        Raises:
            UserError: if there are not that many.
        """
        module = family(self.config.model)
        if not isinstance(module, Diffuses):
            return None
        usual = self.config.sampling
        kind = usual.sampler if sampling.sampler is None else sampling.sampler
        settings = SamplerConfig(kind)
        if isinstance(module, ChoosesSamplers):
            settings = module.sampler_config(self.config.model, kind)
        if sampling.eta is not None:
            settings = dataclasses.replace(settings, eta=sampling.eta)
        steps = usual.steps if sampling.steps is None else sampling.steps
        sampler = sampler_from_config(module.schedule(self.config.model), settings, steps)
        if sampling.reconstruct:
            return starting_later(sampler, sampling.reconstruct)
        return starting_later(sampler, sampling.blob_strength) if sampling.blob_spread else sampler

    def classifier(self, sampling: SamplingOptions) -> Classifier | None:
        """Returns the classifier that guides; None where none is asked for.

        Raises:
            UserError: if it is none, or of other images, noise or classes.
            DataError: if it cannot be read.
        """
        if sampling.classifier is None:
            return None
        return load_classifier(sampling.classifier, sampling.classifier_scale, self.config)

    def filter_variance(self, sampling: SamplingOptions) -> float:
        """Returns the variance that is made part of every Gaussian, square pixels of the training views; 0 for none."""
        # Rendering that adds nothing leaves nothing to make up for
        is_widened = self.requirements.rendering.dilation > 0
        return self.config.sampling.filter if sampling.filter and is_widened else 0.0

    @functools.cached_property
    def fingerprint(self) -> str:
        """A SHA-256 of the settings and the weights: what the results depend on, wherever the files lie."""
        settings = to_dict(self.config)["model"]
        settings.pop("backend", None)  # who renders is no part of what a model is
        return model_sha256(settings, self.params)

    @property
    def backend(self) -> str | None:
        """Who renders, in words; None for a model that renders nothing, and where nothing was chosen: auto on a CPU."""
        backend = self.requirements.backend
        if self.requirements.makes != "gaussians" or (backend == "auto" and jax.default_backend() == "cpu"):
            return None
        return describe_backend(backend)

    def _start(self, request: Request, sampling: SamplingOptions) -> Any:
        """Returns the state that sampling starts from under the noise; None for noise alone."""
        module = family(self.config.model)
        if sampling.reconstruct and request.condition is not None:
            return np.asarray(request.condition.images, np.float32)
        if not sampling.blob_spread:
            return None
        if not isinstance(module, StartsFromImage):
            raise UserError("this model starts from noise alone: leave --blob-spread out")
        image = blob_image(request.resolution, sampling.blob_spread, sampling.blob_background)
        return module.state_of_image(self.config.model, self.params, self.frozen, request, image)

    def _rig(self, sampling: SamplingOptions, given: PosedImages | None) -> ObjectRig:
        """Returns the cameras of the views to generate beside those that are given."""
        azimuths = [] if given is None else azimuths_of(given.cameras)
        if given is not None and sampling.reconstruct:
            return rig_beside(self.config, azimuths, 0)
        is_masked = given is not None and given.mask is not None
        return rig_beside(self.config, azimuths, sampling.views, fewest=0 if is_masked else 1)


def _images_of(generated: Generated) -> np.ndarray:
    images = generated.images if generated.views is None else generated.views.images[0]
    return np.asarray(images)
