"""An image, or nothing, becomes the files that the web page shows and offers."""

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Gaussians
from diffgs_jax.inference import ImageSource, InputOptions, Pipeline, SamplingOptions
from diffgs_jax.interop import render_turntable, write_contact_sheet, write_gaussians, write_video
from diffgs_jax.meshing import extract_mesh, write_mesh
from diffgs_jax.viewing.scene import viewer_page
from diffgs_jax.viewing.viewables import read_viewable

FRAMES = 48
MESH_VIEWS = 40
FILM_SIZE = 256


@dataclasses.dataclass(frozen=True)
class AssetOptions:
    """What a visitor may choose."""

    inputs: InputOptions = InputOptions()
    """What is said of the image."""
    sampling: SamplingOptions = SamplingOptions()
    """How to sample."""
    mesh: bool = True
    """Whether to make a mesh too."""


class Asset(NamedTuple):
    """What became of an image, as far as it is there.

    Attributes:
        gaussians: their number.
        invisible: number of those that change no pixel and were left out.
        seconds: that it took so far.
        splat: HTML to turn the splat in.
        views: the image as the model saw it beside the predicted views, png.
        files: to download.
        film: one turn of it, mp4; None before it is there.
        mesh: HTML to turn the mesh in, or the reason why there is none; empty before it is known, or if none was asked
            for.
    """

    gaussians: int
    invisible: int
    seconds: float
    splat: str
    views: pathlib.Path
    files: tuple[pathlib.Path, ...]
    film: pathlib.Path | None = None
    mesh: str = ""


class JobProgress(NamedTuple):
    """How far a job is.

    Attributes:
        doing: what is being done, for people.
        done: parts of it that are done.
        total: its parts; 0 if they cannot be counted.
        asset: what can be shown already, if something can.
    """

    doing: str
    done: int = 0
    total: int = 0
    asset: Asset | None = None


def make_asset(
    pipeline: Pipeline,
    image: ImageSource | None,
    options: AssetOptions,
    folder: pathlib.Path,
    report: Callable[[JobProgress], object],
) -> Asset:
    """Samples once and fills a folder.

    Args:
        pipeline: the model.
        image: of one object, or several; None for models that imagine objects.
        options: what the visitor chose.
        folder: an empty one for the files.
        report: told about progress; what it raises ends the work.

    Raises:
        UserError: if a setting is out of range.
        DataError: if the image is not usable.
    """
    start = time.monotonic()
    report(JobProgress("Looking at the image"))

    steps, doing = 0, "Making the splat"
    if pipeline.sampler_kinds:
        steps, doing = options.sampling.steps or pipeline.config.sampling.steps, "Denoising"

    def on_step(done: int) -> None:
        report(JobProgress(doing if done else f"{doing} (the first time takes longer)", done, steps))

    result = pipeline(image, inputs=options.inputs, sampling=options.sampling, on_step=on_step)
    assert result.views is not None  # whoever makes Gaussians of an image makes views

    report(JobProgress("Opening the viewer"))
    visible = result.pruned().splat
    rig = pipeline.config.rig
    viewer, views = folder / "viewer.html", folder / "views.png"
    files = [folder / name for name in ("splat.ply", "splat.spz", "splat.splat")]
    for path in files:
        write_gaussians(path, visible)
    splat = viewer_page(visible, rig=rig)
    viewer.write_text(splat)
    write_contact_sheet(views, result.views)

    def so_far() -> Asset:
        left_out = len(result.splat.means) - len(visible.means)
        seconds = time.monotonic() - start
        return Asset(len(visible.means), left_out, seconds, splat, views, (*files, viewer), film, mesh)

    film, mesh, filmed = None, "", 0
    report(JobProgress("Filming a turn", 0, FRAMES, so_far()))

    def on_frames(count: int) -> None:
        nonlocal filmed
        filmed += count
        report(JobProgress("Filming a turn", filmed, FRAMES))

    frames = render_turntable(
        visible,
        frames=FRAMES,
        size=FILM_SIZE,
        rig=rig,
        background=result.background,
        rendering=result.rendering,
        progress=on_frames,
    )
    film = folder / "turntable.mp4"
    write_video(film, frames)
    files.append(film)
    if options.mesh:
        report(JobProgress("Making a mesh", 0, MESH_VIEWS, so_far()))
        try:
            mesh = _mesh_page(visible, folder / "mesh.glb", report)
            files.append(folder / "mesh.glb")
        except DataError as error:  # the splat is good all the same
            mesh = f"There is no mesh: {error}."
    return so_far()


def _mesh_page(gaussians: Gaussians, path: pathlib.Path, report: Callable[[JobProgress], object]) -> str:
    observed = 0

    def on_views(count: int) -> None:
        nonlocal observed
        observed += count
        report(JobProgress("Making a mesh", observed, MESH_VIEWS))

    write_mesh(path, extract_mesh(gaussians, views=MESH_VIEWS, progress=on_views))
    return viewer_page(read_viewable(path), up="y")
