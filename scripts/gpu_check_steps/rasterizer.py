"""Times one backend of the rasterizer on both workloads, and holds it against plain JAX.

The step with `--backend xla` comes first and leaves its images and gradients in the work folder; those of the other
backends compare theirs with them. A backend is `correct` if the images agree to 1e-4 but for one value in 1,000 (where
a contribution is just over or just under the threshold of 1/255) and nowhere differ by more than 0.02, and the
gradients to 1 % of their norm.
"""

import dataclasses
import functools
import pathlib
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bench_rasterizer import Options, Workload, count_pairs, make_problem, peak_memory
from rasterizer_peers import Problem

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import report_errors
from diffgs_jax.geometry import Cameras, Gaussians
from diffgs_jax.rasterizer import Backend, render
from gpu_check_steps.reporting import report, timed

WORKLOADS: tuple[Workload, ...] = ("pixel_aligned", "heavy")
_CLOSE, _SHARE, _FAR = 1e-4, 1e-3, 0.02
_GRADIENT = 0.01


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What is timed."""

    backend: Backend
    """Who renders."""
    work: pathlib.Path
    """Folder of the reference."""
    side: int = 256
    """Of the images, pixels; there are four times as many Gaussians as pixels."""
    scenes: int = 4
    """Different sets of Gaussians."""
    views: int = 8
    """Cameras for each."""
    seconds: float = 4.0
    """For the rounds of one measurement."""


def main(arguments: Arguments) -> None:
    """Compares both workloads, with one compilation, and times them after that: first what must be known."""
    options = Options(side=arguments.side, scenes=arguments.scenes, views=arguments.views, backend=arguments.backend)

    def image(gaussians: Gaussians, cameras: Cameras) -> jax.Array:
        side = arguments.side
        return render(gaussians, cameras, height=side, width=side, backend=arguments.backend).image

    def loss(gaussians: Gaussians, cameras: Cameras, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = image(gaussians, cameras)
        return jnp.sum(found * cotangent), found

    forward = jax.jit(image)
    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    problems = {workload: make_problem(options, workload) for workload in WORKLOADS}
    known: dict[str, dict[str, Any]] = {}
    for workload, problem in problems.items():
        (_, pixels), leaves = gradient(*_on_device(problem))
        found: dict[str, Any] = {"backend": arguments.backend, "workload": workload, "side": arguments.side}
        found |= {"scenes": arguments.scenes, "views": arguments.views, "gaussians": 4 * arguments.side**2}
        found |= compare(arguments, workload, np.asarray(pixels), [np.asarray(leaf) for leaf in leaves])
        known[workload] = found
        report(**found)
    for workload, problem in problems.items():
        gaussians, cameras, cotangent = _on_device(problem)
        found = known[workload]
        run_gradient = functools.partial(_finished, gradient, gaussians, cameras, cotangent)
        run_forward = functools.partial(_finished, forward, gaussians, cameras)
        for name, run in (("gradient_ms", run_gradient), ("forward_ms", run_forward)):
            taken = timed(run, seconds=arguments.seconds)
            found |= {name: round(1e3 * statistics.median(taken), 3), f"{name}_least": round(1e3 * min(taken), 3)}
            report(**found)
        found["memory_mb"] = peak_memory(run_gradient)
        if workload == "pixel_aligned" and arguments.backend == "xla":
            found["pairs"] = count_pairs(problem)
        report(**found)


def _finished(program: Callable, *arguments: Any) -> Any:
    return jax.block_until_ready(program(*arguments))


def _on_device(problem: Problem) -> tuple[Gaussians, Cameras, jax.Array]:
    return jax.device_put((problem.gaussians, problem.cameras, problem.cotangent))


def compare(arguments: Arguments, workload: str, image: np.ndarray, gradients: list[np.ndarray]) -> dict[str, Any]:
    """Returns how far this is from plain JAX, or stores it where it is plain JAX.

    Args:
        arguments: of the step.
        workload: which one.
        image: what was rendered.
        gradients: of every array of the Gaussians.
    """
    is_finite = bool(np.isfinite(image).all() and all(np.isfinite(leaf).all() for leaf in gradients))
    path = arguments.work / f"reference_{workload}.npz"
    if arguments.backend == "xla":
        np.savez(path, image, *gradients)
        return {"finite": is_finite, "correct": is_finite}
    if not path.exists():
        return {"finite": is_finite, "correct": False, "why": "plain JAX left nothing to compare with"}
    with np.load(path) as stored:
        expected, *others = (stored[name] for name in stored.files)
    difference = np.abs(image - expected)
    share = float(np.mean(difference > _CLOSE))
    errors = [
        float(np.linalg.norm(mine - theirs) / max(np.linalg.norm(theirs), 1e-12))
        for mine, theirs in zip(gradients, others, strict=True)
    ]
    # Rotations of equal scales move nothing: their gradient is rounding alone
    worst = max(error for error, leaf in zip(errors, others, strict=True) if np.linalg.norm(leaf) > 1e-3)
    is_correct = is_finite and share <= _SHARE and float(difference.max()) <= _FAR and worst <= _GRADIENT
    return {
        "finite": is_finite,
        "correct": is_correct,
        "image_difference": float(difference.max()),
        "image_share": share,
        "gradient_errors": dict(zip(Gaussians._fields, errors, strict=True)),
    }


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
