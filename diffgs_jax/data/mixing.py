"""The record stores that training draws from, and the endless order in which it does."""

import pathlib
from typing import NamedTuple

import grain
import numpy as np

from diffgs_jax.data.config import DataConfig
from diffgs_jax.data.split import Split
from diffgs_jax.data.store import RecordStore, open_store, record_count


class Sources(NamedTuple):
    """Where samples come from.

    Attributes:
        stores: at least one.
        weights: the share of each.
        first: the number of each store's first record when records are counted through all stores.
        order: (store, record in it) by position. Each store is shuffled anew in every epoch of its own.
    """

    stores: list[RecordStore]
    weights: list[float]
    first: list[int]
    order: grain.MapDataset[tuple[int, int]]

    def at(self, position: int) -> tuple[int, int]:
        """Returns the store and the record in it at a position of the endless order."""
        found = self.order[position]
        assert found is not None  # grain allows for filtered elements; there are none
        return found


def open_sources(config: DataConfig, split: Split) -> Sources:
    """Opens the stores that `DataConfig.sources`, or else `DataConfig.path`, names.

    A shard that cannot be opened is not an error yet; `RecordStore.damaged` says which. Of several sources, those that
    hold nothing out are left out of the test split.

    Raises:
        UserError: if a folder is not there or has no records on this side of the split.
        DataError: if an index is damaged.
    """
    named = config.sources or ((config.path, 1.0),)
    if split != "train" and len(named) > 1:
        named = tuple(one for one in named if record_count(pathlib.Path(one[0]), split)) or named
    stores = [open_store(path, split, tolerant=True) for path, _ in named]
    weights = [float(weight) for _, weight in named]
    orders = [_order(number, len(store), config.seed) for number, store in enumerate(stores)]
    # One store is not mixed, so that the order of a run with `path` stays what it always was.
    order = orders[0] if len(orders) == 1 else grain.MapDataset.mix(orders, weights)
    first = np.cumsum([0] + [len(store) for store in stores])[:-1].tolist()
    return Sources(stores, weights, first, order)


def _order(number: int, records: int, seed: int) -> grain.MapDataset[tuple[int, int]]:
    shuffled = grain.MapDataset.range(records).seed(seed + number).shuffle().repeat()
    return shuffled.map(lambda record: (number, record))
