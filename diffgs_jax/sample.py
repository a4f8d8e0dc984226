"""Turns a picture of an object into 3D Gaussians: `python -m diffgs_jax.sample --image PICTURE --out DIR`.

The folder receives `gaussians.ply` (for any 3D Gaussian splatting viewer), `turntable.mp4`, and `views.png`: the
picture as the model saw it beside the views it predicted. `--help` lists every option.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Generator
from typing import Literal

from tqdm import tqdm

from diffgs_jax import command_line
from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.interop import (
    check_turntable,
    render_turntable,
    write_contact_sheet,
    write_ply,
    write_video,
)
from diffgs_jax.pipeline import Result, load


@dataclasses.dataclass(frozen=True)
class Options:
    """Turns a picture of an object into 3D Gaussians."""

    image: pathlib.Path
    """PNG, JPEG or WebP of one object, cut out (transparent) or in front of a plain background."""
    out: pathlib.Path
    """Folder for gaussians.ply, turntable.mp4 and views.png; created if need be."""
    checkpoint: pathlib.Path | None = None
    """Folder of a training run or of its checkpoints; by default the model that comes with the package."""
    steps: int | None = None
    """Denoising steps: more take longer, and the best number depends on the sampler; by default the model's, 30."""
    sampler: SamplerKind | None = None
    """`ddim` and `dpm` are deterministic after the first noise; `ddpm` is ancestral, as published. By default the
    model's, `ddim` unless it was imported."""
    elevation: float | None = None
    """How far above the object's horizon the camera was, degrees; by default the model's, 20."""
    seed: int = 0
    """Of the noise: another seed imagines another unseen side."""
    foreground_ratio: float | Literal["model"] | None = "model"
    """The object's larger side over the side of the view the model is shown; `model` takes what the model was trained
    with, None keeps the picture's framing."""
    frames: int = 48
    """Frames of the turntable; 0 writes none."""
    turntable_size: int = 256
    """Height and width of the turntable, pixels; even."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    with report_errors():
        run(command_line.parse(Options, arguments, prog="python -m diffgs_jax.sample"))


def run(options: Options) -> None:
    """Samples once and fills the folder.

    Raises:
        UserError: if an option is out of range or a path cannot be read or written; before any expensive work.
        DataError: if the picture or the checkpoint is not usable.
    """
    check_turntable(options.frames, options.turntable_size)
    with filled_folder(options.out) as folder:
        # The picture becomes Gaussians
        pipeline = load(options.checkpoint)
        steps = pipeline.config.sampling.steps if options.steps is None else options.steps
        with contextlib.ExitStack() as stack:
            bars: list[tqdm] = []

            def on_step(done: int) -> None:
                if not bars:  # opened late: an unusable picture is told in one line, without a bar above it
                    bars.append(stack.enter_context(tqdm(total=steps, desc="compiling", unit="step")))
                if done:
                    bars[0].set_description("sampling", refresh=False)
                    bars[0].update(done - bars[0].n)

            result: Result = pipeline(
                options.image,
                seed=options.seed,
                steps=steps,
                sampler=options.sampler,
                elevation=options.elevation,
                foreground_ratio=options.foreground_ratio,
                on_step=on_step,
            )

        # The Gaussians become files
        count = write_ply(folder / "gaussians.ply", result.gaussians)
        write_contact_sheet(folder / "views.png", result.views)
        if options.frames:
            with tqdm(total=options.frames, desc="turntable", unit="frame") as bar:
                film = render_turntable(
                    result.gaussians,
                    frames=options.frames,
                    size=options.turntable_size,
                    rig=pipeline.config.rig,
                    background=pipeline.config.model.background,
                    progress=bar.update,
                )
            write_video(folder / "turntable.mp4", film)
        names = sorted(path.name for path in folder.iterdir())
    print(f"{count} Gaussians: {', '.join(str(options.out / name) for name in names)}")


@contextlib.contextmanager
def filled_folder(folder: pathlib.Path) -> Generator[pathlib.Path, None, None]:
    """Yields an empty folder inside `folder`; its files move up into place together when the block ends well.

    Raises:
        UserError: if the folder cannot be created or written to, before the block begins.
    """
    missing = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside = pathlib.Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    except OSError as error:
        raise UserError(
            f"cannot write to the output folder {folder}: {error.strerror}; choose another --out"
        ) from error
    try:
        yield beside
        for path in sorted(beside.iterdir()):
            os.replace(path, folder / path.name)
    except OSError as error:
        raise UserError(f"cannot write to the output folder {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if missing:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if nothing came of it


if __name__ == "__main__":
    main()
