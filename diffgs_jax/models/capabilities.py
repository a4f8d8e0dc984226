"""What a model family may offer beside `Family`: each a protocol of its own, because not every family has it."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Int, Int32, Key, PRNGKeyArray

from diffgs_jax.diffusion import Denoise, LogProbability, SamplerConfig, SamplerKind, Schedule
from diffgs_jax.geometry import Cameras, Gaussians, Views
from diffgs_jax.models.bundles import (
    Batch,
    Control,
    Frozen,
    Generated,
    Metrics,
    Params,
    Progress,
    Request,
    Sampling,
)
from diffgs_jax.models.control_pictures import ControlMap
from diffgs_jax.models.importing import ImportedModel, ImportOptions, PublishedWeights
from diffgs_jax.rasterizer import Backend


@runtime_checkable
class Generates(Protocol):
    """A family that generates."""

    def generate(
        self, config: Any, params: Params, frozen: Frozen, request: Request, sampling: Sampling, keys: Key[Array, "b"]
    ) -> Iterator[Progress]:
        """Yields how far it is; the last one carries what was generated.

        Args:
            config: the model's settings.
            params: its weights.
            frozen: of `load_frozen(config, "sampling")`.
            request: b things to generate.
            sampling: how.
            keys: `[b]`, of each thing's noise.
        """
        ...


@runtime_checkable
class Renders(Protocol):
    """A family that renders Gaussians on its way, and can be told who shall do so."""

    def with_backend(self, config: Any, backend: Backend) -> Any:
        """Returns the settings of the same model, rendered by `backend`."""
        ...


@runtime_checkable
class GuidedByViews(Protocol):
    """A family whose sampling given views guide, by what renderings lack to them, and can be told how hard."""

    def with_view_guidance(self, config: Any, scale: float) -> Any:
        """Returns the settings of the same model, guided as hard as that; 0 leaves given views out."""
        ...


@runtime_checkable
class Diffuses(Protocol):
    """A family that is sampled by diffusion: `models.generation.generate` is its `generate`."""

    def schedule(self, config: Any) -> Schedule:
        """Returns the noise schedule that the model was trained with."""
        ...

    def state_shape(self, config: Any, request: Request) -> tuple[int, ...]:
        """Returns the shape of the diffused array, batch axis first."""
        ...

    def clean_state(self, config: Any, params: Params, frozen: Frozen, batch: Batch) -> Float[Array, "b *state"]:
        """Returns the diffused array of a training batch without noise, as `request_of(batch)` would order it."""
        ...

    def condition(self, config: Any, params: Params, frozen: Frozen, request: Request) -> Any:
        """Returns what the denoiser is told, a pytree of arrays."""
        ...

    def null_condition(self, config: Any, params: Params, frozen: Frozen, request: Request) -> Any:
        """Returns what the denoiser is told when nothing is given, as in the condition dropout of training."""
        ...

    def denoiser(
        self, config: Any, params: Params, frozen: Frozen, condition: Any, *, views_at_once: int = 0
    ) -> Denoise:
        """Returns the function that samplers call: `(x_t [b, *state], t [b]) -> Prediction(x0, aux)`."""
        ...

    def decode(
        self, config: Any, params: Params, frozen: Frozen, request: Request, x: Float[Array, "b *state"], aux: Any
    ) -> Generated:
        """Returns what a clean array stands for.

        Args:
            config: the model's settings.
            params: its weights.
            frozen: of `load_frozen(config, "sampling")`.
            request: what was asked for.
            x: the clean array.
            aux: of the `Prediction` that it came with; None for an array that was not predicted.
        """
        ...


@runtime_checkable
class ChoosesSamplers(Protocol):
    """A family that diffuses, and whose released models are sampled with settings of their own."""

    def sampler_config(self, config: Any, kind: SamplerKind) -> SamplerConfig:
        """Returns how a sampler is set."""
        ...


@runtime_checkable
class StartsFromImage(Protocol):
    """A family that diffuses, and knows what state stands for views that all look like one image."""

    def state_of_image(
        self, config: Any, params: Params, frozen: Frozen, request: Request, image: Float[Array | np.ndarray, "h w 3"]
    ) -> Float[Array, "b *state"]:
        """Returns that state.

        Args:
            config: the model's settings.
            params: its weights.
            frozen: of `load_frozen(config, "sampling")`.
            request: what is asked for.
            image: in [0, 1].

        Raises:
            UserError: if these settings have no encoder of images.
        """
        ...


@runtime_checkable
class AlignsToViews(Protocol):
    """A family whose Gaussians belong each to one view of a request, or to none."""

    def views_of_gaussians(self, config: Any, request: Request) -> Int32[np.ndarray, "n"]:
        """Returns by Gaussian the number of its view, the given ones first, then those to generate; −1 for none."""
        ...


@runtime_checkable
class Encodes(Protocol):
    """A family that maps arrays to latents and back."""

    def encode(self, config: Any, params: Params, x: Float[Array, "b h w c"]) -> Float[Array, "b hl wl cl"]:
        """Returns the latents."""
        ...

    def decode_latents(
        self, config: Any, params: Params, latents: Float[Array, "b hl wl cl"]
    ) -> Float[Array, "b h w c"]:
        """Returns the arrays that latents stand for."""
        ...


@runtime_checkable
class DecodesQuickly(Protocol):
    """A family that encodes, and has a second decoder that is good enough for a loss at every step."""

    def decode_quickly(
        self, config: Any, params: Params, latents: Float[Array, "b hl wl cl"]
    ) -> Float[Array, "b h w c"]:
        """Returns about what `decode_latents` would.

        Raises:
            UserError: if these settings have no such decoder.
        """
        ...


@runtime_checkable
class MakesGrids(Protocol):
    """A family that makes splat grids of posed views (`models/splat_grid.py`), and knows how good a grid is."""

    def grid_shape(self, config: Any, views: int, resolution: int) -> tuple[int, ...]:
        """Returns the shape `(views, h, w, c)` of the grids of so many views of that height and width, pixels."""
        ...

    def grids(self, config: Any, params: Params, frozen: Frozen, views: Views) -> Float[Array, "b v h w c"]:
        """Returns the grids of views `[b, v]`, every number in [−1, 1]."""
        ...

    def grid_loss(
        self,
        config: Any,
        frozen: Frozen,
        grids: Float[Array, "b v h w c"],
        batch: Batch,
        key: PRNGKeyArray,
        step: Int32[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        """Returns what the family's loss would be if these were the grids of a batch's inputs, and what to log."""
        ...

    def grid_cameras(self, config: Any, cameras: Cameras) -> Cameras:
        """Returns cameras `[b, v]` of the frame of a request in the world that the numbers of grids are of."""
        ...

    def grid_gaussians(self, config: Any, grids: Float[Array, "b v h w c"], cameras: Cameras) -> Gaussians:
        """Returns the Gaussians of the grids of cameras `[b, v]`, in the cameras' own frame."""
        ...


@runtime_checkable
class TrainsPartly(Protocol):
    """A family some of whose weights stay as they are in training."""

    def is_trained(self, config: Any, path: tuple[str, ...]) -> bool:
        """Tells whether the leaf of that path is trained."""
        ...


@runtime_checkable
class StartsFromFrozen(Protocol):
    """A family whose training begins with weights of a model that it uses."""

    def first_params(self, config: Any, params: Params, frozen: Frozen) -> Params:
        """Returns the weights that a run begins with.

        Args:
            config: the model's settings.
            params: of `init`.
            frozen: of `load_frozen(config, "training")`.
        """
        ...


@runtime_checkable
class Controls(Protocol):
    """A family of networks that steer what another generates, by a picture (ControlNets)."""

    def check_base(self, config: Any, base: Any) -> None:
        """Refuses a model that this one cannot steer, by its settings.

        Raises:
            UserError: saying why.
        """
        ...

    def residuals(
        self,
        config: Any,
        params: Params,
        x: Float[Array, "b v h w inputs"],
        timesteps: Array,
        text: Float[Array, "b m context"],
        picture: Float[Array | np.ndarray, "b height width 3"],
        *,
        scale: Float[Array, ""],
        guess: bool,
        added: Any,
    ) -> Any:
        """Returns what is added inside of the other network, a pytree that is summed over several of these."""
        ...


class Controlled(NamedTuple):
    """What a network that can be steered is.

    Attributes:
        unet: its settings, a `LatentUNetConfig`.
        downsampling: pixels of a view along a side for each latent pixel.
    """

    unet: Any
    downsampling: int


@runtime_checkable
class TakesControls(Protocol):
    """A family whose generations can be steered by networks of a family that `Controls`."""

    def controlled_network(self, config: Any) -> Controlled:
        """Returns what is steered.

        Raises:
            UserError: if the model has a network that cannot be.
        """
        ...

    def control_turn(self, config: Any, frozen: Frozen, cameras: Cameras) -> Float[Array, "b 3 3"]:
        """Returns the turns from the axes of the first of the cameras `[b, v]` to the world that pictures are in."""
        ...

    def control_picture(
        self, config: Any, frozen: Frozen, views: Views, kind: ControlMap, source: Literal["records", "splat"]
    ) -> Float[Array, "b h w 3"]:
        """Returns the picture of the first view of each object of a batch.

        Args:
            config: the model's settings.
            frozen: of `load_frozen(config, "training")`.
            views: `[b, v]`.
            kind: what it shows.
            source: what it is made of: the views' own maps, or the splat that is made of them.
        """
        ...

    def steered_loss(
        self,
        config: Any,
        params: Params,
        frozen: Frozen,
        batch: Batch,
        key: PRNGKeyArray,
        step: Int32[Array, ""],
        controls: tuple[Control, ...],
    ) -> tuple[Float[Array, ""], Metrics]:
        """Returns the family's loss where the network is steered."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """A family that reads something off images: a class, an angle."""

    def predict(
        self, config: Any, params: Params, frozen: Frozen, images: Float[Array | np.ndarray, "b h w 3"]
    ) -> dict[str, Array]:
        """Returns predictions `[b, …]` by name."""
        ...


@runtime_checkable
class Guides(Protocol):
    """A family that tells noisy arrays apart, and so can guide one that diffuses such arrays (classifier guidance)."""

    def noise_schedule(self, config: Any) -> Schedule:
        """Returns the noise schedule that it was trained with: that of what it guides."""
        ...

    def log_probability(
        self, config: Any, params: Params, frozen: Frozen, labels: Int[Array | np.ndarray, "b"]
    ) -> LogProbability:
        """Returns `(x_t [b, *state], t [b]) -> log p(label | x_t) [b]`, differentiable; 0 for labels of no class."""
        ...


@runtime_checkable
class Imports(Protocol):
    """A family whose published weights can be read."""

    def recognizes(self, source: PublishedWeights) -> bool:
        """Tells whether these look like weights of the family; what is wrong with them is said when they are read."""
        ...

    def import_published(self, source: PublishedWeights, options: ImportOptions) -> ImportedModel:
        """Returns the settings, and the weights to be read one by one.

        Raises:
            UserError: if an option is wrong, or says nothing of these weights.
            DataError: if the weights are others, listing everything that is wrong with them.
        """
        ...
