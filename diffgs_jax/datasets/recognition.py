"""Which reader a folder is for: by name, or by what lies in it."""

import itertools
import os
import pathlib
import re
from collections.abc import Iterator

from diffgs_jax.datasets.diffsplat import read_diffsplat
from diffgs_jax.datasets.dl3dv import read_dl3dv
from diffgs_jax.datasets.gobjaverse import read_gobjaverse
from diffgs_jax.datasets.lazy_records import LazyRecords
from diffgs_jax.datasets.mvimgnet import read_mvimgnet
from diffgs_jax.datasets.options import SourceName, SourceOptions
from diffgs_jax.datasets.realestate10k import read_realestate10k
from diffgs_jax.datasets.stores import read_store
from diffgs_jax.datasets.transforms_json import read_transforms
from diffgs_jax.files import checked_path

_DEEPEST = 5
_MOST_ENTRIES = 1000
_MOST_FOLDERS = 6


def open_source(name: SourceName, path: pathlib.Path, options: SourceOptions | None = None) -> LazyRecords:
    """Returns the records of a published dataset.

    Args:
        name: its layout.
        path: its folder or file.
        options: of all sources.

    Raises:
        UserError: if nothing of that layout is there, or a package is missing.
    """
    match name:
        case "gobjaverse":
            return read_gobjaverse(path, options)
        case "diffsplat":
            return read_diffsplat(path, options)
        case "realestate10k":
            return read_realestate10k(path, options)
        case "mvimgnet":
            return read_mvimgnet(path, options)
        case "dl3dv":
            return read_dl3dv(path, options)
        case "transforms_json":
            return read_transforms(path, options)
        case "store":
            return read_store(path, options)


def recognise_source(path: pathlib.Path) -> SourceName | None:
    """Returns whose layout a folder or file has, or None; looks at a few folders of each level only."""
    checked_path(path)
    names = [path.name] if path.is_file() else list(_entries(path))
    where = path.resolve().as_posix()

    def any_is(pattern: str) -> bool:
        return any(re.search(pattern, name) for name in names)

    if any_is(r"^index\.json$") and any_is(r"^[^/]*\.arrayrecord$"):
        return "store"
    if any_is(r"(^|/)(\d{5})/\2(\.json|_nd\.exr)$") or any_is(r"\.tar$"):
        return "gobjaverse"
    if any_is(r"\.parquet$"):
        return "diffsplat"
    if any_is(r"\.torch$") or any_is(r"(^|/)metadata/[^/]+\.json$"):
        return "realestate10k"
    if any_is(r"(^|/)transforms[^/]*\.json$"):
        return "dl3dv" if any_is(r"[0-9a-f]{64}/") or re.search(r"/[0-9a-f]{64}(/|$)", where) else "transforms_json"
    if any_is(r"(^|/)sparse/0/(cameras|images)\.(bin|txt)$"):
        return "dl3dv" if any_is(r"[0-9a-f]{64}/") or re.search(r"/[0-9a-f]{64}(/|$)", where) else "mvimgnet"
    return None


def _entries(root: pathlib.Path) -> Iterator[str]:
    """Yields the paths of files, those near the root first; of many folders side by side, only a few are entered."""
    level = [(root, "")]
    for _ in range(_DEEPEST):
        below: list[tuple[pathlib.Path, str]] = []
        for folder, prefix in level:
            folders = 0
            for entry in itertools.islice(os.scandir(folder), _MOST_ENTRIES):
                if entry.is_file():
                    yield f"{prefix}{entry.name}"
                elif folders < _MOST_FOLDERS:
                    folders += 1
                    below.append((folder / entry.name, f"{prefix}{entry.name}/"))
        level = below[:_MOST_ENTRIES]
