"""A sidecar holds what its picture shows, and where that comes from."""

import math
from pathlib import Path

import pandas as pd
import pytest
import torch

from disperse.errors import DisperseError
from disperse.experiments import ITEMS, item, publish, run_folder
from disperse.figures import draw_from_weights, draw_published, draw_samples, points_facts, read_sidecar
from disperse.figures.norm_cost import (
    changes_against_l2,
    first_measures,
    norm_cost_figure,
    norm_cost_markdown,
)
from disperse.figures.sections import SECTIONS
from disperse.figures.seeds import changes_by_step, paired_curves
from disperse.figures.variants import learning_curves_figure
from disperse.losses import DispersiveLoss
from disperse.store import Record
from disperse.training import train

from ..experiments.cases import TOY, record, toy  # noqa: F401  (a fixture)
from .test_published import PROTOCOL, ROW, convergence, evaluations


@pytest.fixture
def folder(store: Path) -> Path:
    """Everything drawn from made-up results of two seeds."""
    publish("smoke", [*evaluations(*ITEMS), *convergence()])
    draw_published("smoke")
    return store / "figures" / "smoke"


def comes_from_runs(facts: dict, labels: set[str]) -> None:
    assert facts["protocol"]["num_samples"] == PROTOCOL.num_samples
    assert {run["label"] for run in facts["runs"]} == labels
    assert {run["seed"] for run in facts["runs"]} == {0, 1}
    assert all(len(run["fingerprint"]) == 12 and run["commits"] == ["0" * 12] for run in facts["runs"])


def test_learning_curves(folder: Path) -> None:
    facts = read_sidecar(folder / "learning_curves")
    comes_from_runs(facts, {cell.label for cell in item("variants", "smoke", (0,))})
    entry = next(e for e in facts["curves"] if e["label"] == "hinge" and e["step"] == 20)
    assert entry["seeds"] == [0, 1]
    values = [v for v in facts["values"] if v["label"] == "hinge" and v["step"] == 20]
    for name in ("fd", "rms", "effective_rank", "mean_cosine"):
        assert entry[name]["n"] == 2
        assert entry[name]["value"] == pytest.approx(sum(v[name] for v in values) / 2)
    assert entry["rms"]["low"] < entry["rms"]["value"] < entry["rms"]["high"]


def test_norm_cost(folder: Path) -> None:
    facts = read_sidecar(folder / "norm_cost")
    shown = ("variants", "norm_cost", "longer")
    comes_from_runs(facts, {cell.label for name in shown for cell in item(name, "smoke", (0,))})
    change = facts["changes"]["infonce-l2"]["20"]
    assert change["low"] < change["value"] < change["high"]
    assert change["n"] == 2
    assert facts["noise_floor"] > 0
    assert {(e["label"], e["step"]) for e in facts["curves"]} >= {("baseline", 160), ("infonce-l2", 20)}
    assert all(e["fd"]["low"] is not None for e in facts["curves"])
    assert facts["changes_against_l2"].keys() == {"l2-lam0.05", "l2-tau0.05", "l2-group-whole"}


def test_sampler(folder: Path) -> None:
    facts = read_sidecar(folder / "sampler")
    comes_from_runs(facts, {"baseline"})
    assert len(facts["values"]) == 20
    assert all(v["fd_low"] < v["fd"] < v["fd_high"] for v in facts["values"])
    finest = next(c for c in facts["over_finest"] if c["solver"] == "heun" and c["nfe"] == 32)
    assert finest["change"] == {**finest["change"], "value": 0.0, "n": 2}
    assert len(facts["over_finest"]) == 10
    assert facts["changes_by_term"] == []  # the baseline alone is evaluated so


def curves_frame(steps: dict[tuple[str, int], tuple[int, ...]]) -> pd.DataFrame:
    return pd.DataFrame([
        {"label": label, "against": None if label == "baseline" else "baseline", "seed": seed, "step": step, "fd": 1.0 + seed, "rms": 1.0,
         "off_diagonal_weight": None if label == "baseline" else 0.5, "gradient_ratio": 0.1}
        for (label, seed), reached in steps.items() for step in reached
    ])  # fmt: skip


def test_long_curves_have_the_same_seeds_at_every_step() -> None:
    frame = curves_frame({
        ("baseline", 0): (1, 2, 4), ("infonce-l2", 0): (1, 2, 4), ("baseline", 1): (1, 2),
        ("infonce-l2", 1): (1, 2), ("baseline", 2): (1, 2, 4), ("hinge", 0): (1, 2),
    })  # fmt: skip
    assert set(paired_curves(frame).seed) == {0}
    assert set(paired_curves(frame).step) == {1, 2, 4}
    shorter = paired_curves(frame[(frame.seed > 0) | (frame.step < 4)])
    assert (set(shorter.seed), set(shorter.step)) == ({0, 1}, {1, 2})


def test_settings_are_compared_with_l2_itself_by_seed() -> None:
    frame = curves_frame({
        (label, seed): (20, 40) if label == "infonce-l2" or seed else (20,)
        for label in ("baseline", "infonce-l2", "l2-lam0.05", "l2-tau0.05") for seed in (0, 1, 2)
    })  # fmt: skip
    frame.loc[frame.label == "infonce-l2", "fd"] *= 2.0
    frame.loc[frame.label == "l2-lam0.05", "fd"] *= 1.0 + 0.1 * frame.seed
    found = changes_against_l2(frame)
    assert list(found) == ["l2-lam0.05", "l2-tau0.05"]  # the whole batch isn't there
    halved = sum(math.log((1 + 0.1 * seed) / 2) for seed in (0, 1, 2)) / 3
    assert found["l2-lam0.05"][20].value == pytest.approx(halved)
    assert {step: change.n for step, change in found["l2-lam0.05"].items()} == {20: 3, 40: 2}
    assert changes_by_step(frame)["l2-tau0.05"][20].value == pytest.approx(0)  # against the baseline
    text = norm_cost_markdown(frame, "card.")
    assert (
        "| setting | feature rms | off-diagonal weight | gradient ratio | n | 20 steps; n | 40 steps; n |"
        in text
    )
    assert (
        "| ℓ2, τ = 0.05 | 1.00 ± 0.00 | 0.500 ± 0.000 | 0.100 ± 0.000 | 3 | 0% [0%, 0%]; 3 | 0% [0%, 0%]; 2 |"
        in text
    )
    assert "| against ℓ2 | 20 steps; n | 40 steps; n |" in text
    assert "| ℓ2, τ = 0.05 | -50% [-50%, -50%]; 3 | -50% [-50%, -50%]; 2 |" in text
    assert "against ℓ2" not in norm_cost_markdown(frame[frame.label != "infonce-l2"], "card.")


def test_why_cosine_is_long_is_said_only_where_it_is() -> None:
    frame = curves_frame({(label, 0): (20,) for label in ("baseline", "infonce-cosine")})
    assert "at right angles" not in norm_cost_markdown(frame, "card.")
    frame.loc[frame.label == "infonce-cosine", "rms"] = 2.0
    assert "an explanation, not a measurement" in norm_cost_markdown(frame, "card.")
    z = torch.randn(16, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (push,) = torch.autograd.grad(DispersiveLoss("infonce-cosine")(z), z)
    assert push.norm() > 0
    assert torch.allclose((push * z).sum(1), torch.zeros(16), atol=1e-6)


def test_the_norm_cost_picture_names_its_runs() -> None:
    labels = ("baseline", "infonce-l2", "l2-lam0.05")
    frame = curves_frame({(label, 0): (20, 40) for label in labels})
    figure = norm_cost_figure(frame, ROW)
    names = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert names == ["baseline", "InfoNCE, ℓ2", "ℓ2, λ = 0.05"]


def one_seed() -> list[Record]:
    return evaluations("variants", seeds=(0,))


def test_each_number_of_the_norm_cost_has_its_own_seeds() -> None:
    """The baseline of seed 2 has no partner: it counts in its own rms, and in no change."""
    frame = curves_frame(
        {("baseline", seed): (20,) for seed in (0, 1, 2)} | {("infonce-l2", seed): (20,) for seed in (0, 1)}
    )
    frame["rms"] += 0.1 * frame.seed
    frame.loc[frame.label == "infonce-l2", "off_diagonal_weight"] = [0.001, 0.003]
    text = norm_cost_markdown(frame, "card.")
    assert "| InfoNCE, ℓ2 | 1.05 ± 0.64 | 0.002 [0.000, 0.015] | 0.100 ± 0.000 | 2 | 0% [0%, 0%]; 2 |" in text
    assert "the baseline's rms is 1.10 ± 0.25, n = 3." in text
    first = first_measures(frame, 20)
    assert first["infonce-l2"]["off_diagonal_weight"].n == 2
    assert "off_diagonal_weight" not in first["baseline"]


def test_captions_say_one_seed() -> None:
    frame = curves_frame({("baseline", 0): (20, 40), ("infonce-l2", 0): (20, 40)})
    assert "| InfoNCE, ℓ2 | 1.00 | 0.500 | 0.100 | 1 | 0% (one seed); 1 |" in norm_cost_markdown(
        frame, "card."
    )
    assert norm_cost_figure(frame, ROW).axes[0].get_title(loc="left") == "40 steps, 1 seed"


def test_learning_curves_have_a_tick_at_every_milestone_and_a_named_floor() -> None:
    figure = learning_curves_figure(one_seed(), item("variants", "smoke", (0,)), ROW)
    for ax in figure.axes:
        assert list(ax.get_xticks()) == [20, 40]
    assert "real against real" in [text.get_text() for text in figure.axes[0].texts]


def test_samples_of_both_runs_on_the_same_noise(toy: object, store: Path) -> None:  # noqa: F811
    with pytest.raises(DisperseError):
        draw_samples("toy")  # not trained here
    for cell in item("variants", "toy", (0,)):
        if cell.label in ("baseline", "infonce-l2"):
            train(cell.spec.replace(device="cpu"), run_folder(cell.spec), progress=False)
    picture = draw_samples("toy", num=20)
    assert picture == store / "figures" / "toy" / "samples.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    facts = read_sidecar(picture)
    assert [run["label"] for run in facts["runs"]] == ["baseline", "infonce-l2"]
    assert facts["sample_seeds"] == [0, 19]
    assert all(run["step"] == TOY.num_steps and run["agreement"]["n"] == 20 for run in facts["runs"])
    assert "4 steps" in facts["sampler"]
    assert draw_samples("toy", folder=store / "elsewhere", num=3).parent == store / "elsewhere"

    paths = draw_from_weights("toy", folder=store / "all")
    assert {path.stem for path in paths} == {stem for section in SECTIONS for stem in section.kept}
    for path in paths:
        if path.stem == "representations_density":
            assert read_sidecar(path)["runs"] == []  # an example
            continue
        steps = {(run["label"], run["step"]) for run in read_sidecar(path)["runs"]}
        assert steps == {("baseline", TOY.num_steps), ("infonce-l2", TOY.num_steps)}


def test_the_index_shows_the_samples_where_they_were_drawn(folder: Path) -> None:
    index = folder.parent / "README.md"
    assert "samples.ipynb" not in index.read_text()
    (folder / "samples_pairs.png").write_bytes(b"")
    draw_published("smoke")
    assert index.read_text().count("(smoke/samples_pairs.png)") == 2  # in the list and in its section
    assert "samples.png" not in index.read_text()


def test_facts_of_points_in_the_plane() -> None:
    square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    facts = points_facts(square, DispersiveLoss("infonce-cosine"))
    assert facts["largest_gap"] == pytest.approx(90)
    assert facts["loss"] == pytest.approx(facts["floor"])  # equal angles are the floor in the plane
    assert facts["nearest"] == pytest.approx(1)
    assert facts["inside_margin"] == 0
    assert points_facts(0.9 * square, DispersiveLoss("hinge"))["inside_margin"] == 4
    assert points_facts(square, DispersiveLoss("infonce-l2"))["correlation"] == pytest.approx(0, abs=1e-6)
