"""Joint projections: what they keep, that they repeat, and what they hide."""

import numpy as np
import pytest
import torch

from disperse.analysis.projection import neighbour_overlap, principal_components, project
from disperse.errors import ConfigError
from disperse.rng import normal

LABELS = torch.arange(120) % 3
BASE = 8 * torch.nn.functional.one_hot(LABELS, 20) + normal((120, 20), "projection")
OTHER = BASE + 0.1 * normal((120, 20), "projection, other")


def test_pca_is_the_best_plane() -> None:
    rows = (BASE - BASE.mean(dim=0)).double()
    scores = principal_components(rows, 2)
    values = torch.linalg.eigvalsh(rows.mT @ rows)
    assert (scores**2).sum(axis=0) == pytest.approx(values.flip(0)[:2].numpy())
    assert np.abs(scores).max(axis=0) == pytest.approx(scores.max(axis=0))  # signs are fixed
    again = principal_components(-rows, 2)
    assert np.abs(again) == pytest.approx(np.abs(scores))
    assert project([BASE[:, :1], OTHER[:, :1]], "pca").shape == (
        2,
        120,
        2,
    )  # of one dimension, the other is 0


def test_a_plane_of_principal_components_asks_for_no_neighbours() -> None:
    few = project([BASE[:5], OTHER[:5]], "pca")
    assert np.array_equal(few, project([BASE[:5], OTHER[:5]], "pca", neighbours=99, min_dist=-1))
    assert np.isfinite(few).all()


def test_models_lie_on_each_other_whatever_their_scale() -> None:
    same, apart = (project([BASE, 5 * BASE + 3], "pca", same_scale=flag) for flag in (True, False))
    assert same[0] == pytest.approx(same[1], abs=1e-4)
    assert np.ptp(apart[1]) > 4 * np.ptp(apart[0])


@pytest.fixture(scope="module")
def plane() -> np.ndarray:
    return project([BASE, OTHER], "umap", neighbours=10)


def test_umap_repeats_and_keeps_neighbours(plane: np.ndarray) -> None:
    assert np.array_equal(plane, project([BASE, OTHER], "umap", neighbours=10))
    joint = np.concatenate([(z - z.mean(dim=0)).numpy() for z in (BASE, OTHER)])
    assert neighbour_overlap(joint, plane.reshape(-1, 2)) > 0.4  # chance: 0.06
    shuffled = plane.reshape(-1, 2)[torch.randperm(240, generator=torch.Generator().manual_seed(0))]
    assert neighbour_overlap(joint, shuffled) < 0.15
    # The same image in two nearly equal models lies nearly at the same place.
    between = np.linalg.norm(plane[0] - plane[1], axis=1)
    assert np.median(between) < 0.1 * np.ptp(plane)


def test_umap_hides_density_and_densmap_shows_it() -> None:
    """Two clouds, one ten times as dense: PCA and densMAP tell them apart, UMAP makes them alike."""
    cloud = normal((200, 10), "cloud").double()
    far = torch.zeros(10, dtype=torch.float64)
    far[0] = 60
    both = torch.cat([cloud, 0.1 * cloud.flip(0) + far])

    def ratio(method: str) -> float:
        (points,) = project([both], method)  # type: ignore[arg-type]
        sizes = [
            np.linalg.norm(part - np.median(part, axis=0), axis=1).mean() for part in np.split(points, 2)
        ]
        return float(sizes[0] / sizes[1])

    assert ratio("pca") > 5
    assert 0.5 < ratio("umap") < 2
    assert ratio("densmap") > 2 * ratio("umap")


def test_overlap_by_hand() -> None:
    line = np.arange(6.0)[:, None]
    assert neighbour_overlap(line, 3 * line + 1, neighbours=2) == 1
    assert neighbour_overlap(line, line[[3, 0, 5, 1, 4, 2]], neighbours=2) < 1


def test_what_is_refused() -> None:
    for features in ([], [BASE, OTHER[:-1]]):
        with pytest.raises(ConfigError, match="one shape of all"):
            project(features)
    with pytest.raises(ConfigError, match="neighbours = 1: expected 2 to 119 for 120 rows"):
        project([BASE], neighbours=1)
    with pytest.raises(ConfigError, match=r"min_dist = -0\.1: expected ≥ 0"):
        project([BASE], min_dist=-0.1)
    with pytest.raises(ConfigError, match="neighbours = 15: expected 1 to 9 for 10 rows"):
        neighbour_overlap(np.eye(10), np.eye(10))
    with pytest.raises(ConfigError, match="as many rows of both, got 9 and 10"):
        neighbour_overlap(np.eye(9), np.eye(10), neighbours=2)
    with pytest.raises(ConfigError, match="method"):
        project([BASE], "tsne")  # type: ignore[arg-type]
