"""Why the paper's setting slows small models at first, and what becomes of it."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate
from ..experiments import compare, paper, tables
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..store import Record
from .facts import curve_facts, floor_of, floor_sentence, plain, run_facts, save_results
from .longer import long_curves
from .seeds import PAIR, Changes, changes_by_step, paired_curves, step_changes
from .theme import COLORS, COLUMN, MARKERS, log_axis, new_figure

# Measures of the first step, and decimal places.
EARLY = {"rms": 2, "off_diagonal_weight": 3, "gradient_ratio": 3}
OF_L2 = ("l2-lam0.05", "l2-tau0.05", "l2-group-whole")  # the ℓ2 run with one thing changed


# Below the table, where cosine's features are longer than the baseline's.
SIDEWAYS = (
    " InfoNCE with cosine doesn't ask for length: it sees directions alone, so its gradient is at right "
    "angles to every z. A step at right angles makes z longer all the same (‖z + δ‖² = ‖z‖² + ‖δ‖²), and "
    "blocks normalise what they read, so little would shorten it again. That may be why its rms is above the "
    "baseline's: an explanation, not a measurement, as steps are taken in the weights and not in z."
)


def norm_cost_figure(frame: pd.DataFrame, row: Profile) -> Figure:
    """Long learning curves; then distance against feature norm, early and at the profile's length.

    Args:
        frame: rows of ``compare.curves``: label, seed, step, fd, rms...
        row: the profile.
    """
    figure, (curves, names_of_runs, early, late) = new_figure(COLUMN, 8, columns=2, rows=2)
    long_curves(curves, paired_curves(frame), row)
    labels = [label for label in COLORS if label in set(frame.label)]
    for ax, step in ((early, min(frame.step)), (late, row.num_steps)):
        at_step = frame[frame.step == step]
        for label in labels:
            dots = at_step[at_step.label == label]
            ax.scatter(dots.rms, dots.fd, s=52, color=COLORS[label], marker=MARKERS[label],
                       edgecolor="black", linewidth=0.5, label=paper.name_of(label))  # fmt: skip
        ax.set(xlabel="feature rms at ¼ depth", ylabel="Fréchet distance", title=f"After {step} steps")
        if len(at_step):
            log_axis(ax.xaxis)
            log_axis(ax.yaxis)
    names_of_runs.set_axis_off()
    handles, names = early.get_legend_handles_labels()
    if names:
        names_of_runs.legend(
            handles, names, loc="center", title="below: a dot per training seed", title_fontsize=10
        )
    return figure


def changes_against_l2(frame: pd.DataFrame) -> Changes:
    """The same to ℓ2 itself, of the runs that differ from it by one thing and share a seed with it."""
    found = step_changes(frame, dict.fromkeys(OF_L2, PAIR[1]))
    return {label: by_step for label, by_step in found.items() if by_step}


def norm_cost_markdown(frame: pd.DataFrame, card: str) -> str:
    """Change against the baseline per label and step, as Markdown; ``card`` says how it was measured."""
    changes = changes_by_step(frame)
    steps = sorted({step for by_step in changes.values() for step in by_step})
    early = first_measures(frame, min(steps))
    columns = ["setting", "feature rms", "off-diagonal weight", "gradient ratio", "n",
               *(f"{step} steps; n" for step in steps)]  # fmt: skip
    rows = []
    for label, by_step in changes.items():
        own = early.get(label, {})
        cells = [tables.with_interval(own[name], d) if name in own else "" for name, d in EARLY.items()]
        count = own["rms"].n if own else 0
        rows.append([paper.name_of(label), *cells, count, *_with_counts(by_step, steps)])
    base, cosine = early["baseline"]["rms"], early.get("infonce-cosine", early["baseline"])["rms"]
    of_base = f"{tables.with_interval(base)}, n = {base.n}"
    lines = [
        tables.markdown_table(columns, rows),
        "",
        "Change of the Fréchet distance against the baseline of the same seed (ℓ2 at twice the learning "
        "rate against the baseline at twice the learning rate): mean of the log ratio, 95% interval and "
        f"number of seeds n. Rms, weight and ratio at the regularised block at {min(steps)} steps: mean ± "
        f"half the 95% interval over the seeds of the column beside them (Student's t){tables.OR_BOUNDS}; "
        f"the baseline's rms is {of_base}. Off-diagonal weight: share of the loss that can still move. "
        "Gradient ratio: ‖∂(λ L_disp)/∂z‖ / ‖∂L_diff/∂z‖." + (SIDEWAYS if cosine.value > base.value else ""),
        "",
        *_against_l2_lines(frame),
        card,
    ]
    return "\n".join(lines) + "\n"


def first_measures(frame: pd.DataFrame, step: int) -> dict[str, dict[str, Estimate]]:
    """Label → measures of ``EARLY`` at a step, means over the seeds that have them."""
    first = frame[frame.step == step]
    values = {label: {name: own[name].dropna() for name in EARLY} for label, own in first.groupby("label")}
    return {
        str(label): {name: compare.mean_of(name, own) for name, own in found.items() if len(own)}
        for label, found in values.items()
    }


def _with_counts(by_step: dict[int, Estimate], steps: list[int]) -> list[str]:
    """A cell for each step: change, interval and number of seeds."""
    return [f"{tables.percent_interval(by_step[k])}; {by_step[k].n}" if k in by_step else "" for k in steps]


def _against_l2_lines(frame: pd.DataFrame) -> list[str]:
    """The table of ``changes_against_l2`` with a line below; nothing where there are none."""
    changes = changes_against_l2(frame)
    steps = sorted({step for by_step in changes.values() for step in by_step})
    if not steps:
        return []
    rows = [[paper.name_of(label), *_with_counts(by_step, steps)] for label, by_step in changes.items()]
    return [
        tables.markdown_table(["against ℓ2", *(f"{step} steps; n" for step in steps)], rows),
        "",
        "Change of the Fréchet distance against InfoNCE, ℓ2, of the same seed, from which each differs by "
        "one thing: mean of the log ratio, 95% interval and number of seeds n. Below 0, it costs less.",
        "",
    ]


def draw_norm_cost(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, Path]:
    """Draw figure and table of the norm experiment into ``folder``; returns (table, picture)."""
    frame = pd.DataFrame(compare.curves(pool, cells, row))
    facts: dict[str, Any] = {
        "item": "norm_cost",
        "protocol": row.protocol.model_dump(mode="json"),
        "noise_floor": floor_of(row.protocol),
        "curves": curve_facts(paired_curves(frame), ("fd",)),
        "changes": plain(changes_by_step(frame)),
        "first": plain(first_measures(frame, min(frame.step))),
        "changes_against_l2": plain(changes_against_l2(frame)),
        "values": plain(frame.to_dict(orient="records")),
        "runs": run_facts(pool, cells, row),
    }
    table = folder / "norm_cost.md"
    card = f"{row.protocol.card()}.{floor_sentence(row.protocol)}"
    atomic.write_text(table, norm_cost_markdown(frame, card))
    return table, save_results(norm_cost_figure(frame, row), folder / "norm_cost", facts, pool, cells, row)
