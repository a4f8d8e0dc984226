"""Rendering arrays whose types say over which mesh axes they are split (`jax.make_mesh`'s default since JAX 0.9).

Operations on such arrays must agree on how they are split, and sorts, loops and scatters cannot say so. So each device
draws the images it has, under `jax.shard_map`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array

from diffgs_jax.geometry import Cameras, Gaussians


class ImageLayout(NamedTuple):
    """How the images of a call lie on a mesh.

    Attributes:
        mesh: some of whose axes are explicit.
        gaussians: over which axes the leading axes of Gaussians are split.
        cameras: the same of cameras, and of all that is rendered.
    """

    mesh: AbstractMesh
    gaussians: PartitionSpec
    cameras: PartitionSpec


def explicit_layout(gaussians: Gaussians, cameras: Cameras, features: Array | np.ndarray | None) -> ImageLayout | None:
    """Returns how arrays are split over explicit mesh axes; None where none is.

    Args:
        gaussians: `[*batch, n]`. What is split otherwise than by batch is gathered.
        cameras: `[*batch, *views]`.
        features: `[*batch, n, c]`.
    """
    shardings = [jax.typeof(leaf).sharding for leaf in (*gaussians, *cameras, features) if leaf is not None]
    split = [one for one in shardings if any(axes is not None for axes in one.spec)]
    if not split or AxisType.Explicit not in split[0].mesh.axis_types:
        return None
    batch = gaussians.opacities.ndim - 1
    lead: list[str | tuple[str, ...] | None] = []
    taken: set[str] = set()
    for place in range(cameras.intrinsics.ndim - 1):
        owners = (gaussians.opacities, cameras.intrinsics) if place < batch else (cameras.intrinsics,)
        found = (jax.typeof(owner).sharding.spec[place] for owner in owners)
        axes = next((axes for axes in found if axes is not None and taken.isdisjoint(_names(axes))), None)
        taken.update(_names(axes))
        lead.append(axes)
    return ImageLayout(split[0].mesh, PartitionSpec(*lead[:batch]), PartitionSpec(*lead))


def draw_split(
    draw: Callable,
    layout: ImageLayout,
    gaussians: Gaussians,
    cameras: Cameras,
    background: float | Array | np.ndarray,
    features: Array | np.ndarray | None,
    shown: Array | np.ndarray | None = None,
) -> Any:
    """Returns `draw(gaussians, cameras, background, features, shown)`, drawn by each device for its images.

    Args:
        draw: called with the part of the arrays that a device has.
        layout: of the arrays.
        gaussians: `[*batch, n]`.
        cameras: `[*batch, *views]`.
        background: a number, `[3]` or `[*batch, *views, 3]`.
        features: `[*batch, n, c]`.
        shown: `[*batch, *views, n]`.
    """
    behind = jnp.asarray(background)
    of_background = layout.cameras if behind.ndim > 1 else PartitionSpec()
    specs = (layout.gaussians, layout.cameras, of_background, layout.gaussians, layout.cameras)
    mapped = jax.shard_map(draw, mesh=layout.mesh, in_specs=specs, out_specs=layout.cameras, check_vma=False)
    return mapped(*split_over((gaussians, cameras, behind, features, shown), specs, layout.mesh))


def split_over(arrays: Sequence[Any], specs: Sequence[PartitionSpec], mesh: AbstractMesh) -> list[Any]:
    """Returns trees of arrays, split over explicit mesh axes.

    Args:
        arrays: the trees.
        specs: one for each tree.
        mesh: all of whose axes in `specs` are explicit.
    """

    def move(leaf: Array | np.ndarray, spec: PartitionSpec) -> Array:
        leaf = jnp.asarray(leaf)
        found, wanted = (
            [*axes, *(None for _ in range(leaf.ndim - len(axes)))] for axes in (jax.typeof(leaf).sharding.spec, spec)
        )
        return leaf if found == wanted else jax.sharding.reshard(leaf, NamedSharding(mesh, spec))

    return [jax.tree.map(functools.partial(move, spec=spec), tree) for tree, spec in zip(arrays, specs, strict=True)]


def _names(axes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if axes is None else (axes,) if isinstance(axes, str) else axes
