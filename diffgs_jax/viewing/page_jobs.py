"""What the web page answers to a click: a job of the model's worker, told step by step."""

import html
import pathlib
import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from typing import Any

import gradio as gr  # ty: ignore (optional)

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import make_folder
from diffgs_jax.inference import ImageSource, InputOptions, Pipeline, SamplingOptions
from diffgs_jax.inference.rigs import RECONSTRUCT
from diffgs_jax.viewing.assets import Asset, AssetOptions, JobProgress, make_asset
from diffgs_jax.viewing.jobs import Abandoned, Done, Worker, follow
from diffgs_jax.viewing.page_parts import own_words, problem, progress_bar, stage, summary
from diffgs_jax.viewing.uploads import posed_pictures

_WITHOUT_MESH = "No mesh was asked for."

Choices = tuple[Any, ...]
"""Seed, steps, sampler, elevation, guidance, whether to make a mesh; and paths of posed pictures where the page takes
several."""


def takes_any(pipeline: Pipeline) -> bool:
    """Tells whether the model can be asked without a picture."""
    needs = pipeline.requirements
    return needs.condition_views[0] == 0 and needs.prompt == "none"


def answer(
    pipeline: Pipeline,
    worker: Worker,
    folder: pathlib.Path,
    pictures: Sequence[str | None],
    chosen: Choices,
    *,
    whole: bool = False,
) -> Generator[tuple[Any, ...], None, None]:
    """Answers one click: yields progress, and whatever has come to be, for the page's six outputs.

    Args:
        pipeline: the model.
        worker: does the job.
        folder: for its files.
        pictures: the paths of uploads: one, or those from four sides; None where there is none.
        chosen: the settings.
        whole: repeat everything at the end.

    Raises:
        gr.Error: in one line, if the visitor's picture or settings are not usable.
    """
    try:
        yield from _job(pipeline, worker, folder, pictures, chosen, whole)
    except gr.Error as error:  # told in its place as well, where a screen reader finds it
        yield (problem(html.unescape(str(error.message))), *[gr.skip()] * 5)
        raise


def _job(
    pipeline: Pipeline,
    worker: Worker,
    folder: pathlib.Path,
    pictures: Sequence[str | None],
    chosen: Choices,
    whole: bool,
) -> Generator[tuple[Any, ...], None, None]:
    seed, steps, sampler, elevation, guidance, mesh, *more = chosen
    uploads = more[0] if more else None
    needs, given = pipeline.requirements, [path for path in pictures if path is not None]
    is_missing = pictures[0] is None or len(given) < needs.condition_views[0]
    if is_missing and not uploads and not takes_any(pipeline):
        wanted = "Choose a picture first: drop one, or click an example."
        if len(pictures) > 1:
            wanted = "Choose the pictures first: this model needs all four."
        raise gr.Error(wanted, print_exception=False)
    is_remade = needs.remakes and needs.condition_views[1] == 0 and bool(given)
    if pipeline.sampler_kinds:
        seed, steps = _whole(seed, "seed"), _whole(steps, "number of steps")
    else:
        seed, steps, sampler = 0, None, None
    options = AssetOptions(
        InputOptions(elevation=float(elevation)),
        SamplingOptions(
            steps=steps,
            sampler=sampler,
            guidance=(float(guidance),),
            reconstruct=RECONSTRUCT if is_remade else 0.0,
            seed=seed,
        ),
        mesh,
    )
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as place:

        def job(report: Callable[[JobProgress], None]) -> Asset:
            source: ImageSource | None = None
            if uploads:
                source = posed_pictures(uploads, make_folder(pathlib.Path(place) / "uploads"))
            elif len(pictures) > 1:
                source = [None if path is None else pathlib.Path(path) for path in pictures]
            elif pictures[0] is not None:
                source = pathlib.Path(pictures[0])
            return make_asset(pipeline, source, options, make_folder(pathlib.Path(place) / "made"), report)

        known: Asset | None = None
        try:
            for event in follow(worker, job):
                if isinstance(event, Done):
                    yield (summary(event.value), *_news(event.value, None if whole else known, _WITHOUT_MESH))
                elif event.asset is not None and event.asset is not known:
                    yield (progress_bar(event), *_news(event.asset, known, "The mesh is still to come."))
                    known = event.asset
                else:
                    yield (progress_bar(event), *[gr.skip()] * 5)
        except (Abandoned, CancelledError) as error:
            raise gr.Error("The server is being closed.", print_exception=False) from error
        except (UserError, DataError) as error:
            said = str(error).replace(f"{place}/uploads/", "")
            for path in given:
                said = said.replace(path, pathlib.Path(path).name)
            told = own_words(type(error)(said))
            raise gr.Error(html.escape(told), duration=None, print_exception=False) from error


def _news(asset: Asset, known: Asset | None, without_mesh: str) -> tuple[Any, ...]:
    """Returns what has changed since it was shown last, for five of the page's outputs."""
    files = [str(path) for path in asset.files]
    mesh = stage(asset.mesh or without_mesh, "The mesh")
    if known is None:
        return (
            stage(asset.splat, "The splat"),
            mesh,
            gr.skip() if asset.film is None else str(asset.film),
            str(asset.views),
            files,
        )
    film = str(asset.film) if asset.film != known.film else gr.skip()
    return (gr.skip(), mesh, film, gr.skip(), files)


def _whole(number: int | float | None, name: str) -> int:
    if number is None or number != int(number):
        raise gr.Error(f"The {name} must be a whole number.", print_exception=False)
    return int(number)
