"""Options from the command line, with one line for what is wrong with them."""

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from diffgs_jax.errors import UserError

Options = TypeVar("Options")


def parse_options(kind: type[Options], arguments: Sequence[str] | None = None, **settings: Any) -> Options:
    """Returns the options that the arguments spell.

    Args:
        kind: dataclass of the options.
        arguments: words of the command line; those of this process by default.
        **settings: of `tyro.cli`, for example `default`, `prog` or `description`.

    Raises:
        UserError: in one line instead of tyro's box, if an option is missing, unknown or of a wrong value.
        SystemExit: with code 0 for `--help`.
    """
    import tyro  # a third of a second, which settings alone do not need

    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(kind, args=arguments, **settings)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(_message(printed.getvalue())) from None


def _message(box: str) -> str:
    """Returns what tyro says between its title and the options' documentation, each parted by a ruled line."""
    sections: list[list[str]] = [[]]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines():  # a terminal gets colours
        text = line.strip(" │|")
        if text.startswith("╭") or (text and not text.strip("─-")):
            sections.append([])
        elif text:
            sections[-1].append(text)
    words = " ".join(sections[1]) if len(sections) > 1 else ""
    words = re.sub(r"^Missing from [^:]*: ", "missing: ", words).replace(" (required)", "")
    words = re.sub(r"Expected one of \(([^)]*)\)", _give_one_of, words)
    return f"{words.rstrip('.') or 'the options cannot be read'}; --help lists them all"


def _give_one_of(listed: re.Match[str]) -> str:
    """Returns the possible values in an order that is the same every time, as tyro's set has none."""
    values = sorted(value.strip(" '\"") for value in listed.group(1).split(",") if value.strip())
    return f"Give one of {', '.join(value for value in values if value != 'None')}"
