"""Batches on their way to the devices while the step before them still runs."""

import collections
from collections.abc import Iterator
from typing import Any

import jax

from diffgs_jax.data.pipeline import TrainingBatches
from diffgs_jax.models import Batch


class DeviceBatches(Iterator[Batch]):
    """Training batches as device arrays, a few ahead; stops and continues exactly, as `TrainingBatches` does."""

    def __init__(self, batches: TrainingBatches, sharding: jax.sharding.Sharding | None, ahead: int):
        """Use `device_batches`."""
        self._batches, self._sharding, self._ahead = batches, sharding, ahead
        self._state = batches.get_state()
        self._waiting: collections.deque[tuple[Batch, dict[str, Any]]] = collections.deque()
        self._failure: Exception | None = None

    def __next__(self) -> Batch:
        """Returns the next batch, and starts the transfer of later ones.

        Raises:
            DataError: as `TrainingBatches`, when the batch that cannot be made is due.
        """
        while len(self._waiting) <= self._ahead and self._failure is None:
            try:
                batch = next(self._batches)
            except Exception as error:  # whatever it is, the batches before it are whole
                self._failure = error
            else:
                self._waiting.append((self._put(batch), self._batches.get_state()))
        if not self._waiting and self._failure is not None:
            raise self._failure
        batch, self._state = self._waiting.popleft()
        return batch

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` needs to continue after the last batch handed out."""
        return self._state

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues where `get_state` was called.

        Raises:
            UserError: if the state belongs to other data or other settings.
        """
        self._batches.set_state(state)
        self._waiting.clear()
        self._state, self._failure = state, None

    def close(self) -> None:
        """Stops reading ahead."""
        self._waiting.clear()
        self._batches.close()

    def _put(self, batch: Batch) -> Batch:
        if self._sharding is None:
            return jax.device_put(batch)
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(self._sharding, leaf), batch)


def device_batches(
    batches: TrainingBatches, *, sharding: jax.sharding.Sharding | None = None, ahead: int = 2
) -> DeviceBatches:
    """Returns the batches as device arrays, transferred ahead of their use.

    Args:
        batches: of `training_batches`; nothing else may take from it any more.
        sharding: over the leading axis, which with several hosts is longer than a host's part; the default device
            alone if None.
        ahead: batches on the devices besides the one handed out.
    """
    return DeviceBatches(batches, sharding, ahead)
