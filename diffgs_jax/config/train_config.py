"""The settings of a whole run: loading, command-line overrides, and the trip through JSON and back."""

import dataclasses
import difflib
import importlib.util
import pathlib
from collections.abc import Sequence
from typing import Any

import cattrs

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.config.run import ClusterConfig, MeshConfig, OptimizerConfig, RunConfig
from diffgs_jax.data import DataConfig
from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import ObjectRig
from diffgs_jax.interop import FOREGROUND_RATIO
from diffgs_jax.models import KINDS, ModelConfig


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How the model is sampled from when the caller does not say."""

    sampler: SamplerKind = "ddim"
    """`ddim` and `dpm` are deterministic after the first noise; `ddpm` is ancestral, as published."""
    steps: int = 30
    """Denoiser calls."""
    foreground_ratio: float = FOREGROUND_RATIO
    """An object's larger side over the side of the view, as in the views that the model was trained on."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything a run depends on. What sampling needs of it travels inside every checkpoint."""

    model: ModelConfig
    """The model family and its settings."""
    data: DataConfig = DataConfig()
    """What is learned from."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How the weights move."""
    run: RunConfig = RunConfig()
    """How long, and what is written."""
    rig: ObjectRig = ObjectRig()
    """The cameras that sampling uses for a picture without a pose."""
    sampling: SamplingConfig = SamplingConfig()
    """How the model is sampled from when the caller does not say."""
    mesh: MeshConfig = MeshConfig()
    """How devices share the work."""
    cluster: ClusterConfig = ClusterConfig()
    """How processes on several machines find each other."""


_converter = cattrs.Converter(forbid_extra_keys=True)
_base = cattrs.Converter(forbid_extra_keys=True)


def _unstructure_model(model: ModelConfig) -> dict[str, Any]:
    kind = next(name for name, kind in KINDS.items() if type(model) is kind)
    return {"kind": kind, **_base.unstructure(model)}


def _structure_model(tagged: dict[str, Any], _: type) -> ModelConfig:
    fields = dict(tagged)
    return _base.structure(fields, KINDS[fields.pop("kind")])


for _kind in KINDS.values():
    _converter.register_unstructure_hook(_kind, _unstructure_model)
    _converter.register_structure_hook(_kind, _structure_model)


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """Returns what JSON can say of a config; the model carries its family as `kind`."""
    return _converter.unstructure(config)


def from_dict(fields: dict[str, Any], source: str = "config") -> TrainConfig:
    """Builds a config from what `to_dict` returned.

    Args:
        fields: nested dictionaries; missing fields take their defaults.
        source: where the fields came from, for the error.

    Raises:
        DataError: names every field that is unknown or of the wrong type.
    """
    model = fields.get("model") if isinstance(fields, dict) else None
    kind = model.get("kind") if isinstance(model, dict) else None
    if kind not in KINDS:
        raise DataError(f"{source}: unknown model kind {kind!r}; known are {', '.join(KINDS)}")
    try:
        return _converter.structure(fields, TrainConfig)
    except cattrs.BaseValidationError as error:
        raise DataError(f"{source}: {'; '.join(cattrs.transform_error(error, path='config'))}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{source}: {error}") from error


def check(config: TrainConfig) -> TrainConfig:
    """Returns the config, or refuses settings that contradict each other.

    Raises:
        UserError: names the two settings.
    """
    network = config.model.network
    if config.data.resolution % network.patch_size or network.patch_size % network.stride:
        raise UserError(
            f"data.resolution {config.data.resolution} must be a multiple of model.network.patch_size "
            f"{network.patch_size}, and that of model.network.stride {network.stride}"
        )
    if config.data.background != config.model.background:
        raise UserError(
            f"data.background {config.data.background} and model.background {config.model.background} must be equal"
        )
    if config.model.losses.depth and not config.data.depth:
        raise UserError(f"model.losses.depth {config.model.losses.depth} needs the records' depth: set data.depth too")
    return config


def load_config(path: str | pathlib.Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Runs `get_config()` of a Python file and applies command-line overrides.

    Args:
        path: a file such as `configs/quickstart.py`.
        overrides: for example `["--run.steps", "100"]`.

    Raises:
        UserError: if the file is missing, fails, has no `get_config`, or an override does not fit.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"there is no config file {path}")
    spec = importlib.util.spec_from_file_location(f"diffgs_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"config file {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config() if hasattr(module, "get_config") else None
    except Exception as error:  # whatever a user's program may raise
        raise UserError(f"config file {path} cannot be run: {type(error).__name__}: {error}") from error
    if not isinstance(config, TrainConfig):
        raise UserError(f"config file {path} defines no get_config() that returns a TrainConfig")
    return apply_overrides(config, overrides)


def apply_overrides(config: TrainConfig, overrides: Sequence[str]) -> TrainConfig:
    """Returns a config with `--section.field value` pairs applied.

    Raises:
        UserError: if an override names no field (the nearest one is suggested) or does not fit it, or settings
            contradict each other.
        SystemExit: with code 0 for `--help`.
    """
    known = {f"--{name}" for name in flatten(to_dict(config)) if name != "model.kind"}
    for word in overrides:
        name = word.split("=", 1)[0].replace("_", "-")
        if not name.startswith("--") or name == "--help":
            continue
        options = {option.replace("_", "-"): option for option in known}
        positive = name.replace(".no-", ".", 1)  # tyro spells a false flag --section.no-field
        if name not in options and positive not in options:
            close = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
            hint = f"; did you mean {options[close[0]]}?" if close else "; --help lists them"
            raise UserError(f"unknown config field {word.split('=', 1)[0]}{hint}")
    prog = "python -m diffgs_jax.train --config FILE"
    return check(parse_options(TrainConfig, overrides, default=config, prog=prog))


def flatten(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns `{"section.field": value}` of nested dictionaries, as overrides spell the names."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
