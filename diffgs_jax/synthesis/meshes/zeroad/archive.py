"""The game's archive, `public.zip`: its files by the names that actors call them."""

import functools
import io
import pathlib
import re
import xml.etree.ElementTree as ET
import zipfile

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import one_line
from diffgs_jax.meshing.textures import shrunk_texture
from diffgs_jax.synthesis.meshes.zeroad.actors import Actor, read_actor
from diffgs_jax.synthesis.meshes.zeroad.models import GameModel, Pose, read_pmd, read_psa

_SUFFIX = re.compile(r"(\.\w+)?(\.cached)?\.(pmd|psa|dds|png)$")


class GameArchive:
    """Reads models, animations, textures and XML files by name; what was read is kept as long as little of it is."""

    def __init__(self, path: pathlib.Path):
        """Opens the archive.

        Raises:
            UserError: if there is no such file.
            DataError: if it is no zip archive.
        """
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        except zipfile.BadZipFile as error:
            raise DataError(f"{path} is no archive of 0 A.D.: {one_line(error)}") from None
        names = self._zip.namelist()
        self._files = {name.lower(): name for name in names}
        self._models, self._animations, self._skins = (
            _by_stem(names, folder, suffix)
            for folder, suffix in (
                ("art/meshes/", ".pmd"),
                ("art/animation/", ".psa"),
                ("art/textures/skins/", (".dds", ".png")),
            )
        )
        self.actor = functools.lru_cache(4096)(self._read_actor)
        self.model = functools.lru_cache(256)(self._read_model)
        self.pose = functools.lru_cache(256)(self._read_pose)
        self.material = functools.lru_cache(256)(self._read_material)

    def names(self, folder: str) -> list[str]:
        """Returns the XML files below a folder, without the folder and the suffix."""
        return sorted(
            name[len(folder) : -4] for name in self._files.values() if name.startswith(folder) and name.endswith(".xml")
        )

    def xml(self, path: str) -> ET.Element:
        """Reads an XML file.

        Raises:
            DataError: if it is missing or cannot be parsed.
        """
        try:
            return ET.fromstring(self.read(path))
        except ET.ParseError as error:
            raise DataError(f"{path} is no XML: {one_line(error)}") from None

    def read(self, path: str) -> bytes:
        """Returns a file.

        Raises:
            DataError: if it is missing or damaged.
        """
        name = self._files.get(path.lower())
        if name is None:
            raise DataError(f"the archive lacks {path}")
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{path} cannot be read: {one_line(error)}") from None

    def has_model(self, name: str) -> bool:
        """Says whether there is a mesh of this name."""
        return _stem(name) in self._models

    def has_skin(self, name: str) -> bool:
        """Says whether there is a texture of this name."""
        return _stem(name) in self._skins

    def skin(self, name: str) -> UInt8[np.ndarray, "h w 4"]:
        """Returns a texture, straight alpha, top row first.

        Raises:
            DataError: if it is missing or cannot be decoded.
        """
        path = self._skins.get(_stem(name))
        if path is None:
            raise DataError(f"the archive lacks the texture {name}")
        try:
            with Image.open(io.BytesIO(self.read(path))) as image:
                return shrunk_texture(image)
        except (OSError, ValueError, NotImplementedError) as error:
            raise DataError(f"the texture {name} cannot be decoded: {one_line(error)}") from None

    def _read_actor(self, name: str) -> Actor:
        return read_actor(self.xml, f"art/actors/{name}.xml")

    def _read_model(self, name: str) -> GameModel:
        path = self._models.get(_stem(name))
        if path is None:
            raise DataError(f"the archive lacks the mesh {name}")
        return read_pmd(self.read(path))

    def _read_pose(self, name: str) -> Pose | None:
        path = self._animations.get(_stem(name))
        return None if path is None else read_psa(self.read(path))

    def _read_material(self, name: str) -> frozenset[str]:
        root = self.xml(f"art/materials/{name}")
        return frozenset(str(one.get("name")) for one in root.iterfind("define") if one.get("value") != "0")


@functools.cache
def open_game_archive(path: pathlib.Path) -> GameArchive:
    """Opens an archive, once in a process; see `GameArchive`."""
    return GameArchive(path)


def _by_stem(names: list[str], folder: str, suffix: str | tuple[str, ...]) -> dict[str, str]:
    found = [name for name in names if name.lower().startswith(folder) and name.endswith(suffix)]
    return {_SUFFIX.sub("", name.lower())[len(folder) :]: name for name in found}


def _stem(name: str) -> str:
    return re.sub(r"\.\w+$", "", name.strip().lower())
