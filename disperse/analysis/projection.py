"""Features of several models in one plane: PCA, UMAP and densMAP, fitted jointly.

A picture of that kind is a way to look and no evidence. UMAP keeps neighbourhoods and gives up the rest: how
far clusters are apart, how large and how dense they are. densMAP keeps local density as well as it can; PCA
keeps distances, of two directions.
"""

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from ..errors import ConfigError
from ..losses.dispersive import check_choice
from .geometry import rows_of
from .similarity import check_neighbours, nearest_others

Method = Literal["pca", "umap", "densmap"]
METHODS: tuple[Method, ...] = ("pca", "umap", "densmap")
COMPONENTS = 50  # of the PCA before UMAP


def project(
    features: Sequence[Tensor],
    method: Method = "umap",
    *,
    neighbours: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
    same_scale: bool = True,
) -> np.ndarray:
    """Coordinates of every row of every model, from one fit to all of them.

    Each model's features are centred and, if asked, divided by their root mean square, so that a model whose
    features are five times as long isn't a cluster of its own by that alone; then the principal components of
    all together, at most 50, and of these the two first (``"pca"``) or what UMAP makes of all.

    One thread and a fixed seed: on one machine, with one set of packages, coordinates repeat. Elsewhere they
    don't; what can be compared is which rows are neighbours.

    How it misleads: UMAP shows a Gaussian cloud and one ten times as dense alike, draws clusters where there
    are none if ``neighbours`` is small, and its axes mean nothing.

    Args:
        features: of each model, (n, ...) of the same images, all of one width.
        method: ``"pca"``, ``"umap"`` or ``"densmap"``.
        neighbours: of UMAP, from 2 to one less than there are rows.
        min_dist: of UMAP, how near points may lie, ≥ 0.
        seed: of UMAP.
        same_scale: see above.

    Returns:
        Shape (models, n, 2), float64.

    Raises:
        ConfigError: no features, other shapes, or an option out of range.
        NonFiniteError: NaN or infinity.

    Source: UMAP: McInnes, Healy & Melville 2018; densMAP: Narayan, Berger & Cho 2021.
    """
    check_choice("method", method, METHODS)
    rows = [rows_of(z) for z in features]
    if not rows or len({z.shape for z in rows}) > 1:
        raise ConfigError(f"features: expected one shape of all, got {[tuple(z.shape) for z in rows]}")
    if method != "pca":
        check_neighbours(neighbours, len(rows) * len(rows[0]), least=2)
        if not min_dist >= 0:
            raise ConfigError(f"min_dist = {min_dist}: expected ≥ 0")
    centred = [z - z.mean(dim=0) for z in rows]
    if same_scale:
        centred = [z / z.square().mean().sqrt().clamp_min(torch.finfo(z.dtype).tiny) for z in centred]
    components = principal_components(torch.cat(centred), 2 if method == "pca" else COMPONENTS)
    plane = components if method == "pca" else _umap(components, method, neighbours, min_dist, seed)
    return plane.reshape(len(rows), len(rows[0]), 2)


def principal_components(rows: Tensor, count: int) -> np.ndarray:
    """Scores of centred rows (n, d) along the directions of largest variance, shape (n, ≤ count).

    Signs are fixed: the largest entry of each score, by magnitude, is positive.
    """
    u, s, _ = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    scores = (u * s)[:, :count]
    if scores.shape[1] < count:  # fewer directions than asked for
        scores = torch.nn.functional.pad(scores, (0, max(0, min(count, 2) - scores.shape[1])))
    largest = scores.gather(0, scores.abs().argmax(dim=0, keepdim=True))
    return (scores * torch.where(largest < 0, -1.0, 1.0)).numpy()


def _umap(rows: np.ndarray, method: str, neighbours: int, min_dist: float, seed: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Tensorflow not installed")  # of a part that isn't used
        warnings.filterwarnings("ignore", message="n_jobs value")  # a seed means one thread: as is wanted
        try:
            import umap  # takes seconds to import
        except ImportError:
            raise ConfigError(
                f"method = {method} needs umap-learn: pip install 'disperse[notebooks]', or take method = pca"
            ) from None
        fitted = umap.UMAP(n_neighbors=neighbours, min_dist=min_dist, densmap=method == "densmap",
                           random_state=seed, n_jobs=1)  # fmt: skip
        return np.asarray(fitted.fit_transform(rows), dtype=np.float64)


def neighbour_overlap(first: np.ndarray, second: np.ndarray, *, neighbours: int = 15) -> float:
    """Share of each row's nearest others that two sets of coordinates have in common, in [0, 1].

    For chance, ``neighbours/(n − 1)``. It is how projections are compared across machines.

    How it misleads: clusters may be torn apart, moved or blown up without a row losing its neighbours; and of
    few rows chance alone keeps many.

    Args:
        first, second: (n, k), rows of the same samples; k may differ.
        neighbours: from 1 to n − 1.

    Raises:
        ConfigError: other numbers of rows, or neighbours out of range.
    """
    if len(first) != len(second):
        raise ConfigError(f"coordinates: expected as many rows of both, got {len(first)} and {len(second)}")
    check_neighbours(neighbours, len(first))
    one, other = (
        nearest_others(-cdist(points, points, "sqeuclidean"), neighbours) for points in (first, second)
    )
    return float((one & other).sum() / one.sum())
