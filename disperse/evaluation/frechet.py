"""Fréchet distance between Gaussians fitted to two sets of features, in float64."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..errors import ConfigError, NonFiniteError, check_count

Array = np.ndarray


@dataclass(frozen=True)
class Gaussian:
    """Mean (d,) and unbiased covariance (d, d) of n rows, float64."""

    mean: Array
    covariance: Array
    n: int


@dataclass(frozen=True)
class Estimate:
    """A value with its interval: what varies, how many of it, and the bounds.

    Attributes:
        value: the estimate.
        low, high: bounds of the two-sided interval at ``level``.
        n: how many samples or seeds stand behind it.
        method: how the interval was made.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    level: float = 0.95


def fit_gaussian(features: Array) -> Gaussian:
    """Mean and covariance of features (n, d), n ≥ 2.

    Raises:
        ConfigError: fewer than two rows.
        NonFiniteError: NaN or infinity.
    """
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ConfigError(f"features: expected (n, d) with n ≥ 2, got {features.shape}")
    if not np.isfinite(features).all():
        raise NonFiniteError("features hold NaN or infinity; the distance is undefined")
    return Gaussian(features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False)), len(features))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """``‖μ_a − μ_b‖² + tr(C_a + C_b − 2 (C_a C_b)^½)``, ≥ 0.

    The trace of the root is the sum of roots of the eigenvalues of ``C_a^½ C_b C_a^½``, which is
    symmetric, so no complex numbers appear and singular covariances are no special case.

    Source: Heusel et al. 2017; Dowson & Landau 1982.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ b.covariance @ root)
    trace_of_root = np.sqrt(np.clip(mixed, 0, None)).sum()
    squared = np.sum((a.mean - b.mean) ** 2)
    total = squared + np.trace(a.covariance) + np.trace(b.covariance) - 2 * trace_of_root
    return max(float(total), 0.0)


def frechet_with_interval(features: Array, reference: Gaussian, groups: int = 20) -> Estimate:
    """Fréchet distance of features (n, d) to a reference, with a grouped jackknife over samples.

    The interval says how the value would move with other samples of the same model. It does not
    contain the bias of a finite n, which every system compared at the same n shares.

    Args:
        features: shape (n, d), n ≥ 3.
        reference: fitted to the reference images.
        groups: how many equal groups are left out in turn; with fewer samples, each is a group.

    Raises:
        ConfigError: fewer than three samples, or than two groups.
    """
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < 3:
        raise ConfigError(f"features: expected (n, d) with n ≥ 3 for an interval, got {features.shape}")
    groups = min(check_count("groups", groups, 2), len(features))
    value = frechet_distance(fit_gaussian(features), reference)
    parts = np.array_split(np.arange(len(features)), groups)
    left_out = np.array(
        [frechet_distance(fit_gaussian(np.delete(features, part, axis=0)), reference) for part in parts]
    )
    error = np.sqrt((groups - 1) / groups * np.sum((left_out - left_out.mean()) ** 2))
    reach = float(stats.t.ppf(0.975, groups - 1) * error)
    return Estimate(
        value,
        max(value - reach, 0.0),
        value + reach,
        len(features),
        f"jackknife over {groups} groups of samples",
    )


def proportion(successes: int, n: int) -> Estimate:
    """Share of n independent trials, with Wilson's 95% interval."""
    if n < 1 or not 0 <= successes <= n:
        raise ConfigError(f"proportion: {successes} of {n}: expected n ≥ 1 and 0 to n successes")
    interval = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), n, "Wilson")


def mean_over_seeds(
    values: list[float], *, method: str = "Student's t over seeds", level: float = 0.95
) -> Estimate:
    """Mean over training seeds with Student's interval at ``level``; one seed has none (bounds are NaN).

    ``method`` is what the estimate says of itself, where the values are of something else than seeds.

    Raises:
        ConfigError: no values.
    """
    if len(values) == 0:
        raise ConfigError("mean_over_seeds: no values; train at least one seed")
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Estimate(mean, float("nan"), float("nan"), n, "none: one seed", level)
    reach = float(stats.t.ppf((1 + level) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - reach, mean + reach, n, method, level)


def within(estimate: Estimate, low: float, high: float) -> Estimate:
    """An estimate whose interval ends where the range of its measure does; without an interval, the same."""
    bounds = np.clip((estimate.low, estimate.high), low, high)  # NaN stays
    return dataclasses.replace(estimate, low=float(bounds[0]), high=float(bounds[1]))


def log_ratio(values: dict[int, float], baseline: dict[int, float]) -> Estimate:
    """Paired mean of ``log(value/baseline)`` over the seeds that both have, with Student's interval.

    Seeds share initial weights, order of the data and noise, so pairing removes what they share.

    Raises:
        ConfigError: no seed in common, or a value that has no logarithm.
    """
    shared = sorted(values.keys() & baseline.keys())
    if not shared:
        raise ConfigError("log_ratio: no seed in common; train both with the same seeds")
    for seed in shared:
        if not (values[seed] > 0 and baseline[seed] > 0):
            raise ConfigError(
                f"log_ratio: seed {seed}: {values[seed]} over {baseline[seed]}; both must be > 0"
            )
    return mean_over_seeds([float(np.log(values[s] / baseline[s])) for s in shared])
