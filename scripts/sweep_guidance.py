"""Sweeps the scale of guidance: how surely samples are of their class, and what fidelity that costs.

    python scripts/sweep_guidance.py --model runs/ddpm_classes --judge runs/judge --data data/furniture_128 --out sweep
    python scripts/sweep_guidance.py --model runs/ddpm --classifier runs/guide --judge runs/judge --data … --out sweep

Without `--classifier`, guidance is classifier-free, of a model that knows the judge's classes and was trained with
condition dropout; both notations of it are then sampled once, and must agree. The judge is a classifier of another seed
that learned from other objects (`scripts/halve_store.py`). For every scale, `--samples` images, equally many of each
class; the share that the judge gives the class that was asked for, with its 95 % interval; the Fréchet distance of all
to the data's images of these classes (VGG16). Images stay in `--out`, one file a scale, so a killed sweep goes on;
`sweep.json` and `sweep.md` have the table, and `scale_….png` shows some.
"""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from diffgs_jax import evaluation
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import load_views, open_store
from diffgs_jax.data.labels import find_label
from diffgs_jax.diffusion import classifier_free_guidance, sample
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.files import json_sha256, make_folder, write_json, write_text
from diffgs_jax.inference import Pipeline, SamplingOptions, load, use_compile_cache
from diffgs_jax.interop import square_grid, write_image
from diffgs_jax.models import Predicts, Request, Sampling, family
from diffgs_jax.models.generation import make_denoiser
from diffgs_jax.models.losses.lpips_weights import load_lpips

_COMPARED = 4  # images that are sampled in both notations
_AGREE = 1e-3


@dataclasses.dataclass(frozen=True)
class Options:
    """What is swept."""

    model: pathlib.Path
    """Checkpoint of a model of images."""
    judge: pathlib.Path
    """Checkpoint of the classifier that judges."""
    data: pathlib.Path
    """Record store whose training images of the classes are the truth of the Fréchet distance."""
    out: pathlib.Path
    """Folder for the table and images."""
    classifier: pathlib.Path | None = None
    """Checkpoint of the classifier that guides; without one, guidance is classifier-free."""
    scales: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0)
    """Scales of guidance; for classifier-free guidance 0 leaves the class out and 1 is the plain conditional model."""
    samples: int = 512
    """Images of each scale."""
    batch_size: int = 64
    """Images that are sampled together."""
    steps: int = 50
    """Of DDIM."""
    seed: int = 0
    """Of the first image; the same for all scales."""


def main(options: Options) -> None:
    """Runs the sweep."""
    use_compile_cache()
    pipeline, judge = load(options.model), load(options.judge)
    judging = family(judge.config.model)
    if not isinstance(judging, Predicts):
        raise UserError(f"{options.judge} is no classifier")
    names = judge.config.data.labels
    if options.classifier is None and pipeline.config.data.labels != names:
        raise UserError(f"{options.model} knows other classes than {options.judge}: {', '.join(names)}")
    if options.samples < 2 * len(names) or not options.scales:
        raise UserError(f"--samples must be at least {2 * len(names)}, and --scales name at least one")
    labels = np.arange(options.samples) % len(names)
    truth = _true_images(options, names, pipeline.config.data.resolution)
    weights = load_lpips("vgg")
    # As constants the weights would be folded for long
    describe = functools.partial(jax.jit(evaluation.vgg_features), weights)
    known = np.asarray(describe(truth), np.float64)
    make_folder(options.out)
    asked: dict[str, Any] = {
        "model": pipeline.fingerprint,
        "classifier": None if options.classifier is None else load(options.classifier).fingerprint,
        "samples": options.samples,
        "steps": options.steps,
        "seed": options.seed,
    }
    rows = []
    for scale in options.scales:
        images = _samples(options, pipeline, scale, labels, asked)
        said = np.concatenate(
            [
                np.asarray(judging.predict(judge.config.model, judge.params, judge.frozen, part)["class"])
                for part in np.array_split(images, -(-len(images) // options.batch_size))
            ]
        )
        right = evaluation.share_of(said == labels)
        distance = evaluation.frechet_distance(np.asarray(describe(images), np.float64), known)
        rows.append({"scale": scale, "accuracy": right._asdict(), "frechet_vgg16": distance})
        write_image(options.out / f"scale_{scale:g}.png", square_grid(images[:64]))
        print(json.dumps(rows[-1]), flush=True)
    told: dict[str, object] = {"asked": asked, "classes": list(names), "true_images": len(truth), "rows": rows}
    if options.classifier is None:
        told["notations_differ_by"] = _notations(pipeline, options, labels[:_COMPARED])
    write_json(options.out / "sweep.json", told)
    write_text(options.out / "sweep.md", _table(rows))
    print(_table(rows))


def _samples(
    options: Options, pipeline: Pipeline, scale: float, labels: Int[np.ndarray, "n"], asked: dict[str, Any]
) -> Float[np.ndarray, "n h w 3"]:
    """Returns the images of one scale, read if they were made before."""
    file = options.out / f"images_{json_sha256(asked | {'scale': scale})[:16]}.npy"
    if file.exists():
        return np.load(file)
    sampling = SamplingOptions(
        steps=options.steps,
        sampler="ddim",
        classifier=options.classifier,
        classifier_scale=scale if options.classifier is not None else 1.0,
    )
    settings = Sampling(
        pipeline.sampler(sampling),
        guidance=np.asarray(scale, np.float32) if options.classifier is None else None,
        classifier=pipeline.classifier(sampling),
    )
    images = []
    with tqdm(desc=f"scale {scale:g}", total=len(labels), unit="image") as bar:
        for start in range(0, len(labels), options.batch_size):
            part = labels[start : start + options.batch_size]
            images.append(
                evaluation.sample_images(
                    pipeline.config.model,
                    pipeline.params,
                    pipeline.frozen,
                    settings,
                    len(part),
                    pipeline.config.data.resolution,
                    seed=options.seed + start,
                    batch_size=options.batch_size,
                    labels=part,
                )
            )
            bar.update(len(part))
    found = np.concatenate(images)
    np.save(file, found)
    return found


def _notations(pipeline: Pipeline, options: Options, labels: Int[np.ndarray, "n"]) -> float:
    """Returns by how much samples in the two notations differ at most, at the largest scale.

    Raises:
        UserError: if they are others.
    """
    config, scale = pipeline.config.model, max(options.scales)
    module = family(config)
    request = Request(pipeline.config.data.resolution, np.zeros(len(labels), np.int32), labels=labels)
    sampler = pipeline.sampler(SamplingOptions(steps=options.steps, sampler="ddim"))
    keys = jnp.stack([jax.random.key(options.seed + number) for number in range(len(labels))])
    shape = module.state_shape(config, request)[1:]

    @jax.jit
    def both(params: dict, frozen: dict) -> list[jax.Array]:
        conditional = make_denoiser(config, params, frozen, request)
        nothing = module.denoiser(config, params, frozen, module.null_condition(config, params, frozen, request))
        assert sampler is not None  # whatever is guided diffuses
        first = classifier_free_guidance(conditional, nothing, scale)
        second = classifier_free_guidance(conditional, nothing, scale - 1, notation="weight")
        return [sample(one, sampler, keys, shape).x0 for one in (first, second)]

    first, second = both(pipeline.params, pipeline.frozen)
    difference = float(jnp.abs(first - second).max())
    if difference > _AGREE:
        raise UserError(f"the two notations of classifier-free guidance differ by {difference}")
    return difference


def _true_images(options: Options, names: tuple[str, ...], resolution: int) -> Float[np.ndarray, "n h w 3"]:
    """Returns the training images of the classes."""
    store = open_store(options.data, "train")
    chosen = [record for record in (store[n] for n in range(len(store))) if find_label(record, names) >= 0]
    return np.concatenate([load_views(record, resolution, 1.0)[0] for record in chosen])


def _table(rows: list[dict]) -> str:
    lines = [
        "| scale | accuracy of another classifier | 95 % interval | Fréchet distance (VGG16) |",
        "|---:|---:|---|---:|",
    ]
    for row in rows:
        right = row["accuracy"]
        interval = f"{right['low']:.3f} to {right['high']:.3f}"
        lines.append(f"| {row['scale']:g} | {right['value']:.3f} | {interval} | {row['frechet_vgg16']:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Options, description=__doc__))
