"""From record stores to training batches, ahead of the training step and off its thread.

What a batch holds is a pure function of (settings, step): the order of records, the choice of views and the substitute
of an unusable record. So a run goes on exactly where it was stopped, on any number of hosts and threads.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from diffgs_jax.data.augmentation import Maps
from diffgs_jax.data.config import CameraAugmentation, DataConfig
from diffgs_jax.data.images import composite
from diffgs_jax.data.latents import LatentStore
from diffgs_jax.data.mixing import Sources, open_sources
from diffgs_jax.data.resume import identity, refuse_changes
from diffgs_jax.data.samples import Sample, Samples
from diffgs_jax.data.split import Split
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras, Views
from diffgs_jax.models import Batch, Requirements, Text

_ENDLESS = 2**40
_NONE = Requirements(makes="nothing")


class TrainingBatches(Iterator[Batch]):
    """An endless iterator of batches that can be stopped and continued exactly.

    Attributes:
        config: its settings.
        sources: where the records come from.
        requirements: of the model.
        samples: what batches are made of, by position.
        latents: that were computed before; None where there are none.
    """

    def __init__(
        self,
        config: DataConfig,
        sources: Sources,
        requirements: Requirements,
        process_index: int,
        process_count: int,
    ):
        """Use `training_batches`."""
        self.config, self.sources, self.requirements = config, sources, requirements
        self.samples = samples = Samples(config, sources, requirements.maps, requirements.gaussians)
        self.latents = latents = LatentStore(config.latents) if config.latents else None
        if latents is not None:
            latents.check(config, sources)
        self._identity = identity(config, sources)
        local = config.batch_size // process_count
        first = process_index * local

        def batch_of(step: int) -> Batch:
            start = step * config.batch_size + first
            chosen = [samples[position] for position in range(start, start + local)]
            batch = collate(chosen, config, requirements)
            if latents is None:
                return batch
            choices = np.asarray([sample.choice for sample in chosen])
            return batch._replace(latents=latents.take(np.asarray(batch.record), choices))

        options = grain.ReadOptions(
            num_threads=config.threads, prefetch_buffer_size=max(config.prefetch, config.threads)
        )
        self._iterator = iter(grain.MapDataset.range(_ENDLESS).map(batch_of).to_iter_dataset(options))

    def __next__(self) -> Batch:
        """Returns the next batch.

        Raises:
            DataError: if more than `max_bad_records` records cannot be used.
            UserError: if the view limits fit none of the records.
        """
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` needs to continue after the last batch handed out, as plain JSON values."""
        return {"settings": self._identity, "iterator": self._iterator.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues where `get_state` was called.

        Raises:
            UserError: if the state belongs to other data or other settings, which would silently be other batches.
        """
        refuse_changes(state.get("settings", {}), self._identity)
        self._iterator.set_state(state["iterator"])

    def close(self) -> None:
        """Stops reading ahead."""
        self._iterator.close()

    @property
    def bad_records(self) -> list[str]:
        """Names of the records that could not be used so far and were replaced by others."""
        return self.samples.bad_records

    @property
    def records_outside_limits(self) -> list[str]:
        """Names of the records that were replaced so far because no choice of their views is within the limits."""
        return self.samples.records_outside_limits


def training_batches(
    config: DataConfig,
    *,
    split: Split = "train",
    requirements: Requirements = _NONE,
    process_index: int = 0,
    process_count: int = 1,
) -> TrainingBatches:
    """Opens a dataset, or several to mix, for training.

    Args:
        config: which data, and how a batch is made of it.
        split: the side of the split to read. What is held out is looked at as it is: without augmentation, on the plain
            background, and without the sources that hold nothing out.
        requirements: of the model: which maps are read, and whether batches have captions and classes. Where records
            lack what is asked for, maps are NaN, captions "" and classes −1.
        process_index: this host's number; it gets its part of every batch, in order.
        process_count: number of hosts.

    Raises:
        UserError: if the settings contradict each other or a dataset is not there.
        DataError: if a dataset is damaged beyond `max_bad_records`.
    """
    _check(config, process_count)
    if requirements.labels and not config.labels:
        raise UserError("the model learns classes: name them with data.labels")
    if config.fewest_condition_views is not None and requirements.makes != "nothing":
        least, most = requirements.condition_views
        if least == most:
            raise UserError(f"data.fewest_condition_views: this model has {most} condition views in every sample")
    if requirements.gaussians and (
        config.object_frame != "record" or config.augmentation != CameraAugmentation() or config.random_background
    ):
        raise UserError(
            "fitted Gaussians are in the axes of their records: set data.object_frame record, and leave augmentation "
            "and random backgrounds out"
        )
    if split != "train":
        config = dataclasses.replace(config, augmentation=CameraAugmentation(), random_background=0.0, latents="")
    if config.latents and not requirements.latents:
        raise UserError("this model learns no latents: leave data.latents out")
    return TrainingBatches(config, open_sources(config, split), requirements, process_index, process_count)


def collate(samples: list[Sample], config: DataConfig, requirements: Requirements = _NONE) -> Batch:
    """Returns samples as one batch: composited, stacked, and parted into input and novel views."""
    shape = len(samples), len(samples[0].images), config.resolution, config.resolution
    images, alphas = np.empty((*shape, 3), np.float32), np.empty(shape, np.float32)
    for number, sample in enumerate(samples):
        for view, image in enumerate(sample.images):
            composite(image, sample.background, out=(images[number, view], alphas[number, view]))
    depths = normals = None
    if "depth" in requirements.maps:
        depths = _stack_maps([sample.depths for sample in samples], shape)
    if "normals" in requirements.maps:
        normals = _stack_maps([sample.normals for sample in samples], (*shape, 3))
    poses = np.stack([sample.cameras.camera_to_world for sample in samples])
    intrinsics = np.stack([sample.cameras.intrinsics for sample in samples])
    domain = np.asarray([sample.domain for sample in samples], np.int32)
    background = np.stack([sample.background for sample in samples]) if config.random_background else None
    is_condition = np.arange(shape[1]) < np.asarray([[sample.conditions] for sample in samples])
    inputs = config.condition_views + config.noisy_views

    def views(part: slice) -> Views:
        cameras = Cameras(poses[:, part], intrinsics[:, part])
        return Views(
            images[:, part],
            cameras,
            is_condition[:, part].copy(),
            domain,
            alphas[:, part],
            background,
            None if depths is None else depths[:, part],
            None if normals is None else normals[:, part],
        )

    text = labels = None
    if requirements.tokenize is not None:
        text = requirements.tokenize([sample.caption for sample in samples])
        text = Text(np.asarray(text.tokens, np.int32), np.asarray(text.mask, bool))
    if requirements.labels:
        labels = np.asarray([sample.label for sample in samples], np.int32)
    return Batch(
        inputs=views(slice(0, inputs)),
        targets=views(slice(inputs, None)) if config.novel_views else None,
        record=np.asarray([sample.record for sample in samples], np.int32),
        text=text,
        labels=labels,
        gaussians=_stack_gaussians(samples, requirements.gaussians) if requirements.gaussians else None,
    )


def _stack_gaussians(samples: list[Sample], slots: int) -> np.ndarray:
    """Returns fitted Gaussians `[b, slots, 14]`, NaN in the slots past a record's own."""
    stacked = np.full((len(samples), slots, 14), np.nan, np.float32)
    for number, sample in enumerate(samples):
        assert sample.gaussians is not None  # or the sample was refused
        stacked[number, : len(sample.gaussians)] = sample.gaussians
    return stacked


def _stack_maps(maps: list[Maps], shape: tuple[int, ...]) -> np.ndarray:
    """Returns the maps of all samples, NaN where a view has none."""
    stacked = np.full(shape, np.nan, np.float32)
    for number, views in enumerate(maps):
        for view, values in enumerate(views):
            if values is not None:
                stacked[number, view] = values
    return stacked


def _check(config: DataConfig, process_count: int) -> None:
    counts = {
        "condition_views": 0,
        "noisy_views": 0,
        "novel_views": 0,
        "batch_size": 1,
        "resolution": 1,
        "threads": 0,
        "choices": 0,
    }
    for name, least in counts.items():
        if getattr(config, name) < least:
            raise UserError(f"data.{name} is {getattr(config, name)}; it must be at least {least}")
    if config.condition_views + config.noisy_views < 1:
        raise UserError("data.condition_views and data.noisy_views are both 0; the network needs a view")
    if (
        config.view_choice.kind in ("fixed_view", "random_view")
        and sum((config.condition_views, config.noisy_views, config.novel_views)) != 1
    ):
        raise UserError(
            f"data.view_choice.kind {config.view_choice.kind} gives a sample one view: set data.noisy_views 1, "
            "data.condition_views 0 and data.novel_views 0"
        )
    fewest = config.fewest_condition_views
    if fewest is not None and not 0 <= fewest <= config.condition_views:
        raise UserError(
            f"data.fewest_condition_views is {fewest}; it must be from 0 to data.condition_views, "
            f"{config.condition_views}"
        )
    if config.choices and fewest is not None:
        raise UserError("data.choices fixes the views of a sample: leave data.fewest_condition_views out")
    if config.batch_size % process_count:
        raise UserError(f"data.batch_size {config.batch_size} does not divide among {process_count} hosts")
    if config.latents and (config.augmentation != CameraAugmentation() or config.random_background):
        raise UserError("data.latents are of views as they are: leave data.augmentation and data.random_background out")
    for path, weight in config.sources:
        if not 0 < weight < float("inf"):
            raise UserError(f"data.sources gives {path} the share {weight}; it must be positive")
    if not all(config.labels) or len(set(config.labels)) < len(config.labels):
        raise UserError(f"data.labels names {', '.join(map(repr, config.labels))}; each needs a name of its own")
    for name in ("noisy_frames", "novel_frames"):
        window = getattr(config.scene_limits, name)
        if window is not None and not 0 <= window[0] <= window[1]:
            raise UserError(f"data.scene_limits.{name} is {window}; it must be a least and a most, in this order")
    for name, value, least, most in _ranges(config):
        if not least <= value <= most:
            raise UserError(f"data.{name} is {value}; it must be between {least} and {most}")


def _ranges(config: DataConfig) -> Iterator[tuple[str, float, float, float]]:
    yield "background", config.background, 0.0, 1.0
    yield "random_background", config.random_background, 0.0, 1.0
    yield "scene_extent", config.scene_extent, 1e-3, 1e3
    yield "view_choice.steepest", config.view_choice.steepest, 0.0, 90.0
    yield "augmentation.flip", config.augmentation.flip, 0.0, 1.0
    yield "augmentation.roll", config.augmentation.roll, 0.0, 180.0
    yield "augmentation.crop", config.augmentation.crop, 0.1, 1.0
    for section, limits in (("object_limits", config.object_limits), ("scene_limits", config.scene_limits)):
        for name in ("noisy_position", "novel_position", "noisy_direction", "novel_direction"):
            yield f"{section}.{name}", getattr(limits, name, 0.0), 0.0, 180.0
