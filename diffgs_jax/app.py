"""Opens a web page that turns pictures into 3D: `python -m diffgs_jax.app`.

Visitors drop a picture, watch the steps, turn the object and download it. One request is worked on at a time, others
wait in line. Needs `pip install "diffgs_jax[app]"`, and no network: nothing is fetched or reported anywhere.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from diffgs_jax.commands.progress import progress_bar
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import UserError, report_errors

if TYPE_CHECKING:
    from diffgs_jax.inference import Pipeline
    from diffgs_jax.viewing.assets import JobProgress

EXAMPLES = pathlib.Path(__file__).parent.parent / "assets"
"""Pictures that a clone of the repository has; an installed package goes without."""


@dataclasses.dataclass(frozen=True)
class AppOptions:
    """Opens a web page that turns pictures into 3D."""

    checkpoint: pathlib.Path | None = None
    """Folder of a training run or of its checkpoints; by default the model that comes with the package."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 lets other machines use it too."""
    port: int = 7860
    """Port to listen at; 0 takes any that is free."""
    waiting: int = 20
    """Requests that may wait in line; more are refused."""
    max_upload: int = 20
    """Largest picture that is accepted, megabytes."""
    max_files: int = 2000
    """Total size of uploaded and made files, megabytes; beyond it the oldest go."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    with report_errors():
        run(parse_options(AppOptions, arguments, prog="python -m diffgs_jax.app"))


def run(options: AppOptions) -> None:
    """Serves the page until it is interrupted: by Ctrl-C, or a signal that asks to end.

    Raises:
        UserError: if an option is out of range, the port is taken, or a package is not installed.
        DataError: if the checkpoint cannot be read.
    """
    with contextlib.ExitStack() as stack:
        # What takes seconds to import comes after the options are known to be good
        with progress_bar("loading the model"):
            from diffgs_jax.inference import load
            from diffgs_jax.viewing import address_of

            pipeline = load(options.checkpoint)
        with progress_bar("starting the page"):
            page = stack.enter_context(served(pipeline, options))
        print(f"Picture to 3D at {address_of(options.host, page.server_port)} (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    print()  # leaves the terminal's ^C on a line of its own


@contextlib.contextmanager
def served(pipeline: "Pipeline", options: AppOptions, *, warm: bool = True) -> Generator[Any, None, None]:
    """Serves the page, from threads of its own, until the block ends; then removes all of its files.

    Args:
        pipeline: the model.
        options: of the command line; `checkpoint` is not looked at.
        warm: compile before the first request comes.

    Yields:
        The `gradio.Blocks`; `server_port` is the port.

    Raises:
        UserError: see `run`.
    """
    from diffgs_jax.interop import check_turntable
    from diffgs_jax.viewing import find_port, jobs
    from diffgs_jax.viewing.storage import limited_folder

    if options.waiting < 1 or options.max_upload < 1:
        raise UserError("--waiting and --max-upload must be at least 1")
    if options.max_files < 2 * options.max_upload:
        raise UserError(f"--max-files must be at least {2 * options.max_upload}, twice --max-upload")
    check_turntable(frames=1, size=256)
    port = find_port(options.host, options.port)
    with contextlib.ExitStack() as stack:
        # Whatever was made or uploaded goes when the server goes.
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="diffgs-app-")))
        gradio_page = _import_page(folder / "cache")
        stack.enter_context(limited_folder(folder / "cache", options.max_files * 2**20))
        worker = stack.enter_context(jobs.worker())
        if warm:
            worker.start(functools.partial(_warm_up, pipeline, folder), threading.Event(), lambda _: None)
        examples = [
            path for path in [EXAMPLES / "example.png", *sorted(EXAMPLES.glob("examples/*.png"))] if path.exists()
        ]
        page = gradio_page.build_page(pipeline, worker, folder, examples=examples, waiting=options.waiting)
        page.launch(
            server_name=options.host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            enable_monitoring=False,
            max_file_size=options.max_upload * 2**20,
            footer_links=["api"],
            css=gradio_page.CSS,
            app_kwargs={"middleware": gradio_page.host_check(options.host)},
        )
        stack.callback(page.close, verbose=False)
        yield page


def _import_page(cache: pathlib.Path) -> Any:
    """Imports gradio with its telemetry off and its files in a folder of ours.

    Raises:
        UserError: if it is not installed.
    """
    # All are read when gradio and what it imports are imported.
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_OFFLINE="1")
    os.environ["GRADIO_TEMP_DIR"] = str(cache)
    try:
        import gradio  # noqa: F401  # ty: ignore (optional)
        import viser  # noqa: F401  # ty: ignore (optional)

        from diffgs_jax.viewing import page
    except ModuleNotFoundError as error:
        raise UserError(f'the app needs {error.name}: pip install "diffgs_jax[app]"') from None
    return page


def _warm_up(pipeline: "Pipeline", folder: pathlib.Path, report: "Callable[[JobProgress], object]") -> None:
    """Makes something of nothing much, so that all programs are compiled when the first visitor comes."""
    import numpy as np

    from diffgs_jax.inference import SamplingOptions
    from diffgs_jax.viewing import jobs
    from diffgs_jax.viewing.assets import AssetOptions, make_asset

    disc = np.hypot(*np.mgrid[-1:1:64j, -1:1:64j]) < 0.8
    pixels = np.stack([*[np.full(disc.shape, 128)] * 3, 255 * disc], axis=-1).astype(np.uint8)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            count = max(1, pipeline.requirements.condition_views[0])
            steps = SamplingOptions(steps=2 if pipeline.sampler_kinds else None)
            image = [pixels] * count if count > 1 else pixels if pipeline.requirements.condition_views[1] else None
            make_asset(pipeline, image, AssetOptions(sampling=steps), pathlib.Path(place), report)
    except jobs.Abandoned:
        raise
    except Exception as error:  # the visitor's own request will tell
        print(f"warning: the model did not run on a test picture: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
