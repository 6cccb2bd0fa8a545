"""Pictures of representations, from a run that takes a second."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from disperse.analysis import Geometry, Place, Similarity
from disperse.analysis.representations import unlabelled_features
from disperse.data import ImageSet, digits
from disperse.errors import DisperseError
from disperse.evaluation import Estimate
from disperse.experiments import item, profile, run_folder
from disperse.figures import draw_representations, opened, probed_images, read_sidecar
from disperse.figures.representations import GEOMETRY, PROBES, heat_maps_figure, similarity_figure
from disperse.losses import DispersiveLoss
from disperse.training import load_model, train

from ..experiments.cases import TOY, toy

__all__ = ["toy"]


def check_alive(place: dict[str, Any]) -> None:
    """Measured in the group that both runs are trained with, the baseline too: 16 of the 30 rows."""
    (cell, _) = item("pair", "toy", (0,))
    model = load_model(run_folder(cell.spec), step=TOY.num_steps, weights=TOY.weights, device="cpu")
    z = unlabelled_features(model, digits("held-out").few(30), level=place["level"])[place["block"]]
    assert place["alive"] == pytest.approx(DispersiveLoss().report(z[:16].double()).off_diagonal_weight)
    assert place["alive"] < DispersiveLoss().report(z.double()).off_diagonal_weight - 0.001


def test_both_measures_are_drawn_with_their_nulls_and_the_share_names_its_group() -> None:
    sides = ("baseline / infonce-l2", "baseline / encoder")
    found = {
        measure: {(name, block, 0.5): Similarity(value, 0.1, 0.9, null, 0.012, 30)
                  for name in sides for block in (0, 1)}
        for measure, value, null in (("cknna", 0.25, 0.125), ("cka", 0.75, -0.001))
    }  # fmt: skip
    upper, lower = similarity_figure(found).subfigs
    for part, name, title in (
        (upper, "CKNNA", "unrelated: 0.12; p ≤ 0.02"),
        (lower, "CKA", "unrelated: 0.00;"),
    ):
        assert part.get_suptitle().startswith(name)
        assert all(title in ax.get_title(loc="left") for ax in part.axes)
    assert [text.get_text()[:4] for text in lower.axes[0].texts] == [".75\n", ".75\n"]

    chance = Estimate(0.1, 0.05, 0.15, 30, "Wilson")
    place = Place(0, 0.5, Geometry(*[1.0] * len(GEOMETRY)), chance, chance)
    for group, words in ((16, "in groups of 16"), (None, "all rows in one group")):
        figure = heat_maps_figure({"baseline": [place], "infonce-l2": [place]}, group=group)
        assert f"share of the loss that can move, {words}" in {part.get_suptitle() for part in figure.subfigs}


def test_probes_learn_from_other_images_than_they_read() -> None:
    train, test = probed_images(profile("smoke"))
    assert (len(train), len(test)) == (200, 100)


def test_where_all_images_are_of_training_few_classes_are_taken_evenly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As of latents: 1000 classes in the order of the set, each of which has more images than are wanted."""
    images = torch.arange(20_000.0)[:, None, None, None]
    whole = ImageSet(images, torch.arange(20_000) // 20)
    monkeypatch.setattr(opened, "load_data", lambda name, split: whole)
    train, test = probed_images(dataclasses.replace(profile("paper"), num_samples=60))
    assert (len(train), len(test)) == (120, 60)
    assert not set(train.images.flatten().tolist()) & set(test.images.flatten().tolist())
    for part, each in ((train, 12), (test, 6)):
        labels, counts = part.labels.unique(return_counts=True)
        assert labels.tolist() == list(range(0, 1000, 100))
        assert (counts - each).abs().max() <= 1


def test_everything_is_measured_drawn_and_kept(toy: object, store: Path) -> None:
    with pytest.raises(DisperseError):
        draw_representations(TOY, store)  # not trained here
    for cell in item("pair", "toy", (0,)):
        train(cell.spec.replace(device="cpu"), run_folder(cell.spec), progress=False)
    paths = draw_representations(TOY, store)
    assert {name: path.stem for name, path in paths.items()} == {
        "maps": "representations",
        "cosines": "representations_cosines",
        "similarity": "representations_similarity",
        "plane": "representations_plane",
        "density": "representations_density",
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths.values())

    maps, cosines, alike, plane, density = map(read_sidecar, paths.values())
    assert {label: len(places) for label, places in maps["places"].items()} == {
        "baseline": 20,
        "infonce-l2": 20,
    }
    assert {*GEOMETRY, *PROBES} < maps["places"]["baseline"][0].keys()
    assert maps["alive"] == {"variant": "infonce-l2", "tau": 0.5, "local_batch": 16, "rows": 16}
    check_alive(maps["places"]["baseline"][0])
    for found in cosines["counts"].values():
        assert sum(found["raw"]) == sum(found["centred"]) == 30 * 29 // 2
        assert found["raw"] != found["centred"]
    assert cosines["block"] == plane["block"]
    assert Counter((entry["measure"], entry["compared"]) for entry in alike["values"]) == {
        (measure, sides): 12
        for measure in ("cknna", "cka")
        for sides in ("baseline / infonce-l2", "baseline / encoder", "infonce-l2 / encoder")
    }
    assert all(0 < entry["p"] <= 1 and abs(entry["null"]) < 0.5 for entry in alike["values"])
    assert all(entry["low"] <= entry["value"] <= entry["high"] for entry in alike["values"])
    for points in plane["coordinates"].values():
        assert np.shape(points) == (2, 30, 2)
    assert plane["labels"] == digits("held-out").few(30).labels.tolist()
    assert np.shape(density["points"]["umap"]) == (500, 2)
    runs = {(run["label"], run["step"]) for run in maps["runs"]}
    assert runs == {("baseline", TOY.num_steps), ("infonce-l2", TOY.num_steps)}
