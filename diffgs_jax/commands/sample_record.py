"""`sample.json`: everything that is needed to make a sample again, and to see that it is the same."""

import dataclasses
import importlib.metadata
import pathlib
import platform
from typing import Any, Literal

import cattrs
import jax

from diffgs_jax.commands.sample_jobs import images_in
from diffgs_jax.commands.sample_options import SampleOptions
from diffgs_jax.errors import DataError
from diffgs_jax.files import file_sha256, json_object, load_json
from diffgs_jax.inference.pipeline import Pipeline

_VERSION = 1
_PACKAGES = ("diffgs_jax", "jax", "jaxlib", "numpy", "scipy", "pillow")

_converter = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(pathlib.Path, lambda text, _: pathlib.Path(text))
_converter.register_unstructure_hook(pathlib.Path, str)
_converter.register_structure_hook_func(
    lambda kind: kind in (float | Literal["model"] | None, float | Literal["estimate"] | None),
    lambda value, _: value if value in ("model", "estimate", None) else float(value),
)


def make_record(options: SampleOptions, pipeline: Pipeline, folder: pathlib.Path) -> dict[str, Any]:
    """Returns what `sample.json` says.

    Args:
        options: of this one sample.
        pipeline: that made it.
        folder: with the files that were made.
    """
    image = None if options.image is None else options.image.absolute()
    control = tuple(path.absolute() for path in options.control)
    path = options.path.absolute() if options.path is not None and options.path.is_file() else options.path
    kept = _converter.unstructure(dataclasses.replace(options, image=image, control=control, path=path, samples=1))
    for name in ("out", "repeat"):
        del kept[name]
    return {
        "version": _VERSION,
        "options": kept,
        "inputs": {str(path): file_sha256(path) for path in _inputs(options)},
        "model": {"sha256": pipeline.fingerprint},
        "files": {path.name: file_sha256(path) for path in sorted(folder.iterdir())},
        "made_with": made_with(),
    }


def made_with() -> dict[str, str | None]:
    """Returns the device, the system and the versions of packages that results depend on."""
    return {
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
    }


def read_options(path: pathlib.Path, out: pathlib.Path) -> tuple[SampleOptions, dict[str, Any]]:
    """Returns the options that a `sample.json` was made with, for another folder, and all that it says.

    Raises:
        UserError: if the file cannot be read.
        DataError: if it is not what this program writes.
    """
    record = json_object(load_json(path), str(path))
    try:
        if record["version"] != _VERSION:
            raise DataError(f"{path} is of version {record['version']}; this program reads version {_VERSION}")
        # What did not exist when an older record was written was not done
        before = {"filter": False, "prune": False}
        return _converter.structure(
            {**before, **record["options"], "out": str(out), "repeat": str(path)}, SampleOptions
        ), record
    except (cattrs.BaseValidationError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a sample.json that this program wrote ({error})") from error


def refuse_others(record: dict[str, Any], options: SampleOptions, pipeline: Pipeline) -> None:
    """Refuses to repeat a sample with another picture or another model.

    Raises:
        DataError: if one of them is not that of the record.
    """
    if pipeline.fingerprint != record["model"]["sha256"]:
        raise DataError(f"the checkpoint is not the one that {options.repeat} was made with; name it with --checkpoint")
    if sorted(file_sha256(path) for path in _inputs(options)) != sorted(record["inputs"].values()):
        raise DataError(f"{options.image} is not the image that {options.repeat} was made of; name it with --image")


def _inputs(options: SampleOptions) -> list[pathlib.Path]:
    """Returns all files that a sample depends on, but for the model's."""
    files = [] if options.image is None else [options.image.absolute()]
    controls = [path.absolute() for path in options.control]
    if options.one_object:
        files = images_in(files[0])
    elif files and files[0].suffix.lower() == ".json":
        for frame in load_json(files[0])["frames"]:
            for name in (frame["file_path"], frame.get("mask_path")):
                if name:  # a path without extension is completed, as its reader does
                    path = files[0].parent / name
                    files += [path] if path.is_file() else sorted(path.parent.glob(f"{path.name}.*"))[:1]
    more = (options.matting_model, options.mask, options.path)
    return [*files, *controls, *(path.absolute() for path in more if path is not None and path.is_file())]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from its sources
        return None
