"""Scores a model on objects it never saw: `python -m diffgs_jax.evaluate [--checkpoint DIR] [--data DIR] --out DIR`.

One stored view of each test object is shown to the model; all the others are what it is asked for. The folder receives
`evaluation.md` (tables, baselines beside the model), `evaluation.json` (every object's scores), three pictures whose
rows are condition | predicted | true: `worst.png`, `best.png` and `grid.png`, and `curves.png`, scores by the angle
from the condition view. Interrupted, the same command goes on where it stopped. With `--index`, the same for scenes by
the published protocol. `--help` lists every option.
"""

import dataclasses
import functools
import json
import pathlib
import shutil

import numpy as np
from tqdm import tqdm

from diffgs_jax import evaluation
from diffgs_jax.commands.evaluation import (
    ProtocolOptions,
    check_at_least_one,
    choose_metrics,
    describe,
    keep_row,
    make_baselines,
    make_predictor,
    peak_memory,
    read_cases,
)
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import open_store
from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import report_errors
from diffgs_jax.evaluation import MODEL, ONE_STEP
from diffgs_jax.files import filled_folder
from diffgs_jax.inference.pipeline import load
from diffgs_jax.interop import tile_images, write_image


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(ProtocolOptions):
    """Scores a model on the novel views of objects it never saw."""

    out: pathlib.Path = dataclasses.field(kw_only=True)
    """Folder for tables, numbers and pictures; created if need be."""
    steps: int | None = None
    """Denoising steps; by default what the model's config says, 30 as a rule."""
    sampler: SamplerKind | None = None
    """`ddim` and `dpm` are deterministic after the first noise; `ddpm` is ancestral, as published. By default what the
    model's config says."""
    one_step: bool = True
    """Score what the model makes of pure noise in a single step, too."""
    swap: bool = True
    """Score what the model makes of another object's picture, too; keeps every object's Gaussians in memory."""
    baselines: bool = True
    """Score the condition view copied, the condition view as a billboard, and the mean training view too."""
    training_data: pathlib.Path | None = None
    """Record store whose train split the mean training view is made of; by default that of `data`."""
    mean_view_objects: int = 128
    """Training objects that the mean view is made of, spread evenly over the train split."""
    pictured_objects: int = 20
    """Rows of each picture."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    with report_errors():
        evaluate(parse_options(EvaluateOptions, arguments, prog="python -m diffgs_jax.evaluate"))


def evaluate(options: EvaluateOptions) -> None:
    """Runs the protocol and fills the folder.

    Raises:
        UserError: if an option is out of range or a path cannot be read or written; before any expensive work.
        DataError: if the data or the checkpoint is not usable.
    """
    check_at_least_one(options, "batch_size", "pictured_objects", "mean_view_objects", "max_objects", "max_views")
    with filled_folder(options.out) as folder:
        # The model, the metrics, and what it is asked
        pipeline = load(options.checkpoint)
        usual = pipeline.config.sampling
        sampler, steps = options.sampler or usual.sampler, usual.steps if options.steps is None else options.steps
        protocol = choose_metrics(options, pipeline)
        predictor = make_predictor(pipeline, protocol, sampler, steps)
        store = open_store(options.data, options.split)
        cases = read_cases(options, store, pipeline)

        # Every row of the table; finished batches of it are kept until all is done
        settings = describe(options, pipeline, protocol, store, cases)
        unfinished = options.out / "unfinished"
        keep = functools.partial(keep_row, unfinished, settings)
        truth = evaluation.features_of_truth(cases, protocol, keep=keep("truth"))
        with tqdm(desc=MODEL, total=len(cases) * (2 if options.swap and len(cases) > 1 else 1), unit="object") as bar:
            kept = keep(f"{sampler}-{steps}" + ("-swap" if options.swap else ""))
            model = evaluation.evaluate_model(
                predictor, pipeline.params, cases, protocol, bar.update, swap=options.swap, keep=kept
            )
        rows = {MODEL: model}
        if options.one_step and steps > 1:
            predictor = make_predictor(pipeline, protocol, sampler, 1)
            with tqdm(desc=ONE_STEP, total=len(cases), unit="object") as bar:
                rows[ONE_STEP] = evaluation.evaluate_model(
                    predictor, pipeline.params, cases, protocol, bar.update, swap=False, keep=keep("one-step")
                )
        if options.baselines:
            training_data = options.training_data or options.data
            for name, paint in make_baselines(options, pipeline, training_data, options.mean_view_objects).items():
                with tqdm(desc=name, total=len(cases), unit="object") as bar:
                    rows[name] = evaluation.evaluate_pictures(paint, cases, protocol, bar.update, keep=keep(name))

        # What is left behind
        settings |= {"sampler": sampler, "steps": steps}
        settings |= {f"peak memory of the {name}, GB": value for name, value in peak_memory().items()}
        measured = evaluation.summary(rows, truth, [item.uid for item in cases], settings)
        (folder / "evaluation.json").write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
        (folder / "evaluation.md").write_text(evaluation.markdown_report(measured))
        ranked = [evaluation.object_mean(views) for views in rows[MODEL].scores[measured["measure"]]]
        ranking = np.argsort(ranked, kind="stable").tolist()
        count = min(options.pictured_objects, len(cases))
        for name, shown in {
            "worst": ranking[:count],
            "best": ranking[::-1][:count],
            "grid": evaluation.spread(len(cases), count),
        }.items():
            image = tile_images(evaluation.object_rows(cases, rows[MODEL].predictions, shown))
            write_image(folder / f"{name}.png", image)
        evaluation.draw_plots(folder / "curves.png", evaluation.plots_by_angle(rows, cases))
    shutil.rmtree(unfinished, ignore_errors=True)
    print((options.out / "evaluation.md").read_text())


if __name__ == "__main__":
    main()
