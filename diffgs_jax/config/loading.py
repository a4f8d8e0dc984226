"""Settings from a Python file, and from the words of a command line."""

import dataclasses
import difflib
import importlib.util
import pathlib
from collections.abc import Sequence

from diffgs_jax.config.json_form import flatten, to_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.config.train_config import TrainConfig, check
from diffgs_jax.errors import UserError
from diffgs_jax.files import checked_path


def load_config(path: str | pathlib.Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Runs `get_config()` of a Python file and applies command-line overrides.

    Args:
        path: a file such as `configs/diffusion_gs/quickstart.py`.
        overrides: for example `["--run.steps", "100"]`.

    Raises:
        UserError: if the file is missing, fails, has no `get_config`, or an override does not fit.
    """
    path = checked_path(path)
    if not path.is_file():
        raise UserError(f"there is no config file {path}")
    spec = importlib.util.spec_from_file_location(f"diffgs_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"config file {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config() if hasattr(module, "get_config") else None
    except (Exception, SystemExit) as error:  # whatever a user's program may raise
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
    if not overrides:
        return check(config)
    # The options are those of the family at hand
    narrowed = dataclasses.make_dataclass(
        "TrainConfig", [("model", type(config.model))], bases=(TrainConfig,), frozen=True
    )
    narrowed.__doc__ = TrainConfig.__doc__
    parts = {field.name: getattr(config, field.name) for field in dataclasses.fields(TrainConfig)}
    prog = "python -m diffgs_jax.train --config FILE"
    parsed = parse_options(narrowed, overrides, default=narrowed(**parts), prog=prog)
    return check(TrainConfig(**{name: getattr(parsed, name) for name in parts}))
