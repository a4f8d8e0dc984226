"""Images without poses: one, or several of a turntable, whose cameras are those of the model's rig."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from diffgs_jax.config import TrainConfig, background_of
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import TURNTABLE_RATIO, condition_camera
from diffgs_jax.inference.checks import check_elevation
from diffgs_jax.inference.conditions import PosedImages, check_posed
from diffgs_jax.inference.elevations import estimate_elevation, load_estimator
from diffgs_jax.inference.options import InputOptions
from diffgs_jax.interop import frame_object, frame_turntable, load_framed_mask, load_isolated
from diffgs_jax.models import family

UnposedImage = str | os.PathLike[str] | np.ndarray
"""Path of an image; or pixels `[h, w, 3 or 4]`, uint8 or floats in [0, 1]."""


def show_image(
    source: UnposedImage,
    config: TrainConfig,
    inputs: InputOptions = InputOptions(),  # noqa: B008 (frozen)
) -> PosedImages:
    """Makes one condition view of an image without a pose.

    Args:
        source: the image.
        config: of the model.
        inputs: what is said of the image. A foreground ratio "model" means the image's own framing where nothing is
            removed (`keep`).

    Raises:
        UserError: if the file is missing or an option is out of range.
        DataError: if the image cannot be read or its object not isolated.
    """
    check_elevation(inputs)
    ratio = inputs.foreground_ratio
    if ratio == "model":
        ratio = None if inputs.matting == "keep" else config.sampling.foreground_ratio
    picture = _isolated(source, config, inputs)
    framed = frame_object(
        picture, resolution=config.data.resolution, foreground_ratio=ratio, background=background_of(config)
    )
    camera = condition_camera(config.rig, _elevation(picture, inputs, ratio), (inputs.azimuth,))
    mask = None
    if inputs.mask is not None:
        mask = load_framed_mask(inputs.mask, source, picture, resolution=config.data.resolution, foreground_ratio=ratio)
    return PosedImages(framed.image[None], camera, alphas=framed.alpha[None], mask=None if mask is None else mask[None])


def show_turntable(
    sources: Sequence[UnposedImage | None],
    config: TrainConfig,
    inputs: InputOptions = InputOptions(),  # noqa: B008 (frozen)
) -> PosedImages:
    """Makes condition views of images taken around an object at equal steps, all from one height and distance.

    Each is centred on its object, and all are scaled alike, so that the largest silhouette is as large as it was in
    training.

    Args:
        sources: the front first, then counterclockwise as seen from above: of four, the second is taken from where the
            front image has its right. None where an image is missing.
        config: of the model.
        inputs: what is said of the images. A foreground ratio "model" means 0.77 of the largest silhouette, or the
            images' own framing where nothing is removed (`keep`).

    Raises:
        UserError: if the front is missing, there are too few or too many for the model, a file is missing or an option
            out of range.
        DataError: if an image cannot be read or its object not isolated, or the views do not surround the object and
            the model needs that.
    """
    check_elevation(inputs)
    if inputs.mask is not None:
        raise UserError("a mask goes with one picture: leave --mask out, or give the picture alone")
    if not sources or sources[0] is None:
        raise UserError("the first of several images, the front, is missing")
    given = [(number, source) for number, source in enumerate(sources) if source is not None]
    pictures = [_isolated(source, config, inputs) for _, source in given]
    side, background = config.data.resolution, background_of(config)
    ratio = inputs.foreground_ratio
    if ratio is None or (ratio == "model" and inputs.matting == "keep"):
        ratio = None
        framed = [
            frame_object(picture, resolution=side, foreground_ratio=None, background=background) for picture in pictures
        ]
    else:
        ratio = TURNTABLE_RATIO if ratio == "model" else ratio
        framed = frame_turntable(pictures, resolution=side, foreground_ratio=ratio, background=background)
    azimuths = [360 * number / len(sources) for number, _ in given]
    cameras = condition_camera(config.rig, _elevation(pictures[0], inputs, ratio), azimuths)
    images, alphas = np.stack([one.image for one in framed]), np.stack([one.alpha for one in framed])
    shown = PosedImages(images, cameras, alphas=alphas)
    check_posed(shown, config)
    return shown


def _isolated(source: UnposedImage, config: TrainConfig, inputs: InputOptions) -> Float[np.ndarray, "h w 4"]:
    smallest = family(config.model).requirements(config.model).image_multiple
    return load_isolated(source, smallest_side=smallest, matting=inputs.matting, matting_model=inputs.matting_model)


def _elevation(picture: Float[np.ndarray, "h w 4"], inputs: InputOptions, ratio: float | None) -> float | None:
    """Returns the elevation that is said, or estimated from the picture; None for the model's."""
    if inputs.elevation != "estimate":
        return inputs.elevation
    estimator = load_estimator(inputs.elevation_model)
    seen = frame_object(picture, resolution=estimator.resolution, foreground_ratio=ratio)
    return estimate_elevation(estimator, seen.image)
