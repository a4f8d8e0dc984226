"""What a network costs, read off its program: nothing is computed, and no formula has to follow the code."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np


def parameter_count(params: Any) -> int:
    """Returns how many numbers there are in a tree of arrays or of their shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def product_flops(function: Callable[..., Any], *arguments: Any) -> float:
    """Returns the multiplications and additions of all matrix products and convolutions of a function.

    What a `cond` chooses among is all counted; a `while` loop is counted once, a `scan` as often as it runs.

    Args:
        function: of arrays.
        arguments: arrays, or `jax.ShapeDtypeStruct`s in their place.
    """
    return float(_flops(jax.make_jaxpr(function)(*arguments).jaxpr))


def residual_bytes(function: Callable[..., Any], params: Any, *arguments: Any) -> int:
    """Returns the memory that a function's gradient keeps from the forward pass, before any compiler saves some.

    Args:
        function: `(params, *arguments) -> arrays`.
        params: weights, differentiated and not counted.
        arguments: arrays, or `jax.ShapeDtypeStruct`s in their place.
    """

    def keep(params: Any, *arguments: Any) -> Any:
        return jax.vjp(lambda params: function(params, *arguments), params)[1]

    # The function that `vjp` returns is a pytree of what it keeps; what is kept as it came in is the weights'.
    program = jax.make_jaxpr(keep)(params, *arguments).jaxpr
    weights = program.invars[: len(jax.tree.leaves(params))]
    kept = {id(one): one.aval for one in program.outvars if all(one is not weight for weight in weights)}
    return sum(map(_bytes, kept.values()))


def _flops(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = parameters["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * equation.outvars[0].aval.size * math.prod(left[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval
            outputs = kernel.shape[parameters["dimension_numbers"].rhs_spec[0]]
            total += 2 * equation.outvars[0].aval.size * kernel.size // outputs
        else:
            runs = parameters["length"] if name == "scan" else 1
            total += runs * sum(map(_flops, _inner(parameters)))
    return total


def _inner(parameters: dict[str, Any]) -> Iterator[Any]:
    """Yields the programs that an equation calls."""
    for value in parameters.values():
        for one in value if isinstance(value, tuple) else (value,):
            inner = getattr(one, "jaxpr", one)
            if hasattr(inner, "eqns"):
                yield inner


def _bytes(leaf: Any) -> int:
    return math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
