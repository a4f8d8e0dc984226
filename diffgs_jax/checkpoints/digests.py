"""A checkpoint's `SHA256SUMS`: the hash of each of its files, so that none is read that is not what was written.

The file is what `sha256sum` writes and `sha256sum --check` reads, with paths relative to the checkpoint. It lists files
rather than arrays, because then a machine reads only what it would read anyway, also where each of many machines has a
part of every array, and no damaged file reaches the program that decodes it.
"""

import concurrent.futures
import os
import pathlib
import re
from collections.abc import Collection, Sequence

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import file_sha256, write_text

SUMS = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")
_LARGEST_LIST = 64 << 20  # bytes; that of a thousand processes has a few MB
_THREADS = 4


def damaged(checkpoint: pathlib.Path, reason: str) -> DataError:
    """Returns the error that says in one line what is wrong with a checkpoint."""
    return DataError(f"checkpoint {checkpoint} is damaged ({reason}); delete it or name another")


def write_digests(checkpoint: pathlib.Path) -> None:
    """Lists the files of a checkpoint that is complete; it counts as one without digests until the list is written.

    Raises:
        UserError: if it cannot be read or the list not be written.
    """
    names = [name for name in sorted(_files(checkpoint)) if name != SUMS]
    sums = _hashes(checkpoint, names)
    write_text(checkpoint / SUMS, "".join(f"{sums[name]}  {name}\n" for name in names))


def verify_digests(checkpoint: pathlib.Path, parts: Collection[str], *, share: tuple[int, int] = (0, 1)) -> bool:
    """Compares the files of a checkpoint with its list.

    Args:
        checkpoint: the folder of one step.
        parts: whose files are looked at, besides those that belong to no part.
        share: (i, n) hashes the i-th of n portions of about one size, where n processes look at one folder.

    Returns:
        Whether there is a list.

    Raises:
        DataError: if a file is missing, different or not listed, or the list is none.
    """
    listed = _read_list(checkpoint)
    if listed is None:
        return False
    wanted = {name for name in listed if "/" not in name or name.split("/")[0] in parts}
    there = {name: size for name, size in _files(checkpoint, parts).items() if name != SUMS}
    for name in sorted(wanted - there.keys()):
        raise damaged(checkpoint, f"{name} is missing")
    for name in sorted(there.keys() - wanted):
        if not pathlib.PurePosixPath(name).name.startswith("."):  # such as file systems and desktops leave
            raise damaged(checkpoint, f"{name} is not listed in {SUMS}")
    number, count = share
    names = sorted(wanted, key=lambda name: (-there[name], name))[number::count]
    try:
        found = _hashes(checkpoint, names)
    except UserError as error:
        raise damaged(checkpoint, str(error)) from error
    for name in names:
        if found[name] != listed[name]:
            raise damaged(checkpoint, f"{name} is not what was written, says its SHA-256")
    return True


def _read_list(checkpoint: pathlib.Path) -> dict[str, str] | None:
    """Returns the hashes by the files' paths, None where there is no list."""
    path = checkpoint / SUMS
    try:
        if not path.exists():
            return None
        if not path.is_file() or path.stat().st_size > _LARGEST_LIST:
            raise damaged(checkpoint, f"{SUMS} is not a list of digests")
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise damaged(checkpoint, f"{SUMS} cannot be read: {error.strerror}") from error
    entries = [_LINE.fullmatch(line) for line in text.removesuffix("\n").split("\n")]
    if None in entries:
        raise damaged(checkpoint, f"{SUMS} is not a list of digests")
    return {entry[2]: entry[1] for entry in entries if entry is not None}


def _files(checkpoint: pathlib.Path, parts: Collection[str] | None = None) -> dict[str, int]:
    """Returns the sizes of the files that lie in a checkpoint itself and in the folders of its parts, by path."""
    sizes = {}
    for folder, inner, names in os.walk(checkpoint):
        if pathlib.Path(folder) == checkpoint and parts is not None:
            inner[:] = [name for name in inner if name in parts]
        for path in (pathlib.Path(folder, name) for name in names):
            if os.path.isfile(path):  # nothing else can be hashed
                sizes[path.relative_to(checkpoint).as_posix()] = os.path.getsize(path)
    return sizes


def _hashes(checkpoint: pathlib.Path, names: Sequence[str]) -> dict[str, str]:
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:  # hashing leaves Python's lock to others
        return dict(zip(names, pool.map(lambda name: file_sha256(checkpoint / name), names), strict=True))
