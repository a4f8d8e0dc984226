"""Folders of published models: local ones, or fetched from the Hugging Face hub where that is asked for."""

import importlib
import pathlib
import re
from collections.abc import Sequence

from diffgs_jax.errors import UserError
from diffgs_jax.files import one_line, shown


def model_folder(
    name: str, *, files: Sequence[str] = (), revision: str | None = None, download: bool = True
) -> pathlib.Path:
    """Returns the local folder of a published model.

    What is fetched lands in the hub's own cache; `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_OFFLINE` mean what
    they mean to its client.

    Args:
        name: a folder, or a repository of the hub (`owner/name`) where there is no such folder.
        files: patterns of the files that are wanted, such as `unet/*.json`; all by default.
        revision: branch, tag or commit of the repository.
        download: whether to fetch what the cache does not have.

    Raises:
        UserError: if there is neither, the `huggingface-hub` package is missing, or the hub does not give the files.
    """
    folder = pathlib.Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or not re.fullmatch(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}", name):
        raise UserError(f"there is no folder {shown(name)}, and no repository can have that name")
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        raise UserError(
            f'there is no folder {shown(name)}; to fetch a repository of that name: pip install "diffgs_jax[hub]"'
        ) from None
    try:
        return pathlib.Path(
            hub.snapshot_download(
                name, revision=revision, allow_patterns=list(files) or None, local_files_only=not download
            )
        )
    except Exception as error:  # noqa: BLE001 - those of its HTTP client are of many kinds
        raise UserError(f"{shown(name)} is no folder here and cannot be fetched: {one_line(error)}") from None
