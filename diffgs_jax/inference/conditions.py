"""What a model is shown: images of one object with the cameras that took them, in the object frame."""

import os
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from diffgs_jax.config import TrainConfig, background_of
from diffgs_jax.data import load_views
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import checked_path
from diffgs_jax.geometry import Cameras, condition_camera, turn_to_azimuth_zero
from diffgs_jax.inference.checks import check_elevation
from diffgs_jax.inference.elevations import estimate_elevation, load_estimator
from diffgs_jax.inference.options import InputOptions
from diffgs_jax.interop import isolate_object, load_framed
from diffgs_jax.models import family


class PosedImages(NamedTuple):
    """Posed images of one object.

    Attributes:
        images: `[n, s, s, 3]` in [0, 1], on the model's background.
        cameras: `[n]`, in the object frame; the first one has azimuth 0.
    """

    images: Float[np.ndarray, "n s s 3"]
    cameras: Cameras

    @property
    def elevation(self) -> float:
        """How high above the object's horizon the first camera is, degrees, to two decimals."""
        position = np.asarray(self.cameras.camera_to_world, np.float64)[0, :3, 3]
        return round(float(np.degrees(np.arcsin(position[2] / np.linalg.norm(position)))), 2)


def show_image(
    source: str | os.PathLike[str] | np.ndarray,
    config: TrainConfig,
    inputs: InputOptions = InputOptions(),  # noqa: B008 (frozen)
) -> PosedImages:
    """Makes one condition view of an image without a pose.

    Args:
        source: path of an image, or pixels `[h, w, 3 or 4]`, uint8 or floats in [0, 1].
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

    def framed(resolution: int, background: float, smallest_side: int) -> np.ndarray:
        return load_framed(
            source,
            resolution=resolution,
            foreground_ratio=ratio,
            background=background,
            smallest_side=smallest_side,
            matting=inputs.matting,
            matting_model=inputs.matting_model,
        ).image

    smallest = family(config.model).requirements(config.model).image_multiple
    image = framed(config.data.resolution, background_of(config), smallest)
    elevation = inputs.elevation
    if elevation == "estimate":
        estimator = load_estimator(inputs.elevation_model)
        elevation = estimate_elevation(estimator, framed(estimator.resolution, 1.0, smallest))
    return PosedImages(image[None], condition_camera(config.rig, elevation))


def read_posed_images(
    path: str | os.PathLike[str],
    config: TrainConfig,
    inputs: InputOptions = InputOptions(),  # noqa: B008 (frozen)
) -> PosedImages:
    """Makes condition views of the posed images that a `transforms.json` lists.

    The file is as instant-ngp, nerfstudio and Blender scripts write it: `frames` with `file_path` and
    `transform_matrix` (camera to world, OpenGL axes), and `camera_angle_x` or `fl_x`. Two or more views of an object
    tell where it is and how large, by their silhouettes; `"object_frame": true` in the file says that the poses are in
    the object frame already. The first view in the natural order of the names faces azimuth 0.

    Args:
        path: the JSON.
        config: of the model.
        inputs: says who tells the object from its background where a frame has no mask.

    Raises:
        UserError: if the file is missing.
        DataError: if it, or an image that it lists, is not usable.
    """
    from diffgs_jax.datasets import read_transforms  # few need it, and it takes a while

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

    record = next(read_transforms(path, domain="object", cut_out=cut_out))
    images, _, cameras = load_views(record, config.data.resolution, background_of(config))
    poses = np.asarray(cameras.camera_to_world)
    distance = np.linalg.norm(poses[:, :3, 3], axis=-1)
    if distance.min() < 1:
        raise DataError(f"{path}: a camera is inside the object's bounding sphere; are its poses in another frame?")
    least, most = family(config.model).requirements(config.model).condition_views
    if not least <= len(images) <= most:
        raise UserError(f"{path} has {len(images)} images; this model is shown {least} to {most}")
    return PosedImages(images, Cameras(turn_to_azimuth_zero(poses, poses[0]), np.asarray(cameras.intrinsics)))
