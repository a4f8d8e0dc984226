"""What a command shows on a terminal while it works; where standard error is no terminal, nothing."""

import contextlib
import threading
from collections.abc import Generator
from typing import Any

_EVERY = 0.5  # seconds between two drawings of a bar that nothing has moved


@contextlib.contextmanager
def progress_bar(doing: str, total: int | None = None, unit: str = "step") -> Generator[Any, None, None]:
    """Yields a bar (tqdm's) with the time passed and the time left, which goes on counting while nothing moves.

    Args:
        doing: what is done.
        total: its parts; None for work that cannot be counted, whose time alone is shown.
        unit: what a part is.
    """
    from tqdm import tqdm  # a tenth of a second, which refusals need not wait for

    form = "{desc} {elapsed}" if total is None else None
    with (
        tqdm(total=total, desc=doing, unit=unit, leave=False, disable=None, bar_format=form, dynamic_ncols=True) as bar,
        ticking(bar),
    ):
        yield bar


@contextlib.contextmanager
def ticking(bar: Any) -> Generator[None, None, None]:
    """Draws a bar anew twice a second until the block ends, so that a terminal is never silent.

    Args:
        bar: of tqdm; one that is disabled, or goes into a file, is left alone.
    """
    if bar.disable or not bar.fp.isatty():
        yield
        return
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(_EVERY):
            bar.refresh()

    thread = threading.Thread(target=tick, name="progress bar", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
