"""What command lines ask of a model and how they score the answers: options, objects or scenes, baselines."""

import dataclasses
import pathlib
import resource
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from diffgs_jax import evaluation
from diffgs_jax.checkpoints import read_metadata
from diffgs_jax.data import DataConfig, RecordStore, Split, load_views, open_store
from diffgs_jax.datasets import read_evaluation_index
from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import UserError
from diffgs_jax.files import arrays_sha256, file_sha256
from diffgs_jax.geometry import denoised_cameras
from diffgs_jax.inference import BUNDLED_CHECKPOINT, Pipeline, SamplingOptions
from diffgs_jax.rasterizer import Backend


@dataclasses.dataclass(frozen=True)
class ProtocolOptions:
    """What is asked of a model, and how its answers are scored."""

    checkpoint: pathlib.Path | None = None
    """Folder of a training run or of its checkpoints; by default the model that comes with the package."""
    data: pathlib.Path = pathlib.Path(DataConfig().path)
    """Record store with the objects or scenes."""
    split: Split = "test"
    """Which of them."""
    index: pathlib.Path | None = None
    """For scenes: which frames are shown and asked for, {scene: {"context": […], "target": […]} | null}, such as
    pixelSplat's evaluation index of RealEstate10K. The first context frame is shown; the targets are denoised and
    scored."""
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
    backend: Backend | None = None
    """Who renders: `xla` runs on any device, `triton` and `mosaic` are kernels for NVIDIA GPUs, `auto` chooses. By
    default what the model's config says, `auto` as a rule."""
    lpips: bool = True
    """Score LPIPS and FD-VGG16 too, if the networks are installed; on a CPU they take longer than all the rest."""
    inception: pathlib.Path | None = None
    """An Inception network as an ONNX file, for FID and KID; diffgs_jax/evaluation/inception.py says how to make it."""


def check_at_least_one(options: Any, *names: str) -> None:
    """Raises a `UserError` for the first of the options that is given and less than 1."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, not {value}")


def choose_metrics(options: ProtocolOptions, pipeline: Pipeline) -> evaluation.ProtocolConfig:
    """Returns the protocol with every metric that can be computed here, and says which cannot.

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
        background=pipeline.background,
        seed=options.seed,
        lpips=usable,
        inception=None if options.inception is None else str(options.inception),
    )


def predictor_of(
    pipeline: Pipeline, protocol: evaluation.ProtocolConfig, sampler: SamplerKind | None, steps: int | None
) -> evaluation.Predictor:
    """Returns the model behind a sampler; asked for its own rig's views, where a protocol names no others.

    Raises:
        UserError: if there are not that many steps.
    """
    settings = pipeline.config
    return evaluation.make_predictor(
        settings.model,
        pipeline.frozen,
        pipeline.sampler(SamplingOptions(steps=steps, sampler=sampler)),
        denoised_cameras(settings.rig),
        settings.data.resolution,
        protocol,
    )


def read_cases(options: ProtocolOptions, store: RecordStore, pipeline: Pipeline) -> list[evaluation.PosedObject]:
    """Reads the objects, or the scenes of the index, with a progress bar.

    Raises:
        UserError: if options contradict one another.
        DataError: if a record or the index cannot be used.
    """
    data, background = pipeline.config.data, pipeline.background
    if options.index is not None:
        for name in ("max_views", "condition_view", "target_views"):
            if getattr(options, name) is not None:
                raise UserError(f"{name} is for objects; of scenes, the index says which frames are used")
        index = read_evaluation_index(options.index)
        with tqdm(desc=f"reading {options.split}", unit="scene") as bar:
            return evaluation.load_scenes(
                store,
                index,
                data.resolution,
                max_scenes=options.max_objects,
                frame=data.scene_frame,
                extent=data.scene_extent,
                background=background,
                on_scene=bar.update,
            )
    chosen = evaluation.spread(len(store), options.max_objects or len(store))
    with tqdm(total=len(chosen), desc=f"reading {options.split}", unit="object") as bar:
        return evaluation.load_objects(
            store,
            data.resolution,
            chosen,
            background=background,
            condition_view=options.condition_view,
            target_views=options.target_views,
            max_views=options.max_views,
            on_object=bar.update,
        )


def describe_protocol(
    options: ProtocolOptions,
    pipeline: Pipeline,
    protocol: evaluation.ProtocolConfig,
    store: RecordStore,
    cases: list[evaluation.PosedObject],
) -> dict[str, Any]:
    """Returns everything but the sampler that the numbers depend on, as JSON can say it."""
    counters = read_metadata(options.checkpoint or BUNDLED_CHECKPOINT).get("counters", {})
    condition = f"the view nearest elevation {evaluation.CONDITION_ELEVATION:g}°"
    if options.index is not None:
        condition = f"the first context frame of {options.index.name}"
    elif options.condition_view is not None:
        condition = f"view {options.condition_view}"
    settings = {
        "checkpoint": "bundled" if options.checkpoint is None else str(options.checkpoint),
        "weights": arrays_sha256(pipeline.params)[:16],
        **{f"trained {name}": value for name, value in counters.items()},
        "data": str(options.data),
        "records": " ".join(str(value) for value in store.fingerprint().values()),
        "split": options.split,
        "objects" if options.index is None else "scenes": len(cases),
        "target views": sum(len(item.images) - 1 for item in cases),
        "resolution": pipeline.config.data.resolution,
        "condition": condition,
        "seed": options.seed,
        "batch size": options.batch_size,
        "LPIPS": ", ".join(protocol.lpips) or "none",
    }
    if options.target_views is not None:
        settings["targets"] = " ".join(map(str, options.target_views))
    if options.index is not None:
        settings["index"] = file_sha256(options.index)[:16]
    if options.inception is not None:
        settings["inception"] = file_sha256(options.inception)[:16]
    return settings | {"jax": jax.__version__, "device": jax.devices()[0].device_kind}


def keep_row(folder: pathlib.Path, settings: dict[str, Any], name: str) -> evaluation.Keep:
    """Returns what keeps the batches of one row in a folder of its own."""
    return evaluation.keep_in(folder / name.replace(" ", "-").replace(",", ""), settings)


def make_baselines(
    options: ProtocolOptions, pipeline: Pipeline, training_data: pathlib.Path, mean_view_objects: int
) -> dict[str, Callable[[evaluation.Cases], evaluation.ViewImages]]:
    """Returns predictions that need no learning, by name; of scenes, the condition view copied alone.

    Args:
        options: say whether it is scenes.
        pipeline: says how large and on what background training objects are seen.
        training_data: record store that has some.
        mean_view_objects: training objects that the mean view is made of, spread evenly over the train split.

    Raises:
        UserError: if the dataset has no training objects.
        DataError: if one cannot be read.
    """

    def picture(cases: evaluation.Cases) -> evaluation.ViewImages:
        return evaluation.ViewImages(cases.condition_images, cases.condition_alphas)

    @jax.jit
    def copied(cases: evaluation.Cases) -> evaluation.ViewImages:
        return evaluation.copied_view(picture(cases), cases.is_target.shape[1])

    if options.index is not None:
        return {"condition view copied": copied}
    background, resolution = pipeline.background, pipeline.config.data.resolution
    store = open_store(training_data, "train")
    chosen = evaluation.spread(len(store), mean_view_objects)
    seen = (load_views(store[index], resolution, background) for index in chosen)
    mean = evaluation.mean_view(
        (images, alphas) for images, alphas, _ in tqdm(seen, "reading train", len(chosen), unit="object")
    )

    @jax.jit
    def cut_out(cases: evaluation.Cases) -> evaluation.ViewImages:
        return evaluation.billboard(picture(cases), cases.condition_cameras, cases.target_cameras, background)

    def average(cases: evaluation.Cases) -> evaluation.ViewImages:
        shape = cases.is_target.shape
        image, alpha = (np.broadcast_to(leaf, (*shape, *leaf.shape)) for leaf in (mean.image, mean.alpha))
        return evaluation.ViewImages(image, alpha)

    return {"condition view copied": copied, "condition view as billboard": cut_out, "mean training view": average}


def peak_memory() -> dict[str, float]:
    """Returns the most memory this process has held so far, GB: `host`, and `device` where it is another's."""
    # Linux counts in kilobytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peaks = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics:
        peaks["device"] = statistics["peak_bytes_in_use"] / 1e9
    return {name: round(value, 2) for name, value in peaks.items()}
