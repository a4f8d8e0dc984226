"""Compares ways from one picture to a splat on test objects: optimization under priors, and trained models.

    python scripts/compare_methods.py --data data/furniture_128 --out comparison --objects 10 \
        --image-model runs/ddpm_furniture_32 --zero123 runs/zero123_furniture_32

Every method is shown the view that `diffgs_jax.evaluate` shows, and scored on the object's other views: on the box
PSNR, SSIM and LPIPS (AlexNet, if installed), and the coverage's intersection over union. `sds` and `vsd` match the
picture and ask `--image-model`, a model of single images, about views from elsewhere; `zero123` asks a Zero-1-to-3;
`picture alone` has no prior. `--models NAME=FOLDER …` are trained models of Gaussians: the bundled DiffusionGS by
default, a GSRecon (which is shown as many views as it needs) or a DiffSplat where there is one. `--sweep` also runs
Zero-1-to-3 over scales of guidance and ranges of timesteps. Options of the distilling follow `--`.

Every splat stays in `--out`, so a killed comparison goes on; `comparison.json` and `comparison.md` have the table.
"""

import argparse
import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffgs_jax import evaluation, optimize
from diffgs_jax.data import open_store
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.evaluation import Cases, PosedObject, ProtocolConfig, ViewImages
from diffgs_jax.files import load_json, make_folder, write_json, write_text
from diffgs_jax.geometry import Cameras, Gaussians, denoised_cameras
from diffgs_jax.geometry.object_frame import azimuth_of
from diffgs_jax.inference import Pipeline, SamplingOptions, load, use_compile_cache
from diffgs_jax.interop import read_gaussians
from diffgs_jax.rasterizer import render

COLUMNS = ("bbox_psnr", "bbox_ssim", "bbox_lpips_alex", "alpha_iou")
RANGES = ((0.02, 0.98), (0.02, 0.5), (0.2, 0.6))
SCALES = (1.0, 3.0, 7.5)


def main() -> None:
    """Runs the command line."""
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--resolution", type=int, default=64, help="of the views that are scored, pixels")
    parser.add_argument("--image-model", type=pathlib.Path, help="a model of single images, for sds and vsd")
    parser.add_argument("--zero123", type=pathlib.Path, help="a Zero-1-to-3")
    parser.add_argument("--models", nargs="*", default=[], help="NAME=FOLDER of models that make Gaussians")
    parser.add_argument("--sweep", action="store_true", help="scales of guidance and ranges of timesteps, too")
    options = parser.parse_args(words[:cut])
    with report_errors():
        compare(options, words[cut + 1 :])


def compare(options: argparse.Namespace, more: list[str]) -> None:
    """Runs every method on every object and writes the table.

    Args:
        options: of the command line.
        more: options of the distilling.
    """
    use_compile_cache()
    store = open_store(options.data, "test")
    chosen = evaluation.spread(len(store), options.objects)
    rows: dict[str, Any] = {}

    def finish(name: str, found: evaluation.Evaluation, seconds: list[float]) -> None:
        means = evaluation.mean_scores(found.scores)
        rows[name] = {column: means[column] for column in COLUMNS if column in means}
        rows[name]["processor_seconds"] = float(np.mean(seconds))
        print(json.dumps({name: rows[name]}), flush=True)
        write_json(options.out / "comparison.json", {"objects": [store.uids[n] for n in chosen], "rows": rows})
        write_text(options.out / "comparison.md", table(rows))

    make_folder(options.out)
    lpips = tuple(name for name in evaluation.usable_lpips(options.resolution) if name == "alex")
    protocol = ProtocolConfig(batch_size=1, lpips=lpips)
    objects = evaluation.load_objects(store, options.resolution, chosen)
    for name, words in methods(options).items():
        splats, seconds = {}, []
        for item in objects:
            folder = options.out / name.replace(" ", "_") / item.uid.replace("/", "_")
            given = ["--data", options.data, "--record", item.uid, "--views", item.condition]
            asked = [str(word) for word in ("distil", *given, "--out", folder, *words, *more)]
            splats[item.uid] = _distilled(folder, asked)
            seconds.append(load_json(folder / "distil.json")["processor_seconds"])
        finish(name, _scored_splats(splats, objects, protocol, options.resolution), seconds)
    named = dict(pair.split("=", 1) for pair in options.models if "=" in pair)
    if len(named) != len(options.models):
        raise UserError("--models are NAME=FOLDER, of different names")
    for name, folder in [("DiffusionGS", None), *named.items()]:
        found, seconds = _score_model(load(folder), store, chosen, protocol)
        finish(name, found, [seconds])
    print(table(rows))


def methods(options: argparse.Namespace) -> dict[str, list[Any]]:
    """Returns the optimization methods that can be run, and the words that ask for each."""
    found: dict[str, list[Any]] = {"picture alone": ["--prior-weight", 0]}
    if options.image_model is not None:
        asked = ["--checkpoints", options.image_model]
        found |= {kind: [*asked, "--distillation.kind", kind] for kind in ("sds", "vsd")}
    if options.zero123 is not None:
        asked = ["--checkpoints", options.zero123]
        found["zero123"] = asked
        if options.sweep:
            found |= {f"zero123 guidance {scale:g}": [*asked, "--guidance", scale] for scale in SCALES[1:]}
            found |= {
                f"zero123 timesteps {low:g} to {high:g}": [
                    *(*asked, "--distillation.low", low, "--distillation.high", high)
                ]
                for low, high in RANGES[1:]
            }
    return found


def _distilled(folder: pathlib.Path, asked: list[str]) -> Gaussians:
    """Returns a splat, distilled unless that was done before with the same options."""
    done = folder / "asked.json"
    if not (done.exists() and load_json(done) == asked):
        optimize.main(asked)
        write_json(done, asked)
    return read_gaussians(folder / "gaussians.ply")


def _scored_splats(
    splats: Mapping[str, Gaussians], objects: list[PosedObject], protocol: ProtocolConfig, side: int
) -> evaluation.Evaluation:
    """Scores splats that are in the stored world of their objects; the protocol's is turned."""
    remaining = iter(objects)

    def paint(cases: Cases) -> ViewImages:
        item = next(remaining)
        angle = azimuth_of(np.asarray(item.cameras.camera_to_world)[item.condition])
        turn = np.eye(4, dtype=np.float32)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        cameras = Cameras(
            turn @ np.asarray(cases.target_cameras.camera_to_world)[0], cases.target_cameras.intrinsics[0]
        )
        image, alpha = _render(_padded(splats[item.uid]), Cameras(*map(jnp.asarray, cameras)), side)
        return ViewImages(image[None], alpha[None])

    return evaluation.evaluate_views(paint, objects, protocol)


def _padded(gaussians: Gaussians) -> Gaussians:
    """Returns Gaussians in slots of one number for many, so that few programs are compiled."""
    spare = -len(gaussians.opacities) % 1024
    return Gaussians(*(np.pad(np.asarray(leaf), [(0, spare)] + [(0, 0)] * (np.ndim(leaf) - 1)) for leaf in gaussians))


@functools.partial(jax.jit, static_argnums=2)
def _render(gaussians: Gaussians, cameras: Cameras, side: int) -> tuple[jax.Array, jax.Array]:
    seen = render(gaussians, cameras, height=side, width=side)
    return jnp.clip(seen.image, 0, 1), seen.alpha


def _score_model(
    pipeline: Pipeline, store: Any, chosen: list[int], protocol: ProtocolConfig
) -> tuple[evaluation.Evaluation, float]:
    """Scores a trained model at its own resolution, and returns processor seconds of an object."""
    side = pipeline.config.data.resolution
    shown = max(1, pipeline.requirements.condition_views[0])
    objects = evaluation.load_objects(store, side, chosen, shown_views=shown)
    sampler = pipeline.sampler(SamplingOptions())
    variance = pipeline.filter_variance(SamplingOptions())
    predictor = evaluation.make_predictor(
        pipeline.config.model,
        pipeline.frozen,
        sampler,
        denoised_cameras(pipeline.config.rig),
        side,
        protocol,
        variance=variance,
    )
    first: Callable[[], object] = functools.partial(
        evaluation.evaluate_model, predictor, pipeline.params, objects[:1], protocol
    )
    first()  # compiles
    began = time.process_time()
    found = evaluation.evaluate_model(predictor, pipeline.params, objects, protocol)
    return found, (time.process_time() - began) / len(objects)


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Returns the table in Markdown; what was not measured is left empty."""
    columns = [*COLUMNS, "processor_seconds"]
    lines = [f"| {' | '.join(['method', *columns])} |", f"|---|{'---:|' * len(columns)}"]
    for name, row in rows.items():
        cells = [f"{row[column]:.3f}" if column in row else "" for column in columns]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
