"""Measures refining: how much nearer the given view comes, and what becomes of the views that are not given.

    python scripts/measure_refine.py --data data/furniture_128 --out refined [--objects 95] [-- --steps 100]

A trained model makes a splat of one view of each test object (`diffgs_jax.evaluate`'s protocol); `optimize refine`'s
engine brings it closer to that view; both are scored on that view and on others of the object. What follows `--` are
options of the refining. Each object's scores stay in `--out`, so a killed run goes on; `refine.json` has the table and
the means, which are printed.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from diffgs_jax import evaluation, optimization
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import open_store
from diffgs_jax.errors import report_errors
from diffgs_jax.evaluation import Cases, Predictor, ProtocolConfig
from diffgs_jax.files import load_json, make_folder, write_json
from diffgs_jax.geometry import DILATION, SMOOTHED_DILATION, Cameras, Gaussians, denoised_cameras
from diffgs_jax.inference import Pipeline, SamplingOptions, load, use_compile_cache
from diffgs_jax.interop import visible_gaussians
from diffgs_jax.optimization import PosedImages, Pulling, RefineConfig


def main() -> None:
    """Runs the command line."""
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--checkpoint", type=pathlib.Path)
    parser.add_argument("--objects", type=int, default=95)
    parser.add_argument("--records", nargs="*", default=[], help="these objects instead")
    parser.add_argument("--max-views", type=int, default=31, help="views that are not given")
    options = parser.parse_args(words[:cut])
    with report_errors():
        config = parse_options(RefineConfig, words[cut + 1 :], prog="measure_refine.py … --").checked()
        measure(options, config, words[cut + 1 :])


def measure(options: argparse.Namespace, config: RefineConfig, more: list[str]) -> None:
    """Refines objects spread evenly over the test split, and writes their table.

    Args:
        options: of the command line.
        config: of the refining.
        more: its words.
    """
    use_compile_cache()
    pipeline = load(options.checkpoint)
    # VGG16 would be most of the work
    usable = tuple(name for name in evaluation.usable_lpips(pipeline.config.data.resolution) if name == "alex")
    protocol = ProtocolConfig(background=pipeline.background, lpips=usable)
    predictor = make_predictor(pipeline, protocol)
    store = open_store(options.data, "test")
    out, rows = make_folder(options.out), []
    chosen = [store.uids.index(uid) for uid in options.records]
    for index in chosen or evaluation.spread(len(store.uids), options.objects):
        uid = store.uids[index]
        kept = out / f"{uid.replace('/', '_')}.json"
        asked = {"record": uid, "model": pipeline.fingerprint, "options": more, "max_views": options.max_views}
        if not (kept.exists() and load_json(kept)["asked"] == asked):
            [item] = evaluation.load_objects(
                store,
                pipeline.config.data.resolution,
                [index],
                background=pipeline.background,
                max_views=options.max_views,
            )
            cases = evaluation.make_cases([item])
            write_json(kept, {"asked": asked} | refine_one(pipeline, predictor, cases, config, protocol))
        told = load_json(kept)
        rows.append({"record": uid, **{name: value for name, value in told.items() if name != "asked"}})
        print(json.dumps(rows[-1]), flush=True)
    table = summary(rows)
    write_json(out / "refine.json", {"options": more, "objects": rows, "summary": table})
    print(f"mean of {len(rows)}:")
    for name, line in table.items():
        print(f"{name:28} {line['before']:9.4f} -> {line['after']:9.4f}   fell on {line['worse']} of {len(rows)}")


def make_predictor(pipeline: Pipeline, protocol: ProtocolConfig) -> Predictor:
    """Returns the model as the protocol calls it."""
    return evaluation.make_predictor(
        pipeline.config.model,
        pipeline.frozen,
        pipeline.sampler(SamplingOptions()),
        denoised_cameras(pipeline.config.rig),
        pipeline.config.data.resolution,
        protocol,
        variance=pipeline.config.sampling.filter,
    )


def refine_one(
    pipeline: Pipeline, predictor: Predictor, cases: Cases, config: RefineConfig, protocol: ProtocolConfig
) -> dict[str, object]:
    """Returns the scores of one object's splat before and after, on the given view and on the others.

    Args:
        pipeline: the model.
        predictor: the same.
        cases: one object.
        config: of the refining.
        protocol: which metrics.
    """
    made = Gaussians(*(np.asarray(leaf)[0] for leaf in jax.device_get(predictor.gaussians(pipeline.params, cases))))
    first = visible_gaussians(made)  # as `sample` writes them
    alpha = cases.condition_alphas[0, ..., None]
    colors = cases.condition_images[0] - (1 - alpha) * protocol.background
    pixels = np.round(np.clip(np.concatenate([colors, alpha], axis=-1), 0, 1) * 255).astype(np.uint8)
    given = PosedImages(pixels[None], Cameras(*(np.asarray(leaf, np.float32) for leaf in cases.condition_cameras)))
    count = len(first.opacities)
    config = dataclasses.replace(config, capacity=config.capacity or optimization.roomy(count))
    slots = optimization.from_gaussians(first, config.capacity, config.sh_degree)
    start = optimization.to_gaussians(*slots)
    dilation = SMOOTHED_DILATION if pipeline.config.sampling.filter else DILATION
    began = time.process_time()
    state = optimization.initial_state(*slots)
    for now in optimization.guide(Pulling(given, start), state, config, pipeline.config.rig, dilation=dilation):
        state = now.state
    seconds = time.process_time() - began
    after = optimization.to_gaussians(state.parameters, state.is_used)
    own = cases._replace(
        target_images=cases.condition_images[:, None],
        target_alphas=cases.condition_alphas[:, None],
        target_cameras=Cameras(*(np.asarray(leaf)[:, None] for leaf in cases.condition_cameras)),
        is_target=np.ones((1, 1), bool),
        target_depths=None,
    )
    others = cases._replace(target_depths=None)
    told = {"gaussians": count, "processor_seconds": round(seconds, 1)}
    for name, those in (("given", own), ("unseen", others)):
        for when, splat in (("before", start), ("after", after)):
            batch = Gaussians(*(jnp.asarray(leaf)[None] for leaf in splat))
            seen = predictor.views(batch, those.target_cameras)._replace(depth=None)
            scores = evaluation.score_batch(seen, those, protocol).scores
            told[f"{name}_{when}"] = {metric: float(np.nanmean(values)) for metric, values in scores.items()}
    return told


def summary(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Returns each metric's means before and after, and on how many objects it got worse."""
    table = {}
    for name in ("given", "unseen"):
        for metric in rows[0][f"{name}_before"]:
            before, after = (
                np.asarray([row[f"{name}_{when}"][metric] for row in rows]) for when in ("before", "after")
            )
            worse = after > before if "lpips" in metric else after < before
            table[f"{name} {metric}"] = {
                "before": float(before.mean()),
                "after": float(after.mean()),
                "worse": int(worse.sum()),
            }
    return table


if __name__ == "__main__":
    main()
