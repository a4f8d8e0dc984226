"""Compiles `render` with its gradient for an NVIDIA H100 on a machine without one, and says what came out.

    python scripts/compile_for_gpu.py --backend mosaic
    python scripts/compile_for_gpu.py --backend triton --scenes 1 --views 5 --gaussians 1048578 --side 512

Needs Python 3.12, jax 0.11.2 or newer and its CUDA plugin (`pip install "jax[cuda13]"`), which brings the compilers; no
driver and no GPU. Beside the size of every buffer that the program plans it prints: its sorts, and which of them have a
shape that CUB's radix sort takes; how many kernels it launches, those of loops and branches counted once; and for the
Mosaic kernels what NVIDIA's assembler says of registers and of what it spills to memory. A compile takes about a
minute of one core. Put the `lib` folders of NVIDIA's wheels on LD_LIBRARY_PATH if the plugin does not find them.

XLA asks CUB only where a GPU is present, so the program printed here sorts by itself: shapes are what is judged (bare
32-bit unsigned keys, or pairs of 32-bit signed integers, in one row or in more than 26).
"""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import sys
import tempfile
from typing import Any
from unittest import mock

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.rasterizer import Backend

_KIND = "NVIDIA H100 80GB HBM3"
_TARGET = """gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: 84978434048 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 } registers_per_core_limit: 65536 registers_per_block_limit: 65536 }
platform_name: "CUDA" dnn_version_info { major: 9 minor: 12 } device_description_str: "NVIDIA H100 80GB HBM3"
"""
_LARGEST_SLOW_BATCH = 26  # rows; batches from two to this many are sorted by XLA itself

_NO_KERNEL = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all"),
    *("async-start", "async-done", "fusion-done", "copy-done", "partition-id", "replica-id"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What is compiled."""

    backend: Backend = "mosaic"
    """Who blends."""
    scenes: int = 4
    """Different sets of Gaussians."""
    views: int = 8
    """Cameras for each of them."""
    gaussians: int = 262_144
    """In a scene."""
    side: int = 256
    """Height and width of the images, pixels."""
    forward: bool = False
    """Leave out the gradient."""
    hlo: pathlib.Path | None = None
    """Write the optimized program here."""


def main(options: Options) -> None:
    """Compiles and prints."""
    with tempfile.TemporaryDirectory() as dumps:
        _prepare_environment(pathlib.Path(dumps))
        program, memory = _compile(options)
        registers = _registers(pathlib.Path(dumps))
    if options.hlo is not None:
        options.hlo.write_text(program)
    asked = {name: value for name, value in dataclasses.asdict(options).items() if name != "hlo"}
    print(json.dumps(asked | memory | _describe(program) | {"pallas_kernels": registers}, indent=1))


def _prepare_environment(dumps: pathlib.Path) -> None:
    """Makes the compilers found, and makes them leave what they made in a folder; before JAX is imported."""
    os.environ |= {"JAX_PLATFORMS": "cpu", "MOSAIC_GPU_DUMP_TO": str(dumps), "MOSAIC_GPU_DUMP_PTXAS": "1"}
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_cuda_data_dir={_cuda_folder()}"


def _cuda_folder() -> pathlib.Path:
    """Returns the folder of NVIDIA's compiler, as its wheel lays it."""
    for folder in map(pathlib.Path, sys.path):
        for found in folder.glob("nvidia/cu*/bin/ptxas"):
            return found.parent.parent
    raise UserError("NVIDIA's compiler is not installed; `pip install 'jax[cuda13]'` brings it")


def _compile(options: Options) -> tuple[str, dict[str, Any]]:
    """Returns the optimized program as text, and the memory that it plans."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies

    from diffgs_jax.geometry import Cameras, Gaussians
    from diffgs_jax.rasterizer import render

    try:
        topology = topologies.get_topology_desc(_KIND, platform="cuda", target_config=_TARGET, topology="1x1x1")
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise UserError(f"JAX's CUDA plugin cannot be asked for an H100: {error}") from error
    device = topology.devices[0]
    sharding = jax.sharding.SingleDeviceSharding(device)

    def array(*sizes: int) -> Any:  # what stands in for an array
        return jax.ShapeDtypeStruct(sizes, jnp.float32, sharding=sharding)

    def image(gaussians: Gaussians, cameras: Cameras) -> jax.Array:
        return render(gaussians, cameras, height=side, width=side, backend=options.backend).image

    def loss(gaussians: Gaussians, cameras: Cameras, cotangents: jax.Array) -> jax.Array:
        return jnp.sum(image(gaussians, cameras) * cotangents)

    scenes, views, n, side = options.scenes, options.views, options.gaussians, options.side
    shapes: tuple = (
        Gaussians(
            array(scenes, n, 3), array(scenes, n, 4), array(scenes, n, 3), array(scenes, n), array(scenes, n, 1, 3)
        ),
        Cameras(array(scenes, views, 4, 4), array(scenes, views, 4)),
    )
    if not options.forward:
        shapes = (*shapes, array(scenes, views, side, side, 3))
    function = image if options.forward else jax.value_and_grad(loss)
    context = contextlib.nullcontext()
    if options.backend in ("triton", "mosaic"):  # Triton's part of Pallas asks in this way
        named = jax.sharding.AbstractDevice(_KIND, None, "gpu")
        context = jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("x",), abstract_device=named))
    # What asks which device there is shall be told of this one.
    with context, mock.patch.multiple(jax, default_backend=lambda: "gpu", devices=lambda *_: [device]):
        lowered = jax.jit(function).trace(*shapes).lower(lowering_platforms=("cuda",))
    compiled = lowered.compile()
    memory = compiled.memory_analysis()
    sizes = {"temporary": memory.temp_size_in_bytes, "arguments": memory.argument_size_in_bytes}
    sizes["output"] = memory.output_size_in_bytes
    return compiled.as_text(), {f"{name}_gb": round(size / 1e9, 3) for name, size in sizes.items()}


def _describe(program: str) -> dict[str, Any]:
    """Returns sorts, kernels, loops and branches of an optimized program."""
    launched: collections.Counter[str] = collections.Counter()
    sorts, loops, branches = [], 0, 0
    is_run, run = False, _run_as_they_stand(program)
    for line in program.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            is_run = line.startswith("ENTRY") or line.split()[0].lstrip("%") in run
        found = re.match(r"\s+(?:ROOT )?%?\S+ = (\(.*?\)|\S+) ([\w-]+)\(", line)
        if found is None:
            continue
        shape, kind = found.groups()
        if kind == "sort":  # in a fusion of its own
            sorts.append({"operands": re.findall(r"(\w+\[[\d,]*\])", shape), "cub": _is_for_cub(shape)})
        if not is_run:
            continue
        loops += kind == "while"
        branches += kind == "conditional"
        if kind not in _NO_KERNEL:
            target = re.search(r'custom_call_target="([^"]*)"', line)
            launched[target.group(1) if target else kind] += 1
    return {
        "kernels": launched.total(),
        "kernels_by_kind": dict(launched.most_common()),
        "loops": loops,
        "branches": branches,
        "triton_gemms": program.count("__triton_gemm"),
        "sorts": sorts,
    }


def _run_as_they_stand(program: str) -> set[str]:
    """Returns the names of the computations that are no fusion's: bodies of loops, branches, and what is called."""
    names = set(re.findall(r"(?:body|condition|true_computation|false_computation)=%?([\w.-]+)", program))
    names |= set(re.findall(r" call\(.*?to_apply=%?([\w.-]+)", program))
    for branches in re.findall(r"branch_computations=\{([^}]*)\}", program):
        names |= set(re.findall(r"[\w.-]+", branches))
    return names


def _is_for_cub(shape: str) -> bool:
    """Returns whether CUB takes a sort: bare u32 keys or (s32, s32), in one row or in many.

    Where XLA sorts by itself, a stable sort carries the numbers of its elements as one operand more.
    """
    operands = re.findall(r"(\w+)\[([\d,]*)\]", shape)
    kinds = [kind for kind, _ in operands]
    rows = 1
    for size in operands[0][1].split(",")[:-1]:
        rows *= int(size)
    fits = kinds == ["u32"] or (len(kinds) in (2, 3) and set(kinds) == {"s32"})
    return fits and (rows == 1 or rows > _LARGEST_SLOW_BATCH)


def _registers(dumps: pathlib.Path) -> dict[str, str]:
    """Returns what the assembler says of the kernels that Mosaic compiles; XLA keeps what it says of Triton's."""
    found = {}
    for path in sorted(dumps.glob("*.ptxas")):
        note = path.read_text()
        name = re.search(r"entry function '(\w+)'", note)
        spills = re.search(r"\d+ bytes stack frame, \d+ bytes spill stores, \d+ bytes spill loads", note)
        used = re.search(r"Used \d+ registers", note)
        if name is not None:
            found[name.group(1)] = ", ".join(match.group(0) for match in (used, spills) if match)
    return found


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Options, description=__doc__))
