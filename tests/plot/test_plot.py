"""Plots show what their frames hold: values, intervals, hollow single seeds, missing runs, published numbers."""

import json
import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from disperse import plot

FOUND = pd.DataFrame(
    {
        "place": ["a", "b", "c", "d"],
        "value": [math.log(1.2), math.log(0.9), math.log(1.5), math.nan],
        "low": [math.log(1.1), math.nan, math.log(0.5), math.nan],
        "high": [math.log(1.3), math.nan, math.log(4.5), math.nan],
        "n": [3, 1, 3, 0],
    }
)


def marks(ax: Axes) -> dict[float, tuple[float, str]]:
    """Place → (value, face colour) of each mark with an interval or without."""
    found = {}
    for container in ax.containers:
        line = container[0]
        (x,), (y,) = line.get_data()
        found[float(x)] = (float(y), str(to_hex(line.get_markerfacecolor())))
    return found


def test_changes_in_percent_hollow_for_one_seed_and_named_where_missing() -> None:
    ax = plot.changes(plot.axes(), FOUND, "place", paper={"a": -0.113, "z": 1.0})
    found = marks(ax)
    assert found[0][0] == pytest.approx(20)
    assert found[1] == (pytest.approx(-10), "#ffffff")
    assert found[2][1] == plot.DISPERSIVE
    assert 3 not in found
    assert [text.get_text() for text in ax.texts] == ["not trained"]
    lows, highs = zip(
        *(segment[:, 1] for c in ax.containers for line in c[2] for segment in line.get_segments())
    )
    assert (min(lows), max(highs)) == (pytest.approx(-50), pytest.approx(350))
    (diamond,) = [each for each in ax.collections if len(each.get_offsets()) == 1 and each.get_zorder() == 5]
    assert diamond.get_offsets()[0].tolist() == pytest.approx([-0.3, -11.3])
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels == ["a\nn = 3", "b\nn = 1", "c\nn = 3", "d"]


def test_changes_across_and_in_series() -> None:
    found = pd.concat([FOUND.assign(system="sit"), FOUND.assign(system="dit")])
    ax = plot.changes(plot.axes(), found, "place", hue="system", across=True, names={"sit": "SiT"})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["SiT", "dit"]
    assert ax.yaxis_inverted()
    values = sorted(float(c[0].get_xdata()[0]) for c in ax.containers)
    assert values == pytest.approx(sorted([20, 20, -10, -10, 50, 50]))


def test_runs_of_this_machine_are_crosses_over_what_counts() -> None:
    here = FOUND[FOUND.place == FOUND.place.iloc[0]].assign(
        value=math.log(1.3), low=math.nan, high=math.nan, n=1
    )
    ax = plot.changes(plot.axes(), FOUND, "place", here=here)
    (cross,) = [each for each in ax.collections if each.get_label() == "this machine"]
    assert cross.get_offsets().tolist() == [[0.0, pytest.approx(30)]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ours", "this machine"]
    assert (
        "this machine"
        not in plot.changes(plot.axes(), FOUND, "place", here=here[:0]).get_legend_handles_labels()[1]
    )


def test_curves_have_a_band_where_there_are_several_seeds() -> None:
    rows = [("none", step, 1.0 / step, 0.9 / step, 1.1 / step, 3) for step in (1, 2, 4)]
    rows += [("hinge", step, 2.0 / step, math.nan, math.nan, 1) for step in (1, 2, 4)]
    found = pd.DataFrame(rows, columns=["variant", "step", "value", "low", "high", "n"])
    ax = plot.curves(plot.axes(), found, "step", hue="variant", ylabel="distance")
    assert [line.get_color() for line in ax.lines] == [plot.BASELINE, plot.COLORS["hinge"]]
    assert [str(line.get_markerfacecolor()) for line in ax.lines] == [plot.BASELINE, "white"]
    assert len(ax.collections) == 1
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["none, n = 3", "hinge, n = 1"]


def test_within_a_colour_line_and_mark_tell_the_series() -> None:
    rows = [
        (term, way, step, 1.0, 0.9, 1.1, 3 if way == "a" else 1)
        for term in ("none", "hinge")
        for way in ("a", "b")
        for step in (1, 2)
    ]
    found = pd.DataFrame(rows, columns=["term", "way", "step", "value", "low", "high", "n"])
    options = {"hue": "term", "style": "way", "ylabel": "distance", "names": {"none": "baseline"}}
    ax = plot.curves(plot.axes(), found[:-2], "step", **options)  # one series isn't there
    drawn = [line for line in ax.lines if len(line.get_xdata())]
    assert [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in drawn] == [
        (plot.BASELINE, "-", "o"),
        (plot.BASELINE, "--", "^"),
        (plot.COLORS["hinge"], "-", "o"),
    ]
    assert len(ax.collections) == 2
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["baseline", "hinge", "a, n = 3", "b, n = 1"]


def test_a_map_is_bold_where_zero_is_left_out_and_says_what_is_missing() -> None:
    found = FOUND.assign(x=["1", "1", "2", "2"], y=["u", "v", "u", "v"])
    ax = plot.heat(plot.axes(), found, "x", "y")
    said = {text.get_text(): text.get_weight() for text in ax.texts}
    assert said == {
        "+20\n[10, 30]": "bold",
        "-10": "normal",
        "+50\n[-50, 350]": "normal",
        "not\ntrained": "normal",
    }
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "2"]
    here = found[found.x == "1"].assign(value=[math.log(1.3), math.nan])
    said = [text.get_text() for text in plot.heat(plot.axes(), found, "x", "y", here=here).texts]
    assert [text for text in said if "here" in text] == ["+20\n[10, 30]\nhere +30"]


def test_a_map_of_differences_shows_them_as_they_are() -> None:
    found = pd.DataFrame(
        {"x": [1, 2], "y": [0, 0], "value": [0.25, -0.5], "low": math.nan, "high": math.nan, "n": 1}
    )
    ax = plot.heat(plot.axes(), found, "x", "y", form="+.2f")
    assert [text.get_text() for text in ax.texts] == ["+0.25", "−0.50"]


def test_images_stand_in_rows_with_their_own_values() -> None:
    pixels = torch.linspace(-1, 1, 3).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    ax = plot.images(plot.axes(), pixels, columns=2, titles=["0", "1"])
    sheet = np.asarray(ax.images[0].get_array())
    assert sheet.shape == (5, 5)
    assert [sheet[0, 0], sheet[0, 3], sheet[3, 0]] == pytest.approx([0, 0.5, 1])
    assert (sheet[2] == 1).all()
    assert [text.get_text() for text in ax.texts] == ["0", "1"]
    ax = plot.images(plot.axes(), pixels, columns=1, rows={"a": "red", "b": "blue"})
    assert [(text.get_text(), text.get_color()) for text in ax.texts] == [("a", "red"), ("b", "blue")]
    assert [text.xy for text in ax.texts] == [(0, 2), (0, 6)]
    for height in (2, 4, 6, 8):
        whole = plot.images(
            plot.axes(height=height), pixels, columns=3, rows=["a name as long as names may be"]
        )
        whole.figure.draw_without_rendering()
        assert whole.texts[0].get_window_extent().x0 >= 0  # nothing is cut off


def test_ways_of_few_steps_are_spread_over_the_row() -> None:
    long, short = (torch.linspace(2, 1, n).view(n, 1, 1, 1).expand(n, 1, 2, 2) for n in (5, 2))
    ax = plot.trajectories(plot.axes(), {"long": long - 2, "short": short - 2}, frames=5)
    sheet = np.asarray(ax.images[0].get_array())
    assert sheet.shape == (5, 14)
    assert sheet[0, ::3] == pytest.approx([0.5, 0.4375, 0.375, 0.3125, 0])
    assert sheet[3, ::3] == pytest.approx([0.5, 1, 1, 1, 0])
    assert [text.get_text() for text in ax.texts] == ["long", "short"]


def test_points_are_named_at_their_middle() -> None:
    xy = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 0.0], [9.0, 9.0]])
    ax = plot.points(plot.axes(), xy, [3, 3, 3, 7])
    assert {text.get_text(): text.get_position() for text in ax.texts} == {"3": (1.0, 0.0), "7": (9.0, 9.0)}


def test_limits_of_a_plane_leave_out_few_and_never_reach_beyond_all() -> None:
    xy = np.random.default_rng(0).normal(size=(2, 100, 2))
    low, high = plot.plane_limits(xy)
    assert (xy.min((0, 1)) <= low).all()
    assert (xy.max((0, 1)) >= high).all()
    xy[1, 3] = 1e6
    np.testing.assert_allclose(plot.plane_limits(xy), (low, high), rtol=0.3)
    ax = plot.points(plot.axes(), xy[1], [0] * 100, limits=plot.plane_limits(xy))
    (said,) = [text.get_text() for text in ax.texts if "edge" in text.get_text()]
    assert 1 <= int(said.split()[0]) <= 5
    assert ax.get_xlim()[1] < 10


def test_dots_show_every_seed() -> None:
    table = pd.DataFrame({"seed": [0, 1, 0], "variant": ["none", "none", "hinge"], "fd": [1.0, 3.0, 2.0]})
    means = pd.DataFrame(
        [("none", 2.0, 1.0, 3.0, 2), ("hinge", 2.0, math.nan, math.nan, 1)],
        columns=["variant", "value", "low", "high", "n"],
    )
    ax = plot.dots(plot.axes(), table, means, "variant", "fd")
    shown = [sorted(each.get_offsets()[:, 1].tolist()) for each in ax.collections if len(each.get_offsets())]
    assert shown[:1] == [[1.0, 3.0]]
    assert [face for _, face in marks(ax).values()] == [plot.BASELINE, "#ffffff"]


def test_a_users_settings_reach_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn() -> dict[str, object]:
        ax = plot.changes(plot.axes(), FOUND, "place", paper={"a": 0.0})
        return {"size": ax.xaxis.label.get_size(), "grid": ax.xaxis.get_gridlines()[0].get_visible(),
                "legend": ax.get_legend().get_frame_on(), "right": ax.spines["right"].get_visible()}  # fmt: skip

    expected = drawn()
    with mpl.rc_context(
        {"font.size": 30, "axes.grid": True, "legend.frameon": True, "axes.spines.right": True}
    ):
        assert drawn() == expected
        assert mpl.rcParams["font.size"] == 30


def test_a_figure_is_kept_with_its_values_and_shown_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPERSE_FIGURES", str(tmp_path))
    ax = plot.changes(plot.axes(), FOUND, "place")
    picture = plot.save(ax, "mine", "cpu", alt="changes", values={"changes": FOUND}, stamp="SMOKE")
    assert sorted(path.name for path in (tmp_path / "cpu").iterdir()) == ["mine.json", "mine.png", "mine.svg"]
    (first, *_, last) = json.loads((tmp_path / "cpu" / "mine.json").read_text())["changes"]
    assert first["value"] == pytest.approx(math.log(1.2), abs=1e-12)
    assert (last["n"], last["value"]) == (0, None)
    shown, told = picture._repr_mimebundle_()
    assert told == {"image/png": {"alt": "changes"}}
    assert shown["text/plain"] == "changes"
    assert 0 < len(shown["image/png"]) < picture.path.stat().st_size
    before = [path.read_bytes() for path in sorted((tmp_path / "cpu").iterdir())]
    plot.save(plot.changes(plot.axes(), FOUND, "place"), "mine", "cpu", alt="changes", values={"changes": FOUND},
              stamp="SMOKE")  # fmt: skip
    assert [path.read_bytes() for path in sorted((tmp_path / "cpu").iterdir())] == before, "the same twice"


def test_a_logarithmic_axis_has_plain_numbers() -> None:
    ax = plot.axes()
    ax.plot([1, 2], [0.3, 40])
    plot.log_axis(ax.yaxis)
    ax.figure.canvas.draw()
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert len(labels) >= 3
    assert all("$" not in label for label in labels)


def test_values_are_tiled_as_they_are_and_differences_have_gaps() -> None:
    values = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    whole = plot.tile(values, 2, fill=-5.0)
    assert whole.shape == (5, 5)
    assert [whole[0, 0], whole[0, 3], whole[3, 0]] == [0, 1, 2]
    assert (whole[2] == -5).all()
    assert (whole[3:, 3:] == -5).all()  # no fourth image
    assert plot.tile(torch.zeros(2, 4, 3, 3), 2).shape == (3, 7, 3)  # latents: their first three channels
    left = torch.zeros(2, 3, 2, 2)
    right = left + torch.tensor([0.0, 1.5]).view(2, 1, 1, 1)
    found = plot.tile_differences(left, right, 2)
    assert found[:, :2].tolist() == [[0, 0], [0, 0]]
    assert found[:, 3:].tolist() == [[1.5, 1.5], [1.5, 1.5]]
    assert np.isnan(found[:, 2]).all()
    ax = plot.differences(plot.axes(), left, right, columns=2)
    assert ax.images[0].get_clim() == (-2, 2)
    assert ax.images[0].norm(0) == 0.5  # white is equal
