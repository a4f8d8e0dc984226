"""What Open-DiffusionGS publishes, as files: checkpoints of several kinds, and the cameras it samples with.

A checkpoint is what PyTorch Lightning saves: the weights under `state_dict`, with the denoiser's names after
`shape_model.` and the perceptual loss's after `loss_computer.`, beside the optimizer's state and counters. Averaged
weights, where they were kept, are a file of their own (`…-EMA.ckpt`) with the same names. The state dict alone and
`model` with `denoiser.` are read by the published code too; the same tensors may also come as `.safetensors`.
"""

import importlib
import pathlib
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import one_line, open_regular, shown
from diffgs_jax.geometry import Cameras, ObjectRig, mirror_cameras
from diffgs_jax.models.diffusion_gs.published import MAPPING
from diffgs_jax.weights.torch_file import load_torch

PUBLISHED_RIG = ObjectRig(elevation=20.0, distance=3.0, fov=39.6, azimuths=(90.0, 180.0, 270.0))
"""How the object models' data was seen: G-Objaverse's lens of 39.6°, cameras at a distance of 3, and rings of four
views. Elevations there are 5° to 30°; those of the published sampling cameras are in their own file
(`read_camera_template`)."""

_PARTS = {theirs.split(".")[0] for theirs, _, _ in MAPPING}
# Settings and callbacks that training programs save beside the weights. They are left out, never made.
_SETTINGS = ("omegaconf", "argparse", "easydict", "pathlib", "typing", "numpy", "_codecs", "lightning")
_SETTINGS += ("pytorch_lightning", "lightning_fabric", "diffusionGS")
_FLOATS = ("float32", "float64", "float16", "bfloat16")
_SAFETENSORS_FLOATS = ("F32", "F64", "F16", "BF16")  # ml_dtypes, which torch_file imports, teaches numpy the last
_LONGEST_NAME = 500


class PublishedNetwork(NamedTuple):
    """The denoiser in a file.

    Attributes:
        prefix: what comes before the denoiser's own names, for example `state_dict.shape_model.`.
        tensors: its state dict, under its own names.
        others: how many other tensors the file names, the perceptual loss's for example.
    """

    prefix: str
    tensors: dict[str, np.ndarray]
    others: int


def read_open_diffusiongs(file: pathlib.Path, *, prefix: str | None = None) -> PublishedNetwork:
    """Finds the denoiser in a published checkpoint, without PyTorch and without running what the file says.

    Tensors of a torch file are mapped, not read: they take memory when they are used, and never more than the file.

    Args:
        file: `.ckpt` or `.pt` of torch.save, or `.safetensors`; its first bytes decide, not its name.
        prefix: of the names, if the file holds several networks.

    Raises:
        UserError: if there is no such file, it cannot be read, or a package is missing that it needs.
        DataError: if it is neither, is damaged, would run code, or holds no denoiser or several; or one whose weights
            are no floats (a quantised one, whose scales are elsewhere) or do not fit into float32.
    """
    with open_regular(file) as opened:
        start = opened.read(9)
    if start.startswith((b"PK", b"\x80")):
        arrays = _flatten(load_torch(file, mapped=True, leave_out=_SETTINGS))
        names, read = list(arrays), arrays.__getitem__
    elif start.endswith(b"{") and len(start) == 9:
        names, read = _open_safetensors(file)
    else:
        shown_file = shown(file)
        raise DataError(
            f"{shown_file} is neither a file of torch.save nor a .safetensors file, or was cut off at its start"
        )
    prefix = _choose(file, names, prefix)
    tensors = {name.removeprefix(prefix): read(name) for name in names if name.startswith(prefix)}
    for name, array in tensors.items():
        _check_weights(file, name, array)
    return PublishedNetwork(prefix, tensors, len(names) - len(tensors))


def _check_weights(file: pathlib.Path, name: str, array: np.ndarray) -> None:
    """Refuses what would become other weights without a word."""
    if array.dtype.name not in _FLOATS:
        raise DataError(
            f"{shown(file)}: {shown(name)} is {array.dtype.name}, which is no type of weights that can be read without "
            f"scales; give the checkpoint in {', '.join(_FLOATS)}"
        )
    if array.dtype == np.float64 and np.any(np.isfinite(array) & (np.abs(array) > np.finfo(np.float32).max)):
        raise DataError(f"{shown(file)}: {shown(name)} has float64 values that are too large for float32")


def _flatten(saved: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Returns the arrays in nested dictionaries under names joined by dots; those in lists belong to optimizers.

    Raises:
        DataError: if a name is longer than those of weights are, which would multiply with every name inside.
    """
    if len(prefix) > _LONGEST_NAME:
        raise DataError(f"a tensor's name is longer than {_LONGEST_NAME} characters: {shown(prefix)}")
    if isinstance(saved, np.ndarray):
        return {prefix: saved}
    arrays: dict[str, np.ndarray] = {}
    if isinstance(saved, dict):
        for name, value in saved.items():
            if isinstance(name, str):
                arrays |= _flatten(value, f"{prefix}.{name}" if prefix else name)
    return arrays


def _open_safetensors(file: pathlib.Path) -> tuple[list[str], Callable[[str], np.ndarray]]:
    try:
        safetensors = importlib.import_module("safetensors")
    except ImportError:
        raise UserError('.safetensors files need a package: pip install "diffgs_jax[import]"') from None

    def read(name: str) -> np.ndarray:
        try:
            kind = opened.get_slice(name).get_dtype()
            if kind not in _SAFETENSORS_FLOATS:
                raise DataError(
                    f"{shown(file)}: {shown(name)} is {kind}, which is no type of weights that can be read without "
                    f"scales; give the checkpoint in {', '.join(_FLOATS)}"
                )
            return opened.get_tensor(name)
        except (safetensors.SafetensorError, TypeError, OSError) as error:
            raise DataError(f"{shown(file)}: {shown(name)} cannot be read: {one_line(error)}") from None

    try:
        opened = safetensors.safe_open(file, framework="numpy")
    except (safetensors.SafetensorError, OSError) as error:
        raise DataError(f"{shown(file)} is truncated or no .safetensors file: {one_line(error)}") from None
    return list(opened.keys()), read


def _choose(file: pathlib.Path, names: list[str], wanted: str | None) -> str:
    """Returns the prefix under which the file has a denoiser."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        own = next((i for i, part in enumerate(parts) if part in _PARTS), None)
        if own is not None:
            counts["".join(f"{part}." for part in parts[:own])] += 1
    likely = [prefix for prefix, count in counts.most_common() if 2 * count > max(counts.values())]
    if wanted is not None and wanted in counts:
        return wanted
    if len(likely) == 1 and wanted is None:
        return likely[0]
    if not likely:
        example = "transformer.0.attn.qkv.weight"
        raise DataError(
            f"{shown(file)} holds no Open-DiffusionGS model: none of {len(names)} tensors is named like {example}"
        )
    listed = ", ".join(repr(prefix) for prefix in likely)
    problem = "holds several networks" if wanted is None else f"holds no network after {wanted!r}"
    raise DataError(f"{shown(file)} {problem}; give --prefix one of {listed}")


def read_camera_template(file: pathlib.Path) -> ObjectRig:
    """Reads the cameras that the published object pipeline samples with (`camera_template.pt`).

    The first is the picture's, the next three are denoised. They are given in the mirrored world.

    Raises:
        UserError: if there is no such file.
        DataError: if it is another one, or its cameras are no ring that looks at the origin.
    """
    saved = load_torch(file)
    if not isinstance(saved, dict):
        raise DataError(f"{shown(file)} is no camera template of Open-DiffusionGS: it holds no names")
    try:
        poses, lenses = (_real_numbers(saved[name]) for name in ("gen_c2w", "gen_fxfycxcys"))
        poses, lenses = poses.reshape(-1, 4, 4)[:4], lenses.reshape(-1, 4)[:4]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{shown(file)} is no camera template of Open-DiffusionGS: {one_line(error)}") from None
    if len(poses) != 4 or len(lenses) != 4:
        raise DataError(f"{shown(file)}: the cameras are no ring about the object: they are not four")
    if not (np.isfinite(poses).all() and np.abs(poses).max() < 1e6 and (lenses[0] > 0).all()):
        raise DataError(f"{shown(file)}: the cameras are no ring about the object: they have impossible numbers")
    if (np.linalg.norm(poses[:, :3, 3], axis=-1) < 1e-6).any():
        raise DataError(f"{shown(file)}: the cameras are no ring about the object: one is where the object is")
    poses = np.asarray(mirror_cameras(Cameras(poses, lenses)).camera_to_world)
    x, y, z = poses[:, :3, 3].T
    distances = np.linalg.norm(poses[:, :3, 3], axis=-1)
    if not (distances > 1e-6).all():
        raise DataError(f"{shown(file)}: the cameras are no ring about the object: one is in its middle")
    elevations, azimuths = np.degrees(np.arcsin(z / distances)), np.degrees(np.arctan2(y, x))
    towards = -np.sum(poses[:, :3, 2] * poses[:, :3, 3], axis=-1) / distances
    fov = float(np.degrees(2 * np.arctan(lenses[0, 2] / lenses[0, 0])))
    problems = {
        "they are not of the mirrored world": (np.linalg.det(poses[:, :3, :3]) < 0.9).any(),
        "they do not look at the origin": (towards < 0.999).any(),
        "their distances differ": np.ptp(distances) > 0.05 * distances.mean(),
        "their elevations differ by more than 10 degrees": np.ptp(elevations) > 10,
        "their field of view is not between 1 and 170 degrees": not 1 < fov < 170,
    }
    problem = next((text for text, present in problems.items() if present), None)
    if problem is not None:
        raise DataError(f"{shown(file)}: the cameras are no ring about the object: {problem}")
    return ObjectRig(
        elevation=round(float(elevations.mean()), 3),
        distance=round(float(distances.mean()), 4),
        fov=round(fov, 3),
        azimuths=tuple(round(float(azimuth), 3) % 360.0 for azimuth in azimuths[1:] - azimuths[0]),
    )


def _real_numbers(values: Any) -> np.ndarray:
    if not isinstance(values, np.ndarray) or values.dtype.kind == "c" or values.size > 1000 * 16:
        raise ValueError("cameras that are no arrays of real numbers")
    return values.astype(np.float64)
