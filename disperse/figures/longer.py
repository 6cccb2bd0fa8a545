"""Does the effect last? Baseline and paper's setting, far beyond the profile's length."""

from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate, mean_over_seeds
from ..experiments import compare, paper, tables
from ..experiments.claims import judge
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.statements import longer_claims
from ..store import Record
from .changes import change_bar, claim_facts, name_diamonds, name_ours, paper_diamond
from .facts import curve_facts, floor_of, floor_sentence, plain, run_facts, save_results
from .seeds import PAIR, changes_by_step, count_of_seeds, name_counts, paired_curves
from .theme import COLORS, COLUMN, MARKERS, band, floor_line, log_axis, new_figure

BASELINE, OWN = PAIR
PAPER_EPOCHS = 80  # of the paper's ablations: what stands beside the profile's own length


def pair_frame(pool: list[Record], cells: list[Cell], row: Profile) -> pd.DataFrame:
    """Evaluations of baseline and paper's setting, of each seed and step that both have."""
    frame = pd.DataFrame(compare.curves(pool, cells, row), columns=["label", "against", "seed", "step", "fd"])
    frame = frame[frame.label.isin(PAIR)]
    both = frame.groupby(["seed", "step"]).label.transform("nunique") == len(PAIR)
    return frame[both].sort_values(["step", "seed"], ignore_index=True)


def changes_of_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """Change of the distance in %, one row per seed and step."""
    fd = frame.pivot_table(index=["seed", "step"], columns="label", values="fd").reset_index()
    if fd.empty:
        return pd.DataFrame(columns=["seed", "step", "change"])
    return fd.assign(change=100 * (fd[OWN] / fd[BASELINE] - 1))[["seed", "step", "change"]]


def longer_figure(frame: pd.DataFrame, row: Profile) -> Figure:
    """Learning curves of the seeds that go all the way; then the paired change at each length.

    Args:
        frame: of ``pair_frame``.
        row: the profile, whose length is 1 on the right axis, as the paper's 80 epochs are.
    """
    figure, (left, right) = new_figure(COLUMN, 4.8, columns=2)
    if len(frame):
        long_curves(left, paired_curves(frame), row)
    _changes(right, frame, row)
    handles, names = right.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, columnspacing=1.2)
    return figure


def long_curves(ax: Axes, frame: pd.DataFrame, row: Profile) -> None:
    """Draw the distance of baseline and paper's setting over training, of ``paired_curves``."""
    seeds, steps = frame.seed.nunique(), sorted(set(frame.step))
    shown = [label for label in PAIR if label in set(frame.label)]
    sns.lineplot(frame, x="step", y="fd", hue="label", hue_order=shown, palette=COLORS, style="label",
                 style_order=shown, markers=[MARKERS[label] for label in shown], dashes=False,
                 errorbar=band("fd"), ax=ax)  # fmt: skip
    ax.set(xlabel="training step", ylabel="Fréchet distance",
           title=f"{steps[-1]} steps, {count_of_seeds({seeds})}")  # fmt: skip
    floor_line(ax, floor_of(row.protocol), "real against real", right=False)
    log_axis(ax.yaxis)
    # Each step has a tick; of steps that are near each other, the doublings have the label.
    doublings = [step for step in steps if (step // steps[0]).bit_count() == 1 and step % steps[0] == 0]
    log_axis(ax.xaxis, doublings)
    ax.set_xticks(steps, minor=True, labels=[""] * len(steps))
    ax.legend(ax.get_legend_handles_labels()[0], [paper.name_of(label) for label in shown])


def _changes(ax: Axes, frame: pd.DataFrame, row: Profile) -> None:
    """Every seed as a thin line, the mean over seeds with its interval, the paper's two lengths."""
    for _, own in changes_of_seeds(frame).groupby("seed"):
        ax.plot(own.step / row.num_steps, own.change, color=COLORS[OWN], linewidth=0.8, alpha=0.5)
    changes = changes_by_length(frame)
    places = {step / row.num_steps: change for step, change in changes.items()}
    for place, change in places.items():
        change_bar(ax, place, change, COLORS[OWN])
    for epochs, guided, base, own_fid in paper.LONGER_FID.values():
        if epochs and not guided:
            change_of_fid = 100 * paper.relative_change(own_fid.value, base.value)
            paper_diamond(ax, epochs / PAPER_EPOCHS, change_of_fid)
    ax.axhline(0, color=COLORS[BASELINE], linestyle="--", linewidth=1)
    ax.plot([], [], color=COLORS[OWN], linewidth=0.8, alpha=0.5, label="ours, each seed")
    name_ours(ax, {change.n for change in changes.values()})
    name_diamonds(ax, "paper's FID, SiT-XL/2 (one secondary source)")
    ax.set(xlabel=f"length of training\n(1: ours {row.num_steps} steps, the paper's {PAPER_EPOCHS} epochs)",
           ylabel="change against the baseline, %")  # fmt: skip
    ax.set_title("Change")
    ticks = sorted({*places, 1.0, 10.0})
    log_axis(ax.xaxis, ticks)
    names = {tick: f"{tick:g}" if tick.is_integer() or (1 / tick).is_integer() else "" for tick in ticks}
    name_counts(ax, names, [(place, "ours", change.n) for place, change in places.items()], short=True)


def changes_by_length(frame: pd.DataFrame) -> dict[int, Estimate]:
    """Paired log ratio of distances at each step that has a seed, in the order of steps."""
    return dict(sorted(changes_by_step(frame).get(OWN, {}).items())) if len(frame) else {}


def longer_markdown(frame: pd.DataFrame, row: Profile, card: str) -> str:
    """Distances and their paired change at each length; then the paper's, as Markdown."""
    ours = []
    for step, change in changes_by_length(frame).items():
        fd = frame[frame.step == step].pivot_table(index="seed", columns="label", values="fd")
        means = [compare.mean_of("fd", fd[label]) for label in (BASELINE, OWN)]
        means.append(mean_over_seeds((fd[OWN] - fd[BASELINE]).tolist()))
        numbers = [*map(tables.with_interval, means), tables.percent_interval(change)]
        ours.append([step, *numbers, compare.verdict(change), change.n])
    theirs = []
    for name, (_, _, base_fid, own_fid) in paper.LONGER_FID.items():
        change_of_fid = paper.relative_change(own_fid.value, base_fid.value)
        where = "the paper" if own_fid.source == "P" else "one secondary source"
        theirs.append([name, f"{base_fid.value:.2f}", f"{own_fid.value:.2f}", f"{100 * change_of_fid:+.1f}%",
                       where])  # fmt: skip
    columns = ("training steps", "baseline FD", "ℓ2 FD", "difference", "our Δ (paired, 95%)", "verdict",
               "seeds")  # fmt: skip
    lines = [
        tables.markdown_table(columns, ours),
        "",
        "Distances: mean ± half the 95% interval over the seeds that both runs have at that length "
        "(Student's t); lengths are steps of the same runs. Where the number of seeds changes, so do the "
        f"seeds, and rows are no points of one curve. {row.large_model}, {row.batch_size} images a step. "
        f"{card}{floor_sentence(row.protocol)}",
        "",
        tables.markdown_table(("paper, SiT-XL/2", "baseline FID", "with the term", "Δ", "read in"), theirs),
    ]
    return "\n".join(lines) + "\n"


def draw_longer(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, Path]:
    """Draw figure and tables of the long runs into ``folder``; returns (tables, picture).

    The claim is judged at the end of the longest runs alone, so by the seeds that went on.

    Args:
        pool: evaluations.
        cells: of ``longer``; those of ``large_pair`` may add seeds at the shorter lengths.
        row: the profile.
        folder: where to.
    """
    frame = pair_frame(pool, cells, row)
    last = max(cell.spec.num_steps for cell in cells)
    ends = [cell for cell in cells if cell.spec.num_steps == last]
    judgements = judge(longer_claims(pool, ends, row))
    table = folder / "longer_training.md"
    text = longer_markdown(frame, row, row.protocol.card() + ".")
    atomic.write_text(table, f"{tables.claims_markdown(judgements)}\n{text}")
    facts: dict[str, Any] = {
        "item": "longer",
        "protocol": row.protocol.model_dump(mode="json"),
        "noise_floor": floor_of(row.protocol),
        "curves": curve_facts(paired_curves(frame), ("fd",)) if len(frame) else [],
        "changes": plain(changes_by_length(frame)),
        "paper": {
            name: {"baseline": base.value, "dispersive": own.value, "source": own.source}
            for name, (_, _, base, own) in paper.LONGER_FID.items()
        },
        "values": plain(frame.to_dict(orient="records")),
        "claims": claim_facts(judgements),
        "runs": run_facts(pool, cells, row),
    }
    return table, save_results(longer_figure(frame, row), folder / "longer_training", facts, pool, cells, row)
