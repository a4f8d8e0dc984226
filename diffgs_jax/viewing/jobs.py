"""Long work in a thread of its own, followed from a generator that may be closed at any time."""

import concurrent.futures
import queue
import threading
from collections.abc import Callable, Generator
from typing import Generic, NamedTuple, TypeVar

from diffgs_jax.viewing.assets import Progress

T = TypeVar("T")
Job = Callable[[Callable[[Progress], None]], T]


class Abandoned(Exception):
    """Nobody follows the job any more."""


class Done(NamedTuple, Generic[T]):
    """The end of a job.

    Attributes:
        value: what the job returned.
    """

    value: T


def follow(
    worker: concurrent.futures.Executor, job: Job[T], *, every: float = 0.5
) -> Generator[Progress | Done[T], None, None]:
    """Runs a job, and yields how far it is until it is done.

    Jobs wait for each other if the worker has a single thread. When the generator is closed before the end, the job is
    taken out of the line, or ends the next time it reports.

    Args:
        worker: runs the job.
        job: called with the function to report with.
        every: seconds after which the last progress is repeated, so that the follower has a chance to leave.

    Raises:
        Exception: what the job raises.
    """
    events: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
    left = threading.Event()

    def report(progress: Progress) -> None:
        if left.is_set():
            raise Abandoned
        events.put(progress)

    progress = Progress("Waiting until the model is ready")
    future = worker.submit(job, report)
    future.add_done_callback(lambda _: events.put(None))
    try:
        while True:
            yield progress
            try:
                event = events.get(timeout=every)
            except queue.Empty:
                continue
            if event is None:
                break
            progress = event
        yield Done(future.result())
    finally:
        left.set()
        future.cancel()
