"""By nearest neighbours: are samples real-like, are real images covered, is training data copied?"""

from collections.abc import Iterator

import numpy as np
from scipy.spatial.distance import cdist

from ..errors import ConfigError
from .frechet import Array, Estimate, proportion

ROWS = 1000  # at a time: all distances of 10 000 to 10 000 would be 800 MB


def _parts(points: Array) -> Iterator[Array]:
    return (points[start : start + ROWS] for start in range(0, len(points), ROWS))


def _radii(features: Array, k: int) -> Array:
    # Position 0 is the point itself.
    nearest = [np.partition(cdist(part, features), k, axis=1)[:, k] for part in _parts(features)]
    return np.concatenate(nearest)


def _covered(points: Array, support: Array, k: int) -> int:
    radii = _radii(support, k)[None]
    return sum(int((cdist(part, support) <= radii).any(axis=1).sum()) for part in _parts(points))


def precision_recall(samples: Array, real: Array, *, k: int = 3) -> tuple[Estimate, Estimate]:
    """Share of samples within the real manifold, and of real images within the samples'.

    A manifold is the union of balls around its points that reach to the k-th neighbour.

    Args:
        samples, real: features (n, d) and (m, d).
        k: neighbours, ≥ 1; the published setting is 3.

    Returns:
        Precision (n trials) and recall (m trials), each in [0, 1] with Wilson's interval.

    Source: Kynkäänniemi et al. 2019.
    """
    samples, real = np.asarray(samples, np.float64), np.asarray(real, np.float64)
    if not 1 <= k < min(len(samples), len(real)):
        raise ConfigError(f"k = {k}: must be ≥ 1 and below both {len(samples)} and {len(real)}")
    return (
        proportion(_covered(samples, real, k), len(samples)),
        proportion(_covered(real, samples, k), len(real)),
    )


def nearest(points: Array, others: Array) -> tuple[Array, Array]:
    """Index of the nearest of the others for each point, and its distance.

    Args:
        points, others: (n, d) and (m, d).

    Returns:
        Indices and Euclidean distances, each (n,).
    """
    index, distance = [], []
    for part in _parts(points):
        found = np.full(len(part), -1), np.full(len(part), np.inf)
        for start, some in enumerate(_parts(others)):
            between = cdist(part, some)
            own = between.argmin(axis=1)
            least = between[np.arange(len(part)), own]
            nearer = least < found[1]
            found[0][nearer], found[1][nearer] = own[nearer] + start * ROWS, least[nearer]
        index.append(found[0])
        distance.append(found[1])
    return np.concatenate(index), np.concatenate(distance)


def nearer_to_seen(samples: Array, seen: Array, unseen: Array) -> Estimate:
    """Share of samples whose nearest image is one of training: ½ for a model that copies nothing.

    As many images of either kind are compared, spread evenly over each set: where the order of a set means
    something (one writer after another), its first ones are not like the whole. Distances are those of the
    points given, so they must not come from a network that was trained on the same images.

    Args:
        samples, seen, unseen: points (n, d), (m, d) and (k, d).

    Returns:
        Share in [0, 1] of n trials with Wilson's interval.

    Source: the idea of Meehan, Chaudhuri & Dasgupta 2020 (data copying).
    """
    fewest = min(len(seen), len(unseen))
    seen, unseen = (points[np.arange(fewest) * len(points) // fewest] for points in (seen, unseen))
    nearer = sum(
        int((cdist(part, seen).min(axis=1) < cdist(part, unseen).min(axis=1)).sum())
        for part in _parts(samples)
    )
    return proportion(nearer, len(samples))
