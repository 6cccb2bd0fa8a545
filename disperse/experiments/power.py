"""What so many training seeds can show: smallest detectable effects of paired comparisons, before any run.

Effects are log ratios within a seed, whose standard deviation over seeds is ``sd``.
"""

import numpy as np
from scipy import optimize, stats

from ..errors import ConfigError

QUANTILES = 4000


def detection_power(effect: float, sd: float, n: int, *, level: float = 0.05) -> float:
    """Probability that Student's two-sided interval over n seeds lies on the effect's own side of 0.

    ``P(T > t_{1−level/2, n−1})`` of a noncentral t with ``|effect| √n / sd``.
    """
    _check(sd, n)
    df = n - 1
    return float(stats.nct.sf(stats.t.ppf(1 - level / 2, df), df, abs(effect) * np.sqrt(n) / sd))


def smallest_effect(sd: float, n: int, *, power: float = 0.8, level: float = 0.05) -> float:
    """Smallest effect, > 0, that n seeds show with this power."""
    _check(sd, n)

    def lacking(size: float) -> float:
        return detection_power(size, sd, n, level=level) - power

    return float(optimize.brentq(lacking, 1e-9 * sd, 1000 * sd))


def equivalence_power(margin: float, sd: float, n: int, *, level: float = 0.05) -> float:
    """Probability that the interval of level 1 − 2·level lies within ±margin where there is no effect.

    The mean of n seeds must lie within ``margin − t_{1−level, n−1} s/√n`` of 0; averaged over quantiles of
    the standard deviation s that the seeds show.
    """
    _check(sd, n)
    df, error = n - 1, sd / np.sqrt(n)
    shown = stats.chi.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES, df) / np.sqrt(df)
    room = np.clip(margin / error - stats.t.ppf(1 - level, df) * shown, 0, None)
    return float((2 * stats.norm.cdf(room) - 1).mean())


def smallest_margin(sd: float, n: int, *, power: float = 0.8, level: float = 0.05) -> float:
    """Smallest margin within which n seeds show that there is no effect, with this power."""
    _check(sd, n)

    def lacking(margin: float) -> float:
        return equivalence_power(margin, sd, n, level=level) - power

    return float(optimize.brentq(lacking, 1e-3 * sd, 1000 * sd))


def _check(sd: float, n: int) -> None:
    if not sd > 0 or n < 2:
        raise ConfigError(f"sd = {sd}, n = {n}: expected sd > 0 and at least 2 seeds")
