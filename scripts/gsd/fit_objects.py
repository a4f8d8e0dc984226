"""Fits a set of Gaussians to every object of a record store, and makes a store of them: what gsd learns from.

    python scripts/gsd/fit_objects.py --data data/furniture_128 --out data/furniture_sets
    python scripts/gsd/fit_objects.py --data data/furniture_128 --out data/furniture_sets --shard 0/4     # one of four

Each object is fitted by the engine of `diffgs_jax.optimize fit` to its views but for a few that are kept to score it.
Sets that are done lie in OUT.sets; stopped at any moment, the same command goes on where it was. Several machines that
see one folder take a shard each. Whoever finds all sets done writes the store OUT: the records with their sets, the
split as it was, and the statistics of the sets in its index. In the end it prints the ceiling, what no model of so many
Gaussians can be expected to pass: the mean PSNR of the sets on the views that were kept from them.
"""

import dataclasses
import functools
import io
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

from diffgs_jax import evaluation, optimization
from diffgs_jax.commands.fit_outputs import render_images
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import Record, RecordStore, Split, encode_record, open_store
from diffgs_jax.data.images import composite
from diffgs_jax.data.store import read_index, write_store
from diffgs_jax.errors import DataError, UserError, report_errors
from diffgs_jax.files import make_folder, read_regular, text_sha256, written_beside
from diffgs_jax.models.gaussian_sets import channel_statistics, set_of_gaussians

_OF_STORE = ("format", "version", "splits")
"""What a store's index says of itself, and not of where its records come from."""
_LARGEST_SET = 2**26  # bytes

SPLITS: tuple[Split, ...] = ("train", "test")


@dataclasses.dataclass(frozen=True)
class FitObjectsConfig:
    """Which objects are fitted, and how."""

    data: pathlib.Path
    """A record store of objects."""
    out: pathlib.Path
    """The store to make; it must not exist."""
    gaussians: int = 1024
    """Most Gaussians of a set."""
    steps: int = 600
    """Steps of a fit."""
    resolution: int = 64
    """Height and width that views are fitted at, pixels."""
    held_out: int = 4
    """Views of an object that are kept from its fit, evenly spread, to score it."""
    shard: str = "0/1"
    """Which part of the objects, I/N: every N-th, beginning with the I-th."""
    objects: int | None = None
    """Only so many objects of each split, from its beginning; all by default."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    with report_errors():
        fit_objects(parse_options(FitObjectsConfig, arguments, prog="fit_objects.py"))


def fit_objects(options: FitObjectsConfig) -> None:
    """Fits what is not fitted yet, and makes the store if nothing is missing any more.

    Raises:
        UserError: if an option is wrong, the store to make is there, or one to read is not.
        DataError: if a record cannot be used.
    """
    index, count = parse_shard(options.shard)
    if options.out.exists():
        raise UserError(f"{options.out} is there already; choose another folder, or delete it")
    folder = make_folder(options.out.with_name(f"{options.out.name}.sets"))
    stores = {split: open_store(options.data, split) for split in SPLITS if has_split(options.data, split)}
    places = [(store, number) for store in stores.values() for number in range(counted(store, options))]
    seconds: list[float] = []
    with tqdm(places[index::count], unit="object", desc="fitting") as bar:
        for store, number in bar:
            path = set_path(folder, store.uids[number], options)
            if not path.exists():
                began = time.monotonic()
                write_set(path, *fit_record(store[number], options))
                seconds.append(time.monotonic() - began)
                bar.set_postfix_str(f"{np.median(seconds):.1f} s a fit")
    missing = sum(not set_path(folder, store.uids[number], options).exists() for store, number in places)
    if missing:
        print(f"{missing} of {len(places)} objects are still to be fitted, by the other shards")
        return
    told = assemble(options, folder, stores)
    print(
        f"{len(places)} sets of at most {options.gaussians} Gaussians (median {told['median']}) in {options.out}\n"
        f"ceiling on views kept from the fits, at {options.resolution}²: "
        + ", ".join(f"{name} {value:.2f} dB on the box" for name, value in told["ceiling"].items())
    )


def parse_shard(text: str) -> tuple[int, int]:
    """Returns the number of a part and how many there are.

    Raises:
        UserError: if it is not I/N with 0 ≤ I < N.
    """
    first, _, last = text.partition("/")
    if not (first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise UserError(f"--shard is I/N, 0/4 to 3/4 of four parts for example, not {text!r}")
    return int(first), int(last)


def fit_record(record: Record, options: FitObjectsConfig) -> tuple[np.ndarray, dict[str, float]]:
    """Returns the set of one object, `[n, 14]`, and its scores on the views that were kept from it.

    Raises:
        UserError: if too few views are left to fit.
        DataError: if the record cannot be used, or the fit comes to nothing.
    """
    if record.domain != "object":
        raise DataError(f"record {record.uid} is a scene; sets are fitted to objects")
    images = optimization.decode_images(record, options.resolution)
    views = len(images.pixels)
    kept = evaluation.spread(views, options.held_out)
    others = [view for view in range(views) if view not in kept]
    if len(others) < 2:
        raise UserError(f"record {record.uid} has {views} views: keep fewer from the fit (--held-out)")
    fitted, held_out = optimization.choose(images, others), optimization.choose(images, kept)
    config = optimization.FitConfig(steps=options.steps, capacity=options.gaussians, sh_degree=0).checked()
    start = optimization.from_gaussians(optimization.initial_gaussians(fitted, config), config.capacity, 0)
    *_, last = optimization.fit(fitted, optimization.initial_state(*start), config)
    gaussians = optimization.used_gaussians(last.state.parameters, last.state.is_used)
    scores: dict[str, float] = {}
    if kept:
        image, alpha = render_images(gaussians, held_out.cameras, options.resolution)
        target, target_alpha = composite(np.asarray(held_out.pixels), 1.0)
        found = evaluation.score_views(image, alpha, target, target_alpha)
        scores = {name: float(np.mean(values)) for name, values in found.items()}
    return set_of_gaussians(gaussians), scores


def assemble(options: FitObjectsConfig, folder: pathlib.Path, stores: dict[Split, RecordStore]) -> dict[str, Any]:
    """Writes the store, and returns what its index says of the sets."""
    sets: dict[tuple[str, int], np.ndarray] = {}
    ceiling: dict[str, list[float]] = {split: [] for split in stores}
    for split, store in stores.items():
        for number in range(counted(store, options)):
            numbers, scores = read_set(set_path(folder, store.uids[number], options))
            sets[split, number] = numbers
            if "bbox_psnr" in scores:
                ceiling[split].append(scores["bbox_psnr"])
    of_training = [numbers for (split, _), numbers in sets.items() if split == "train"] or list(sets.values())
    statistics = channel_statistics(of_training)
    told = {
        "slots": options.gaussians,
        "median": int(np.median([len(numbers) for numbers in sets.values()])),
        "mean": statistics.mean,
        "std": statistics.std,
        "steps": options.steps,
        "resolution": options.resolution,
        "ceiling": {split: round(float(np.mean(values)), 3) for split, values in ceiling.items() if values},
    }

    def encoded(store: RecordStore, number: int, numbers: np.ndarray) -> bytes:
        return encode_record(store[number]._replace(maps={}, gaussians=numbers))

    records: dict[str, list[tuple[str, Callable[[], bytes]]]] = {
        split: [
            (store.uids[number], functools.partial(encoded, store, number, sets[split, number]))
            for number in range(counted(store, options))
        ]
        for split, store in stores.items()
    }
    about = {name: value for name, value in read_index(options.data).items() if name not in _OF_STORE}
    write_store(options.out, records, about | {"gaussians": told})
    return told


def has_split(data: pathlib.Path, split: Split) -> bool:
    """Tells whether a store has records on one side of the split."""
    return bool(read_index(data).get("splits", {}).get(split, {}).get("uids"))


def counted(store: RecordStore, options: FitObjectsConfig) -> int:
    """Returns how many objects of a store are fitted."""
    return len(store) if options.objects is None else min(options.objects, len(store))


def set_path(folder: pathlib.Path, uid: str, options: FitObjectsConfig) -> pathlib.Path:
    """Returns where the set of an object lies; other settings have other places."""
    settings = [options.gaussians, options.steps, options.resolution, options.held_out]
    return folder / f"{text_sha256(json.dumps([uid, *settings]))[:24]}.npz"


def write_set(path: pathlib.Path, numbers: np.ndarray, scores: dict[str, float]) -> None:
    """Writes a set and its scores, whole or not at all."""
    with written_beside(path) as beside, beside.open("wb") as file:
        np.savez(file, numbers=numbers, scores=np.asarray(json.dumps(scores)))


def read_set(path: pathlib.Path) -> tuple[np.ndarray, dict[str, float]]:
    """Reads what `write_set` wrote.

    Raises:
        DataError: if it is damaged.
    """
    try:
        with np.load(io.BytesIO(read_regular(path, limit=_LARGEST_SET)), allow_pickle=False) as stored:
            return stored["numbers"], json.loads(str(stored["scores"]))
    except (ValueError, KeyError, OSError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it, and it is made again") from None


if __name__ == "__main__":
    main()
