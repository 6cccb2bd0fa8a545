"""Has the distance converged in the number of sampler steps, and has what the term changes?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate, log_ratio
from ..experiments.compare import mean_of
from ..experiments.profiles import Profile
from ..experiments.tables import markdown_table, percent_interval, with_interval
from ..sampling import SamplerConfig
from ..store import Record
from .changes import change_bar, in_percent, join, mark
from .facts import floor_of, floor_sentence, plain, save_results
from .seeds import PAIR, PAIR_NAMES, Mark, name_counts, pair_counts, paired_ratio, seeds_shown
from .theme import ACCENT, COLORS, COLUMN, floor_line, log_axis, new_figure

BASELINE, TERM = PAIR
# Colour says the term; the solver has a line and a mark.
SOLVERS = {"heun": ("-", "o"), "euler": ("--", "s")}
# Marks of one number of evaluations stand beside each other.
ASIDE = {"heun": 0.975, "euler": 1.025, BASELINE: 0.987, TERM: 1.013}
Grid = tuple[str, int]  # solver, velocity evaluations
NOT_YET = "InfoNCE ℓ2 isn't evaluated\non these grids yet"


def convergence_frame(pool: list[Record]) -> pd.DataFrame:
    """One row per evaluation: term, seed, solver, velocity evaluations (NFE), distance and its interval."""
    rows = [
        {
            "term": TERM if record["spec"].get("regularizers") else BASELINE,
            "seed": record["seed"],
            "solver": record["protocol"]["solver"],
            "nfe": SamplerConfig(record["protocol"]["solver"], record["protocol"]["num_steps"]).nfe,
            "fd": record["metrics"]["fd"]["value"],
            "fd_low": record["metrics"]["fd"]["low"],
            "fd_high": record["metrics"]["fd"]["high"],
        }
        for record in pool
    ]
    return pd.DataFrame(rows)


def finest_grid(frame: pd.DataFrame) -> Grid:
    """Heun's method with the most evaluations."""
    return "heun", int(frame.nfe.max())


def relative_to_finest(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with ``change``: the distance over that of the same run on the finest grid, minus 1."""
    solver, nfe = finest_grid(frame)
    finest = frame[(frame.solver == solver) & (frame.nfe == nfe)]
    fd = finest.set_index(["term", "seed"]).fd.to_dict()
    own = [fd.get(run, float("nan")) for run in zip(frame.term, frame.seed, strict=True)]
    return frame.assign(change=frame.fd / own - 1)


def distances(frame: pd.DataFrame) -> dict[str, dict[Grid, dict[int, float]]]:
    """Term → grid → training seed → distance; grids by solver, coarse to fine."""
    found: dict[str, dict[Grid, dict[int, float]]] = {term: {} for term in PAIR}
    for solver in SOLVERS:
        for nfe in sorted(set(frame[frame.solver == solver].nfe)):
            for term, runs in frame[(frame.solver == solver) & (frame.nfe == nfe)].groupby("term"):
                found[term][solver, int(nfe)] = runs.set_index("seed").fd.to_dict()
    return found


def ratios(frame: pd.DataFrame) -> dict[Grid, dict[int, float]]:
    """Grid → training seed → distance with the term over that without, of the seeds that have both."""
    fd = distances(frame)
    pairs = {
        grid: {seed: fd[TERM][grid][seed] / value for seed, value in base.items() if seed in fd[TERM][grid]}
        for grid, base in fd[BASELINE].items()
        if grid in fd[TERM]
    }
    return {grid: found for grid, found in pairs.items() if found}


def changes_by_term(frame: pd.DataFrame) -> dict[Grid, Estimate]:
    """Grid → paired mean over seeds of ``log(FD with the term / FD without)``."""
    return {grid: log_ratio(found, dict.fromkeys(found, 1.0)) for grid, found in ratios(frame).items()}


def drifts(frame: pd.DataFrame) -> dict[Grid, Estimate]:
    """Grid → how much that change is above the one of the finest grid: log ratio, paired by seed."""
    found = ratios(frame)
    finest = found.get(finest_grid(frame), {})
    return {grid: log_ratio(own, finest) for grid, own in found.items() if own.keys() & finest.keys()}


def convergence_figure(frame: pd.DataFrame, row: Profile) -> Figure:
    """Left the distance by velocity evaluations, right what the term changes; the profile's choice is marked.

    Args:
        frame: of ``convergence_frame``.
        row: the profile.
    """
    figure, (left, right) = new_figure(COLUMN, 4.6, columns=2)
    fd, changes = distances(frame), changes_by_term(frame)
    for term, by_grid in fd.items():
        _lines(left, {grid: mean_of("fd", own.values()) for grid, own in by_grid.items()}, term)
    for solver, (line, shape) in SOLVERS.items():
        own = {nfe: change for (how, nfe), change in changes.items() if how == solver}
        points = [(nfe * ASIDE[solver], in_percent(change).value) for nfe, change in own.items()]
        join(right, points, color=COLORS[TERM], linestyle=line, linewidth=1.4)
        for nfe, change in own.items():
            change_bar(right, nfe * ASIDE[solver], change, COLORS[TERM], shape=shape)
    floor_line(left, floor_of(row.protocol), "real against real", right=False)
    log_axis(left.yaxis)
    left.set(title="Distance", ylabel="Fréchet distance")
    right.set(title="Change by the term", ylabel="change against the baseline, %")
    if changes:
        right.axhline(0, color=COLORS[BASELINE], linewidth=1)
    else:
        right.annotate(NOT_YET, (0.5, 0.5), xycoords="axes fraction", ha="center", color="dimgrey",
                       fontsize=11, bbox={"facecolor": "white", "edgecolor": "none"})  # fmt: skip
        right.set(yticks=[], ylabel="")
    for term, by_grid in fd.items():
        if by_grid:
            left.plot([], [], color=COLORS[term], linewidth=5, label=PAIR_NAMES[term])
    for solver, (line, shape) in SOLVERS.items():
        left.plot([], [], line, marker=shape, color="black", label=solver.capitalize())
    marks = [(nfe, PAIR_NAMES[term], len(own)) for term, by in fd.items() for (_, nfe), own in by.items()]
    changed = [(nfe, solver.capitalize(), change.n) for (solver, nfe), change in changes.items()]
    seeds = {n for _, _, n in marks + changed}
    for ax, own_marks in ((left, marks), (right, changed)):
        _evaluations_axis(ax, frame, row, own_marks, seeds)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), columnspacing=1.2,
                  title=seeds_shown(seeds), title_fontsize=10)  # fmt: skip
    return figure


def _lines(ax: Axes, means: dict[Grid, Estimate], term: str) -> None:
    """A line for each solver through the means of one term."""
    for solver, (line, shape) in SOLVERS.items():
        own = {nfe: mean for (how, nfe), mean in means.items() if how == solver}
        aside = ASIDE[solver] * ASIDE[term]
        points = [(nfe * aside, mean.value) for nfe, mean in own.items()]
        join(ax, points, color=COLORS[term], linestyle=line, linewidth=1.4)
        for nfe, mean in own.items():
            mark(ax, nfe * aside, mean, COLORS[term], shape=shape)


def _evaluations_axis(
    ax: Axes, frame: pd.DataFrame, row: Profile, marks: Sequence[Mark], seeds: set[int]
) -> None:
    chosen, grids = row.protocol.sampler.nfe, sorted(set(frame.nfe))
    assert chosen is not None  # an ODE's solver
    ax.axvline(chosen, color=ACCENT, linestyle=":", linewidth=1.4, zorder=1, label="the profile's choice")
    ax.set_xlabel("velocity evaluations per image (NFE)")
    ax.set_xlim(0.85 * min(grids), 1.2 * max(grids))
    log_axis(ax.xaxis, grids)
    name_counts(ax, {nfe: str(nfe) for nfe in grids}, marks, among=seeds)


def convergence_markdown(frame: pd.DataFrame, row: Profile) -> str:
    """Every grid: distances, how far from the finest, the term's change, and how far that still moves."""
    fd, changes, moved = distances(frame), changes_by_term(frame), drifts(frame)
    finest = finest_grid(frame)
    columns = ("solver", "NFE", "baseline FD", "over the finest grid's", "ℓ2 FD", "over the finest grid's",
               "change by the term (paired, 95%)", "that change over the finest grid's",
               "seeds")  # fmt: skip
    rows = []
    for solver, nfe in dict.fromkeys(grid for by_grid in fd.values() for grid in by_grid):
        grid = (solver, nfe)
        cells = [solver.capitalize(), f"**{nfe}**" if _chosen(grid, row) else str(nfe)]
        for by_grid in fd.values():
            own, end = by_grid.get(grid, {}), by_grid.get(finest, {})
            cells.append(with_interval(mean_of("fd", own.values())) if own else "not evaluated")
            cells.append(percent_interval(paired_ratio(own, end), seeds=len(own)))
        pairs = changes[grid].n if grid in changes else None
        cells += [percent_interval(changes.get(grid)), percent_interval(moved.get(grid), seeds=pairs)]
        rows.append([*cells, _seeds(fd, grid)])
    chosen = next((moved[grid] for grid in moved if _chosen(grid, row)), None)
    by = percent_interval(chosen, seeds=0)
    said = f"At the profile's choice (bold) by {by}. " if by else ""
    missing = (
        "" if changes else f"{' '.join(NOT_YET.split())}: whether its change has converged isn't known. "
    )
    lines = [
        markdown_table(columns, rows),
        "",
        "Same weights and starting noise on every grid; NFE: velocity evaluations per image, one a step of "
        "Euler's method and two of Heun's. Mean ± half the 95% interval over training seeds (Student's t); "
        "ratios are means of log ratios within a seed. The last but one column is the question: tables "
        "compare models, so what must have converged is the change by the term, and that column says how far "
        "each grid is off. " + said + missing
        + f"{row.protocol.model_copy(update={'guided_samples': 0}).card()}; solver and steps as in the table."
        + floor_sentence(row.protocol),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _chosen(grid: Grid, row: Profile) -> bool:
    return grid == (row.protocol.solver, row.protocol.sampler.nfe)


def _seeds(fd: dict[str, dict[Grid, dict[int, float]]], grid: Grid) -> str:
    """How many of the baseline, of the run with the term, and of both."""
    base, own = (set(by_grid.get(grid, {})) for by_grid in fd.values())
    return pair_counts(len(base), len(own), len(base & own))


def draw_convergence(pool: list[Record], row: Profile, folder: Path) -> Path:
    """Write picture, sidecar and table ``sampler`` into ``folder``; returns the picture.

    Args:
        pool: evaluations of the look "sampler"; as far as they are there.
        row: the profile.
        folder: where to.
    """
    frame = relative_to_finest(convergence_frame(pool))
    atomic.write_text(folder / "sampler.md", convergence_markdown(frame, row))
    runs: dict[str, dict[str, Any]] = {}
    for record in pool:
        entry = runs.setdefault(record["fingerprint"], {"label": record["name"], "seed": record["seed"],
                                "fingerprint": record["fingerprint"], "commits": set()})  # fmt: skip
        entry["commits"] = sorted({*entry["commits"], record["commit"]})
    fd = distances(frame)
    finest = finest_grid(frame)
    facts = {
        "item": "sampler",
        # Of each value, solver and number of steps are its own.
        "protocol": row.protocol.model_dump(mode="json") | {"guided_samples": 0},
        "noise_floor": floor_of(row.protocol),
        # Log ratios; an interval takes two seeds.
        "over_finest": [
            {"term": term, "solver": solver, "nfe": nfe,
             "change": plain(log_ratio(own, by_grid[finest]))}
            for term, by_grid in fd.items()
            for (solver, nfe), own in by_grid.items()
            if own.keys() & by_grid.get(finest, {}).keys()
        ],
        "changes_by_term": [
            {"solver": solver, "nfe": nfe, **plain(each)}
            for (solver, nfe), each in changes_by_term(frame).items()
        ],
        "drifts": [
            {"solver": solver, "nfe": nfe, **plain(each)} for (solver, nfe), each in drifts(frame).items()
        ],
        "values": plain(frame.to_dict(orient="records")),
        "runs": list(runs.values()),
    }  # fmt: skip
    return save_results(convergence_figure(frame, row), folder / "sampler", facts, pool, None, row)
