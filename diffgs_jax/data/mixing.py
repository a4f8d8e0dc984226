"""The datasets that training draws from, and the endless order in which it does."""

import pathlib
from typing import NamedTuple

import grain
import numpy as np

from diffgs_jax.data.config import DataConfig
from diffgs_jax.data.image_folder import ImageFolder, holds_images, image_count
from diffgs_jax.data.records import RecordSource
from diffgs_jax.data.split import Split
from diffgs_jax.data.store import INDEX, open_store, record_count
from diffgs_jax.errors import UserError


class Sources(NamedTuple):
    """Where samples come from.

    Attributes:
        stores: record stores or folders of images, at least one.
        weights: the share of each.
        first: the number of each store's first record when records are counted through all stores.
        order: (store, record in it) by position. Each store is shuffled anew in every epoch of its own.
    """

    stores: list[RecordSource]
    weights: list[float]
    first: list[int]
    order: grain.MapDataset[tuple[int, int]]

    def at(self, position: int) -> tuple[int, int]:
        """Returns the store and the record in it at a position of the endless order."""
        found = self.order[position]
        assert found is not None  # grain allows for filtered elements; there are none
        return found


def open_sources(config: DataConfig, split: Split) -> Sources:
    """Opens the record stores and folders of images that `DataConfig.sources`, or else `DataConfig.path`, names.

    A shard that cannot be opened is not an error yet; `RecordStore.damaged` says which. Of several sources, those that
    hold nothing out are left out of the test split.

    Raises:
        UserError: if a folder is not there or has no records on this side of the split, or samples of several views are
            to be made of single images.
        DataError: if an index is damaged.
    """
    named = config.sources or ((config.path, 1.0),)
    if split != "train" and len(named) > 1:
        named = tuple(one for one in named if _count(pathlib.Path(one[0]), split)) or named
    stores = [_open(pathlib.Path(path), split, config) for path, _ in named]
    weights = [float(weight) for _, weight in named]
    orders = [_order(number, len(store), config.seed) for number, store in enumerate(stores)]
    # One store is not mixed, so that the order of a run with `path` stays what it always was.
    order = orders[0] if len(orders) == 1 else grain.MapDataset.mix(orders, weights)
    first = np.cumsum([0] + [len(store) for store in stores])[:-1].tolist()
    return Sources(stores, weights, first, order)


def has_records(config: DataConfig, split: Split) -> bool:
    """Tells whether any of the stores and folders that a config names has records on one side of the split.

    Raises:
        UserError: if a folder is not there.
        DataError: if an index is damaged.
    """
    return any(_count(pathlib.Path(path), split) for path, _ in config.sources or ((config.path, 1.0),))


def _open(path: pathlib.Path, split: Split, config: DataConfig) -> RecordSource:
    if not _holds_images(path):
        return open_store(path, split, tolerant=True)
    counts = {name: getattr(config, f"{name}_views") for name in ("condition", "noisy", "novel")}
    if sum(counts.values()) != 1:
        asked = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise UserError(
            f"{path} is a folder of images, each a single view, but a sample has several ({asked}): set "
            "data.noisy_views 1, data.condition_views 0 and data.novel_views 0, or make posed images a record store "
            "(docs/datasets.md)"
        )
    return ImageFolder(path, split)


def _count(path: pathlib.Path, split: Split) -> int:
    return image_count(path, split) if _holds_images(path) else record_count(path, split)


def _holds_images(path: pathlib.Path) -> bool:
    return path.is_dir() and not (path / INDEX).exists() and holds_images(path)


def _order(number: int, records: int, seed: int) -> grain.MapDataset[tuple[int, int]]:
    shuffled = grain.MapDataset.range(records).seed(seed + number).shuffle().repeat()
    return shuffled.map(lambda record: (number, record))
