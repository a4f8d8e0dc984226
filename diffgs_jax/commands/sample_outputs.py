"""The files that a sample leaves as."""

import pathlib

from diffgs_jax.commands.progress import progress_bar
from diffgs_jax.commands.sample_options import SampleOptions
from diffgs_jax.inference.result import Result
from diffgs_jax.interop import SPLAT_SUFFIXES, render_trajectory, write_contact_sheet, write_image, write_video
from diffgs_jax.meshing import write_mesh


def write_outputs(folder: pathlib.Path, result: Result, options: SampleOptions) -> None:
    """Fills a folder with a sample's files.

    Args:
        folder: is there.
        result: of the pipeline.
        options: which files.

    Raises:
        UserError: if one cannot be written.
        DataError: if the Gaussians are not finite, or too faint for a mesh that was asked for.
    """
    if result.images is not None:
        write_image(folder / "image.png", result.images[0])
    if result.views is not None:
        write_contact_sheet(folder / "views.png", result.views)
    if result.gaussians is not None:
        _write_splat(folder, result, options)
    if result.trajectory is not None and result.views is not None:
        write_video(folder / f"trajectory.{options.film}", render_trajectory(*result.trajectory))


def _write_splat(folder: pathlib.Path, result: Result, options: SampleOptions) -> None:
    """Writes the Gaussians, the meshes and the turntables that were asked for."""
    meshes = [suffix for suffix in options.formats if f".{suffix}" not in SPLAT_SUFFIXES]
    for suffix in options.formats:
        if suffix not in meshes:
            frame = "object" if options.raw else options.frame
            result.save(folder / f"gaussians.{suffix}", prune=options.prune, frame=frame, raw=options.raw)
    if meshes:
        with progress_bar("making a mesh"):
            mesh = result.mesh()
        for suffix in meshes:
            write_mesh(folder / f"mesh.{suffix}", mesh)
    for shows in options.turntables if options.frames else ():
        name = "turntable" if shows == "color" else f"turntable_{shows}"
        with progress_bar(name, options.frames, "frame") as bar:
            result.turntable(
                folder / f"{name}.{options.film}",
                shows=shows,
                frames=options.frames,
                size=options.turntable_size,
                background=options.background_color(),
                progress=bar.update,
            )
