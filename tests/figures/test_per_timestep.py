"""Levels are grouped, paired by seed and judged by their intervals; what isn't measured is left out."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from disperse.experiments import PROFILES, Cell, item
from disperse.figures import COLORS, draw_per_timestep, read_sidecar
from disperse.figures.levels import level_frame, looked_at
from disperse.figures.per_timestep import conflict, per_timestep_figure, summarise, weights_of
from disperse.store import Record, seal

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
    assert "| worse | 32.1 ± 1.3% | +2.1 [+0.9, +3.4] | 2 |" in text


def test_lines_are_those_of_the_levels() -> None:
    figure = per_timestep_figure(levels_of(records()), ROW)
    rms, _, _, share, loss, _, pull = figure.axes
    base, own = rms.lines
    assert base.get_color() == COLORS["baseline"]
    assert own.get_color() == COLORS["infonce-l2"]
    assert own.get_ydata() == pytest.approx([4.005] * 10)
    assert list(own.get_xdata()) == pytest.approx([0.05 + k / 10 for k in range(10)])
    assert loss.lines[0].get_ydata()[-1] == pytest.approx(100 * (np.sqrt(1.1 * 1.11) - 1))
    assert pull.lines[1].get_ydata() == pytest.approx([0.305] * 7 + [-0.495] * 3)
    assert share.lines[0].get_ydata() == pytest.approx(
        [10] * 10
    )  # percent; the baseline loses alike everywhere
    assert sum(share.lines[1].get_ydata()) == pytest.approx(100)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["baseline, 2 seeds", "InfoNCE, ℓ2, 2 seeds"]
    assert f"averaged weights (EMA {ROW.weights})" in legend.get_title().get_text()


def test_an_interval_that_a_cosines_range_cuts_is_written_as_it_is(tmp_path: Path) -> None:
    """As the sidecar has it: 0.75 ± 3.2 would go on beyond 1."""
    made = [looked(cell, ROW, gradient_cosine=0.5 + 0.5 * cell.spec.seed) for cell in cells()]
    table, picture = draw_per_timestep(made, cells(), ROW, tmp_path)
    (entry, *_) = read_sidecar(picture)["groups"]
    cosine = entry["gradient_cosine"]
    assert (cosine["low"], cosine["high"]) == (-1, 1)
    assert "| 0.75 [-1.00, 1.00] |" in table.read_text()


def test_shares_add_up_within_a_run() -> None:
    frame = level_frame(looked_at(records(), cells(), ROW))
    assert frame.groupby(["term", "seed"]).share.sum().tolist() == pytest.approx([1] * 4)
    groups = {(e["group"], e["term"]): e for e in summarise(frame, "group")}
    assert [groups[g, "baseline"]["share"].value for g in ("low", "middle", "high")] == pytest.approx(
        [0.3, 0.4, 0.3]
    )
    high = groups["high", "infonce-l2"]
    own = [3.3 / 10.3, 3.33 / 10.33]  # ten levels of 1, three of them 10% and 11% larger
    assert high["share"].value == pytest.approx(np.mean(own))
    assert high["share_difference"].value == pytest.approx(np.mean(own) - 0.3)
    assert high["share_difference"].n == 2
    assert "share_difference" not in groups["high", "baseline"]


def test_a_run_that_lacks_a_level_has_no_shares() -> None:
    made = [looked(cell, ROW, unseen_loss=lambda s: None if s > 0.9 else 1.0) for cell in cells()]
    assert all(entry["share"] is None for entry in levels_of(made))


def test_the_weights_are_named(tmp_path: Path) -> None:
    table, picture = draw_per_timestep(records(), cells(), ROW, tmp_path)
    assert f"gradients at the averaged weights (EMA {ROW.weights})" in table.read_text()
    assert read_sidecar(picture)["weights"] == ROW.weights
    raw = dataclasses.replace(ROW, weights="raw")
    assert weights_of(raw) == "the weights that training ended with"


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
    *_, share, loss, ratio, pull = per_timestep_figure(levels_of(made), ROW).axes
    for ax in (share, loss, ratio, pull):
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
