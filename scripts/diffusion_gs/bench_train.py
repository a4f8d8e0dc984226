"""Times the training step at three sizes, with and without rendering, and beside PyTorch where that is installed.

    python scripts/diffusion_gs/bench_train.py                     # the small one, on any machine
    python scripts/diffusion_gs/bench_train.py --sizes small base full --batch-size 4

Programs take turns, round after round; a ratio is the median over rounds. One line of JSON for each size is appended to
`--out`. `network` is the transformer's forward, backward and AdamW alone; `step` is the whole training step: noise,
network, rendering of supervised views, losses, optimizer and average.
"""

import dataclasses
import functools
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from diffgs_jax import models, training
from diffgs_jax.config import OptimizerConfig
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import DataConfig
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.geometry import OBJECT, Cameras, Views, orbit
from diffgs_jax.models import Batch
from diffgs_jax.models.diffusion_gs import (
    DiffusionGSConfig,
    DistanceLaw,
    GaussianConfig,
    LossConfig,
    NetworkConfig,
)
from diffgs_jax.models.diffusion_gs.denoiser import raw_gaussians

Size = Literal["small", "base", "full"]
_VIEWS, _NOVEL = 4, 2


@dataclasses.dataclass(frozen=True)
class Options:
    """What is timed, how often."""

    sizes: tuple[Size, ...] = ("small",)
    """`small`: 256 × 6 at 64²; `base`: 768 × 12 at 128²; `full`: 1024 × 24 at 256², the published network."""
    batch_size: int = 8
    """Samples in a step."""
    rounds: int = 7
    """How often every program has its turn."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type that the network computes in; by default bfloat16 except on a CPU."""
    out: pathlib.Path = pathlib.Path("benchmarks/train.jsonl")
    """Where lines are appended."""


def main(options: Options) -> None:
    """Measures and reports."""
    if min(options.batch_size, options.rounds) < 1:
        raise UserError("--batch-size and --rounds must be at least 1")
    lines = [measure(size, options) for size in options.sizes]
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    except OSError as error:
        raise UserError(f"cannot write to {options.out}: {error.strerror}") from error


def settings(size: Size, options: Options) -> tuple[DiffusionGSConfig, int]:
    """Returns a model's settings, and the resolution it is timed at."""
    is_cpu = jax.default_backend() == "cpu"
    dtype = ("float32" if is_cpu else "bfloat16") if options.dtype == "auto" else options.dtype
    attention = "cudnn" if dtype == "bfloat16" and not is_cpu else "xla"
    shared: dict[str, Any] = {"dtype": dtype, "attention": attention}
    networks = {
        "small": (NetworkConfig(width=256, layers=6, heads=4, stride=2, **shared), 64),
        "base": (NetworkConfig(width=768, layers=12, heads=12, modulation="block", **shared), 128),
        "full": (NetworkConfig(width=1024, layers=24, heads=16, modulation="block", remat=True, **shared), 256),
    }
    network, resolution = networks[size]
    gaussians = GaussianConfig(object_distance=DistanceLaw(reach=1.2), scale_offset=-1.0 - np.log(resolution / 8))
    return DiffusionGSConfig(network=network, gaussians=gaussians, losses=LossConfig(alpha=0.5)), resolution


def measure(size: Size, options: Options) -> dict[str, Any]:
    """Times one size."""
    config, resolution = settings(size, options)
    data = DataConfig(resolution=resolution, condition_views=1, noisy_views=_VIEWS - 1)
    cost = models.family(config).cost(config, data)
    batch = make_batch(options.batch_size, resolution)
    programs: dict[str, Callable[[], Any]] = {
        "network": make_network_step(config, batch),
        "step": make_whole_step(config, batch),
    }
    try:
        from torch_network import make_torch_step

        threads = os.cpu_count() or 1
        programs["torch"] = make_torch_step(config.network, options.batch_size, _VIEWS, resolution, threads)
    except ImportError as error:
        print(f"without PyTorch: {error}")

    for program in programs.values():
        for _ in range(2):
            program()
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(options.rounds):
        for name, program in programs.items():
            began = time.perf_counter()
            program()
            seconds[name].append(time.perf_counter() - began)

    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    rate = options.batch_size / medians["network"]
    share = training.model_flops_utilisation(cost.forward_flops, rate / jax.device_count())
    line: dict[str, Any] = {"size": size, "batch": options.batch_size, "resolution": resolution}
    line |= {"parameters": cost.parameters, "tokens": cost.counts["tokens"], "dtype": config.network.dtype}
    line |= {f"{name}_ms": round(1e3 * value, 2) for name, value in medians.items()}
    line |= {"samples_per_second": round(options.batch_size / medians["step"], 2)}
    line |= {"rendering_and_losses_share": round(1 - medians["network"] / medians["step"], 3)}
    line |= {"network_tflops": round(3e-12 * cost.forward_flops * rate, 3), "network_utilisation": share}
    if "torch" in seconds:
        pairs = zip(seconds["network"], seconds["torch"], strict=True)
        line["network_over_torch"] = round(statistics.median(ours / theirs for ours, theirs in pairs), 3)
    line |= {"device": jax.devices()[0].device_kind, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    line |= {"jax": jax.__version__}
    print(json.dumps(line, indent=1))
    return line


def make_batch(size: int, resolution: int) -> Batch:
    """Returns random pictures of the right shapes, seen by cameras around the origin."""
    random = np.random.default_rng(0)

    def views(count: int, first: float) -> Views:
        cameras = orbit(first + 360.0 * np.arange(count) / count, elevation_degrees=20.0)
        return Views(
            images=random.random((size, count, resolution, resolution, 3), np.float32),
            cameras=Cameras(*(np.broadcast_to(leaf, (size, *leaf.shape)) for leaf in cameras)),
            is_condition=np.broadcast_to(np.arange(count) == (0 if first == 0 else -1), (size, count)),
            domain=np.full(size, OBJECT, np.int32),
            alphas=random.random((size, count, resolution, resolution), np.float32),
        )

    return jax.device_put(Batch(views(_VIEWS, 0.0), views(_NOVEL, 45.0), np.arange(size, dtype=np.int32)))


def make_network_step(config: DiffusionGSConfig, batch: Batch) -> Callable[[], Any]:
    """Returns a step of the network alone: raw Gaussians, their mean square, AdamW."""
    params = models.family(config).init(config, jax.random.key(0))
    optimizer = optax.adamw(1e-4)
    timesteps = jnp.full(batch.record.shape, 500)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: tuple[Any, Any], views: Views) -> tuple[Any, Any]:
        def loss(params: Any) -> jax.Array:
            raw = raw_gaussians(config, params, views, timesteps)
            return jnp.sum(jnp.stack([jnp.mean(leaf**2) for leaf in jax.tree.leaves(raw)]))

        gradients = jax.grad(loss)(state[0])
        updates, moments = optimizer.update(gradients, state[1], state[0])
        return optax.apply_updates(state[0], updates), moments

    return _keep_state(step, (params, optimizer.init(params)), batch.inputs)


def make_whole_step(config: DiffusionGSConfig, batch: Batch) -> Callable[[], Any]:
    """Returns the training step as `diffgs_jax.train` takes it."""
    module = models.family(config)
    optimizer = training.make_optimizer(OptimizerConfig(), 1000, module.is_hidden_matrix)
    state = training.init_state(module.init(config, jax.random.key(0)), optimizer)
    loss = functools.partial(module.loss, config)
    step = training.make_train_step(loss, optimizer, OptimizerConfig(), 0)
    return _keep_state(lambda state, batch: step(state, {}, batch)[0], state, batch)


def _keep_state(step: Callable, state: Any, inputs: Any) -> Callable[[], Any]:
    """Returns a function that goes on from where it was and waits for the result."""
    box = [state]

    def run() -> None:
        box[0] = jax.block_until_ready(step(box[0], inputs))

    return run


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Options, description=__doc__))
