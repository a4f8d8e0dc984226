"""The web page: a picture in, an object to turn and files to take home. Needs gradio."""

import html
import json
import pathlib
import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from typing import Any

import gradio as gr  # ty: ignore (optional)
from starlette.datastructures import Headers  # ty: ignore (optional)
from starlette.middleware import Middleware  # ty: ignore (optional)
from starlette.responses import PlainTextResponse  # ty: ignore (optional)

from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.inference import InputOptions, Pipeline, SamplingOptions
from diffgs_jax.viewing.assets import Asset, AssetOptions, JobProgress, make_asset
from diffgs_jax.viewing.hosts import is_allowed
from diffgs_jax.viewing.jobs import Abandoned, Done, Worker, follow
from diffgs_jax.viewing.page_parts import (
    CSS,
    EMPTY,
    INTRODUCTION,
    NAMES_SCRIPT,
    TITLE,
    own_words,
    problem,
    progress_bar,
    stage,
    summary,
)

__all__ = ["CSS", "build_page", "host_check"]

_BUTTONS: Any = ["download", "fullscreen"]
_SAMPLERS = {"ddim": "DDIM", "dpm": "DPM-Solver++", "dpm_sde": "DPM-Solver++ (SDE)", "ddpm": "DDPM, as published"}
_WITHOUT_MESH = "No mesh was asked for."

Choices = tuple[int | float | None, int | float | None, SamplerKind | None, int | float, int | float, bool]
"""Seed, steps, sampler, elevation, guidance, and whether to make a mesh."""


def build_page(
    pipeline: Pipeline,
    worker: Worker,
    folder: pathlib.Path,
    *,
    examples: Sequence[pathlib.Path] = (),
    waiting: int = 20,
) -> gr.Blocks:
    """Lays out the page and connects it to a model.

    Args:
        pipeline: the model.
        worker: does the jobs.
        folder: for the files of jobs that are under way.
        examples: pictures to click.
        waiting: requests that may wait; more are refused.
    """
    named = json.dumps([path.stem.replace("_", " ") for path in examples])
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row(equal_height=False, elem_id="layout"):
            with gr.Column(elem_id="ask"):
                picture = gr.Image(
                    label="Picture",
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard"],
                    height=290,
                    elem_id="picture",
                )
                picture.preprocess = _untouched
                if examples:
                    gr.Examples([*map(str, examples)], picture, label="Or click one of these", elem_id="examples")
                button = gr.Button("Make it 3D", variant="primary", size="lg", elem_id="make")
                cancel = gr.Button("Cancel", size="sm", visible=False)
                status = gr.HTML(min_height=44)
            with gr.Column(elem_id="show"):
                with gr.Tabs():
                    with gr.Tab("Splat"):
                        splat = gr.HTML(EMPTY)
                    with gr.Tab("Mesh"):
                        mesh = gr.HTML(EMPTY)
                with gr.Row():
                    film = gr.Video(
                        label="One turn",
                        show_label=False,
                        height=220,
                        scale=1,
                        min_width=160,
                        autoplay=True,
                        loop=True,
                        interactive=False,
                        elem_id="film",
                    )
                    views = gr.Image(
                        label="What the model saw, and what it predicted",
                        show_label=False,
                        height=220,
                        scale=2,
                        min_width=160,
                        interactive=False,
                        buttons=_BUTTONS,
                        elem_id="views",
                    )
            with gr.Column(elem_id="more"):
                files = gr.Files(label="Download", interactive=False)
                with gr.Accordion("Settings", open=False):
                    settings = _settings(pipeline)

        shown = [status, splat, mesh, film, views, files]
        waits = [gr.update(interactive=False, value="Making it …"), gr.update(visible=True)]
        ready = [gr.update(interactive=True, value="Make it 3D"), gr.update(visible=False)]
        start = button.click(lambda: waits, None, [button, cancel], queue=False, api_visibility="private")
        # Generator functions to whoever asks, also where type checks are wrapped around ours
        making = start.then(
            lambda picture, *chosen: (yield from _made(pipeline, worker, folder, picture, chosen)),
            [picture, *settings],
            shown,
            show_progress="hidden",
            api_visibility="private",
            concurrency_id="make",
        )
        # Programs get all outputs at the end; the page would draw the splat anew while it is being turned
        gr.Button(visible=False).click(
            lambda picture, seed, steps, sampler, elevation, guidance, mesh: (
                yield from _made(
                    pipeline, worker, folder, picture, (seed, steps, sampler, elevation, guidance, mesh), whole=True
                )
            ),
            [picture, *settings],
            shown,
            api_name="make",
            concurrency_id="make",
        )
        making.failure(lambda: ready, None, [button, cancel], queue=False, api_visibility="private")
        making.success(lambda: ready, None, [button, cancel], queue=False, api_visibility="private")
        cancel.click(
            lambda: (*ready, problem("Cancelled.")),
            None,
            [button, cancel, status],
            cancels=[making],
            queue=False,
            api_visibility="private",
        )
        page.load(None, js=NAMES_SCRIPT % named)
    page.queue(max_size=waiting, default_concurrency_limit=1)
    return page


def _settings(pipeline: Pipeline) -> list[Any]:
    """Returns the fields of `Choices`; those that change nothing of this model are not seen."""
    usual, kinds, needs = pipeline.config.sampling, pipeline.sampler_kinds, pipeline.requirements
    diffuses = bool(kinds)
    return [
        gr.Number(
            0,
            label="Seed",
            info="Of the noise that sampling starts from: another one imagines hidden sides anew.",
            precision=0,
            minimum=0,
            visible=diffuses,
        ),
        gr.Slider(1, max(100, usual.steps), usual.steps, step=1, label="Denoising steps", visible=diffuses),
        gr.Radio(
            [(_SAMPLERS.get(kind, kind), kind) for kind in kinds],
            value=usual.sampler if diffuses else None,
            label="Sampler",
            visible=len(kinds) > 1,
        ),
        gr.Slider(
            -30,
            80,
            pipeline.config.rig.elevation,
            step=1,
            label="Elevation",
            info="How far above the object's horizon the camera was, degrees.",
        ),
        gr.Slider(
            1,
            4,
            1,
            step=0.25,
            label="Guidance",
            info="Above 1, the picture counts for more than the model would let it, in twice the time.",
            visible=needs.guided,
        ),
        gr.Checkbox(True, label="Make a mesh, too"),
    ]


def _made(
    pipeline: Pipeline,
    worker: Worker,
    folder: pathlib.Path,
    picture: str | None,
    chosen: Choices,
    *,
    whole: bool = False,
) -> Generator[tuple[Any, ...], None, None]:
    """Answers one click: yields progress, and whatever has come to be, for the page's six outputs.

    Args:
        pipeline: the model.
        worker: does the job.
        folder: for its files.
        picture: the path of an upload.
        chosen: the settings.
        whole: repeat everything at the end.

    Raises:
        gr.Error: in one line, if the visitor's picture or settings are not usable.
    """
    try:
        yield from _job(pipeline, worker, folder, picture, chosen, whole)
    except gr.Error as error:  # told in its place as well, where a screen reader finds it
        yield (problem(html.unescape(str(error.message))), *[gr.skip()] * 5)
        raise


def _job(
    pipeline: Pipeline, worker: Worker, folder: pathlib.Path, picture: str | None, chosen: Choices, whole: bool
) -> Generator[tuple[Any, ...], None, None]:
    if picture is None:
        raise gr.Error("Choose a picture first: drop one, or click an example.", print_exception=False)
    seed, steps, sampler, elevation, guidance, mesh = chosen
    if pipeline.sampler_kinds:
        seed, steps = _whole(seed, "seed"), _whole(steps, "number of steps")
    else:
        seed, steps, sampler = 0, None, None
    options = AssetOptions(
        InputOptions(elevation=float(elevation)),
        SamplingOptions(steps=steps, sampler=sampler, guidance=(float(guidance),), seed=seed),
        mesh,
    )
    path = pathlib.Path(picture)
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as place:

        def job(report: Callable[[JobProgress], None]) -> Asset:
            return make_asset(pipeline, path, options, pathlib.Path(place), report)

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
            told = own_words(type(error)(str(error).replace(picture, path.name)))
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


def host_check(host: str) -> list[Any]:
    """Returns the middleware that refuses requests by the name of another machine; see `diffgs_jax.viewing.hosts`.

    Args:
        host: that the page is served at.
    """

    class CheckHost:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and not is_allowed(Headers(scope=scope).get("host"), host):
                await PlainTextResponse("This page answers to local names only.\n", 421)(scope, receive, send)
            else:
                await self.app(scope, receive, send)

    return [Middleware(CheckHost)]


def _untouched(upload: Any) -> str | None:
    """Hands over an uploaded file as it is: what is wrong with it is told by our own reader."""
    return None if upload is None else upload.path


def _whole(number: int | float | None, name: str) -> int:
    if number is None or number != int(number):
        raise gr.Error(f"The {name} must be a whole number.", print_exception=False)
    return int(number)
