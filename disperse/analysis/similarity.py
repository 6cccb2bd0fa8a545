"""Do two representations of the same samples say the same? CKA and CKNNA, with a null and an interval.

Both compare which samples are near to which, not the features themselves, so widths may differ and a rotation
changes nothing. Features are (n, ...), row i of both of the same sample, and read as (n, d).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from ..errors import ConfigError, NonFiniteError
from ..losses.dispersive import check_choice
from ..rng import stream

Array = np.ndarray
Measure = Literal["cka", "cknna"]
MEASURES = ("cka", "cknna")


@dataclass(frozen=True)
class Similarity:
    """How alike two representations are.

    Attributes:
        value: of the measure; 1 for the same up to rotation and scale, about 0 for unrelated ones.
        low, high: 95% interval over samples, by half-sampling.
        null: mean of the measure where the rows of one are permuted.
        p: share of permutations that reach the value, the value itself counted among them.
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
    return _cka(_kernel(x, y), _kernel(y, x))


def cknna(x: Tensor, y: Tensor, *, neighbours: int = 10) -> float:
    """CKA of nearest neighbours: as ``cka``, of the pairs that are near in *both* (the denominator: in each).

    Rows are centred and scaled to length 1, so that near means of like direction; K and L keep the entries of
    the ``neighbours`` nearest rows of each row. From about 0 to 1.

    Not quite symmetric, since to be among the nearest isn't: the order of x and y moves the third digit.

    How it misleads: values of another number of neighbours or of samples don't compare: with n = neighbours
    + 1 it is CKA. Low values (0.1 to 0.3 are common) are only read beside their null.

    Args:
        x, y (Tensor): (n, ...).
        neighbours: from 2 to n − 1.

    Raises:
        ConfigError: other numbers of rows, too few of them, or neighbours out of range.
        NonFiniteError: NaN or infinity.

    Source: Huh et al. 2024 (The Platonic Representation Hypothesis).
    """
    k, m = _kernel(x, y, directions=True), _kernel(y, x, directions=True)
    return _cknna(k, m, _checked_neighbours(neighbours, len(k)))


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
        repeats: permutations, and halves.
        seed: of both.

    Raises:
        ConfigError, NonFiniteError: as ``cka`` and ``cknna``.
    """
    check_choice("measure", measure, MEASURES)
    k, m = (_kernel(a, b, directions=measure == "cknna") for a, b in ((x, y), (y, x)))
    n = len(k)
    if n < 8:
        raise ConfigError(f"features: expected at least 8 rows for an interval, got {n}")

    near: tuple[_Near, ...] = ()  # of CKNNA alone
    if measure == "cknna":
        near = _Near(k, _checked_neighbours(neighbours, n)), _Near(m, neighbours)

    def half(rows: Array) -> float:
        pair = k[np.ix_(rows, rows)], m[np.ix_(rows, rows)]
        return _cka(*pair) if measure == "cka" else _cknna(*pair, max(2, round(neighbours * len(rows) / n)))

    def permuted(order: Array) -> float:
        return near[0].cknna(near[1], order) if near else _cka(k, m[np.ix_(order, order)])

    value = permuted(np.arange(n))
    null = [permuted(stream("permuted rows", seed, i).permutation(n)) for i in range(repeats)]
    drawn = (stream("half of the rows", seed, i).permutation(n)[: n // 2] for i in range(repeats))
    halves = np.array([half(rows) for rows in drawn])
    low, high = value + np.quantile(halves - halves.mean(), (0.025, 0.975))
    p = (1 + sum(other >= value for other in null)) / (1 + repeats)
    return Similarity(value, float(low), float(high), float(np.mean(null)), p, n)


def _kernel(z: Tensor, other: Tensor, *, directions: bool = False) -> Array:
    """Gram matrix of centred rows, (n, n) in float64; of their directions if asked."""
    if len(z) != len(other) or len(z) < 4:
        raise ConfigError(
            f"features: expected as many rows of both, at least 4, got {tuple(z.shape)} and "
            f"{tuple(other.shape)}"
        )
    rows = z.detach().flatten(1).cpu().double()
    if not torch.isfinite(rows).all():
        raise NonFiniteError("features hold NaN or infinity; they can't be compared")
    rows = rows - rows.mean(dim=0)
    if directions:
        rows = torch.nn.functional.normalize(rows, dim=1)
    return (rows @ rows.mT).numpy()


def _checked_neighbours(neighbours: int, n: int) -> int:
    if not 2 <= neighbours < n:
        raise ConfigError(f"neighbours = {neighbours}: expected 2 to {n - 1} for {n} rows")
    return neighbours


def _cka(k: Array, m: Array) -> float:
    return _share(_hsic(k, m), _hsic(k, k), _hsic(m, m))


def _cknna(k: Array, m: Array, neighbours: int) -> float:
    return _Near(k, neighbours).cknna(_Near(m, neighbours), np.arange(len(k)))


class _Near:
    """A kernel at the pairs of a row and its nearest others: few, so only those are kept."""

    def __init__(self, kernel: Array, neighbours: int):
        self.kernel = kernel
        self.near = nearest_others(kernel, neighbours)
        self.rows, self.columns = np.nonzero(self.near)
        self.own = self._hsic(self, np.arange(len(kernel)))

    def _hsic(self, other: "_Near", order: Array) -> float:
        """Of the kernels at the pairs that are near in both, the rows of the other in another order."""
        rows, columns = order[self.rows], order[self.columns]
        both = other.near[rows, columns]
        place = self.rows[both], self.columns[both]
        shape = self.kernel.shape
        k = csr_array((self.kernel[place], place), shape)
        m = csr_array((other.kernel[rows[both], columns[both]], place), shape)
        return _unbiased(k.multiply(m.T).sum(), k.sum(axis=0), m.sum(axis=1))

    def cknna(self, other: "_Near", order: Array) -> float:
        return _share(self._hsic(other, order), self.own, other.own)


def _share(across: float, first: float, second: float) -> float:
    within = np.sqrt(max(first, 0.0) * max(second, 0.0))
    return float(across / within) if within else 0.0


def nearest_others(similarity: Array, count: int) -> Array:
    """(n, n), whether column j is among the nearest of row i, itself left out."""
    similar = similarity.copy()
    np.fill_diagonal(similar, -np.inf)
    index = np.argpartition(-similar, count - 1, axis=1)[:, :count]
    near = np.zeros(similarity.shape, dtype=bool)
    np.put_along_axis(near, index, True, axis=1)
    return near


def _hsic(k: Array, m: Array) -> float:
    """Hilbert–Schmidt independence criterion of two kernels (n, n), without bias."""
    k, m = k.copy(), m.copy()
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    return _unbiased((k * m.T).sum(), k.sum(axis=0), m.sum(axis=1))


def _unbiased(trace: float, columns: Array, rows: Array) -> float:
    """HSIC from ``tr(KM)``, the column sums of K and the row sums of M; diagonals are 0."""
    n = len(rows)
    means = columns.sum() * rows.sum() / ((n - 1) * (n - 2))
    return float((trace + means - 2 * (columns @ rows) / (n - 2)) / (n * (n - 3)))
