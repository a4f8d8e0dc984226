"""LPIPS: the distance of two pictures in the features of a classifier (Zhang et al. 2018, arXiv 1801.03924).

Each picture goes through the convolutions of VGG16 or AlexNet. At five depths the features of a pixel are scaled to
unit length, and the squared differences are summed with learned, non-negative weights and averaged over the pixels.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.errors import UserError

LPIPSNetwork = Literal[
    "vgg",  # VGG16: the better loss
    "alex",  # AlexNet: the better metric, and ten times cheaper
]

LPIPSWeights = dict[str, Any]
"""`kernels`: tuple of `[height, width, in, out]`; `biases`: tuple of `[out]`; `heads`: tuple of five `[out]`, one for
each depth compared. The number of convolutions tells the networks apart."""

# A layer is (stride, padding) of the next convolution with its ReLU, "pool", or "tap" where features are compared.
_Layer = tuple[int, int] | Literal["pool", "tap"]
_CONVOLUTION = (1, 1)
_LAYERS: dict[LPIPSNetwork, tuple[_Layer, ...]] = {
    "vgg": (
        *(_CONVOLUTION, _CONVOLUTION, "tap", "pool") * 2,
        *(_CONVOLUTION, _CONVOLUTION, _CONVOLUTION, "tap", "pool") * 2,
        *(_CONVOLUTION, _CONVOLUTION, _CONVOLUTION, "tap"),
    ),
    "alex": ((4, 2), "tap", "pool", (1, 2), "tap", "pool", *(_CONVOLUTION, "tap") * 3),
}
_POOL_WINDOWS: dict[LPIPSNetwork, int] = {"vgg": 2, "alex": 3}  # their stride is 2
_SMALLEST_SIZES: dict[LPIPSNetwork, int] = {"vgg": 16, "alex": 31}

# Mean and standard deviation of ImageNet's pictures after 2·image − 1, as the published code rounds them.
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)
_EPSILON = 1e-10


def smallest_size(network: LPIPSNetwork) -> int:
    """Returns the height and width, pixels, below which nothing would be left at the network's last depth."""
    return _SMALLEST_SIZES[network]


def lpips(
    weights: LPIPSWeights,
    a: Float[Array | np.ndarray, "batch h w 3"],
    b: Float[Array | np.ndarray, "batch h w 3"],
    *,
    precision: jax.lax.PrecisionLike = "highest",
) -> Float[Array, "batch"]:
    """Returns the LPIPS distance of each pair, version 0.1 of the published metric.

    0 for equal pictures, about 1 for unrelated ones; symmetric. The gradient with respect to either picture is finite
    everywhere, and zero for equal ones.

    Args:
        weights: of `load_lpips`.
        a: pictures in [0, 1]; values outside are not clipped.
        b: pictures to compare with.
        precision: of the convolutions. On accelerators anything but "highest" is faster and good enough for a loss.

    Raises:
        UserError: if the pictures are smaller than `smallest_size`.
    """
    total = jnp.zeros(a.shape[:1], jnp.float32)
    taps_a, taps_b = (features(weights, image, precision=precision) for image in (a, b))
    for head, tap_a, tap_b in zip(weights["heads"], taps_a, taps_b, strict=True):
        squared = (_unit_length(tap_a) - _unit_length(tap_b)) ** 2
        total += jnp.einsum("bc,c->b", jnp.mean(squared, axis=(1, 2)), head, precision=precision)
    return total


def features(
    weights: LPIPSWeights,
    images: Float[Array | np.ndarray, "batch h w 3"],
    *,
    precision: jax.lax.PrecisionLike = "highest",
) -> list[Float[Array, "batch _ _ _"]]:
    """Returns what the network's ReLUs say at its five depths: relu1_2, 2_2, 3_3, 4_3, 5_3 of VGG16, 1 to 5 of AlexNet.

    Args:
        weights: of `load_lpips`; the heads are not read.
        images: in [0, 1].
        precision: of the convolutions.

    Raises:
        UserError: if the pictures are smaller than `smallest_size`.
    """
    network = _network(weights["kernels"])
    smallest, (height, width) = smallest_size(network), images.shape[1:3]
    if min(height, width) < smallest:
        raise UserError(
            f"LPIPS ({network}) needs pictures of at least {smallest} x {smallest} pixels, not {height} x {width}"
        )
    convolutions = zip(weights["kernels"], weights["biases"], strict=True)
    x, taps = (2.0 * jnp.asarray(images) - 1.0 - _SHIFT[None, None, None]) / _SCALE[None, None, None], []
    for layer in _LAYERS[network]:
        if layer == "tap":
            taps.append(x)
        elif layer == "pool":
            x = _pool(x, _POOL_WINDOWS[network])
        else:
            kernel, bias = map(jnp.asarray, next(convolutions))
            x = jax.nn.relu(_convolve(x, kernel, *layer, precision) + bias[None, None, None])
    return taps


def _network(kernels: Sequence[Any]) -> LPIPSNetwork:
    return "vgg" if len(kernels) == 13 else "alex"


def _convolve(x: Array, kernel: Array, stride: int, padding: int, precision: jax.lax.PrecisionLike) -> Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )


def _pool(x: Array, window: int) -> Array:
    """Returns the largest value of each whole window."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, window, window, 1), (1, 2, 2, 1), "VALID")


def _unit_length(x: Array) -> Array:
    squared = jnp.sum(x**2, axis=-1, keepdims=True)
    # Where a pixel has no feature at all, the root's derivative would be infinite.
    is_zero = squared == 0
    length = jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, squared)))
    return x / (length + _EPSILON)
