"""Scores a model under every sampler and number of steps: one table, one picture of curves.

    python scripts/compare_samplers.py --data data/furniture_128 --out scores/samplers
    python scripts/compare_samplers.py --data data/furniture_128 --out scores/samplers --max-views 8

PSNR favours the mean of all that might be there, which is what few steps give; LPIPS and the Fréchet distance favour
views that could be true. So neither is shown alone. Every finished cell stays in the folder `cells` and is computed
again only with other settings: interrupted, or asked for more steps, the same command goes on where it stopped. The
table is written again after each. One step is the same for all samplers, and computed once.
"""

import dataclasses
import json
import pathlib
import shutil
from typing import Any

from tqdm import tqdm

from diffgs_jax import evaluation
from diffgs_jax.commands.evaluation import (
    choose_metrics,
    describe_protocol,
    keep_row,
    predictor_of,
    read_cases,
)
from diffgs_jax.commands.protocol_options import ProtocolOptions, check_at_least_one
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import open_store
from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.files import json_sha256, make_folder, write_json, write_text
from diffgs_jax.inference import SamplingOptions, load

NAMES: dict[SamplerKind, str] = {"ddpm": "DDPM", "ddim": "DDIM", "dpm": "DPM-Solver++"}
PLOTTED = ("bbox_psnr", "bbox_lpips_vgg", "fd_vgg16", "alpha_iou", "bbox_ssim", "seconds")

Cells = dict[tuple[SamplerKind, int], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Options(ProtocolOptions):
    """What to compare, and where to put it."""

    out: pathlib.Path = dataclasses.field(kw_only=True)
    """Folder for samplers.md, samplers.json, samplers.png and the finished cells."""
    samplers: tuple[SamplerKind, ...] = ("ddpm", "ddim", "dpm")
    """Rules to compare."""
    steps: tuple[int, ...] = (1, 2, 5, 10, 30)
    """Numbers of steps to compare."""


def main(options: Options) -> None:
    """Computes the cells that are missing, shortest first, and writes the table after each."""
    check_at_least_one(options, "batch_size", "max_objects", "max_views")
    if not options.samplers or not options.steps or min(options.steps) < 1:
        raise UserError("--samplers and --steps name at least one each, and steps are at least 1")
    pipeline = load(options.checkpoint)
    protocol = choose_metrics(options, pipeline)
    for kind in options.samplers:  # so that an impossible number of steps is told at once
        predictor_of(pipeline, protocol, kind, max(options.steps), variance=0.0)
    store = open_store(options.data, options.split)
    cases = read_cases(options, store, pipeline)
    settings = describe_protocol(options, pipeline, protocol, store, cases)
    unfinished = options.out / "unfinished"
    truth = evaluation.features_of_truth(cases, protocol, keep=keep_row(unfinished, settings, "truth"))

    variance = pipeline.filter_variance(SamplingOptions(filter=options.filter))
    cells: Cells = {}
    wanted = [(kind, steps) for steps in sorted(set(options.steps)) for kind in options.samplers]
    for number, (kind, steps) in enumerate(wanted):
        one_step = next((means for (_, count), means in cells.items() if count == steps == 1), None)
        file = options.out / "cells" / f"{kind}-{steps}.json"
        means = one_step or read_cell(file, settings)
        if means is None:
            keep = keep_row(unfinished, settings, file.stem)
            with tqdm(total=len(cases), desc=f"{number + 1}/{len(wanted)} {kind} {steps}", unit="object") as bar:
                row = evaluation.evaluate_model(
                    predictor_of(pipeline, protocol, kind, steps, variance=variance),
                    pipeline.params,
                    cases,
                    protocol,
                    bar.update,
                    swap=False,
                    keep=keep,
                )
            means = evaluation.means_of(row, truth)
            make_folder(file.parent)
            write_json(file, {"key": json_sha256(settings)[:16], "means": means})
            shutil.rmtree(unfinished / file.stem, ignore_errors=True)
        cells[kind, steps] = means
        write_table(options.out, cells, settings)
    shutil.rmtree(unfinished, ignore_errors=True)
    print((options.out / "samplers.md").read_text())


def read_cell(file: pathlib.Path, settings: dict[str, Any]) -> dict[str, float] | None:
    """Returns the means of a finished cell of the same settings, or None."""
    try:
        cell = json.loads(file.read_text())
        return cell["means"] if cell["key"] == json_sha256(settings)[:16] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_table(out: pathlib.Path, cells: Cells, settings: dict[str, Any]) -> None:
    """Writes the table of the cells that there are, their numbers, and the curves."""
    rows = {f"{NAMES[kind]}, {steps}": means for (kind, steps), means in sorted(cells.items())}
    rows = {name: rows[name] for kind in NAMES.values() for name in rows if name.startswith(f"{kind},")}
    lines = ["# Samplers and steps", "", evaluation.markdown_table(rows), "", "| Setting | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in settings.items()]
    write_text(out / "samplers.md", "\n".join([*lines, "", evaluation.NOTES, ""]))
    write_json(
        out / "samplers.json",
        {"settings": settings, "cells": [{"sampler": k, "steps": n, **means} for (k, n), means in cells.items()]},
    )
    plots = []
    for metric in PLOTTED:
        lines_of: dict[str, tuple[list[float], list[float]]] = {}
        for kind, name in NAMES.items():
            points = sorted((n, means[metric]) for (k, n), means in cells.items() if k == kind and metric in means)
            if points:
                lines_of[name] = [n for n, _ in points], [value for _, value in points]
        if lines_of:
            steps = sorted({count for _, count in cells})
            plots.append(evaluation.Plot(evaluation.COLUMNS[metric][0], "steps", lines_of, steps, logarithmic=True))
    evaluation.draw_plots(out / "samplers.png", plots)


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Options, description=__doc__))
