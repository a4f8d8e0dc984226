"""Latents of samples, computed once: what a frozen encoder makes of every choice of views that training may draw.

A folder with `latents.npy` `[records, choices, v, h, w, c]` and `latents.json`, which says of what data and by which
weights they were made. `scripts/diffsplat/precompute_latents.py` writes it.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from diffgs_jax.data.config import DataConfig
from diffgs_jax.data.mixing import Sources
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import checked_path, json_object, load_json, one_line, shown

VALUES, ABOUT = "latents.npy", "latents.json"
_FORMAT = {"format": "diffgs_jax latents", "version": 1}
_DECIDING = (
    "resolution condition_views noisy_views view_choice object_limits scene_limits scene_frame scene_extent background "
    "choices seed"
).split()


class LatentStore:
    """Latents by record and choice of views; safe to read from several threads.

    Attributes:
        path: the folder.
        about: what `latents.json` says.
        values: the array, on disk.
    """

    def __init__(self, path: str):
        """Opens a folder.

        Raises:
            UserError: if there is none.
            DataError: if it is damaged or holds something else.
        """
        self.path = checked_path(path)
        if not (self.path / ABOUT).is_file():
            raise UserError(f"{shown(path)} holds no latents: scripts/diffsplat/precompute_latents.py writes them")
        self.about = json_object(load_json(self.path / ABOUT), shown(self.path / ABOUT))
        if {name: self.about.get(name) for name in _FORMAT} != _FORMAT:
            raise DataError(f"{shown(self.path / ABOUT)} is not of {_FORMAT['format']}, version {_FORMAT['version']}")
        try:
            self.values = np.load(self.path / VALUES, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"cannot read {shown(self.path / VALUES)}: {one_line(error)}") from None
        if self.values.ndim != 6 or self.values.dtype not in (np.float16, np.float32):
            raise DataError(f"{shown(self.path / VALUES)} holds no latents of views")

    def check(self, config: DataConfig, sources: Sources) -> None:
        """Refuses latents of other data, or of other choices of views.

        Raises:
            UserError: naming what differs.
        """
        now = described_data(config, sources)
        stored = self.about.get("data")
        stored = stored if isinstance(stored, dict) else {}
        differing = [f"{name} {stored.get(name)} → {value}" for name, value in now.items() if stored.get(name) != value]
        if differing:
            raise UserError(f"the latents in {shown(self.path)} are of other data ({', '.join(differing)})")
        if len(self.values) != sum(map(len, sources.stores)):
            raise UserError(f"the latents in {shown(self.path)} are of {len(self.values)} records")

    def check_makers(self, fingerprints: Mapping[str, str]) -> None:
        """Refuses latents that other weights made than those that are used now.

        Args:
            fingerprints: of weights, by name; names that made nothing are not looked at.

        Raises:
            UserError: naming the first that differs.
        """
        made_by = self.about.get("made_by")
        for name, known in (made_by if isinstance(made_by, dict) else {}).items():
            if fingerprints.get(name, known) != known:
                raise UserError(f"the latents in {shown(self.path)} were made by another {name}: compute them anew")

    def take(self, records: Int[np.ndarray, "b"], choices: Int[np.ndarray, "b"]) -> Float[np.ndarray, "b v h w c"]:
        """Returns latents of samples.

        Raises:
            DataError: if some were not computed, because their record could not be used.
        """
        found = np.asarray(self.values[records, choices], np.float32)
        missing = np.isnan(found).any(axis=(1, 2, 3, 4))
        if missing.any():
            raise DataError(f"{shown(self.path)} has no latents of record {records[missing][0]}: compute them anew")
        return found


def described_data(config: DataConfig, sources: Sources) -> dict[str, Any]:
    """Returns what decides the latents of samples beside weights, as plain JSON values."""
    settings = dataclasses.asdict(config)
    deciding = {name: settings[name] for name in _DECIDING}
    if config.view_choice.kind != "even":  # there, the inputs are drawn before the novel views
        deciding["novel_views"] = config.novel_views
    prints = [store.fingerprint() for store in sources.stores]
    return json.loads(json.dumps(deciding | {"records": prints}))


def describe_latents(config: DataConfig, sources: Sources, made_by: Mapping[str, str]) -> dict[str, Any]:
    """Returns what `latents.json` says.

    Args:
        config: of the data.
        sources: of the records.
        made_by: fingerprints of the weights that make the latents, by name.
    """
    return {**_FORMAT, "data": described_data(config, sources), "made_by": dict(made_by)}


def create_latents(
    folder: pathlib.Path, records: int, choices: int, shape: tuple[int, ...], dtype: str
) -> Float[np.ndarray, "records choices v h w c"]:
    """Returns an array on disk, all NaN, to be filled.

    Args:
        folder: for `latents.npy`.
        records: how many there are.
        choices: of views of each.
        shape: of the latents of a sample.
        dtype: `float16` or `float32`.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        values = np.lib.format.open_memmap(folder / VALUES, "w+", np.dtype(dtype), (records, choices, *shape))
        values[:] = np.nan
    except OSError as error:
        raise UserError(f"cannot write {shown(folder / VALUES)}: {error.strerror or error}") from None
    return values
