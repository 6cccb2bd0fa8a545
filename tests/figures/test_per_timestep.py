"""Levels are grouped, paired by seed and judged by their intervals; what isn't measured is left out."""

import json
from pathlib import Path

import numpy as np
import pytest

from disperse.experiments import PROFILES, Cell, item
from disperse.experiments.store import Record, seal
from disperse.figures import COLORS, draw_per_timestep, read_sidecar
from disperse.figures.levels import level_frame, looked_at
from disperse.figures.per_timestep import conflict, per_timestep_figure, summarise

from .looked import looked

ROW = PROFILES["smoke"]


def cells(seeds: int = 2) -> list[Cell]:
    return item("pair", "smoke", tuple(range(seeds)))


def records(seeds: int = 2) -> list[Record]:
    """In the ℓ2 runs the loss is 10% above the baseline's at high noise only, where gradients conflict."""
    found = []
    for cell in cells(seeds):
        small = 0.01 * cell.spec.seed
        if not cell.spec.regularizers:
            found.append(looked(cell, ROW, unseen_loss=1 + small, rms=1 + small))
            continue
        found.append(
            looked(cell, ROW, unseen_loss=lambda s, small=small: (1 + small) * (1 + (0.1 + small) * (s > 0.7)),
                   rms=4 + small, gradient_ratio=10.0 ** -(1 + cell.spec.seed),
                   gradient_cosine=lambda s, small=small: (-0.5 if s > 0.7 else 0.3) + small)
        )  # fmt: skip
    return found


def levels_of(made: list[Record], seeds: int = 2) -> list[dict]:
    return summarise(level_frame(looked_at(made, cells(seeds), ROW)), "level")


def test_what_is_drawn_and_written_is_what_was_measured(tmp_path: Path) -> None:
    table, picture = draw_per_timestep(records(), cells(), ROW, tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")
    facts = read_sidecar(picture)
    assert [(run["label"], run["seed"]) for run in facts["runs"]] == [
        ("baseline", 0), ("infonce-l2", 0), ("baseline", 1), ("infonce-l2", 1)
    ]  # fmt: skip
    assert facts["protocol"]["against_training"] is True
    groups = {(entry["group"], entry["term"]): entry for entry in facts["groups"]}
    assert len(groups) == 6
    high, low = groups["high", "infonce-l2"], groups["low", "infonce-l2"]
    assert high["change"]["value"] == pytest.approx((np.log(1.1) + np.log(1.11)) / 2)
    assert low["change"]["value"] == pytest.approx(0)
    assert high["gradient_ratio"]["value"] == pytest.approx(10**-1.5)  # the geometric mean
    assert high["gradient_ratio"]["low"] > 0
    assert (high["verdict"], low["verdict"]) == ("conflict", "agreement")
    assert groups["low", "baseline"]["verdict"] == "can't tell"
    assert "change" not in groups["high", "baseline"]
    text = table.read_text()
    assert "**conflict** (0 for, 3 against, of 3 levels) | 2 |" in text
    assert "**agreement** (4 for, 0 against, of 4 levels) | 2 |" in text
    assert "| worse |" in text


def test_lines_are_those_of_the_levels() -> None:
    rms, _, _, loss, _, pull = per_timestep_figure(levels_of(records())).axes
    base, own = rms.lines
    assert base.get_color() == COLORS["baseline"]
    assert own.get_color() == COLORS["infonce-l2"]
    assert own.get_ydata() == pytest.approx([4.005] * 10)
    assert list(own.get_xdata()) == pytest.approx([0.05 + k / 10 for k in range(10)])
    assert loss.lines[0].get_ydata()[-1] == pytest.approx(100 * (np.sqrt(1.1 * 1.11) - 1))
    assert pull.lines[1].get_ydata() == pytest.approx([0.305] * 7 + [-0.495] * 3)
    assert [text.get_text() for text in rms.get_legend().get_texts()] == [
        "baseline, 2 seeds",
        "InfoNCE, ℓ2, 2 seeds",
    ]


def test_one_seed_has_no_interval_and_no_verdict(tmp_path: Path) -> None:
    table, picture = draw_per_timestep(records(1), cells(1), ROW, tmp_path)
    text, facts = table.read_text(), read_sidecar(picture)
    assert "±" not in text.split("\n\n")[0]
    assert "+10.00% (one seed)" in text
    assert "conflict**" not in text
    assert all(entry["verdict"] == "can't tell" for entry in facts["groups"])
    assert facts["levels"][0]["rms"]["low"] is None


def test_pairs_are_of_one_seed() -> None:
    """The baseline of seed 0 has no partner: it counts in its mean, not in the change."""
    made = [r for r in records() if (r["name"], r["seed"]) != ("infonce-l2", 0)]
    own = [entry for entry in levels_of(made) if entry["term"] == "infonce-l2"]
    base = [entry for entry in levels_of(made) if entry["term"] == "baseline"]
    assert {entry["change"].n for entry in own} == {1}
    assert {entry["unseen_loss"].n for entry in base} == {2}
    assert own[-1]["change"].value == pytest.approx(np.log(1.11))


@pytest.mark.parametrize("there", ["baseline", "infonce-l2", "nothing"])
def test_missing_runs_are_left_out(there: str, tmp_path: Path) -> None:
    made = [r for r in records() if r["name"] == there]
    table, picture = draw_per_timestep(made, cells(), ROW, tmp_path)
    facts = read_sidecar(picture)
    assert {entry["term"] for entry in facts["levels"]} == {there} - {"nothing"}
    assert not any("change" in entry for entry in facts["levels"])
    assert table.read_text().startswith("| noise |")


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    gone = {"unseen_loss": None, "gradient_ratio": None, "gradient_cosine": None}
    made = [looked(cell, ROW, **gone) for cell in cells()]
    table, picture = draw_per_timestep(made, cells(), ROW, tmp_path)
    json.dumps(read_sidecar(picture), allow_nan=False)
    assert "nan" not in table.read_text()
    *_, loss, ratio, pull = per_timestep_figure(levels_of(made)).axes
    for ax in (loss, ratio, pull):
        assert "not measured" in [text.get_text() for text in ax.texts]


def test_an_evaluation_under_another_protocol_is_not_shown() -> None:
    other = [seal(r | {"protocol": r["protocol"] | {"num_steps": 99}}) for r in records()]
    assert looked_at(other, cells(), ROW) == []


def test_a_cosine_without_interval_says_nothing() -> None:
    by = {(e["term"], e["level"]): e["gradient_cosine"] for e in levels_of(records())}
    assert conflict(by["infonce-l2", 0.95]) == "conflict"
    assert conflict(by["infonce-l2", 0.05]) == "agreement"
    assert conflict(by["baseline", 0.05]) == "can't tell"
    assert conflict(None) == ""
