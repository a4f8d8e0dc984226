"""How much of a device's arithmetic a run uses (Chowdhery et al. 2022, appendix B), and what a program will need."""

from typing import Any

import jax

# Dense bfloat16 products, operations a second, from the makers' data sheets; the first that a name begins with counts.
_PEAK_FLOPS = {
    "NVIDIA B200": 2250e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100": 989e12,
    "NVIDIA A100": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA L4": 121e12,
    "NVIDIA GeForce RTX 4090": 165e12,
    "NVIDIA GeForce RTX 3090": 71e12,
    "TPU v6 lite": 918e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v4": 275e12,
}


def peak_flops(device: jax.Device | None = None) -> float | None:
    """Returns a device's bfloat16 peak, or None for one that is not in the table (every CPU)."""
    name = (device or jax.devices()[0]).device_kind
    return next((peak for kind, peak in _PEAK_FLOPS.items() if name.startswith(kind)), None)


def model_flops_utilisation(forward_flops: float, samples_per_second: float) -> float | None:
    """Returns the share of all devices' peak that goes into the network's matrix products, in [0, 1].

    Args:
        forward_flops: of one sample; training takes three times as many, recomputation not counted.
        samples_per_second: over all devices.
    """
    peak = peak_flops()
    return None if peak is None else 3.0 * forward_flops * samples_per_second / (peak * jax.device_count())


def state_bytes(tree: Any) -> int:
    """Returns how much of the first local device's memory the leaves of a tree take, by their shardings."""
    device = jax.local_devices()[0]
    total = 0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.sharding.shard_shape(leaf.shape) if device in leaf.sharding.device_set else ()
        size = leaf.dtype.itemsize
        for length in shape:
            size *= length
        total += size
    return total


def program_bytes(compiled: Any) -> int | None:
    """Returns what a compiled program needs on a device beside its arguments, as XLA has planned it."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes)
