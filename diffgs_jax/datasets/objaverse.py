"""Objaverse: 800,000 meshes (GLB), from the cache of the `objaverse` package or any folder of GLB files.

    ~/.objaverse/hf-objaverse-v1/object-paths.json.gz          uid → glbs/000-023/{uid}.glb
    ~/.objaverse/hf-objaverse-v1/glbs/000-023/{uid}.glb
    ~/.objaverse/hf-objaverse-v1/metadata/000-023.json.gz      uid → name, license, user, …
    ~/.objaverse/hf-objaverse-v1/lvis-annotations.json.gz      category → uids

All files but the meshes are optional; nothing is downloaded here except by `download_objaverse`. Meshes are rendered
into records by `diffgs_jax.synthesis.meshes.dataset.render_dataset`.

Source: Deitke et al. 2023; the layout is that of the package, 0.1.7.
"""

import importlib
import pathlib
from collections.abc import Sequence
from typing import Any

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import gunzip, json_list, json_object, open_regular, parse_json
from diffgs_jax.synthesis.meshes.objects import MeshSource

CACHE = pathlib.Path("~/.objaverse/hf-objaverse-v1")
_LARGEST_INDEX = 2**28  # bytes, unpacked
SOURCE = "Objaverse 1.0 (Deitke et al. 2023)"
LICENSES = {
    "by": "CC-BY-4.0",
    "by-nc": "CC-BY-NC-4.0",
    "by-nc-sa": "CC-BY-NC-SA-4.0",
    "by-sa": "CC-BY-SA-4.0",
    "cc0": "CC0-1.0",
}
"""SPDX names of Sketchfab's licences."""


def find_objaverse(path: pathlib.Path = CACHE, uids: Sequence[str] | None = None) -> list[MeshSource]:
    """Returns the meshes that are there, by uid, with names, creators and licences where their metadata is there too.

    Args:
        path: the cache (`~/.objaverse` or the version's folder in it), or any folder of GLB files.
        uids: the wanted ones; all by default.

    Raises:
        UserError: if there is no such folder, no GLB file in it, or a wanted one is missing.
        DataError: if metadata is there but cannot be read.
    """
    folder = path.expanduser()
    folder = folder / CACHE.name if (folder / CACHE.name).is_dir() else folder
    if not folder.is_dir():
        raise UserError(f"there is no folder of meshes {folder}; download_objaverse(uids) fetches some")
    files = {file.stem: file for file in sorted(folder.rglob("*.glb"))}
    if uids is not None:
        missing = [uid for uid in uids if uid not in files]
        if missing:
            raise UserError(
                f"{folder} lacks {len(missing)} of the {len(uids)} wanted meshes, the first is {missing[0]}"
            )
        files = {uid: files[uid] for uid in uids}
    if not files:
        raise UserError(f"{folder} holds no GLB file")
    metadata: dict[str, dict[str, dict[str, Any]]] = {}
    categories = {uid: name for name, members in _categories(folder) for uid in members}
    sources = []
    for uid, file in sorted(files.items()):
        group = file.parent.name
        if group not in metadata:
            metadata[group] = _read(folder / "metadata" / f"{group}.json.gz")
        about = json_object(metadata[group].get(uid, {}), f"the metadata of {uid}")
        sources.append(_source(uid, file, about, categories.get(uid)))
    return sources


def _categories(folder: pathlib.Path) -> list[tuple[str, list[str]]]:
    file = folder / "lvis-annotations.json.gz"
    found = [(name, json_list(members, f"{name} in {file}")) for name, members in _read(file).items()]
    if not all(isinstance(uid, str) for _, members in found for uid in members):
        raise DataError(f"{file} lists something else than uids")
    return found


def download_objaverse(uids: Sequence[str], processes: int = 1) -> list[MeshSource]:
    """Downloads meshes into the package's cache, those that are not there yet, and returns them.

    Args:
        uids: which.
        processes: downloads at a time.

    Raises:
        UserError: if the package is not installed.
        DataError: if a mesh cannot be fetched.
    """
    try:
        objaverse = importlib.import_module("objaverse")
    except ImportError:
        raise UserError("downloading Objaverse needs its package: pip install 'diffgs_jax[data]'") from None
    try:
        paths = objaverse.load_objects(list(uids), processes)
    except Exception as error:  # urllib raises many kinds
        raise DataError(f"Objaverse cannot be downloaded: {error}") from None
    missing = [uid for uid in uids if uid not in paths]
    if missing:
        raise UserError(f"Objaverse has no object {missing[0]} ({len(missing)} of {len(uids)} are unknown)")
    return find_objaverse(pathlib.Path(objaverse._VERSIONED_PATH), uids)


def _source(uid: str, file: pathlib.Path, metadata: dict[str, Any], category: str | None) -> MeshSource:
    user = json_object(metadata.get("user") or {}, f"the user of {uid}")
    name = str(metadata.get("name") or "")
    spoken = category.replace("_", " ") if category else None
    license_name = str(metadata.get("license") or "")
    return MeshSource(
        uid=uid,
        path=file,
        caption=spoken or name or None,
        name=name,
        creator=str(user.get("displayName") or user.get("username") or ""),
        license=LICENSES.get(license_name, license_name),
        source=SOURCE if metadata else file.parent.name,
    )


def _read(file: pathlib.Path) -> dict[str, Any]:
    """Returns what a compressed JSON file says; nothing where there is none."""
    if not file.exists():
        return {}
    with open_regular(file, limit=_LARGEST_INDEX, unreadable=DataError) as opened:
        content = gunzip(opened, _LARGEST_INDEX, str(file))
    return json_object(parse_json(content, str(file), limit=_LARGEST_INDEX, any_text=True), str(file))
