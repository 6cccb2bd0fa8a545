"""Do two representations of the same samples say the same? CKA and CKNNA, with a null and an interval.

Both compare which samples are near to which, not the features themselves, so widths may differ and a rotation
changes nothing. Features are (n, ...), row i of both of the same sample, and read as (n, d).
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from ..errors import ConfigError, check_count
from ..losses.dispersive import check_choice
from ..rng import stream
from .geometry import rows_of

Array = np.ndarray
Measure = Literal["cka", "cknna"]
MEASURES = ("cka", "cknna")


@dataclass(frozen=True)
class Similarity:
    """How alike two representations are.

    How it misleads: with hundreds of samples p is small for the slightest likeness; it says nothing of how
    large that is. See ``compare`` for the interval.

    Attributes:
        value: of the measure; 1 for the same up to rotation and scale. Unrelated ones have a CKA of about 0,
            but a CKNNA of about neighbours/n: compare with ``null``.
        low, high: 95% interval over samples, by half-sampling.
        null: mean of the measure where the rows of one are permuted.
        p: share of permutations that reach the value, the value itself counted among them; at least
            1/(1 + repeats).
        n: samples.
    """

    value: float
    low: float
    high: float
    null: float
    p: float
    n: int


def cka(x: Tensor, y: Tensor) -> float:
    """Linear CKA without bias: ``HSIC(K, L) / √(HSIC(K, K) HSIC(L, L))``, ``K = XXᵀ``, ``L = YYᵀ``.

    From a little below 0 to 1. The unbiased estimator of HSIC is 0 on average for unrelated features; the
    usual biased one nears 1 for *any* two wide representations of few samples.

    How it misleads: it is ruled by the few directions of largest variance. One loud dimension that both share
    makes it high, whatever the rest does; two networks can do the same task and have a low CKA.

    Raises:
        ConfigError: other numbers of rows, or fewer than four.
        NonFiniteError: NaN or infinity.

    Source: Kornblith et al. 2019; estimator: Song et al. 2012.
    """
    first, second = _sides(*_kernels(x, y))
    return first.alike(second)


def cknna(x: Tensor, y: Tensor, *, neighbours: int = 10) -> float:
    """CKA of nearest neighbours: as ``cka``, of the pairs that are near in *both* (the denominator: in each).

    Rows are centred and scaled to length 1, so that near means of like direction; K and L keep the entries of
    the ``neighbours`` nearest rows of each row. 1 for the same; of unrelated rows about neighbours/n are near
    in both by chance, and that is their value while neighbours are few beside n.

    Not quite symmetric, since to be among the nearest isn't: the order of x and y moves the third digit.

    How it misleads: values of another number of neighbours or of samples don't compare: with n = neighbours
    + 1 it is CKA. Low values (0.1 to 0.3 are common) are only read beside their null: with 10 neighbours that
    is 0.25 at n = 40 and 0.02 at n = 500.

    Args:
        x, y (Tensor): (n, ...).
        neighbours: from 2 to n − 1.

    Raises:
        ConfigError: other numbers of rows, too few of them, or neighbours out of range.
        NonFiniteError: NaN or infinity.

    Source: Huh et al. 2024 (The Platonic Representation Hypothesis); CKA: Kornblith et al. 2019; estimator:
    Song et al. 2012.
    """
    k, m = _kernels(x, y, directions=True)
    check_neighbours(neighbours, len(k), least=2)
    first, second = _sides(k, m, neighbours)
    return first.alike(second)


def compare(
    x: Tensor,
    y: Tensor,
    *,
    measure: Measure = "cknna",
    neighbours: int = 10,
    repeats: int = 200,
    seed: int = 0,
) -> Similarity:
    """A measure with its interval over samples and its null.

    The null permutes the rows of y: what the measure is where nothing is shared but the two sets of features.
    The interval is a bootstrap of halves, drawn *without* repeating a row: one that stands twice, as in the
    usual bootstrap, is its own nearest neighbour. The values of halves scatter about their mean as
    those of whole samples do about theirs (the variance of a mean over half of n, given the n, is σ²/n).

    How it misleads: the interval is over samples of these two networks. It says nothing of other training
    seeds, and nothing of whether a value is large: that is the null's.

    Args:
        x, y (Tensor): (n, ...), n ≥ 8.
        measure: ``"cka"`` or ``"cknna"``.
        neighbours: of CKNNA; in halves as many in proportion.
        repeats: permutations, and halves; ≥ 2.
        seed: of both.

    Raises:
        ConfigError, NonFiniteError: as ``cka`` and ``cknna``; fewer than 8 rows, or than 2 repeats.
    """
    check_choice("measure", measure, MEASURES)
    check_count("repeats", repeats, 2)
    nearest = measure == "cknna"
    k, m = _kernels(x, y, directions=nearest)
    n = len(k)
    if n < 8:
        raise ConfigError(f"features: expected at least 8 rows for an interval, got {n}")
    if nearest:
        check_neighbours(neighbours, n, least=2)

    def half(rows: Array) -> float:
        fewer = min(len(rows) - 1, max(2, round(neighbours * len(rows) / n)))
        place = np.ix_(rows, rows)
        one, other = _sides(k[place], m[place], fewer if nearest else None)
        return one.alike(other)

    first, second = _sides(k, m, neighbours if nearest else None)
    value = first.alike(second)
    null = [first.alike(second, stream("permuted rows", seed, i).permutation(n)) for i in range(repeats)]
    drawn = (stream("half of the rows", seed, i).permutation(n)[: n // 2] for i in range(repeats))
    halves = np.array([half(rows) for rows in drawn])
    low, high = value + np.quantile(halves - halves.mean(), (0.025, 0.975))
    p = (1 + sum(other >= value for other in null)) / (1 + repeats)
    return Similarity(value, float(low), float(high), float(np.mean(null)), p, n)


def _kernels(x: Tensor, y: Tensor, *, directions: bool = False) -> tuple[Array, Array]:
    """Gram matrices (n, n) of the centred rows of both, in float64; of their directions if asked."""
    x, y = rows_of(x), rows_of(y)
    if len(x) != len(y) or len(x) < 4:
        raise ConfigError(
            f"features: expected as many rows of both, at least 4, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    both = [z - z.mean(dim=0) for z in (x, y)]
    if directions:
        both = [torch.nn.functional.normalize(z, dim=1) for z in both]
    k, m = ((z @ z.mT).numpy() for z in both)
    return k, m


class _Side:
    """One of two kernels (n, n), symmetric, at the pairs of different rows."""

    def __init__(self, kernel: Array):
        self.kernel = kernel.copy()
        np.fill_diagonal(self.kernel, 0)
        self.own = self._hsic(self, np.arange(len(kernel)))

    def _hsic(self, other: Any, order: Array) -> float:
        """Hilbert–Schmidt independence criterion, without bias; the rows of the other in another order."""
        m = other.kernel[np.ix_(order, order)]
        return _unbiased(np.vdot(self.kernel, m), self.kernel.sum(axis=0), m.sum(axis=1))

    def alike(self, other: "_Side", order: Array | None = None) -> float:
        """1 for the same kernels; 0 where one has no pairs that count."""
        across = self._hsic(other, np.arange(len(self.kernel)) if order is None else order)
        within = np.sqrt(max(self.own, 0.0) * max(other.own, 0.0))
        return float(across / within) if within else 0.0


class _NearSide(_Side):
    """A kernel at the pairs of a row and its nearest others: few, so only those are kept."""

    def __init__(self, kernel: Array, neighbours: int):
        self.near = nearest_others(kernel, neighbours)
        self.rows, self.columns = np.nonzero(self.near)
        super().__init__(kernel)

    def _hsic(self, other: Any, order: Array) -> float:
        """At the pairs that are near in both."""
        rows, columns = order[self.rows], order[self.columns]
        both = other.near[rows, columns]
        place = self.rows[both], self.columns[both]
        shape = self.kernel.shape
        k = csr_array((self.kernel[place], place), shape)
        m = csr_array((other.kernel[rows[both], columns[both]], place), shape)
        return _unbiased(k.multiply(m.T).sum(), k.sum(axis=0), m.sum(axis=1))


def _sides(k: Array, m: Array, neighbours: int | None = None) -> tuple[_Side, _Side]:
    """Both kernels at the pairs that count: all, or those of nearest neighbours."""
    if neighbours is None:
        return _Side(k), _Side(m)
    return _NearSide(k, neighbours), _NearSide(m, neighbours)


def check_neighbours(neighbours: int, n: int, *, least: int = 1) -> None:
    """Whether each of n rows has so many others.

    Raises:
        ConfigError: it has not.
    """
    if not least <= neighbours < n:
        raise ConfigError(f"neighbours = {neighbours}: expected {least} to {n - 1} for {n} rows")


def nearest_others(similarity: Array, count: int) -> Array:
    """(n, n), whether column j is among the ``count`` < n nearest of row i, itself left out."""
    similar = similarity.copy()
    np.fill_diagonal(similar, -np.inf)
    index = np.argpartition(-similar, count - 1, axis=1)[:, :count]
    near = np.zeros(similarity.shape, dtype=bool)
    np.put_along_axis(near, index, True, axis=1)
    return near


def _unbiased(trace: float, columns: Array, rows: Array) -> float:
    """HSIC from ``tr(KM)``, the column sums of K and the row sums of M; diagonals are 0."""
    n = len(rows)
    means = columns.sum() * rows.sum() / ((n - 1) * (n - 2))
    return float((trace + means - 2 * (columns @ rows) / (n - 2)) / (n * (n - 3)))
