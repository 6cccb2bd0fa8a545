"""What a model's blocks hold: heat maps over block and noise level, and features in the plane."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from ..analysis.geometry import cosines_of_rows
from ..analysis.projection import METHODS, Method, project
from ..analysis.representations import Place
from ..analysis.similarity import Measure, Similarity
from ..experiments import paper
from ..rng import normal
from .facts import plain
from .heat import legible
from .theme import COLORS, COLUMN, class_colors, new_figure, theme

# Attribute of ``Geometry`` → title and format of its numbers.
GEOMETRY = {
    "rms": ("length (rms)", ".2f"),
    "squared_distance": ("squared distance of two rows, by d", ".2g"),
    "relative_distance": ("squared distance over squared length", ".2f"),
    "uniformity": ("uniformity (lower: more even)", ".2f"),
    "mean_cosine": ("mean cosine of two rows", ".2f"),
    "effective_rank": ("effective rank", ".0f"),
    "participation_ratio": ("participation ratio", ".0f"),
    "alive": ("share of the loss that can move", ".2g"),
}
PROBES = {"probe": ("linear probe, accuracy", ".2f"), "neighbours": ("nearest neighbours, accuracy", ".2f")}
SIMILARITIES: dict[Measure, str] = {"cknna": "CKNNA: nearest neighbours", "cka": "CKA: all pairs"}
TITLES = {"pca": "PCA", "umap": "UMAP", "densmap": "densMAP"}


def values_of(places: Sequence[Place]) -> list[dict[str, Any]]:
    """One flat row for each place: block, level, the measures, and accuracies with their intervals."""
    return [
        {"block": p.block, "level": p.level, **{name: getattr(p.geometry, name) for name in GEOMETRY},
         **{name: plain(getattr(p, name)) for name in PROBES}}
        for p in places
    ]  # fmt: skip


def heat_maps_figure(places: Mapping[str, Sequence[Place]], *, group: int | None) -> Figure:
    """Each measure as two maps, baseline left and dispersive right, on one scale of colour.

    Args:
        places: label of the run → what was measured; two runs.
        group: rows that see each other in the loss whose share can move; None: all.
    """
    theme()
    shown = {**GEOMETRY, **PROBES}
    figure = Figure(figsize=(COLUMN, 2.1 * -(-len(shown) // 2)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01)  # type: ignore[union-attr, call-arg]
    grid = figure.subfigures(-(-len(shown) // 2), 2, wspace=0.03, hspace=0.02)
    for part, (name, (title, form)) in zip(np.asarray(grid).flat, shown.items(), strict=False):
        maps = {label: _map(own, name) for label, own in places.items()}
        low, high = (float(f([f(m) for m in maps.values()])) for f in (np.min, np.max))
        scale = LogNorm(low, high) if 0 < 8 * low < high else Normalize(low, high)
        axes = part.subplots(1, len(maps), sharey=True)
        if name == "alive":
            title += f", in groups of {group}" if group else ", all rows in one group"
        part.suptitle(title, x=0.02, ha="left", fontsize=11, weight="bold")
        for ax, (label, found) in zip(axes, maps.items(), strict=True):
            sns.heatmap(found, ax=ax, norm=scale, cmap="cividis", cbar=False, annot=_short(found, form),
                        fmt="", annot_kws={"fontsize": 10}, linewidths=1)  # fmt: skip
            legible(ax)
            ax.set_title(paper.name_of(label), color=COLORS[label], fontsize=10, weight="normal")
            _name_places(ax, *_places(places[label]))
    return figure


def _short(values: np.ndarray, form: str) -> np.ndarray:
    """Numbers as short as a cell is wide: no zero before the point, and tiny ones by their power of ten."""

    def short(value: float) -> str:
        if 0 < abs(value) < 0.001:
            return f"{value:.0e}".replace("e-0", "e-")
        text = f"{value:{form}}"
        return text.replace("0.", ".", 1) if abs(value) < 1 else text

    return np.vectorize(short)(values)


def _map(places: Sequence[Place], name: str) -> np.ndarray:
    """Blocks (rows) by levels (columns) of a measure."""
    blocks, levels = _places(places)
    found = np.full((len(blocks), len(levels)), np.nan)
    for p in places:
        value = getattr(p.geometry, name) if name in GEOMETRY else getattr(p, name).value
        found[blocks.index(p.block), levels.index(p.level)] = value
    return found


def _places(places: Sequence[Place]) -> tuple[list[int], list[float]]:
    return sorted({place.block for place in places}), sorted({place.level for place in places})


def _name_places(ax: Axes, blocks: list[int], levels: list[float]) -> None:
    """A map's axes: blocks down, noise levels across."""
    ax.set_xticks(np.arange(len(levels)) + 0.5, [f"{level:g}" for level in levels], rotation=0, fontsize=10)
    ax.set_yticks(np.arange(len(blocks)) + 0.5, [str(block) for block in blocks], rotation=0, fontsize=10)
    ax.tick_params(length=0)
    ax.set_xlabel("noise level", fontsize=10)
    if ax.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        ax.set_ylabel("block", fontsize=10)


def similarity_figure(found: Mapping[Measure, Mapping[tuple[str, int, float], Similarity]]) -> Figure:
    """Heat maps of how alike two models are, and each of them and the encoder: a row for each measure.

    Titles tell what unrelated features would have, and the largest p of the map, rounded up.

    Args:
        found: measure → what ``compare_places`` found; colours go from 0 to 1.
    """
    theme()
    figure = Figure(figsize=(COLUMN, 3 * len(found)), layout="constrained")
    parts = np.asarray(figure.subfigures(len(found), 1, hspace=0.05)).flat
    for part, (measure, alike) in zip(parts, found.items(), strict=True):
        part.suptitle(SIMILARITIES[measure], x=0.01, ha="left", fontsize=12, weight="bold")
        names = list(dict.fromkeys(name for name, *_ in alike))
        for ax, name in zip(part.subplots(1, len(names), squeeze=False).flat, names, strict=True):
            _similarity_map(ax, name, {key[1:]: each for key, each in alike.items() if key[0] == name})
    return figure


def _similarity_map(ax: Axes, name: str, own: Mapping[tuple[int, float], Similarity]) -> None:
    """One comparison, blocks by levels."""
    blocks, levels = sorted({block for block, _ in own}), sorted({s for _, s in own})
    values = np.array([[own[b, s].value for s in levels] for b in blocks])
    text = [
        [f"{_bare(e.value)}\n[{_bare(e.low)}, {_bare(e.high)}]" for s in levels for e in [own[b, s]]]
        for b in blocks
    ]
    sns.heatmap(values, ax=ax, vmin=0, vmax=1, cmap="cividis", cbar=False, annot=np.array(text),
                fmt="", annot_kws={"fontsize": 10}, linewidths=1)  # fmt: skip
    legible(ax)
    sides = " and ".join(paper.name_of(side) for side in name.split(" / "))
    null, p = np.mean([each.null for each in own.values()]), max(each.p for each in own.values())
    ax.set_title(f"{sides}\nunrelated: {null:z.2f}; p ≤ {np.ceil(100 * p) / 100:.2f}", fontsize=10)
    _name_places(ax, blocks, levels)


def _bare(value: float) -> str:
    """Of −1 to 1, two digits and no zero before the point, as narrow as a cell."""
    return f"{value:z.2f}".replace("0.", ".", 1)


def cosine_histograms(features: Mapping[str, Tensor]) -> dict[str, dict[str, list[int]]]:
    """label → ``raw``, ``centred`` → how many pairs of rows have a cosine in each of 100 bins of [−1, 1].

    In the features' own precision, as the published counts are: rounding moves pairs at the edges of bins.
    """

    def counts(z: Tensor, centred: bool) -> list[int]:
        found = cosines_of_rows(z.flatten(1), centred=centred)
        return torch.histc(found.float(), 100, -1, 1).int().tolist()

    return {label: {"raw": counts(z, False), "centred": counts(z, True)} for label, z in features.items()}


def cosines_figure(counts: Mapping[str, Mapping[str, Sequence[int]]]) -> Figure:
    """Histograms of the cosines of all pairs of rows, as they are and with the mean of all taken away."""
    figure, axes = new_figure(COLUMN, 3, columns=2)
    edges = np.linspace(-1, 1, 101)
    for ax, (name, title) in zip(
        axes, (("raw", "as they are"), ("centred", "without their mean")), strict=True
    ):
        for label, found in counts.items():
            share = np.asarray(found[name]) / max(sum(found[name]), 1)
            ax.stairs(share, edges, color=COLORS[label], linewidth=2, label=paper.name_of(label))
            ax.stairs(share, edges, color=COLORS[label], fill=True, alpha=0.15)
        ax.set(title=title, xlabel="cosine of two rows", xlim=(-1, 1), ylim=(0, None))
        ax.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes[0].set_ylabel("share of pairs")
    axes[0].legend(loc="upper left")
    return figure


def plane_figure(
    coordinates: Mapping[Method, np.ndarray],
    labels: np.ndarray,
    names: Sequence[str],
    kept: Mapping[Method, float],
) -> Figure:
    """Features in the plane: a column for each projection, a row for each model, colours for classes.

    Args:
        coordinates: method → (models, n, 2), of one fit to all models.
        labels: (n,), classes.
        names: of the models, labels of runs.
        kept: method → share of each row's nearest others that are its nearest in the plane too.
    """
    figure, axes = new_figure(COLUMN, 6.2, columns=len(coordinates), rows=len(names))
    grid = axes.reshape(len(names), len(coordinates))
    classes = np.unique(labels).tolist()
    palette = dict(zip(classes, class_colors(len(classes)), strict=True))
    for column, (method, points) in enumerate(coordinates.items()):
        low, high = plane_limits(points)  # of both models, since they were fitted together
        within = np.clip(points, low, high)
        for line, name in enumerate(names):
            ax = grid[line, column]
            for label, color in palette.items():
                own = within[line][labels == label]
                ax.scatter(*own.T, s=9, color=color, linewidth=0, alpha=0.7)
                ax.annotate(str(label), np.median(own, axis=0), ha="center", va="center", weight="bold",
                            fontsize=11, bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none",
                                               "alpha": 0.7})  # fmt: skip
            beyond = int((points[line] != within[line]).any(axis=1).sum())
            if beyond:
                ax.annotate(f"{beyond} drawn at the edge", (0.01, 0.01), fontsize=10,
                            xycoords="axes fraction")  # fmt: skip
            room = 0.03 * (np.asarray(high) - low)
            ax.set(xticks=[], yticks=[], xlim=(low[0] - room[0], high[0] + room[0]),
                   ylim=(low[1] - room[1], high[1] + room[1]))  # fmt: skip
            if line == 0:
                ax.set_title(f"{TITLES[method]}\nkeeps {kept[method]:.0%} of neighbours", fontsize=11)
            if column == 0:
                ax.set_ylabel(paper.name_of(name), color=COLORS[name])
    return figure


def plane_limits(points: Any) -> tuple[list[float], list[float]]:
    """Lower and upper corner of what a plane shows: (models, n, 2) but for few that lie far from the rest.

    densMAP sends single points far away, and limits that held them would leave little room for the others.
    """
    flat = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    low, middle, high = np.quantile(flat, (0.02, 0.5, 0.98), axis=0)
    low, high = middle - 1.5 * (middle - low), middle + 1.5 * (high - middle)
    return np.maximum(low, flat.min(0)).tolist(), np.minimum(high, flat.max(0)).tolist()


def density_example(n: int = 250, seed: int = 0) -> dict[Method, np.ndarray]:
    """Two round clouds in ten dimensions, one of them ten times as dense, by each projection: (2n, 2)."""
    cloud = normal((n, 10), "density example", seed).double()
    tight = 0.1 * normal((n, 10), "density example, tight", seed).double()
    tight[:, 0] += 20
    return {method: project([torch.cat([cloud, tight])], method)[0] for method in METHODS}


def density_figure(points: Mapping[Method, np.ndarray]) -> Figure:
    """``density_example`` side by side: UMAP makes both clouds alike."""
    figure, axes = new_figure(COLUMN, 2.5, columns=len(points))
    for ax, (method, found) in zip(axes, points.items(), strict=True):
        for part, color, name in zip(np.split(found, 2), ("#7a4fa3", "#d98b2b"), ("wide", "a tenth as wide"),
                                     strict=True):  # fmt: skip
            ax.scatter(*part.T, s=9, color=color, alpha=0.6, linewidth=0, label=name)
        ax.set(title=TITLES[method], xticks=[], yticks=[])
        ax.set_aspect("equal", adjustable="datalim")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, markerscale=2)
    return figure
