"""Views at equal steps of azimuth around an object, as DiffSplat is trained on (Lin et al. 2025: four, 90° apart)."""

import numpy as np
from jaxtyping import Float, Int

_REGULAR = 0.1
"""How much a step of a ring may differ from its first one, and a view from its place, relative to the step."""
_LEAST_VIEWS = 6
"""Views of a ring; fewer may be in step by chance."""
_LEAST_STEP = 0.5
"""Degrees; published rings are not as dense as that."""
_ROUNDING = 1e-3
"""Degrees that float32 poses may be off."""
_BY_ELEVATION = 1e-3
"""What a degree of elevation counts beside one of azimuth: it decides between views of equal azimuth."""


def even_sets(
    camera_to_world: Float[np.ndarray, "n 4 4"], count: int, *, steepest: float = 75.0
) -> Int[np.ndarray, "m k"]:
    """Returns the sets of views that go around the object in equal steps, each beginning at another view.

    A ring is a run of views, in the record's order, that goes around once in equal steps of azimuth, as renderers make
    them (G-Objaverse has two). Where there is none of at least `count` views, and six, all views together are one.
    From each view of a ring, the others of its set are those nearest to steps of 360° / `count` counterclockwise. A set
    is kept if none of its views is farther from its place than half the ring's mean step, or else than in the best
    sets; so for a ring of n views, every view begins a set whose places are met exactly where `count` divides n.

    Args:
        camera_to_world: of an object's views, in the object frame.
        count: views in a set, at least 1.
        steepest: views from a higher or lower elevation belong to no ring, degrees.

    Returns:
        View numbers; no set at all if too few views have an azimuth of their own.
    """
    azimuth, elevation = _directions(camera_to_world)
    around = np.flatnonzero(np.abs(elevation) <= steepest)
    rings = _rings_of(azimuth, around, count) or [around]
    return np.concatenate([ring[_sets(azimuth[ring], elevation[ring], count)] for ring in rings])


def views_off_rings(
    camera_to_world: Float[np.ndarray, "n 4 4"], count: int, *, steepest: float = 75.0
) -> Int[np.ndarray, "m"]:
    """Returns the views that belong to no ring; all of them where there is none.

    Args:
        camera_to_world: as for `even_sets`, which finds the same rings.
        count: as for `even_sets`.
        steepest: as for `even_sets`.
    """
    azimuth, elevation = _directions(camera_to_world)
    around = np.flatnonzero(np.abs(elevation) <= steepest)
    rings = _rings_of(azimuth, around, count)
    return np.setdiff1d(np.arange(len(azimuth)), np.concatenate([np.zeros(0, int), *rings]))


def _directions(camera_to_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns azimuths and elevations, degrees."""
    x, y, z = np.asarray(camera_to_world, np.float64)[:, :3, 3].T
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def _rings_of(azimuth: np.ndarray, around: np.ndarray, count: int) -> list[np.ndarray]:
    return [around[run] for run in _rings(azimuth[around], max(count, _LEAST_VIEWS))]


def most_even_set(
    camera_to_world: Float[np.ndarray, "n 4 4"], count: int, *, steepest: float = 75.0
) -> Int[np.ndarray, "k"]:
    """Returns the views of the set, of all `even_sets`, that is nearest to equal steps.

    Among equally even ones it is the one whose elevations are most alike, then the first.

    Args:
        camera_to_world: of an object's views, in the object frame.
        count: views in the set, at least 1.
        steepest: as for `even_sets`.

    Returns:
        View numbers; none if there is no set.
    """
    sets = even_sets(camera_to_world, count, steepest=steepest)
    if not len(sets):
        return np.zeros(0, int)
    azimuth, height = (angles[sets] for angles in _directions(camera_to_world))
    error = np.abs(_turn(azimuth - azimuth[:, :1] - 360.0 / count * np.arange(count))).max(axis=1)
    unlike = height.max(axis=1) - height.min(axis=1)
    order = np.lexsort([np.round(unlike, 3), np.round(error, 3)])
    return sets[order[0]]


def _rings(azimuth: np.ndarray, least: int) -> list[np.ndarray]:
    """Returns the runs of at least so many views that go around once in equal steps, the one back to the first too."""
    rings, start = [], 0
    first_steps = _turn(np.diff(azimuth))
    while start < len(first_steps):
        step = first_steps[start]
        views = int(np.rint(360 / abs(step))) if abs(step) > _LEAST_STEP else len(azimuth) + 1
        run = azimuth[start : start + views]
        steps = _turn(np.diff(run, append=run[0]))
        if least <= views == len(run) and (np.abs(_turn(steps - step)) <= _REGULAR * abs(step)).all():
            rings.append(np.arange(start, start + views))
            start += views
        else:
            start += 1
    return rings


def _sets(azimuth: np.ndarray, elevation: np.ndarray, count: int) -> np.ndarray:
    """Returns the sets `[m, count]` of one ring, by the places of the views in it."""
    if len(azimuth) < count:
        return np.zeros((0, count), int)
    places = azimuth[:, None] + 360.0 / count * np.arange(count)
    error = np.abs(_turn(places[:, :, None] - azimuth))
    unlike = np.abs(elevation[:, None] - elevation)
    chosen = np.argmin(error + _BY_ELEVATION * unlike[:, None, :], axis=-1)
    chosen[:, 0] = np.arange(len(azimuth))
    ordered = np.sort(chosen, axis=1)
    distinct = (ordered[:, 1:] != ordered[:, :-1]).all(axis=1)
    chosen = chosen[distinct]
    if not len(chosen):
        return chosen
    worst = np.take_along_axis(error[distinct], chosen[:, :, None], axis=2).max(axis=(1, 2))
    return chosen[worst <= max((1 + _REGULAR) * 180.0 / len(azimuth), worst.min() + _ROUNDING)]


def _turn(degrees: np.ndarray) -> np.ndarray:
    """Returns angles in [−180, 180)."""
    return (degrees + 180.0) % 360.0 - 180.0
