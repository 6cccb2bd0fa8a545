"""Rows on two ranks that see each other: value and gradient of one process with all rows."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from disperse import DispersiveLoss, distributed
from disperse.errors import ConfigError
from disperse.losses import VARIANTS, ContrastiveLoss

from ..ranks import SIZE, Ranks

ROWS, WIDTH = 12, 7  # a width that 2 does not divide
CLOSE = {"rtol": 1e-11, "atol": 1e-14}


def features(seed: int, *shape: int) -> Tensor:
    drawn = torch.randn(ROWS, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn * 0.7 + 3  # far from the origin, as inner features are


def values(loss: nn.Module, views: list[Tensor], weights: Tensor | None = None) -> list[Tensor]:
    """Loss of this rank's rows, averaged over ranks, and gradients of the mean over ranks, of all rows."""
    own = distributed.rows(ROWS)
    inputs = [view[own].clone().requires_grad_() for view in views]
    rest = {} if weights is None else {"weights": weights[own]}
    value = loss(*inputs, **rest)
    value.backward()
    gradients = [distributed.gathered(view.grad).flatten(0, 1) / distributed.size() for view in inputs]
    return [distributed.gathered(value).mean(), *gradients]


def compare(ranks: Ranks, loss: nn.Module, *views: Tensor, weights: Tensor | None = None) -> None:
    expected = values(loss, list(views), weights)
    for found in ranks(values, loss, list(views), weights):
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("local_batch", [None, 4, 3], ids=["whole", "across", "within"])
@pytest.mark.parametrize("diagonal", ["keep", "mask"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_dispersive(ranks: Ranks, variant: str, diagonal: Any, local_batch: int | None) -> None:
    loss = DispersiveLoss(variant, diagonal=diagonal, local_batch=local_batch, across_ranks=True)
    compare(ranks, loss, features(1, WIDTH))


@pytest.mark.parametrize("scale", ["none", "rms"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_tokens_and_scale(ranks: Ranks, variant: str, scale: Any) -> None:
    weights = torch.rand(ROWS, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    loss = DispersiveLoss(variant, tau=2.0, eps=9.0, scale=scale, tokens="mean", across_ranks=True)
    compare(ranks, loss, features(3, 5, WIDTH), weights=weights)


@pytest.mark.parametrize("local_batch", [None, 4, 3], ids=["whole", "across", "within"])
@pytest.mark.parametrize("candidates", ["second", "own"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_contrastive(ranks: Ranks, variant: str, candidates: Any, local_batch: int | None) -> None:
    loss = ContrastiveLoss(variant, candidates=candidates, local_batch=local_batch, across_ranks=True)
    compare(ranks, loss, features(4, WIDTH), features(4, WIDTH) + 0.1 * features(5, WIDTH))


@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_of_zeros_and_constant_dimensions(ranks: Ranks, variant: str) -> None:
    z = features(6, WIDTH)
    z[[2, 9]] = 0  # one on each rank
    z[:, 4] = 0
    compare(ranks, DispersiveLoss(variant, across_ranks=True), z)


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_dimension(ranks: Ranks, variant: str) -> None:
    """The second rank's share of it is nothing."""
    compare(ranks, DispersiveLoss(variant, across_ranks=True), features(7, 1))


def reports(loss: DispersiveLoss, z: Tensor) -> tuple[Any, Tensor]:
    own = z[distributed.rows(ROWS)]
    return loss.report(own), loss.off_diagonal_weight(own)


@pytest.mark.parametrize("variant", VARIANTS)
def test_reports(ranks: Ranks, variant: str) -> None:
    loss, z = DispersiveLoss(variant, across_ranks=True), features(8, WIDTH)
    expected, weight = reports(loss, z)
    for found, share in ranks(reports, loss, z):
        assert vars(found) == pytest.approx(vars(expected), rel=1e-10)
        torch.testing.assert_close(share, weight, **CLOSE)


def test_ranks_see_their_own_rows_unless_asked(ranks: Ranks) -> None:
    """The default is that of the released code, and what the comparisons above would catch."""
    z = features(9, WIDTH)
    loss = DispersiveLoss()
    own = torch.stack([loss(part) for part in z.chunk(SIZE)]).mean()
    (found, _), _ = ranks(values, loss, [z])
    torch.testing.assert_close(found, own, **CLOSE)
    assert abs(found - loss(z)) > 1e-2


def exchanges(loss: DispersiveLoss, z: Tensor) -> int:
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("all_reduce", "all_to_all_single", "all_gather"):
            patch.setattr(torch.distributed, name, lambda *_, **__: calls.append(1))
        loss(z[distributed.rows(ROWS)])
    return len(calls)


def test_groups_within_ranks_exchange_nothing(ranks: Ranks) -> None:
    counts = [
        ranks(exchanges, DispersiveLoss(local_batch=g, across_ranks=True, validate=False), features(1, WIDTH))
        for g in (3, 6, 4, None)
    ]
    assert counts[:2] == [[0, 0]] * 2
    assert all(count > 0 for count in [*counts[2], *counts[3]])


def uneven(loss: nn.Module, z: Tensor) -> str:
    with pytest.raises(ConfigError) as caught:
        loss(z[: 5 + distributed.rank()])
    return str(caught.value)


def test_other_numbers_of_rows_are_refused(ranks: Ranks) -> None:
    messages = ranks(uneven, DispersiveLoss(across_ranks=True), features(1, WIDTH))
    assert messages[0] == messages[1]
    assert "[[5, 7], [6, 7]]" in messages[0]


def half(loss: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    own = z[distributed.rows(ROWS)].requires_grad_()
    value = loss(own)
    value.backward()
    return value.detach(), own.grad


def test_half_precision_is_computed_in_single(ranks: Ranks) -> None:
    z = features(1, WIDTH).bfloat16()
    whole, _ = half(DispersiveLoss(), z.clone())
    for value, gradient in ranks(half, DispersiveLoss(across_ranks=True), z):
        torch.testing.assert_close(value, whole, rtol=1e-6, atol=0)
        assert gradient.dtype == torch.bfloat16
