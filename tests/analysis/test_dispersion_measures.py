"""Measures of spread on features whose answer is known."""

import math

import pytest
import torch

from disperse.analysis import block_features, descend, measure, measure_blocks
from disperse.data import ImageSet, digits
from disperse.errors import ConfigError, NonFiniteError
from disperse.losses import VARIANTS, DispersiveLoss
from disperse.models import build_model
from disperse.rng import normal


def test_an_isotropic_gaussian() -> None:
    z = measure(0.5 * normal((64, 4096), "isotropic"))
    assert z.rms == pytest.approx(0.5, rel=0.01)
    assert z.spread == pytest.approx(0.5 * math.sqrt(63 / 64), rel=0.01)
    assert 62 < z.effective_rank <= 63 + 1e-9
    assert abs(z.mean_cosine) < 5 / math.sqrt(4096 * 64 * 63 / 2)


def test_rows_by_hand() -> None:
    z = measure(torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, -4.0]]))
    assert z.rms == pytest.approx(math.sqrt(41 / 6))
    assert z.spread == pytest.approx(math.sqrt((41 / 6) - 1 / 2))  # the mean is (1, 0)
    assert z.mean_cosine == pytest.approx(-1 / 3)
    singular = math.sqrt(6), math.sqrt(32)
    shares = [s / sum(singular) for s in singular]
    assert z.effective_rank == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)))


@pytest.mark.parametrize(("b", "d"), [(2, 50), (5, 50), (9, 300), (40, 3)])
def test_effective_rank_is_at_most_rows_less_one_and_columns(b: int, d: int) -> None:
    rank = measure(normal((b, d), "bound", b)).effective_rank
    bound = min(b - 1, d)
    assert rank <= bound + 1e-6
    assert rank > 0.8 * bound


def test_duplicated_rows_have_the_rank_of_one_copy_but_a_higher_cosine() -> None:
    z = normal((6, 40), "rows")
    once, thrice = measure(z), measure(z.repeat(3, 1))
    assert thrice.effective_rank == pytest.approx(once.effective_rank, rel=1e-6)
    assert thrice.rms == pytest.approx(once.rms)
    # 2 of the other 17 rows are copies, with cosine 1.
    assert thrice.mean_cosine == pytest.approx((2 + 15 * once.mean_cosine) / 17)


def test_collapse_to_a_point_and_to_a_line() -> None:
    point = measure(torch.full((7, 9), 0.1))
    assert point.spread == pytest.approx(0, abs=1e-12)
    assert point.effective_rank == pytest.approx(1, abs=1e-6)
    assert point.mean_cosine == pytest.approx(1)
    line = measure(torch.linspace(-1, 2, 16)[:, None] * normal((1, 30), "direction"))
    assert line.effective_rank == pytest.approx(1, abs=1e-5)


def test_an_offset_moves_norm_and_cosine_but_neither_spread_nor_rank() -> None:
    z = normal((20, 64), "offset").double()
    plain, moved = measure(z), measure(z + 5)
    assert moved.rms > 4 * plain.rms
    assert moved.mean_cosine > 0.9
    assert moved.spread == pytest.approx(plain.spread)
    assert moved.effective_rank == pytest.approx(plain.effective_rank)
    tokens = measure(z.view(20, 8, 8))
    assert tokens == plain


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_rows_have_no_spread(rows: int) -> None:
    with pytest.raises(ConfigError, match="at least two rows"):
        measure(torch.zeros(rows, 3))


def test_features_that_are_not_finite_are_named() -> None:
    z = torch.zeros(4, 3)
    z[2, 1] = math.nan
    with pytest.raises(NonFiniteError, match="NaN"):
        measure(z)


@pytest.mark.parametrize("variant", VARIANTS)
def test_descending_lowers_every_variant(variant: str) -> None:
    points, loss = 0.2 * normal((12, 3), "points") + 0.5, DispersiveLoss(variant)
    path = descend(points, loss, num_steps=30, lr=0.02)
    assert path.shape == (31, 12, 3)
    assert torch.equal(path[0], points)
    assert loss(path[-1]) < loss(path[0]) - 0.01
    assert not path.requires_grad


def test_blocks_are_measured_level_by_level() -> None:
    model = build_model("SiT-Nano/2", depth=2).eval()
    torch.nn.init.normal_(model.blocks[1].adaLN_modulation[1].weight, std=0.5)
    data = ImageSet(digits("held-out").images[:16], digits("held-out").labels[:16])
    rows = measure_blocks(model, data, levels=(0.0, 1.0))
    assert [(row["level"], row["block"]) for row in rows] == [(0.0, 0), (0.0, 1), (1.0, 0), (1.0, 1)]
    # At level 0 the input is the image itself, at level 1 noise alone.
    clean = block_features(model, data, level=0.0, seed=0)[0]
    assert torch.equal(clean, block_features(model, data, level=0.0, seed=1)[0])
    pure = block_features(model, data, level=1.0)[0]
    other = ImageSet(data.images.flip(0), data.labels)
    assert torch.equal(pure, block_features(model, other, level=1.0)[0])
