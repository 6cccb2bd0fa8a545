"""Why the paper's setting slows small models at first, and what becomes of it."""

from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate, log_ratio, noise_floor
from ..experiments import paper, tables
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.store import Record
from .theme import ACCENT, COLORS, log_axis, new_figure, save, student_band


def norm_cost_figure(frame: pd.DataFrame, row: Profile) -> Figure:
    """Long learning curves; then distance against feature norm, early and at the profile's length.

    Args:
        frame: rows of ``tables.curves``: label, seed, step, fd, rms...
        row: the profile.
    """
    figure, (curves, early, late) = new_figure(14, 4.3, columns=3)
    pair = ["baseline", "infonce-l2"]
    sns.lineplot(frame[frame.label.isin(pair)], x="step", y="fd", hue="label", hue_order=pair, palette=COLORS,
                 marker="o", errorbar=student_band, ax=curves)  # fmt: skip
    curves.set(xscale="log", yscale="log", xlabel="training step", ylabel="Fréchet distance",
               title="Four times as long")  # fmt: skip
    log_axis(curves.yaxis)
    log_axis(curves.xaxis)
    curves.axhline(noise_floor(row.protocol).value, color=ACCENT, linestyle="--", linewidth=1.2)
    curves.legend(curves.get_legend_handles_labels()[0], [paper.NAMES[label] for label in pair])
    labels = [label for label in COLORS if label in set(frame.label)]
    for ax, step in ((early, min(frame.step)), (late, row.num_steps)):
        at_step = frame[frame.step == step]
        sns.scatterplot(at_step, x="rms", y="fd", hue="label", hue_order=labels, palette=COLORS, s=60,
                        ax=ax, legend=ax is late)  # fmt: skip
        ax.set(xscale="log", yscale="log", xlabel="feature rms at ¼ depth", ylabel="Fréchet distance",
               title=f"After {step} steps")  # fmt: skip
        log_axis(ax.xaxis)
        log_axis(ax.yaxis)
    handles, _ = late.get_legend_handles_labels()
    late.legend(
        handles, [paper.NAMES[label] for label in labels], loc="center left", bbox_to_anchor=(1.02, 0.5)
    )
    return figure


def changes_by_step(frame: pd.DataFrame) -> dict[str, dict[int, Estimate]]:
    """Paired log ratio of distances to the baseline, label → step → estimate over seeds."""
    fd = {key: group.set_index("seed").fd.to_dict() for key, group in frame.groupby(["label", "step"])}
    return {
        label: {
            step: log_ratio(values, fd[("baseline", step)])
            for (name, step), values in fd.items()
            if name == label and fd.get(("baseline", step), {}).keys() & values.keys()
        }
        for label in dict.fromkeys(frame.label)
        if label != "baseline"
    }


def norm_cost_markdown(frame: pd.DataFrame) -> str:
    """Change against the baseline per label and step, as Markdown."""
    changes = changes_by_step(frame)
    steps = sorted({step for by_step in changes.values() for step in by_step})
    norms = frame[frame.step == min(steps)].groupby("label").rms.mean()
    lines = ["| setting | feature rms at the first | " + " | ".join(f"{step} steps" for step in steps) + " |"]
    lines.append("|" + "---|" * (len(steps) + 2))
    for label, by_step in changes.items():
        cells = [tables.percent_interval(by_step.get(step)) for step in steps]
        lines.append(f"| {paper.NAMES[label]} | {norms[label]:.2f} | " + " | ".join(cells) + " |")
    counts = frame[frame.step == min(steps)].groupby("label").seed.nunique()
    lines += [
        "",
        "Change of the Fréchet distance against the baseline of the same seed: mean of the log ratio and 95% "
        f"interval over {counts.min()} to {counts.max()} seeds. Feature rms of the baseline at the first "
        f"step: {norms['baseline']:.2f}.",
    ]
    return "\n".join(lines) + "\n"


def draw_norm_cost(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, Path]:
    """Draw figure and table of the norm experiment into ``folder``; returns (table, picture)."""
    frame = pd.DataFrame(tables.curves(pool, cells, row))
    facts: dict[str, Any] = {
        "item": "norm_cost",
        "protocol": row.protocol.model_dump(mode="json"),
        "values": frame.to_dict(orient="records"),
        "fingerprints": sorted({cell.spec.fingerprint for cell in cells}),
    }
    table = folder / "norm_cost.md"
    atomic.write_text(table, norm_cost_markdown(frame))
    return table, save(norm_cost_figure(frame, row), folder / "norm_cost", facts, stamp=row.stamp)
