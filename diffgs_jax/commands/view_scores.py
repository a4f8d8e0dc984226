"""What `evaluate.py` does with a model that makes Gaussians: the views of held-out objects or scenes, and baselines."""

import dataclasses
import functools
import json
import pathlib
import shutil

import numpy as np
from tqdm import tqdm

from diffgs_jax import evaluation
from diffgs_jax.commands.evaluation import (
    choose_metrics,
    describe_protocol,
    keep_row,
    make_baselines,
    peak_memory,
    predictor_of,
    read_cases,
    read_finer,
    reconstruct_share,
    shown_views,
)
from diffgs_jax.commands.progress import progress_bar, ticking
from diffgs_jax.commands.protocol_options import ProtocolOptions
from diffgs_jax.data import open_store
from diffgs_jax.evaluation import FINER, MODEL, ONE_STEP, SHOWN
from diffgs_jax.inference import Pipeline, SamplingOptions
from diffgs_jax.interop import tile_images, write_image


@dataclasses.dataclass(frozen=True)
class ViewRows:
    """Which rows the table has beside the model, and what is drawn.

    Attributes:
        one_step: score what the model makes of pure noise in a single step.
        twice: score the same Gaussians at twice the training resolution.
        swap: score what the model makes of another object's image.
        baselines: score predictions that need no learning.
        training_data: record store whose train split the mean training view is made of.
        mean_view_objects: training objects that it is made of.
        drawn_objects: rows of each image.
    """

    one_step: bool
    twice: bool
    swap: bool
    baselines: bool
    training_data: pathlib.Path
    mean_view_objects: int
    drawn_objects: int


def score_checkpoint(
    pipeline: Pipeline,
    options: ProtocolOptions,
    sampling: SamplingOptions,
    wanted: ViewRows,
    folder: pathlib.Path,
    unfinished: pathlib.Path,
) -> str:
    """Runs the protocol and fills a folder with tables, numbers and images.

    Args:
        pipeline: of a model that makes Gaussians.
        options: what is asked.
        sampling: how to sample.
        wanted: further rows.
        folder: is there.
        unfinished: where finished batches are kept until all is done; removed then.

    Returns:
        The report.

    Raises:
        UserError: if options contradict one another.
        DataError: if the data is not usable.
    """
    usual = pipeline.config.sampling
    sampler, steps = sampling.sampler or usual.sampler, usual.steps if sampling.steps is None else sampling.steps
    if not pipeline.sampler_kinds:  # one pass from what is given, with nothing to choose
        sampler, steps = None, 1
    protocol = choose_metrics(options, pipeline)
    variance = pipeline.filter_variance(SamplingOptions(filter=options.filter))
    shown = shown_views(pipeline, options.shown_views)
    asked = {"shown": shown, "reconstruct": reconstruct_share(options, pipeline)}
    predictor = predictor_of(pipeline, protocol, sampler, steps, variance=variance, **asked)
    store = open_store(options.data, options.split)
    cases = read_cases(options, store, pipeline)
    finer = read_finer(options, store, pipeline) if wanted.twice else None

    # Every row of the table; finished batches of it are kept until all is done
    settings = describe_protocol(options, pipeline, protocol, store, cases)
    keep = functools.partial(keep_row, unfinished, settings)
    with progress_bar("looking at the true views"):
        truth = evaluation.features_of_truth(cases, protocol, keep=keep("truth"))
    with (
        tqdm(desc=MODEL, total=len(cases) * (2 if wanted.swap and len(cases) > 1 else 1), unit="object") as bar,
        ticking(bar),
    ):
        kept = keep(f"{sampler}-{steps}" + ("-swap" if wanted.swap else "") + ("" if finer is None else "-finer"))
        model = evaluation.evaluate_model(
            predictor, pipeline.params, cases, protocol, bar.update, swap=wanted.swap, finer=finer, keep=kept
        )
    rows = {MODEL: model}
    if model.finer is not None:
        rows[FINER] = evaluation.Evaluation(model.finer, [], {})
    if wanted.one_step and steps > 1 and not asked["reconstruct"]:
        predictor = predictor_of(pipeline, protocol, sampler, 1, variance=variance, **asked)
        with tqdm(desc=ONE_STEP, total=len(cases), unit="object") as bar, ticking(bar):
            rows[ONE_STEP] = evaluation.evaluate_model(
                predictor, pipeline.params, cases, protocol, bar.update, swap=False, keep=keep("one-step")
            )
    if shown > 1:
        with tqdm(desc=SHOWN, total=len(cases), unit="object") as bar, ticking(bar):
            again = evaluation.shown_again(cases)
            found = evaluation.evaluate_model(
                predictor, pipeline.params, again, protocol, bar.update, swap=False, keep=keep("shown")
            )
        rows[SHOWN] = found._replace(features={})  # of other views than the truth's
    if wanted.baselines:
        baselines = make_baselines(options, pipeline, wanted.training_data, wanted.mean_view_objects)
        for name, paint in baselines.items():
            with tqdm(desc=name, total=len(cases), unit="object") as bar, ticking(bar):
                rows[name] = evaluation.evaluate_views(paint, cases, protocol, bar.update, keep=keep(name))

    # What is left behind
    settings |= {"sampler": sampler or "none", "steps": steps}
    settings |= {f"peak memory of the {name}, GB": value for name, value in peak_memory().items()}
    measured = evaluation.summary(rows, truth, [item.uid for item in cases], settings)
    (folder / "evaluation.json").write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
    report = evaluation.markdown_report(measured)
    (folder / "evaluation.md").write_text(report)
    ranked = [evaluation.object_mean(views) for views in rows[MODEL].scores[measured["measure"]]]
    ranking = np.argsort(ranked, kind="stable").tolist()
    count = min(wanted.drawn_objects, len(cases))
    drawn = {
        "worst": ranking[:count],
        "best": ranking[::-1][:count],
        "grid": evaluation.spread(len(cases), count),
    }
    for name, chosen in drawn.items():
        image = tile_images(evaluation.object_rows(cases, rows[MODEL].predictions, chosen))
        write_image(folder / f"{name}.png", image)
    by_angle = {name: row for name, row in rows.items() if name != SHOWN}
    evaluation.draw_plots(folder / "curves.png", evaluation.plots_by_angle(by_angle, cases))
    shutil.rmtree(unfinished, ignore_errors=True)
    return report
