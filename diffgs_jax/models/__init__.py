"""Model families. Everything outside this room reaches one through `family`."""

from types import ModuleType

from diffgs_jax.models import diffusion_gs
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig

ModelConfig = DiffusionGSConfig
"""The settings of any family; a union once there is a second one."""

KINDS: dict[str, type[ModelConfig]] = {"diffusion_gs": DiffusionGSConfig}
"""The tag that a stored config carries for each family."""


def family(config: ModelConfig) -> ModuleType:
    """Returns the module of the family that `config` belongs to.

    Every family offers `init(config, key)`, `frozen(config)`, `loss(config, params, frozen, batch, key, step)`,
    `denoiser(config, params, views, unconditional=False, one_view_at_a_time=False)`, `can_be_guided(config)`, whether
    `unconditional` means anything, and `lightened(config, params)`, the same model in less memory.
    """
    match config:
        case DiffusionGSConfig():
            return diffusion_gs


__all__ = ["KINDS", "ModelConfig", "family"]
