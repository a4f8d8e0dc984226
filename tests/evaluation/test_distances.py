import numpy as np
import pytest
from scipy.linalg import sqrtm

from diffgs_jax import evaluation


def with_moments(mean, covariance, count, seed):
    """Samples whose mean and (unbiased) covariance are exactly these."""
    random = np.random.default_rng(seed)
    samples = random.normal(size=(count, len(mean)))
    samples -= samples.mean(axis=0)
    own = np.linalg.cholesky(np.atleast_2d(np.cov(samples, rowvar=False)))
    return mean + samples @ np.linalg.inv(own).T @ np.linalg.cholesky(covariance).T


def random_covariance(size, seed):
    root = np.random.default_rng(seed).normal(size=(size, size))
    return root @ root.T + 0.1 * np.eye(size)


def test_frechet_distance_of_gaussians_on_a_line_is_known():
    # (μ₁ − μ₂)² + (σ₁ − σ₂)²
    first = with_moments(np.asarray([1.0]), np.asarray([[4.0]]), 50, 0)
    second = with_moments(np.asarray([-2.0]), np.asarray([[0.25]]), 70, 1)
    assert evaluation.frechet_distance(first, second) == pytest.approx(9 + 1.5**2, rel=1e-10)


def test_frechet_distance_agrees_with_the_formula_by_another_library():
    mean1, mean2 = np.random.default_rng(0).normal(size=(2, 6))
    cov1, cov2 = random_covariance(6, 1), random_covariance(6, 2)
    first, second = with_moments(mean1, cov1, 40, 3), with_moments(mean2, cov2, 90, 4)
    expected = np.sum((mean1 - mean2) ** 2) + np.trace(cov1 + cov2 - 2 * sqrtm(cov1 @ cov2).real)
    assert evaluation.frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)
    assert evaluation.frechet_distance(second, first) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_few_samples_in_many_dimensions_is_finite():
    # Two points each: one direction of variance, orthogonal to the other's.
    first, second = np.zeros((2, 64), np.float32), np.zeros((2, 64), np.float32)
    first[0, 0], second[0, 1] = 2.0, 4.0  # variances 2 and 8, means 1 and 2 off
    assert evaluation.frechet_distance(first, second) == pytest.approx(1 + 4 + 2 + 8, rel=1e-9)
    assert evaluation.frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_kernel_distance_is_the_double_sum():
    random = np.random.default_rng(0)
    first, second = random.normal(size=(9, 5)), random.normal(0.5, 2.0, size=(12, 5))

    def kernel(x, y):
        return (x @ y / 5 + 1) ** 3

    within1 = np.mean([kernel(x, y) for i, x in enumerate(first) for j, y in enumerate(first) if i != j])
    within2 = np.mean([kernel(x, y) for i, x in enumerate(second) for j, y in enumerate(second) if i != j])
    across = np.mean([kernel(x, y) for x in first for y in second])
    assert evaluation.kernel_distance(first, second) == pytest.approx(within1 + within2 - 2 * across, rel=1e-12)


def test_kernel_distance_of_one_distribution_is_zero_on_average():
    random = np.random.default_rng(1)
    found = [evaluation.kernel_distance(*random.normal(size=(2, 20, 3))) for _ in range(400)]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 4 * error


@pytest.mark.parametrize("distance", [evaluation.frechet_distance, evaluation.kernel_distance])
def test_sets_that_cannot_be_compared_are_refused(distance):
    with pytest.raises(ValueError, match="at least two"):
        distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="3 and of 4"):
        distance(np.zeros((5, 3)), np.zeros((5, 4)))
