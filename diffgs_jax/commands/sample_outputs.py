"""The files that a sample leaves as."""

import pathlib

from diffgs_jax.commands.progress import progress_bar
from diffgs_jax.commands.sample_options import MESH_FORMATS, SampleOptions
from diffgs_jax.inference.result import Result
from diffgs_jax.interop import render_trajectory, write_contact_sheet, write_image, write_video
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
    """Writes the Gaussians, the meshes, the maps and the turntables that were asked for."""
    for name in options.formats:
        if name not in MESH_FORMATS:
            path = folder / f"gaussians.{'glb' if name == 'gltf' else name}"
            frame = "object" if options.raw else options.frame
            result.save_splat(path, prune=options.prune, frame=frame, raw=options.raw)
    meshes = [name for name in options.formats if name in MESH_FORMATS]
    if meshes:
        with progress_bar("making a mesh"):
            mesh = result.mesh()
        for suffix in meshes:
            if suffix == "glb" and options.texture:
                with progress_bar("baking its texture"):
                    write_mesh(folder / "mesh.glb", result.textured(mesh, size=options.texture))
            else:
                write_mesh(folder / f"mesh.{suffix}", mesh)
    if options.maps:
        with progress_bar("maps", options.map_views, "view") as bar:
            result.save_maps(
                folder,
                kinds=options.maps,
                form=options.map_format,
                views=options.map_views,
                size=options.turntable_size,
                progress=bar.update,
            )
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
