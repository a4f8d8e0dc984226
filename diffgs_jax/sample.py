"""Turns images of objects and rooms into 3D Gaussians: `python -m diffgs_jax.sample --image IMAGE --out DIR`.

The folder receives `gaussians.ply` (for any 3D Gaussian splatting viewer), `turntable.mp4`, `views.png` (the image as
the model saw it beside the views it predicted), and `sample.json`, from which `--repeat sample.json --out DIR` makes it
again. `--image FOLDER` does all the images of a folder, each into a folder of its own; one that cannot be used does not
keep the others back. A model that makes images without a pose fills the folder with those. `--help` lists every option.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from diffgs_jax.commands.progress import progress_bar
from diffgs_jax.commands.sample_jobs import find_jobs, images_in, prompt_jobs
from diffgs_jax.commands.sample_options import SampleOptions
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import DataError, UserError, report_errors
from diffgs_jax.files import filled_folder, shown_size

if TYPE_CHECKING:
    from diffgs_jax.inference import Pipeline


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
            from diffgs_jax.commands.sample_record import read_options

            if stated.out is None:
                raise UserError("--repeat needs --out, a folder for what is made again")
            settings["default"], record = read_options(stated.repeat, stated.out)
        run(parse_options(SampleOptions, words, **settings).checked(), record)


def run(options: SampleOptions, record: dict[str, Any] | None = None) -> None:
    """Samples every image as often as asked and fills the folders.

    Args:
        options: what to do.
        record: the content of a `sample.json` that is to be repeated.

    Raises:
        UserError: if an option is out of range or a path cannot be read or written; before any expensive work.
        DataError: if the image or the checkpoint is not usable.
        SystemExit: with code 1 if some of several images could not be used; each was told in a line.
    """
    jobs = find_jobs(
        options.image, options.out, seed=options.seed, samples=options.samples, one_object=options.one_object
    )
    if options.prompt_file is not None:
        jobs = prompt_jobs(jobs, options.prompt_file)
    with filled_folder(options.out):  # known to be writable before any work, and gone again if nothing comes of it
        with progress_bar("loading the model"):
            # What takes seconds to import comes after the options are known to be good
            from diffgs_jax.commands.sample_images import write_image_grid
            from diffgs_jax.commands.sample_record import refuse_others
            from diffgs_jax.inference import load

            pipeline = load(options.checkpoint, low_memory=options.low_memory, backend=options.backend)
        last = dataclasses.replace(options.sampling, seed=options.seed + options.samples - 1)
        for sampling in (options.sampling, last):
            pipeline.check(
                dataclasses.replace(options.inputs, prompt=jobs[0].prompt or options.prompt),
                sampling,
                has_image=options.image is not None,
                scene=options.path is not None,
            )
        if record is not None:
            refuse_others(record, options, pipeline)
        name = "the one that comes with the package" if options.checkpoint is None else options.checkpoint
        print(f"model: {name}, {pipeline.described()}", flush=True)
        if pipeline.backend is not None:
            print(pipeline.backend, flush=True)
        if pipeline.requirements.makes == "images":
            with progress_bar("compiling (first time only)", options.samples, "image") as bar:
                files = write_image_grid(pipeline, options, _advance(bar))
            print(f"{options.samples} images: {', '.join(str(path) for path in files[:3])}, …")
            return
        failed = 0
        for job in jobs:
            this = dataclasses.replace(
                options,
                image=job.image,
                seed=job.seed,
                out=job.out,
                prompt=job.prompt or options.prompt,
                prompt_file=None,
            )
            try:
                _sample_one(pipeline, this)
            except (UserError, DataError) as error:
                if not _is_several(options):
                    raise
                failed += 1
                print(f"error: {error}", file=sys.stderr)
    if _is_several(options):
        source = options.image if options.prompt_file is None else options.prompt_file
        print(f"{len(jobs) - failed} of {len(jobs)} samples of {source} are in {options.out}")
    if failed:
        raise SystemExit(1)


def _sample_one(pipeline: "Pipeline", options: SampleOptions) -> None:
    """Samples one image once, and says which files came of it and how large they are."""
    from diffgs_jax.commands.sample_outputs import write_outputs
    from diffgs_jax.commands.sample_record import make_record

    if options.path is not None:
        return _sample_scene(pipeline, options)
    sampler = pipeline.sampler(options.sampling)
    steps = 1 if sampler is None else len(sampler.timesteps)
    with filled_folder(options.out) as folder:
        given = None
        if options.image is not None:
            source = images_in(options.image) if options.one_object else options.image
            given = pipeline.prepare(source, options.inputs)
        is_estimated = options.elevation == "estimate" and given is not None and options.image is not None
        if is_estimated and options.image.suffix.lower() != ".json":
            print(f"elevation: {given.elevation:.1f} degrees, estimated", flush=True)
            # What is written down is the number, which another estimator would not repeat
            options = dataclasses.replace(options, elevation=given.elevation, elevation_model=None)
        with progress_bar("compiling (first time only)", steps) as bar:
            advance = _advance(bar)
            result = pipeline(
                given,
                inputs=options.inputs,
                sampling=options.sampling,
                trajectory=options.trajectory,
                # Without a bar to move, all steps are one call
                on_step=None if bar.disable else lambda done: advance(done - bar.n),
            )
        if options.min_opacity or options.crop_radius is not None:
            result = result.cleaned(min_opacity=options.min_opacity, crop_radius=options.crop_radius)
        made = 0 if result.gaussians is None else len(result.gaussians.opacities)
        if options.prune and made:
            result = result.pruned()
        write_outputs(folder, result, options)
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        record = make_record(options, pipeline, folder)
        (folder / "sample.json").write_text(json.dumps(record, indent=2) + "\n")
    files = ", ".join(f"{options.out / name} ({shown_size(size)})" for name, size in sizes.items())
    if result.gaussians is None:
        count = 0 if result.views is None else result.views.images.shape[1]
        print(f"{count} views, the given one among them: {files}", flush=True)
        return
    written = len(result.splat.opacities)
    left_out = f" ({made - written} that cannot be seen were left out)" if written < made else ""
    print(f"{written} Gaussians{left_out}: {files}", flush=True)


def _sample_scene(pipeline: "Pipeline", options: SampleOptions) -> None:
    """Makes a scene of a picture, and says what came of it."""
    from diffgs_jax.commands.sample_record import make_record
    from diffgs_jax.inference import sample_scene, scene_path
    from diffgs_jax.interop import write_contact_sheet

    assert options.image is not None and options.path is not None  # checked with the options
    path = scene_path(options.path, options.frames, options.fov)
    sampler = pipeline.sampler(options.sampling)
    with filled_folder(options.out) as folder:
        with progress_bar("compiling (first time only)", 1 if sampler is None else len(sampler.timesteps)) as bar:
            advance = _advance(bar)
            result = sample_scene(
                pipeline,
                options.image,
                path,
                options.sampling,
                name=str(options.path),
                on_step=None if bar.disable else lambda done: advance(done - bar.n),
            )
        for name in options.formats:
            result.save_splat(folder / f"gaussians.{name}", prune=options.prune)
        write_contact_sheet(folder / "views.png", result.views)
        with progress_bar("film", len(result.path.intrinsics), "frame") as bar:
            result.film(folder / f"path.{options.film}", size=options.turntable_size, progress=bar.update)
        record = make_record(options, pipeline, folder)
        (folder / "sample.json").write_text(json.dumps(record, indent=2) + "\n")
    if result.blocked is not None:
        print(f"note: frame {result.blocked} of {options.path} lies behind what the splat shows from the one before")
    print(
        f"{len(result.gaussians.opacities)} Gaussians of a scene, and a film along {options.path}: {options.out}",
        flush=True,
    )


def _is_several(options: SampleOptions) -> bool:
    """Tells whether there are several things to make, of which one may fail."""
    is_folder = options.image is not None and options.image.is_dir()
    return options.prompt_file is not None or (is_folder and not options.one_object)


def _advance(bar: Any) -> Callable[[int], object]:
    """Returns what moves a bar by parts that were done; with the first one, compiling is over."""

    def advance(parts: int) -> None:
        if parts:
            if not bar.n:
                bar.unpause()  # the time left is not that of compiling
            bar.set_description("sampling", refresh=False)
            bar.update(parts)

    return advance


if __name__ == "__main__":
    main()
