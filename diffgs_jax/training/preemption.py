"""SIGTERM (a scheduler's), SIGINT (Ctrl-C) and SIGHUP (a closed terminal) ask a run to save and end."""

import contextlib
import signal
import sys
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
    passes it on. Ctrl-C a second time ends at once, without saving.
    """
    asked = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGINT and asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        print("asked to stop: saving after this step", file=sys.stderr, flush=True)

    def is_asked(step: int) -> bool:
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return asked.is_set()

    if jax.process_count() > 1 or threading.current_thread() is not threading.main_thread():
        yield is_asked  # the coordinator's service listens to the signal itself
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}  # `nohup`
    for number in before:
        signal.signal(number, note)
    try:
        yield is_asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
