"""Proves and measures all of this library on a machine with a GPU: one command, no network, little time.

    python scripts/gpu_check.py --out results                   # 540 seconds; --budget 3000 for more
    python scripts/gpu_check.py --out results --dry-run         # the same at tiny size, on any CPU
    python scripts/gpu_check.py --wheels extras --training-data data/furniture_128     # beforehand, with a network

Every step is a process with a limit of its own, and a line of JSON is written to `results.jsonl` after each, whatever
became of it: status, seconds, what it measured, device, driver, versions, commit. Later steps run whatever failed
before. The steps: environment; the rasterizer with every backend on both workloads; kernel tests and golden files,
compiled; gsplat where it is installed; the training step of the full-size network and its share of the device's peak;
30-step samples at 256² and 512² with random weights; the bundled model trained on (`--train gsrecon` trains the
reconstructor, `--train both` each of them half of the time), with the fastest backend that was correct, for the time
that is left; every trained model as one file of at most 8 MB; and the evaluation of the bundled one.

It runs from the checkout and needs no ffmpeg. `log.txt` in the folder has what the steps printed. Where the checkout is
no git repository, the environment variable GPU_CHECK_COMMIT says which commit it is.
"""

import dataclasses
import os
import pathlib
import sys
import tempfile
from typing import Literal

from gpu_check_steps.plan import TRAININGS, Setup, make_plan, run_name
from gpu_check_steps.running import run_steps

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import UserError, report_errors

ROOT = pathlib.Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Options:
    """What to do."""

    out: pathlib.Path | None = None
    """Folder for the results; created if need be."""
    budget: float = 540.0
    """Seconds for everything."""
    dry_run: bool = False
    """The same at tiny size on a CPU, to see that it works."""
    train: Literal["diffusion_gs", "gsrecon", "both"] = "diffusion_gs"
    """Which models are trained: the bundled one on, a reconstructor from the start, or each for half of the time."""
    skip: tuple[str, ...] = ()
    """Steps to leave out, by how their names begin: `--skip kernel_tests sampler`."""
    extras: pathlib.Path | None = None
    """Folder that `--wheels` filled: its training set is trained on, and its weights of LPIPS are used."""
    wheels: pathlib.Path | None = None
    """Fill this folder with what a machine without a network lacks, and do nothing else."""
    training_data: pathlib.Path | None = None
    """With `--wheels`: record store of which a small training set is packed."""
    gsplat: bool = False
    """With `--wheels`: fetch gsplat too."""


def main(options: Options) -> int:
    """Collects or checks; returns how many steps failed."""
    if options.wheels is not None:
        from gpu_check_steps.wheels import collect

        collect(options.wheels, options.training_data, gsplat=options.gsplat)
        return 0
    if options.out is None:
        raise UserError("give --out, a folder for the results, or --wheels")
    out = options.out.resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}") from error
    extras = None if options.extras is None else options.extras.resolve()
    with tempfile.TemporaryDirectory(prefix="gpu_check_") as work:
        set_environment(pathlib.Path(work), extras, dry=options.dry_run)
        os.chdir(ROOT)
        data = ROOT / "assets" / "furniture_cc0"
        if extras is not None and (extras / "training_64").exists():
            data = extras / "training_64"
        trained = tuple(TRAININGS) if options.train == "both" else (options.train,)
        setup = Setup(out, pathlib.Path(work), data, dry=options.dry_run, trained=trained)
        steps = [step for step in make_plan(setup) if not step.name.startswith(options.skip)]
        lines = run_steps(steps, out, setup.work, options.budget)
        keep(setup)
    failed = [line["step"] for line in lines if line["status"] not in ("ok", "skipped")]
    print(f"{out / 'results.jsonl'}: {len(lines)} steps, failed: {', '.join(failed) or 'none'}")
    return len(failed)


def set_environment(work: pathlib.Path, extras: pathlib.Path | None, *, dry: bool) -> None:
    """Sets the variables that all steps share: modules, one cache of compiled programs, memory taken as it is needed.

    Args:
        work: folder of the cache.
        extras: folder that `--wheels` filled.
        dry: run on the CPU.
    """
    scripts = ROOT / "scripts"
    given = [pathlib.Path(path).absolute() for path in os.environ.get("PYTHONPATH", "").split(":") if path]
    paths = [ROOT, ROOT / "kernels", scripts, scripts / "diffusion_gs", *given]
    os.environ["PYTHONPATH"] = ":".join(dict.fromkeys(map(str, paths)))
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # gsplat and JAX share the device
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(work / "compiled"))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
    if extras is not None and (extras / "cache").exists():
        os.environ["DIFFGS_JAX_CACHE"] = str(extras / "cache")
    if dry:
        os.environ["JAX_PLATFORMS"] = "cpu"


def keep(setup: Setup) -> None:
    """Copies what is worth keeping of the work folder: few files, because not every machine gives many back."""
    for source, name in (
        *((setup.work / run_name(name) / "metrics.jsonl", f"training_metrics_{name}.jsonl") for name in setup.trained),
        (setup.work / "evaluation_trained" / "evaluation.md", "evaluation.md"),
        (setup.work / "evaluation_trained" / "grid.png", "grid.png"),
    ):
        if source.exists():
            (setup.out / name).write_bytes(source.read_bytes())


if __name__ == "__main__":
    with report_errors():
        sys.exit(min(1, main(parse_options(Options, description=__doc__))))
