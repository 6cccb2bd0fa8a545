"""Training curves show the floor of each term, how near the loss is to it, and what could still push."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from disperse import plot
from disperse.atomic import read_jsonl
from disperse.losses import DispersiveLoss
from disperse.objectives import Draws, ForwardPass
from disperse.regularizers import (
    ContrastiveRegularizer,
    ContrastiveSpec,
    DispersiveRegularizer,
    DispersiveSpec,
    term_bounds,
)
from disperse.rng import normal
from disperse.spec import RunSpec
from disperse.training import train
from disperse.widgets import LiveCurves

SPEC = RunSpec(
    model="SiT-Nano/2", overrides={"hidden_size": 16, "num_heads": 2, "depth": 2}, batch_size=8,
    regularizers=(DispersiveSpec(local_batch=4),), num_steps=12, checkpoint_interval=4, log_interval=2,
    device="cpu",
)  # fmt: skip
ROWS = [
    {"step": s, "diffusion": 1 / s, "feature_rms": 1.0, "regularizer_0": -math.log(4) * s / 3,
     "regularizer_0_off_diagonal_weight": 1 - s / 3, "regularizer_1": 0.5}
    for s in (1, 2, 3)
]  # fmt: skip


def forward_pass(features: dict[int, torch.Tensor]) -> ForwardPass:
    nothing = torch.zeros(8)
    return ForwardPass(
        nothing, nothing, nothing, nothing, Draws(nothing, nothing, nothing), nothing, nothing, features
    )


@pytest.mark.parametrize("variant", ["infonce-l2", "infonce-cosine", "hinge", "covariance"])
@pytest.mark.parametrize(
    "options",
    [{}, {"local_batch": 4}, {"diagonal": "mask", "tokens": "mean"}, {"local_batch": 2, "scale": "none"}],
    ids=str,
)
def test_the_logged_weight_is_that_of_the_report(variant: Any, options: dict[str, Any]) -> None:
    features = {block: (0.3 + 0.5 * block) * normal((8, 4, 6), "features", block) for block in range(3)}
    spec = DispersiveSpec(variant=variant, blocks=(0, 2), **options)
    logged = DispersiveRegularizer(spec, 3).diagnostics(forward_pass(features))
    reports = [DispersiveLoss(variant, **options).report(features[block]) for block in (0, 2)]
    expected = sum(report.off_diagonal_weight for report in reports) / 2
    assert logged.keys() == {"off_diagonal_weight"}
    assert logged["off_diagonal_weight"].item() == pytest.approx(expected, rel=1e-4)
    assert not logged["off_diagonal_weight"].requires_grad


def test_a_contrastive_term_logs_none_of_it() -> None:
    assert ContrastiveRegularizer(ContrastiveSpec(), 2).diagnostics(forward_pass({})) == {}


def test_bounds_come_from_spec_and_shapes_alone() -> None:
    terms = (
        DispersiveSpec(local_batch=4), ContrastiveSpec(), DispersiveSpec(),
        DispersiveSpec(variant="covariance", tokens="mean"), DispersiveSpec(variant="covariance"),
    )  # fmt: skip
    found = term_bounds(SPEC.replace(regularizers=terms))
    assert found.keys() == {0, 2, 3, 4}
    assert found[0].floor == pytest.approx(-math.log(4))
    assert found[2].floor == pytest.approx(-math.log(8))
    # 8 rows of 16 dimensions averaged over tokens, of 256 flattened: both have 1/(g − 1) above 1/d.
    assert found[3].floor == found[4].floor == pytest.approx(1 / 7)


def test_floor_and_saturation_are_drawn() -> None:
    figure = plot.training({"infonce-l2": ROWS}, {"infonce-l2": SPEC})
    ax = {a.get_title(loc="left"): a for a in figure.axes}
    assert list(ax) == ["Denoising", "Dispersion", "Norm", "How much is left"]
    (label,) = ax["Dispersion"].texts
    assert label.get_text() == "floor −log 4 = −1.39"
    dashed = [line for line in ax["Dispersion"].lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [pytest.approx(-math.log(4))]
    saturation, alive = ax["How much is left"].lines
    assert list(saturation.get_ydata()) == pytest.approx([1 / 3, 2 / 3, 1])
    assert list(alive.get_ydata()) == pytest.approx([2 / 3, 1 / 3, 0])


@pytest.mark.parametrize("grid", [None, torch.zeros(60, 1, 8, 8)])
def test_the_legend_of_the_shares_lies_above_whatever_they_are(grid: torch.Tensor | None) -> None:
    figure = plot.training({"infonce-l2": ROWS}, {"infonce-l2": SPEC}, pixels=grid)
    figure.canvas.draw()
    (panel,) = (a for a in figure.axes if a.get_title(loc="left") == "How much is left")
    legend = panel.get_legend()
    assert legend is not None
    lowest = panel.transData.inverted().transform(legend.get_window_extent())[0, 1]
    assert lowest > 1


def test_a_loss_at_its_floor_does_not_fill_the_panel_with_rounding() -> None:
    rows = [{**row, "regularizer_0": -math.log(4) + 1e-6 * row["step"]} for row in ROWS]
    ax = plot.training({"a": rows}, {"a": SPEC}).axes[1]
    low, high = ax.get_ylim()
    assert high - low > 0.1 * math.log(4)


@pytest.mark.parametrize(
    "terms", [(), (ContrastiveSpec(),), (DispersiveSpec(diagonal="mask"), DispersiveSpec())]
)
def test_runs_without_floor_are_drawn_too(terms: tuple[Any, ...], tmp_path: Path) -> None:
    figure = plot.training(
        {"a": ROWS}, {"a": SPEC.replace(regularizers=terms)}, pixels=torch.zeros(20, 1, 8, 8)
    )
    assert sum(bool(a.images) for a in figure.axes) == 1
    assert len(figure.axes) == (5 if terms else 3)
    figure.savefig(tmp_path / "a.png")


def test_several_runs_share_the_panels() -> None:
    low = [{**row, "regularizer_0": -9.0} for row in ROWS]
    specs = {"a": SPEC, "b": SPEC.replace(regularizers=(DispersiveSpec(diagonal="mask"),))}
    ax = plot.training({"a": ROWS, "b": low}, specs).axes[1]
    assert ax.get_ylim()[0] < -9


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Pictures that a notebook would have been shown, in order."""
    shown: list[Any] = []

    class Handle:
        def update(self, picture: Any) -> None:
            shown.append(picture)

    def display(picture: Any, **_: Any) -> Handle:
        shown.append(picture)
        return Handle()

    monkeypatch.setattr("disperse.widgets.live.display", display)
    return shown


def test_a_widget_shows_curves_and_samples_and_leaves_the_numbers(tmp_path: Path, shown: list[Any]) -> None:
    spec = SPEC.replace(num_steps=40)
    train(spec, tmp_path / "plain", progress=False)
    live = LiveCurves(spec, folder=tmp_path / "watched", interval_s=0)
    train(spec, tmp_path / "watched", progress=False, on_log=live)
    plain, watched = (read_jsonl(tmp_path / name / "metrics.jsonl") for name in ("plain", "watched"))
    assert plain == watched == live.rows
    assert "regularizer_0_off_diagonal_weight" in plain[0]
    assert len(shown) > 2
    assert all(picture.data.startswith(b"\x89PNG") for picture in shown)
    assert live.sampled is not None
    assert f"samples of step {live.sampled}" in shown[-1].alt
    assert "seeds 0–" in live.caption


def test_the_last_picture_shows_the_end_however_soon_it_comes(tmp_path: Path, shown: list[Any]) -> None:
    spec = SPEC.replace(num_steps=45)
    train(spec, tmp_path, progress=False, on_log=LiveCurves(spec, interval_s=1e6))
    assert len(shown) == 2
    assert "up to step 44 of 45" in shown[-1].alt
