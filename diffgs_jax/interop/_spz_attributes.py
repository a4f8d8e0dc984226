"""What the numbers in an .spz stand for, whatever container they are in: six arrays of bytes, a row a Gaussian.

The axes of what is packed differ from ours by signs alone; `turn` holds them, x, y and z.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop._finished import Finished, empty_gaussians

_BLOCK = 2**16  # Gaussians that are unpacked at a time
_COLOR_SCALE = 0.15  # a byte holds DC coefficients of ±1/0.3, wider than colours need, for harmonics to bring back
_HARMONICS = 45  # bytes of degree 1 to 3; those of degree 4 are passed over

# In which of x, y and z each higher harmonic is odd.
_ODD = ("y", "z", "x", "xy", "yz", "", "xz", "", "y", "xyz", "y", "z", "x", "z", "x")


class Packed(NamedTuple):
    """The six arrays, in the order in which they are stored, `[n, …]`."""

    positions: UInt8[np.ndarray, "n 9"]
    alphas: UInt8[np.ndarray, "n 1"]
    colors: UInt8[np.ndarray, "n 3"]
    scales: UInt8[np.ndarray, "n 3"]
    rotations: UInt8[np.ndarray, "n r"]
    rest: UInt8[np.ndarray, "n c"]


def widths(version: int, degree: int) -> list[int]:
    """Returns the bytes that a Gaussian has in each array: a rotation has 3, or 4 since version 3."""
    return [9, 1, 3, 3, 3 if version == 2 else 4, 3 * ((degree + 1) ** 2 - 1)]


def packed(gaussians: Finished, *, version: int, bits: int, turn: Float[np.ndarray, "3"]) -> Packed:
    """Returns Gaussians as bytes, rounded as the specification recommends.

    Args:
        gaussians: finite.
        version: 2 to 4.
        bits: of a position's 24 that are fractions.
        turn: signs of the axes.
    """
    means, rotations, scales, opacities, sh = gaussians
    count, others = len(means), sh.shape[1] - 1
    positions = np.round(means * turn * 2**bits).astype("<i4").view(np.uint8).reshape(count, 3, 4)[..., :3]
    steps = np.asarray([8] * 3 + [16] * 12)[:others, None]  # coarser steps compress better
    rest = np.round(sh[:, 1:] * _harmonic_signs(turn)[:others, None] * 128.0) + 128.0
    turned = rotations * _rotation_signs(turn)
    return Packed(
        np.ascontiguousarray(positions).reshape(count, 9),
        _bytes(opacities * 255.0)[:, None],
        _bytes((sh[:, 0] * _COLOR_SCALE + 0.5) * 255.0),
        _bytes((np.log(np.maximum(scales, 1e-12)) + 10.0) * 16.0),
        _first_three(turned) if version == 2 else _smallest_three(turned),
        _bytes((rest + steps // 2) // steps * steps).reshape(count, 3 * others),
    )


def unpacked(fields: Packed, *, version: int, bits: int, turn: Float[np.ndarray, "3"]) -> Gaussians:
    """Returns the Gaussians, float32, a block at a time, so that little beside them is in memory."""
    count, kept = len(fields.alphas), min(fields.rest.shape[1], _HARMONICS)
    fields = fields._replace(rest=fields.rest[:, :kept])
    leaves = empty_gaussians(count, coefficients=1 + kept // 3)
    for begin in range(0, count, _BLOCK):
        part = _unpacked_block(Packed(*(field[begin : begin + _BLOCK] for field in fields)), version, bits, turn)
        for leaf, values in zip(leaves, part, strict=True):
            leaf[begin : begin + _BLOCK] = values
    return leaves


def _unpacked_block(fields: Packed, version: int, bits: int, turn: Float[np.ndarray, "3"]) -> Gaussians:
    count, others = len(fields.alphas), fields.rest.shape[1] // 3
    padded = np.concatenate([np.zeros((count, 3, 1), np.uint8), fields.positions.reshape(count, 3, 3)], axis=-1)
    fixed = padded.view("<i4")[..., 0] >> 8  # the sign comes along when the low byte is shifted out
    unpack = _unpack_first_three if version == 2 else _unpack_smallest_three
    dc = (fields.colors / 255.0 - 0.5) / _COLOR_SCALE
    higher = (fields.rest.reshape(count, others, 3) - 128.0) / 128.0 * _harmonic_signs(turn)[:others, None]
    return Gaussians(
        means=fixed * 2.0**-bits * turn,
        rotations=unpack(fields.rotations) * _rotation_signs(turn),
        scales=np.exp(fields.scales / 16.0 - 10.0),
        opacities=fields.alphas[:, 0] / 255.0,
        sh=np.concatenate([dc[:, None], higher], axis=1),
    )


def _rotation_signs(turn: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4"]:
    """Returns the signs of w, x, y, z: S R S is a rotation for mirrored axes as well."""
    return np.concatenate([[1.0], np.prod(turn) * turn])


def _harmonic_signs(turn: Float[np.ndarray, "3"]) -> Float[np.ndarray, "15"]:
    return np.asarray([np.prod([turn["xyz".index(axis)] for axis in odd]) for odd in _ODD])


def _bytes(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)


def _first_three(quaternions: Float[np.ndarray, "n 4"]) -> UInt8[np.ndarray, "n 3"]:
    """Version 2: x, y, z as bytes over [−1, 1] of the quaternion whose w is not negative."""
    positive = quaternions * np.where(quaternions[:, :1] < 0, -1.0, 1.0)
    return _bytes(positive[:, 1:] * 127.5 + 127.5)


def _unpack_first_three(stored: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    xyz = stored / 127.5 - 1.0
    w = np.sqrt(np.maximum(0.0, 1.0 - np.sum(xyz**2, axis=1, keepdims=True)))
    return np.concatenate([w, xyz], axis=1)


def _smallest_three(quaternions: Float[np.ndarray, "n 4"]) -> UInt8[np.ndarray, "n 4"]:
    """Packs unit quaternions wxyz into one word each.

    Of (x, y, z, w) the largest is left out, made positive by the quaternion's sign. Its index takes the two highest
    bits; each of the others ten: a sign and nine bits of its magnitude over √½, which it cannot exceed.
    """
    turned = quaternions[:, [1, 2, 3, 0]]
    largest = np.abs(turned).argmax(axis=1)
    rows = np.arange(len(turned))
    turned = turned * np.where(turned[rows, largest] < 0, -1.0, 1.0)[:, None]
    magnitudes = np.floor(np.abs(turned) * np.sqrt(2.0) * 511 + 0.5).clip(0, 511).astype(np.uint32)
    fields = (turned < 0).astype(np.uint32) << np.uint32(9) | magnitudes
    words = largest.astype(np.uint32)
    for column in range(4):
        words = np.where(largest == column, words, words << np.uint32(10) | fields[:, column])
    return words.astype("<u4")[:, None].view(np.uint8)


def _unpack_smallest_three(stored: UInt8[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    words = np.ascontiguousarray(stored).view("<u4")[:, 0]
    largest = words >> 30
    turned = np.zeros((len(words), 4))
    for column in (3, 2, 1, 0):
        is_stored = largest != column
        value = (words & 511) / 511.0 * np.sqrt(0.5) * np.where(words & 512, -1.0, 1.0)
        turned[:, column] = np.where(is_stored, value, 0.0)
        words = np.where(is_stored, words >> np.uint32(10), words)
    rest = np.sqrt(np.maximum(0.0, 1.0 - np.sum(turned**2, axis=1)))
    turned[np.arange(len(words)), largest] = rest
    return turned[:, [3, 0, 1, 2]]
