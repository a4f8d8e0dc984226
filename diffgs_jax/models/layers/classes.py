"""Classes as rows of an embedding."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int


def class_numbers(
    classes: int, labels: Int[Array | np.ndarray, "b"] | None, batch: int
) -> Int[Array, "{batch}"] | None:
    """Returns the rows of a class embedding that labels ask for: the last one for no class, known or not.

    Args:
        classes: how many a model knows; None is returned where it knows none.
        labels: of each sample, −1 for none; None if there are none at all.
        batch: how many samples.
    """
    if not classes:
        return None
    if labels is None:
        return jnp.full((batch,), classes, jnp.int32)
    labels = jnp.asarray(labels)
    return jnp.where((labels >= 0) & (labels < classes), labels, classes)
