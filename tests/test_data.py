"""Digits, batches, random streams, the objective."""

import numpy as np
import pytest
import torch

from disperse.atomic import digest
from disperse.data import batch_indices, digits
from disperse.errors import ConfigError
from disperse.models import build_model
from disperse.objectives import FlowMatching, interpolate, noise_level, time_of_noise_level
from disperse.regularizers import DispersiveRegularizer, block_indices
from disperse.rng import normal, stream
from disperse.spec import DispersiveSpec


def test_the_split_is_fixed_balanced_and_disjoint() -> None:
    train, held_out = digits("train"), digits("held-out")
    assert (len(train), len(held_out)) == (1297, 500)
    assert held_out.labels.bincount().tolist() == [50] * 10
    rows = {tuple(image.flatten().tolist()) for image in train.images}
    assert not any(tuple(image.flatten().tolist()) in rows for image in held_out.images)
    assert train.images.min() == -1
    assert train.images.max() == 1
    assert digest(held_out.labels.tolist()) == "ad3a8956ccca"
    with pytest.raises(ConfigError, match="did you mean"):
        digits("heldout")


def test_every_epoch_shows_every_sample_once() -> None:
    seen = torch.cat([batch_indices(10, 4, seed=1, step=step) for step in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert torch.equal(batch_indices(10, 4, 1, 2), seen[8:12])
    assert not torch.equal(batch_indices(100, 50, 1, 0), batch_indices(100, 50, 2, 0))
    with pytest.raises(ConfigError, match="batch_size = 11"):
        batch_indices(10, 11, 0, 0)


def test_streams_depend_on_the_key_and_its_types_alone() -> None:
    first = stream("a", 1).standard_normal(4)
    assert np.array_equal(first, stream("a", 1).standard_normal(4))
    for other in (("a", "1"), ("a", 2), ("b", 1), ("a",), ("a1",), ("a", 1 + 2**32)):
        assert not np.array_equal(first, stream(*other).standard_normal(4))


def test_why_streams_are_not_torch_generators() -> None:
    """PyTorch's CPU generator keeps 32 bits of the seed: two seeds, one stream."""
    draws = [torch.rand(4, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2**32 + 1)]
    assert torch.equal(*draws)


def test_interpolant_and_losses_by_hand() -> None:
    x, objective = torch.randn(6, 1, 8, 8), FlowMatching(10, label_drop=0.5)
    draws = objective.draw((6, 1, 8, 8), 0, 3)
    assert torch.equal(interpolate(x, draws.eps, torch.ones(6)), x)
    assert torch.equal(interpolate(x, draws.eps, torch.zeros(6)), draws.eps)
    model = build_model("SiT-Nano/2", depth=2)
    torch.nn.init.normal_(model.final_layer.linear.weight)
    result = objective(model, x, torch.arange(6), draws, taps=(0,))
    for i in range(6):
        y = torch.tensor([10 if draws.dropped[i] else i])
        x_t = draws.t[i] * x[i] + (1 - draws.t[i]) * draws.eps[i]
        out = model(x_t[None], draws.t[i : i + 1], y)[0]
        expected = (out - (x[i] - draws.eps[i])).square().mean()
        torch.testing.assert_close(result.losses[i], expected, rtol=1e-4, atol=1e-6)
    assert result.features[0].requires_grad
    assert objective.draw((6, 1, 8, 8), 0, 4).t.tolist() != draws.t.tolist()


def test_label_drop_rate_and_time_range() -> None:
    draws = FlowMatching(10, label_drop=0.1).draw((20_000, 1), 0)
    assert draws.dropped.float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert 0 <= draws.t.min() < 0.001
    assert 0.999 < draws.t.max() < 1
    assert draws.eps.std().item() == pytest.approx(1, abs=0.02)


def test_noise_level_there_and_back() -> None:
    t = torch.linspace(0, 1, 5)
    assert torch.equal(time_of_noise_level(noise_level(t)), t)
    assert noise_level(torch.tensor(0.0)) == 1


@pytest.mark.parametrize(
    ("blocks", "depth", "expected"),
    [
        ("quarter", 12, (2,)),
        ("quarter", 28, (6,)),
        ("quarter", 4, (0,)),
        ("quarter", 3, (0,)),
        ("last", 12, (11,)),
        ("all", 3, (0, 1, 2)),
        ((0, 5), 12, (0, 5)),
    ],
)
def test_blocks(blocks: object, depth: int, expected: tuple[int, ...]) -> None:
    assert block_indices(blocks, depth) == expected


def test_blocks_outside_the_model() -> None:
    with pytest.raises(ConfigError, match="12 is not a block"):
        block_indices((12,), 12)
    with pytest.raises(ConfigError, match="empty"):
        block_indices((), 12)


def test_a_regulariser_averages_its_blocks() -> None:
    objective, model = FlowMatching(10), build_model("SiT-Nano/2")
    torch.nn.init.normal_(model.blocks[1].adaLN_modulation[1].weight, std=0.1)
    x = normal((8, 1, 8, 8), "x")
    forward = objective(model, x, torch.arange(8), objective.draw((8, 1, 8, 8), 0), taps=(0, 1))
    one, two, both = (
        DispersiveRegularizer(DispersiveSpec(blocks=blocks, tau=0.1, local_batch=4), 4)(forward).loss
        for blocks in ((0,), (1,), (0, 1))
    )
    assert one != two
    torch.testing.assert_close(both, (one + two) / 2)
