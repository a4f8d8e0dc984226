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
    NAMES_SCRIPT,
    SIDES,
    TITLE,
    introduction,
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
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(introduction(several=_is_several(pipeline)))
        with gr.Row(equal_height=False, elem_id="layout"):
            with gr.Column(elem_id="ask"):
                pictures = _pictures(pipeline)
                if examples and len(pictures) == 1:
                    gr.Examples([*map(str, examples)], pictures, label="Or click one of these", elem_id="examples")
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
        count = len(pictures)

        def answers(*given: Any, whole: bool = False) -> Generator[tuple[Any, ...], None, None]:
            return _made(pipeline, worker, folder, given[:count], given[count:], whole=whole)

        # Lambdas with a yield are generator functions to whoever asks, also where type checks are wrapped around ours
        by_program = (
            (
                lambda front, right, back, left, seed, steps, sampler, elevation, guidance, mesh: (
                    yield from answers(
                        front, right, back, left, seed, steps, sampler, elevation, guidance, mesh, whole=True
                    )
                )
            )
            if count > 1
            else (
                lambda picture, seed, steps, sampler, elevation, guidance, mesh: (
                    yield from answers(picture, seed, steps, sampler, elevation, guidance, mesh, whole=True)
                )
            )
        )
        making = start.then(
            lambda *given: (yield from answers(*given)),
            [*pictures, *settings],
            shown,
            show_progress="hidden",
            api_visibility="private",
            concurrency_id="make",
        )
        # Programs get all outputs at the end; the page would draw the splat anew while it is being turned
        gr.Button(visible=False).click(
            by_program,
            [*pictures, *settings],
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
        names = [[path.stem.replace("_", " ") for path in examples], [picture.label for picture in pictures]]
        page.load(None, js=NAMES_SCRIPT % json.dumps(names))
    page.queue(max_size=waiting, default_concurrency_limit=1)
    return page


def _is_several(pipeline: Pipeline) -> bool:
    return pipeline.requirements.condition_views[0] > 1


def _pictures(pipeline: Pipeline) -> list[Any]:
    """Returns the field for the picture, or those for pictures from four sides, counterclockwise from the front."""
    if not _is_several(pipeline):
        return [_picture("Picture", 290, "picture")]
    with gr.Row():
        front, right = (_picture(SIDES[number], 150, f"picture{number}") for number in (0, 1))
    with gr.Row():
        back, left = (_picture(SIDES[number], 150, f"picture{number}") for number in (2, 3))
    return [front, right, back, left]


def _picture(label: str, height: int, name: str) -> Any:
    sources: Any = ["upload", "clipboard"]
    field = gr.Image(
        label=label,
        type="filepath",
        image_mode=None,
        sources=sources,
        height=height,
        min_width=120,
        elem_id=name,
        elem_classes="picture",
    )
    field.preprocess = _untouched
    return field


def _settings(pipeline: Pipeline) -> list[Any]:
    """Returns the fields of `Choices`; those that change nothing of this model are not seen."""
    usual, kinds, needs = pipeline.config.sampling, pipeline.sampler_kinds, pipeline.requirements
    diffuses = bool(kinds)
    return [
        gr.Number(
            0,
            label="Seed",
            info="Of the noise that sampling starts from. Hidden sides change with it if the model leaves them open.",
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
        pictures: the paths of uploads: one, or those from four sides.
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
    least, is_several = pipeline.requirements.condition_views[0], len(pictures) > 1
    given = [path for path in pictures if path is not None]
    if pictures[0] is None or len(given) < least:
        wanted = "Choose a picture first: drop one, or click an example."
        if is_several:
            wanted = "Choose the pictures first: this model needs all four."
        raise gr.Error(wanted, print_exception=False)
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
    source = [path and pathlib.Path(path) for path in pictures] if is_several else pathlib.Path(pictures[0])
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as place:

        def job(report: Callable[[JobProgress], None]) -> Asset:
            return make_asset(pipeline, source, options, pathlib.Path(place), report)

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
            message = str(error)
            for path in given:
                message = message.replace(path, pathlib.Path(path).name)
            told = own_words(type(error)(message))
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
