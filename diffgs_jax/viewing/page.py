"""The web page: a picture in, an object to turn and files to take home. Needs gradio."""

import html
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

TITLE = "Picture to 3D"
_INTRODUCTION = """# Picture to 3D
Give it a picture of **one object**, cut out or in front of a plain background. A diffusion model imagines the other
sides and hands you a 3D Gaussian splat to turn and to keep."""
_EMPTY = (
    '<div class="stage empty"><p>Your object will appear here.<br>Drag to turn it, scroll to come closer.</p></div>'
)
_BUTTONS: Any = ["download", "fullscreen"]
_SAMPLERS = {"ddim": "DDIM", "dpm": "DPM-Solver++", "dpm_sde": "DPM-Solver++ (SDE)", "ddpm": "DDPM, as published"}
CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.stage { display: block; height: 520px; width: 100%; border: 1px solid var(--border-color-primary); border-radius: 8px;
  background: white; }
.stage.empty { display: flex; align-items: center; justify-content: center; text-align: center; color: #8a8f98; }
.bar { height: 8px; border-radius: 4px; background: var(--border-color-primary); overflow: hidden; }
.bar div { height: 100%; border-radius: 4px; background: var(--color-accent); transition: width 0.3s; }
#examples .gallery { display: grid; grid-template-columns: repeat(5, 1fr); gap: 8px; }
#examples .gallery-item, #examples .gallery-item * { display: block; width: 100%; height: 100%; max-width: none; }
#examples img { aspect-ratio: 1; object-fit: contain; }
.file-preview td { padding: 4px 10px !important; }
.file-preview .label-clear-button { display: none; }
.html-container { padding: 0 !important; }
.told { display: flex; justify-content: space-between; margin: 0 0 6px; }
"""


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
    usual = pipeline.config.sampling
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(_INTRODUCTION)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                picture = gr.Image(
                    label="Picture", type="filepath", image_mode=None, sources=["upload", "clipboard"], height=290
                )
                picture.preprocess = _untouched
                if examples:
                    gr.Examples([*map(str, examples)], picture, label="Or click one of these", elem_id="examples")
                with gr.Accordion("Settings", open=False):
                    seed = gr.Number(
                        0, label="Seed", info="Another one imagines other hidden sides.", precision=0, minimum=0
                    )
                    steps = gr.Slider(1, max(100, usual.steps), usual.steps, step=1, label="Denoising steps")
                    sampler = gr.Radio(
                        [(_SAMPLERS.get(kind, kind), kind) for kind in pipeline.sampler_kinds],
                        value=usual.sampler,
                        label="Sampler",
                    )
                    elevation = gr.Slider(
                        -30,
                        80,
                        pipeline.config.rig.elevation,
                        step=1,
                        label="Elevation",
                        info="How far above the object's horizon the camera was, degrees.",
                    )
                    guidance = gr.Slider(
                        1,
                        4,
                        1,
                        step=0.25,
                        label="Guidance",
                        info="Above 1, the picture counts for more than the model would let it, in twice the time.",
                        visible=pipeline.requirements.guided,
                    )
                    with_mesh = gr.Checkbox(True, label="Make a mesh, too")
                button = gr.Button("Make it 3D", variant="primary", size="lg")
                status = gr.HTML(min_height=44)
                files = gr.Files(label="Download", interactive=False)
            with gr.Column(scale=3, min_width=420):
                with gr.Tabs():
                    with gr.Tab("Splat"):
                        splat = gr.HTML(_EMPTY)
                    with gr.Tab("Mesh"):
                        mesh = gr.HTML(_EMPTY)
                with gr.Row():
                    film = gr.Video(
                        label="One turn",
                        show_label=False,
                        height=220,
                        scale=1,
                        min_width=200,
                        autoplay=True,
                        loop=True,
                        interactive=False,
                    )
                    views = gr.Image(
                        label="What the model saw, and what it predicted",
                        show_label=False,
                        height=220,
                        scale=2,
                        interactive=False,
                        buttons=_BUTTONS,
                    )
        button.click(
            # A generator function to whoever asks, also where type checks are wrapped around ours.
            lambda picture, seed, steps, sampler, elevation, guidance, mesh: (
                yield from _made(pipeline, worker, folder, picture, (seed, steps, sampler, elevation, guidance, mesh))
            ),
            [picture, seed, steps, sampler, elevation, guidance, with_mesh],
            [status, splat, mesh, film, views, files],
            show_progress_on=[status],
            api_name="make",
        )
    page.queue(max_size=waiting, default_concurrency_limit=1)
    return page


def _made(
    pipeline: Pipeline,
    worker: Worker,
    folder: pathlib.Path,
    picture: str | None,
    chosen: tuple[int | float | None, int | float | None, SamplerKind, int | float, int | float, bool],
) -> Generator[tuple[Any, ...], None, None]:
    """Answers one click: yields progress, then everything, for the page's six outputs.

    Raises:
        gr.Error: in one line, if the visitor's picture or settings are not usable.
    """
    if picture is None:
        raise gr.Error("Choose a picture first: drop one, or click an example.", print_exception=False)
    seed, steps, sampler, elevation, guidance, mesh = chosen
    seed, steps = _whole(seed, "seed"), _whole(steps, "number of steps")
    options = AssetOptions(
        InputOptions(elevation=float(elevation)),
        SamplingOptions(steps=steps, sampler=sampler, guidance=(float(guidance),), seed=seed),
        mesh,
    )
    path = pathlib.Path(picture)
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as place:

        def job(report: Callable[[JobProgress], None]) -> Asset:
            return make_asset(pipeline, path, options, pathlib.Path(place), report)

        try:
            for event in follow(worker, job):
                yield _shown(event.value) if isinstance(event, Done) else (_told(event), *[gr.skip()] * 5)
        except (Abandoned, CancelledError) as error:
            raise gr.Error("The server is being closed.", print_exception=False) from error
        except (UserError, DataError) as error:
            message = html.escape(str(error).replace(picture, path.name))
            raise gr.Error(message, duration=None, print_exception=False) from error


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


def _told(progress: JobProgress) -> str:
    share = 100 * progress.done / progress.total if progress.total else 0
    count = f"{progress.done} of {progress.total}" if progress.total else ""
    return (
        f'<p class="told"><span>{html.escape(progress.doing)}</span><span>{count}</span></p>'
        f'<div class="bar"><div style="width: {share:.0f}%"></div></div>'
    )


def _shown(asset: Asset) -> tuple[str, str, str, str, str, list[str]]:
    left_out = f" ({asset.invisible:,} invisible ones left out)" if asset.invisible else ""
    told = f'<p class="told"><span>{asset.gaussians:,} Gaussians{left_out} in {asset.seconds:.1f} s</span></p>'
    files = [str(path) for path in asset.files]
    return told, _stage(asset.splat), _stage(asset.mesh), str(asset.film), str(asset.views), files


def _stage(content: str) -> str:
    if not content.lstrip().lower().startswith("<!doctype"):
        return f'<div class="stage empty"><p>{html.escape(content) or "No mesh was asked for."}</p></div>'
    # The page goes into the message itself, so that it works behind any proxy and needs no address of its own.
    return f'<iframe class="stage" title="The object" srcdoc="{html.escape(content)}"></iframe>'
