"""Properties: symmetries, bounds and what attains them, groups, tokens, the report."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from disperse.losses import DispersiveLoss, bounds

from .cases import DIAGONALS, NAMES, SCALES, Options, every_option, features, function

repeatable = settings(deadline=None, derandomize=True, max_examples=20)
seeds = st.integers(0, 2**31 - 1)
rows, widths = st.integers(2, 9), st.integers(2, 12)
stds = st.sampled_from([0.05, 0.5, 1.0, 3.0])
each_option = pytest.mark.parametrize(("name", "options"), every_option())
close = partial(pytest.approx, rel=1e-9, abs=1e-10)
HADAMARD = torch.tensor([[1, 1], [1, -1]], dtype=torch.float64)


@each_option
@repeatable
@given(b=rows, d=widths, std=stds, seed=seeds)
def test_permuting_rows_changes_nothing(
    name: str, options: Options, b: int, d: int, std: float, seed: int
) -> None:
    z = features(b, d, seed=seed, std=std)
    order = torch.randperm(b, generator=torch.Generator().manual_seed(seed))
    loss = function(name)
    assert loss(z[order], **options).item() == close(loss(z, **options).item())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["infonce-l2", "hinge", "covariance"])
@repeatable
@given(b=rows, d=widths, std=stds, offset=st.sampled_from([-100.0, 1.0, 30.0]), seed=seeds)
def test_translating_all_rows_changes_nothing(
    name: str, scale: str, b: int, d: int, std: float, offset: float, seed: int
) -> None:
    z = features(b, d, seed=seed, std=std)
    shift = offset * features(1, d, seed=seed + 1, std=1.0)
    loss = partial(function(name), scale=scale)
    assert loss(z + shift).item() == close(loss(z).item())


@repeatable
@given(b=rows, d=widths, seed=seeds)
def test_translation_does_change_the_cosine(b: int, d: int, seed: int) -> None:
    z = features(b, d, seed=seed)
    loss = function("infonce-cosine")
    assert loss(z + 100).item() > loss(z).item() + 1e-3


@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize("name", ["infonce-l2", "infonce-cosine", "hinge"])
@repeatable
@given(b=rows, d=widths, std=stds, seed=seeds)
def test_rotating_all_rows_changes_nothing(
    name: str, diagonal: str, b: int, d: int, std: float, seed: int
) -> None:
    z = features(b, d, seed=seed, std=std)
    rotation = torch.linalg.qr(features(d, d, seed=seed + 1)).Q
    loss = partial(function(name), diagonal=diagonal)
    assert loss(z @ rotation).item() == close(loss(z).item())


@repeatable
@given(b=rows, d=widths, exponent=st.integers(-12, 12), seed=seeds)
def test_scaling_changes_neither_cosine_nor_covariance(b: int, d: int, exponent: int, seed: int) -> None:
    z = features(b, d, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    by_row = 10.0**exponent * (torch.rand(b, 1, generator=generator).double() + 0.1)
    by_column = 10.0**exponent * (torch.rand(1, d, generator=generator).double() + 0.1)
    for diagonal in DIAGONALS:
        for name, factor in (("infonce-cosine", by_row), ("covariance", by_column)):
            loss = partial(function(name), diagonal=diagonal)
            assert loss(z * factor).item() == close(loss(z).item())


@each_option
@repeatable
@given(
    b=rows,
    d=st.integers(1, 12),
    std=st.sampled_from([1e-3, 0.5, 3.0, 50.0]),
    zeros=st.integers(0, 3),
    copies=st.integers(0, 3),
    seed=seeds,
)
def test_value_stays_within_bounds(
    name: str, options: Options, b: int, d: int, std: float, zeros: int, copies: int, seed: int
) -> None:
    z = features(b, d, seed=seed, std=std)
    z[:zeros] = 0
    z[-copies or b :] = z[-1].clone()
    z[:, :copies] = 3.0
    limits = bounds(name, b, d, **options)  # type: ignore[arg-type]
    value = function(name)(z, **options).item()
    slack = 1e-12 * max(1.0, abs(limits.ceiling))
    assert limits.floor - slack <= value <= limits.ceiling + slack


def simplex(b: int) -> Tensor:
    """Rows at equal angles, as far apart as b directions can be, of unequal lengths."""
    corners = torch.eye(b, dtype=torch.float64) - 1 / b
    return corners * torch.arange(1, b + 1)[:, None]


def orthogonal_columns(copies: int) -> Tensor:
    """Eight rows, 7·copies standardised columns: each uncorrelated with all but its copies."""
    square = torch.kron(torch.kron(HADAMARD, HADAMARD), HADAMARD)
    return square[:, 1:].repeat(1, copies) * 3 + 5


def at_floor(name: str) -> Tensor:
    """Features that attain the floor of a variant."""
    if name == "infonce-cosine":
        return simplex(8)
    if name == "covariance":
        return orthogonal_columns(2)
    return 1e3 * torch.eye(8, dtype=torch.float64)


@each_option
def test_floor_is_attained(name: str, options: Options) -> None:
    z = at_floor(name)
    limits = bounds(name, *z.shape, **options)  # type: ignore[arg-type]
    value = function(name)(z, **options).item()
    if name == "infonce-l2" and options["diagonal"] == "mask":
        assert limits.floor == -math.inf
        assert value < -1e5
        assert function(name)(10 * z, **options).item() == pytest.approx(100 * value)
    else:
        assert limits.floor < limits.ceiling
        assert value == pytest.approx(limits.floor, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("width", [1, 4, 7, 14, 21])
def test_floor_of_covariance_on_both_sides_of_full_rank(width: int) -> None:
    z = orthogonal_columns(3)[:, :width]
    expected = max(1 / width, 1 / 7)
    assert bounds("covariance", 8, width).floor == pytest.approx(expected)
    assert function("covariance")(z).item() == pytest.approx(expected, rel=1e-12)


@each_option
@pytest.mark.parametrize("row", [[0.3, -2.0, 0.1], [0.0, 0.0, 0.0]])
def test_ceiling_is_attained_where_rows_coincide(name: str, options: Options, row: list[float]) -> None:
    z = torch.tensor([row], dtype=torch.float64).expand(6, 3)
    limits = bounds(name, 6, 3, **options)  # type: ignore[arg-type]
    assert function(name)(z, **options).item() == pytest.approx(limits.ceiling, abs=1e-12)


def test_bounds_by_hand() -> None:
    assert bounds("infonce-l2", 16, 5).floor == pytest.approx(-2.772588722239781)
    # Simplex of three: cos = -1/2, tau = 1: log((e + 2 e^-1/2)/3).
    assert bounds("infonce-cosine", 3, 5, tau=1.0).floor == pytest.approx(0.27036885)
    assert bounds("infonce-cosine", 3, 5, tau=1e-3).floor == pytest.approx(1000 - math.log(3))
    assert bounds("hinge", 4, 5, eps=2.0).floor == 1.0
    assert bounds("hinge", 4, 5, eps=2.0).ceiling == 4.0
    limits = bounds("covariance", 4, 6, scale="none")
    assert (limits.floor, limits.ceiling) == (12.0, 36.0)
    limits = bounds("covariance", 4, 6, scale="none", diagonal="mask")
    assert (limits.floor, limits.ceiling) == (6.0, 30.0)
    assert bounds("covariance", 4, 6, diagonal="mask").floor == pytest.approx(6 / 30)


@repeatable
@given(b=rows, d=widths, std=stds, seed=seeds)
def test_duplicates_have_distance_zero_and_one_gradient(b: int, d: int, std: float, seed: int) -> None:
    z = features(b, d, seed=seed, std=std)
    for name in NAMES:
        twice = torch.cat([z, z]).requires_grad_()
        value = function(name)(twice)
        (gradient,) = torch.autograd.grad(value, twice)
        torch.testing.assert_close(gradient[:b], gradient[b:], rtol=1e-8, atol=1e-12)
        # Each kept pair occurs four times over: the mean, and so the value, is that of z alone.
        assert value.item() == close(function(name)(z).item())


@each_option
@repeatable
@given(groups=st.integers(1, 4), g=st.integers(2, 5), d=widths, seed=seeds)
def test_local_batch_is_the_mean_over_groups(
    name: str, options: Options, groups: int, g: int, d: int, seed: int
) -> None:
    z = features(groups * g, d, seed=seed).requires_grad_()
    loss = DispersiveLoss(name, local_batch=g, **options)  # type: ignore[arg-type]
    single = DispersiveLoss(name, **options)  # type: ignore[arg-type]
    together, apart = loss(z), torch.stack([single(part) for part in z.split(g)]).mean()
    assert together.item() == pytest.approx(apart.item(), rel=1e-12, abs=1e-13)
    (a,), (b,) = torch.autograd.grad(together, z), torch.autograd.grad(apart, z)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13)


def test_local_batch_matters() -> None:
    z = features(8, 5)
    for name in NAMES:
        whole, split = DispersiveLoss(name)(z), DispersiveLoss(name, local_batch=4)(z)
        assert abs(whole.item() - split.item()) > 1e-3, name


@pytest.mark.parametrize("name", NAMES)
def test_tokens(name: str) -> None:
    z = features(6, 4, 5)
    flat, mean = DispersiveLoss(name)(z), DispersiveLoss(name, tokens="mean")(z)
    assert flat.item() == DispersiveLoss(name)(z.reshape(6, 20)).item()
    assert mean.item() == DispersiveLoss(name)(z.mean(dim=1)).item()
    assert abs(flat.item() - mean.item()) > 1e-3
    # Maps (b, c, h, w) are flattened likewise.
    assert DispersiveLoss(name)(z.reshape(6, 2, 2, 5)).item() == flat.item()


@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize("name", NAMES)
def test_report_at_ceiling_and_floor(name: str, diagonal: str) -> None:
    loss = DispersiveLoss(name, diagonal=diagonal)  # type: ignore[arg-type]
    collapsed = loss.report(features(1, 6).expand(5, 6))
    spread = loss.report(at_floor(name))
    if name == "infonce-l2" and diagonal == "mask":
        assert math.isnan(collapsed.saturation)
        assert math.isnan(spread.saturation)
        return
    assert collapsed.saturation == pytest.approx(0.0, abs=1e-9)
    assert collapsed.value == pytest.approx(collapsed.ceiling, abs=1e-9)
    assert spread.saturation == pytest.approx(1.0, abs=1e-9)
    assert spread.value == pytest.approx(spread.floor, abs=1e-9)


@each_option
def test_report_matches_the_loss(name: str, options: Options) -> None:
    z = features(12, 5, std=0.4)
    loss = DispersiveLoss(name, local_batch=4, **options)  # type: ignore[arg-type]
    masked = DispersiveLoss(name, local_batch=4, **{**options, "diagonal": "mask"})  # type: ignore[arg-type]
    report, limits = loss.report(z), bounds(name, 4, 5, **options)  # type: ignore[arg-type]
    assert report.value == pytest.approx(loss(z).item(), rel=1e-12)
    assert report.off_diagonal_value == pytest.approx(masked(z).item(), rel=1e-12)
    assert (report.floor, report.ceiling) == (limits.floor, limits.ceiling)
    if math.isfinite(report.floor):
        share = (limits.ceiling - report.value) / (limits.ceiling - limits.floor)
        assert report.saturation == pytest.approx(share, rel=1e-9)


@pytest.mark.parametrize(("std", "weight"), [(0.5, 0.99), (1.0, 0.82), (1.5, 0.03)])
def test_report_off_diagonal_weight_of_gaussian_features(std: float, weight: float) -> None:
    z = features(256, 4096, std=std).float()
    report = DispersiveLoss("infonce-l2", tau=0.5).report(z)
    assert report.off_diagonal_weight == pytest.approx(weight, abs=0.006)
    # Distances concentrate at 2 std²: 255 terms e^(-4 std²) in each row beside one term 1.
    off = 255 * math.exp(-4 * std**2)
    assert report.off_diagonal_weight == pytest.approx(off / (1 + off), abs=0.006)


@pytest.mark.parametrize("scale", SCALES)
def test_report_off_diagonal_weight_by_hand(scale: str) -> None:
    z = torch.tensor([[0.0], [0.5], [2.0]], dtype=torch.float64)
    hinge = DispersiveLoss("hinge", scale=scale).report(z)  # type: ignore[arg-type]
    assert hinge.off_diagonal_weight == pytest.approx(1.125 / 4.125)
    # Two terms 1 and e^-2 in each row.
    pair = DispersiveLoss("infonce-l2", scale=scale).report(z[::2] / 2)  # type: ignore[arg-type]
    assert pair.off_diagonal_weight == pytest.approx(math.exp(-2) / (1 + math.exp(-2)))
    z = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 3.0]]).double()
    report = DispersiveLoss("covariance", scale=scale).report(z)  # type: ignore[arg-type]
    assert report.off_diagonal_weight == pytest.approx(1.5 / 3.5)


def test_report_averages_weights_over_groups() -> None:
    collapsed, far = torch.zeros(4, 8).double(), 100 * torch.eye(4, 8).double()
    report = DispersiveLoss("infonce-l2", local_batch=4).report(torch.cat([collapsed, far]))
    # Three quarters of the first group's terms, none of the second's.
    assert report.off_diagonal_weight == pytest.approx(0.375)
