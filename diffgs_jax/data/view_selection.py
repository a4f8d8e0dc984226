"""Which views of a record become condition, noisy and novel views of one training sample.

DiffusionGS (Cai et al. 2025, scene-object mixed training) asks that views overlap: the angle between the positions of a
noisy and the condition view is at most θ₁ and between every noisy and every novel view at most θ₂ (eq. 9); the cosine
between the viewing directions of a noisy and the condition view is at least cos φ₁, and of a novel and the condition
view at least cos φ₂ (eq. 10). Viewing directions are the cameras' z axes; positions are seen from the object's centre.
`ViewChoice` names other ways.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from diffgs_jax.data.config import ObjectViewLimits, SceneViewLimits, ViewChoice
from diffgs_jax.data.even_views import even_sets, views_off_rings
from diffgs_jax.errors import DataError

_ROUNDS, _DRAWS = 8, 32
_CLUSTERS = 256
_TOLERANCE = 1e-9
_LIMITED = ViewChoice()


class NoViewsWithinLimits(DataError):
    """A record is sound, but no choice of its views was found that keeps within the limits."""


class ViewCounts(NamedTuple):
    """How many views of each part a sample has."""

    condition: int
    noisy: int
    novel: int


class _Allowed(NamedTuple):
    """What may be combined, by view numbers.

    Attributes:
        noisy: `[n, n]`, a condition view (row) and a noisy view (column).
        novel: `[n, n]`, a condition view (row) and a novel view (column).
        pair: `[n, n]`, a noisy view (row) and a novel view (column).
    """

    noisy: Bool[np.ndarray, "n n"]
    novel: Bool[np.ndarray, "n n"]
    pair: Bool[np.ndarray, "n n"]


def choose_views(
    camera_to_world: Float[np.ndarray, "n 4 4"],
    counts: ViewCounts,
    limits: ObjectViewLimits | SceneViewLimits,
    random: np.random.Generator,
    choice: ViewChoice = _LIMITED,
) -> Int[np.ndarray, "v"]:
    """Draws distinct views: first the condition views, then the noisy, then the novel ones.

    By default, sets are drawn at random until one is within the limits; then sets of views that lie close together are
    tried, which finds what random draws miss when the limits are tight. Every set that is returned is within the
    limits.

    Args:
        camera_to_world: poses of all the record's views; of an object in the object frame, of a scene in the order of
            its video.
        counts: how many views of each part.
        limits: for objects or for scenes.
        random: where the draws come from; equal states give equal choices.
        choice: how they are chosen.

    Raises:
        DataError: if there are fewer views than a sample needs.
        NoViewsWithinLimits: if no set was found.
    """
    available, needed = len(camera_to_world), sum(counts)
    if available < needed:
        raise DataError(f"only {available} views of the {needed} a sample needs")
    if choice.kind == "even" and isinstance(limits, ObjectViewLimits):
        return _even(camera_to_world, counts, random, choice)
    if choice.kind in ("random", "random_view") or limits == type(limits)():
        return random.choice(available, needed, replace=False)
    poses = np.asarray(camera_to_world, np.float64)
    allowed, distance = _object(poses, limits) if isinstance(limits, ObjectViewLimits) else _scene(poses, limits)
    for _ in range(_ROUNDS):
        chosen = _first_within(_random_sets(allowed, counts, random), allowed, counts)
        if chosen is not None:
            return chosen
    chosen = _first_within(_close_sets(distance, counts, random), allowed, counts)
    if chosen is None:
        raise NoViewsWithinLimits(f"no {needed} of its {available} views are within the limits {limits}")
    return chosen


def fixed_view(uid: str, views: int) -> int:
    """Returns the one view of a record that a model of single views ever sees: a function of its name alone.

    Args:
        uid: of the record.
        views: that it has, at least 1.
    """
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8], "big") % views


def scoring_views(
    camera_to_world: Float[np.ndarray, "n 4 4"], inputs: int, *, steepest: float = 75.0
) -> tuple[Int[np.ndarray, "i"], Int[np.ndarray, "t"]]:
    """Returns the views of an object that a model of even views is shown, and those it is asked for, when it is scored.

    Shown is the first even set, so that all models see the same; asked for are the views of no ring, which no model is
    shown, or where there is none all the views that are not shown.

    Args:
        camera_to_world: poses of all the record's views, in the object frame.
        inputs: how many are shown.
        steepest: as in `ViewChoice`.

    Raises:
        NoViewsWithinLimits: if there are not so many views around the object, or no other.
    """
    shown = _even_sets(camera_to_world, inputs, steepest)[0]
    asked = np.setdiff1d(views_off_rings(camera_to_world, inputs, steepest=steepest), shown)
    if not len(asked):
        asked = np.setdiff1d(np.arange(len(camera_to_world)), shown)
    if not len(asked):
        raise NoViewsWithinLimits(f"all its {len(camera_to_world)} views are shown: none is left to ask for")
    return shown, asked


def _even(poses: np.ndarray, counts: ViewCounts, random: np.random.Generator, choice: ViewChoice) -> np.ndarray:
    inputs = counts.condition + counts.noisy
    sets = _even_sets(poses, inputs, choice.steepest)
    chosen = sets[random.integers(len(sets))]
    others = np.setdiff1d(np.arange(len(poses)), chosen)
    if choice.novel == "off_ring":
        elsewhere = np.setdiff1d(views_off_rings(poses, inputs, steepest=choice.steepest), chosen)
        others = elsewhere if len(elsewhere) >= counts.novel else others
    return np.concatenate([chosen, random.choice(others, counts.novel, replace=False)])


def _even_sets(poses: np.ndarray, inputs: int, steepest: float) -> np.ndarray:
    sets = even_sets(poses, inputs, steepest=steepest)
    if not len(sets):
        raise NoViewsWithinLimits(f"its {len(poses)} views have no {inputs} of different azimuth below {steepest}°")
    return sets


def _object(poses: np.ndarray, limits: ObjectViewLimits) -> tuple[_Allowed, np.ndarray]:
    positions = _cosines(poses[:, :3, 3])
    directions = _cosines(poses[:, :3, 2])
    noisy = _within(positions, limits.noisy_position) & _within(directions, limits.noisy_direction)
    allowed = _Allowed(noisy, _within(directions, limits.novel_direction), _within(positions, limits.novel_position))
    return allowed, -positions


def _scene(poses: np.ndarray, limits: SceneViewLimits) -> tuple[_Allowed, np.ndarray]:
    directions = _cosines(poses[:, :3, 2])
    frames = np.arange(len(poses))
    apart = np.abs(frames[:, None] - frames[None, :])
    noisy = _within(directions, limits.noisy_direction) & _between(apart, limits.noisy_frames)
    novel = _within(directions, limits.novel_direction) & _between(apart, limits.novel_frames)
    return _Allowed(noisy, novel, np.ones_like(noisy)), apart


def _cosines(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit = vectors / np.maximum(lengths, 1e-12)
    return np.clip(unit @ unit.T, -1.0, 1.0)


def _within(cosines: np.ndarray, degrees: float) -> np.ndarray:
    if degrees >= 180.0:
        return np.ones(cosines.shape, bool)
    return cosines >= np.cos(np.radians(degrees)) - _TOLERANCE


def _between(apart: np.ndarray, window: tuple[int, int] | None) -> np.ndarray:
    return np.ones(apart.shape, bool) if window is None else (apart >= window[0]) & (apart <= window[1])


def _random_sets(allowed: _Allowed, counts: ViewCounts, random: np.random.Generator) -> np.ndarray:
    """Draws `[draws, v]` sets part by part, each from what the parts before it allow, as far as there is enough."""
    available = len(allowed.pair)
    taken = np.zeros((_DRAWS, available), bool)
    conditions = _draw(~taken, counts.condition, random)
    _take(taken, conditions)
    noisy = _draw(_nearest(allowed.noisy, conditions) & ~taken, counts.noisy, random)
    _take(taken, noisy)
    every_noisy = allowed.pair[noisy].all(axis=1)
    novel = _draw(_nearest(allowed.novel, conditions) & every_noisy & ~taken, counts.novel, random)
    return np.concatenate([conditions, noisy, novel], axis=1)


def _close_sets(distance: np.ndarray, counts: ViewCounts, random: np.random.Generator) -> np.ndarray:
    """Returns `[clusters, v]` sets: a view and those nearest to it, which of them is what at random."""
    available = len(distance)
    anchors = random.permutation(np.arange(max(available, _CLUSTERS)) % available)[:_CLUSTERS]
    # The anchor comes first, so it is a condition view if there is one.
    own = distance[anchors].astype(np.float64)
    own[np.arange(len(anchors)), anchors] = -np.inf
    nearest = np.argsort(own, axis=1, kind="stable")[:, : sum(counts)]
    return np.concatenate([nearest[:, :1], random.permuted(nearest[:, 1:], axis=1)], axis=1)


def _first_within(sets: np.ndarray, allowed: _Allowed, counts: ViewCounts) -> np.ndarray | None:
    """Returns the first set that keeps all the limits: what `_Allowed` means for a whole sample."""
    conditions, noisy, novel = np.split(sets, np.cumsum(counts)[:2], axis=1)
    good = np.take_along_axis(_nearest(allowed.noisy, conditions), noisy, axis=1).all(axis=1)
    good &= np.take_along_axis(_nearest(allowed.novel, conditions), novel, axis=1).all(axis=1)
    good &= allowed.pair[noisy[:, :, None], novel[:, None, :]].all(axis=(1, 2))
    ordered = np.sort(sets, axis=1)
    good &= (ordered[:, 1:] != ordered[:, :-1]).all(axis=1)
    return sets[np.argmax(good)] if good.any() else None


def _nearest(matrix: np.ndarray, conditions: np.ndarray) -> np.ndarray:
    """Returns `[draws, n]`: what any of the condition views allows, or everything if there is no condition view."""
    if conditions.shape[1] == 0:
        return np.ones((len(conditions), len(matrix)), bool)
    return matrix[conditions].any(axis=1)


def _draw(eligible: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    # Where too few are eligible others fill up, and the set is refused as a whole.
    keys = random.random(eligible.shape) + ~eligible
    return np.argsort(keys, axis=1)[:, :count]


def _take(taken: np.ndarray, views: np.ndarray) -> None:
    np.put_along_axis(taken, views, True, axis=1)
