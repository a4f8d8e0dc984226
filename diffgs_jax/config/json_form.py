"""Settings as JSON, and back: what a checkpoint and a run folder hold."""

import functools
from typing import Any

from diffgs_jax.config.train_config import TrainConfig
from diffgs_jax.errors import DataError
from diffgs_jax.models.bundles import (
    ModelConfig,
)
from diffgs_jax.models.family import (
    config_of_kind,
    kind_of,
)


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """Returns what JSON can say of a config; the model carries its family as `kind`."""
    return _converter().unstructure(config)


def from_dict(fields: Any, source: str = "config") -> TrainConfig:
    """Builds a config from what `to_dict` returned, in this version or an older one.

    Args:
        fields: nested dictionaries; missing fields take their defaults.
        source: where the fields came from, for the error.

    Raises:
        DataError: names every field that is unknown or of the wrong type.
    """
    import cattrs

    model = fields.get("model") if isinstance(fields, dict) else None
    config_of_kind(model.get("kind") if isinstance(model, dict) else None, source)
    try:
        return _converter().structure(with_present_names(fields), TrainConfig)
    except cattrs.BaseValidationError as error:
        raise DataError(f"{source}: {'; '.join(cattrs.transform_error(error, path='config'))}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{source}: {error}") from error


def flatten(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns `{"section.field": value}` of nested dictionaries, as overrides spell the names."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


# Fields that were called otherwise, by section; None where a field says nothing any more.
_FORMER_NAMES: dict[str, dict[str, str | None]] = {
    "run": {
        "grid_every": "preview_every",
        "grid_objects": "preview_objects",
        "grid_sampler_steps": "preview_steps",
    },
    # A family says which maps it reads
    "data": {"depth": None},
    "model.diffusion": {"own_predictions": "scheduled_sampling"},
    "model.losses": {"perceptual_pictures": "perceptual_images"},
}


def with_present_names(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns stored settings with the names that this version gives them."""

    def renamed(part: Any, path: str) -> Any:
        if not isinstance(part, dict):
            return part
        former = _FORMER_NAMES.get(path, {})
        found = {}
        for name, value in part.items():
            present = former.get(name, name) if isinstance(name, str) else name
            if present is not None:
                found[present] = renamed(value, f"{path}.{name}" if path else str(name))
        return found

    return renamed(fields, "")


@functools.cache
def _converter() -> Any:
    import cattrs

    plain = cattrs.Converter(forbid_extra_keys=True)
    converter = cattrs.Converter(forbid_extra_keys=True)

    def unstructure(model: Any) -> dict[str, Any]:
        return {"kind": kind_of(model), **plain.unstructure(model)}

    def structure(tagged: Any, _: Any) -> Any:
        fields = dict(tagged)
        return plain.structure(fields, config_of_kind(fields.pop("kind", None)))

    converter.register_structure_hook_func(lambda kind: kind is ModelConfig, structure)
    converter.register_unstructure_hook_func(lambda kind: kind is ModelConfig, unstructure)
    return converter
