"""Where arrays live: a mesh of devices, the batch over all of it, the weights by a rule that knows no model.

The mesh has two axes. Each member of "data" holds all the weights; the members of "fsdp" hold parts of them, which XLA
gathers where they are used (ZeRO-3, Rajbhandari et al. 2020). The batch is divided over both.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from diffgs_jax.config import MeshConfig
from diffgs_jax.errors import UserError

Mesh = jax.sharding.Mesh | jax.sharding.AbstractMesh
"""Devices, or the mere shape of an arrangement of them, which is enough to compile for it."""

_SMALLEST = 1 << 14  # elements; below, a part is not worth the message that fetches it


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> jax.sharding.Mesh:
    """Returns the mesh ("data", "fsdp") over all devices of all processes.

    Args:
        config: its shape.
        devices: to take instead.

    Raises:
        UserError: if the shape does not fit the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    data = config.data or len(devices) // max(config.fsdp, 1)
    if config.fsdp < 1 or data < 1 or data * config.fsdp != len(devices):
        shape = f"mesh.data = {config.data or 'all'}, mesh.fsdp = {config.fsdp}"
        raise UserError(f"{shape} do not fit {len(devices)} devices: their product must be {len(devices)}")
    kinds = (jax.sharding.AxisType.Auto,) * 2
    return jax.make_mesh((data, config.fsdp), ("data", "fsdp"), axis_types=kinds, devices=devices)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of everything that begins with a batch axis."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def state_shardings(tree: Any, mesh: Mesh) -> Any:
    """Returns a sharding for each leaf: its largest axis that "fsdp" divides is divided; small leaves are not.

    Weights, their average and the optimizer's moments have equal shapes and so fall on the same devices.

    Args:
        tree: of arrays or `jax.ShapeDtypeStruct`.
        mesh: of `make_mesh`.
    """
    parts = mesh.shape["fsdp"]

    def rule(leaf: Any) -> NamedSharding:
        axes = [axis for axis, length in enumerate(leaf.shape) if length % parts == 0]
        if parts == 1 or not axes or np.prod(leaf.shape) < _SMALLEST:
            return replicated(mesh)
        axis = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*(None,) * axis, "fsdp"))

    return jax.tree.map(rule, tree)


def place(shapes: Any, shardings: Any) -> Any:
    """Returns shapes that say where they shall be, for restoring a checkpoint there."""
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), shapes, shardings
    )


def gather(tree: Any) -> Any:
    """Returns the tree with every leaf whole on every device of the mesh in context, for work that is not divided."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return tree
    whole = jax.tree.map(lambda _: PartitionSpec(), tree)
    return jax.jit(lambda leaves: jax.lax.with_sharding_constraint(leaves, whole))(tree)
