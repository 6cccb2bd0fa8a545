"""Images in few network evaluations: published one-step systems, and what ours reach."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..experiments import seen_by
from ..experiments.items import Cell
from ..experiments.looks import few_steps
from ..experiments.profiles import Profile
from ..experiments.published_systems import ONE_STEP, SOURCES
from ..experiments.store import Record
from ..sampling import SamplerConfig
from .by_system import METRICS, as_frame, changes, markdown, means, run_row, system_dot, systems_table
from .facts import floor_of, floor_sentence, plain
from .systems import SYSTEM_MARKERS, TERMS
from .theme import COLORS, floor_line, log_axis, new_figure, save

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


def one_step_figure(frame: pd.DataFrame, floor: float | None) -> Figure:
    """Left the published systems; right our distance against network evaluations.

    Args:
        frame: of ``few_steps_frame``.
        floor: distance of real images to real ones, if known.
    """
    figure, (published, ours) = new_figure(11, 4.6, columns=2)
    _published(published)
    for (system, term, nfe), mean in means(frame, "NFE").items():
        system_dot(ours, nfe * SIDE[term], mean, system, term)
    lines = {name: "--" if name == "MeanFlow" else "-" for name in SYSTEM_MARKERS}
    for (system, term), runs in frame.groupby(["system", "term"], sort=False):
        line = runs.groupby("NFE").fd.mean()
        ours.plot(line.index * SIDE[term], line, lines[system], color=COLORS[term], linewidth=1.4)
    for system in dict.fromkeys(frame.system):
        how = "its own steps" if system == "MeanFlow" else "Euler"
        marker = SYSTEM_MARKERS[system]
        ours.plot([], [], lines[system], marker=marker, color="grey", label=f"{system}, {how}")
    for term, name in TERMS.items():
        ours.plot([], [], color=COLORS[term], linewidth=2.5, label=name)
    floor_line(ours, floor, "real against real", right=False)
    ours.set(title="Ours", xlabel="network evaluations per image (NFE)", ylabel="Fréchet distance")
    if len(frame):
        log_axis(ours.yaxis)
        log_axis(ours.xaxis, sorted(set(frame.NFE)))
    ours.legend(loc="best")
    return figure


def _published(ax: Axes) -> None:
    """A diamond for each published system, its FID beside it; MeanFlow's in the colours of the terms."""
    for y, system in enumerate(ONE_STEP):
        ax.axhline(y, color="lightgrey", linewidth=1, zorder=1)
        ax.scatter(system.fid.value, y, marker="D", s=42, color="white", linewidth=1.8, zorder=3,
                   edgecolor=OWN.get(system.name, "black"))  # fmt: skip
        ax.annotate(f"{system.fid.value:.2f}", (system.fid.value, y), (8, 3), va="bottom", fontsize=10,
                    textcoords="offset points")  # fmt: skip
    names = [f"{s.name}\n{s.nfe} NFE" for s in ONE_STEP]
    ax.set_yticks(range(len(ONE_STEP)), names)
    ax.set_ylim(len(ONE_STEP) - 0.5, -0.5)
    ax.set_xlim(2, 60)
    log_axis(ax.xaxis, [2, 5, 10, 20, 50])
    ax.set(title="Published, ImageNet 256×256", xlabel="FID   (left is better)")


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
        "steps. Mean ± half the 95% interval over training seeds (Student's t); changes are means of log "
        "ratios within a seed, negative is better. The published systems other than MeanFlow aren't built "
        f"here, and FID and our distance can't be compared. {card}"
    )
    return "\n\n".join([markdown(columns, rows), systems_table(frame, "NFE"), text]) + "\n"


def draw_one_step(looked: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, Path]:
    """Write table and picture of few network evaluations into ``folder``; returns (table, picture).

    Args:
        looked, cells, row: see ``few_steps_frame``.
        folder: where ``one_step.md``, ``one_step.png`` and its sidecar go.
    """
    frame, floor = few_steps_frame(looked, cells, row), floor_of(row.protocol)
    protocol = few_steps(row, "sit")[0]
    card = (
        f"Size {row.size}, patch {row.patch}. The first row: {protocol.card()}; the others differ in solver "
        f"and steps alone.{floor_sentence(row.protocol)}"
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
        "values": plain(frame.to_dict(orient="records")),
        "published": {system.name: system.fid.value for system in ONE_STEP},
    }
    return table, save(one_step_figure(frame, floor), folder / "one_step", facts, stamp=row.stamp)
