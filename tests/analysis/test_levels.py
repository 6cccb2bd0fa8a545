"""What happens at each noise level: losses by hand, and gradients that add up to those of training."""

import pytest
import torch

from disperse.analysis import measure_levels
from disperse.analysis.levels import gradients_by_level
from disperse.data import ImageSet, digits
from disperse.errors import ConfigError
from disperse.models import DiffusionTransformer, build_model, preset
from disperse.objectives import build_objective
from disperse.regularizers import DispersiveSpec
from disperse.rng import normal
from disperse.spec import RunSpec

TERM = DispersiveSpec(variant="infonce-l2", lam=0.5, tau=0.5, blocks=(1,), local_batch=16)
SPEC = RunSpec(model="SiT-Nano/2", batch_size=32)
SEEN, UNSEEN = (
    ImageSet(digits(split).images[:64], digits(split).labels[:64]) for split in ("train", "held-out")
)


def test_a_row_for_each_level(model: DiffusionTransformer) -> None:
    rows = measure_levels(model, SPEC, SEEN, UNSEEN, TERM)
    assert [row["level"] for row in rows] == pytest.approx([0.05 + k / 10 for k in range(10)])
    assert all(row["block"] == 1 and row["rms"] > 0 for row in rows)
    assert all(row["seen_loss"] != row["unseen_loss"] for row in rows)
    assert measure_levels(model, SPEC, SEEN, UNSEEN, TERM) == rows
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_same_images_lose_the_same_and_without_others_nothing_is_said(
    model: DiffusionTransformer,
) -> None:
    same = measure_levels(model, SPEC, SEEN, SEEN, TERM)
    assert all(row["seen_loss"] == row["unseen_loss"] for row in same)
    alone = measure_levels(model, SPEC, SEEN, None, TERM)
    assert all(row["unseen_loss"] is None for row in alone)


def test_the_loss_of_a_model_that_says_nothing_is_that_of_the_target() -> None:
    """A fresh model's output is zero: its loss is the mean square of x − ε, at every level."""
    fresh = build_model("SiT-Nano/2", depth=3).eval().requires_grad_(False)
    row = measure_levels(fresh, SPEC, SEEN, None, TERM)[4]
    eps = normal(tuple(SEEN.images.shape), "level noise", 450)
    assert row["seen_loss"] == pytest.approx((SEEN.images - eps).square().mean().item(), rel=1e-6)


def test_pulls_agree_with_one_batch_by_hand(
    model: DiffusionTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one bin for all levels, cosine and ratio are those of the two losses of one batch."""
    monkeypatch.setattr("disperse.analysis.levels.BINS", 1)
    monkeypatch.setattr("disperse.analysis.levels.PASSES", 1)
    batch = ImageSet(SEEN.images[:32], SEEN.labels[:32])
    (row,) = gradients_by_level(model, SPEC, batch, TERM)
    names = [name for name, _ in model.named_parameters() if name != "pos_embed"]
    try:
        model.requires_grad_(True)
        objective = build_objective(SPEC.objective, 10)
        draws = objective.draw(tuple(batch.images.shape), "levels", SPEC.seed, 0, 0)
        forward = objective.forward(model, batch.images, batch.labels, draws, taps=(1,))
        z = forward.features[1].flatten(1).view(2, 16, -1)
        squared = (z[:, :, None] - z[:, None]).square().mean(-1)
        dispersive = 0.5 * torch.log(torch.exp(-squared / 0.5).mean(dim=(1, 2))).mean()
        grads = []
        for loss in (objective.losses(model, forward).losses.mean(), dispersive):
            model.zero_grad()
            loss.backward(retain_graph=True)
            grads.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    finally:
        model.requires_grad_(False)
        model.zero_grad()
    both = [name for name in names if name in grads[1]]
    pull, push = (torch.cat([g[name].flatten() for name in both]).double() for g in grads)
    assert row["gradient_ratio"] == pytest.approx((push.norm() / pull.norm()).item(), rel=1e-4)
    assert row["gradient_cosine"] == pytest.approx((pull @ push / pull.norm() / push.norm()).item(), abs=1e-4)
    assert {"blocks.0.attn.qkv.weight", "x_embedder.proj.weight"} <= set(both)
    assert "final_layer.linear.weight" not in both


def test_runs_of_two_seeds_do_not_share_the_noise_of_their_gradients(model: DiffusionTransformer) -> None:
    first, again, other = (
        [row["gradient_cosine"] for row in gradients_by_level(model, SPEC.replace(seed=seed), SEEN, TERM)]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", ["DiT-Nano/2", "MF-Nano/2"])
def test_every_system_is_measured(name: str) -> None:
    spec = RunSpec(model=name, batch_size=32, objective=preset(name).objective)
    model = build_model(name).eval().requires_grad_(False)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key != "pos_embed":
                parameter.add_(0.1 * normal(parameter.shape, "levels test", key))
    for row in measure_levels(model, spec, SEEN, UNSEEN, TERM):
        assert row["seen_loss"] > 0
        assert row["gradient_ratio"] is None or row["gradient_ratio"] > 0


def test_a_level_with_few_rows_says_nothing(
    model: DiffusionTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disperse.analysis.levels.PASSES", 1)
    few = ImageSet(SEEN.images[:16], SEEN.labels[:16])
    rows = gradients_by_level(model, SPEC, few, TERM)
    assert {row["gradient_cosine"] for row in rows} == {None}


def test_fewer_images_than_a_group_are_refused(model: DiffusionTransformer) -> None:
    few = ImageSet(SEEN.images[:3], SEEN.labels[:3])
    with pytest.raises(ConfigError, match=f"3 images: expected at least local_batch = {TERM.local_batch}"):
        gradients_by_level(model, SPEC, few, TERM)
