"""Sweet Home 3D furniture libraries: `.sh3f` archives of OBJ models and a catalogue of them.

Source: the Debian package `sweethome3d-furniture`; the format is that of Sweet Home 3D's furniture library editor, a
zip archive with a Java properties file, `PluginFurnitureCatalog.properties`, of `key#number=value` lines.
"""

import pathlib
import re
import zipfile
from typing import NamedTuple

import numpy as np

from diffgs_jax.errors import DataError

CATALOGUE = "PluginFurnitureCatalog.properties"
LICENSES = {
    "BlendSwap-CC-0": "CC0-1.0",
    "BlendSwap-CC-BY": "CC-BY-3.0",
    "KatorLegaz": "CC-BY-3.0-US",
    "Reallusion": "CC-BY-3.0-US",
    "Scopia": "CC-BY-3.0",
}
"""SPDX licence of each archive's models, by the archive's name."""


class CatalogueEntry(NamedTuple):
    """One model of a library.

    Attributes:
        uid: `archive/model`, unique over all archives.
        path: the OBJ file.
        name: the English name in the catalogue.
        category: the English category.
        creator: whom to credit.
        license: SPDX name.
        rotation: `[3, 3]`, what stands the model upright (OBJ axes: y up, front +z). The catalogue's sizes are not
            used: a few of them contradict the model, and where both are right they agree.
    """

    uid: str
    path: pathlib.Path
    name: str
    category: str
    creator: str
    license: str
    rotation: np.ndarray


def unpack_library(archive: pathlib.Path, folder: pathlib.Path) -> list[CatalogueEntry]:
    """Unpacks a `.sh3f` archive into `folder/<archive name>` and returns what its catalogue lists.

    Raises:
        DataError: if the archive is no furniture library of a known licence.
    """
    library = archive.stem
    if library not in LICENSES:
        raise DataError(f"{archive}: the licence of this library is not known; known are {', '.join(LICENSES)}")
    target = folder / library
    try:
        with zipfile.ZipFile(archive) as files:
            files.extractall(target)
            text = files.read(CATALOGUE).decode("latin-1")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive} is no Sweet Home 3D furniture library: {error}") from None
    return read_catalogue(text, target, library)


def read_catalogue(text: str, folder: pathlib.Path, library: str) -> list[CatalogueEntry]:
    """Returns the entries of a catalogue whose files lie in `folder`."""
    items: dict[int, dict[str, str]] = {}
    for key, number, value in re.findall(r"^\s*(\w+)#(\d+)\s*=\s*(.*?)\s*$", text, flags=re.MULTILINE):
        # Java escapes what is not Latin-1 as \uXXXX.
        items.setdefault(int(number), {})[key] = re.sub(
            r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), value
        )
    return [_entry(item, folder, library) for _, item in sorted(items.items()) if "model" in item]


def _entry(item: dict[str, str], folder: pathlib.Path, library: str) -> CatalogueEntry:
    path = folder / item["model"].lstrip("/")
    try:
        rotation = np.asarray(item.get("modelRotation", "1 0 0 0 1 0 0 0 1").split(), np.float64).reshape(3, 3)
    except ValueError as error:
        raise DataError(f"{folder / CATALOGUE}: {item['model']} has no readable rotation: {error}") from None
    return CatalogueEntry(
        uid=f"{library}/{path.stem}",
        path=path,
        name=item.get("name", path.stem),
        category=item.get("category", ""),
        creator=item.get("creator", ""),
        license=LICENSES[library],
        rotation=rotation,
    )
