"""All commands in one place: `python -m diffgs_jax` lists them, and `diffgs-jax sample …` runs one.

A command is a module of this package whose first line of documentation says how it is called.
"""

import ast
import importlib
import pathlib
import sys

from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.version import __version__


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line.

    Raises:
        SystemExit: with code 2 if there is no such command.
    """
    words = sys.argv[1:] if arguments is None else arguments
    with report_errors():
        known = commands()
        if not words or words[0] in ("-h", "--help", "help"):
            print(listing(known))
        elif words[0] in ("-V", "--version"):
            print(f"diffgs_jax {__version__}")
        elif words[0] in known:
            importlib.import_module(f"diffgs_jax.{words[0]}").main(words[1:])
        else:
            raise UserError(f"there is no command {words[0]}; there are {', '.join(known)}")


def commands() -> dict[str, str]:
    """Returns the first line of every command's documentation, by its name."""
    found = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("*.py")):
        first = (ast.get_docstring(ast.parse(path.read_bytes())) or "").partition("\n")[0]
        if f"`python -m diffgs_jax.{path.stem}" in first:
            found[path.stem] = first
    return found


def listing(known: dict[str, str]) -> str:
    """Returns what there is, for people.

    Args:
        known: of `commands`.
    """
    lines = [f"diffgs_jax {__version__}: images in, 3D Gaussians out", ""]
    for first in known.values():
        does, _, call = first.partition(": `")
        lines += [f"  {call.partition('`')[0]}", f"      {does}."]
    hint = "Each lists its options with --help. `diffgs-jax sample …` is `python -m diffgs_jax.sample …`."
    return "\n".join([*lines, "", hint])


if __name__ == "__main__":
    main()
