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

    Tensors of a torch file are mapped, not read: they cost memory when they are used.

    Args:
        file: `.ckpt` or `.pt` of torch.save, or `.safetensors`; its first bytes decide, not its name.
        prefix: of the names, if the file holds several networks.

    Raises:
        UserError: if there is no such file, or a package is missing that it needs.
        DataError: if it is neither, is damaged, would run code, or holds no denoiser or several.
    """
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    with file.open("rb") as opened:
        start = opened.read(9)
    if start.startswith((b"PK", b"\x80")):
        arrays = _flatten(load_torch(file, mapped=True, leave_out=_SETTINGS))
        names, read = list(arrays), arrays.__getitem__
    elif start.endswith(b"{") and len(start) == 9:
        names, read = _open_safetensors(file)
    else:
        raise DataError(f"{file} is neither a file of torch.save nor a .safetensors file, or was cut off at its start")
    prefix = _choose(file, names, prefix)
    tensors = {name.removeprefix(prefix): read(name) for name in names if name.startswith(prefix)}
    return PublishedNetwork(prefix, tensors, len(names) - len(tensors))


def _flatten(saved: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Returns the arrays in nested dictionaries under names joined by dots; those in lists belong to optimizers."""
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
            return opened.get_tensor(name)
        except (safetensors.SafetensorError, TypeError) as error:
            raise DataError(f"{file}: {name} cannot be read: {error}") from None

    try:
        opened = safetensors.safe_open(file, framework="numpy")
    except (safetensors.SafetensorError, OSError) as error:
        raise DataError(f"{file} is truncated or no .safetensors file: {error}") from None
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
        raise DataError(f"{file} holds no Open-DiffusionGS model: none of {len(names)} tensors is named like {example}")
    listed = ", ".join(repr(prefix) for prefix in likely)
    problem = "holds several networks" if wanted is None else f"holds no network after {wanted!r}"
    raise DataError(f"{file} {problem}; give --prefix one of {listed}")


def read_camera_template(file: pathlib.Path) -> ObjectRig:
    """Reads the cameras that the published object pipeline samples with (`camera_template.pt`).

    The first is the picture's, the next three are denoised. They are given in the mirrored world.

    Raises:
        UserError: if there is no such file.
        DataError: if it is another one, or its cameras are no ring that looks at the origin.
    """
    saved = load_torch(file)
    try:
        poses = np.asarray(saved["gen_c2w"], np.float64).reshape(-1, 4, 4)[:4]
        lenses = np.asarray(saved["gen_fxfycxcys"], np.float64).reshape(-1, 4)[:4]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{file} is no camera template of Open-DiffusionGS: {error!r}") from None
    if len(poses) != 4 or len(lenses) != 4:
        raise DataError(f"{file}: it has {len(poses)} poses and {len(lenses)} lenses where four of each belong")
    if not (np.isfinite(poses).all() and np.isfinite(lenses).all() and (lenses > 0).all()):
        raise DataError(f"{file}: a pose or a lens is not finite, or a lens is not positive")
    if (np.linalg.norm(poses[:, :3, 3], axis=-1) < 1e-6).any():
        raise DataError(f"{file}: a camera is where the object is")
    poses = np.asarray(mirror_cameras(Cameras(poses, lenses)).camera_to_world)
    x, y, z = poses[:, :3, 3].T
    distances = np.linalg.norm(poses[:, :3, 3], axis=-1)
    elevations, azimuths = np.degrees(np.arcsin(z / distances)), np.degrees(np.arctan2(y, x))
    towards = -np.sum(poses[:, :3, 2] * poses[:, :3, 3], axis=-1) / distances
    problems = {
        "they are not of the mirrored world": (np.linalg.det(poses[:, :3, :3]) < 0.9).any(),
        "they do not look at the origin": (towards < 0.999).any(),
        "their distances differ": np.ptp(distances) > 0.05 * distances.mean(),
        "their elevations differ by more than 10 degrees": np.ptp(elevations) > 10,
    }
    problem = next((text for text, present in problems.items() if present), None)
    if problem is not None:
        raise DataError(f"{file}: the cameras are no ring about the object: {problem}")
    return ObjectRig(
        elevation=round(float(elevations.mean()), 3),
        distance=round(float(distances.mean()), 4),
        fov=round(float(np.degrees(2 * np.arctan(lenses[0, 2] / lenses[0, 0]))), 3),
        azimuths=tuple(round(float(azimuth), 3) % 360.0 for azimuth in azimuths[1:] - azimuths[0]),
    )
