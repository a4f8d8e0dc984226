"""Many pieces of work over processes, job arrays or a Ray cluster; every finished piece is a file.

What is finished is never done again, so a command that was killed, run again, loses at most the pieces in hand. A piece
that fails is reported with its reason. One that takes its process down with it is tried again by itself, and left out
after the third time.
"""

import concurrent.futures
import contextlib
import importlib
import multiprocessing
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from tqdm import tqdm

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import text_sha256, write_bytes

_MOST_ATTEMPTS = 3


@runtime_checkable
class Item(Protocol):
    """What a piece of work starts from: anything that can be pickled and has a name of its own."""

    @property
    def uid(self) -> str:
        """Unique among all pieces."""
        ...


Make = Callable[[Any], bytes]


def work_through(
    items: Sequence[Item],
    make: Make,
    folder: pathlib.Path,
    *,
    workers: int = 2,
    time_limit: float = 600.0,
    ray: bool = False,
    unit: str = "object",
) -> dict[str, str]:
    """Makes the file of every item that has none yet.

    Args:
        items: what to do, in the order to begin it in.
        make: makes an item into the bytes of its file; a picklable function that is not a lambda.
        folder: where the files go; with Ray or a job array, one that all machines see.
        workers: processes; with one, everything is done in this process.
        time_limit: seconds after which an item's process is ended; not with one worker.
        ray: whether a Ray cluster does the work; `workers` then does not count.
        unit: what the progress bar counts.

    Returns:
        Names of the items that could not be made, with the reason.

    Raises:
        UserError: if Ray is asked for and not installed, or `make` raises one.
    """
    missing = [item for item in items if not kept_file(folder, item.uid).exists()]
    reasons: dict[str, str] = {}
    with tqdm(total=len(missing), unit=unit, desc="rendering") as progress:

        def finish(item: Item, reason: str | None) -> None:
            if reason is not None:
                reasons[item.uid] = reason
                progress.write(f"skipped {item.uid}: {reason}")
            progress.update()

        if ray:
            for item, reason in _with_ray(missing, make, folder):
                finish(item, reason)
        elif workers <= 1 or len(missing) <= 1:
            for item in missing:
                finish(item, attempt(item, make, folder))
        else:
            for item, reason in _with_processes(missing, make, folder, workers, time_limit):
                finish(item, reason)
    return dict(sorted(reasons.items()))


def kept_file(folder: pathlib.Path, uid: str) -> pathlib.Path:
    """Returns where the finished piece of this name lies."""
    return folder / f"{text_sha256(uid)[:24]}.msgpack"


def attempt(item: Item, make: Make, folder: pathlib.Path) -> str | None:
    """Makes one file, or returns why there is none; what processes, job arrays and Ray all run."""
    file = kept_file(folder, item.uid)
    begun = file.with_suffix(".begun")
    attempts = _attempts(file)
    if attempts >= _MOST_ATTEMPTS:
        return f"its process died or was ended {attempts} times (delete {begun} to try again)"
    begun.write_text(str(attempts + 1))
    try:
        made = make(item)
    except UserError:
        begun.unlink()
        raise
    except Exception as error:  # what a mesh from anywhere makes its readers raise
        begun.unlink()
        return " ".join(str(error).split()) or type(error).__name__
    write_bytes(file, made)
    begun.unlink(missing_ok=True)
    return None


def _attempts(file: pathlib.Path) -> int:
    try:
        return int(file.with_suffix(".begun").read_text() or 0)
    except (OSError, ValueError):
        return 0


def _with_processes(
    items: Sequence[Item], make: Make, folder: pathlib.Path, workers: int, time_limit: float
) -> Iterator[tuple[Item, str | None]]:
    left = {item.uid: item for item in items}
    while left:
        fresh = [item for item in left.values() if not _attempts(kept_file(folder, item.uid))]
        # What was in hand when a process died is tried by itself, so that nothing else is blamed for it.
        batch, processes = (fresh, workers) if fresh else ([next(iter(left.values()))], 1)
        begun = sum(_attempts(kept_file(folder, item.uid)) for item in left.values())
        done = 0
        for item, reason in _in_one_pool(batch, make, folder, processes, time_limit):
            del left[item.uid]
            done += 1
            yield item, reason
        if not done and sum(_attempts(kept_file(folder, item.uid)) for item in left.values()) == begun:
            raise DataError("the rendering processes end before they begin; --workers 1 shows why")


def _in_one_pool(
    items: Sequence[Item], make: Make, folder: pathlib.Path, workers: int, time_limit: float
) -> Iterator[tuple[Item, str | None]]:
    """Yields what is done until everything is, or a process dies."""
    # Spawned, because a forked copy of an OpenGL context or of a running JAX is not usable.
    context = multiprocessing.get_context("spawn")
    settings = (os.getpid(), time_limit)
    with contextlib.ExitStack() as stack:
        pool = concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker, settings)
        stack.callback(pool.shutdown, cancel_futures=True)
        futures = {pool.submit(_attempt_in_worker, item, make, folder): item for item in items}
        for future in concurrent.futures.as_completed(futures):
            try:
                reason = future.result()
            except concurrent.futures.process.BrokenProcessPool:
                return
            yield futures[future], reason


def _with_ray(items: Sequence[Item], make: Make, folder: pathlib.Path) -> Iterator[tuple[Item, str | None]]:
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise UserError("working on a cluster needs Ray: pip install 'diffgs_jax[ray]'") from None
    if not ray.is_initialized():
        ray.init()
    remote = ray.remote(num_cpus=1, max_retries=0)(attempt)
    running = {remote.remote(item, make, folder): item for item in items}
    while running:
        (done, *_), _ = ray.wait(list(running))
        item = running.pop(done)
        try:
            reason = ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except ray.exceptions.RayError:  # the process or its machine died; attempts are counted in the folder
            running[remote.remote(item, make, folder)] = item
            continue
        yield item, reason


# Of the worker process this module is imported in: what its watching thread reads.
_time_limit = _deadline = float("inf")


def _start_worker(parent: int, time_limit: float) -> None:
    global _time_limit
    _time_limit = time_limit
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software renderer: the processes share the cores already
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _attempt_in_worker(item: Item, make: Make, folder: pathlib.Path) -> str | None:
    global _deadline
    _deadline = time.monotonic() + _time_limit
    try:
        return attempt(item, make, folder)
    finally:
        _deadline = float("inf")


def _watch(parent: int) -> None:
    """Ends a worker whose parent was killed, or that hangs; nothing else would."""
    while os.getppid() == parent and time.monotonic() < _deadline:
        time.sleep(0.5)
    os._exit(1)
