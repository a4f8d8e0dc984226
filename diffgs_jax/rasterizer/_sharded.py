"""Rendering where the batch is: XLA does not partition sorts, loops and kernels by itself, `shard_map` does."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Bool, Float

from diffgs_jax.geometry import Cameras, Gaussians
from diffgs_jax.rasterizer._explicit import split_over
from diffgs_jax.rasterizer.rendering import Rendering, render


def render_sharded(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    background: float | Float[Array | np.ndarray, "*background"] = 1.0,
    features: Float[Array | np.ndarray, "*batch n c"] | None = None,
    shown: Bool[Array | np.ndarray, "*shown n"] | None = None,
    **settings: Any,
) -> Rendering:
    """Renders like `render`, each device of the mesh its part of the leading batch axis, in one launch and one sort.

    The mesh is the one in context (`jax.set_mesh`); its axes together divide the batch, as they do in training. Without
    a mesh, inside a `shard_map` of the caller, or where the batch does not divide, this is `render`.

    Args:
        gaussians: `[b, …, n]`.
        cameras: `[b, …]`.
        background: as in `render`.
        features: as in `render`.
        shown: as in `render`.
        settings: the others of `render`.
    """
    mesh = jax.sharding.get_abstract_mesh()
    kinds = set(mesh.axis_types)
    is_ours = kinds in ({AxisType.Auto}, {AxisType.Explicit})
    if not is_ours or mesh.size == 1 or gaussians.opacities.ndim < 2 or gaussians.opacities.shape[0] % mesh.size:
        return render(gaussians, cameras, background=background, features=features, shown=shown, **settings)
    behind = jnp.asarray(background)
    split = PartitionSpec(mesh.axis_names)
    specs = (split, split, split if behind.ndim > 1 else PartitionSpec(), split, split)

    def part(
        gaussians: Gaussians, cameras: Cameras, behind: Array, features: Array | None, shown: Array | None
    ) -> Rendering:
        return render(gaussians, cameras, background=behind, features=features, shown=shown, **settings)

    mapped = jax.shard_map(part, in_specs=specs, out_specs=split, check_vma=False)
    arrays = jax.tree.map(jnp.asarray, (gaussians, cameras, behind, features, shown))
    return mapped(*(arrays if kinds == {AxisType.Auto} else split_over(arrays, specs, mesh)))
