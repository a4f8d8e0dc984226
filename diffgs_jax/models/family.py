"""What a model family offers, and the one list of families.

A family is what `config.model` is: an instance of a frozen dataclass, whose `kind` tags it in JSON. It is implemented
by a module of functions that satisfies `Family`, and some of the capabilities `Diffuses`, `ChoosesSamplers`,
`StartsFromImage`, `Generates`, `Renders`, `MakesGrids`, `Encodes`, `DecodesQuickly`, `TrainsPartly`, `Predicts`,
`Guides` and `Imports`. Adding one takes a folder beside the others and one `register` call at the end of this file; a
config file of a user may call `register` too.

Everything else of the library sees a family through this file. One family reaches another only as frozen weights.
"""

import importlib
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Int, Int32, Key, PRNGKeyArray

from diffgs_jax.diffusion import Denoise, LogProbability, SamplerConfig, SamplerKind, Schedule
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Cameras, Gaussians, Views
from diffgs_jax.models.bundles import (
    Batch,
    Cost,
    DataSettings,
    Frozen,
    Generated,
    Metrics,
    ModelConfig,
    Params,
    Progress,
    Purpose,
    Request,
    Requirements,
    Sampling,
)
from diffgs_jax.models.importing import ImportedModel, ImportOptions, PublishedWeights
from diffgs_jax.rasterizer import Backend

# The interface


@runtime_checkable
class Family(Protocol):
    """What every family offers; `config` is an instance of its own dataclass."""

    def check(self, config: Any, data: DataSettings) -> None:
        """Refuses settings that contradict each other.

        Raises:
            UserError: naming them in one line.
        """
        ...

    def requirements(self, config: Any) -> Requirements:
        """Returns what the family needs of data and requests."""
        ...

    def init(self, config: Any, key: PRNGKeyArray) -> Params:
        """Returns fresh weights."""
        ...

    def load_frozen(self, config: Any, purpose: Purpose) -> Frozen:
        """Loads the weights that are used and not trained.

        Raises:
            UserError: if they are not there.
            DataError: if they cannot be read.
        """
        ...

    def loss(
        self, config: Any, params: Params, frozen: Frozen, batch: Batch, key: PRNGKeyArray, step: Int32[Array, ""]
    ) -> tuple[Float[Array, ""], Metrics]:
        """Returns the scalar to descend and what to log; the metrics contain it as `loss`."""
        ...

    def cost(self, config: Any, data: DataSettings) -> Cost:
        """Returns what the network costs for one sample of such data."""
        ...

    def is_hidden_matrix(self, path: tuple[str, ...]) -> bool:
        """Tells whether the leaf of that path maps hidden features to hidden features, which Muon orthogonalises."""
        ...

    def in_low_memory(self, config: Any, params: Params) -> tuple[Any, Params]:
        """Returns the settings and weights of the same model in less memory, for accelerators."""
        ...


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


# The list


class _Entry(NamedTuple):
    config: type
    implementation: Any  # the module, or its name


_FAMILIES: dict[str, _Entry] = {}


def register(kind: str, config: type, implementation: Any) -> None:
    """Makes a family known.

    Args:
        kind: its tag in stored configs.
        config: the frozen dataclass of its settings.
        implementation: the module that implements it, or the name of one, imported when it is first asked for.

    Raises:
        ValueError: if another family has the tag or the dataclass.
    """
    for known, entry in _FAMILIES.items():
        if (known == kind) != (entry.config is config):
            raise ValueError(f"the family {known} has that tag or those settings already")
    _FAMILIES[kind] = _Entry(config, implementation)


def kinds() -> dict[str, type]:
    """Returns the settings of every family by its tag."""
    return {kind: entry.config for kind, entry in _FAMILIES.items()}


def kind_of(config: ModelConfig) -> str:
    """Returns the tag of a config's family.

    Raises:
        UserError: if it is of no family.
    """
    for kind, entry in _FAMILIES.items():
        if type(config) is entry.config:
            return kind
    raise UserError(f"{type(config).__name__} is no model family's settings; known are {', '.join(_FAMILIES)}")


def family(config: ModelConfig) -> Any:
    """Returns the implementation of a config's family: a `Family` with some of the capabilities.

    Raises:
        UserError: if it is of no family.
    """
    implementation = _FAMILIES[kind_of(config)].implementation
    return importlib.import_module(implementation) if isinstance(implementation, str) else implementation


def families() -> dict[str, Any]:
    """Returns the implementation of every family by its tag."""
    return {
        kind: importlib.import_module(entry.implementation)
        if isinstance(entry.implementation, str)
        else entry.implementation
        for kind, entry in _FAMILIES.items()
    }


def config_of_kind(kind: Any, source: str = "config") -> type:
    """Returns the settings' dataclass of a tag.

    Raises:
        DataError: if no family has it.
    """
    if not isinstance(kind, str) or kind not in _FAMILIES:
        raise DataError(f"{source}: unknown model kind {kind!r}; known are {', '.join(_FAMILIES)}")
    return _FAMILIES[kind].config


def _register_families() -> None:
    from diffgs_jax.models.ddpm.config import DDPMConfig
    from diffgs_jax.models.diffsplat.config import DiffSplatConfig
    from diffgs_jax.models.diffusion_gs.config import DiffusionGSConfig
    from diffgs_jax.models.elevest.config import ElevEstConfig
    from diffgs_jax.models.gsrecon.config import GSReconConfig
    from diffgs_jax.models.gsvae.config import GSVAEConfig
    from diffgs_jax.models.noisy_classifier.config import NoisyClassifierConfig

    register("diffusion_gs", DiffusionGSConfig, "diffgs_jax.models.diffusion_gs.family")
    register("ddpm", DDPMConfig, "diffgs_jax.models.ddpm.family")
    register("gsrecon", GSReconConfig, "diffgs_jax.models.gsrecon.family")
    register("gsvae", GSVAEConfig, "diffgs_jax.models.gsvae.family")
    register("diffsplat", DiffSplatConfig, "diffgs_jax.models.diffsplat.family")
    register("elevest", ElevEstConfig, "diffgs_jax.models.elevest.family")
    register("noisy_classifier", NoisyClassifierConfig, "diffgs_jax.models.noisy_classifier.family")


_register_families()
