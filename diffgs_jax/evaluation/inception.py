"""Features of a network that the user supplies: those of the published Inception network make distances FID and KID.

The weights may not be shipped here, so the file is the user's. ONNX, because one small package reads it without
PyTorch, because the file says what goes in and out, which can be checked, and because reading it runs no code. From
the weights that FID is defined with, `pip install pytorch-fid onnx` and:

    import torch
    from pytorch_fid.inception import InceptionV3
    network = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()  # scales and resizes pictures itself
    picture = torch.rand(1, 3, 299, 299)
    torch.onnx.export(network, picture, "inception.onnx", dynamo=False, dynamic_axes={"images": {0: "n"}},
                      input_names=["images"], output_names=["features"])
"""

import functools
import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from diffgs_jax.errors import DataError, UserError

FEATURES = 2048
"""How many numbers the last pooling layer of Inception-v3 gives: what FID and KID are computed from."""

_SIZE = 299  # where the file leaves the pictures' size open
_CHUNK = 32


def inception_features(path: str | os.PathLike[str], images: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n d"]:
    """Returns the features of pictures, float32.

    Each is rounded to bytes, as a file would be, and resized bilinearly to what the network takes, 299 x 299.

    Args:
        path: an ONNX file; see `load_inception`.
        images: in [0, 1]; clipped.

    Raises:
        UserError: if onnxruntime is not installed or the file is not there.
        DataError: if the file is not such a network.
    """
    session, name, size = load_inception(os.fspath(path))
    found = []
    for start in range(0, len(images), _CHUNK):
        pixels = np.round(np.clip(images[start : start + _CHUNK], 0, 1) * 255).astype(np.uint8)
        resized = np.stack([_resize(image, size) for image in pixels])
        found.append(_features(session, name, resized.transpose(0, 3, 1, 2), path))
    return np.concatenate(found)


@functools.cache
def load_inception(path: str) -> tuple[Any, str, tuple[int, int]]:
    """Opens the network: the onnxruntime session, its input's name and the (height, width) it takes.

    The file must have one input, pictures `[n, 3, h, w]`, float32 in [0, 1], and as its first output `FEATURES` numbers
    a picture. It is run once to see that.

    Raises:
        UserError: if onnxruntime is not installed or the file is not there.
        DataError: if the file is not such a network.
    """
    if not pathlib.Path(path).is_file():
        raise UserError(f"there is no file {path}; --inception names an Inception network in the ONNX format")
    try:
        import onnxruntime
    except ImportError:
        raise UserError('--inception needs onnxruntime: pip install "diffgs_jax[fid]"') from None
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # its kinds of exceptions are not those of Python
        raise DataError(f"{path} is not a network in the ONNX format: {error}") from None
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4 or inputs[0].shape[1] != 3:
        found = ", ".join(f"{one.name}: {one.type} {one.shape}" for one in inputs)
        raise DataError(f"{path} takes {found}; it must take float pictures [n, 3, height, width] alone")
    height, width = (side if isinstance(side, int) else _SIZE for side in inputs[0].shape[2:])
    _features(session, inputs[0].name, np.zeros((1, 3, height, width), np.float32), path)
    return session, inputs[0].name, (height, width)


def _features(session: Any, name: str, images: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    try:
        found = session.run(None, {name: np.ascontiguousarray(images, np.float32)})[0]
    except Exception as error:
        raise DataError(f"{path} cannot be run on {images.shape[0]} pictures: {error}") from None
    if found.size != len(images) * FEATURES or len(found) != len(images):
        raise DataError(
            f"{path} gives {list(found.shape)} for {len(images)} pictures; Inception's last pooling layer has "
            f"{FEATURES} features a picture"
        )
    return found.reshape(len(images), FEATURES).astype(np.float32)


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    resized = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32) / 255
