"""Every published picture fits a column: its width, its smallest text, and no text cut or on another's tick."""

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text

from disperse.analysis import Geometry, Place, Similarity
from disperse.analysis.projection import METHODS
from disperse.data import digits
from disperse.evaluation import Estimate
from disperse.experiments import ITEMS, publish
from disperse.figures import draw_published, nearest_figure, samples_figure
from disperse.figures.curated import pair_distances, pairs_figure
from disperse.figures.nearest import REAL, find_nearest
from disperse.figures.representations import (
    GEOMETRY,
    cosines_figure,
    density_figure,
    heat_maps_figure,
    plane_figure,
    similarity_figure,
)
from disperse.figures.sections import SECTIONS

from .test_curated import made_up
from .test_published import convergence, evaluations, looks

WIDTH, SIZE = 8.5, 10  # inches, points


def faults(figure: Figure) -> Iterator[str]:
    """What is too wide, too small, outside the picture, or on another label of its axis."""
    figure.draw_without_rendering()
    if figure.get_figwidth() > WIDTH:
        yield f"{figure.get_figwidth()} inches wide"
    shown = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    for text in shown:
        if text.get_fontsize() < SIZE:
            yield f"{text.get_text()!r} has {text.get_fontsize()} points"
    legends = [legend for part in (figure, *figure.subfigs) for legend in part.legends]
    named = [text for ax in figure.findobj(Axis) for text in (ax.label, *labels(ax)) if text.get_text()]
    for thing in (*legends, *named):
        box, page = thing.get_window_extent(), figure.bbox
        if box.x0 < page.x0 - 1 or box.x1 > page.x1 + 1 or box.y0 < page.y0 - 1 or box.y1 > page.y1 + 1:
            yield f"{getattr(thing, 'get_text', lambda: 'legend')()!r} is cut"
    for axis in figure.findobj(Axis):
        for a, b in itertools.pairwise(labels(axis)):
            if a.get_window_extent().overlaps(b.get_window_extent()):
                yield f"{a.get_text()!r} lies on {b.get_text()!r}"


def labels(axis: Axis) -> list[Text]:
    """Labels of the ticks within the axis' range that are drawn, along the axis."""
    if not (axis.axes.axison and axis.axes.get_visible()):
        return []
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [tick.label1 for tick in ticks if tick.label1.get_visible() and tick.label1.get_text()]


def test_faults_are_found() -> None:
    figure = Figure(figsize=(9, 2), layout="none")
    ax = figure.add_axes((0.2, 0.5, 0.6, 0.4))
    ax.set_xticks([0.5, 0.51], ["a long name", "another"])
    ax.set_xlabel("cut at the foot of the picture", labelpad=200)
    ax.set_ylabel("small", fontsize=8)
    assert list(faults(figure)) == [
        "9.0 inches wide",
        "'small' has 8.0 points",
        "'cut at the foot of the picture' is cut",
        "'a long name' lies on 'another'",
    ]


@pytest.mark.parametrize("seeds", ["all", "fewer of every third run"])
def test_every_published_picture_fits_a_column(
    store: Path, monkeypatch: pytest.MonkeyPatch, seeds: str
) -> None:
    drawn: list[Figure] = []

    def keep(figure: Figure) -> np.ndarray:
        drawn.append(figure)
        return np.zeros((2, 2, 4))

    monkeypatch.setattr(sys.modules["disperse.figures.theme"], "_pixels", keep)
    pool = [*evaluations(*ITEMS), *convergence(), *looks()]
    few = sorted({record["fingerprint"] for record in pool if record["seed"]})[:: 1 if seeds == "all" else 3]
    publish("smoke", [r for r in pool if seeds == "all" or r["fingerprint"] not in few])
    pictures = [path.stem for path in draw_published("smoke") if path.suffix == ".png"]
    assert set(pictures) == {stem for section in SECTIONS for stem in section.pictures}
    found = {stem: list(faults(figure)) for stem, figure in zip(pictures, drawn[::2], strict=True)}
    assert {stem: each for stem, each in found.items() if each} == {}
    for line in drawn[1::2]:  # below each: where its numbers come from
        line.draw_without_rendering()
        (text,) = line.texts
        assert text.get_text().startswith(("from ", "no run yet"))
        assert text.get_fontsize() >= SIZE
        assert text.get_window_extent().x0 >= 0


def test_pictures_of_representations_fit_a_column() -> None:
    measured = Geometry(*[-1.072] * len(GEOMETRY))
    small = dataclasses.replace(measured, alive=7e-10, effective_rank=218.4)
    chance = Estimate(0.963, 0.94, 0.98, 500, "Wilson")
    levels = (0.1, 0.3, 0.5, 0.7, 0.9)
    places = [Place(block, level, small, chance, chance) for block in range(4) for level in levels]
    sides = ("baseline / infonce-l2", "baseline / encoder", "infonce-l2 / encoder")
    alike = {(name, block, level): Similarity(0.884, 0.853, 0.904, 0.012, 0.472, 500)
             for name in sides for block in range(4) for level in levels[::2]}  # fmt: skip
    plane = {method: np.random.default_rng(0).standard_t(2, (2, 300, 2)) for method in METHODS}
    pair = ["baseline", "infonce-l2"]
    counts = {label: {"raw": [50] * 100, "centred": [50] * 100} for label in pair}
    kept = dict.fromkeys(METHODS, 0.29)
    figures = {
        "maps": heat_maps_figure(dict.fromkeys(pair, places), group=16),
        "similarity": similarity_figure({"cknna": alike, "cka": alike}),
        "cosines": cosines_figure(counts),
        "plane": plane_figure(plane, np.arange(300) % 10, pair, kept),
        "density": density_figure({method: plane[method][0] for method in METHODS}),
    }
    assert {name: list(faults(figure)) for name, figure in figures.items() if list(faults(figure))} == {}
    for name in ("maps", "similarity"):
        for ax in figures[name].findobj(Axes):
            cell = ax.get_window_extent().width / (ax.get_xlim()[1] - ax.get_xlim()[0])
            widths = {text.get_text(): text.get_window_extent().width for text in ax.texts}
            assert {text: width / cell for text, width in widths.items() if width > 1.1 * cell} == {}


def test_pictures_of_samples_fit_a_column() -> None:
    base, term, other = made_up(), made_up("infonce-l2"), made_up(seed=1)
    training, unseen = digits("train").images[:200], digits("held-out").images[:40]
    near = find_nearest(unseen, training)
    title = "Training seed 0, step 2400; sample seeds 0–99, the same noise in each; " * 3
    grids = {"baseline": torch.zeros(100, 1, 8, 8), "infonce-l2": torch.zeros(100, 1, 8, 8)}
    figures = {
        "pairs": pairs_figure(base, term, other, pair_distances(base, term, other, 40)),
        "nearest": nearest_figure({REAL: near, "baseline": near, "infonce-l2": near}),
        "samples": samples_figure(grids, title),
        "one grid": samples_figure({"baseline": torch.zeros(20, 1, 8, 8)}, title),
    }
    assert {name: list(faults(figure)) for name, figure in figures.items() if list(faults(figure))} == {}
    (heading,) = [text for text in figures["samples"].texts if text.get_text()]
    assert heading.get_window_extent().x1 <= figures["samples"].bbox.x1
