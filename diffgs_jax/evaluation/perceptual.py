"""How alike views look: LPIPS on the picture and on the object, and the features that sets of views are told by."""

from collections.abc import Mapping
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.evaluation.metrics import box_edges
from diffgs_jax.models.losses import LPIPSNetwork, LPIPSWeights, features, is_installed, lpips, smallest_size

_CHUNK = 16  # pictures that are in memory at a time: at 256 x 256 VGG16 holds 40 MB of each


def usable_lpips(resolution: int) -> tuple[LPIPSNetwork, ...]:
    """Returns the networks whose weights are installed and that pictures of a resolution are large enough for."""
    return tuple(name for name in get_args(LPIPSNetwork) if is_installed(name) and resolution >= smallest_size(name))


class PerceptualScores(NamedTuple):
    """What networks make of predicted views.

    Attributes:
        scores: `[*batch]` each: `lpips_vgg`, and `bbox_lpips_vgg` on the object; the same of `alex`.
        features: `[*batch, d]` of the predicted views, for `distances`: `vgg16` if VGG16 is among the networks.
    """

    scores: dict[str, Float[Array, "*batch"]]
    features: dict[str, Float[Array, "*batch _"]]


def perceptual_scores(
    networks: Mapping[LPIPSNetwork, LPIPSWeights],
    predicted: Float[Array | np.ndarray, "*batch s s 3"],
    target: Float[Array | np.ndarray, "*batch s s 3"],
    target_alpha: Float[Array | np.ndarray, "*batch s s"] | None,
) -> PerceptualScores:
    """Returns LPIPS on the whole picture and on the object, and features for distances of sets.

    On the object: of both pictures the `square_around` the true one is compared, brought to the pictures' size.

    Args:
        networks: weights of each network that LPIPS is wanted of.
        predicted: views as a model or a baseline has them; clipped to [0, 1].
        target: views as they are.
        target_alpha: their coverage; None for scenes, which are compared as whole pictures alone.
    """
    predicted = jnp.clip(jnp.asarray(predicted), 0.0, 1.0)
    scores, pooled = {}, {}
    for name, weights in networks.items():
        scores[f"lpips_{name}"], seen = _compare(weights, predicted, target)
        if name == "vgg":
            pooled["vgg16"] = seen
    if target_alpha is not None and networks:
        crops = square_around(predicted, target_alpha), square_around(target, target_alpha)
        scores |= {f"bbox_lpips_{name}": _compare(weights, *crops)[0] for name, weights in networks.items()}
    return PerceptualScores(scores, pooled)


def vgg_features(
    weights: LPIPSWeights, images: Float[Array | np.ndarray, "*batch h w 3"]
) -> Float[Array, "*batch features"]:
    """Returns what VGG16's last ReLU, relu5_3, says of each picture, mean over its pixels: 512 numbers.

    Args:
        weights: of `load_lpips("vgg")`.
        images: in [0, 1], at their own size.

    Raises:
        UserError: if the pictures are too small for the network.
    """
    flat = jnp.asarray(images).reshape(-1, *images.shape[-3:])
    each = jax.lax.map(lambda image: _pooled(weights, image[None])[0], flat, batch_size=_CHUNK)
    return each.reshape(*images.shape[:-3], -1)


def square_around(
    images: Float[Array | np.ndarray, "*batch s s c"], alpha: Float[Array | np.ndarray, "*batch s s"]
) -> Float[Array, "*batch s s c"]:
    """Returns the smallest square around the object's bounding box, enlarged bilinearly to the whole picture's size.

    The square has the box's longer side and centre, or is moved inside where that is too near to the border. Networks
    that were trained on whole pictures see the object as large as can be, and its shape is kept.

    Args:
        images: what to cut out of.
        alpha: says where the object is; the whole picture is kept where it is nowhere.
    """
    batch, size, channels = images.shape[:-3], images.shape[-2], images.shape[-1]
    top, bottom, left, right = (edge.reshape(-1).astype(jnp.float32) for edge in box_edges(alpha))
    side = jnp.maximum(bottom - top, right - left)
    corner = jnp.stack([top + bottom - side, left + right - side], axis=-1) / 2
    corner = jnp.clip(corner, 0.0, size - side[:, None])
    scale = jnp.broadcast_to((size / side)[:, None], corner.shape)

    def cut(image: Array, scale: Array, corner: Array) -> Array:
        return jax.image.scale_and_translate(
            image, image.shape, (0, 1), scale, -corner * scale, method="linear", antialias=False
        )

    flat = jnp.asarray(images).reshape(-1, size, size, channels)
    return jax.vmap(cut)(flat, scale, corner).reshape(*batch, size, size, channels)


def _compare(weights: LPIPSWeights, predicted: Array, target: Array | np.ndarray) -> tuple[Array, Array]:
    """Returns LPIPS of each pair and the pooled features of the predicted ones, a few pairs at a time."""
    batch, picture = predicted.shape[:-3], predicted.shape[-3:]

    def one(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        a, b = (image[None] for image in pair)
        # The network runs once for both: the compiler sees that it is the same picture.
        return lpips(weights, a, b)[0], _pooled(weights, a)[0]

    pairs = (predicted.reshape(-1, *picture), jnp.asarray(target).reshape(-1, *picture))
    distances, pooled = jax.lax.map(one, pairs, batch_size=_CHUNK)
    return distances.reshape(batch), pooled.reshape(*batch, -1)


def _pooled(weights: LPIPSWeights, images: Array) -> Array:
    return jnp.mean(features(weights, images)[-1], axis=(1, 2))
