"""Stops a run whose numbers are broken, and says which samples broke them."""

import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from diffgs_jax.errors import DataError
from diffgs_jax.files import write_json


class StepRecord(NamedTuple):
    """A step that was taken and not looked at yet: the devices may still be at it.

    Attributes:
        step: its number.
        metrics: what it returned, on the devices.
        record: `[b]`, the numbers of its samples' records.
    """

    step: int
    metrics: dict[str, Any]
    record: Any


def check_health(folder: pathlib.Path, taken: Sequence[StepRecord], uids: Sequence[str], *, guarded: bool) -> None:
    """Looks at every step since the last look; waits for the last of them.

    Args:
        folder: of the run; gets `not_finite.json` with the step, its metrics and the uids of its batch.
        taken: the steps.
        uids: of all records.
        guarded: spikes are left out, so that the loss of a batch may be what it wants, if not that of all batches.

    Raises:
        DataError: at the first step whose loss, gradient or weights are not finite.
    """
    every = [{name: float(value) for name, value in metrics.items()} for _, metrics, _ in taken]
    # A guard leaves single batches out; where it would have to leave out all of them, something else is wrong.
    guarded = guarded and any(all(map(math.isfinite, values.values())) for values in every)
    for (step, _, record), values in zip(taken, every, strict=True):
        decisive = ["parameter_norm"] if guarded else list(values)
        if all(math.isfinite(values[name]) for name in decisive):
            continue
        names = [uids[int(number)] for number in np.asarray(_local(record)).ravel()]
        path = folder / "not_finite.json"
        facts = {"step": step, "metrics": {name: repr(value) for name, value in values.items()}, "uids": names}
        write_json(path, facts)
        broken = next(name for name in decisive if not math.isfinite(values[name]))
        raise DataError(
            f"{broken} is not finite at step {step} ({values[broken]}): {path} names the batch; "
            "the last checkpoint is kept"
        )


def _local(record: Any) -> Any:
    """Returns this process's part of an array that may be spread over several."""
    if getattr(record, "is_fully_addressable", True):
        return record
    return np.concatenate([np.asarray(shard.data) for shard in record.addressable_shards])
