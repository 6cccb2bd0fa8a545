"""The four dispersive losses as float64 loops over pairs, straight from their formulas.

Slow and literal on purpose. ``z`` is a numpy array of shape (b, d); every function returns a float.
Shared options: ``diagonal`` ``"keep"`` or ``"mask"`` the pairs i = j; ``scale`` ``"dim"`` or
``"none"``, whether a squared distance is divided by d (and the covariance sum averaged).
"""

import math

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]


def squared_l2(a: Rows, b: Rows) -> float:
    """``‖a − b‖²``."""
    return math.fsum((float(x) - float(y)) ** 2 for x, y in zip(a, b))


def cosine(a: Rows, b: Rows) -> float:
    """``a · b / (‖a‖ ‖b‖)``; a row of zeros is a direction of its own: 1 with itself, else 0."""
    # Divided by the largest entry, so that 1e-20 squared does not underflow.
    top_a, top_b = float(np.abs(a).max()), float(np.abs(b).max())
    if top_a == 0 or top_b == 0:
        return float(top_a == top_b)
    x, y = [float(v) / top_a for v in a], [float(v) / top_b for v in b]
    dot = math.fsum(p * q for p, q in zip(x, y))
    return dot / math.sqrt(math.fsum(p * p for p in x) * math.fsum(q * q for q in y))


def infonce_l2(z: Rows, *, tau: float = 0.5, diagonal: str = "keep", scale: str = "dim") -> float:
    """``log E_ij[exp(−D_ij/τ)]``, ``D_ij = ‖z_i − z_j‖²`` (over d)."""
    size = z.shape[1] if scale == "dim" else 1
    return _log_mean_exp([-squared_l2(z[i], z[j]) / size / tau for i, j in _pairs(z, diagonal)])


def infonce_cosine(z: Rows, *, tau: float = 0.5, diagonal: str = "keep", scale: str = "dim") -> float:
    """``log E_ij[exp(−D_ij/τ)]``, ``D_ij = −cos(z_i, z_j)``; ``scale`` has no meaning here."""
    return _log_mean_exp([cosine(z[i], z[j]) / tau for i, j in _pairs(z, diagonal)])


def hinge(z: Rows, *, eps: float = 1.0, diagonal: str = "keep", scale: str = "dim") -> float:
    """``E_ij[max(0, ε − D_ij)²]``, ``D_ij = ‖z_i − z_j‖²`` (over d)."""
    size = z.shape[1] if scale == "dim" else 1
    pairs = _pairs(z, diagonal)
    return math.fsum(max(0.0, eps - squared_l2(z[i], z[j]) / size) ** 2 for i, j in pairs) / len(pairs)


def covariance(z: Rows, *, diagonal: str = "keep", scale: str = "dim") -> float:
    """``Σ_mn Cov_mn²`` of the d×d matrix of features standardised per dimension (population std).

    Constant dimensions cannot be standardised. The mean is over the others; with no pair (m, n)
    left it is 1, the ceiling. ``scale="none"`` is that mean times the number of all pairs (m, n).
    """
    rows, width = z.shape
    columns = []
    for m in range(width):
        column = [float(v) for v in z[:, m]]
        if all(v == column[0] for v in column):
            continue
        mean = math.fsum(column) / rows
        std = math.sqrt(math.fsum((v - mean) ** 2 for v in column) / rows)
        columns.append([(v - mean) / std for v in column])
    squares = [
        (math.fsum(p * q for p, q in zip(columns[m], columns[n])) / rows) ** 2
        for m in range(len(columns))
        for n in range(len(columns))
        if diagonal == "keep" or m != n
    ]
    mean_square = math.fsum(squares) / len(squares) if squares else 1.0
    if scale == "dim":
        return mean_square
    return mean_square * (width * width if diagonal == "keep" else width * width - width)


LOOPS = {
    "infonce-l2": infonce_l2,
    "infonce-cosine": infonce_cosine,
    "hinge": hinge,
    "covariance": covariance,
}


def _pairs(z: Rows, diagonal: str) -> list[tuple[int, int]]:
    every = range(z.shape[0])
    return [(i, j) for i in every for j in every if diagonal == "keep" or i != j]


def _log_mean_exp(exponents: list[float]) -> float:
    # The largest is taken out so that the sum of pairs far apart is not log 0.
    top = max(exponents)
    return top + math.log(math.fsum(math.exp(e - top) for e in exponents) / len(exponents))
