"""Long work in a thread of its own, followed from a generator that may be closed at any time."""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

from diffgs_jax.viewing.assets import JobProgress

T = TypeVar("T")
Job = Callable[[Callable[[JobProgress], None]], T]


class Abandoned(Exception):
    """Nobody follows the job any more."""


class Done(NamedTuple, Generic[T]):
    """The end of a job.

    Attributes:
        value: what the job returned.
    """

    value: T


class Worker(NamedTuple):
    """Whom jobs are given to; they wait for each other.

    Attributes:
        thread: the only one.
        closing: set when all jobs shall end at their next report.
    """

    thread: Executor
    closing: threading.Event

    def start(self, job: Job[T], left: threading.Event, told: Callable[[JobProgress], object]) -> Future:
        """Puts a job into the line.

        Args:
            job: called with the function to report with.
            left: ends the job at its next report once it is set.
            told: called with what the job reports.
        """

        def report(progress: JobProgress) -> None:
            if left.is_set() or self.closing.is_set():
                raise Abandoned
            told(progress)

        return self.thread.submit(job, report)


@contextlib.contextmanager
def worker() -> Generator[Worker, None, None]:
    """Yields a worker; when the block ends, its jobs end at their next report."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="jobs") as thread:
        closing = threading.Event()
        try:
            yield Worker(thread, closing)
        finally:
            closing.set()
            thread.shutdown(wait=True, cancel_futures=True)


def follow(worker: Worker, job: Job[T], *, every: float = 0.5) -> Generator[JobProgress | Done[T], None, None]:
    """Runs a job, and yields how far it is until it is done.

    When the generator is closed before the end, the job is taken out of the line, or ends the next time it reports.

    Args:
        worker: runs the job.
        job: called with the function to report with.
        every: seconds after which the last progress is repeated, so that the follower has a chance to leave.

    Raises:
        Exception: what the job raises.
    """
    events: queue.SimpleQueue[JobProgress | None] = queue.SimpleQueue()
    left = threading.Event()
    progress = JobProgress("Waiting until the model is ready")
    future = worker.start(job, left, events.put)
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
