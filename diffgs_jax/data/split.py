"""Which objects are held out for testing, decided by their shape alone.

One rule for every dataset, so that an object never trains one model and tests another, and that recolours and copies
of it, under whatever name, fall on the same side.
"""

import hashlib
from typing import Literal

import numpy as np
from jaxtyping import Float

Split = Literal["train", "test"]
TEST_PERCENT = 10.0
_ROUNDING = 1e-3


def geometry_hash(triangles: Float[np.ndarray, "f 3 3"]) -> str:
    """Returns a hash of a shape, 16 hexadecimal digits.

    What is hashed are the surface's moments up to the second order and its extents, rounded to 0.001. They are the
    same for any order of faces and vertices, any triangulation, any colours, and for faces that are there twice.
    Rounded vertices would not do: a copy that was exported again differs in its last digits, and of thousands of
    coordinates some always sit at a rounding edge; of twelve numbers hardly one does.

    Args:
        triangles: in the object frame (`normalize_points`).
    """
    corners = np.asarray(triangles, np.float64)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    weights = areas / areas.sum()
    total = corners.sum(axis=1)
    mean = weights @ total / 3
    # ∫ x xᵀ over a triangle is its area times (Σ v vᵀ + (Σ v)(Σ v)ᵀ) / 12.
    second = np.einsum("f,fci,fcj->ij", weights, corners, corners) + np.einsum("f,fi,fj->ij", weights, total, total)
    points = corners.reshape(-1, 3)
    extents = points.max(axis=0) - points.min(axis=0)
    numbers = np.concatenate([mean, second[np.triu_indices(3)] / 12, extents])
    rounded = np.rint(numbers / _ROUNDING).astype("<i4")
    return hashlib.sha256(rounded.tobytes()).hexdigest()[:16]


def split_of(shape_hash: str, test_percent: float = TEST_PERCENT) -> Split:
    """Returns the side a shape falls on.

    Args:
        shape_hash: of `geometry_hash`.
        test_percent: how much of all shapes is held out; what is in a smaller test set is also in every larger one.
    """
    digest = hashlib.sha256(f"split/{shape_hash}".encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < test_percent / 100 * 2**64 else "train"
