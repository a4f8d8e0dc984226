"""Shows a splat or a mesh in the browser: `python -m diffgs_jax.view FILE`.

Reads .ply, .spz, .splat, .sog and .glb files of Gaussians, and .glb and .obj meshes; prints the address to open and
serves it until Ctrl-C. Needs `pip install "diffgs_jax[view]"`, and no network.
"""

import contextlib
import dataclasses
import pathlib
import threading
from typing import Annotated

import tyro

from diffgs_jax.commands.progress import progress_bar
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import report_errors
from diffgs_jax.viewing import Up


@dataclasses.dataclass(frozen=True)
class ViewOptions:
    """Shows a splat or a mesh in the browser."""

    file: Annotated[pathlib.Path, tyro.conf.Positional]
    """.ply, .spz, .splat, .sog or .glb of Gaussians; .glb or .obj of triangles."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 lets other machines see it too."""
    port: int = 8080
    """Port to listen at; 0 takes any that is free."""
    up: Up | None = None
    """Axis that points up; by default z for Gaussians (the object frame), y for meshes (glTF)."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    with report_errors():
        run(parse_options(ViewOptions, arguments, prog="python -m diffgs_jax.view"))


def run(options: ViewOptions) -> None:
    """Serves one file until it is interrupted.

    Raises:
        UserError: if the file is missing or of another kind, the port is taken, or viser is not installed.
        DataError: if the file cannot be read for what its suffix says.
    """
    with contextlib.ExitStack() as stack:
        with progress_bar(f"reading {options.file.name}"):
            # Seconds, which a misspelt option need not wait for
            from diffgs_jax.viewing import MeshFile, address_of, read_viewable, viewer_server

            viewable = read_viewable(options.file)
            up = options.up or ("y" if isinstance(viewable, MeshFile) else "z")
            server = stack.enter_context(
                viewer_server(viewable, host=options.host, port=options.port, up=up, title=options.file.name)
            )
        print(f"{options.file} at {address_of(options.host, server.get_port())} (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    print()  # leaves the terminal's ^C on a line of its own


if __name__ == "__main__":
    main()
