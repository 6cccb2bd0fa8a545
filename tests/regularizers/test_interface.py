"""Any term with any objective: views, schedules, weights by noise level, and sums."""

from typing import Any

import pytest
import torch

from disperse.errors import ConfigError
from disperse.losses import ContrastiveLoss, DispersiveLoss, alignment
from disperse.models import DiffusionTransformer, build_model
from disperse.objectives import ForwardPass, IndependentNoise, RestrictedNoise, build_objective
from disperse.regularizers import AlignmentSpec, ContrastiveSpec, DispersiveSpec, build_regularizer
from disperse.rng import normal

X, Y = normal((8, 1, 8, 8), "x"), torch.arange(8)


def awake(name: str) -> DiffusionTransformer:
    model = build_model(name, depth=2, hidden_size=32, num_heads=2)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * normal(parameter.shape, "awake", key))
    return model


def passes(name: str) -> tuple[ForwardPass, ForwardPass]:
    model = awake(name)
    objective = build_objective(model.objective, 10)
    draws = objective.draw(tuple(X.shape), 0)
    second = objective.second_view(draws, IndependentNoise(), 0)
    return tuple(objective.forward(model, X, Y, d, taps=(0, 1)) for d in (draws, second))


@pytest.mark.parametrize("name", ["SiT-Nano/2", "DiT-Nano/2", "MF-Nano/2"])
def test_every_term_works_with_every_objective(name: str) -> None:
    first, second = passes(name)
    dispersive = build_regularizer(DispersiveSpec(blocks=(1,), local_batch=4), 2)
    contrastive = build_regularizer(ContrastiveSpec(blocks=(0, 1), variant="hinge", view="independent"), 2)
    assert dispersive.view is None
    assert dispersive(first, None).loss == DispersiveLoss(local_batch=4)(first.features[1])
    loss = ContrastiveLoss("hinge")
    expected = (loss(first.features[0], second.features[0]) + loss(first.features[1], second.features[1])) / 2
    torch.testing.assert_close(contrastive(first, second).loss, expected)


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_alignment_beside_a_dispersive_term(distance: str) -> None:
    first, second = passes("SiT-Nano/2")
    spec = AlignmentSpec(blocks=(0, 1), distance=distance, tau=0.2, view="independent")
    term = build_regularizer(spec, 2)
    assert term.view == IndependentNoise()
    rows = [(first.features[k].flatten(1), second.features[k].flatten(1)) for k in (0, 1)]
    expected = sum(alignment(*pair, tau=0.2, distance=distance) for pair in rows) / 2
    torch.testing.assert_close(term(first, second).loss, expected)
    averaged = build_regularizer(spec.model_copy(update={"tokens": "mean", "blocks": (1,)}), 2)
    means = (view.features[1].mean(dim=1) for view in (first, second))
    torch.testing.assert_close(averaged(first, second).loss, alignment(*means, tau=0.2, distance=distance))


@pytest.mark.parametrize(
    ("options", "view"),
    [({"view": "independent"}, IndependentNoise()), ({"view": "restricted", "max_dt": 0.02}, RestrictedNoise(0.02)),
     ({}, RestrictedNoise(0.005))],
)  # fmt: skip
def test_the_view_that_a_contrastive_term_asks_for(options: dict[str, Any], view: object) -> None:
    assert build_regularizer(ContrastiveSpec(**options), 4).view == view


@pytest.mark.parametrize(
    "options",
    [{"tau": 0.2}, {"candidates": "own"}, {"diagonal": "mask"}, {"scale": "none"}, {"tokens": "mean"},
     {"local_batch": 2}, {"variant": "infonce-cosine"}, {"variant": "hinge", "eps": 3.0},
     {"variant": "covariance", "offdiagonal_weight": 0.1}],
    ids=str,
)  # fmt: skip
def test_contrastive_options_reach_the_loss(options: dict[str, Any]) -> None:
    first, second = passes("SiT-Nano/2")
    got = build_regularizer(ContrastiveSpec(blocks=(1,), **options), 2)(first, second).loss
    assert got == ContrastiveLoss(**options)(first.features[1], second.features[1])
    assert got != ContrastiveLoss()(first.features[1], second.features[1])


def test_weights_by_noise_level() -> None:
    first, _ = passes("SiT-Nano/2")
    values = {
        kind: build_regularizer(DispersiveSpec(blocks=(1,), time_weight=kind), 2)(first, None).loss
        for kind in ("none", "clean", "noisy")
    }
    level = 1 - first.draws.t
    assert values["none"] == DispersiveLoss()(first.features[1])
    assert values["noisy"] == DispersiveLoss()(first.features[1], level)
    assert values["clean"] == DispersiveLoss()(first.features[1], 1 - level)
    assert len({value.item() for value in values.values()}) == 3


def test_lambda_by_its_schedule() -> None:
    constant = build_regularizer(DispersiveSpec(lam=0.4), 4)
    assert [constant.weight(step) for step in (0, 10**6)] == [0.4, 0.4]
    ramp = build_regularizer(DispersiveSpec(lam=0.4, lam_schedule=((10, 0.0), (20, 1.0), (40, 0.5))), 4)
    assert [ramp.weight(step) for step in (0, 10, 15, 20, 30, 40, 99)] == pytest.approx(
        [0, 0, 0.2, 0.4, 0.3, 0.2, 0.2]
    )


@pytest.mark.parametrize("knots", [((5, 1.0), (5, 0.0)), ((5, 1.0), (2, 0.0)), ((-1, 1.0),), ((0, -0.5),)])
def test_bad_schedules_are_named(knots: Any) -> None:
    with pytest.raises(ConfigError, match="lam_schedule"):
        DispersiveSpec(lam_schedule=knots)


def test_gradients_reach_the_model_through_both_views() -> None:
    first, second = passes("SiT-Nano/2")
    term = build_regularizer(ContrastiveSpec(blocks=(1,)), 2)
    for gradient in torch.autograd.grad(term(first, second).loss, [first.features[1], second.features[1]]):
        assert gradient.abs().sum() > 0
