"""The plug-in on models that we didn't write, on two ranks of torch's DistributedDataParallel and FSDP."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from disperse import DispersiveLoss, distributed

from ..ranks import SIZE, Ranks
from .models import CASES, assert_same, batch, build, differ, gradients, losses

LAM, ROWS, DOUBLE = 0.5, 16, torch.float64


def steps(name: str, loss_fn: DispersiveLoss, how: str = "") -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of the whole second batch, and gradients of it, after a step; this rank has its rows alone."""
    model = build(name, DOUBLE).eval()
    run: Any = model
    if how == "ddp":
        run = DistributedDataParallel(model)
    elif how == "fsdp":
        for block in model.transformer_blocks:
            fully_shard(block)
        run = fully_shard(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for number in range(2):
        rows = tuple(column[distributed.rows(ROWS)] for column in batch(number, size=ROWS, dtype=DOUBLE))
        error, term, _ = losses(name, run, run, rows, loss_fn)
        loss = error + LAM * term
        optimizer.zero_grad()
        loss.backward()
        if number == 0:
            optimizer.step()
    found = gradients(model)
    if how == "fsdp":
        found = {key: grad.full_tensor() for key, grad in found.items()}
    return distributed.gathered(loss.detach()).mean(), found


@pytest.mark.parametrize(
    ("how", "name"), [*(("ddp", name) for name in CASES), ("fsdp", "SD3Transformer2DModel")]
)
def test_the_loss_of_ranks(ranks: Ranks, how: str, name: str) -> None:
    """Each rank its own rows, as one process with local_batch = b/2; across ranks, as one process."""
    apart = steps(name, DispersiveLoss(local_batch=ROWS // SIZE))
    whole = steps(name, DispersiveLoss())
    assert differ(apart[1], whole[1])
    for options, (loss, expected) in (({}, apart), ({"across_ranks": True}, whole)):
        for value, found in ranks(steps, name, DispersiveLoss(**options), how):
            torch.testing.assert_close(value, loss, rtol=1e-10, atol=1e-12)
            assert_same(found, expected, 1e-8)
