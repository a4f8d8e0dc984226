"""Times the training step of a denoiser: the network alone, with its share of the device's peak, and all of it."""

import dataclasses
import statistics

import bench_train  # ty: ignore (of scripts/diffusion_gs, which the parent adds to the path)

from diffgs_jax import models, training
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import DataConfig
from diffgs_jax.errors import report_errors
from diffgs_jax.rasterizer import Backend
from gpu_check_steps.reporting import report, timed


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What is timed."""

    backend: Backend = "xla"
    """Who renders."""
    batch_size: int = 4
    """Samples in a step."""
    seconds: float = 5.0
    """For the rounds of one measurement."""
    dry: bool = False
    """A network of two layers at 16², and not the whole step, which the training step compiles anyway."""


def main(arguments: Arguments) -> None:
    """Measures: the network alone first, because the whole step may not fit."""
    config, resolution = bench_train.settings("full", bench_train.Options(batch_size=arguments.batch_size))
    if arguments.dry:
        network = dataclasses.replace(config.network, width=32, layers=2, heads=2)
        config, resolution = dataclasses.replace(config, network=network), 16
    config = dataclasses.replace(config, backend=arguments.backend)
    data = DataConfig(resolution=resolution, condition_views=1, noisy_views=3)
    cost = models.family(config).cost(config, data)
    batch = bench_train.make_batch(arguments.batch_size, resolution)
    shared = {"batch": arguments.batch_size, "resolution": resolution, "parameters": cost.parameters}
    shared |= {"dtype": config.network.dtype, "attention": config.network.attention}
    programs = [("network", bench_train.make_network_step), ("step", bench_train.make_whole_step)]
    for name, make in programs[:1] if arguments.dry else programs:
        seconds = statistics.median(timed(make(config, batch), seconds=arguments.seconds))
        found = {"what": name, "ms": round(1e3 * seconds, 2), **shared}
        if name == "network":
            rate = arguments.batch_size / seconds
            found["tflops"] = round(3e-12 * cost.forward_flops * rate, 2)
            found["utilisation"] = training.model_flops_utilisation(cost.forward_flops, rate)
        else:
            found["backend"] = arguments.backend
        report(**found)


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
