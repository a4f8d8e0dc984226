"""What command lines ask of a model and how they score the answers: objects or scenes, baselines."""

import io
import pathlib
import resource
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image
from tqdm import tqdm

from diffgs_jax import evaluation
from diffgs_jax.checkpoints import read_metadata
from diffgs_jax.commands.progress import ticking
from diffgs_jax.commands.protocol_options import ProtocolOptions
from diffgs_jax.data import RecordStore, load_views, open_store
from diffgs_jax.datasets import read_evaluation_index
from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import UserError
from diffgs_jax.files import arrays_sha256, file_sha256
from diffgs_jax.geometry import denoised_cameras
from diffgs_jax.inference import BUNDLED_CHECKPOINT, Pipeline, SamplingOptions, checkpoint_folder
from diffgs_jax.inference.rigs import RECONSTRUCT, rig_beside


def choose_metrics(options: ProtocolOptions, pipeline: Pipeline) -> evaluation.ProtocolConfig:
    """Returns the protocol with every metric that can be computed here, and says which cannot.

    Raises:
        UserError: if the Inception file cannot be used here.
        DataError: if it is none.
    """
    resolution = pipeline.config.data.resolution
    usable = evaluation.usable_lpips(resolution) if options.lpips else ()
    if options.lpips and (missing := {"vgg", "alex"}.difference(usable)):
        why = "its weights are not installed (python scripts/fetch_lpips.py, 64 MB) or the views are too small for it"
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
    pipeline: Pipeline,
    protocol: evaluation.ProtocolConfig,
    sampler: SamplerKind | None,
    steps: int | None,
    *,
    variance: float,
    shown: int = 1,
    reconstruct: float = 0.0,
) -> evaluation.Predictor:
    """Returns the model behind a sampler; asked for its own rig's views, where a protocol names no others.

    Args:
        pipeline: the model.
        protocol: the protocol.
        sampler: one of `pipeline.sampler_kinds`; None for the model's own.
        steps: of the sampler; None for the model's own.
        variance: of `Pipeline.filter_variance`.
        shown: how many views are shown, at about equal steps of azimuth.
        reconstruct: of `reconstruct_share`.

    Raises:
        UserError: if there are not that many steps.
    """
    settings = pipeline.config
    given = [360.0 * view / shown for view in range(shown)]
    return evaluation.make_predictor(
        settings.model,
        pipeline.frozen,
        pipeline.sampler(SamplingOptions(steps=steps, sampler=sampler, reconstruct=reconstruct)),
        denoised_cameras(rig_beside(settings, given, 0 if reconstruct else None)),
        settings.data.resolution,
        protocol,
        variance=variance,
        remade=reconstruct > 0,
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
        with tqdm(desc=f"reading {options.split}", unit="scene") as bar, ticking(bar):
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
    with tqdm(total=len(chosen), desc=f"reading {options.split}", unit="object") as bar, ticking(bar):
        return evaluation.load_objects(
            store,
            data.resolution,
            chosen,
            background=background,
            condition_view=options.condition_view,
            target_views=options.target_views,
            max_views=options.max_views,
            shown_views=shown_views(pipeline, options.shown_views),
            turned=data.object_frame == "first_view",
            on_object=bar.update,
        )


def shown_views(pipeline: Pipeline, wanted: int | None = None) -> int:
    """Returns how many views of an object a model is shown when it is scored: one, or as many as it needs.

    Raises:
        UserError: if more or fewer are wanted than it can be shown.
    """
    least, most = pipeline.requirements.condition_views
    most = max(most, 1) if pipeline.requirements.remakes else most
    if wanted is None:
        return max(1, least)
    if not max(1, least) <= wanted <= most:
        raise UserError(f"--shown-views is {wanted}; this model is shown {max(1, least)} to {most}")
    return wanted


def reconstruct_share(options: ProtocolOptions, pipeline: Pipeline) -> float:
    """Returns how much noise the views that are shown get, as a share of the schedule; 0 for clean ones.

    Raises:
        UserError: if it is out of range, or the model cannot make views anew.
    """
    needs = pipeline.requirements
    share = options.reconstruct
    if share is None:
        return RECONSTRUCT if needs.remakes and needs.condition_views[1] == 0 else 0.0
    if not 0 < share <= 1 or not needs.remakes:
        raise UserError(f"--reconstruct {share} is for models that can make views anew, and above 0 and up to 1")
    return share


def read_finer(
    options: ProtocolOptions, store: RecordStore, pipeline: Pipeline
) -> Callable[[Sequence[int]], list[evaluation.PosedObject]] | None:
    """Returns what reads objects of `read_cases` by their index, with the same views at twice the resolution.

    None, and a line that says why, where there is nothing to compare with.

    Raises:
        DataError: if the first record cannot be used.
    """
    side = 2 * pipeline.config.data.resolution
    chosen = evaluation.spread(len(store), options.max_objects or len(store))
    with Image.open(io.BytesIO(store[chosen[0]].images[0])) as first:
        stored = min(first.size)
    if options.index is not None or stored < side:
        why = (
            "of objects only"
            if options.index is not None
            else f"where stored views are that large; these have {stored}"
        )
        print(f"Scores at {side} × {side} pixels are left out: they are made {why}")
        return None

    def read(indices: Sequence[int]) -> list[evaluation.PosedObject]:
        return evaluation.load_objects(
            store,
            side,
            [chosen[index] for index in indices],
            background=pipeline.background,
            condition_view=options.condition_view,
            target_views=options.target_views,
            max_views=options.max_views,
            shown_views=shown_views(pipeline, options.shown_views),
            turned=pipeline.config.data.object_frame == "first_view",
        )

    return read


def describe_protocol(
    options: ProtocolOptions,
    pipeline: Pipeline,
    protocol: evaluation.ProtocolConfig,
    store: RecordStore,
    cases: list[evaluation.PosedObject],
) -> dict[str, Any]:
    """Returns everything but the sampler that the numbers depend on, as JSON can say it."""
    counters = read_metadata(checkpoint_folder(options.checkpoint or BUNDLED_CHECKPOINT)).get("counters", {})
    condition = f"the view nearest elevation {evaluation.CONDITION_ELEVATION:g}°"
    if options.index is not None:
        condition = f"the first context frame of {options.index.name}"
    elif options.condition_view is not None:
        condition = f"view {options.condition_view}"
    if (count := shown_views(pipeline, options.shown_views)) > 1 and options.index is None:
        first = "the first" if options.condition_view is None else f"from view {options.condition_view} on the"
        condition = f"{first} {count} even views"
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
        "views shown": shown_views(pipeline, options.shown_views),
        "noise of the views shown": reconstruct_share(options, pipeline),
        "filter": pipeline.filter_variance(SamplingOptions(filter=options.filter)),
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
    def nearest(cases: evaluation.Cases) -> evaluation.ViewImages:
        further = cases.further_images, cases.further_alphas, cases.further_cameras
        first = cases.condition_images, cases.condition_alphas, cases.condition_cameras
        images, alphas, cameras = jax.tree.map(
            lambda one, others: jax.numpy.concatenate([one[:, None], others], axis=1), first, further
        )
        return evaluation.nearest_view(evaluation.ViewImages(images, alphas), cameras, cases.target_cameras)

    @jax.jit
    def cut_out(cases: evaluation.Cases) -> evaluation.ViewImages:
        return evaluation.billboard(picture(cases), cases.condition_cameras, cases.target_cameras, background)

    def average(cases: evaluation.Cases) -> evaluation.ViewImages:
        shape = cases.is_target.shape
        image, alpha = (np.broadcast_to(leaf, (*shape, *leaf.shape)) for leaf in (mean.image, mean.alpha))
        return evaluation.ViewImages(image, alpha)

    if shown_views(pipeline, options.shown_views) > 1:
        return {"nearest view shown copied": nearest, "mean training view": average}
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
