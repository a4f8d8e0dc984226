"""Scores a model on objects it never saw: `python -m diffgs_jax.evaluate [--checkpoint DIR] [--data DIR] --out DIR`.

One stored view of each test object is shown to the model; all the others are what it is asked for. The folder receives
`evaluation.md` (tables, baselines beside the model), `evaluation.json` (every object's scores), three pictures whose
rows are condition | predicted | true: `worst.png`, `best.png` and `grid.png`, and `curves.png`. Interrupted, the same
command goes on where it stopped. `--help` lists every option.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil
from typing import Any

import imageio.v3 as imageio
import jax
import numpy as np
from tqdm import tqdm

from diffgs_jax import command_line, evaluation, models, training
from diffgs_jax.data import DataConfig, RecordStore, Split, load_views, open_store
from diffgs_jax.diffusion import SamplerKind, make_sampler, make_schedule
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.evaluation import MODEL, ONE_STEP
from diffgs_jax.geometry import denoised_cameras
from diffgs_jax.models.perceptual import fingerprint as weights_fingerprint
from diffgs_jax.pipeline import BUNDLED_CHECKPOINT, Pipeline, load
from diffgs_jax.sample import filled_folder


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What is asked of a model, and how its answers are judged."""

    checkpoint: pathlib.Path | None = None
    """Folder of a training run or of its checkpoints; by default the model that comes with the package."""
    data: pathlib.Path = pathlib.Path(DataConfig().path)
    """Record store with the objects."""
    split: Split = "test"
    """Which of them."""
    max_objects: int | None = None
    """Score this many objects, spread evenly over the split; all by default."""
    max_views: int | None = None
    """Ask for this many views of an object, spread evenly over all but the one that is shown; all by default."""
    condition_view: int | None = None
    """Number of the stored view that is shown, the same for all objects; by default the one nearest elevation 20°."""
    target_views: tuple[int, ...] | None = None
    """Numbers of the stored views that are asked for, such as those of a ring; all others by default."""
    batch_size: int = 8
    """Objects that are sampled together."""
    seed: int = 0
    """Of the noise."""
    lpips: bool = True
    """Score LPIPS and FD-VGG16 too, if the networks are installed; on a CPU they take longer than all the rest."""
    inception: pathlib.Path | None = None
    """An Inception network as an ONNX file, for FID and KID; diffgs_jax/evaluation/inception.py says how to make it."""


@dataclasses.dataclass(frozen=True)
class Options(Protocol):
    """Scores a model on the novel views of objects it never saw."""

    out: pathlib.Path = dataclasses.field(kw_only=True)
    """Folder for tables, numbers and pictures; created if need be."""
    steps: int = 30
    """Denoising steps."""
    sampler: SamplerKind = "ddim"
    """`ddim` and `dpm` are deterministic after the first noise; `ddpm` is ancestral, as published."""
    one_step: bool = True
    """Score what the model makes of pure noise in a single step, too."""
    baselines: bool = True
    """Score the condition view copied, the condition view as a billboard, and the mean training view too."""
    mean_view_objects: int = 128
    """Training objects that the mean view is made of, spread evenly over the train split."""
    pictured_objects: int = 20
    """Rows of each picture."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    with report_errors():
        evaluate(command_line.parse(Options, arguments, prog="python -m diffgs_jax.evaluate"))


def evaluate(options: Options) -> None:
    """Runs the protocol and fills the folder.

    Raises:
        UserError: if an option is out of range or a path cannot be read or written; before any expensive work.
        DataError: if the data or the checkpoint is not usable.
    """
    check_at_least_one(options, "batch_size", "pictured_objects", "mean_view_objects", "max_objects", "max_views")
    with filled_folder(options.out) as folder:
        # The model, and who judges it
        pipeline = load(options.checkpoint)
        protocol = judges(options, pipeline)
        predictor = make_predictor(pipeline, protocol, options.sampler, options.steps)

        # The objects
        store = open_store(options.data, options.split)
        objects = read_objects(options, store, pipeline)

        # Every row of the table; finished batches of it are kept until all is done
        settings = described(options, pipeline, store, objects)
        unfinished = options.out / "unfinished"
        keep = functools.partial(keep_row, unfinished, settings)
        truth = evaluation.features_of_truth(objects, protocol, keep=keep("truth"))
        with progress(MODEL, 2 * len(objects) if len(objects) > 1 else 1) as bar:
            kept = keep(f"{options.sampler}-{options.steps}")
            rows = {
                MODEL: evaluation.evaluate_model(predictor, pipeline.params, objects, protocol, bar.update, keep=kept)
            }
        if options.one_step and options.steps > 1:
            predictor = make_predictor(pipeline, protocol, options.sampler, 1)
            with progress(ONE_STEP, len(objects)) as bar:
                rows[ONE_STEP] = evaluation.evaluate_model(
                    predictor, pipeline.params, objects, protocol, bar.update, swap=False, keep=keep("one-step")
                )
        if options.baselines:
            for name, paint in baselines(options, pipeline).items():
                with progress(name, len(objects)) as bar:
                    rows[name] = evaluation.evaluate_pictures(paint, objects, protocol, bar.update, keep=keep(name))

        # What is left behind
        measured = evaluation.summary(rows, truth, [item.uid for item in objects], settings)
        (folder / "evaluation.json").write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
        (folder / "evaluation.md").write_text(evaluation.markdown_report(measured))
        ranking = np.argsort(
            [np.mean(views) for views in rows[MODEL].scores[measured["measure"]]], kind="stable"
        ).tolist()
        count = min(options.pictured_objects, len(objects))
        for name, shown in {
            "worst": ranking[:count],
            "best": ranking[::-1][:count],
            "grid": evaluation.spread(len(objects), count),
        }.items():
            picture = training.tile_images(evaluation.object_rows(objects, rows[MODEL].predictions, shown))
            imageio.imwrite(folder / f"{name}.png", (np.clip(picture, 0, 1) * 255).round().astype(np.uint8))
    shutil.rmtree(unfinished, ignore_errors=True)
    print((options.out / "evaluation.md").read_text())


def check_at_least_one(options: Any, *names: str) -> None:
    """Raises a `UserError` for the first of the options that is given and less than 1."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, not {value}")


def judges(options: Protocol, pipeline: Pipeline) -> evaluation.ProtocolConfig:
    """Returns the protocol with every network that can judge, and says which cannot.

    Raises:
        UserError: if the Inception file cannot be used here.
        DataError: if it is none.
    """
    resolution = pipeline.config.data.resolution
    usable = evaluation.usable_lpips(resolution) if options.lpips else ()
    if options.lpips and (missing := {"vgg", "alex"}.difference(usable)):
        why = "its weights are not installed (python scripts/fetch_lpips.py) or the views are too small for it"
        print(f"LPIPS ({', '.join(sorted(missing))}) is left out: {why}")
    if options.inception is not None:
        evaluation.load_inception(str(options.inception))
    return evaluation.ProtocolConfig(
        batch_size=options.batch_size,
        background=pipeline.config.model.background,
        seed=options.seed,
        lpips=usable,
        inception=None if options.inception is None else str(options.inception),
    )


def make_predictor(
    pipeline: Pipeline, protocol: evaluation.ProtocolConfig, sampler: SamplerKind, steps: int
) -> evaluation.Predictor:
    """Returns the model behind a sampler, asked for its own rig's views.

    Raises:
        UserError: if there are not that many steps.
    """
    settings = pipeline.config
    return evaluation.make_predictor(
        functools.partial(models.family(settings.model).denoiser, settings.model),
        make_sampler(make_schedule(settings.model.diffusion.schedule), sampler, steps),
        denoised_cameras(settings.rig),
        settings.data.resolution,
        protocol,
    )


def read_objects(options: Protocol, store: RecordStore, pipeline: Pipeline) -> list[evaluation.PosedObject]:
    """Reads the objects, with a progress bar.

    Raises:
        DataError: if one cannot be used.
    """
    chosen = evaluation.spread(len(store), options.max_objects or len(store))
    with tqdm(total=len(chosen), desc=f"reading {options.split}", unit="object") as bar:
        return evaluation.load_objects(
            store,
            pipeline.config.data.resolution,
            chosen,
            background=pipeline.config.model.background,
            condition_view=options.condition_view,
            target_views=options.target_views,
            max_views=options.max_views,
            on_object=bar.update,
        )


def described(
    options: Protocol, pipeline: Pipeline, store: RecordStore, objects: list[evaluation.PosedObject]
) -> dict[str, Any]:
    """Returns everything that the numbers depend on, as JSON can say it."""
    counters = training.read_metadata(options.checkpoint or BUNDLED_CHECKPOINT).get("counters", {})
    condition = f"the view nearest elevation {evaluation.CONDITION_ELEVATION:g}°"
    settings = {
        "checkpoint": "bundled" if options.checkpoint is None else str(options.checkpoint),
        "weights": weights_fingerprint(pipeline.params)[:16],
        "data": str(options.data),
        "records": " ".join(str(value) for value in store.fingerprint().values()),
        "split": options.split,
        "objects": len(objects),
        "target views": sum(len(item.images) - 1 for item in objects),
        "resolution": pipeline.config.data.resolution,
        "condition": condition if options.condition_view is None else f"view {options.condition_view}",
    }
    if options.target_views is not None:
        settings["targets"] = " ".join(map(str, options.target_views))
    if options.inception is not None:
        settings["inception"] = hashlib.sha256(options.inception.read_bytes()).hexdigest()[:16]
    own = {name: getattr(options, name) for name in ("sampler", "steps") if hasattr(options, name)}
    return settings | {
        **own,
        "seed": options.seed,
        "batch size": options.batch_size,
        **{f"trained {name}": value for name, value in counters.items()},
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }


def keep_row(folder: pathlib.Path, settings: dict[str, Any], name: str) -> evaluation.Keep:
    """Returns what keeps the batches of one row in a folder of its own."""
    return evaluation.keep_in(folder / name.replace(" ", "-").replace(",", ""), settings)


def progress(row: str, total: int) -> tqdm:
    """Returns the bar of a row, which counts objects."""
    return tqdm(total=total, desc=row, unit="object")


def baselines(options: Options, pipeline: Pipeline) -> dict[str, Any]:
    """Returns predictions that need no learning, by name: `Cases -> Picture`; the mean training view among them.

    Raises:
        UserError: if the dataset has no training objects.
        DataError: if one cannot be read.
    """
    background, resolution = pipeline.config.model.background, pipeline.config.data.resolution
    store = open_store(options.data, "train")
    chosen = evaluation.spread(len(store), options.mean_view_objects)
    seen = (load_views(store[index], resolution, background) for index in chosen)
    mean = evaluation.mean_view(
        (images, alphas) for images, alphas, _ in tqdm(seen, "reading train", len(chosen), unit="object")
    )

    def picture(cases: evaluation.Cases) -> evaluation.Picture:
        return evaluation.Picture(cases.condition_images, cases.condition_alphas)

    @jax.jit
    def copied(cases: evaluation.Cases) -> evaluation.Picture:
        return evaluation.copied_view(picture(cases), cases.is_target.shape[1])

    @jax.jit
    def cut_out(cases: evaluation.Cases) -> evaluation.Picture:
        return evaluation.billboard(picture(cases), cases.condition_cameras, cases.target_cameras, background)

    def average(cases: evaluation.Cases) -> evaluation.Picture:
        shape = cases.is_target.shape
        image, alpha = (np.broadcast_to(leaf, (*shape, *leaf.shape)) for leaf in (mean.image, mean.alpha))
        return evaluation.Picture(image, alpha)

    return {"condition view copied": copied, "condition view as billboard": cut_out, "mean training view": average}


if __name__ == "__main__":
    main()
