"""Scores a model on objects it never saw: `python -m diffgs_jax.evaluate [--checkpoint DIR] [--data DIR] --out DIR`.

One stored view of each test object is shown to the model; all the others are what it is asked for. The folder receives
`evaluation.md` (the table, baselines beside the model), `evaluation.json` (every object's scores) and three pictures
whose rows are condition | predicted | true: `worst.png`, `best.png` and `grid.png`. `--help` lists every option.
"""

import dataclasses
import functools
import json
import pathlib

import imageio.v3 as imageio
import jax
import numpy as np
from tqdm import tqdm

from diffgs_jax import command_line, evaluation, models, training
from diffgs_jax.data import DataConfig, Split, load_views, open_store
from diffgs_jax.diffusion import SamplerKind, make_sampler, make_schedule
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.geometry import denoised_cameras
from diffgs_jax.pipeline import BUNDLED_CHECKPOINT, load
from diffgs_jax.sample import filled_folder


@dataclasses.dataclass(frozen=True)
class Options:
    """Scores a model on the novel views of objects it never saw."""

    out: pathlib.Path
    """Folder for evaluation.md, evaluation.json and the pictures; created if need be."""
    checkpoint: pathlib.Path | None = None
    """Folder of a training run or of its checkpoints; by default the model that comes with the package."""
    data: pathlib.Path = pathlib.Path(DataConfig().path)
    """Record store with the objects."""
    split: Split = "test"
    """Which of them."""
    steps: int = 30
    """Denoising steps."""
    sampler: SamplerKind = "ddim"
    """`ddim` and `dpm` are deterministic after the first noise; `ddpm` is ancestral, as published."""
    max_objects: int | None = None
    """Score this many objects, spread evenly over the split; all by default."""
    batch_size: int = 8
    """Objects that are sampled together."""
    seed: int = 0
    """Of the noise."""
    baselines: bool = True
    """Score the condition view copied, the condition view as a billboard, and the mean training view too."""
    lpips: bool = True
    """Score LPIPS too, if its weights are installed; on a CPU it takes longer than all the rest."""
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
    for name in ("batch_size", "pictured_objects", "mean_view_objects"):
        if getattr(options, name) < 1:
            raise UserError(f"{name} must be at least 1, not {getattr(options, name)}")
    if options.max_objects is not None and options.max_objects < 1:
        raise UserError(f"max_objects must be at least 1, not {options.max_objects}")

    with filled_folder(options.out) as folder:
        # The model
        pipeline = load(options.checkpoint)
        counters = training.read_metadata(options.checkpoint or BUNDLED_CHECKPOINT).get("counters", {})
        settings = pipeline.config
        resolution = settings.data.resolution
        protocol = evaluation.ProtocolConfig(
            batch_size=options.batch_size,
            background=settings.model.background,
            seed=options.seed,
            lpips=evaluation.usable_lpips(resolution) if options.lpips else (),
        )
        if options.lpips and (missing := {"vgg", "alex"}.difference(protocol.lpips)):
            why = "its weights are not installed (python scripts/fetch_lpips.py) or the views are too small for it"
            print(f"LPIPS ({', '.join(sorted(missing))}) is left out: {why}")
        predictor = evaluation.make_predictor(
            functools.partial(models.family(settings.model).denoiser, settings.model),
            make_sampler(make_schedule(settings.model.diffusion.schedule), options.sampler, options.steps),
            denoised_cameras(settings.rig),
            resolution,
            protocol,
        )

        # The objects
        store = open_store(options.data, options.split)
        chosen = spread(len(store), options.max_objects or len(store))
        with tqdm(total=len(chosen), desc=f"reading {options.split}", unit="object") as bar:
            objects = evaluation.load_objects(
                store, resolution, chosen, background=protocol.background, on_object=bar.update
            )

        # The model's scores
        with tqdm(total=2 * len(objects) if len(objects) > 1 else 1, desc="sampling", unit="object") as bar:
            result = evaluation.evaluate_model(predictor, pipeline.params, objects, protocol, bar.update)
        rows = {"model": result.scores}

        # The baselines'
        if options.baselines:
            rows |= baselines(options, objects, resolution, protocol)

        # What is left behind
        measured = evaluation.summary(
            rows,
            result.swapped,
            [item.uid for item in objects],
            {
                "checkpoint": "bundled" if options.checkpoint is None else str(options.checkpoint),
                "data": str(options.data),
                "split": options.split,
                "objects": len(objects),
                "target views": sum(len(item.images) - 1 for item in objects),
                "resolution": resolution,
                "sampler": options.sampler,
                "steps": options.steps,
                "seed": options.seed,
                "batch size": options.batch_size,
                "condition": f"the view nearest elevation {evaluation.CONDITION_ELEVATION:g}°",
                **{f"trained {name}": value for name, value in counters.items()},
                "jax": jax.__version__,
                "device": jax.devices()[0].device_kind,
            },
        )
        (folder / "evaluation.json").write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
        (folder / "evaluation.md").write_text(evaluation.markdown_report(measured))
        ranking = np.argsort([np.mean(views) for views in result.scores["bbox_psnr"]], kind="stable").tolist()
        count = min(options.pictured_objects, len(objects))
        for name, shown in {
            "worst": ranking[:count],
            "best": ranking[::-1][:count],
            "grid": spread(len(objects), count),
        }.items():
            picture = training.tile_images(evaluation.object_rows(objects, result.predictions, shown))
            imageio.imwrite(folder / f"{name}.png", (np.clip(picture, 0, 1) * 255).round().astype(np.uint8))
    print((options.out / "evaluation.md").read_text())


def baselines(
    options: Options,
    objects: list[evaluation.PosedObject],
    resolution: int,
    protocol: evaluation.ProtocolConfig,
) -> dict[str, evaluation.Scores]:
    """Scores predictions that need no learning, the mean training view among them.

    Raises:
        UserError: if the dataset has no training objects.
        DataError: if one cannot be read.
    """
    training_store = open_store(options.data, "train")
    chosen = spread(len(training_store), options.mean_view_objects)
    seen = (load_views(training_store[index], resolution, protocol.background) for index in chosen)
    mean = evaluation.mean_view(
        (images, alphas) for images, alphas, _ in tqdm(seen, "mean training view", len(chosen), unit="object")
    )

    def picture(cases: evaluation.Cases) -> evaluation.Picture:
        return evaluation.Picture(cases.condition_images, cases.condition_alphas)

    @jax.jit
    def copied(cases: evaluation.Cases) -> evaluation.Picture:
        return evaluation.copied_view(picture(cases), cases.is_target.shape[1])

    @jax.jit
    def cut_out(cases: evaluation.Cases) -> evaluation.Picture:
        return evaluation.billboard(picture(cases), cases.condition_cameras, cases.target_cameras, protocol.background)

    def average(cases: evaluation.Cases) -> evaluation.Picture:
        shape = cases.is_target.shape
        return evaluation.Picture(*(np.broadcast_to(leaf, (*shape, *leaf.shape)) for leaf in mean))

    paints = {"condition view copied": copied, "condition view as billboard": cut_out, "mean training view": average}
    return {
        name: evaluation.evaluate_pictures(paint, objects, protocol)
        for name, paint in tqdm(paints.items(), desc="baselines")
    }


def spread(total: int, count: int) -> list[int]:
    """Returns `count` different indices spread evenly over `total`, or all of them."""
    count = min(count, total)
    return (np.arange(count) * total // count).tolist()


if __name__ == "__main__":
    main()
