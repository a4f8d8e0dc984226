"""ControlNets, loaded to steer a model of splats, and the pictures that they are shown."""

import functools
import math
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Num

from diffgs_jax.config import TrainConfig
from diffgs_jax.errors import UserError
from diffgs_jax.files import checked_path
from diffgs_jax.geometry import Cameras
from diffgs_jax.inference.hub import checkpoint_folder
from diffgs_jax.inference.options import InputOptions, SamplingOptions
from diffgs_jax.interop import SPLAT_SUFFIXES, load_framed, read_gaussians
from diffgs_jax.models import Control, Controls, Frozen, Requirements, TakesControls, family
from diffgs_jax.models.control_pictures import ControlMap, edges_of, splat_picture
from diffgs_jax.models.stored import StoredModel, load_stored

_FORMER = (*SPLAT_SUFFIXES, ".glb", ".gltf")


class Steered(NamedTuple):
    """What is steered.

    Attributes:
        config: its settings.
        frozen: weights that it uses beside its own.
        requirements: of its family.
    """

    config: TrainConfig
    frozen: Frozen
    requirements: Requirements


def check_controls(inputs: InputOptions, sampling: SamplingOptions) -> None:
    """Refuses options of ControlNets that contradict each other.

    Raises:
        UserError: naming the option and what it may be.
    """
    nets, scales = len(sampling.controlnet), sampling.control_scale
    if not nets:
        for name, value in (("control", inputs.control), ("guess-mode", sampling.guess_mode)):
            if value:
                raise UserError(f"--{name} is for ControlNets: name one with --controlnet, or leave it out")
        return
    for name, count in (("control", len(inputs.control)), ("control-scale", len(scales))):
        if count not in (1, nets):
            raise UserError(f"--{name} takes one value, or one for each of the {nets} ControlNets, not {count}")
    if not all(map(math.isfinite, scales)):
        raise UserError(f"--control-scale is a finite number, not {list(scales)}")
    start, end = sampling.control_window
    if not 0 <= start < end <= 1:
        raise UserError(f"--control-window is two fractions of the steps, the first one lower, not {start} {end}")
    for path in inputs.control:
        if not checked_path(path).is_file():
            raise UserError(f"cannot read {path}: there is no such file")


def make_controls(
    inputs: InputOptions,
    sampling: SamplingOptions,
    steered: Steered,
    timesteps: Num[np.ndarray, "steps"],
    cameras: Cameras,
) -> tuple[Control, ...]:
    """Returns the ControlNets that are asked for, each with its picture.

    Args:
        inputs: says what they are shown.
        sampling: says which, and how they steer.
        steered: the model.
        timesteps: of the sampler, in the order of its steps.
        cameras: `[b, v]` of the splat's views.

    Raises:
        UserError: if a ControlNet is none, or cannot steer this model; or a picture cannot be had.
        DataError: if a file cannot be read.
    """
    check_controls(inputs, sampling)
    if not sampling.controlnet:
        return ()
    nets, count = sampling.controlnet, len(cameras.intrinsics)
    files = inputs.control * (len(nets) if len(inputs.control) == 1 else 1)
    scales = sampling.control_scale * (len(nets) if len(sampling.control_scale) == 1 else 1)
    times = window_times(timesteps, *sampling.control_window)
    made = []
    for folder, file, scale in zip(nets, files, scales, strict=True):
        stored = _read(folder)
        module = family(stored.config)
        if not isinstance(module, Controls):
            raise UserError(f"{folder} is no ControlNet")
        try:
            module.check_base(stored.config, steered.config.model)
        except UserError as error:
            raise UserError(f"{folder} cannot steer this model: {error}") from None
        picture = control_picture(file, stored.config.picture, inputs, steered, cameras)
        pictures = np.broadcast_to(picture, (count, *picture.shape))
        scaled = np.asarray(scale, np.float32)
        made.append(Control(stored.config, stored.params, pictures, scaled, times, sampling.guess_mode))
    return tuple(made)


def window_times(timesteps: Num[np.ndarray, "steps"], start: float, end: float) -> Float[np.ndarray, "2"]:
    """Returns the first and the last timestep at which ControlNets act; none is between them where no step is inside.

    Step i of n is outside if i/n < start or (i + 1)/n > end, as the published pipelines have it.
    """
    steps = np.arange(len(timesteps))
    inside = np.flatnonzero((steps / len(steps) >= start) & ((steps + 1) / len(steps) <= end))
    if not len(inside):
        return np.asarray([-np.inf, np.inf], np.float32)
    return np.asarray([timesteps[inside[0]], timesteps[inside[-1]]], np.float32)


def control_picture(
    file: pathlib.Path, kind: ControlMap, inputs: InputOptions, steered: Steered, cameras: Cameras
) -> Float[np.ndarray, "s s 3"]:
    """Returns the picture that a ControlNet is shown.

    Args:
        file: the picture itself; a picture of an object whose edges are found; or a splat in the object frame, which is
            rendered.
        kind: what it shows.
        inputs: say which of these it is.
        steered: the model.
        cameras: `[b, v]`; the first one is the splat's.

    Raises:
        UserError: if the file cannot be read, or depth or normals are asked for of a picture.
        DataError: if it is damaged.
    """
    size, smallest = steered.config.data.resolution, steered.requirements.image_multiple
    if file.suffix.lower() in _FORMER:
        return _of_splat(file, kind, steered, cameras, size)
    if inputs.control_from == "map":
        return load_framed(
            file, resolution=size, foreground_ratio=None, background=1.0, smallest_side=smallest, matting="keep"
        ).image
    if kind != "canny":
        raise UserError(
            f"{kind} cannot be read off a picture: give the ControlNet its map with --control-from map, or a splat"
        )
    ratio = inputs.foreground_ratio
    if ratio == "model":
        ratio = None if inputs.matting == "keep" else steered.config.sampling.foreground_ratio
    framed = load_framed(
        file,
        resolution=2 * size,
        foreground_ratio=ratio,
        background=1.0,
        smallest_side=smallest,
        matting=inputs.matting,
        matting_model=inputs.matting_model,
    ).image
    return np.asarray(edges_of(framed, size))


def _of_splat(
    file: pathlib.Path, kind: ControlMap, steered: Steered, cameras: Cameras, size: int
) -> Float[np.ndarray, "s s 3"]:
    model = steered.config.model
    module: Any = family(model)
    if not isinstance(module, TakesControls):
        raise UserError("a ControlNet steers diffsplat models only, and this is none")
    gaussians = jax.tree.map(lambda leaf: leaf[None], read_gaussians(file))
    first = Cameras(*(np.asarray(leaf)[:1] for leaf in cameras))
    turn = module.control_turn(model, steered.frozen, first)
    camera = Cameras(*(leaf[:, 0] for leaf in first))
    settings = steered.requirements.rendering
    picture = splat_picture(kind, gaussians, camera, turn, settings, size=size, backend=steered.requirements.backend)
    return np.asarray(picture)[0]


@functools.lru_cache(maxsize=4)
def _read(folder: pathlib.Path) -> StoredModel:
    return load_stored(checkpoint_folder(folder), "sampling")
