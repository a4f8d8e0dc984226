"""Gaussians that move to where others are, so that the image stays: 3DGS as MCMC (Kheradmand et al. 2024)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from diffgs_jax.optimization.state import FitState, with_slots

_MOST_SHARING = 51
"""More Gaussians in one place count as this many, as in the published code."""
_LEAST_OPACITY, _MOST_OPACITY = 0.005, 1 - 1e-6
_BINOMIALS = np.asarray(
    [[math.comb(count, k + 1) * (-1.0) ** k / math.sqrt(k + 1) for k in range(_MOST_SHARING)] for count in range(52)],
    np.float32,
)
"""C(N, k + 1)·(−1)ᵏ/√(k + 1): what the sum of equation 9 over i comes to, since Σᵢ C(i − 1, k) to N is C(N, k + 1)."""


def shared_opacity_and_scale(
    opacities: Float[Array | np.ndarray, "n"], counts: Int[Array | np.ndarray, "n"]
) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    """Returns the opacity of each of N equal Gaussians in one place that look like one, and what scales are times.

    o' = 1 − (1 − o)^(1/N) keeps the coverage in the middle, and s'/s = o / ΣᵢΣₖ C(i − 1, k)(−1)ᵏ o'^(k + 1)/√(k + 1)
    the coverage summed along a line through it (Kheradmand et al. 2024, equation 9).

    Args:
        opacities: o in [0, 1) before.
        counts: N, at least 1; more than 51 count as 51.
    """
    shared = jnp.clip(jnp.asarray(counts), 1, _MOST_SHARING)
    old = jnp.minimum(jnp.asarray(opacities), _MOST_OPACITY)
    new = -jnp.expm1(jnp.log1p(-old) / shared)
    powers = new[:, None] ** jnp.arange(1, _MOST_SHARING + 1, dtype=new.dtype)[None]
    total = jnp.sum(jnp.asarray(_BINOMIALS)[shared] * powers, axis=1)
    # A lone Gaussian stays exactly what it is.
    return jnp.where(shared == 1, old, new), jnp.where(shared == 1, 1.0, old / jnp.maximum(total, 1e-12))


def relocate(
    state: FitState,
    key: PRNGKeyArray,
    dead_below: float | Float[Array, ""] = 0.005,
    is_outside: bool | Bool[Array, "n"] = False,
) -> FitState:
    """Moves the dead to where the living are, each to one that is drawn by its opacity.

    Args:
        state: before.
        key: of the draw.
        dead_below: opacity up to which a Gaussian is dead.
        is_outside: which are dead whatever their opacity.
    """
    is_dead = state.is_used & ((jax.nn.sigmoid(state.parameters.logits) <= dead_below) | is_outside)
    return _place(state, is_dead, state.is_used & ~is_dead, key)


def grow(state: FitState, key: PRNGKeyArray, share: float | Float[Array, ""] = 0.05) -> FitState:
    """Adds Gaussians where others are, as long as slots are left.

    Args:
        state: before.
        key: of the draw.
        share: how many, relative to those there are.
    """
    used = jnp.sum(state.is_used)
    wanted = jnp.floor(share * used).astype(jnp.int32)
    is_new = ~state.is_used & (jnp.cumsum(~state.is_used) <= wanted)
    return _place(state, is_new, state.is_used, key)


def _place(state: FitState, is_target: Bool[Array, "n"], is_source: Bool[Array, "n"], key: PRNGKeyArray) -> FitState:
    """Fills slots with copies of sources, which share their opacity with their copies."""
    slots = len(state.parameters.logits)
    opacities = jax.nn.sigmoid(state.parameters.logits)
    chances = jnp.where(is_source, opacities, 0.0)
    is_target &= jnp.any(is_source)
    source = jax.random.choice(key, slots, (slots,), p=chances / jnp.maximum(jnp.sum(chances), 1e-12))
    copies = jnp.zeros(slots, jnp.int32).at[source].add(is_target.astype(jnp.int32))
    new, factor = shared_opacity_and_scale(opacities, copies + 1)
    new = jnp.clip(new, _LEAST_OPACITY, _MOST_OPACITY)
    shared = state.parameters._replace(
        logits=jnp.log(new) - jnp.log1p(-new),
        log_scales=state.parameters.log_scales + jnp.log(factor)[:, None],
    )
    everyone, nowhere = jnp.arange(slots), slots
    state = with_slots(state, jnp.where(copies > 0, everyone, nowhere), shared, True)
    copied = jax.tree.map(lambda leaf: leaf[source], shared)
    return with_slots(state, jnp.where(is_target, everyone, nowhere), copied, True)
