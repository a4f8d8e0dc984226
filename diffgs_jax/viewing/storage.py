"""The files of a server's visitors, kept within a total size."""

import contextlib
import pathlib
import threading
from collections.abc import Generator

_PERIOD = 5.0  # seconds


def remove_oldest(folder: pathlib.Path, limit: int) -> int:
    """Removes files, the oldest first, until those that are left fit, and returns how many bytes these have.

    Args:
        folder: is searched with its folders. Files that vanish meanwhile are no error.
        limit: bytes.
    """
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            state = path.lstat()
            if path.is_file() or path.is_symlink():
                found.append((state.st_mtime, state.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size
    return total


@contextlib.contextmanager
def limited_folder(folder: pathlib.Path, limit: int) -> Generator[None, None, None]:
    """Looks after a folder every five seconds, from a thread of its own, until the block ends.

    Args:
        folder: for `remove_oldest`; need not be there yet.
        limit: bytes.
    """
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(_PERIOD):
            remove_oldest(folder, limit)

    thread = threading.Thread(target=look, daemon=True, name="visitors' files")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
