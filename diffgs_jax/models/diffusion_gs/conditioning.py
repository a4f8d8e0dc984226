"""Hiding the condition from the network: what it learns without one is what guidance pushes away from."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Views

HIDDEN = 0.5
"""Grey level of a hidden picture: the network, which reads 2·image − 1, is given zeros."""


def hide_conditions(views: Views, hidden: Bool[Array, "b"] | None = None) -> Views:
    """Returns views whose condition views are empty pictures: what the unconditional network is given.

    Cameras and flags stay: the network is told where the condition would be seen from, and that this is one. In
    training and in sampling the same function hides it, which is what makes guidance sound.

    Args:
        views: what the network would be given.
        hidden: which samples lose all their condition views; every one by default.
    """
    empty = jnp.asarray(views.is_condition)
    if hidden is not None:
        empty &= hidden[:, None]
    return views._replace(images=jnp.where(empty[..., None, None, None], HIDDEN, jnp.asarray(views.images)))


def draw_hidden(key: PRNGKeyArray, batch: int, probability: float) -> Bool[Array, "{batch}"]:
    """Draws which samples of a batch lose their condition.

    Raises:
        UserError: if the probability is not in [0, 1].
    """
    if not 0 <= probability <= 1:
        raise UserError(f"model.losses.condition_dropout must be in [0, 1], not {probability}")
    return jax.random.bernoulli(key, probability, (batch,))
