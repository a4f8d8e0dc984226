"""What refining and distilling read: a splat to start from, given images, and trained models."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from diffgs_jax.commands.fit_inputs import FitInputs, read_record
from diffgs_jax.commands.guided_options import GuidedOptions, RefineOptions
from diffgs_jax.config import background_of
from diffgs_jax.data.images import composite
from diffgs_jax.errors import UserError
from diffgs_jax.files import arrays_sha256
from diffgs_jax.geometry import (
    DILATION,
    OBJECT,
    SMOOTHED_DILATION,
    Cameras,
    Gaussians,
    ObjectRig,
    Views,
    condition_camera,
    turn_to_azimuth_zero,
)
from diffgs_jax.geometry.object_frame import azimuth_of
from diffgs_jax.inference import Pipeline, load
from diffgs_jax.interop import load_framed, read_gaussians
from diffgs_jax.models import Requirements, Text
from diffgs_jax.optimization import Asked, PosedImages, Prior, check_prior, choose, decode_images

_DIRECTIONS = ("front view", "side view", "back view")

Reader = Callable[[int], PosedImages]
"""From height and width, in pixels, to the given images."""


class GuidedInputs(NamedTuple):
    """What refining and distilling read.

    Attributes:
        images: given ones as `fitted`, others of the same record as `held_out`; None if none are given.
        priors: models that are asked.
        rig: distance and field of view of what is drawn around the object; that of the first model.
        fingerprints: of the models.
    """

    images: FitInputs | None
    priors: tuple[Prior, ...]
    rig: ObjectRig
    fingerprints: tuple[str, ...]


class Start(NamedTuple):
    """A splat to start from, and how it was made.

    Attributes:
        gaussians: `[n]`.
        name: of the file.
        dilation: of `render` that it was made for, square pixels.
        options: with the image and camera that it was made of, where they are known and no others are given.
    """

    gaussians: Gaussians
    name: str
    dilation: float
    options: RefineOptions


def read_start(options: RefineOptions) -> Start:
    """Reads the splat; of a folder that `sample` made, also what it was made of.

    Raises:
        UserError: if it is not there, or several images of one folder are meant.
        DataError: if it cannot be read.
    """
    if not options.start.is_dir():
        gaussians = read_gaussians(options.start)
        return Start(gaussians, str(options.start), _dilation(options, DILATION), options)
    from diffgs_jax.commands.sample_record import read_options  # takes a while, and few need it

    record = options.start / "sample.json"
    found = [options.start / f"gaussians.{kind}" for kind in ("ply", "spz", "splat")]
    found = [path for path in found if path.exists()]
    if not record.exists() or not found:
        raise UserError(f"{options.start} is no folder that sample made: it needs sample.json and gaussians.ply")
    made, _ = read_options(record, options.out)
    config = load(made.checkpoint).config
    usual = SMOOTHED_DILATION if made.filter and config.sampling.filter else DILATION
    gaussians = read_gaussians(found[0])
    if options.image is None and options.data is None:
        if made.image is None or made.image.suffix.lower() == ".json":
            raise UserError(f"{record} names no single image: give the images with --data, in the frame of the splat")
        ratio = made.foreground_ratio
        if ratio == "model":
            ratio = None if made.matting == "keep" else config.sampling.foreground_ratio
        options = dataclasses.replace(
            options,
            image=made.image,
            elevation=config.rig.elevation if made.elevation is None else made.elevation,
            foreground_ratio=ratio,
            matting=made.matting,
        )
    return Start(gaussians, str(found[0]), _dilation(options, usual), options)


def _dilation(options: GuidedOptions, usual: float) -> float:
    return usual if options.dilation is None else options.dilation


def read_guided_inputs(options: GuidedOptions, checkpoints: tuple[pathlib.Path | None, ...]) -> GuidedInputs:
    """Reads images and models.

    Args:
        options: of the command.
        checkpoints: of the priors; None is the model that comes with the package.

    Raises:
        UserError: if something is not there, does not go with another, or images need more memory than stated.
        DataError: if something cannot be read.
    """
    pipelines = [load(path) for path in checkpoints]
    names = ["the model" if path is None else str(path) for path in checkpoints]
    # What can be refused without reading images comes first
    asked = [_asked(options, one.requirements, name) for one, name in zip(pipelines, names, strict=True)]
    rig = pipelines[0].config.rig if pipelines else ObjectRig()
    reader, name, others = _reader(options, rig)
    images = None
    if reader is not None:
        given = reader(options.resolution)
        held_out = None if others is None else others(options.resolution)
        images = FitInputs(name, given, held_out, [], given.is_cut_out, arrays_sha256(given))
    priors = [
        _prior(pipeline, number, options, reader, names[number], asked[number])
        for number, pipeline in enumerate(pipelines)
    ]
    return GuidedInputs(images, tuple(priors), rig, tuple(pipeline.fingerprint for pipeline in pipelines))


def _reader(options: GuidedOptions, rig: ObjectRig) -> tuple[Reader | None, str, Reader | None]:
    """Returns what reads the given images at any size, their name, and what reads the others of the record."""
    if options.image is not None:
        image = options.image
        rig = dataclasses.replace(rig, elevation=options.elevation)

        def framed(resolution: int) -> PosedImages:
            found = load_framed(
                image,
                resolution=resolution,
                foreground_ratio=options.foreground_ratio,
                background=0.0,
                matting=options.matting,
            )
            pixels = np.concatenate([found.image, found.alpha[..., None]], axis=-1)
            bytes_ = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)[None]
            cameras = Cameras(*(np.asarray(leaf, np.float32) for leaf in condition_camera(rig)))
            return PosedImages(bytes_, cameras)

        return framed, str(image), None
    if options.data is None:
        return None, "", None
    record = read_record(options.data, options.record)
    count = len(record.images)
    views = list(options.views) or list(range(count))
    if min(views) < 0 or max(views) >= count:
        raise UserError(f"{record.uid} has images 0 to {count - 1}; --views names {[v for v in views if v >= count]}")
    rest = [view for view in range(count) if view not in views]

    def decoded(chosen: list[int]) -> Reader:
        return lambda resolution: choose(decode_images(record, resolution, options.memory), chosen)

    return decoded(views), record.uid, decoded(rest) if rest else None


def _prior(
    pipeline: Pipeline,
    number: int,
    options: GuidedOptions,
    reader: Reader | None,
    name: str,
    told: tuple[tuple[Asked, ...], Text | None],
) -> Prior:
    config, side, needs = pipeline.config.model, pipeline.config.data.resolution, pipeline.requirements
    guidance = _one_of(options.guidance, number, "--guidance", len(options.checkpoints))
    weight = _one_of(options.prior_weights or (1.0,), number, "--prior-weights", len(options.checkpoints))
    check_prior(config, side, guidance=guidance, name=name)
    asked, negative = told
    background = background_of(pipeline.config)
    given, front = None, 0.0
    least, most = needs.condition_views
    if most:
        images = None if reader is None else reader(side)
        if images is None and least:
            raise UserError(f"{name} makes objects of an image: give one with --image or --data")
        if images is not None:
            if len(images.pixels) > most:
                raise UserError(f"{name} is shown at most {most} images, not {len(images.pixels)}: give fewer --views")
            given, front = _shown(images, background)
    return Prior(
        config=config,
        resolution=side,
        background=background,
        params=pipeline.params,
        frozen=pipeline.frozen,
        given=given,
        asked=asked,
        negative=negative,
        front=front,
        weight=weight,
        guidance=None if guidance == 1 else guidance,
        rig=_rig_of(pipeline.config.rig, given, needs),
    )


def _rig_of(rig: ObjectRig, given: Views | None, needs: Requirements) -> ObjectRig:
    """Returns the cameras of the views that a prior of several looks at beside those that it is given.

    Where given views are made anew with the others, all are of one height, and a camera at azimuth 0 takes the place of
    a view that is not given.
    """
    if not needs.given_are_made:
        return rig
    if given is None:
        return dataclasses.replace(rig, azimuths=(0.0, *(one for one in rig.azimuths if one)))
    place = np.asarray(given.cameras.camera_to_world)[0, 0, :3, 3]
    height = float(np.degrees(np.arcsin(np.clip(place[2] / np.linalg.norm(place), -1, 1))))
    return dataclasses.replace(rig, elevation=height)


def _shown(images: PosedImages, background: float) -> tuple[Views, float]:
    """Returns images as a model is shown them, in a world where the first has azimuth 0, and the azimuth it had."""
    pixels, alphas = composite(np.asarray(images.pixels), background)
    poses = np.asarray(images.cameras.camera_to_world)
    front = float(np.degrees(azimuth_of(poses[0])))
    cameras = Cameras(turn_to_azimuth_zero(poses, poses[0])[None], np.asarray(images.cameras.intrinsics)[None])
    given = np.ones((1, len(pixels)), bool)
    return Views(pixels[None], cameras, given, np.full(1, OBJECT, np.int32), alphas[None]), front


def _asked(options: GuidedOptions, needs: Requirements, name: str) -> tuple[tuple[Asked, ...], Text | None]:
    """Returns what a model is asked for: once, or for each of front, side and back."""
    if options.labels and not needs.labels:
        raise UserError(f"{name} knows no classes: leave --labels out")
    if options.prompt is not None and needs.tokenize is None:
        raise UserError(f"{name} knows no words: leave --prompt out, or name a model with text by --checkpoints")
    if options.prompt is None and needs.prompt == "required":
        raise UserError(f"{name} needs words: give them with --prompt")
    labels = [np.asarray(label, np.int32) for label in options.labels]
    texts, negative = [], None
    if options.prompt is not None and needs.tokenize is not None:
        directed = options.directions and not needs.cameras
        words = [f"{options.prompt}, {direction}" for direction in _DIRECTIONS] if directed else [options.prompt]
        texts = [_row(needs.tokenize(words), row) for row in range(len(words))]
        if options.negative_prompt is not None:
            negative = _row(needs.tokenize([options.negative_prompt]), 0)
    count = max(len(labels), len(texts), 1)
    labels = labels * count if len(labels) == 1 else labels
    texts = texts * count if len(texts) == 1 else texts
    return tuple(Asked(labels[k] if labels else None, texts[k] if texts else None) for k in range(count)), negative


def _row(text: Text, row: int) -> Text:
    return Text(*(np.asarray(leaf)[row : row + 1] for leaf in text))


def _one_of(values: tuple[float, ...], number: int, name: str, count: int) -> float:
    count = max(count, 1)  # the model that comes with the package, if none is named
    if len(values) not in (1, count):
        raise UserError(f"{name} is one number, or one for each of the {count} models, not {len(values)}")
    return values[0] if len(values) == 1 else values[number]
