"""The paper's ablation at a small size.

    python scripts/diffusion_gs/ablate.py --data data/furniture_128 --out runs/ablation

Trainings of `configs/diffusion_gs/ablation_32.py` with the same seeds and the same number of samples, each row adding
one idea to the row before (Cai et al. 2025, table 4): a network without timesteps that sees noise alone and answers
once; the diffusion framework; L_pd to begin with; scenes mixed in; RPPC instead of Plücker rays. One row more:
scheduled sampling. Each is then scored on the test objects. Give the same command again after an interruption:
trainings continue, and finished rows are kept. `--help` lists every option.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.evaluation import markdown_table
from diffgs_jax.files import write_json, write_text

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "diffusion_gs" / "ablation_32.py"

PLUCKER = ("--model.network.ray-embedding", "plucker")
WITHOUT_L_PD = ("--model.losses.distance-warmup", "0")
WITHOUT_DIFFUSION = ("--model.diffusion.schedule.steps", "1", "--run.preview-steps", "1")

ROWS = {
    "one step, no timesteps": (False, (*PLUCKER, *WITHOUT_L_PD, *WITHOUT_DIFFUSION)),
    "+ diffusion": (False, (*PLUCKER, *WITHOUT_L_PD)),
    "+ L_pd": (False, PLUCKER),
    "+ scenes": (True, PLUCKER),
    "+ RPPC": (True, ()),
    "+ scheduled sampling": (True, ("--model.diffusion.scheduled-sampling", "1.0")),
}
"""For each row: whether scenes are mixed in, and what else differs from the config. The paper lacks the last one."""

PAPER = {
    "one step, no timesteps": 17.63,
    "+ diffusion": 20.57,
    "+ L_pd": 20.94,
    "+ scenes": 21.73,
    "+ RPPC": 22.07,
}
"""PSNR on GSO, dB, as published."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains and scores the rows of the ablation."""

    out: pathlib.Path
    """Folder for the runs, their scores, and ablation.md and ablation.json."""
    data: pathlib.Path = pathlib.Path("data/furniture_128")
    """Record store with the objects."""
    scenes: pathlib.Path = pathlib.Path("assets/rooms_cc0")
    """Record store with the scenes."""
    scene_share: float = 0.25
    """Part of the samples that are scenes, in the rows that mix."""
    steps: int = 2000
    """Optimizer steps of each row."""
    sampler_steps: int = 30
    """DDIM steps of the rows with diffusion."""
    max_objects: int | None = None
    """Score this many test objects; all by default."""
    max_views: int | None = 8
    """Ask for this many views of each."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    with report_errors():
        ablate(parse_options(Options, arguments, prog="python scripts/diffusion_gs/ablate.py"))


def ablate(options: Options) -> None:
    """Trains and scores every row that is not finished, then writes the table.

    Raises:
        UserError: if a share is out of range, or a training or an evaluation ends with an error.
    """
    if not 0 < options.scene_share < 1:
        raise UserError(f"scene_share must be between 0 and 1, not {options.scene_share}")
    means, rows = {}, {}
    for name, (mixed, overrides) in ROWS.items():
        folder = options.out / name.strip("+ ").replace(" ", "_").replace(",", "")
        scores = folder / "scores" / "evaluation.json"
        if not scores.exists():
            call("train", *training_options(options, folder, mixed), *overrides)
            call("evaluate", *evaluation_options(options, folder, WITHOUT_DIFFUSION[0] in overrides))
        measured = json.loads(scores.read_text())
        means[name] = next(iter(measured["means"].values()))
        rows[name] = {"means": means[name], "settings": measured["settings"], "paper_psnr_gso": PAPER.get(name)}
        write_table(options, means, rows)
    print((options.out / "ablation.md").read_text())


def training_options(options: Options, folder: pathlib.Path, mixed: bool) -> list[str]:
    """Returns the options of a row's training."""
    share = options.scene_share if mixed else 0.0
    sources = [str(options.data), str(1.0 - share)] + ([str(options.scenes), str(share)] if mixed else [])
    return [
        *("--config", str(CONFIG), "--run.folder", str(folder), "--run.steps", str(options.steps)),
        *("--data.sources", *sources),
    ]


def evaluation_options(options: Options, folder: pathlib.Path, one_step: bool) -> list[str]:
    """Returns the options of a row's scores; a schedule of one timestep can be sampled in one step only."""
    steps = 1 if one_step else options.sampler_steps
    limits = {"--max-objects": options.max_objects, "--max-views": options.max_views}
    chosen = [word for name, limit in limits.items() if limit is not None for word in (name, str(limit))]
    return [
        *("--checkpoint", str(folder), "--data", str(options.data), "--out", str(folder / "scores")),
        *("--steps", str(steps), "--no-baselines", "--no-one-step", "--no-swap", *chosen),
    ]


def call(program: str, *arguments: str) -> None:
    """Runs one of the package's programs.

    Raises:
        UserError: if it fails; it has said why.
    """
    done = subprocess.run([sys.executable, "-m", f"diffgs_jax.{program}", *arguments])
    if done.returncode:
        raise UserError(f"diffgs_jax.{program} ended with code {done.returncode}; the same command continues from here")


def write_table(options: Options, means: dict[str, dict[str, float]], rows: dict[str, dict]) -> None:
    """Writes what is known so far as `ablation.md` and `ablation.json`."""
    lines = [
        f"{options.steps} steps a row, everything else as in `configs/diffusion_gs/ablation_32.py`.",
        "",
        markdown_table(means),
        "",
        "Published PSNR on GSO, dB: " + ", ".join(f"{name} {value}" for name, value in PAPER.items() if name in means),
        "",
    ]
    write_text(options.out / "ablation.md", "\n".join(lines))
    write_json(options.out / "ablation.json", rows)


if __name__ == "__main__":
    main()
