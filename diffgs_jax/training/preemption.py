"""A polite end: a scheduler's SIGTERM asks the run to save and leave."""

import contextlib
import signal
import threading
from collections.abc import Callable, Generator
from types import FrameType

import jax

EXIT_CODE = 75
"""What a preempted run exits with (EX_TEMPFAIL: the same command continues it)."""


@contextlib.contextmanager
def watch_preemption() -> Generator[Callable[[int], bool], None, None]:
    """Gives a function that says, at a step, whether the run is asked to stop.

    With several processes all of them say so at the same step, whichever of them got the signal: JAX's coordinator
    passes it on.
    """
    asked = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        del number, frame
        asked.set()

    def is_asked(step: int) -> bool:
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return asked.is_set()

    if jax.process_count() > 1 or threading.current_thread() is not threading.main_thread():
        yield is_asked  # the coordinator's service listens to the signal itself
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield is_asked
    finally:
        signal.signal(signal.SIGTERM, before)
