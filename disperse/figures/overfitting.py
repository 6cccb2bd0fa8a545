"""What was learned by heart: samples near to training images, and the loss on images that are new."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ..evaluation import Estimate
from ..experiments import compare, paper, tables
from ..experiments.copying import copying_bounds
from ..experiments.profiles import Profile
from ..models import preset
from ..models.flops import num_parameters
from .changes import join, percent, shown_bounds
from .levels import GROUPS, change_text, mean_text, points_text, seed_means
from .seeds import PAIR, mean_or_none, name_counts, pair_counts, paired_difference
from .theme import ACCENT, COLORS, MARKERS, log_axis, say_not_measured

Place = dict[str, Any]  # model, data, images, and estimates: by term, and of the difference
Line = list[tuple[int, Estimate]]  # numbers of training images, with what was measured there
LINES = ("--", ":", "-.", (0, (1, 4)))  # of networks; the profile's own is full


def overfitting(frame: pd.DataFrame, row: Profile) -> list[Place]:
    """One entry for each network and training set: small networks first, small sets first.

    ``near``, ``gap``: by term, the share of samples nearest to a training image, and unseen minus seen loss,
    averaged over noise levels. ``near_difference``, ``gap_difference``: ℓ2 minus baseline, paired.
    ``seen_change``, ``unseen_change``: paired log ratio of the losses. ``gap_by_group``: group of noise
    levels → the same of its gap. ``real``, ``copies``: of ``copying_bounds``. ``so``: of ``conclusion``.

    Args:
        frame: of ``level_frame``.
        row: the profile.
    """
    places = []
    for (model, data), at in frame.groupby(["model", "data"]):
        place: Place = {"model": model, "data": data, "images": int(at.images.iloc[0])}
        place |= _pair(at, "near") | _pair(at, "gap")
        for name in ("seen", "unseen"):
            own, base = (seed_means(at[at.term == term], f"{name}_loss", log=True) for term in PAIR[::-1])
            place[f"{name}_change"] = paired_difference(own, base)
        place["gap_by_group"] = {group: _pair(at[at.group == group], "gap") for group in GROUPS}
        if place["near"]:
            place["real"], place["copies"] = copying_bounds(str(data), row.reference)
        place["so"] = conclusion(place["gap_difference"], place["unseen_change"])
        places.append(place)
    return sorted(places, key=lambda p: (num_parameters(preset(p["model"]).config), p["images"]))


def _pair(at: pd.DataFrame, name: str) -> dict[str, Any]:
    """``name``: term → mean over seeds; ``<name>_difference``: ℓ2 minus baseline."""
    values = {term: seed_means(at[at.term == term], name) for term in PAIR}
    means = {term: mean_or_none(name, found.values()) for term, found in values.items() if found}
    return {name: means, f"{name}_difference": paired_difference(values[PAIR[1]], values[PAIR[0]])}


def conclusion(gap: Estimate | None, unseen: Estimate | None) -> str:
    """What the gap and the loss on unseen images say together: a gap also closes where less is learned.

    Args:
        gap: difference of the gap.
        unseen: change of the loss on unseen images.
    """
    if gap is None or unseen is None:
        return ""
    words = {
        ("improves", "improves"): "less overfitting",
        ("improves", "worse"): "less fitting",
        ("worse", "worse"): "more overfitting",
        ("worse", "improves"): "more fitting",
    }
    return words.get((compare.verdict(gap), compare.verdict(unseen)), "can't tell")


def panel_by_images(ax: Axes, places: list[Place], name: str, row: Profile) -> None:
    """A measure of both terms against the number of training images; of the profile's own network."""
    own = [place for place in places if place["model"] == row.model]
    lines = {term: [(p["images"], p[name][term]) for p in own if term in p[name]] for term in PAIR}
    for number, (term, shown) in enumerate(lines.items()):
        _line(ax, shown, number, color=COLORS[term], marker=MARKERS[term], markersize=6)
    finish_axis(ax, {paper.name_of(term): line for term, line in lines.items()})


def panel_of_bounds(ax: Axes, places: list[Place], row: Profile) -> None:
    """Beside the share of samples near training images: real images, copies of training images, and ½."""
    own = [place for place in places if place["model"] == row.model and "real" in place]
    if not own:
        return
    images = [place["images"] for place in own]
    real, copies = [place["real"].value for place in own], [place["copies"] for place in own]
    ax.scatter(images, real, marker="D", s=36, color="white", edgecolor=ACCENT, zorder=3)
    ax.plot(images, copies, color=ACCENT, linestyle=":", marker="_")
    ax.axhline(0.5, color=ACCENT, linestyle="--", linewidth=1, zorder=1)
    between = math.sqrt(images[0] * images[1]) if len(images) > 1 else 0.8 * images[0]  # beside the diamonds
    for x, y, text, shift, align in (
        (images[0], real[0], "real images", (7, -15), "left"),
        (images[0], copies[0], "nothing but copies", (7, 4), "left"),
        (between, 0.5, "nothing copied", (0, 4), "center" if len(images) > 1 else "left"),
    ):
        ax.annotate(text, (x, y), shift, textcoords="offset points", color=ACCENT, fontsize=10, ha=align)
    ax.set_ylim(min(0.42, min(real) - 0.06, *ax.get_ylim()), 1.08)


def panel_of_changes(ax: Axes, places: list[Place], row: Profile) -> None:
    """Change of the loss on unseen images by the term, against the number of images; a line per network."""
    models = list(dict.fromkeys(place["model"] for place in places))
    styles = dict(
        zip([model for model in models if model != row.model], itertools.cycle(LINES), strict=False)
    )
    lines = {
        model: [
            (p["images"], p["unseen_change"]) for p in places if p["model"] == model and p["unseen_change"]
        ]
        for model in models
    }
    for number, (model, shown) in enumerate(lines.items()):
        # Points may stand alone, so that networks differ in size and not in their lines only.
        style = {"color": COLORS[PAIR[1]], "marker": MARKERS[PAIR[1]], "linestyle": styles.get(model, "-"),
                 "alpha": 0.6 if model in styles else 1, "markersize": 6 + min(2 * number, 8)}  # fmt: skip
        _line(ax, shown, number, as_percent=True, **style)
        if shown:
            ax.plot([], [], label=model.partition("/")[0], **style)
    ax.axhline(0, color=COLORS[PAIR[0]], linewidth=1)
    finish_axis(ax, {model.partition("/")[0]: line for model, line in lines.items()})


def _line(ax: Axes, shown: Line, number: int, *, as_percent: bool = False, **style: Any) -> None:
    """Values with their intervals, lines a little apart on the logarithmic axis; single seeds are hollow."""
    points: list[tuple[float, float]] = []
    for seeds, part in itertools.groupby(shown, key=lambda entry: entry[1].n):
        places = list(part)
        drawn = [percent(e) if as_percent else (e.value, *shown_bounds(e)) for _, e in places]
        value, low, high = zip(*drawn, strict=True)
        below = [v - bound for v, bound in zip(value, low, strict=True)]
        above = [bound - v for v, bound in zip(value, high, strict=True)]
        x = [images * 1.07**number for images, _ in places]
        face = "white" if seeds == 1 else style["color"]
        points += zip(x, value, strict=True)
        ax.errorbar(
            x, value, [below, above], capsize=3, markerfacecolor=face, **style | {"linestyle": "none"}
        )
    join(ax, points, color=style["color"], linestyle=style.get("linestyle", "-"), alpha=style.get("alpha"))


def finish_axis(ax: Axes, lines: dict[str, Line]) -> None:
    """Numbers of images and of seeds along a logarithmic axis; says so where nothing was measured.

    Args:
        ax: to be finished.
        lines: name → what is drawn.
    """
    ax.set_xlabel("training images")
    marks = [(images, name, estimate.n) for name, line in lines.items() for images, estimate in line]
    if not marks:
        say_not_measured(ax)
        return
    places = sorted({images for images, _, _ in marks})
    ax.set_xlim(places[0] / 1.25, places[-1] * 1.35)
    log_axis(ax.xaxis, places)
    name_counts(ax, {images: f"{images}" for images in places}, marks, always=True)


def copying_markdown(places: list[Place]) -> str:
    """Table: the share of samples whose nearest image is one of training."""
    columns = ("network", "images", "real images", "only copies", "baseline", "InfoNCE, ℓ2",
               "ℓ2 − baseline, points (paired, 95%)", "verdict", "n")  # fmt: skip
    rows = []
    for place in places:
        if place["near"]:
            real, change = place["real"], place["near_difference"]
            rows.append([
                _network(place), place["images"], f"{real.value:.2f} [{real.low:.2f}, {real.high:.2f}]",
                f"{place['copies']:.2f}", *(mean_text(place["near"].get(term)) for term in PAIR),
                points_text(change), compare.verdict(change) if change else "", counts(place["near"], change),
            ])  # fmt: skip
    return table(columns, rows)


def gap_markdown(places: list[Place]) -> str:
    """Table: the loss on unseen images minus that on seen ones, and what the term does to either."""
    columns = ("network", "images", "gap, baseline", "gap, ℓ2", "ℓ2 − baseline (paired, 95%)",
               "change of the seen loss", "change of the unseen loss", "so", "n")  # fmt: skip
    rows = []
    for place in places:
        if place["gap"]:
            gap, unseen = place["gap_difference"], place["unseen_change"]
            rows.append([
                _network(place), place["images"], *(mean_text(place["gap"].get(term), 3) for term in PAIR),
                _signed(gap), change_text(place["seen_change"]), change_text(unseen),
                f"**{place['so']}**" if place["so"] else "", counts(place["gap"], gap),
            ])  # fmt: skip
    return table(columns, rows)


def gap_by_level_markdown(places: list[Place], row: Profile) -> str:
    """Table: the gap of the profile's own network at low, middle and high noise."""
    columns = ("images", "noise", "gap, baseline", "gap, ℓ2", "ℓ2 − baseline (paired, 95%)", "verdict",
               "n")  # fmt: skip
    rows = []
    for place in places:
        for group, found in place["gap_by_group"].items():
            if place["model"] == row.model and found["gap"]:
                change = found["gap_difference"]
                rows.append([
                    place["images"], group, *(mean_text(found["gap"].get(term), 3) for term in PAIR),
                    _signed(change), compare.verdict(change) if change else "", counts(found["gap"], change),
                ])  # fmt: skip
    return table(columns, rows)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table, or that nothing was measured where it has no rows."""
    return (tables.markdown_table(columns, rows) if rows else "Not measured.") + "\n"


def counts(means: dict[str, Estimate], change: Estimate | None) -> str:
    """Seeds of baseline and ℓ2, and of their difference."""
    base, own = (means[term].n if term in means else 0 for term in PAIR)
    return pair_counts(base, own, change.n if change else 0)


def _network(place: Place) -> str:
    return place["model"].partition("/")[0]


def _signed(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    interval = f" [{estimate.low:+.4f}, {estimate.high:+.4f}]" if estimate.n > 1 else " (one seed)"
    return f"{estimate.value:+.4f}{interval}"
