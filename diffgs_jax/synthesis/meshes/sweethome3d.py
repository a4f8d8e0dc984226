"""Sweet Home 3D furniture libraries: `.sh3f` archives of OBJ models and a catalogue of them.

Source: the Debian package `sweethome3d-furniture`; the format is that of Sweet Home 3D's furniture library editor, a
zip archive with a Java properties file, `PluginFurnitureCatalog.properties`, of `key#number=value` lines.
"""

import pathlib
import re
import shutil
import subprocess
import zipfile
from typing import NamedTuple

import numpy as np

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import file_sha256, make_folder

PACKAGE, VERSION = "sweethome3d-furniture", "1.8-1"
SHA256 = "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668"
SOURCE = "Debian package sweethome3d-furniture 1.8-1 (www.sweethome3d.com)"
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
        rotation: `[3, 3]`, what stands the model upright (OBJ axes: y up, front +z).
        size: width, depth and height in metres, upright. A few contradict the model's proportions.
        elevation: metres above the floor; 0 for what stands on it.
    """

    uid: str
    path: pathlib.Path
    name: str
    category: str
    creator: str
    license: str
    rotation: np.ndarray
    size: tuple[float, float, float] = (0.0, 0.0, 0.0)
    elevation: float = 0.0


def find_package(work: pathlib.Path, given: pathlib.Path | None = None) -> pathlib.Path:
    """Returns the Debian package's file, checked.

    Args:
        work: folder it is downloaded to if it is not there.
        given: the file, if it is at hand.

    Raises:
        UserError: if there is no such file, and no way to fetch it.
        DataError: if it is another file.
    """
    package = given or fetch_package(work)
    check_package(package)
    return package


def fetch_package(work: pathlib.Path) -> pathlib.Path:
    """Returns the package's file in `work`, downloaded there if it is not yet."""
    file = work / f"{PACKAGE}_{VERSION}_all.deb"
    if file.exists():
        return file
    if shutil.which("apt-get") is None:
        raise UserError(f"there is no apt-get here: download {file.name} from a Debian mirror and give --package FILE")
    make_folder(work)
    command = ["apt-get", "download", f"{PACKAGE}={VERSION}"]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode or not file.exists():
        reason = (done.stderr.strip().splitlines() or ["no such file appeared"])[-1]
        raise DataError(f"{' '.join(command)} failed ({reason}); give the file with --package")
    return file


def check_package(file: pathlib.Path) -> None:
    """Refuses any other file than the one this script was written for."""
    found = file_sha256(file)
    if found != SHA256:
        raise DataError(f"{file} is not {PACKAGE} {VERSION}: its SHA-256 is {found}, not {SHA256}")


def unpack_package(package: pathlib.Path, work: pathlib.Path, licenses: set[str] | None) -> list[CatalogueEntry]:
    """Unpacks the libraries of the wanted licences and returns their models."""
    if shutil.which("dpkg-deb") is None:
        raise UserError("unpacking a Debian package needs dpkg-deb (package dpkg)")
    folder = work / "package"
    make_folder(folder)
    done = subprocess.run(["dpkg-deb", "-x", package, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"{package} cannot be unpacked: {done.stderr.strip()}")
    entries = []
    for library, license_name in LICENSES.items():
        if licenses is None or license_name in licenses:
            archive = folder / "usr/share/sweethome3d/furniture" / f"{library}.sh3f"
            entries += unpack_library(archive, work / "models")
    return entries


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
        size=(_metres(item, "width"), _metres(item, "depth"), _metres(item, "height")),
        elevation=_metres(item, "elevation"),
        uid=f"{library}/{path.stem}",
        path=path,
        name=item.get("name", path.stem),
        category=item.get("category", ""),
        creator=item.get("creator", ""),
        license=LICENSES[library],
        rotation=rotation,
    )


def _metres(item: dict[str, str], key: str) -> float:
    try:
        return float(item.get(key, "0")) / 100
    except ValueError:
        return 0.0
