"""The dispersive term reads the blocks and options of its specification."""

from typing import Any

import pytest
import torch
from torch import Tensor

from disperse.errors import ConfigError
from disperse.losses import DispersiveLoss
from disperse.objectives import Draws, ForwardPass
from disperse.regularizers import (
    ContrastiveSpec,
    DispersiveRegularizer,
    DispersiveSpec,
    block_indices,
    build_regularizer,
)
from disperse.rng import normal

FEATURES = {block: (0.3 + 0.2 * block) * normal((8, 4, 6), "features", block) for block in range(4)}


def forward_pass(features: dict[int, Tensor]) -> ForwardPass:
    nothing = torch.zeros(8)
    draws = Draws(nothing, nothing, nothing)
    return ForwardPass(nothing, nothing, nothing, nothing, draws, nothing, nothing, features)


@pytest.mark.parametrize(
    ("blocks", "depth", "expected"),
    [("quarter", 12, (2,)), ("quarter", 28, (6,)), ("quarter", 24, (5,)), ("quarter", 4, (0,)),
     ("quarter", 1, (0,)), ("quarter", 7, (0,)), ("last", 1, (0,)), (0.25, 12, (2,)), (0.5, 12, (5,)), (1.0, 12, (11,)), (0.01, 12, (0,)), (0.29, 100, (28,)), ("last", 28, (27,)), ("all", 1, (0,)),
     ("all", 4, (0, 1, 2, 3)), ((3,), 4, (3,)), ((2, 0), 4, (2, 0))],
)  # fmt: skip
def test_blocks_by_name_and_index(blocks: Any, depth: int, expected: tuple[int, ...]) -> None:
    assert block_indices(blocks, depth) == expected


@pytest.mark.parametrize(
    ("blocks", "message"),
    [("quater", 'did you mean "quarter"'), ((), "at least one"), ((4,), "4.*0 to 3"), ((-1,), "-1.*0 to 3"),
     ((0, 9), "9.*0 to 3"), (("1",), "'1'"), ((True,), "True"), ((1.0,), r"1\.0"), ((1, 1), "each once"),
     (0.0, "fraction"), (1.5, "fraction")],
)  # fmt: skip
def test_bad_blocks_are_named(blocks: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"regularizer.blocks.*{message}") as caught:
        block_indices(blocks, 4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "infonce-l2", "tau": 0.2},
        {"variant": "infonce-cosine", "tau": 2.0},
        {"variant": "hinge", "eps": 0.3},
        {"variant": "covariance"},
        {"diagonal": "mask"},
        {"scale": "none"},
        {"tokens": "mean"},
        {"local_batch": 2},
    ],
    ids=str,
)
def test_options_reach_the_loss(options: dict[str, Any]) -> None:
    term = DispersiveRegularizer(DispersiveSpec(**options, blocks=(1,)), depth=4)
    got = term(forward_pass(FEATURES)).loss
    assert got == DispersiveLoss(**options)(FEATURES[1])
    if options != {"variant": "infonce-l2", "tau": 0.5}:
        assert got != DispersiveLoss()(FEATURES[1])


def test_several_blocks_are_averaged_and_the_weight_is_left_to_the_trainer() -> None:
    def value(blocks: Any, **options: Any) -> Tensor:
        return DispersiveRegularizer(DispersiveSpec(blocks=blocks, **options), 4)(forward_pass(FEATURES)).loss

    each = torch.stack([value((block,)) for block in range(4)])
    assert each.unique().numel() == 4
    torch.testing.assert_close(value("all"), each.mean())
    torch.testing.assert_close(value((3, 1)), (each[1] + each[3]) / 2)
    assert value("quarter") == each[0]
    assert value("last") == each[3]
    assert value("all", lam=0.25) == value("all", lam=1.0)
    assert DispersiveRegularizer(DispersiveSpec(lam=0.25), 4).lam == 0.25


def test_gradients_reach_the_blocks_that_are_read() -> None:
    features = {block: z.clone().requires_grad_() for block, z in FEATURES.items()}
    output = DispersiveRegularizer(DispersiveSpec(blocks=(0, 2)), 4)(forward_pass(features))
    output.loss.backward()
    assert [block for block, z in features.items() if z.grad is not None] == [0, 2]
    assert features[0].grad.abs().sum() > 0
    assert output.logs["dispersive"] == output.loss
    assert not output.logs["dispersive"].requires_grad


def test_diagnostics_are_averaged_over_blocks() -> None:
    term = DispersiveRegularizer(DispersiveSpec(blocks=(0, 2)), 4)
    each = [DispersiveLoss().off_diagonal_weight(FEATURES[block]) for block in (0, 2)]
    assert abs(each[0] - each[1]) > 1e-3
    torch.testing.assert_close(
        term.diagnostics(forward_pass(FEATURES)), {"off_diagonal_weight": (each[0] + each[1]) / 2}
    )


@pytest.mark.parametrize("kind", [DispersiveSpec, ContrastiveSpec])
def test_nan_is_left_to_the_trainer(kind: type) -> None:
    """Which checks the total of a step once, instead of waiting for the device in every term."""
    bad = forward_pass({0: FEATURES[0].clone().fill_(float("nan"))})
    assert build_regularizer(kind(), 4)(bad, bad).loss.isnan()


@pytest.mark.parametrize("kind", [DispersiveSpec, ContrastiveSpec])
def test_the_weight_is_lambda_times_the_factor_of_the_schedule(kind: type) -> None:
    def weights(**options: Any) -> list[float]:
        term = build_regularizer(kind(lam=0.5, **options), 4)
        return [term.weight(step) for step in (0, 10, 14, 20, 99)]

    assert weights() == [0.5] * 5
    assert weights(lam_schedule=((10, 0.0), (20, 1.5))) == pytest.approx([0, 0, 0.3, 0.75, 0.75])
    assert weights(lam_schedule=((10, 0.25),)) == [0.125] * 5
