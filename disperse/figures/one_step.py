"""Images in few network evaluations: published one-step systems, and what ours reach."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate
from ..experiments import seen_by
from ..experiments.items import Cell
from ..experiments.looks import few_steps
from ..experiments.profiles import Profile
from ..experiments.published_systems import ONE_STEP, SOURCES
from ..experiments.tables import OR_BOUNDS, markdown_table, percent_interval
from ..sampling import SamplerConfig
from ..store import Record
from .by_system import (
    METRICS,
    as_frame,
    changes,
    means,
    run_row,
    shift,
    system_dot,
    systems_table,
)
from .changes import join, paper_diamond
from .facts import floor_of, floor_sentence, plain, save_results
from .seeds import PAIR_NAMES, name_counts, seeds_shown
from .systems import SYSTEM_MARKERS
from .theme import COLORS, COLUMN, floor_line, log_axis, new_figure, say_not_measured

JUMP = "MeanFlow"  # learns to go all the way in one step
SIDE = {"baseline": 0.97, "infonce-l2": 1.03}  # dots of one NFE stand beside each other
OWN = {"MeanFlow-XL/2": COLORS["baseline"], "MeanFlow-XL/2 + Disp": COLORS["infonce-l2"]}


def few_steps_frame(looked: list[Record], cells: list[Cell], row: Profile) -> pd.DataFrame:
    """One row per run and number of steps, as far as they are evaluated.

    Args:
        looked: evaluations of the look "one_step".
        cells: runs.
        row: the profile.
    """
    rows = []
    for cell in cells:
        for record in seen_by("one_step", looked, cell, row):
            sampler = SamplerConfig(record["protocol"]["solver"], record["protocol"]["num_steps"])
            rows.append(run_row(cell, record, NFE=sampler.nfe))
    return as_frame(rows, "NFE")


def shifts(frame: pd.DataFrame) -> dict[tuple[int, int], Estimate]:
    """(1, n) steps of MeanFlow → how far the term's log ratio in one step is above that in n, by seed."""
    every = sorted(set(frame[frame.system == JUMP].NFE))
    found = {(1, n): shift(frame, "NFE", JUMP, 1, n) for n in every if n > 1}
    return {steps: each for steps, each in found.items() if each}


def one_step_figure(frame: pd.DataFrame, floor: float | None) -> Figure:
    """Left the published systems; right our distance against network evaluations.

    Args:
        frame: of ``few_steps_frame``.
        floor: distance of real images to real ones, if known.
    """
    figure, (published, ours) = new_figure(COLUMN, 4.8, columns=2)
    published.get_gridspec().set_width_ratios([2, 3])
    _published(published)
    found = means(frame, "NFE")
    lines = {name: "--" if name == JUMP else "-" for name in SYSTEM_MARKERS}
    counts = {mean.n for mean in found.values()}
    for system, term in dict.fromkeys((system, term) for system, term, _ in found):
        own = sorted((nfe, mean) for (s, t, nfe), mean in found.items() if (s, t) == (system, term))
        points = [(nfe * SIDE[term], mean.value) for nfe, mean in own]
        join(ours, points, color=COLORS[term], linestyle=lines[system], linewidth=1.4)
        for nfe, mean in own:
            system_dot(ours, nfe * SIDE[term], mean, system, term)
    for system in dict.fromkeys(frame.system):
        how = "its own steps" if system == JUMP else "Euler"
        ours.plot(
            [], [], lines[system], marker=SYSTEM_MARKERS[system], color="black", label=f"{system}, {how}"
        )
    for term, name in PAIR_NAMES.items():
        if term in set(frame.term):
            ours.plot([], [], color=COLORS[term], linewidth=5, label=name)
    floor_line(ours, floor, "real against real", right=False)
    title = f"Ours, {seeds_shown(counts)}" if counts else "Ours"
    ours.set(title=title, xlabel="network evaluations per image (NFE)", ylabel="Fréchet distance")
    if len(frame):
        log_axis(ours.yaxis)
        log_axis(ours.xaxis, sorted(set(frame.NFE)))
        marks = [(nfe, system, mean.n) for (system, _, nfe), mean in found.items()]
        name_counts(ours, {nfe: str(nfe) for nfe in sorted(set(frame.NFE))}, marks)
        ours.legend(loc="best")
    else:
        say_not_measured(ours)
    return figure


def _published(ax: Axes) -> None:
    """A diamond for each published system, its FID beside it; MeanFlow's in the colours of the terms."""
    for y, system in enumerate(ONE_STEP):
        ax.axhline(y, color="lightgrey", linewidth=1, zorder=1)
        paper_diamond(ax, system.fid.value, y, color=OWN.get(system.name, "black"))
        ax.annotate(f"{system.fid.value:.2f}", (system.fid.value, y), (8, 3), va="bottom", fontsize=10,
                    textcoords="offset points")  # fmt: skip
    names = [s.name.replace(" + ", "\n+ ") + f"\n{s.nfe} NFE" for s in ONE_STEP]
    ax.set_yticks(range(len(ONE_STEP)), names)
    ax.set_ylim(len(ONE_STEP) - 0.5, -0.5)
    ax.set_xlim(2, 60)
    log_axis(ax.xaxis, [2, 5, 10, 20, 50])
    ax.set(title="Published, ImageNet", xlabel="FID   (left is better)")


def one_step_markdown(frame: pd.DataFrame, card: str) -> str:
    """The published systems; below ours, with the change by the term at each number of evaluations."""
    columns = ["published, ImageNet 256×256", "parameters", "steps", "NFE", "FID", "source"]
    rows = [
        [s.name, f"{s.parameters}M", str(s.steps), str(s.nfe), f"{s.fid.value:.2f}", f"[{s.fid.source}]"]
        for s in ONE_STEP
    ]
    marks = ", ".join(sorted({f"[{s.fid.source}]: {SOURCES[s.fid.source]}" for s in ONE_STEP}))
    text = (
        f"{marks}. NFE: network evaluations; of ours one a step, SiT by Euler's method, MeanFlow by its own "
        f"steps. Mean ± half the 95% interval over training seeds (Student's t){OR_BOUNDS}; changes are "
        "means of log ratios within a seed, negative is better. The third table: the ratio of distances, "
        "with the term over without, in one step over the same in several, within a seed; below zero, the "
        "term gains more (or costs less) in one step; each comparison alone, uncorrected. The published "
        f"systems other than MeanFlow aren't built here, and FID and our distance can't be compared. {card}"
    )
    tables = [markdown_table(columns, rows), systems_table(frame, "NFE"), *_shifts_table(frame)]
    return "\n\n".join([*tables, text]) + "\n"


def _shifts_table(frame: pd.DataFrame) -> list[str]:
    """Whether the term changes more in one step of MeanFlow than in several; empty where no seed has both."""
    columns = [f"change by the term, {JUMP}", "over that change in", "(paired, 95%)", "differs?", "seeds"]
    rows = [
        [
            "1 step",
            f"{several} steps",
            percent_interval(each),
            "yes" if each.low > 0 or each.high < 0 else "can't tell",
            str(each.n),
        ]
        for (_, several), each in shifts(frame).items()
    ]
    return [markdown_table(columns, rows)] if rows else []


def draw_one_step(looked: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, Path]:
    """Write table and picture of few network evaluations into ``folder``; returns (table, picture).

    Args:
        looked, cells, row: see ``few_steps_frame``.
        folder: where ``one_step.md``, ``one_step.png`` and its sidecar go.
    """
    frame, floor = few_steps_frame(looked, cells, row), floor_of(row.protocol)
    protocol = few_steps(row, "sit")[0]
    card = (
        f"Size {row.longer[0]}, patch {row.patch}. The first row: {protocol.card()}; the others differ in "
        f"solver and steps alone.{floor_sentence(row.protocol)}"
    )
    table = folder / "one_step.md"
    atomic.write_text(table, one_step_markdown(frame, card))
    facts = {
        "item": "one_step",
        "protocol": protocol.model_dump(mode="json"),  # of each value, solver and number of steps are its own
        "noise_floor": floor,
        "means": [
            {"system": s, "term": t, "nfe": n, "metric": name, **plain(e)}
            for name in METRICS
            for (s, t, n), e in means(frame, "NFE", name).items()
        ],
        "changes": [{"system": s, "nfe": n, **plain(e)} for (s, n), e in changes(frame, "NFE").items()],
        "shifts": [
            {"system": JUMP, "nfe": one, "against": several, **plain(each)}
            for (one, several), each in shifts(frame).items()
        ],
        "values": plain(frame.to_dict(orient="records")),
        "published": {system.name: system.fid.value for system in ONE_STEP},
    }
    return table, save_results(one_step_figure(frame, floor), folder / "one_step", facts, looked, cells, row)
