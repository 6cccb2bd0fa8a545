"""Pictures of representations, from a run that takes a second."""

from pathlib import Path

import numpy as np
import pytest

from disperse.data import digits
from disperse.errors import DisperseError
from disperse.experiments import item, run_folder
from disperse.figures import read_sidecar
from disperse.figures.representations import GEOMETRY, PROBES, draw_representations
from disperse.training import train

from ..experiments.cases import TOY, toy

__all__ = ["toy"]


def test_everything_is_measured_drawn_and_kept(toy: object, store: Path) -> None:
    with pytest.raises(DisperseError):
        draw_representations(TOY, store)  # not trained here
    for cell in item("pair", "toy", (0,)):
        train(cell.spec.replace(device="cpu"), run_folder(cell.spec), progress=False)
    paths = draw_representations(TOY, store)
    names = ["representations", "_cosines", "_similarity", "_plane", "_density"]
    assert [path.stem for path in paths] == [names[0], *(names[0] + name for name in names[1:])]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)

    maps, cosines, alike, plane, density = map(read_sidecar, paths)
    assert {label: len(places) for label, places in maps["places"].items()} == {
        "baseline": 20,
        "infonce-l2": 20,
    }
    assert {*GEOMETRY, *PROBES} < maps["places"]["baseline"][0].keys()
    for found in cosines["counts"].values():
        assert sum(found["raw"]) == sum(found["centred"]) == 30 * 29 // 2
        assert found["raw"] != found["centred"]
    assert cosines["block"] == plane["block"]
    assert {entry["compared"] for entry in alike["values"]} == {
        "baseline / infonce-l2", "baseline / encoder", "infonce-l2 / encoder",
    }  # fmt: skip
    assert all(entry["low"] <= entry["value"] <= entry["high"] for entry in alike["values"])
    for points in plane["coordinates"].values():
        assert np.shape(points) == (2, 30, 2)
    assert plane["labels"] == digits("held-out").few(30).labels.tolist()
    assert np.shape(density["points"]["umap"]) == (500, 2)
    runs = {(run["label"], run["step"]) for run in maps["runs"]}
    assert runs == {("baseline", TOY.num_steps), ("infonce-l2", TOY.num_steps)}
