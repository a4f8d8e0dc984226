"""Where a model's checkpoint is: in a folder, in the package (`bundled:name`), or on the Hugging Face Hub.

Of the hub are `hub:owner/name` and `hub:owner/name@revision`; they need the extra `hub`. A repository holds what
`scripts/publish_checkpoint.py` makes: the folder of a checkpoint, and a model card. It is kept in the hub's own cache,
and without a network what is there is used.
"""

import os
import pathlib

from diffgs_jax.errors import UserError
from diffgs_jax.files import checked_path
from diffgs_jax.weights import model_folder

BUNDLED_PREFIX = "bundled:"
"""What tells a model that comes with the package from a folder."""
BUNDLED_FOLDER = pathlib.Path(__file__).parents[1] / "checkpoints"
"""Where those are."""
HUB_PREFIX = "hub:"
"""What tells a model of the hub from a folder."""

_FILES = ["[0-9]*"]  # the folder of a step; a repository may have more, such as the same weights as safetensors


def checkpoint_folder(named: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the folder of a checkpoint; a model of the hub is downloaded if it is not there.

    Args:
        named: a folder, there or not; `bundled:name`; or `hub:owner/name`, which `@` and a branch, tag or commit may
            follow.

    Raises:
        UserError: if no folder can have that name, there is no such model, it cannot be had, or the package is missing.
    """
    name = os.fspath(named)
    if name.startswith(BUNDLED_PREFIX):
        known = sorted(path.name for path in BUNDLED_FOLDER.iterdir() if any(path.glob("[0-9]*")))
        if name.removeprefix(BUNDLED_PREFIX) not in known:
            raise UserError(f"no model {name} comes with the package; there are: {', '.join(known)}")
        return BUNDLED_FOLDER / name.removeprefix(BUNDLED_PREFIX)
    if not name.startswith(HUB_PREFIX):
        return checked_path(named)
    repository, _, revision = name.removeprefix(HUB_PREFIX).partition("@")
    return model_folder(repository, files=_FILES, revision=revision or None)
