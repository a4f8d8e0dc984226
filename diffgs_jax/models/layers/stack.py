"""Blocks of one kind, one after another: parameters with a leading axis, run by `jax.lax.scan`.

So a compiled program holds one block, whatever the depth.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

Kind = TypeVar("Kind", bound=nnx.Module)


def make_stack(count: int, make: Callable[[nnx.Rngs], Kind], rngs: nnx.Rngs) -> Kind:
    """Returns `count` blocks as one, whose parameters have a leading axis of that length.

    All blocks start with the parameters of the first: those of networks that are described by `uniform_bounds` are
    drawn later, all at once, and those of imported ones are replaced. (`nnx.vmap` would draw them apart, in ten times
    the time that it takes to describe a large network.)

    Args:
        count: of blocks.
        make: one block.
        rngs: for the first one's initialisers.
    """
    graphdef, state = nnx.split(make(rngs))
    stacked = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (count, *leaf.shape)), state)
    return nnx.merge(graphdef, stacked)


def describe(make: Callable[[nnx.Rngs], Kind]) -> tuple[nnx.GraphDef[Kind], dict[str, Any]]:
    """Returns a network without its parameters, and these as `jax.ShapeDtypeStruct`s; nothing is computed.

    Args:
        make: the network.
    """
    graphdef, state = nnx.split(nnx.eval_shape(lambda: make(_SameKey())), nnx.Param)
    return graphdef, nnx.to_pure_dict(state)


def bounds_of(make: Callable[[nnx.Rngs], nnx.Module]) -> dict[str, Any]:
    """Returns the first parameters of a network that is described by `uniform_bounds`, for `draw_uniform`."""
    return nnx.to_pure_dict(nnx.state(make(_SameKey()), nnx.Param))


class _SameKey(nnx.Rngs):
    """Randomness for initialisers that need none.

    `nnx.Rngs` counts its keys, and while a program is traced each count costs a look at all that was traced before:
    half a minute for a network of 700 arrays.
    """

    def __init__(self) -> None:
        super().__init__(0)

    def params(self) -> Array:
        return jax.random.key(0)


def run_stack(blocks: Kind, x: Any, call: Callable[[Kind, Any], Any], *, remat: bool = False) -> tuple[Any, Any]:
    """Runs blocks one after another.

    Args:
        blocks: of `make_stack`.
        x: what the first block is given, an array or a pytree of arrays.
        call: runs one block.
        remat: keep only what goes into each block for the backward pass, and compute the rest again.

    Returns:
        What comes out of the last block, and what went into each. Compiled, the latter costs nothing unless it is used.
    """
    graphdef, stacked = nnx.split(blocks)

    def step(carry: Any, layer: nnx.State) -> tuple[Any, Any]:
        return call(nnx.merge(graphdef, layer), carry), carry

    return jax.lax.scan(jax.checkpoint(step) if remat else step, x, stacked)
