"""What a model is shown: images of one object with the cameras that took them, in the object frame."""

import os
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from diffgs_jax.config import TrainConfig, background_of
from diffgs_jax.data import Record, most_even_set
from diffgs_jax.data.images import composite, decode_premultiplied
from diffgs_jax.data.record_views import decode_views
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import checked_path
from diffgs_jax.geometry import Cameras, Similarity, similarity_between, turn_to_azimuth_zero
from diffgs_jax.inference.camera_checks import check_around
from diffgs_jax.inference.options import InputOptions
from diffgs_jax.inference.rectification import at_size, rectified
from diffgs_jax.interop import isolate_object
from diffgs_jax.models import Requirements, family


class PosedImages(NamedTuple):
    """Posed images of one object.

    Attributes:
        images: `[n, s, s, 3]` in [0, 1], on the model's background.
        cameras: `[n]`, in the object frame; the first one has azimuth 0.
        given: the similarity to that frame from the one that the cameras were given in; None where there is no other.
        alphas: `[n, s, s]` the object's coverage in [0, 1]; None where it is not known, which only some models mind.
        mask: `[n, s, s]`, True where an image is to be made anew; None for images that are given as they are.
    """

    images: Float[np.ndarray, "n s s 3"]
    cameras: Cameras
    given: Similarity | None = None
    alphas: Float[np.ndarray, "n s s"] | None = None
    mask: Bool[np.ndarray, "n s s"] | None = None

    @property
    def elevation(self) -> float:
        """How high above the object's horizon the first camera is, degrees, to two decimals."""
        position = np.asarray(self.cameras.camera_to_world, np.float64)[0, :3, 3]
        return round(float(np.degrees(np.arcsin(position[2] / np.linalg.norm(position)))), 2)


def read_posed_images(
    path: str | os.PathLike[str],
    config: TrainConfig,
    inputs: InputOptions = InputOptions(),  # noqa: B008 (frozen)
) -> PosedImages:
    """Makes condition views of the posed images that a `transforms.json` lists.

    The file is as instant-ngp, nerfstudio and Blender scripts write it: `frames` with `file_path` and
    `transform_matrix` (camera to world, OpenGL axes), and `camera_angle_x` or `fl_x`. Two or more views of an object
    tell where it is and how large, by their silhouettes; `"object_frame": true` in the file says that the poses are in
    the object frame already. The first view in the natural order of the names faces azimuth 0. A model that is shown a
    fixed number of views gets that many of them, at steps of azimuth as equal as there are.

    Args:
        path: the JSON.
        config: of the model.
        inputs: says who tells the object from its background where a frame has no mask.

    Raises:
        UserError: if the file is missing.
        DataError: if it, or an image that it lists, is not usable.
    """
    from diffgs_jax.datasets import SourceOptions, read_frames, read_transforms  # few need it, and it takes a while

    path = checked_path(path)
    if not path.is_file():
        raise UserError(f"cannot read the poses {path}: there is no such file")

    def cut_out(pixels: UInt8[np.ndarray, "h w c"], name: str) -> UInt8[np.ndarray, "h w 4"]:
        if pixels.shape[-1] == 3:
            pixels = np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=-1)
        isolated = isolate_object(pixels, name=name, matting=inputs.matting, matting_model=inputs.matting_model)
        alpha = isolated[..., 3:]
        straight = np.where(alpha > 0, isolated[..., :3] / np.maximum(alpha, 1e-6), 1.0)
        return np.round(np.concatenate([np.clip(straight, 0, 1), alpha], axis=-1) * 255).astype(np.uint8)

    requirements = family(config.model).requirements(config.model)
    options = SourceOptions(turned_frame=requirements.upright)
    record = next(read_transforms(path, options, domain="object", cut_out=cut_out))
    if inputs.mask is not None:
        raise UserError("a mask goes with one picture: leave --mask out, or give the picture alone")
    least, most = _shown_counts(requirements)
    chosen = _choose_views(path, record, least, most)
    images, alphas, cameras = _shown(record, chosen, config, upright=requirements.upright)
    poses = np.asarray(cameras.camera_to_world)
    is_turned = config.data.object_frame == "first_view"
    poses = turn_to_azimuth_zero(poses, poses[0]) if is_turned else poses
    shown = Cameras(poses, np.asarray(cameras.intrinsics))
    published = np.stack([photograph.camera_to_world for photograph in read_frames(path)])
    stored = np.asarray(record.cameras.camera_to_world)
    turned = turn_to_azimuth_zero(stored, stored[chosen[0]]) if is_turned else stored
    given = None
    if len(stored) > 1:
        given = similarity_between(
            Cameras(published, np.asarray(record.cameras.intrinsics)), record.cameras._replace(camera_to_world=turned)
        )
    return PosedImages(images, shown, given, alphas)


def check_posed(given: PosedImages, config: TrainConfig) -> None:
    """Refuses posed images that a model cannot be shown.

    Raises:
        UserError: if they are too few or too many, not square, or of another size than the model's.
        DataError: if the cameras cannot be those of an object's pictures, or do not surround it.
    """
    shape, side = given.images.shape, config.data.resolution
    if len(shape) != 4 or shape[1:] != (side, side, 3):
        raise UserError(f"posed images must be [n, {side}, {side}, 3] for this model, not {list(shape)}")
    least, most = _shown_counts(family(config.model).requirements(config.model))
    if not least <= shape[0] <= most:
        wanted = str(most) if least == most else f"{least} to {most}"
        raise UserError(f"{shape[0]} posed images are given; this model is shown {wanted}")
    if least > 1:
        check_around(given.cameras, "the posed images", several=True)


def _shown_counts(requirements: Requirements) -> tuple[int, int]:
    """Returns how many pictures can be given at least and at most, as they are or to be made anew."""
    least, most = requirements.condition_views
    return least, max(most, 1) if requirements.remakes else most


def _choose_views(path: pathlib.Path, record: Record, least: int, most: int) -> list[int]:
    """Returns which views of a record a model is shown: all, or as many as it needs, as evenly around as there are.

    Raises:
        UserError: if there are too few or too many.
        DataError: if the cameras cannot be those of an object's pictures, or do not surround it.
    """
    count = len(record.images)
    is_fixed = least == most > 1
    if count < least or (count > most and not is_fixed):
        raise UserError(f"{path} has {count} images; this model is shown {most if is_fixed else f'{least} to {most}'}")
    check_around(record.cameras, str(path), several=is_fixed)
    if not is_fixed or count == most:
        return list(range(count))
    chosen = most_even_set(np.asarray(record.cameras.camera_to_world), most)
    if not len(chosen):
        raise DataError(f"{path}: no {most} of its {count} views are near to equal steps around the object")
    check_around(Cameras(*(np.asarray(leaf)[chosen] for leaf in record.cameras)), str(path), several=True)
    return chosen.tolist()


def _shown(
    record: Record, chosen: list[int], config: TrainConfig, *, upright: bool
) -> tuple[Float[np.ndarray, "n s s 3"], Float[np.ndarray, "n s s"], Cameras]:
    """Returns images, coverage and cameras of a record's views as the model is shown them, maybe rectified."""
    cameras = Cameras(*(np.asarray(leaf)[chosen] for leaf in record.cameras))
    side, background = config.data.resolution, background_of(config)
    if not upright:
        images, alphas = composite(decode_views(record, side, chosen), background)
        return images, alphas, cameras
    views = [
        rectified(decode_premultiplied(record.images[view]), Cameras(*(leaf[place] for leaf in cameras)))
        for place, view in enumerate(chosen)
    ]
    pictures = np.stack([at_size(picture, side) for picture, _ in views])
    upright_cameras = Cameras(*(np.stack(leaves) for leaves in zip(*(camera for _, camera in views), strict=True)))
    composited = pictures[..., :3] + (1 - pictures[..., 3:]) * np.float32(background)
    return composited, pictures[..., 3], upright_cameras
