"""The contrastive losses of the paper as loops over pairs in float64; imports nothing of the package."""

import math

import numpy as np

Array = np.ndarray


def squared(a: Array, b: Array, scale: str) -> float:
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b)) / (len(a) if scale == "dim" else 1)


def negative_cosine(a: Array, b: Array, scale: str) -> float:
    dot = sum(float(x) * float(y) for x, y in zip(a, b))
    return -dot / math.sqrt(sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b))


def alignment(distance, first, second, *, tau, scale) -> float:
    return sum(distance(a, b, scale) for a, b in zip(first, second)) / len(first) / tau


def infonce(distance, first, second, *, tau, candidates, diagonal, scale) -> float:
    pushed = second if candidates == "second" else first
    total = 0.0
    for i in range(len(first)):
        denominator = sum(
            math.exp(-distance(first[i], pushed[j], scale) / tau)
            for j in range(len(first))
            if diagonal == "keep" or j != i
        )
        total += distance(first[i], second[i], scale) / tau + math.log(denominator)
    return total / len(first)


def hinge(first, second, *, eps, candidates, diagonal, scale) -> float:
    pushed = second if candidates == "second" else first
    total = 0.0
    for i in range(len(first)):
        terms = [
            max(0.0, eps - squared(first[i], pushed[j], scale)) ** 2
            for j in range(len(first))
            if diagonal == "keep" or j != i
        ]
        total += squared(first[i], second[i], scale) ** 2 + sum(terms) / len(terms)
    return total / len(first)


def covariance(first, second, *, offdiagonal_weight, scale) -> float:
    def standardised(z: Array) -> Array:
        z = np.asarray(z, dtype=np.float64)
        return (z - z.mean(axis=0)) / z.std(axis=0)

    a, b = standardised(first), standardised(second)
    g, d = a.shape
    on = off = 0.0
    for m in range(d):
        for n in range(d):
            entry = sum(a[i, m] * b[i, n] for i in range(g)) / g
            if m == n:
                on += (1 - entry) ** 2
            else:
                off += entry**2
    if scale == "dim":
        on, off = on / d, off / (d * (d - 1))
    return on + offdiagonal_weight * off


def weighted_infonce_l2(z, w, *, tau, diagonal) -> float:
    """``log(Σ w_i w_j e^{−D_ij/τ} / Σ w_i w_j)``."""
    pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if diagonal == "keep" or i != j]
    top = sum(w[i] * w[j] * math.exp(-squared(z[i], z[j], "dim") / tau) for i, j in pairs)
    return math.log(top / sum(w[i] * w[j] for i, j in pairs))
