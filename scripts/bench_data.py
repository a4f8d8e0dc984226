"""Prints how many training samples a second the pipeline delivers, beside a PyTorch DataLoader on the same machine.

    python scripts/bench_data.py
    python scripts/bench_data.py --data data/objects_256 --threads 8 --workers 8

A sample is 4 input and 4 novel views, decoded from a record store, composited, with their cameras, stacked into batches
of float32 arrays. Without `--data` a few of the shipped 128² objects are enlarged and encoded again into a temporary
store: as much to decode as real ones of that size, not as good to look at. Nothing is kept decoded between uses.

The DataLoader has persistent workers, which call the very same decoder and transforms. The two take turns, round after
round, and what each had ready beforehand is taken away before its clock starts, so the ratio (the median over rounds)
means something on a busy machine; the rates themselves do not. Processor time a sample, workers included, is what is
taken from whatever else runs there. The DataLoader is left out where torch is not installed.
"""

import dataclasses
import importlib.util
import io
import multiprocessing
import os
import pathlib
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import DataConfig, encode_record, open_store, training_batches
from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.mixing import open_sources
from diffgs_jax.data.pipeline import collate
from diffgs_jax.data.samples import Samples
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import report_errors


@dataclasses.dataclass(frozen=True)
class Options:
    """What to read, and how."""

    data: pathlib.Path | None = None
    """Record store with views of `resolution`; by default a temporary one, made of the shipped objects."""
    resolution: int = 256
    """Height and width of the views, pixels."""
    batch_size: int = 4
    """Samples in a batch."""
    threads: int = 2
    """Threads of the pipeline."""
    workers: int = 2
    """Worker processes of the DataLoader."""
    ahead: int = 4
    """Batches that each may keep ready."""
    batches: int = 12
    """Batches that are timed in a round."""
    rounds: int = 5
    """How often the two take turns."""
    objects: int = 12
    """Objects in the temporary store."""


class PositionsOfSamples:
    """What PyTorch calls a map-style dataset: samples by position, decoded and composited in the calling process."""

    def __init__(self, config: DataConfig, length: int):
        """Opens nothing yet: workers get a copy of this."""
        self._config, self._length = config, length
        self._samples: Samples | None = None

    def __len__(self) -> int:
        """Returns how many samples an epoch has."""
        return self._length

    def __getitem__(self, position: int) -> dict[str, np.ndarray]:
        """Returns one sample as the arrays that the pipeline's batches are made of."""
        if self._samples is None:
            self._samples = Samples(self._config, open_sources(self._config, "train"))
        batch = collate([self._samples[position]], self._config)
        arrays: dict[str, np.ndarray] = {}
        for name, views in (("inputs", batch.inputs), ("targets", batch.targets)):
            assert views is not None  # there are novel views
            for part, array in (("images", views.images), ("alphas", views.alphas), *views.cameras._asdict().items()):
                arrays[f"{name} {part}"] = np.asarray(array)[0]
        return arrays


def main(options: Options) -> None:
    """Makes the store, lets the two take turns, and prints what came of it."""
    torch: Any = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
    with tempfile.TemporaryDirectory(prefix="bench-data-") as folder:
        path = options.data or make_store(pathlib.Path(folder) / "store", options)
        config = DataConfig(
            path=str(path),
            resolution=options.resolution,
            batch_size=options.batch_size,
            condition_views=1,
            noisy_views=3,
            novel_views=4,
            threads=options.threads,
            prefetch=options.ahead,
            cache_gigabytes=0.0,
        )
        batches = training_batches(config)
        contestants: dict[str, Callable[[], object]] = {f"pipeline, {options.threads} threads": lambda: next(batches)}
        if torch is not None:
            loaded = dataloader(torch, config, options)
            contestants[f"PyTorch DataLoader, {options.workers} persistent workers"] = lambda: next(loaded)
        turns = take_turns(contestants, options)
        batches.close()
    report(turns, torch, options)


def make_store(path: pathlib.Path, options: Options) -> pathlib.Path:
    """Writes shipped objects, enlarged to the resolution and encoded again as they were, as a record store."""
    store = open_store(DataConfig().path)

    def enlarged(index: int) -> bytes:
        record = store[index]
        images = []
        for encoded in record.images:
            image = Image.open(io.BytesIO(encoded)).convert("RGBA")
            image = image.resize((options.resolution, options.resolution), Image.Resampling.BICUBIC)
            images.append(encode_webp(np.asarray(image), quality=store.index["renderer"]["quality"]))
        return encode_record(record._replace(images=images, maps={}))

    chosen = np.linspace(0, len(store) - 1, options.objects).astype(int).tolist()
    records = [(store.uids[index], lambda index=index: enlarged(index)) for index in chosen]
    print(f"a temporary store: {len(records)} shipped objects of 128² enlarged to {options.resolution}²", flush=True)
    write_store(path, {"train": records}, {"name": "enlarged for a benchmark"})
    return path


def dataloader(torch: Any, config: DataConfig, options: Options) -> Iterator[object]:
    """Returns an endless iterator over the batches of a DataLoader in the same order as the pipeline's."""
    per_round = options.batches + options.ahead
    loader = torch.utils.data.DataLoader(
        PositionsOfSamples(config, config.batch_size * per_round * (options.rounds + 2)),
        batch_size=config.batch_size,
        num_workers=options.workers,
        prefetch_factor=max(1, options.ahead // options.workers),
        persistent_workers=True,
        multiprocessing_context="spawn",  # forking a process that has threads is asking for a deadlock
    )
    while True:
        yield from loader


class Turn(NamedTuple):
    """What one turn of a contestant came to.

    Attributes:
        rate: samples a second.
        processor: processor time a sample, milliseconds.
    """

    rate: float
    processor: float


def take_turns(contestants: dict[str, Callable[[], object]], options: Options) -> dict[str, list[Turn]]:
    """Returns the turns of each contestant, round by round."""
    for take in contestants.values():  # opens files, starts threads and workers
        for _ in range(options.ahead):
            take()
    turns: dict[str, list[Turn]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, take in contestants.items():
            for _ in range(options.ahead):  # what it made while the other was timed
                take()
            began, busy = time.perf_counter(), processor_seconds()
            for _ in range(options.batches):
                take()
            seconds, busy = time.perf_counter() - began, processor_seconds() - busy
            samples = options.batches * options.batch_size
            turns[name].append(Turn(samples / seconds, 1000 * busy / samples))
    return turns


def processor_seconds() -> float:
    """Returns the processor time of this process and, on Linux, its workers so far."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        stat = pathlib.Path(f"/proc/{child.pid}/stat")
        if stat.exists():
            fields = stat.read_text().rsplit(")", 1)[1].split()  # the name before it may have spaces in it
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime
    return total


def report(turns: dict[str, list[Turn]], torch: Any, options: Options) -> None:
    """Prints the rates and their ratio."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.machine()}, {os.cpu_count()} processors{load}; 4 + 4 views of {options.resolution}² a sample")
    for name, own in turns.items():
        rates, processor = [turn.rate for turn in own], statistics.median(turn.processor for turn in own)
        spread = f"({min(rates):.1f} to {max(rates):.1f})"
        print(f"  {name}: {statistics.median(rates):.1f} samples/s {spread}, {processor:.1f} ms of processor a sample")
    if torch is None:
        print("  torch is not installed, so there is nothing to compare with")
        return
    ratios = [ours.rate / theirs.rate for ours, theirs in zip(*turns.values(), strict=True)]
    print(f"  pipeline / DataLoader: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"  (torch {torch.__version__}; {options.rounds} rounds in turns of {options.batches} batches)")


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Options, description=__doc__))
