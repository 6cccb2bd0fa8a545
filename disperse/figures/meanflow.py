"""MeanFlow in one step: the paper's four rows with and without the term, and two controls without it."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate
from ..experiments import compare, paper, tables
from ..experiments.claims import judge
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.statements import meanflow_claims
from ..store import Record
from .changes import (
    claim_facts,
    in_percent,
    mark,
    missing,
    name_diamonds,
    not_trained,
    paper_diamond,
    unguided,
)
from .facts import floor_of, floor_sentence, plain, run_facts, save_results
from .seeds import name_counts, paired_ratio, seeds_shown
from .theme import ACCENT, COLORS, COLUMN, log_axis, new_figure

CONTROLS = ("meanflow-long", "meanflow-lr-half")
BASELINE, TERM = "meanflow-patch2-baseline", "meanflow-patch2-infonce-l2"  # what the controls stand beside
# Where the rows stand from top to bottom, and what they are called.
PLACES = {name: float(place) for place, name in enumerate(paper.MEANFLOW_FID)}
PLACES |= {label: len(PLACES) + 0.6 + place for place, label in enumerate(CONTROLS)}
NAMES = {
    "patch4": "patch 4",
    "patch2": "patch 2",
    "patch2-longer": "patch 2, longer",
    "larger": "larger",
    "meanflow-long": "patch 2,\ntokens × 4",
    "meanflow-lr-half": "patch 2,\nlearning rate ÷ 2",
}
# Colour, mark and name; the controls are no baselines of their rows, and have no term.
KINDS = {
    "baseline": (COLORS["baseline"], "s", paper.NAMES["baseline"]),
    "infonce-l2": (COLORS["infonce-l2"], "o", paper.NAMES["infonce-l2"]),
    "control": (COLORS["baseline-long"], "s", "controls, without the term"),
}
# Label of a run → its row, and what it is.
LINES = {f"meanflow-{name}-{kind}": (name, kind) for name in paper.MEANFLOW_FID for kind in KINDS}
LINES |= {label: (label, "control") for label in CONTROLS}
PAPER = {
    f"meanflow-{name}-infonce-l2": paper.relative_change(fid.value, base.value)
    for name, (_, _, base, fid) in paper.MEANFLOW_FID.items()
}


ASIDE = {"baseline": -0.15, "infonce-l2": 0.15}  # of a row's place


def meanflow_figure(rows: list[compare.Row], floor: float | None = None) -> Figure:
    """Left the distance of each row in one step, right its paired change; the controls set apart below.

    Args:
        rows: of ``compare``.
        floor: noise floor of the distance.
    """
    figure, (left, right) = new_figure(COLUMN, 5.6, columns=2)
    by_label = {entry.label: entry for entry in rows}
    for name in paper.MEANFLOW_FID:
        for term, aside in ASIDE.items():
            _mark(left, PLACES[name] + aside, _distance(by_label.get(f"meanflow-{name}-{term}")), term)
        own = by_label.get(f"meanflow-{name}-infonce-l2")
        _mark(right, PLACES[name], _change(own), "infonce-l2")
        paper_diamond(right, 100 * PAPER[f"meanflow-{name}-infonce-l2"], PLACES[name] - 0.3)
        if not own and f"meanflow-{name}-baseline" not in by_label:
            not_trained(left, PLACES[name], across=True)
    for label in CONTROLS:
        _mark(left, PLACES[label], _distance(by_label.get(label)), "control")
        _mark(right, PLACES[label], _change(by_label.get(label)), "control")
        if label not in by_label:
            not_trained(left, PLACES[label], across=True)
    if any(label in by_label for label in CONTROLS):
        _reference_lines(left, right, by_label)
    if floor is not None:
        left.axvline(floor, color=ACCENT, linestyle="--", linewidth=1, zorder=1)
        left.annotate("real against real", (floor, 1), (4, -3), color=ACCENT, fontsize=10, rotation=90,
                      va="top", xycoords=left.get_xaxis_transform(), textcoords="offset points")  # fmt: skip
    seeds = _rows_axis(left, right, rows)
    if rows:
        log_axis(left.xaxis)
        _arrows(left, by_label)
    _legend(figure, by_label, seeds)
    return figure


def _distance(entry: compare.Row | None) -> Estimate | None:
    return entry.metrics["fd"] if entry else None


def _change(entry: compare.Row | None) -> Estimate | None:
    return in_percent(entry.change) if entry and entry.change else None


def _mark(ax: Axes, y: float, mean: Estimate | None, kind: str) -> None:
    """A mean in its line, as far as it is there."""
    if mean:
        mark(ax, y, mean, KINDS[kind][0], shape=KINDS[kind][1], across=True)


def _arrows(left: Axes, by_label: dict[str, compare.Row]) -> None:
    """Where an interval goes on beyond the axis: a mean's may begin below zero, which a logarithm hasn't."""
    edge, end = left.get_xlim()
    for name in paper.MEANFLOW_FID:
        for term, aside in ASIDE.items():
            mean = _distance(by_label.get(f"meanflow-{name}-{term}"))
            if mean and mean.low < edge:
                left.plot(edge, PLACES[name] + aside, "<", color=KINDS[term][0], markersize=7, clip_on=False)
    left.set_xlim(edge, end)


def _reference_lines(left: Axes, right: Axes, by_label: dict[str, compare.Row]) -> None:
    """Beside the controls, dotted: what the same network reaches without and with the term."""
    top, bottom = len(paper.MEANFLOW_FID) - 0.3, max(PLACES.values()) + 0.5
    for label, term in ((BASELINE, "baseline"), (TERM, "infonce-l2")):
        for ax, mean in ((left, _distance(by_label.get(label))), (right, _change(by_label.get(label)))):
            if mean:
                ax.vlines(mean.value, top, bottom, color=COLORS[term], linestyle=":", zorder=1)


def _rows_axis(left: Axes, right: Axes, rows: list[compare.Row]) -> set[int]:
    """Names of the rows, and at either panel the seeds of its marks; returns all numbers of seeds."""
    for ax in (left, right):
        ax.set_ylim(max(PLACES.values()) + 0.6, -0.7)
        ax.axhline(len(paper.MEANFLOW_FID) - 0.2, color="black", linewidth=0.6)
    placed = [(PLACES[name], KINDS[kind][2], entry) for entry in rows for name, kind in [LINES[entry.label]]]
    marks = [(place, series, len(entry.seeds)) for place, series, entry in placed]
    changed = [(place, series, entry.change.n) for place, series, entry in placed if entry.change]
    seeds = {n for _, _, n in marks + changed}
    names = {PLACES[name]: text for name, text in NAMES.items()}
    name_counts(left, names, marks, among=seeds, across=True)
    name_counts(right, dict.fromkeys(names, ""), changed, among=seeds, across=True)
    right.axvline(0, color=COLORS["baseline"], linewidth=1)
    left.set(xlabel="Fréchet distance, one step", title="Distance")
    right.set(xlabel="change against the baseline, %\n(left is better)", title="Change")
    return seeds


def _legend(figure: Figure, by_label: dict[str, compare.Row], counts: set[int]) -> None:
    """Of what is drawn."""
    ax = figure.axes[0]
    kinds = {"control" if label in CONTROLS else label.rpartition("-")[2] for label in by_label}
    for kind, (color, shape, name) in KINDS.items():
        if kind in kinds or kind.rpartition("-")[2] in kinds:
            ax.scatter([], [], marker=shape, s=49, color=color, label=name)
    name_diamonds(ax, "paper (FID, ImageNet)")
    handles, names = ax.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), columnspacing=1.2,
                  handletextpad=0.4, title=seeds_shown(counts), title_fontsize=10)  # fmt: skip


def against_controls(pool: list[Record], cells: list[Cell], row: Profile) -> dict[str, Estimate]:
    """Control → paired log ratio of the distance with the term to the control's; < 0: the term is better."""
    fd = compare.distances(pool, cells, row)
    own = fd.get(TERM, {})
    found = {label: paired_ratio(own, fd.get(label, {})) for label in CONTROLS}
    return {label: each for label, each in found.items() if each}


def controls_markdown(rows: list[compare.Row], against: dict[str, Estimate]) -> str:
    """The controls: what they change by themselves, and whether the term does more."""
    columns = ("control, without the term", "Δ against the baseline (paired, 95%)", "verdict",
               "the term against it", "verdict", "seeds")  # fmt: skip
    cells = []
    for entry in rows:
        if entry.label in CONTROLS:
            beside, name = against.get(entry.label), paper.name_of(entry.label)
            count = len(entry.seeds)
            cells.append([
                name, tables.percent_interval(entry.change, seeds=count), entry.verdict,
                tables.percent_interval(beside, seeds=count), compare.verdict(beside) if beside else "",
                count,
            ])  # fmt: skip
    return (tables.markdown_table(columns, cells) if cells else "The controls aren't there yet.") + "\n"


def features(pool: list[Record], cells: list[Cell], row: Profile) -> dict[str, dict[str, Estimate]]:
    """Label → measures of the regularised block of finished runs, means over seeds.

    ``rms``, ``effective_rank`` and ``update_ratio`` at the end; ``gradient_ratio``, where there is a term, at
    the first milestone, when it still pulls.
    """
    frame = pd.DataFrame(compare.curves(pool, cells, row))
    found: dict[str, dict[str, Estimate]] = {}
    for label, num_steps in {cell.label: cell.spec.num_steps for cell in cells}.items():
        runs = frame[frame.label == label] if len(frame) else frame
        if not len(runs) or num_steps not in set(runs.step):
            continue
        end, first = runs[runs.step == num_steps], runs[runs.step == runs.step.min()]
        values = {name: end[name] for name in ("rms", "effective_rank", "update_ratio")}
        values["gradient_ratio"] = first.gradient_ratio.dropna()
        found[label] = {name: compare.mean_of(name, v) for name, v in values.items() if len(v)}
    return found


def features_markdown(measured: dict[str, dict[str, Estimate]], split: str) -> str:
    """Length, rank and how much later blocks add, of every run; and how hard the term pulls early."""
    columns = ("run", "feature rms", "effective rank", "later blocks add", "gradient ratio, early", "seeds")
    rows = []
    digits = {"rms": 2, "effective_rank": 1, "update_ratio": 2, "gradient_ratio": 4}
    for label, means in measured.items():
        count = means["rms"].n  # early evaluations may be of more seeds
        cells = [
            tables.with_interval(means[key], places, seeds=count) if key in means else ""
            for key, places in digits.items()
        ]
        rows.append([paper.name_of(label), *cells, count])
    lines = [
        tables.markdown_table(columns, rows),
        "",
        f"At a quarter of the depth, {split} images at noise level 0.5, at the end. Later blocks add: length "
        "of what a later block adds to the stream over the stream's length there. Gradient ratio: "
        "‖∂(λ L_disp)/∂z‖ / ‖∂L_diff/∂z‖ at the first milestone.",
    ]
    return "\n".join(lines) + "\n"


def draw_meanflow(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, Path]:
    """Draw the paper's rows of MeanFlow and the controls into ``folder``; returns (table, picture)."""
    rows = unguided(compare.compare(pool, cells, row), cells, row)
    against = against_controls(pool, cells, row)
    judgements, measured = judge(meanflow_claims(pool, cells, row)), features(pool, cells, row)
    protocol = row.protocol_of("meanflow")
    floor = floor_of(protocol)
    lengths = {cell.label: f"{cell.spec.model}, {cell.spec.num_steps} steps" for cell in cells}
    names = {entry.label: f"{paper.name_of(entry.label)} ({lengths[entry.label]})" for entry in rows}
    theirs = "; ".join(
        f"{NAMES[name]}: {model}, {epochs} epochs, {base.value:g} → {fid.value:g}"
        for name, (model, epochs, base, fid) in paper.MEANFLOW_FID.items()
    )
    card = (
        f"{protocol.card()}.{floor_sentence(protocol)} Paper (FID in one step, ImageNet 256×256): {theirs}."
    )
    gone = missing(rows, cells)
    card += f" Not trained yet: {'; '.join(gone)}." if gone else ""
    own = [entry for entry in rows if entry.label not in CONTROLS]
    parts = (
        tables.claims_markdown(judgements),
        tables.comparison_markdown(own, card, names=names, published=PAPER),
        controls_markdown(rows, against),
        features_markdown(measured, protocol.split),
    )
    table = folder / "meanflow.md"
    atomic.write_text(table, "\n".join(parts))
    facts: dict[str, Any] = {
        "item": "meanflow",
        "protocol": protocol.model_dump(mode="json"),
        "noise_floor": floor,
        "rows": compare.as_json(rows),
        "claims": claim_facts(judgements),
        "paper": PAPER,
        "against_controls": plain(against),
        "features": plain(measured),
        "runs": run_facts(pool, cells, row),
    }
    return table, save_results(meanflow_figure(rows, floor), folder / "meanflow", facts, pool, cells, row)
