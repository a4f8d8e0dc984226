"""The two errors a user can cause, and how a command line reports them."""

import contextlib
import signal
import sys
import threading
from collections.abc import Generator
from types import FrameType

_LONGEST = 2000  # characters of a message


def printable(text: str, longest: int = _LONGEST) -> str:
    """Returns text on one line, without what a terminal would obey, and without its middle if it is longer.

    Args:
        text: of any origin: a name of a file, what another library said.
        longest: characters of the result.
    """
    text = " ".join(text.split())
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    third = longest // 3
    return text if len(text) <= longest else f"{text[:third]}…{text[third + 1 - longest :]}"


class _OneLine(ValueError):
    """An error whose message is one printable line, whatever names, values and messages of others went into it."""

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message)))


class UserError(_OneLine):
    """Bad usage: a wrong path, option or configuration. A command line exits with code 2."""


class DataError(_OneLine):
    """Bad data: an unreadable picture, a truncated record, a foreign checkpoint. A command line exits with code 1."""


class Ended(KeyboardInterrupt):
    """A signal asks the program to end: like Ctrl-C, so that whatever is open is closed and temporary files go.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def report_errors() -> Generator[None, None, None]:
    """Ends the program with one line on stderr instead of a traceback for what a user can cause.

    Meanwhile SIGTERM and SIGHUP raise `Ended`, unless they are ignored (as under `nohup`).

    Raises:
        SystemExit: code 2 for a `UserError`, 1 for a `DataError`, 130 for an interrupt, 128 and its number for a
            signal.
    """
    with _reported(), _ending_signals():
        yield


@contextlib.contextmanager
def _reported() -> Generator[None, None, None]:
    try:
        yield
    except UserError as error:
        _exit(error, 2)
    except DataError as error:
        _exit(error, 1)
    except Ended as error:
        _exit(f"ended by {signal.Signals(error.number).name}", 128 + error.number)
    except KeyboardInterrupt:
        _exit("interrupted", 130)


@contextlib.contextmanager
def _ending_signals() -> Generator[None, None, None]:
    def end(number: int, frame: FrameType | None) -> None:
        del frame
        raise Ended(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers}
        before = {number: handler for number, handler in before.items() if handler is signal.SIG_DFL}
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(message: object, code: int) -> None:
    line = " ".join(str(message).split())
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(code)
