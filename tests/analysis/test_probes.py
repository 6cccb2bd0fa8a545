"""Probes on planted classes, and what they are blind to."""

import pytest
import torch

from disperse.analysis import probes
from disperse.analysis.probes import linear_probe, neighbour_accuracy, probe_sets
from disperse.data import ImageSet
from disperse.errors import ConfigError
from disperse.rng import normal

LABELS = torch.arange(60) % 3


def clusters(gap: float, *key: str) -> torch.Tensor:
    return gap * torch.nn.functional.one_hot(LABELS, 3) + normal((60, 3), "clusters", *key)


def test_planted_clusters_and_chance() -> None:
    near, far = clusters(0.0), clusters(20.0)
    assert linear_probe(far, LABELS, clusters(20.0, "test"), LABELS).value == 1
    assert neighbour_accuracy(far, LABELS).value == 1
    for chance in (
        linear_probe(near, LABELS, clusters(0.0, "test"), LABELS),
        neighbour_accuracy(near, LABELS),
    ):
        assert chance.low < 1 / 3 < chance.high + 0.1
        assert (chance.n, chance.method) == (60, "Wilson")


def test_neighbours_by_hand() -> None:
    """Rows on a circle; each is judged by its two nearest others, equal votes go to the nearest."""
    angles = torch.tensor([0.0, 0.1, 0.25, 2.0, 2.1, 2.25])
    z = torch.stack([angles.cos(), angles.sin()], dim=1)
    z = torch.cat([z, -z])  # centred
    labels = torch.tensor([0, 0, 1, 1, 1, 0, 2, 2, 2, 2, 2, 2])
    # Row 0 sees 0 and 1: equal, the nearest is row 1 of class 0. Row 1: rows 0 (class 0), 2. Row 2: 1, 0.
    # Row 3: rows 4 (1), 5 (0): nearest 1. Row 4: rows 3 (1), 5 (0): 1. Row 5: 4, 3: 1, wrong; row 2 wrong.
    assert neighbour_accuracy(z, labels, neighbours=2).value == pytest.approx(10 / 12)


def test_a_direction_that_no_neighbour_sees_is_seen_by_a_probe() -> None:
    z = torch.cat([200 * normal((60, 20), "loud"), clusters(6.0)], dim=1)
    test = torch.cat([200 * normal((60, 20), "loud test"), clusters(6.0, "test")], dim=1)
    assert linear_probe(z, LABELS, test, LABELS).value > 0.9
    assert neighbour_accuracy(z, LABELS).value < 0.6


def test_an_xor_is_seen_by_neighbours_alone() -> None:
    corner = torch.tensor([[1.0, 1], [-1, -1], [1, -1], [-1, 1]]).repeat(30, 1)
    labels = (corner.prod(dim=1) < 0).long()
    z, test = (10 * corner + normal((120, 2), "xor", name) for name in ("train", "test"))
    assert neighbour_accuracy(z, labels).value == 1
    assert linear_probe(z, labels, test, labels).value < 0.8


def test_what_is_refused() -> None:
    z = clusters(1.0)
    with pytest.raises(ConfigError, match="one of each row"):
        neighbour_accuracy(z, LABELS[:-1])
    with pytest.raises(ConfigError, match=r"labels: expected a torch\.Tensor, got list"):
        neighbour_accuracy(z, LABELS.tolist())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected 1 to 59"):
        neighbour_accuracy(z, LABELS, neighbours=60)
    with pytest.raises(ConfigError, match="one width"):
        linear_probe(z, LABELS, z[:, :2], LABELS)
    with pytest.raises(ConfigError, match="train_labels: expected two classes or more, got 1 of 60 rows"):
        linear_probe(z, 0 * LABELS, z, LABELS)
    with pytest.raises(ConfigError, match=r"penalty = 0\.0: must be > 0"):
        linear_probe(z, LABELS, z, LABELS, penalty=0.0)


def test_a_probe_that_stopped_early_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "MOST_STEPS", 2)
    with pytest.raises(ConfigError, match="no minimum after 2 steps with penalty = 1e-06: take a larger"):
        linear_probe(clusters(1.0), LABELS, clusters(1.0), LABELS, penalty=1e-6)


def test_probes_learn_from_other_images_than_they_read() -> None:
    train, test = probe_sets("digits", "held-out", 100)
    assert (len(train), len(test)) == (200, 100)


def test_where_all_images_are_of_training_few_classes_are_taken_evenly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As of latents: 1000 classes in the order of the set, each of which has more images than are wanted."""
    images = torch.arange(20_000.0)[:, None, None, None]
    whole = ImageSet(images, torch.arange(20_000) // 20)
    monkeypatch.setattr(probes, "load_data", lambda name, split: whole)
    train, test = probe_sets("latents", "train", 60)
    assert (len(train), len(test)) == (120, 60)
    assert not set(train.images.flatten().tolist()) & set(test.images.flatten().tolist())
    for part, each in ((train, 12), (test, 6)):
        labels, counts = part.labels.unique(return_counts=True)
        assert labels.tolist() == list(range(0, 1000, 100))
        assert (counts - each).abs().max() <= 1
