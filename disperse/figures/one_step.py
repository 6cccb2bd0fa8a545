"""Images in few network evaluations: published one-step systems, and what ours reach."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate, log_ratio, mean_over_seeds, noise_floor
from ..experiments import compare, seen_by
from ..experiments.items import Cell
from ..experiments.looks import few_steps
from ..experiments.profiles import Profile
from ..experiments.published_systems import ONE_STEP, SOURCES
from ..experiments.store import Record
from ..experiments.tables import percent_interval, with_interval
from ..sampling import SamplerConfig
from .facts import plain
from .systems import SYSTEM_MARKERS, SYSTEM_NAMES, TERMS, system_dot
from .theme import COLORS, floor_line, log_axis, new_figure, save

COLUMNS = ["system", "solver", "num_steps", "nfe", "term", "seed", "fd", "fingerprint", "commit"]
SIDE = {"baseline": 0.97, "infonce-l2": 1.03}  # dots of one NFE stand beside each other
OWN = {"MeanFlow-XL/2": COLORS["baseline"], "MeanFlow-XL/2 + Disp": COLORS["infonce-l2"]}


def few_steps_frame(looked: list[Record], cells: list[Cell], row: Profile) -> pd.DataFrame:
    """One row per run and number of steps, as far as they are evaluated.

    Args:
        looked: evaluations of the look "one_step".
        cells: runs.
        row: the profile.
    """
    rows = [
        {
            "system": SYSTEM_NAMES[cell.spec.objective.kind],
            "solver": record["protocol"]["solver"],
            "num_steps": record["protocol"]["num_steps"],
            "nfe": SamplerConfig(record["protocol"]["solver"], record["protocol"]["num_steps"]).nfe,
            "term": "infonce-l2" if cell.spec.regularizers else "baseline",
            "seed": cell.spec.seed,
            "fd": record["metrics"]["fd"]["value"],
            "fingerprint": cell.spec.fingerprint,
            "commit": record["commit"],
        }
        for cell in cells
        for record in seen_by("one_step", looked, cell, row)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def few_steps_changes(frame: pd.DataFrame) -> dict[tuple[str, int], Estimate]:
    """(system, NFE) → paired log ratio of distances over training seeds, with the term over without."""
    found = {}
    for key, group in frame.groupby(["system", "nfe"], sort=False):
        fd = {term: runs.set_index("seed").fd.to_dict() for term, runs in group.groupby("term")}
        own, base = (fd.get(term, {}) for term in ("infonce-l2", "baseline"))
        if own.keys() & base.keys():
            found[key] = log_ratio(own, base)
    return found


def means(frame: pd.DataFrame) -> dict[tuple[str, int, str], Estimate]:
    """(system, NFE, term) → mean distance over training seeds."""
    groups = frame.groupby(["system", "nfe", "term"], sort=False).fd
    return {key: mean_over_seeds(fd.tolist()) for key, fd in groups}


def one_step_figure(frame: pd.DataFrame, floor: float) -> Figure:
    """Left the published systems; right our distance against network evaluations.

    Args:
        frame: of ``few_steps_frame``.
        floor: distance of real images to real ones.
    """
    figure, (published, ours) = new_figure(11, 4.6, columns=2)
    _published(published)
    for (system, nfe, term), mean in means(frame).items():
        system_dot(ours, nfe * SIDE[term], mean, system, term)
    lines = {name: "--" if name == "MeanFlow" else "-" for name in SYSTEM_MARKERS}
    for (system, term), runs in frame.groupby(["system", "term"], sort=False):
        line = runs.groupby("nfe").fd.mean()
        ours.plot(line.index * SIDE[term], line, lines[system], color=COLORS[term], linewidth=1.4)
    solvers = dict(zip(frame.system, frame.solver, strict=True))
    for system, solver in solvers.items():
        ours.plot([], [], lines[system], marker=SYSTEM_MARKERS[system], color="grey",
                  label=f"{system}, {'its own steps' if solver == 'meanflow' else 'Euler'}")  # fmt: skip
    for term, name in TERMS.items():
        ours.plot([], [], color=COLORS[term], linewidth=2.5, label=name)
    floor_line(ours, floor, "real against real", right=False)
    ours.set(title="Ours, digits", xlabel="network evaluations per image (NFE)", ylabel="Fréchet distance")
    if len(frame):
        log_axis(ours.yaxis)
        log_axis(ours.xaxis, sorted(set(frame.nfe)))
    ours.legend(loc="upper right")
    return figure


def _published(ax: Axes) -> None:
    """A diamond for each published system, its FID beside it; MeanFlow's in the colours of the terms."""
    for y, system in enumerate(ONE_STEP):
        ax.axhline(y, color="lightgrey", linewidth=1, zorder=1)
        ax.scatter(system.fid.value, y, marker="D", s=42, color="white", linewidth=1.8, zorder=3,
                   edgecolor=OWN.get(system.name, "black"))  # fmt: skip
        ax.annotate(f"{system.fid.value:.2f}", (system.fid.value, y), (9, 0), va="center", fontsize=10,
                    textcoords="offset points")  # fmt: skip
    names = [f"{s.name}\n{s.nfe} NFE" for s in ONE_STEP]
    ax.set_yticks(range(len(ONE_STEP)), names)
    ax.set_ylim(len(ONE_STEP) - 0.5, -0.5)
    ax.set_xlim(2, 60)
    log_axis(ax.xaxis, [2, 5, 10, 20, 50])
    ax.set(title="Published, ImageNet 256×256", xlabel="FID   (left is better)")


def one_step_markdown(frame: pd.DataFrame, card: str) -> str:
    """The published systems; below ours, with the change by the term at each number of steps."""
    columns = ["published, ImageNet 256×256", "parameters", "steps", "NFE", "FID", "source"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += [
        f"| {s.name} | {s.parameters}M | {s.steps} | {s.nfe} | {s.fid.value:.2f} | [{s.fid.source}] |"
        for s in ONE_STEP
    ]
    columns = ["ours, digits", "solver", "steps", "NFE", "baseline", "with InfoNCE ℓ2",
               "change by the term (paired, 95%)", "verdict", "seeds"]  # fmt: skip
    lines += ["", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    changes, distances = few_steps_changes(frame), means(frame)
    rows = frame[["system", "solver", "num_steps", "nfe"]].drop_duplicates()
    for system, solver, steps, nfe in rows.itertuples(index=False, name=None):
        own = [distances.get((system, nfe, term)) for term in TERMS]
        change = changes.get((system, nfe))
        counts = dict.fromkeys(str(each.n) for each in own if each)
        cells = [
            *(system, solver, str(steps), str(nfe)),
            *(with_interval(each) if each else "" for each in own),
            percent_interval(change),
            compare.verdict(change) if change else "",
            " and ".join(counts),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    marks = ", ".join(sorted({f"[{s.fid.source}]: {SOURCES[s.fid.source]}" for s in ONE_STEP}))
    lines += [
        "",
        f"{marks}. Ours: Fréchet distance, mean ± half the 95% interval over training seeds (Student's t); "
        "changes are means of log ratios within a seed, negative is better. The published systems aren't "
        f"built here, and FID and our distance can't be compared. {card}",
    ]
    return "\n".join(lines) + "\n"


def draw_one_step(looked: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, Path]:
    """Write table and picture of few network evaluations into ``folder``; returns (table, picture).

    Args:
        looked, cells, row: see ``few_steps_frame``.
        folder: where ``one_step.md``, ``one_step.png`` and its sidecar go.
    """
    frame, floor = few_steps_frame(looked, cells, row), noise_floor(row.protocol).value
    protocol = few_steps(row, "sit")[0]
    card = (
        f"Size {row.size}, patch {row.patch}. The first row: {protocol.card()}; the others differ in solver "
        f"and steps alone. Noise floor of the distance: {floor:.2f}."
    )
    table = folder / "one_step.md"
    atomic.write_text(table, one_step_markdown(frame, card))
    facts = {
        "item": "one_step",
        "protocol": protocol.model_dump(mode="json"),  # of each value, solver and number of steps are its own
        "noise_floor": floor,
        "means": [{"system": s, "nfe": n, "term": t, **plain(e)} for (s, n, t), e in means(frame).items()],
        "changes": [{"system": s, "nfe": n, **plain(e)} for (s, n), e in few_steps_changes(frame).items()],
        "values": plain(frame.to_dict(orient="records")),
        "published": {system.name: system.fid.value for system in ONE_STEP},
    }
    return table, save(one_step_figure(frame, floor), folder / "one_step", facts, stamp=row.stamp)
