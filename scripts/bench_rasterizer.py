"""Times `render`, forward and with gradient, beside whichever peers are installed, all of them in one run.

    python scripts/bench_rasterizer.py
    python scripts/bench_rasterizer.py --workload heavy --scenes 4 --views 8 --backend triton
    python scripts/bench_rasterizer.py --curves

`pixel_aligned` is what a DiffusionGS denoiser emits: 4 · side² Gaussians, 45 % of them a surface, the others faint.
`heavy` is what an untrained one emits: the same places, standard deviation 0.1, opacity 0.12. Programs take turns,
round after round, and a ratio is the median over rounds, so that whatever else the machine does falls on all of them.
One line of JSON for each measurement is appended to `--out`.
"""

import dataclasses
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from rasterizer_peers import Contestant, Problem, installed_peers

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.files import written_beside
from diffgs_jax.geometry import Cameras, Gaussians, covariances, look_at
from diffgs_jax.rasterizer import Backend, project, render

Workload = Literal["pixel_aligned", "heavy"]
_DISTANCE, _FIELD_OF_VIEW = 3.0, 50.0
_DC = 0.28209479177387814  # the constant spherical harmonic


@dataclasses.dataclass(frozen=True)
class Options:
    """What is rendered, by whom, how often."""

    workload: Literal["pixel_aligned", "heavy", "both"] = "both"
    """Which Gaussians."""
    side: int = 256
    """Height and width of the images, pixels."""
    gaussians: int = 0
    """In a scene; 0 for 4 · side²."""
    scenes: int = 1
    """Different sets of Gaussians."""
    views: int = 1
    """Cameras for each of them."""
    backend: Backend = "auto"
    """Who blends."""
    capacity: int = 0
    """Of the tile lists; 0 for the default."""
    rounds: int = 7
    """How often every program has its turn."""
    torch: pathlib.Path | None = None
    """Python interpreter that has PyTorch: also time plain PyTorch on a CPU (`benchmarks/torch_rasterizer.py`)."""
    curves: bool = False
    """Vary the number of Gaussians, the size and the number of views, one at a time, and plot them."""
    out: pathlib.Path = pathlib.Path("benchmarks/rasterizer.jsonl")
    """Where lines are appended."""


def main(options: Options) -> None:
    """Measures and reports."""
    if min(options.side, options.scenes, options.views, options.rounds) < 1 or options.gaussians < 0:
        raise UserError("--side, --scenes, --views and --rounds must be at least 1, --gaussians at least 0")
    workloads: list[Workload] = ["pixel_aligned", "heavy"] if options.workload == "both" else [options.workload]
    lines = []
    for workload in workloads:
        if options.curves:
            lines += [measure(variant, workload) for variant in curve_points(options)]
        else:
            lines.append(measure(options, workload))
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    except OSError as error:
        raise UserError(f"cannot write to {options.out}: {error.strerror}") from error
    if options.curves:
        plot_curves(lines, options.out.with_suffix(".png"))


def curve_points(options: Options) -> list[Options]:
    """Returns the settings of each curve: one quantity varies, the others stay."""
    count = options.gaussians or 4 * options.side**2
    gaussians = [dataclasses.replace(options, gaussians=max(1, count >> shift)) for shift in (8, 6, 4, 2, 0)]
    sides = [dataclasses.replace(options, gaussians=count, side=side) for side in (64, 128, 512)]
    views = [dataclasses.replace(options, gaussians=count, views=views) for views in (2, 4, 8)]
    return gaussians + sides + views


def measure(options: Options, workload: Workload) -> dict[str, Any]:
    """Times one problem with everybody, and returns what is to be remembered."""
    problem = make_problem(options, workload)
    count = problem.gaussians.opacities.shape[-1]
    print(
        f"{workload}: {options.scenes} scenes × {options.views} views × {count} Gaussians, {options.side}², "
        f"{jax.devices()[0].device_kind}, backend {options.backend}"
    )
    ours, memory = make_ours(problem, options)
    contestants = [ours, *installed_peers(problem, options.torch)]
    expected = np.asarray(ours.forward(), np.float32)
    for peer in contestants[1:]:
        image = peer.forward()
        image = np.asarray(image.cpu() if hasattr(image, "cpu") else image, np.float32)
        share = float(np.mean(np.abs(image - expected).max(-1) > 2e-2))
        print(f"  {peer.name}: {100 * share:.2f} % of its pixels differ from ours by more than 0.02")

    forward = take_turns([one.forward for one in contestants], options.rounds)
    gradient = take_turns([one.gradient for one in contestants], options.rounds)
    pairs = count_pairs(problem)
    line: dict[str, Any] = {"workload": workload, "scenes": options.scenes, "views": options.views}
    line |= {"gaussians": count, "side": options.side, "backend": options.backend}
    line |= {"forward_ms": _median(forward[0]), "gradient_ms": _median(gradient[0]), "pairs": pairs}
    line |= {"pairs_per_second": round(pairs / statistics.median(forward[0])), "memory_mb": memory, "peers": {}}
    print(
        f"  ours: forward {line['forward_ms']} ms, with gradient {line['gradient_ms']} ms, "
        f"{line['pairs_per_second'] / 1e6:.0f} million (Gaussian, pixel) pairs a second forward, "
        f"at most {memory['gradient']} MB beside the inputs"
    )
    for index, peer in enumerate(contestants[1:], 1):
        ratio = [_ratio(times[0], times[index]) for times in (forward, gradient)]
        line["peers"][peer.name] = {
            "forward_ms": _median(forward[index]),
            "gradient_ms": _median(gradient[index]),
            "ours_over_theirs": {"forward": ratio[0], "gradient": ratio[1]},
        }
        print(
            f"  {peer.name} ({peer.covers}): forward {_median(forward[index])} ms, with gradient "
            f"{_median(gradient[index])} ms; ours takes {ratio[0]:.2f} and {ratio[1]:.2f} times as long"
        )
    return line | describe_machine()


def make_problem(options: Options, workload: Workload, seed: int = 0) -> Problem:
    """Draws the scenes; see the module's docstring."""
    random = np.random.default_rng(seed)
    count = options.gaussians or 4 * options.side**2
    shape = (options.scenes, count)
    is_surface = np.arange(count) < int(0.45 * count)
    direction = random.normal(size=(*shape, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    means = direction * np.where(is_surface, 0.7, 1.2)[:, None] * (1 + 0.05 * random.normal(size=(*shape, 1)))
    footprint = 1.6 / np.sqrt(count / 4)
    scales = np.exp(random.normal(np.log(footprint), 0.4, size=(*shape, 3)))
    opacities = np.broadcast_to(np.where(is_surface, 0.85, 0.02), shape)
    if workload == "heavy":
        scales, opacities = np.full_like(scales, 0.1), np.full(shape, 0.12)
    gaussians = Gaussians(
        means=means,
        rotations=random.normal(size=(*shape, 4)),
        scales=scales,
        opacities=opacities,
        sh=(random.random((*shape, 1, 3)) - 0.5) / _DC,
    )
    azimuths = 2 * np.pi * np.arange(options.views) / options.views
    eyes = _DISTANCE * np.stack([np.cos(azimuths), np.sin(azimuths), np.full_like(azimuths, 0.3)], axis=-1)
    poses = look_at(eyes, np.zeros(3))
    focal = 0.5 / np.tan(np.deg2rad(_FIELD_OF_VIEW) / 2)
    lead = (options.scenes, options.views)
    intrinsics = np.broadcast_to(np.array([focal, focal, 0.5, 0.5]), (*lead, 4))
    cameras = Cameras(np.broadcast_to(poses, (*lead, 4, 4)), intrinsics)
    cotangent = random.normal(size=(*lead, options.side, options.side, 3)).astype(np.float32)
    return Problem(
        Gaussians(*(np.asarray(leaf, np.float32) for leaf in gaussians)),
        Cameras(*(np.asarray(leaf, np.float32) for leaf in cameras)),
        options.side,
        cotangent,
    )


def make_ours(problem: Problem, options: Options) -> tuple[Contestant, dict[str, int]]:
    """Compiles `render`; returns it with the memory it needs beside its inputs, MB."""
    gaussians, cameras, cotangent = jax.device_put((problem.gaussians, problem.cameras, problem.cotangent))
    settings: dict[str, Any] = {"height": problem.side, "width": problem.side, "backend": options.backend}
    if options.capacity:
        settings["capacity"] = options.capacity

    def image(gaussians: Gaussians) -> jax.Array:
        return render(gaussians, cameras, **settings).image

    forward = jax.jit(image).lower(gaussians).compile()
    gradient = jax.jit(jax.value_and_grad(lambda gaussians: jnp.sum(image(gaussians) * cotangent)))
    gradient = gradient.lower(gaussians).compile()
    # The hungrier one first, because what it frees need not leave the process.
    memory = {
        name: peak_memory(lambda run=run: jax.block_until_ready(run(gaussians)))
        for name, run in (("gradient", gradient), ("forward", forward))
    }
    ours = Contestant(
        "ours",
        lambda: jax.block_until_ready(forward(gaussians)),
        lambda: jax.block_until_ready(gradient(gaussians)),
        "everything",
    )
    return ours, memory


def peak_memory(run: Callable[[], Any]) -> int:
    """Returns by how many MB memory grew at most while something ran: of the device, or of this process on a CPU."""
    if jax.default_backend() != "cpu":
        before = (jax.devices()[0].memory_stats() or {}).get("bytes_in_use", 0)
        run()
        return ((jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) - before) // 10**6
    status = pathlib.Path("/proc/self/status")
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the highest mark
        before = _kilobytes(status, "VmRSS")
        run()
        return (_kilobytes(status, "VmHWM") - before) * 1024 // 10**6
    except OSError:
        return -1  # not Linux


def _kilobytes(status: pathlib.Path, field: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(field))


def take_turns(programs: list[Callable[[], Any]], rounds: int) -> list[list[float]]:
    """Returns seconds `[programs][rounds]`; everybody runs once before, for nothing."""
    for program in programs:
        program()
    seconds: list[list[float]] = [[] for _ in programs]
    for _ in range(rounds):
        for program, taken in zip(programs, seconds, strict=True):
            began = time.perf_counter()
            program()
            taken.append(time.perf_counter() - began)
    return seconds


def count_pairs(problem: Problem) -> int:
    """Counts (Gaussian, pixel) pairs inside the boxes where alpha can reach 1/255, before anything is hidden."""

    @jax.jit
    def of_one(means: jax.Array, rotations: jax.Array, scales: jax.Array, opacities: jax.Array, camera: Cameras):
        spread = covariances(rotations, scales)
        seen = project(means, spread, opacities, camera, height=problem.side, width=problem.side)
        low = jnp.clip(seen.means - seen.extents, 0, problem.side)
        high = jnp.clip(seen.means + seen.extents, 0, problem.side)
        return jnp.sum(jnp.where(seen.is_visible, jnp.prod(high - low, axis=-1), 0.0))

    total = 0.0
    for scene, view in np.ndindex(problem.cotangent.shape[:2]):
        camera = Cameras(*(jnp.asarray(leaf[scene, view]) for leaf in problem.cameras))
        total += float(of_one(*(leaf[scene] for leaf in problem.gaussians[:4]), camera))
    return round(total)


def describe_machine() -> dict[str, Any]:
    """Returns where and with what this was measured."""
    here = pathlib.Path(__file__).parent
    git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    except OSError:
        commit = ""
    return {
        "device": jax.devices()[0].device_kind,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "commit": commit,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def plot_curves(lines: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Draws cost against each quantity, where matplotlib is installed."""
    try:
        import matplotlib.pyplot as plt  # ty: ignore (optional)
    except ImportError:
        print("no plot: pip install matplotlib")
        return
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), sharey=True, layout="constrained")
    whole = lines[4]  # the point that all curves have in common
    for axis, name in zip(axes, ("gaussians", "side", "views"), strict=True):
        for workload in sorted({line["workload"] for line in lines}):
            same = [other for other in ("gaussians", "side", "views") if other != name]
            points = [
                line
                for line in lines
                if line["workload"] == workload and all(line[other] == whole[other] for other in same)
            ]
            points.sort(key=lambda line: line[name])
            for key, style in (("forward_ms", "o--"), ("gradient_ms", "o-")):
                label = f"{workload}, {key.removesuffix('_ms')}"
                axis.plot([line[name] for line in points], [line[key] for line in points], style, label=label)
        axis.set(xscale="log", yscale="log", xlabel=name)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("ms")
    axes[0].legend()
    figure.suptitle(f"{whole['device']}, {whole['cores']} cores, jax {whole['jax']}, {whole['commit']}")
    with written_beside(path) as beside:
        figure.savefig(beside, dpi=120)
    print(f"curves: {path}")


def _median(seconds: list[float]) -> float:
    return round(1e3 * statistics.median(seconds), 2)


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3)


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Options, description=__doc__))
