"""How far two sets of pictures are apart, told by a network's features: on the host, in float64.

Scores of single views reward the mean of what might be there; these ask whether a model's views, as a set, could be
taken for true ones. They are named for the features: with those of the published Inception network they are FID and
KID, with VGG16's they are FD-VGG16 and KD-VGG16, whose values mean nothing beside FID's.
"""

import numpy as np
from jaxtyping import Float

_BLOCK = 2048  # rows of a kernel matrix that are in memory at a time


def frechet_distance(first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m _"]) -> float:
    """Returns the Fréchet distance of two Gaussians fitted to features (Heusel et al. 2017, eq. 6), at least 0.

    |μ₁ − μ₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½). It is biased upwards when samples are few, more so the larger d is: compare
    only values of equally many samples.

    Args:
        first: features of one set, at least two.
        second: features of the other, at least two.

    Raises:
        ValueError: if a set is too small or the features' numbers differ.
    """
    first, second = _checked(first, second)
    mean1, mean2 = first.mean(axis=0), second.mean(axis=0)
    # With C = Rᵀ R, the eigenvalues of C₁ C₂ are the squared singular values of R₁ R₂ᵀ: no root of a matrix that may be
    # singular, nothing complex, and little to do where samples are few.
    root1, root2 = _root(first - mean1), _root(second - mean2)
    overlap = np.linalg.svd(root1 @ root2.T, compute_uv=False).sum()
    distance = np.sum((mean1 - mean2) ** 2) + np.sum(root1**2) + np.sum(root2**2) - 2 * overlap
    return float(max(distance, 0.0))


def kernel_distance(first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m _"]) -> float:
    """Returns the squared maximum mean discrepancy under the kernel (x·y / d + 1)³ (Bińkowski et al. 2018, section 4).

    The unbiased estimate over all samples, not a mean over subsets: its expectation is 0 for equal distributions, and
    single values may be below.

    Args:
        first: features of one set, at least two.
        second: features of the other, at least two.

    Raises:
        ValueError: if a set is too small or the features' numbers differ.
    """
    first, second = _checked(first, second)
    n, m = len(first), len(second)
    within1 = (_kernel_sum(first, first) - np.sum(_kernel(np.sum(first**2, axis=1), first.shape[1]))) / (n * (n - 1))
    within2 = (_kernel_sum(second, second) - np.sum(_kernel(np.sum(second**2, axis=1), second.shape[1]))) / (
        m * (m - 1)
    )
    return float(within1 + within2 - 2 * _kernel_sum(first, second) / (n * m))


def _root(centered: np.ndarray) -> np.ndarray:
    """Returns a triangular R with Rᵀ R the unbiased covariance of samples whose mean is zero."""
    return np.asarray(np.linalg.qr(centered / np.sqrt(len(centered) - 1), mode="r"))


def _checked(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features of {first.shape[1]} and of {second.shape[1]} numbers cannot be compared")
    if min(len(first), len(second)) < 2:
        raise ValueError("a distance of sets needs at least two pictures in each")
    return first.astype(np.float64), second.astype(np.float64)


def _kernel(products: np.ndarray, size: int) -> np.ndarray:
    return (products / size + 1.0) ** 3


def _kernel_sum(first: np.ndarray, second: np.ndarray) -> float:
    size = first.shape[1]
    blocks = (first[start : start + _BLOCK] @ second.T for start in range(0, len(first), _BLOCK))
    return float(sum(_kernel(block, size).sum() for block in blocks))
