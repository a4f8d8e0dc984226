"""A picture becomes the files that the web page shows and offers."""

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Gaussians
from diffgs_jax.inference.pipeline import Pipeline
from diffgs_jax.interop import clean_gaussians, render_turntable, write_contact_sheet, write_gaussians, write_video
from diffgs_jax.meshing import extract_mesh, write_mesh
from diffgs_jax.viewing.scene import viewer_page
from diffgs_jax.viewing.viewables import read_subject

FRAMES = 48
MESH_VIEWS = 40
FILM_SIZE = 256


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a visitor may choose."""

    seed: int = 0
    """Of the noise."""
    steps: int = 30
    """Denoising steps."""
    sampler: SamplerKind = "ddim"
    """The sampler."""
    elevation: float | None = None
    """Of the camera that took the picture, degrees; the model's own if None."""
    guidance: float = 1.0
    """How far to go towards what the picture says; other than 1 for models that can be guided."""
    mesh: bool = True
    """Whether to make a mesh too."""


class Progress(NamedTuple):
    """How far a job is.

    Attributes:
        doing: what is being done, for people.
        done: parts of it that are done.
        total: its parts; 0 if they cannot be counted.
    """

    doing: str
    done: int = 0
    total: int = 0


class Asset(NamedTuple):
    """What became of a picture.

    Attributes:
        gaussians: their number.
        seconds: that it took.
        splat: HTML to turn the splat in.
        mesh: HTML to turn the mesh in, or the reason why there is none.
        film: one turn of it, mp4.
        views: the picture as the model saw it beside the predicted views, png.
        files: to download.
    """

    gaussians: int
    seconds: float
    splat: str
    mesh: str
    film: pathlib.Path
    views: pathlib.Path
    files: tuple[pathlib.Path, ...]


def make_asset(
    pipeline: Pipeline,
    picture: pathlib.Path | np.ndarray,
    settings: Settings,
    folder: pathlib.Path,
    report: Callable[[Progress], object],
) -> Asset:
    """Samples once and fills a folder.

    Args:
        pipeline: the model.
        picture: of one object.
        settings: what the visitor chose.
        folder: an empty one for the files.
        report: told about progress; what it raises ends the work.

    Raises:
        UserError: if a setting is out of range.
        DataError: if the picture is not usable.
    """
    start = time.monotonic()
    report(Progress("Looking at the picture"))

    def on_step(done: int) -> None:
        report(Progress("Denoising" if done else "Denoising (the first time takes longer)", done, settings.steps))

    result = pipeline(
        picture,
        seed=settings.seed,
        steps=settings.steps,
        sampler=settings.sampler,
        elevation=settings.elevation,
        guidance=settings.guidance,
        on_step=on_step,
    )

    report(Progress("Writing the splat"))
    files = [folder / name for name in ("splat.ply", "splat.spz", "splat.splat")]
    visible = clean_gaussians(result.gaussians, min_opacity=1 / 255)
    for path in files:
        write_gaussians(path, visible)
    views = folder / "views.png"
    write_contact_sheet(views, result.views)

    filmed = 0

    def on_frames(count: int) -> None:
        nonlocal filmed
        filmed += count
        report(Progress("Filming a turn", filmed, FRAMES))

    report(Progress("Filming a turn", 0, FRAMES))
    rig, background = pipeline.config.rig, pipeline.config.model.background
    film = folder / "turntable.mp4"
    pictures = render_turntable(
        visible, frames=FRAMES, size=FILM_SIZE, rig=rig, background=background, progress=on_frames
    )
    write_video(film, pictures)

    mesh = ""
    if settings.mesh:
        try:
            mesh = _mesh_page(visible, folder / "mesh.glb", report)
            files.append(folder / "mesh.glb")
        except DataError as error:  # the splat is good all the same
            mesh = f"There is no mesh: {error}."

    report(Progress("Opening the viewer"))
    splat = viewer_page(visible, rig=rig)
    (folder / "viewer.html").write_text(splat)
    files += [film, folder / "viewer.html"]
    return Asset(len(visible.means), time.monotonic() - start, splat, mesh, film, views, tuple(files))


def _mesh_page(gaussians: Gaussians, path: pathlib.Path, report: Callable[[Progress], object]) -> str:
    observed = 0

    def on_views(count: int) -> None:
        nonlocal observed
        observed += count
        report(Progress("Making a mesh", observed, MESH_VIEWS))

    report(Progress("Making a mesh", 0, MESH_VIEWS))
    write_mesh(path, extract_mesh(gaussians, views=MESH_VIEWS, progress=on_views))
    return viewer_page(read_subject(path), up="y")
