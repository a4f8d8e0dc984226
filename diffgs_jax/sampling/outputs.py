"""The files that a sample leaves as."""

import pathlib

from tqdm import tqdm

from diffgs_jax.interop import render_trajectory, write_contact_sheet, write_video
from diffgs_jax.result import Result
from diffgs_jax.sampling.options import Options


def write_outputs(folder: pathlib.Path, result: Result, options: Options) -> None:
    """Fills a folder with a sample's files.

    Args:
        folder: is there.
        result: of the pipeline.
        options: which files.

    Raises:
        UserError: if one cannot be written.
        DataError: if the Gaussians are not finite.
    """
    for suffix in options.formats:
        result.save(folder / (f"gaussians.{suffix}" if suffix in ("ply", "spz", "splat") else f"mesh.{suffix}"))
    write_contact_sheet(folder / "views.png", result.views)
    if options.frames:
        with tqdm(total=options.frames, desc="turntable", unit="frame", disable=None, leave=False) as bar:
            result.turntable(
                folder / "turntable.mp4",
                frames=options.frames,
                size=options.turntable_size,
                background=options.background_colour(),
                progress=bar.update,
            )
    if result.trajectory is not None:
        write_video(folder / "trajectory.mp4", render_trajectory(*result.trajectory))
