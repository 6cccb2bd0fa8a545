"""Axes that can be read, and colours that can be told apart."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from disperse.figures import COLORS, MARKERS
from disperse.figures.theme import floor_line, log_axis

# Colour blindness as a matrix on linear RGB: Machado, Oliveira and Fernandes 2009, severity 1.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(color: str, vision: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as it is seen."""
    rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(vision @ linear, 0, 1) / XYZ.sum(axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_colours_of_one_marker_are_told_apart(vision: str) -> None:
    for a, b in itertools.combinations(COLORS, 2):
        if MARKERS[a] == MARKERS[b]:
            distance = np.linalg.norm(lab(COLORS[a], VISION[vision]) - lab(COLORS[b], VISION[vision]))
            assert distance > 15, (a, b, distance)


def test_a_family_has_a_marker() -> None:
    assert {MARKERS[label] for label in COLORS if label.startswith("baseline")} == {"s"}
    assert {MARKERS[label] for label in ("infonce-l2", "l2-lam0.05", "l2-group-whole")} == {"o"}
    assert {MARKERS[label] for label in ("infonce-cosine", "hinge", "covariance")} == {"^"}


@pytest.mark.parametrize(
    "values", [(0.5, 0.6), (0.55, 0.95), (2, 6), (0.2, 6), (1, 1.02), (600, 9600), (1e-3, 1e3)]
)
@pytest.mark.parametrize("direction", ["x", "y"])
def test_a_log_axis_has_several_labels(values: tuple[float, float], direction: str) -> None:
    figure = Figure()
    ax = figure.subplots()
    ax.plot(values, values)
    axis = ax.xaxis if direction == "x" else ax.yaxis
    log_axis(axis)
    low, high = axis.get_view_interval()
    shown = [
        text
        for text, place in zip(
            axis.get_major_formatter().format_ticks(axis.get_majorticklocs()),
            axis.get_majorticklocs(),
            strict=True,
        )
        if low <= place <= high
    ]
    assert len(set(shown)) >= 3
    assert len(shown) <= 9
    assert axis.get_scale() == "log"


def test_a_floor_has_its_name() -> None:
    ax = Figure().subplots()
    floor_line(ax, 0.25, "real against real")
    assert [text.get_text() for text in ax.texts] == ["real against real"]
    assert ax.lines[0].get_linestyle() == "--"
    assert ax.lines[0].get_ydata()[0] == 0.25
