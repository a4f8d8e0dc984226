"""What distilled and guided results are judged by: classifiers of features, shares with intervals, faces too many."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import log_softmax, ndtri

_BEHIND, _IN_FRONT = 135.0, 45.0  # degrees from the front


class LinearProbe(NamedTuple):
    """A softmax regression on features that were learned for something else.

    Attributes:
        mean: `[d]` of the features it was fitted to.
        deviation: `[d]` of them.
        weights: `[d + 1, classes]`, the bias last.
    """

    mean: Float[np.ndarray, "d"]
    deviation: Float[np.ndarray, "d"]
    weights: Float[np.ndarray, "e classes"]

    def predict(self, features: Float[np.ndarray, "n d"]) -> Int[np.ndarray, "n"]:
        """Returns the likeliest class of each."""
        return np.argmax(_with_bias(features, self.mean, self.deviation) @ self.weights, axis=1)


class Share(NamedTuple):
    """A share of some trials, and between what it lies with 95 % confidence (Wilson 1927).

    Attributes:
        value: the share.
        low: of the interval.
        high: of the interval.
        trials: how many.
    """

    value: float
    low: float
    high: float
    trials: int


class JanusScore(NamedTuple):
    """How often views are called front.

    Attributes:
        behind: of those from within 45° of the back, which should not be: the Janus score.
        in_front: of those from within 45° of the front, which should be: a score of 0 means nothing where this is 0.
    """

    behind: Share
    in_front: Share


def fit_probe(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"], classes: int, *, penalty: float = 1e-2
) -> LinearProbe:
    """Fits a softmax regression, classes weighted alike however often they come, by L-BFGS.

    Args:
        features: of training images.
        labels: their classes, 0 to `classes` − 1.
        classes: how many; each must occur.
        penalty: of the mean squared weight, on features of unit variance.

    Raises:
        ValueError: if a class does not occur.
    """
    counts = np.bincount(labels, minlength=classes)
    if len(counts) != classes or not counts.all():
        raise ValueError(f"every one of {classes} classes needs an example; there are {counts.tolist()}")
    mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    x = _with_bias(features, mean, deviation)
    target, weight = np.eye(classes)[labels], 1.0 / (classes * counts[labels])

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(x.shape[1], classes)
        logs = log_softmax(x @ weights, axis=1)
        total = -np.sum(weight[:, None] * target * logs) + 0.5 * penalty * np.sum(weights[:-1] ** 2)
        gradient = x.T @ (weight[:, None] * (np.exp(logs) - target))
        gradient[:-1] += penalty * weights[:-1]
        return float(total), gradient.ravel()

    found = minimize(value, np.zeros(x.shape[1] * classes), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return LinearProbe(mean, deviation, found.x.reshape(x.shape[1], classes))


def share_of(hits: Bool[np.ndarray, "n"], confidence: float = 0.95) -> Share:
    """Returns the share of hits with its Wilson interval; all of [0, 1] where there are no trials.

    Args:
        hits: one for each trial.
        confidence: of the interval.
    """
    trials = len(hits)
    if not trials:
        return Share(float("nan"), 0.0, 1.0, 0)
    value, z = float(np.mean(hits)), float(ndtri(0.5 + confidence / 2))
    scale = 1 + z**2 / trials
    middle = (value + z**2 / (2 * trials)) / scale
    half = z / scale * np.sqrt(value * (1 - value) / trials + z**2 / (4 * trials**2))
    return Share(value, max(float(middle - half), 0.0), min(float(middle + half), 1.0), trials)


def janus_score(is_called_front: Bool[np.ndarray, "n"], azimuths: Float[np.ndarray, "n"]) -> JanusScore:
    """Returns how often views from behind are called front: objects with many faces have a high share.

    Args:
        is_called_front: what a classifier of directions says of each view.
        azimuths: of the cameras, degrees from the front, any.
    """
    turned = np.abs((np.asarray(azimuths) + 180.0) % 360.0 - 180.0)
    called = np.asarray(is_called_front, bool)
    return JanusScore(share_of(called[turned >= _BEHIND]), share_of(called[turned <= _IN_FRONT]))


def _with_bias(features: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    return np.concatenate([(features - mean) / deviation, np.ones((len(features), 1))], axis=1)
