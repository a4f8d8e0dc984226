"""What decides the batches of a run, and the refusal to continue one after it changed."""

import dataclasses
import json
from typing import Any

from diffgs_jax.data.config import DataConfig
from diffgs_jax.data.mixing import Sources
from diffgs_jax.errors import UserError

_FREE = {"path", "sources", "cache_gigabytes", "threads", "prefetch", "max_bad_records", "latents"}
"""Settings that decide how batches are read, or where from, but not what is in them.

The maps and texts that batches have besides follow from the model, whose settings a run's folder guards. (Reading depth
was a setting of the data once: states of then have `depth`, which means nothing now.)
"""


def identity(config: DataConfig, sources: Sources) -> dict[str, Any]:
    """Returns what decides the batches, as plain JSON values: the settings, and fingerprints of the datasets."""
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in _FREE}
    prints = [store.fingerprint() for store in sources.stores]
    datasets = {name: [one[name] for one in prints] for name in prints[0]}
    if len(prints) == 1:
        datasets = prints[0]
    else:
        datasets["shares"] = sources.weights
    return json.loads(json.dumps(settings | datasets))


def refuse_changes(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuses to continue with other data or settings than before.

    What a checkpoint does not mention because it was written by an older version counts as the default, and the
    fingerprint of a dataset as unchanged.

    Raises:
        UserError: one line that names all that changed.
    """
    defaults = json.loads(json.dumps(dataclasses.asdict(DataConfig())))
    before = _flat({name: defaults[name] for name in defaults if name not in before} | before)
    now = _flat(now)
    changed = [
        f"{name} {before[name]!r} → {value!r}"
        for name, value in now.items()
        if name in before and before[name] != value
    ]
    if ("shares" in now) != ("shares" in before):
        changed.append("one dataset → several" if "shares" in now else "several datasets → one")
    if changed:
        raise UserError(f"the data changed since the checkpoint ({', '.join(changed)}): change it back")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
