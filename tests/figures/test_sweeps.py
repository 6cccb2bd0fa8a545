"""Sweeps stand at their number on the axis, beside the baseline and the paper."""

import pytest
from matplotlib.axes import Axes

from disperse.experiments import PROFILES, item, paper
from disperse.experiments.compare import compare
from disperse.experiments.items import Cell
from disperse.figures import alpha_figure, local_batch_figure
from disperse.figures.ablations import published_alphas
from disperse.figures.sweeps import ATTRACTED, OWN
from disperse.store import Record, seal

from ..experiments.cases import record
from .test_ablations import diamonds, hollow, points

ROW = PROFILES["smoke"]
SEEDS = (0, 1, 2)


def cells_of(name: str, seeds: tuple[int, ...] = SEEDS) -> list[Cell]:
    return item("pair", "smoke", seeds) + item(name, "smoke", seeds)


def evaluated(cells: list[Cell], fd: dict[str, float], rank: dict[str, float] | None = None) -> list[Record]:
    """Runs as good and of such a rank as their label says, 1 and 10 by default; seeds differ by 1%."""
    pool = []
    for cell in cells:
        noise = 1 + 0.01 * cell.spec.seed * (cell.against is not None)
        made = record(cell.spec, cell.spec.num_steps, ROW.protocol, fd=fd.get(cell.label, 1.0) * noise)
        for block in made["blocks"]:
            block["effective_rank"] = (rank or {}).get(cell.label, 10.0) * noise
        pool.append(seal(made))
    return pool


def test_groups_stand_at_their_size_up_to_the_whole_batch() -> None:
    cells = cells_of("local_batch")
    fd = {"l2-group4": 1.1, "infonce-l2": 1.2, "l2-group-whole": 1.4}
    axes = local_batch_figure(compare(evaluated(cells, fd), cells, ROW), cells).axes
    found = points(axes[0])
    assert list(found) == [4, 8, 16, 32]
    assert [found[x] for x in (4, 16, 32)] == pytest.approx([11.1, 21.2, 41.4], abs=0.1)
    for ax in axes:
        assert ax.get_xscale() == "log"
        assert list(ax.get_xticks()) == [4, 8, 16, 32]
        assert ax.get_xticklabels()[-1].get_text() == "32\n(batch)"
        assert not len(ax.get_xticks(minor=True))


def test_every_measure_is_shown_beside_the_baseline() -> None:
    cells = cells_of("local_batch")
    pool = evaluated(cells, {}, rank={"baseline": 20.0, "l2-group4": 40.0})
    quality, norm, rank, direction = local_batch_figure(compare(pool, cells, ROW), cells).axes
    assert [ax.get_ylabel().split(",")[0].split(" at")[0] for ax in (norm, rank, direction)] == [
        "feature rms", "effective rank", "mean cosine",
    ]  # fmt: skip
    assert points(rank)[4] == pytest.approx(40.4)
    (dashed,) = [line for line in rank.lines if line.get_linestyle() == "--"]
    assert set(dashed.get_ydata()) == {20.0}
    (zero,) = [line for line in quality.lines if line.get_linestyle() == "--"]
    assert set(zero.get_ydata()) == {0}


def test_the_papers_group_has_its_number() -> None:
    cells = cells_of("local_batch")
    ax = local_batch_figure(compare(evaluated(cells, {}), cells, ROW), cells).axes[0]
    ((x, y),) = diamonds(ax).items()
    assert x == 16
    assert y == pytest.approx(100 * (32.35 / 36.49 - 1))


def marks(ax: Axes, color: str) -> dict[float, float]:
    """x → y of the marks of a colour."""
    drawn = [container[0] for container in ax.containers if container[0].get_color() == color]
    return {float(line.get_xdata()[0]): float(line.get_ydata()[0]) for line in drawn}


def test_weights_of_the_attraction_and_the_run_of_one_view() -> None:
    cells = cells_of("contrastive_to_dispersive")
    fd = {"l2-alpha0": 1.2, "infonce-l2": 1.2, "l2-alpha0.5": 1.1, "l2-alpha1": 0.9}
    rank = {"l2-alpha0": 8.0, "infonce-l2": 8.0, "l2-alpha1": 2.0}
    axes = alpha_figure(compare(evaluated(cells, fd, rank), cells, ROW), cells).axes
    found = marks(axes[0], ATTRACTED)
    assert list(found) == [0, 0.25, 0.5, 0.75, 1]
    assert [found[x] for x in (0, 0.5, 1)] == pytest.approx([21.2, 11.1, -9.1], abs=0.1)
    for ax in axes:  # the dispersive run alone has its blue; bit for bit it is that of α = 0
        assert marks(ax, OWN) == {0: pytest.approx(marks(ax, ATTRACTED)[0])}
    assert marks(axes[2], ATTRACTED)[1] == pytest.approx(2.02)


def test_a_run_of_one_view_that_differs_is_seen_to() -> None:
    cells = cells_of("contrastive_to_dispersive")
    axes = alpha_figure(compare(evaluated(cells, {"l2-alpha0": 1.2}), cells, ROW), cells).axes
    assert abs(marks(axes[0], OWN)[0] - marks(axes[0], ATTRACTED)[0]) > 10


def test_the_paper_stands_at_the_dispersive_end_alone() -> None:
    """Its contrastive loss is no member of the family: there the pull dies, here it is for ever."""
    cells = cells_of("contrastive_to_dispersive")
    ax = alpha_figure(compare(evaluated(cells, {}), cells, ROW), cells).axes[0]
    assert diamonds(ax) == {0.0: pytest.approx(-11.35, abs=0.01)}
    assert set(published_alphas(cells)) == {"infonce-l2", "l2-alpha0"}


def test_what_is_not_trained_says_so_and_no_line_goes_across() -> None:
    cells = cells_of("local_batch")
    pool = evaluated(cells, {})
    part = [r for r in pool if r["name"] != "l2-group8" and not (r["name"] == "l2-group-whole" and r["seed"])]
    axes = local_batch_figure(compare(part, cells, ROW), cells).axes
    for ax in axes:
        assert [text.xy[0] for text in ax.texts if text.get_text() == "not trained"] == [8]
        assert hollow(ax) == {4: False, 16: False, 32: True}
        assert joined(ax) == [2]  # 16 and 32; at 4 there is no neighbour
        assert ticks(ax) == ["4\n\nn = 3", "8", "16\n\nn = 3", "32\n(batch)\nn = 1"]
    whole = local_batch_figure(compare(pool, cells, ROW), cells).axes
    assert [joined(ax) for ax in whole] == [[4]] * 4
    assert not any("n =" in text for ax in whole for text in ticks(ax))


def ticks(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_xticklabels()]


def test_runs_of_one_view_and_of_two_are_counted_each() -> None:
    cells = cells_of("contrastive_to_dispersive")
    pool = [r for r in evaluated(cells, {}) if r["name"] in ("baseline", "infonce-l2") or not r["seed"]]
    for ax in alpha_figure(compare(pool, cells, ROW), cells).axes:
        assert ticks(ax) == ["0\nn = 3, 1", *(f"{alpha:g}\nn = 1" for alpha in (0.25, 0.5, 0.75, 1))]
        assert ax.get_xlabel().endswith("(n of one view and two views)")


def joined(ax: Axes) -> list[int]:
    """Lengths of the lines through marks."""
    lines = [line for line in ax.lines if line.get_color() == OWN and line.get_marker() == "None"]
    return [len(line.get_xdata()) for line in lines if len(line.get_xdata()) > 1]


@pytest.mark.parametrize("seeds", [(0,), SEEDS])
def test_one_seed_has_no_interval(seeds: tuple[int, ...]) -> None:
    cells = cells_of("local_batch", seeds)
    figure = local_batch_figure(compare(evaluated(cells, {}), cells, ROW), cells)
    assert set(hollow(figure.axes[0]).values()) == {len(seeds) == 1}
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    said = "ours, one seed, no interval" if len(seeds) == 1 else "ours, 95% over 3 seeds"
    assert texts == [paper.NAMES["baseline"], said, "paper (FID, ImageNet)"]
