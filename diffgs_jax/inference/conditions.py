"""What a model is shown: pictures of one object with the cameras that took them, in the object frame."""

import os
import pathlib
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from diffgs_jax.config import TrainConfig
from diffgs_jax.data import load_views
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import (
    OBJECT,
    Cameras,
    ObjectRig,
    Views,
    condition_camera,
    denoised_cameras,
    turn_to_azimuth_zero,
)
from diffgs_jax.interop import Matting, isolate_object, load_picture


class Condition(NamedTuple):
    """Posed pictures of one object.

    Attributes:
        images: `[n, s, s, 3]` in [0, 1], on the model's background.
        cameras: `[n]`, in the object frame; the first one has azimuth 0.
    """

    images: Float[np.ndarray, "n s s 3"]
    cameras: Cameras


def show_picture(
    source: str | os.PathLike[str] | np.ndarray,
    config: TrainConfig,
    *,
    elevation: float | None = None,
    foreground_ratio: float | Literal["model"] | None = "model",
    matting: Matting = "auto",
    matting_model: str | os.PathLike[str] | None = None,
) -> Condition:
    """Makes one condition view of a picture without a pose.

    Args:
        source: path of a picture, or pixels `[h, w, 3 or 4]`, uint8 or floats in [0, 1].
        config: of the model.
        elevation: of its camera above the object's horizon, degrees in [−90, 90]; the model's own if None.
        foreground_ratio: the object's larger side over the side of the view; "model" takes what the model was trained
            with; None keeps the picture's own framing, and so does "model" where nothing is removed (`keep`).
        matting: who tells the object from its background.
        matting_model: an ISNet ONNX file.

    Raises:
        UserError: if the file is missing or a setting is out of range.
        DataError: if the picture cannot be read or its object not isolated.
    """
    if elevation is not None and not -90 <= elevation <= 90:
        raise UserError(f"the elevation must be from -90 to 90 degrees, not {elevation}")
    if foreground_ratio == "model":
        foreground_ratio = None if matting == "keep" else config.sampling.foreground_ratio
    picture = load_picture(
        source,
        resolution=config.data.resolution,
        foreground_ratio=foreground_ratio,
        background=config.model.background,
        smallest_side=config.model.network.patch_size,
        matting=matting,
        matting_model=matting_model,
    )
    return Condition(picture.image[None], condition_camera(config.rig, elevation))


def read_posed_pictures(
    path: str | os.PathLike[str],
    config: TrainConfig,
    *,
    matting: Matting = "auto",
    matting_model: str | os.PathLike[str] | None = None,
) -> Condition:
    """Makes condition views of the posed pictures that a `transforms.json` lists.

    The file is as instant-ngp, nerfstudio and Blender scripts write it: `frames` with `file_path` and
    `transform_matrix` (camera to world, OpenGL axes), and `camera_angle_x` or `fl_x`. Two or more views of an object
    tell where it is and how large, by their silhouettes; `"object_frame": true` in the file says that the poses are in
    the object frame already. The first view in the natural order of the names faces azimuth 0.

    Args:
        path: the JSON.
        config: of the model.
        matting: who tells the object from its background where a frame has no mask.
        matting_model: an ISNet ONNX file.

    Raises:
        UserError: if the file is missing.
        DataError: if it, or a picture that it lists, is not usable.
    """
    from diffgs_jax.datasets import read_transforms  # few need it, and it takes a while

    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"cannot read the poses {path}: there is no such file")

    def cut_out(pixels: UInt8[np.ndarray, "h w c"], name: str) -> UInt8[np.ndarray, "h w 4"]:
        if pixels.shape[-1] == 3:
            pixels = np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=-1)
        isolated = isolate_object(pixels, name=name, matting=matting, matting_model=matting_model)
        alpha = isolated[..., 3:]
        straight = np.where(alpha > 0, isolated[..., :3] / np.maximum(alpha, 1e-6), 1.0)
        return np.round(np.concatenate([np.clip(straight, 0, 1), alpha], axis=-1) * 255).astype(np.uint8)

    record = next(read_transforms(path, domain="object", cut_out=cut_out))
    images, _, cameras = load_views(record, config.data.resolution, config.model.background)
    poses = np.asarray(cameras.camera_to_world)
    distance = np.linalg.norm(poses[:, :3, 3], axis=-1)
    if distance.min() < 1:
        raise DataError(f"{path}: a camera is inside the object's bounding sphere; are its poses in another frame?")
    return Condition(images, Cameras(turn_to_azimuth_zero(poses, poses[0]), np.asarray(cameras.intrinsics)))


def views_to_denoise(condition: Condition, rig: ObjectRig) -> Views:
    """Returns `[1, n + len(rig.azimuths)]` views: the given ones, and those to denoise, their images zero.

    Args:
        condition: what is given, n views.
        rig: the cameras to denoise.
    """
    denoised = denoised_cameras(rig)
    cameras = Cameras(*(np.concatenate(pair)[None] for pair in zip(condition.cameras, denoised, strict=True)))
    given = len(condition.images)
    images = np.zeros((1, given + len(rig.azimuths), *condition.images.shape[1:]), np.float32)
    images[0, :given] = condition.images
    is_condition = np.arange(images.shape[1])[None] < given
    return Views(images, cameras, is_condition, domain=np.full(1, OBJECT, np.int32))
