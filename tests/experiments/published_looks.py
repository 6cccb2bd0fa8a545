"""The published runs of the systems under other protocols than the profile's, for tests of what is said."""

import functools

import numpy as np
import pandas as pd

from disperse import results
from disperse.experiments import dispersive_term

from .published import ROW, pool

Bounds = tuple[int, int, int]


@functools.cache
def ends(system: str) -> pd.DataFrame:
    """The evaluations of the pair of a system at its end; three seeds have those of every protocol."""
    terms = [(), (dispersive_term("infonce-l2"),)]
    wanted = {ROW.run(seed, *own, system=system).fingerprint for seed in range(3) for own in terms}
    own = [r for r in pool() if r["fingerprint"] in wanted and r["step"] == ROW.num_steps]
    table = results.table(own)
    return table[~table.against_training & (table.sample_seeds == "shared")]


def under(system: str, **protocol: object) -> pd.DataFrame:
    return results.where(ends(system), **{"guided_samples": 0, "guidance": 1.0, **protocol})


def ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """Per seed, with the term over without."""
    return results.pairs(rows[rows.variant != "none"], rows[rows.variant == "none"], "fd")


def against(own: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Difference of two tables of log ratios, by seed."""
    return results.pairs(own, base, "value", log=False)


def percents(pairs: pd.DataFrame) -> Bounds:
    """Mean and interval over seeds in whole percent."""
    value, low, high, n = results.interval(pairs["value"])
    assert n == 3
    return tuple(round(100 * float(np.expm1(each))) for each in (value, low, high))  # type: ignore[return-value]


def is_clear(pairs: pd.DataFrame) -> bool:
    _, low, high, _ = results.interval(pairs["value"])
    return low > 0 or high < 0


def guided(system: str) -> pd.DataFrame:
    return under(system, guidance=1.5)


def unguided(system: str) -> pd.DataFrame:
    """By the profile's own protocol."""
    return results.where(ends(system), guidance=1.0, guided_samples=ROW.guided_samples)


def lift(system: str, variant: str) -> pd.DataFrame:
    """The distance under guidance over that without."""
    rows = (results.where(table, variant=variant) for table in (guided(system), unguided(system)))
    return results.pairs(*rows, "fd")


def shift(system: str) -> pd.DataFrame:
    return against(ratios(guided(system)), ratios(unguided(system)))


def on_grid(solver: str, nfe: int) -> pd.DataFrame:
    """The change of SiT on a grid of the sampler."""
    return ratios(under("sit", solver=solver, nfe=nfe))


def off(solver: str, nfe: int) -> pd.DataFrame:
    return against(on_grid(solver, nfe), on_grid("heun", 200))


def error(solver: str, nfe: int, variant: str) -> Bounds:
    own, finest = (under("sit", solver=s, nfe=n, variant=variant) for s, n in ((solver, nfe), ("heun", 200)))
    return percents(results.pairs(own, finest, "fd"))


def in_steps(system: str, nfe: int) -> pd.DataFrame:
    return under(system, solver="euler" if system == "sit" else "meanflow", nfe=nfe)


def one_against_four() -> Bounds:
    """MeanFlow in one evaluation against SiT in four, both with the term."""
    own, base = in_steps("meanflow", 1), in_steps("sit", 4)
    return percents(results.pairs(own[own.variant != "none"], base[base.variant != "none"], "fd"))
