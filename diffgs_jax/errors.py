"""The two errors a user can cause, and how a command line reports them."""

import contextlib
import sys
from collections.abc import Generator


class UserError(ValueError):
    """Bad usage: a wrong path, option or configuration. A command line exits with code 2."""


class DataError(ValueError):
    """Bad data: an unreadable picture, a truncated record, a foreign checkpoint. A command line exits with code 1."""


@contextlib.contextmanager
def report_errors() -> Generator[None, None, None]:
    """Ends the program with one line on stderr instead of a traceback for what a user can cause.

    Raises:
        SystemExit: code 2 for a `UserError`, 1 for a `DataError`, 130 for an interrupt.
    """
    try:
        yield
    except UserError as error:
        _exit(error, 2)
    except DataError as error:
        _exit(error, 1)
    except KeyboardInterrupt:
        _exit("interrupted", 130)


def _exit(message: object, code: int) -> None:
    line = " ".join(str(message).split())
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(code)
