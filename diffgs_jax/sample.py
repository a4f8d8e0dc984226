"""Turns pictures of objects into 3D Gaussians: `python -m diffgs_jax.sample --image PICTURE --out DIR`.

The folder receives `gaussians.ply` (for any 3D Gaussian splatting viewer), `turntable.mp4`, `views.png` (the picture as
the model saw it beside the views it predicted), and `sample.json`, from which `--repeat sample.json --out DIR` makes it
again. `--image FOLDER` does all the pictures of a folder, each into a folder of its own; one that cannot be used does
not keep the others back. `--help` lists every option.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Generator
from typing import Any

from tqdm import tqdm

from diffgs_jax.commands.sample_jobs import find_jobs
from diffgs_jax.commands.sample_options import Options
from diffgs_jax.commands.sample_outputs import write_outputs
from diffgs_jax.commands.sample_record import make_record, read_options, refuse_others
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import DataError, UserError, report_errors
from diffgs_jax.files import filled_folder
from diffgs_jax.inference.pipeline import load


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    with report_errors():
        words = sys.argv[1:] if arguments is None else arguments
        finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        for name in ("--repeat", "--out"):
            finder.add_argument(name, type=pathlib.Path)
        stated = finder.parse_known_args(words)[0]
        settings: dict[str, Any] = {"prog": "python -m diffgs_jax.sample"}
        record = None
        if stated.repeat is not None:
            if stated.out is None:
                raise UserError("--repeat needs --out, a folder for what is made again")
            settings["default"], record = read_options(stated.repeat, stated.out)
        run(parse_options(Options, words, **settings), record)


def run(options: Options, record: dict[str, Any] | None = None) -> None:
    """Samples every picture as often as asked and fills the folders.

    Args:
        options: what to do.
        record: the content of a `sample.json` that is to be repeated.

    Raises:
        UserError: if an option is out of range or a path cannot be read or written; before any expensive work.
        DataError: if the picture or the checkpoint is not usable.
        SystemExit: with code 1 if some of several pictures could not be used; each was told in a line.
    """
    jobs = find_jobs(options.checked().image, options.out, seed=options.seed, samples=options.samples)
    failed = 0
    with filled_folder(options.out):  # known to be writable before any work, and gone again if nothing comes of it
        pipeline = load(options.checkpoint, low_memory=options.low_memory)
        pipeline.check(seed=options.seed, **options.settings)
        pipeline.check(seed=options.seed + options.samples - 1)
        if record is not None:
            refuse_others(record, options, pipeline)
        steps = pipeline.config.sampling.steps if options.steps is None else options.steps
        for job in jobs:
            this = dataclasses.replace(options, image=job.image, seed=job.seed, out=job.out)
            try:
                with filled_folder(job.out) as folder:
                    given = pipeline.prepare(job.image, **this.preparation)
                    with progress(steps) as on_step:
                        result = pipeline(
                            given, seed=job.seed, trajectory=this.trajectory, on_step=on_step, **this.settings
                        )
                    if options.min_opacity or options.crop_radius is not None:
                        result = result.cleaned(min_opacity=options.min_opacity, crop_radius=options.crop_radius)
                    write_outputs(folder, result, this)
                    names = sorted(path.name for path in folder.iterdir())
                    made = make_record(this, pipeline, folder)
                    (folder / "sample.json").write_text(json.dumps(made, indent=2) + "\n")
            except (UserError, DataError) as error:
                if not options.image.is_dir():
                    raise
                failed += 1
                print(f"error: {error}", file=sys.stderr)
            else:
                files = ", ".join(str(job.out / name) for name in names)
                print(f"{len(result.gaussians.opacities)} Gaussians: {files}", flush=True)
    if options.image.is_dir():
        print(f"{len(jobs) - failed} of {len(jobs)} samples of {options.image} are in {options.out}")
    if failed:
        raise SystemExit(1)


@contextlib.contextmanager
def progress(steps: int) -> Generator[Callable[[int], object] | None, None, None]:
    """Yields what shows the number of steps done, or None where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    with tqdm(total=steps, desc="compiling", unit="step", leave=False) as bar:

        def on_step(done: int) -> None:
            if done:
                bar.set_description("sampling", refresh=False)
                bar.update(done - bar.n)

        yield on_step


if __name__ == "__main__":
    main()
