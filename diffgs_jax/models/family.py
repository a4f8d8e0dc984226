"""What every model family offers, and the one list of families.

A family is what `config.model` is: an instance of a frozen dataclass, whose `kind` tags it in JSON. It is implemented
by a module of functions that satisfies `Family` and some of the protocols of `models.capabilities`. Adding one takes a
folder beside the others and one `register` call at the end of this file; a config file of a user may call `register`
too.

Everything else of the library sees a family through these two files. One family reaches another only as frozen weights.
"""

import importlib
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float, Int32, PRNGKeyArray

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.models.bundles import (
    Batch,
    Cost,
    DataSettings,
    Frozen,
    Metrics,
    ModelConfig,
    Params,
    Purpose,
    Requirements,
)

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
    from diffgs_jax.models.controlnet.config import ControlNetModelConfig
    from diffgs_jax.models.ddpm.config import DDPMConfig
    from diffgs_jax.models.diffsplat.config import DiffSplatConfig
    from diffgs_jax.models.diffusion_gs.config import DiffusionGSConfig
    from diffgs_jax.models.elevest.config import ElevEstConfig
    from diffgs_jax.models.gsd.config import GSDConfig
    from diffgs_jax.models.gsrecon.config import GSReconConfig
    from diffgs_jax.models.gsvae.config import GSVAEConfig
    from diffgs_jax.models.noisy_classifier.config import NoisyClassifierConfig
    from diffgs_jax.models.stable_diffusion.config import StableDiffusionConfig
    from diffgs_jax.models.zero123.config import Zero123Config

    register("diffusion_gs", DiffusionGSConfig, "diffgs_jax.models.diffusion_gs.family")
    register("ddpm", DDPMConfig, "diffgs_jax.models.ddpm.family")
    register("gsrecon", GSReconConfig, "diffgs_jax.models.gsrecon.family")
    register("gsvae", GSVAEConfig, "diffgs_jax.models.gsvae.family")
    register("diffsplat", DiffSplatConfig, "diffgs_jax.models.diffsplat.family")
    register("controlnet", ControlNetModelConfig, "diffgs_jax.models.controlnet.family")
    register("gsd", GSDConfig, "diffgs_jax.models.gsd.family")
    register("elevest", ElevEstConfig, "diffgs_jax.models.elevest.family")
    register("noisy_classifier", NoisyClassifierConfig, "diffgs_jax.models.noisy_classifier.family")
    register("stable_diffusion", StableDiffusionConfig, "diffgs_jax.models.stable_diffusion.family")
    register("zero123", Zero123Config, "diffgs_jax.models.zero123.family")


_register_families()
