"""Pictures and tables are a function of the published results, and say where they come from."""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from disperse import atomic
from disperse.errors import StorageError
from disperse.experiments import ITEMS, LOOKS, PROFILES, Profile, item, publish, published
from disperse.experiments.looks import convergence as convergence_protocols
from disperse.figures import draw_published, read_sidecar, save
from disperse.figures.facts import source_of, source_of_weights
from disperse.figures.sections import SECTIONS
from disperse.figures.theme import new_figure
from disperse.store import Record, seal

from ..experiments.cases import record
from .looked import looked

ROW = PROFILES["smoke"]
PROTOCOL = ROW.protocol


def evaluations(*names: str, seeds: tuple[int, ...] = (0, 1), row: Profile = ROW) -> list[Record]:
    """Evaluations of these items with numbers that differ from run to run and fall with the step."""
    found = []
    for number, cell in enumerate(cell for name in names for cell in item(name, row.name, seeds)):
        for step in sorted({*cell.spec.milestones, cell.spec.num_steps}):
            fd = 20 * (1 + number / 10) / step
            protocol = row.protocol_of(cell.spec.objective.kind)
            found.append(record(cell.spec, step, protocol, fd=fd, rms=1 + number / 5))
    return found


def convergence(seeds: tuple[int, ...] = (0, 1), row: Profile = ROW) -> list[Record]:
    return [
        record(row.spec("baseline", seed), row.num_steps, protocol, fd=5 + 1 / protocol.num_steps)
        for seed in seeds
        for protocol in convergence_protocols(row, "sit")
    ]


def looks(seeds: tuple[int, ...] = (0, 1), row: Profile = ROW) -> list[Record]:
    """Every look at every run of its items, with numbers made up."""
    found = []
    for own in LOOKS.values():
        for cell in (cell for name in own.items for cell in item(name, row.name, seeds) if own.wants(cell)):
            for number, protocol in enumerate(own.protocols(row, cell.spec.objective.kind)):
                if protocol.against_training:
                    found.append(looked(cell, row))
                else:
                    found.append(record(cell.spec, cell.spec.num_steps, protocol, fd=2 + number))
    return found


def test_everything_is_drawn_from_the_published_results_alone(store: Path) -> None:
    publish("smoke", [*evaluations(*ITEMS), *convergence(), *looks()])
    paths = draw_published("smoke")
    folder = store / "figures" / "smoke"
    pictures = [path for path in paths if path.suffix == ".png"]
    assert {path.stem for path in pictures} == {stem for section in SECTIONS for stem in section.pictures}
    assert len(pictures) == len({path.stem for path in pictures})
    for path in pictures:
        assert path.read_bytes().startswith(b"\x89PNG")
        facts = read_sidecar(path)
        assert facts["picture"] == path.name
        assert facts["commit"]
        assert facts["date"] <= "9999"
    assert not (store / "runs").exists()  # nothing was trained
    assert not list(store.rglob(".tmp-*"))

    facts = read_sidecar(folder / "variants")
    rows = {row["label"]: row for row in facts["rows"]}
    assert rows["baseline"]["metrics"]["fd"]["value"] == pytest.approx((20 / 40 + 30 / 40) / 2)
    assert len(facts["runs"]) == 10
    table = (folder / "variants.md").read_text()
    value = rows["hinge"]["metrics"]["fd"]["value"]
    assert f"| hinge | 33.93 | -7.02% | {value:.2f} [0.00, " in table

    index = (store / "figures" / "README.md").read_text()
    assert table in index
    for section in SECTIONS:
        assert not section.table or (folder / f"{section.table}.md").read_text() in index
    for target in re.findall(r"\]\((smoke/[^)]+)\)", index):
        assert (store / "figures" / target).is_file()

    sidecars = {path: path.read_text() for path in folder.glob("*.json")}
    draw_published("smoke")
    for path, text in sidecars.items():
        again, dated = read_sidecar(path), {"date": 0, "sha256": 0}
        assert {**json.loads(text), **dated} == {**again, **dated}
        assert again["picture_sha256"] == atomic.sha256_file(path.with_suffix(".png"))
        assert again == seal(again)


def test_everything_is_drawn_from_distances_alone(store: Path) -> None:
    """An external evaluator, as that of the paper's own profile, measures nothing but the distance."""
    row = PROFILES["paper"]
    every = [*evaluations(*ITEMS, row=row), *convergence(row=row), *looks(row=row)]
    publish("paper", [seal(entry | {"metrics": {"fd": entry["metrics"]["fd"]}}) for entry in every])
    drawn = {path.stem for path in draw_published("paper") if path.suffix == ".png"}
    assert drawn == {stem for section in SECTIONS for stem in section.pictures}
    for path in (store / "figures").rglob("*.md"):
        assert "nan" not in path.read_text().lower().replace("finance", ""), path.name


@pytest.mark.parametrize("label", ["l2-group-whole", ""])
def test_an_ablation_is_shown_as_soon_as_a_run_of_its_own_is_published(store: Path, label: str) -> None:
    """The cell that another item shares isn't enough; what isn't there is named."""
    own = {c.spec.fingerprint for c in item("local_batch", "smoke", (0, 1)) if c.label == label}
    found = [r for r in evaluations("local_batch") if r["fingerprint"] in own]
    publish("smoke", [*evaluations("variants"), *found])
    assert ("local_batch" in {path.stem for path in draw_published("smoke")}) == bool(label)
    assert ("local_batch.png" in (store / "figures" / "README.md").read_text()) == bool(label)
    if label:
        text = (store / "figures" / "smoke" / "local_batch.md").read_text()
        assert "Not trained yet: ℓ2, groups of 4; ℓ2, groups of 8." in text


@pytest.mark.parametrize(
    "part",
    [
        "baseline",
        "no baseline",
        "milestones",
        "one seed",
        "variants",
        "another protocol",
        "half a convergence",
    ],
)
def test_a_part_of_the_results_is_drawn_or_refused_in_one_line(part: str) -> None:
    whole = [*evaluations(*ITEMS), *convergence()]
    baselines = {ROW.spec("baseline", seed).fingerprint for seed in (0, 1)}
    kept = {
        "baseline": [r for r in whole if r["fingerprint"] in baselines],
        "no baseline": [r for r in whole if r["fingerprint"] not in baselines],
        "milestones": [r for r in whole if r["step"] < ROW.num_steps],
        "one seed": [r for r in whole if r["seed"] == 1],
        "variants": evaluations("variants"),
        "another protocol": [
            record(ROW.spec("baseline", 0), 40, PROTOCOL.model_copy(update={"num_steps": 99}))
        ],
        "half a convergence": [*evaluations(*ITEMS), *convergence()[:-3], *convergence()[:2]],
    }[part]
    assert kept
    publish("smoke", kept)
    paths, message = [], ""
    try:
        paths = draw_published("smoke")
    except StorageError as error:
        message = str(error)
    assert "\n" not in message
    assert paths or "publish" in message
    assert (not paths) == (part in ("baseline", "no baseline", "milestones", "another protocol"))


def test_nothing_published_is_one_line() -> None:
    with pytest.raises(StorageError, match="nothing published; run `disperse publish`"):
        draw_published("smoke")


def test_an_edited_result_is_not_drawn(store: Path) -> None:
    publish("smoke", evaluations("variants"))
    path = store / "figures" / "smoke" / "results.jsonl"
    path.write_text(path.read_text().replace('"seed":1', '"seed":3', 1))
    with pytest.raises(StorageError, match="edited or damaged"):
        draw_published("smoke")
    assert [entry.name for entry in path.parent.iterdir()] == ["results.jsonl"]


def test_a_picture_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = save(Figure(), tmp_path / "a", {"value": 1}, source="from here")
    before, write = picture.read_bytes(), matplotlib.image.imsave

    def full(to: object, *arguments: Any, **settings: Any) -> None:
        if isinstance(to, Path):
            raise OSError(28, "No space left on device")
        write(to, *arguments, **settings)

    monkeypatch.setattr(matplotlib.image, "imsave", full)
    with pytest.raises(StorageError, match="No space left"):
        save(Figure(), tmp_path / "a", {"value": 2}, source="from there")
    assert picture.read_bytes() == before
    assert read_sidecar(picture)["value"] == 1


def test_a_stamp_is_printed_across(tmp_path: Path) -> None:
    plain, stamped = Figure(), Figure()
    save(plain, tmp_path / "plain", {}, source="")
    save(stamped, tmp_path / "stamped", {}, source="", stamp="SMOKE")
    assert [text.get_text() for text in stamped.texts] == ["SMOKE"]
    assert not plain.texts
    assert atomic.sha256_file(tmp_path / "plain.png") != atomic.sha256_file(tmp_path / "stamped.png")


def test_below_a_picture_stands_where_its_numbers_come_from(tmp_path: Path) -> None:
    def drawn(source: str) -> np.ndarray:
        figure, (ax,) = new_figure(5, 2)
        ax.plot([0, 1])
        picture = save(figure, tmp_path / "a", {}, source=source)
        assert read_sidecar(picture)["source"] == source
        return matplotlib.image.imread(picture)

    one, other = drawn("from 3 published runs"), drawn("from 2 runs of this store")
    assert one.shape[1] == 5 * 160
    line = round(0.22 * 160)
    assert len(one) == 2 * 160 + line
    np.testing.assert_array_equal(one[:-line], other[:-line])  # the line moves nothing above it
    assert not np.array_equal(one[-line:], other[-line:])
    assert one[-line:].min() < 0.6  # and can be read


def test_published_runs_are_told_from_those_of_this_store() -> None:
    row = PROFILES["smoke"]
    pool, cells = evaluations("variants"), item("variants", "smoke", (0, 1))
    runs = len({record["fingerprint"] for record in pool})
    assert source_of(pool, cells, row) == source_of(pool, None, row) == f"from {runs} runs of this store"
    own = [record for record in pool if record["fingerprint"] == pool[0]["fingerprint"]]
    assert source_of(own, None, row) == "from 1 run of this store"
    publish("smoke", own)
    committed = published("smoke")
    assert source_of(committed, None, row) == "from 1 published run"
    others = [record for record in pool if record["fingerprint"] != pool[0]["fingerprint"]]
    assert source_of([*committed, *others], None, row) == f"from 1 published run and {runs - 1} of this store"
    assert source_of([*committed, *others], cells[:1], row).startswith("from 1 ")
    # One evaluation made here is enough: the picture isn't of the published run alone.
    mixed = [*committed[1:], {**committed[0], "sha256": "made here"}]
    assert source_of(mixed, None, row) == "from 1 run of this store"
    assert source_of([], None, row) == "no run yet"
    weights = [{"label": "baseline", "seed": 0}, {"label": "hinge", "seed": 1}, {"label": "hinge", "seed": 1}]
    assert source_of_weights(weights) == "from the weights of baseline (seed 0); hinge (seed 1)"
