"""A difference that was planted between two models shows in the measures, and only where it should."""

import pytest
import torch

from disperse.analysis.geometry import geometry
from disperse.analysis.probes import linear_probe, neighbour_accuracy
from disperse.analysis.similarity import compare
from disperse.rng import normal

LABELS = torch.arange(200) % 4
BASE = 2 * torch.nn.functional.one_hot(LABELS, 40) + normal((200, 40), "planted")


def test_longer_features_are_longer_and_nothing_else() -> None:
    plain, longer = geometry(BASE), geometry(3 * BASE)
    assert longer.rms == pytest.approx(3 * plain.rms)
    assert longer.squared_distance == pytest.approx(9 * plain.squared_distance, rel=1e-5)
    assert longer.alive < 0.1 * plain.alive
    for name in ("relative_distance", "uniformity", "mean_cosine", "effective_rank", "participation_ratio"):
        assert getattr(longer, name) == pytest.approx(getattr(plain, name), rel=1e-4)
    assert compare(BASE, 3 * BASE, repeats=20).value == pytest.approx(1, abs=1e-6)


def test_fewer_directions_are_a_lower_rank() -> None:
    few = BASE.clone()
    few[:, 10:] *= 0.05
    plain, thin = geometry(BASE), geometry(few)
    assert thin.effective_rank < 0.6 * plain.effective_rank
    assert thin.participation_ratio < 0.5 * plain.participation_ratio


def test_an_offset_that_all_share_turns_rows_alike() -> None:
    plain, shifted = geometry(BASE), geometry(BASE + 3)
    assert shifted.mean_cosine > plain.mean_cosine + 0.3
    assert shifted.relative_distance < plain.relative_distance
    assert shifted.effective_rank == pytest.approx(plain.effective_rank, rel=1e-3)


def test_classes_that_one_model_forgot_are_found_in_neither_probe_nor_neighbours() -> None:
    forgot = normal((200, 40), "planted, forgot")
    learned, tested = slice(0, 120), slice(120, 200)

    def accuracies(z: torch.Tensor) -> tuple[float, float]:
        probe = linear_probe(z[learned], LABELS[learned], z[tested], LABELS[tested])
        return probe.value, neighbour_accuracy(z, LABELS).value

    assert min(accuracies(BASE)) > 0.6
    assert max(accuracies(forgot)) < 0.45  # chance: 0.25
    shared, unrelated = (compare(BASE, z, repeats=20) for z in (BASE + 0.3 * forgot, forgot))
    assert shared.value > 0.5 > unrelated.value + 0.3
    assert unrelated.low < unrelated.null < unrelated.high
