"""Systems without and with guidance: what the term is worth in either, and what guidance does itself."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate, log_ratio
from ..experiments import seen_by
from ..experiments.compare import finals, verdict
from ..experiments.items import Cell
from ..experiments.looks import GUIDANCE, guided
from ..experiments.profiles import Profile
from ..experiments.published_systems import SOURCES, SYSTEMS, system_change
from ..experiments.tables import OR_BOUNDS, markdown_table, percent_interval
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
from .changes import (
    change_bar,
    name_diamonds,
    paper_diamond,
)
from .facts import floor_of, floor_sentence, plain, save_results
from .seeds import PAIR, PAIR_NAMES, Mark, by_seed, name_counts, seeds_shown
from .systems import SYSTEM_MARKERS, SYSTEM_NAMES
from .theme import COLORS, COLUMN, floor_line, log_axis, new_figure, say_not_measured

NONE = 1.0  # guidance that does nothing
# The paper's rows that one of ours can stand beside, by our system and guidance; and the one without.
BESIDE = {("SiT", NONE): "80-disp", ("SiT", GUIDANCE): "guided-disp"}
ALONE = {"system-disp": "paper,\nsystem level"}


@dataclass(frozen=True)
class Effects:
    """Paired over training seeds; keys name the system.

    Attributes:
        term: (system, guidance) → log ratio of distances, with the term over without.
        guidance: (system, term) → log ratio of distances, guided over not.
        shift: system → how much ``term`` grows under guidance; above zero, guidance takes from the gain.
    """

    term: dict[tuple[str, float], Estimate]
    guidance: dict[tuple[str, str], Estimate]
    shift: dict[str, Estimate]


def guided_frame(pool: list[Record], looked: list[Record], cells: list[Cell], row: Profile) -> pd.DataFrame:
    """One row per run and guidance, of the runs that are evaluated at their end both ways.

    Args:
        pool: evaluations by the profile's protocol.
        looked: those of the look "systems".
        cells: runs.
        row: the profile.
    """
    unguided, rows = finals(pool, cells, row), []
    for cell in cells:
        own = unguided.get(cell.label, {}).get(cell.spec.seed)
        under = seen_by("systems", looked, cell, row)
        if own and under:
            rows += [run_row(cell, record, guidance=g) for g, record in ((NONE, own), (GUIDANCE, under[0]))]
    return as_frame(rows, "guidance")


def effects(frame: pd.DataFrame) -> Effects:
    """What the term does at each guidance, what guidance does to each, and whether one changes the other."""
    fd = by_seed(frame, ["system", "term", "guidance"], "fd")
    found = Effects(changes(frame, "guidance"), {}, {})
    for system, term in dict.fromkeys((system, term) for system, term, _ in fd):
        found.guidance[system, term] = log_ratio(fd[system, term, GUIDANCE], fd[system, term, NONE])
    for system in dict.fromkeys(system for system, _ in found.term):
        own = shift(frame, "guidance", system, GUIDANCE, NONE)
        if own:
            found.shift[system] = own
    return found


def guided_figure(frame: pd.DataFrame, found: Effects, floor: float | None) -> Figure:
    """Distances and changes above; below precision against recall, and class agreement.

    Args:
        frame: of ``guided_frame``.
        found: its ``effects``.
        floor: distance of real images to real ones, if known.
    """
    figure, (distance, change, trade, agreement) = new_figure(COLUMN, 8, columns=2, rows=2)
    systems = list(dict.fromkeys(frame.system))
    seeds = {mean.n for mean in (*means(frame, "guidance").values(), *found.term.values())}
    _before_and_after(distance, frame, "fd", systems, seeds)
    distance.set(title="Distance", ylabel="Fréchet distance")
    floor_line(distance, floor, "real against real")
    if len(frame):
        log_axis(distance.yaxis)
    _changes(change, found, systems, seeds)
    _trade(trade, frame)
    _before_and_after(agreement, frame, "agreement", systems, seeds)
    for ax, name in ((trade, "precision"), (agreement, "agreement")):
        if frame[name].isna().all():
            say_not_measured(ax)
    agreement.set(title="Is it the class asked for?", ylabel="class agreement")
    for term, name in PAIR_NAMES.items():
        if term in set(frame.term):
            distance.plot([], [], color=COLORS[term], linewidth=5, label=name)
    for system in systems:
        distance.scatter([], [], marker=SYSTEM_MARKERS[system], s=49, color="black", label=system)
    name_diamonds(distance, "paper's FID: [P] printed, [S] second-hand")
    handles, names = distance.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), columnspacing=1.2,
                  title=seeds_shown(seeds), title_fontsize=10)  # fmt: skip
    return figure


def _before_and_after(
    ax: Axes, frame: pd.DataFrame, column: str, systems: list[str], seeds: set[int]
) -> None:
    """A line from the mean without to the mean with guidance, for each system and term."""
    marks: list[Mark] = []
    for (system, term, guidance), mean in means(frame, "guidance", column).items():
        x = 3 * systems.index(system) + (guidance == GUIDANCE)
        marks.append((x, PAIR_NAMES[term], mean.n))
        system_dot(ax, x + (-0.06 if term == "baseline" else 0.06), mean, system, term)
    for (system, term), runs in frame.groupby(["system", "term"], sort=False):
        ends = [runs[runs.guidance == g][column].mean() for g in (NONE, GUIDANCE)]
        place = 3 * systems.index(system) + (-0.06 if term == "baseline" else 0.06)
        ax.plot([place, place + 1], ends, color=COLORS[term], linewidth=1.4)
    ax.set_xlabel("guidance")
    names = {
        3.0 * k + g: f"{how}\n{system}"
        for k, system in enumerate(systems)
        for g, how in enumerate(("none", f"{GUIDANCE:g}"))
    }
    name_counts(ax, names, marks, among=seeds)
    ax.set_xlim(-0.6, 3 * max(len(systems), 1) - 1.4)


def _changes(ax: Axes, found: Effects, systems: list[str], seeds: set[int]) -> None:
    """The term's change at each guidance, one line each, and the paper's as diamonds."""
    lines = [(system, g) for system in systems for g in (NONE, GUIDANCE) if (system, g) in found.term]
    lines += [key for key in BESIDE if key not in lines]
    for y, key in enumerate(lines):
        if key in found.term:
            change_bar(
                ax, y, found.term[key], COLORS["infonce-l2"], shape=SYSTEM_MARKERS[key[0]], across=True
            )
        if key in BESIDE:
            _paper(ax, y - 0.25, BESIDE[key])
    for y, label in enumerate(ALONE, start=len(lines)):
        _paper(ax, y, label)
    names = [f"{system}, " + ("no guidance" if g == NONE else f"guidance {g:g}") for system, g in lines]
    marks = [(y, "ours", found.term[key].n) for y, key in enumerate(lines) if key in found.term]
    name_counts(ax, dict(enumerate([*names, *ALONE.values()])), marks, among=seeds, across=True)
    ax.set_ylim(len(lines) + len(ALONE) - 0.5, -0.8)
    ax.axvline(0, color=COLORS["baseline"], linewidth=1)
    ax.margins(x=0.1)
    ax.set(title="Change by the term", xlabel="change against the baseline, %")


def _paper(ax: Axes, y: float, label: str) -> None:
    change = system_change(label)
    assert change is not None
    paper_diamond(ax, 100 * change.value, y)
    ax.annotate(f"[{change.source}]", (100 * change.value, y), (-8, 0), fontsize=10, va="center",
                ha="right", textcoords="offset points")  # fmt: skip


def _trade(ax: Axes, frame: pd.DataFrame) -> None:
    """Precision against recall: an arrow from without to with guidance; faint marks are single runs."""
    mean = frame.groupby(["system", "term", "guidance"], sort=False)[["recall", "precision"]].mean()
    for (system, term), runs in frame.groupby(["system", "term"], sort=False):
        marker, color = SYSTEM_MARKERS[system], COLORS[term]
        ax.scatter(runs.recall, runs.precision, s=16, marker=marker, color=color, alpha=0.35, linewidth=0)
        start, end = (mean.loc[(system, term, g)] for g in (NONE, GUIDANCE))
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1.6})
        face = "white" if runs.seed.nunique() == 1 else color
        ax.plot(*start, marker, markersize=5, color=color, mfc=face, mew=1.6)
        ax.plot(*end, marker, markersize=9, color=color, mfc=face, mew=1.6)
    ax.locator_params(axis="x", nbins=5)
    ax.set(title="From no guidance to guidance", xlabel="recall", ylabel="precision")


def published_markdown() -> str:
    """The published systems, with how surely each number is known."""
    columns = ["published, ImageNet 256×256", "parameters", "epochs", "guidance", "FID", "change",
               "extra encoder or data", "source"]  # fmt: skip
    rows = []
    for label, system in SYSTEMS.items():
        change = system_change(label)
        rows.append([
            system.name,
            "not read" if system.parameters is None else f"{system.parameters}M",
            "not read" if system.epochs is None else str(system.epochs),
            "not read" if system.guidance is None else named(system.guidance),
            f"{system.fid.value:.2f}",
            "" if change is None else f"{100 * change.value:+.1f}%",
            system.extra,
            f"[{system.fid.source}]",
        ])  # fmt: skip
    marks = "; ".join(f"[{mark}]: {meaning}" for mark, meaning in SOURCES.items())
    return f"{markdown_table(columns, rows)}\n\n{marks}. Change: against the same system without the term.\n"


def named(guidance: float) -> str:
    """``none`` for 1."""
    return "none" if guidance == NONE else f"{guidance:g}"


def guided_markdown(frame: pd.DataFrame, found: Effects, card: str) -> str:
    """Ours: every system, term and guidance; then what guidance does to each, and to the term's effect."""
    columns = ["ours", f"guidance {GUIDANCE:g} on the baseline", "on the model with the term",
               "change of the term's effect", "verdict", "seeds"]  # fmt: skip
    rows = [
        [
            system,
            *(percent_interval(found.guidance[system, term], seeds=shift.n) for term in PAIR),
            percent_interval(shift),
            verdict(shift),
            str(shift.n),
        ]
        for system, shift in found.shift.items()
    ]
    text = (
        f"Mean ± half the 95% interval over training seeds (Student's t){OR_BOUNDS}; changes are means of "
        "log ratios within a seed, negative is better. The second table: the distance under guidance over "
        "that without; and the change by the term under guidance over that without, where *worse* means "
        "that guidance takes from the term's gain or adds to its cost. Ours and the published numbers "
        "differ in data, size of the model, length of training and measure: values and percentages can't be "
        f"compared, only signs. {card}"
    )
    shifts = [markdown_table(columns, rows)] if rows else []
    return "\n\n".join([systems_table(frame, "guidance", named), *shifts, text]) + "\n"


def draw_guided(
    pool: list[Record], looked: list[Record], cells: list[Cell], row: Profile, folder: Path
) -> tuple[Path, Path]:
    """Write the comparison of systems with and without guidance into ``folder``; returns (table, picture).

    Args:
        pool, looked, cells, row: see ``guided_frame``.
        folder: where ``systems.md``, ``systems.png`` and its sidecar go.
    """
    frame = guided_frame(pool, looked, cells, row)
    found, floor = effects(frame), floor_of(row.protocol)
    kinds = [kind for kind, name in SYSTEM_NAMES.items() if name in set(frame.system)] or ["sit"]
    protocols = {SYSTEM_NAMES[kind]: guided(row, kind)[0] for kind in kinds}
    samplers = "; ".join(f"{name}: {each.sampler.describe()}" for name, each in protocols.items())
    card = (
        f"{protocols[SYSTEM_NAMES[kinds[0]]].card()}. Samplers: {samplers}; without guidance, the same."
        f"{floor_sentence(row.protocol)}"
    )
    table = folder / "systems.md"
    atomic.write_text(table, f"{published_markdown()}\n{guided_markdown(frame, found, card)}")
    facts = {
        "item": "systems",
        "protocols": {name: each.model_dump(mode="json") for name, each in protocols.items()},
        "noise_floor": floor,
        "changes_by_term": [{"system": s, "guidance": g, **plain(e)} for (s, g), e in found.term.items()],
        "changes_by_guidance": [{"system": s, "term": t, **plain(e)} for (s, t), e in found.guidance.items()],
        "shifts": plain(found.shift),
        "means": [
            {"system": s, "term": t, "guidance": g, "metric": name, **plain(e)}
            for name in METRICS
            for (s, t, g), e in means(frame, "guidance", name).items()
        ],
        "values": plain(frame.to_dict(orient="records")),
        "published_changes": {
            label: change.value for label in SYSTEMS if (change := system_change(label)) is not None
        },
    }  # fmt: skip
    return table, save_results(
        guided_figure(frame, found, floor), folder / "systems", facts, [*pool, *looked], cells, row
    )
