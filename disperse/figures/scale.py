"""Where does the sign of the effect change? Model size by data-set size by length of training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .. import atomic
from ..data import num_train_images
from ..evaluation import Estimate
from ..experiments import compare, tables
from ..experiments.claims import Part, paired
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.statements import parameters
from ..store import Record
from .changes import in_lines, join, shown_bounds
from .facts import floor_of, floor_sentence, plain, run_facts, save_results
from .heat import ink
from .seeds import seeds_shown
from .sizes import short, size_of
from .theme import COLORS, COLUMN, log_axis, theme

# Ticks of a change in percent, by the ratio (or its inverse) up to which they are used.
PERCENT = {
    1.4: (-30, -20, -10, 0, 10, 20, 30),
    4.0: (-75, -50, -25, 0, 25, 50, 100, 200),
    12.0: (-90, -75, -50, -25, 0, 50, 100, 200, 400, 1000),
    np.inf: (-99, -95, -80, -50, 0, 100, 400, 1900, 9900),
}
MARKERS = "os^vP"  # one for each data set, small to large; diamonds are the paper's


@dataclass(frozen=True)
class Change:
    """What the term changes in one network on one data set after one length of training.

    Attributes:
        size, parameters: of the network.
        images: of training.
        step: of training.
        epochs: how often each image was seen.
        part: log ratio of the distances, with the term over without, by seed.
        baseline: mean distance without the term, over the same seeds.
    """

    size: str
    parameters: int
    images: int
    step: int
    epochs: float
    part: Part
    baseline: Estimate

    @property
    def clear(self) -> bool:
        """Whether the interval excludes no change."""
        return self.part.estimate.high < 0 or self.part.estimate.low > 0


def changes(pool: list[Record], cells: list[Cell], row: Profile) -> list[Change]:
    """Every change that there is, of SiT: at each milestone and the end, paired by seed.

    Args:
        pool: evaluations.
        cells: runs of ``scale_of_effect`` and ``model_size``; those of other systems are left out.
        row: the profile.
    """
    fd: dict[tuple[str, int], dict[int, float]] = {}
    for entry in compare.curves(pool, cells, row):
        fd.setdefault((entry["label"], entry["step"]), {})[entry["seed"]] = entry["fd"]
    found = []
    for cell in {cell.label: cell for cell in cells}.values():
        if cell.against is None or cell.spec.objective.kind != "sit":
            continue
        images = num_train_images(cell.spec.data)
        for step in _steps(row):
            base = fd.get((cell.against, step), {})
            part = paired(fd.get((cell.label, step), {}), base, f"{cell.label} / {cell.against}, step {step}")
            if part.values:
                epochs = step * cell.spec.batch_size / images
                found.append(
                    Change(size_of(cell.spec), parameters(cell.spec), images, step, epochs, part,
                           compare.mean_of("fd", (base[seed] for seed in part.values)))
                )  # fmt: skip
    return found


def _steps(row: Profile) -> list[int]:
    return sorted({*row.milestones, row.num_steps})


def _data_sets(row: Profile) -> list[int]:
    """Images of each, small to large; the last is the whole set."""
    return [*sorted(row.subsets), num_train_images(row.data)]


def trends(found: list[Change], row: Profile) -> dict[str, Part]:
    """How the log ratio moves with each doubling of parameters, images, steps, and of the last two together.

    ``log ratio = a + b log2(parameters) + c log2(images) + d log2(steps)`` by least squares within each seed
    that has every cell of the grid. Where only epochs mattered, images and steps together would change
    nothing: ``c + d = 0``.
    """
    by_place = {(c.size, c.images, c.step): c for c in found}
    grid = [
        by_place.get((size, images, step))
        for size in row.sizes
        for images in _data_sets(row)
        for step in _steps(row)
    ]
    cells = [cell for cell in grid if cell is not None]
    x = np.array([[1.0, np.log2(c.parameters), np.log2(c.images), np.log2(c.step)] for c in cells])
    if len(cells) < len(grid) or np.linalg.matrix_rank(x) < 4:
        return {}
    seeds = sorted(set.intersection(*(set(cell.part.values) for cell in cells)))
    fits = {
        seed: np.linalg.lstsq(x, np.array([c.part.values[seed] for c in cells]), rcond=None)[0]
        for seed in seeds
    }
    weights = {"parameters": (0, 1, 0, 0), "training images": (0, 0, 1, 0), "steps": (0, 0, 0, 1),
               "images and steps together": (0, 0, 1, 1)}  # fmt: skip
    return {
        name: Part(f"per doubling of {name}", {seed: float(fit @ w) for seed, fit in fits.items()})
        for name, w in weights.items()
        if fits
    }


def scale_figure(found: list[Change], row: Profile) -> Figure:
    """A map of the change for each length of training; below, change against steps and against epochs.

    Args:
        found: of ``changes``.
        row: the profile, which says what rows, columns and maps there are.
    """
    theme()
    steps, columns = _steps(row), min(2, len(_steps(row)))
    lines = -(-len(steps) // columns)
    tall = 0.7 + lines * (0.8 + 0.62 * len(_data_sets(row)))
    figure = Figure(figsize=(COLUMN, tall + 4.4), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=[tall, 4.4])
    above, below = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    maps = np.atleast_1d(above.subplots(lines, columns, sharex=True, sharey=True)).ravel()
    values = [c.part.estimate.value for c in found]
    bound = max(np.log(1.25), *np.abs(values)) if values else np.log(1.25)
    for ax, step in zip(maps, steps, strict=False):
        _map(ax, [c for c in found if c.step == step], row, bound)
        ax.set_title(f"{step} steps")
    for ax in maps[len(steps) :]:
        ax.set_axis_off()
    for ax in maps[::columns]:
        ax.set_ylabel("training images")
    for ax in maps[-columns:]:
        ax.set_xlabel("model")
    bar = above.colorbar(ScalarMappable(Normalize(-bound, bound), sns.color_palette("vlag", as_cmap=True)),
                         ax=list(maps), label="change, %", location="bottom", shrink=0.6,
                         aspect=40)  # fmt: skip
    _percent_ticks(bar.ax.xaxis)
    figure.get_layout_engine().set(w_pad=0.02, wspace=0.0)  # type: ignore[union-attr, call-arg]
    left, right = below.subplots(1, 2, sharey=True)
    _lines(left, found, row, "step")
    _lines(right, found, row, "epochs")
    left.set(xlabel="training steps", ylabel="change against the baseline, %", title="Ordered by steps?")
    right.set(xlabel="epochs: how often each image was seen", title="Or by epochs?")
    _percent_ticks(left.yaxis)
    handles, labels = left.get_legend_handles_labels()
    if labels:
        below.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)),
                     title=seeds_shown(c.part.estimate.n for c in found), title_fontsize=10)  # fmt: skip
    return figure


def _map(ax: Axes, found: list[Change], row: Profile, bound: float) -> None:
    """Data sets by model sizes for one length: colour and text the change, a bold frame where it is clear."""
    sets = _data_sets(row)
    values = np.full((len(sets), len(row.sizes)), np.nan)
    norm, cmap = Normalize(-bound, bound), sns.color_palette("vlag", as_cmap=True)
    for change in found:
        y, x = sets.index(change.images), row.sizes.index(change.size)
        values[y, x] = change.part.estimate.value
        ax.text(x + 0.5, y + 0.5, in_lines(change.part.estimate), ha="center", va="center", fontsize=10,
                color=ink(cmap(norm(values[y, x]))))  # fmt: skip
        if change.clear:
            inside = (x + 0.03, y + 0.05), 0.94, 0.9
            ax.add_patch(Rectangle(*inside, fill=False, edgecolor="black", linewidth=2.5, zorder=3))
    sns.heatmap(values, mask=np.isnan(values), cmap=cmap, vmin=-bound, vmax=bound, linewidths=1.5,
                cbar=False, ax=ax)  # fmt: skip
    for y, x in zip(*np.nonzero(np.isnan(values)), strict=True):
        ax.annotate("not\ntrained", (x + 0.5, y + 0.5), ha="center", va="center", color="dimgrey",
                    fontsize=10)  # fmt: skip
    ax.set_xticks(np.arange(len(row.sizes)) + 0.5, row.sizes)
    names = [
        _name(images, row).replace(" ", "\n") for images in sets
    ]  # narrow: cells have three lines of text
    ax.set_yticks(np.arange(len(sets)) + 0.5, names, rotation=0)
    ax.set_ylim(0, len(sets))  # more data upwards
    ax.tick_params(length=0)
    ax.label_outer()


def _name(images: int, row: Profile) -> str:
    return f"all {images}" if images == num_train_images(row.data) else str(images)


def _lines(ax: Axes, found: list[Change], row: Profile, axis: str) -> None:
    """Change by size (colour) and data set (mark), a line through the lengths of training of each."""
    # No hue of the baseline or of the term is among these.
    palette = dict(zip(row.sizes, sns.color_palette("flare", len(row.sizes)), strict=True))
    markers = dict(zip(_data_sets(row), MARKERS, strict=False))
    for size, color in palette.items():
        for images, marker in markers.items():
            own = [c for c in found if (c.size, c.images) == (size, images)]
            points = [(getattr(c, axis), c.part.estimate.value) for c in own]
            join(ax, points, color=color, linewidth=1.3)
            for (x, y), c in zip(points, own, strict=True):
                ax.vlines(x, *shown_bounds(c.part.estimate), color=color, linewidth=1, alpha=0.45)
                inner = "white" if c.part.estimate.n == 1 else color
                ax.plot(x, y, marker, color=color, markersize=7, mew=1.6, mfc=inner)
    for size, color in palette.items():
        if any(c.size == size for c in found):
            ax.plot([], [], color=color, linewidth=5, label=size)
    for images, marker in markers.items():
        if any(c.images == images for c in found):
            ax.plot([], [], color="black", marker=marker, linestyle="", label=f"{_name(images, row)} images")
    ax.axhline(0, color=COLORS["baseline"], linewidth=1)
    places = sorted({getattr(c, axis) for c in found})
    if places:
        log_axis(ax.xaxis, places if axis == "step" else ())


def _percent_ticks(axis: Axis) -> None:
    """An axis of log ratios, labelled in percent."""
    low, high = sorted(axis.get_view_interval())
    choice = next(ticks for ratio, ticks in PERCENT.items() if max(-low, high) <= np.log(ratio))
    ticks = [tick for tick in choice if low <= np.log1p(tick / 100) <= high]
    axis.set_ticks([np.log1p(t / 100) for t in ticks], labels=[f"{t:+d}" if t else "0" for t in ticks])


def scale_markdown(found: list[Change], row: Profile) -> str:
    """Every cell of the maps: change, interval and number of seeds; bold where the interval excludes none."""
    steps = _steps(row)
    columns = ["training images", "model", "parameters", *(f"{step} steps" for step in steps),
               "baseline at the end"]  # fmt: skip
    rows = []
    for images in _data_sets(row):
        for size in row.sizes:
            own = {c.step: c for c in found if (c.images, c.size) == (images, size)}
            if own:
                first, last = next(iter(own.values())), own.get(row.num_steps)
                rows.append([
                    _name(images, row), size, short(first.parameters),
                    *(_cell(own.get(step)) for step in steps),
                    "" if last is None else tables.with_interval(last.baseline),
                ])  # fmt: skip
    epochs = []
    for images in _data_sets(row):
        times = (step * row.batch_size / images for step in steps)
        epochs.append(f"{_name(images, row)}: " + ", ".join(f"{n:.{0 if n > 9.5 else 1}f}" for n in times))
    note = f"Epochs at these steps, by training images: {'; '.join(epochs)}."
    return f"{tables.markdown_table(columns, rows)}\n\n{note}\n"


def _cell(change: Change | None) -> str:
    if change is None:
        return ""
    text = tables.percent_interval(change.part.estimate)
    return (f"**{text}**" if change.clear else text) + f", n = {change.part.estimate.n}"


def trends_markdown(fitted: dict[str, Part]) -> str:
    """The fitted trends, or that they can't be fitted yet."""
    if not fitted:
        return "Trends: not yet; a fit takes a seed with every cell of the table.\n"
    columns = ("doubling of", "changes the ratio of distances by", "seeds with every cell")
    rows = [[name, tables.percent_interval(part.estimate), part.estimate.n] for name, part in fitted.items()]
    return tables.markdown_table(columns, rows) + "\n"


def clear_cells(found: list[Change]) -> str:
    """How many cells exclude no change, of those that could, and how many pairs of runs they stand on.

    The lengths of one size on one data set are milestones of the same pairs.
    """
    able = [c for c in found if c.part.estimate.n > 1]
    if not able:
        return "which no cell can yet: all have one seed."
    cells = _counted(len(able), "cell")
    lines = _counted(len({(c.size, c.images) for c in able}), "line")
    whole = "" if len(able) == len(found) else f" ({len(found)} cells in all)"
    return (
        f"as it does in {sum(c.clear for c in able)} of the {cells} with several seeds{whole}; without any "
        f"effect it would in one of twenty. Those {cells} share the runs of {lines} of the table: all "
        "lengths in a line are milestones of the same pairs, and no witnesses of their own."
    )


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" + "s" * (number != 1)


def draw_scale(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, Path]:
    """Draw the maps of the effect's sign into ``folder``; returns (table, picture).

    Args:
        pool: evaluations.
        cells: runs of ``scale_of_effect`` and of ``model_size``.
        row: the profile.
        folder: where to.
    """
    found = changes(pool, cells, row)
    fitted, floor = trends(found, row), floor_of(row.protocol)
    note = (
        "Change of the Fréchet distance against the baseline of the same seed: mean of the log ratio and its "
        "95% interval over n seeds (Student's t); one seed has no interval. The baseline: mean ± half the "
        "95% interval over as many seeds as the last change. Bold: the interval excludes no change, "
        f"{clear_cells(found)} The doublings are fitted to all cells together, within each seed, and "
        f"averaged over seeds. Batches of {row.batch_size}. {row.protocol.card()}."
        f"{floor_sentence(row.protocol)}"
    )
    table = folder / "scale_of_effect.md"
    parts = (scale_markdown(found, row), trends_markdown(fitted), note + "\n")
    atomic.write_text(table, "\n".join(parts))
    drawn = [cell for cell in cells if cell.spec.objective.kind == "sit"]
    facts: dict[str, Any] = {
        "item": "scale_of_effect",
        "protocol": row.protocol.model_dump(mode="json"),
        "noise_floor": floor,
        "training_images": num_train_images(row.data),
        "cells": [
            {"size": c.size, "parameters": c.parameters, "images": c.images, "step": c.step,
             "epochs": c.epochs, "baseline": plain(c.baseline), "clear": c.clear, **plain(c.part.estimate)}
            for c in found
        ],
        "trends": plain({name: part.estimate for name, part in fitted.items()}),
        "runs": run_facts(pool, drawn, row),
    }  # fmt: skip
    return table, save_results(scale_figure(found, row), folder / "scale_of_effect", facts, pool, drawn, row)
