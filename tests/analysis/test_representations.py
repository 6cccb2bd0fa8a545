"""What is measured of a model at each place: without the class, and by the functions of ``analysis`` alone."""

import dataclasses

import pytest
import torch

from disperse.analysis import (
    Place,
    block_features,
    compare,
    compare_places,
    geometry,
    linear_probe,
    measure_places,
    neighbour_accuracy,
)
from disperse.analysis.representations import unlabelled_features
from disperse.data import ImageSet, digits
from disperse.errors import ConfigError
from disperse.losses import DispersiveLoss
from disperse.models import DiffusionTransformer

TEST = digits("held-out").few(40)
TRAIN = digits("train").few(60)
LEVELS = (0.6, 0.2)
LOSS = DispersiveLoss(local_batch=16)


def relabelled(data: ImageSet) -> ImageSet:
    return ImageSet(data.images, data.labels.flip(0))


@pytest.fixture(scope="module")
def places(model: DiffusionTransformer) -> list[Place]:
    return measure_places(model, TRAIN, TEST, loss=LOSS, levels=LEVELS)


def test_features_know_nothing_of_the_class(model: DiffusionTransformer) -> None:
    """Bit for bit the same with other labels, where a model that is told the class has other features."""
    assert not torch.equal(TEST.labels, relabelled(TEST).labels)
    own, other = (unlabelled_features(model, data, level=0.3) for data in (TEST, relabelled(TEST)))
    told, lied = (block_features(model, data, level=0.3) for data in (TEST, relabelled(TEST)))
    assert list(own) == [0, 1, 2]
    for block, z in own.items():
        assert torch.equal(z, other[block])
        assert not torch.equal(told[block], lied[block])


def test_every_place_once_blocks_first(places: list[Place]) -> None:
    assert [(place.block, place.level) for place in places] == [
        (block, level) for block in range(3) for level in sorted(LEVELS)
    ]


def test_a_place_is_measured_as_by_hand(model: DiffusionTransformer, places: list[Place]) -> None:
    (place,) = (place for place in places if (place.block, place.level) == (1, 0.2))
    z = unlabelled_features(model, TEST, level=0.2)[1]
    learned = unlabelled_features(model, TRAIN, level=0.2, seed=1)[1]  # other noise than that of the test
    assert place.geometry == geometry(z, LOSS)
    assert place.geometry.alive == geometry(z[:32], LOSS).alive != geometry(z).alive
    assert place.probe == linear_probe(learned, TRAIN.labels, z, TEST.labels)
    assert place.neighbours == neighbour_accuracy(z, TEST.labels)


def test_images_of_training_are_for_the_probe_alone(model: DiffusionTransformer, places: list[Place]) -> None:
    other = measure_places(model, relabelled(TRAIN), TEST, loss=LOSS, levels=LEVELS)
    assert [dataclasses.replace(b, probe=a.probe) for a, b in zip(places, other, strict=True)] == places
    assert all(a.probe != b.probe for a, b in zip(places, other, strict=True) if a.level == 0.2)


def test_groups_larger_than_all_rows_are_refused(model: DiffusionTransformer) -> None:
    with pytest.raises(ConfigError, match="40 rows: expected at least local_batch = 64"):
        measure_places(model, TRAIN, TEST, loss=DispersiveLoss(local_batch=64), levels=(0.2,))


@pytest.mark.parametrize("measure", ["cka", "cknna"])
def test_places_are_compared_as_by_hand(model: DiffusionTransformer, measure: str) -> None:
    """Two models and an encoder: three comparisons at every place; a model is like itself."""
    encoder = TEST.images.flatten(1)
    found = compare_places(
        {"a": model, "b": model}, TEST, encoder, measure=measure, levels=(0.2,), repeats=10, seed=3
    )  # type: ignore[arg-type]
    assert list(found) == [
        (sides, block, 0.2) for block in range(3) for sides in ("a / b", "a / encoder", "b / encoder")
    ]
    z = unlabelled_features(model, TEST, level=0.2, seed=3)[2]
    assert found["a / encoder", 2, 0.2] == compare(z, encoder, measure=measure, repeats=10, seed=3)  # type: ignore[arg-type]
    assert found["a / encoder", 2, 0.2] == found["b / encoder", 2, 0.2]
    assert found["a / b", 2, 0.2].value == pytest.approx(1)
    assert found["a / b", 2, 0.2].p == pytest.approx(1 / 11)
