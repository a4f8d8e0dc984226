"""The web page: a picture in, an object to turn and files to take home. Needs gradio."""

import json
import pathlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

import gradio as gr  # ty: ignore (optional)
from starlette.datastructures import Headers  # ty: ignore (optional)
from starlette.middleware import Middleware  # ty: ignore (optional)
from starlette.responses import PlainTextResponse  # ty: ignore (optional)

from diffgs_jax.inference import Pipeline
from diffgs_jax.viewing.hosts import is_allowed
from diffgs_jax.viewing.jobs import Worker
from diffgs_jax.viewing.page_jobs import answer, takes_any
from diffgs_jax.viewing.page_parts import (
    CSS,
    EMPTY,
    NAMES_SCRIPT,
    SIDES,
    TITLE,
    introduction,
    problem,
)

__all__ = ["CSS", "build_page", "host_check"]

_BUTTONS: Any = ["download", "fullscreen"]
_SAMPLERS = {"ddim": "DDIM", "dpm": "DPM-Solver++", "dpm_sde": "DPM-Solver++ (SDE)", "ddpm": "DDPM, as published"}


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
                posed = _posed(pipeline)
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

        asked = [*pictures, *settings, *([] if posed is None else [posed])]
        shown = [status, splat, mesh, film, views, files]
        waits = [gr.update(interactive=False, value="Making it …"), gr.update(visible=True)]
        ready = [gr.update(interactive=True, value="Make it 3D"), gr.update(visible=False)]
        start = button.click(lambda: waits, None, [button, cancel], queue=False, api_visibility="private")
        count = len(pictures)

        def answers(*given: Any, whole: bool = False) -> Generator[tuple[Any, ...], None, None]:
            return answer(pipeline, worker, folder, given[:count], given[count:], whole=whole)

        making = start.then(
            lambda *given: (yield from answers(*given)),
            asked,
            shown,
            show_progress="hidden",
            api_visibility="private",
            concurrency_id="make",
        )
        # Programs get all outputs at the end; the page would draw the splat anew while it is being turned
        gr.Button(visible=False).click(
            _by_program(answers, count, several=posed is not None),
            asked,
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


def _by_program(
    answers: Callable[..., Generator[tuple[Any, ...], None, None]], pictures: int, *, several: bool
) -> Callable[..., Generator[tuple[Any, ...], None, None]]:
    """Returns what programs call; the names of its arguments are those of the request.

    Lambdas with a yield are generator functions to whoever asks, also where type checks are wrapped around ours.

    Args:
        answers: the page's own answer.
        pictures: how many fields for pictures there are.
        several: whether there is one for several posed ones.
    """
    if pictures > 1:
        return lambda front, right, back, left, seed, steps, sampler, elevation, guidance, mesh: (
            yield from answers(front, right, back, left, seed, steps, sampler, elevation, guidance, mesh, whole=True)
        )
    if several:
        return lambda picture, seed, steps, sampler, elevation, guidance, mesh, posed=None: (
            yield from answers(picture, seed, steps, sampler, elevation, guidance, mesh, posed, whole=True)
        )
    return lambda picture, seed, steps, sampler, elevation, guidance, mesh: (
        yield from answers(picture, seed, steps, sampler, elevation, guidance, mesh, whole=True)
    )


def _is_several(pipeline: Pipeline) -> bool:
    return pipeline.requirements.condition_views[0] > 1


def _posed(pipeline: Pipeline) -> Any | None:
    """Returns the field for several posed pictures; None for models that were not trained with any number of them."""
    if not takes_any(pipeline) or pipeline.requirements.condition_views[1] < 2:
        return None
    label = "Several posed pictures: a transforms.json and the pictures it lists"
    return gr.File(label=label, file_count="multiple", type="filepath", elem_id="posed")


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
