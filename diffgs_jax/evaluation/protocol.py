"""Single view in, all other views out: what a model makes of one picture, held against every other view of the object.

For each object one stored view is the condition; the network denoises the model's own rig of cameras from pure noise
(of a scene: cameras that the protocol names), and the Gaussians of the last step are rendered at all other views of the
protocol, none of which the network was given.
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffgs_jax.evaluation.baselines import ViewImages
from diffgs_jax.evaluation.distances import frechet_distance, kernel_distance
from diffgs_jax.evaluation.objects import Cases, PosedObject, derangement, make_cases
from diffgs_jax.evaluation.predictor import Predictor
from diffgs_jax.evaluation.result_cache import Keep, Piece, compute_always
from diffgs_jax.evaluation.scoring import ProtocolConfig, score_batch, true_features
from diffgs_jax.geometry import Gaussians

Scores = dict[str, list[np.ndarray]]
"""For each metric and object, the values `[t]` of its target views; NaN where a view has none."""

Features = dict[str, np.ndarray]
"""By network, the features `[n, d]` of all target views of all objects."""


class Evaluation(NamedTuple):
    """What a model or a baseline scored on a split.

    Attributes:
        scores: with each object's own picture as the condition.
        predictions: for each object, its target views as predicted, `[t, s, s, 3]` in bytes, on the background.
        features: of the predicted views, where the protocol's networks give any.
        finer: scores at twice the training resolution, without LPIPS; None if that was not asked for.
        swapped: scores with another object's picture as the condition; None if that was not asked for or cannot be.
        seconds_per_sample: of sampling alone, for one object in a batch, without compilation; None of baselines.
    """

    scores: Scores
    predictions: list[np.ndarray]
    features: Features
    finer: Scores | None = None
    swapped: Scores | None = None
    seconds_per_sample: float | None = None


def evaluate_model(
    predictor: Predictor,
    params: Any,
    objects: Sequence[PosedObject],
    config: ProtocolConfig,
    on_batch: Callable[[int], object] = lambda objects: None,
    *,
    swap: bool = True,
    finer: Callable[[Sequence[int]], Sequence[PosedObject]] | None = None,
    keep: Keep = compute_always,
) -> Evaluation:
    """Runs the protocol, and again with every object's Gaussians exchanged for another's (`derangement`).

    The exchanged Gaussians were made from the other object's picture in the frame of that picture's camera, and are
    rendered at this object's target cameras: if a model ignores its condition, the two scores are equal.

    Args:
        predictor: the model.
        params: its weights.
        objects: all of one resolution.
        config: the protocol.
        on_batch: called with the number of objects done since the last call, in either pass.
        swap: run the second pass too.
        finer: reads objects by their index, with the same views at twice the resolution, where the same Gaussians are
            rendered and scored too.
        keep: what becomes of finished batches.
    """
    swap = swap and len(objects) > 1
    batches = -(-len(objects) // config.batch_size)
    compiled = False

    def gaussians_in(cases: Cases) -> tuple[Gaussians, float]:
        """Samples a batch; how long it takes is not known (NaN) when that includes compilation."""
        nonlocal compiled
        seconds = np.nan
        for _ in range(2 if batches == 1 and not compiled else 1):
            began = time.perf_counter()
            # On the host, as in the second pass: an array that is committed to a device would compile everything twice.
            gaussians = jax.device_get(predictor.gaussians(params, cases))
            seconds = (time.perf_counter() - began) / len(cases.condition_images) if compiled else np.nan
            compiled = True
        return gaussians, seconds

    # Without LPIPS, which takes longer than all the rest
    plain = ProtocolConfig(background=config.background)
    pieces: list[Piece] = []
    for batch, (cases, indices, real) in enumerate(_batches(objects, config)):

        def predict(cases: Cases = cases, indices: np.ndarray = indices, real: int = real) -> Piece:
            gaussians, seconds = gaussians_in(cases)
            piece = _scored(predictor.views(gaussians, cases.target_cameras), cases, real, config)
            if predictor.shares is not None:
                opacity, weight = map(np.asarray, predictor.shares(gaussians, cases))
                piece["score/denoised_opacity"] = np.broadcast_to(opacity[:, None], weight.shape)[:real]
                piece["score/denoised_weight"] = weight[:real]
            if finer is not None and predictor.finer_views is not None:
                larger = make_cases(finer(indices.tolist()), cases.is_target.shape[1])
                scores, _ = score_batch(predictor.finer_views(gaussians, larger.target_cameras), larger, plain)
                piece |= {f"finer/{name}": np.asarray(values)[:real] for name, values in scores.items()}
            if swap:
                piece |= {f"gaussians/{name}": leaf[:real] for name, leaf in gaussians._asdict().items()}
            return piece | {"seconds": np.asarray(seconds)}

        pieces.append(keep(f"batch-{batch:04d}", predict))
        on_batch(real)
    seconds = np.asarray([float(piece["seconds"]) for piece in pieces])
    measured = _collected(pieces)
    if np.isfinite(seconds).any():
        measured = measured._replace(seconds_per_sample=float(np.nanmedian(seconds)))
    if not swap:
        return measured

    made = Gaussians(*(np.concatenate([piece[f"gaussians/{name}"] for piece in pieces]) for name in Gaussians._fields))
    other = derangement(len(objects))
    pieces = []
    for batch, (cases, indices, real) in enumerate(_batches(objects, config)):

        def exchange(cases: Cases = cases, indices: np.ndarray = indices, real: int = real) -> Piece:
            strangers = Gaussians(*(leaf[other[indices]] for leaf in made))
            return _scored(predictor.views(strangers, cases.target_cameras), cases, real, plain)

        pieces.append(keep(f"swapped-{batch:04d}", exchange))
        on_batch(real)
    return measured._replace(swapped=_collected(pieces).scores)


def evaluate_views(
    paint: Callable[[Cases], ViewImages],
    objects: Sequence[PosedObject],
    config: ProtocolConfig,
    on_batch: Callable[[int], object] = lambda objects: None,
    *,
    keep: Keep = compute_always,
) -> Evaluation:
    """Scores anything that paints the target views of a batch of cases, a baseline for example.

    Args:
        paint: returns `[b, t]` views; called with batches of one shape.
        objects: all of one resolution.
        config: the protocol.
        on_batch: called with the number of objects done since the last call.
        keep: what becomes of finished batches.
    """
    pieces = []
    for batch, (cases, _, real) in enumerate(_batches(objects, config)):
        score = functools.partial(lambda cases, real: _scored(paint(cases), cases, real, config), cases, real)
        pieces.append(keep(f"batch-{batch:04d}", score))
        on_batch(real)
    return _collected(pieces)


def features_of_truth(
    objects: Sequence[PosedObject], config: ProtocolConfig, *, keep: Keep = compute_always
) -> Features:
    """Returns the features of the true target views: what predicted ones are compared with.

    Args:
        objects: all of one resolution.
        config: the protocol; says which networks' features.
        keep: what becomes of finished batches.
    """
    pieces = []
    for batch, (cases, _, real) in enumerate(_batches(objects, config)):

        def look(cases: Cases = cases, real: int = real) -> Piece:
            found = true_features(cases, config)
            return {name: values[:real][cases.is_target[:real]] for name, values in found.items()}

        pieces.append(keep(f"truth-{batch:04d}", look))
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def set_distances(predicted: Features, truth: Features) -> dict[str, float]:
    """Returns how far predicted views, as a set, are from true ones: `fd_vgg16`, `kd_vgg16`, `fid`, `kid`.

    Args:
        predicted: of an `Evaluation`.
        truth: of `features_of_truth`; networks that either lacks are left out.
    """
    names = {"vgg16": ("fd_vgg16", "kd_vgg16"), "inception": ("fid", "kid")}
    found = {}
    for network, (frechet, kernel) in names.items():
        if network in predicted and network in truth and len(truth[network]) > 1:
            found[frechet] = frechet_distance(predicted[network], truth[network])
            found[kernel] = kernel_distance(predicted[network], truth[network])
    return found


def mean_scores(scores: Scores) -> dict[str, float]:
    """Returns each metric's mean over views, then over objects: every object counts alike.

    Views without a value (NaN) are left out, then objects without one; a metric that no view has is left out too.
    """
    objects = {name: [object_mean(views) for views in values] for name, values in scores.items()}
    return {name: float(np.nanmean(means)) for name, means in objects.items() if np.isfinite(means).any()}


def object_mean(views: np.ndarray) -> float:
    """Returns the mean of one object's values, those that are NaN left out; NaN if all are."""
    known = views[~np.isnan(views)]
    return float(known.mean()) if known.size else float("nan")


def _batches(objects: Sequence[PosedObject], config: ProtocolConfig) -> Iterator[tuple[Cases, np.ndarray, int]]:
    """Yields `(cases, indices, real)`; the last batch is filled up with its last object, so that nothing recompiles."""
    targets = max(len(item.asked) for item in objects)
    size = min(config.batch_size, len(objects))
    for start in range(0, len(objects), size):
        indices = np.minimum(np.arange(start, start + size), len(objects) - 1)
        cases = make_cases([objects[i] for i in indices], targets)
        yield cases, indices, min(size, len(objects) - start)


def _scored(seen: ViewImages, cases: Cases, real: int, config: ProtocolConfig) -> Piece:
    """Returns scores, features and pixels of a batch, the fillers left out."""
    scores, features = score_batch(seen, cases, config)
    pixels = np.asarray(jnp.round(jnp.clip(seen.image, 0, 1) * 255).astype(jnp.uint8))
    arrays = {f"score/{name}": values for name, values in scores.items()}
    arrays |= {f"features/{name}": values for name, values in features.items()}
    arrays |= {"pixels": pixels, "is_target": cases.is_target}
    return {name: np.asarray(values)[:real] for name, values in arrays.items()}


def _collected(pieces: Sequence[Piece]) -> Evaluation:
    """Joins batches, and leaves out views that only repeat another."""

    def objects(name: str) -> list[np.ndarray]:
        return [values[real] for piece in pieces for values, real in zip(piece[name], piece["is_target"], strict=True)]

    def part(prefix: str) -> list[str]:
        return [name.removeprefix(prefix) for name in pieces[0] if name.startswith(prefix)]

    finer = {name: objects(f"finer/{name}") for name in part("finer/")}
    return Evaluation(
        scores={name: objects(f"score/{name}") for name in part("score/")},
        finer=finer or None,
        predictions=objects("pixels"),
        features={name: np.concatenate(objects(f"features/{name}")) for name in part("features/")},
    )
