"""Models of other families, loaded from their checkpoints, to be used and not trained."""

import dataclasses
import os
import pathlib
from typing import Any

import jax

from diffgs_jax.checkpoints import load_weights, read_metadata
from diffgs_jax.errors import DataError
from diffgs_jax.models.bundles import Frozen, Params, Purpose
from diffgs_jax.models.family import config_of_kind, family


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StoredModel:
    """A trained model of any family.

    Attributes:
        config: its settings, a static part of the pytree.
        params: its weights.
        frozen: weights that it uses itself beside its own.
    """

    config: Any = dataclasses.field(metadata={"static": True})
    params: Params
    frozen: Frozen


def load_stored(folder: str | os.PathLike[str], purpose: Purpose) -> StoredModel:
    """Loads a model from a checkpoint, whatever its family.

    Args:
        folder: of a run or of its checkpoints.
        purpose: what the model's own frozen weights are loaded for.

    Raises:
        UserError: if there is no checkpoint.
        DataError: if it cannot be read, or its weights are not those of its settings.
    """
    config = stored_config(folder)
    module = family(config)
    shapes = jax.eval_shape(lambda: module.init(config, jax.random.key(0)))
    return StoredModel(config, load_weights(pathlib.Path(folder), shapes), module.load_frozen(config, purpose))


def stored_models(frozen: Frozen) -> dict[str, StoredModel]:
    """Returns the stored models among frozen weights, and those that these use themselves, by name."""
    found: dict[str, StoredModel] = {}
    for name, weights in frozen.items():
        if isinstance(weights, StoredModel):
            found |= {name: weights} | stored_models(weights.frozen)
    return found


def stored_config(folder: str | os.PathLike[str]) -> Any:
    """Returns the settings of the model in a checkpoint.

    Raises:
        UserError: if there is no checkpoint.
        DataError: if it cannot be read.
    """
    config = read_metadata(pathlib.Path(folder))["config"]
    return model_from_fields(config.get("model") if isinstance(config, dict) else None, str(folder))


def model_from_fields(fields: Any, source: str = "config") -> Any:
    """Builds a model's settings from what JSON says of them.

    Args:
        fields: nested dictionaries with the family's tag as `kind`; missing fields take their defaults.
        source: where the fields came from, for the error.

    Raises:
        DataError: names every field that is unknown or of the wrong type.
    """
    import cattrs

    kind = fields.get("kind") if isinstance(fields, dict) else None
    of = config_of_kind(kind, source)
    rest = {name: value for name, value in fields.items() if name != "kind"}
    try:
        return cattrs.Converter(forbid_extra_keys=True).structure(rest, of)
    except cattrs.BaseValidationError as error:
        raise DataError(f"{source}: {'; '.join(cattrs.transform_error(error, path='config.model'))}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{source}: {error}") from error
