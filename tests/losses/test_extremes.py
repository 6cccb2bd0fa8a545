"""Extreme features: finite, near the float64 reference of the same rounded input, within bounds.

Tolerances are relative to the norm of the gradient: 1e-5 in float32; one rounding of the result in
bfloat16 (2^-8) and float16 (2^-10), since all arithmetic is float32. Two absolute terms: what is
exactly 0 in theory comes out as rounding of the terms that cancel, and float16 has no numbers below
6e-8.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from disperse.losses import DispersiveLoss, NoPairsWarning, bounds

from ..reference import dispersive_autograd
from .cases import DIAGONALS, NAMES, SCALES, features, function, value_and_gradient

B, D = 8, 48


def outlier(z: Tensor) -> Tensor:
    return torch.cat([z[:1] * 1e4, z[1:]])


INPUTS: dict[str, Callable[[], Tensor]] = {
    "normal": lambda: features(B, D, std=1.0),
    "two-rows": lambda: features(2, D, std=1.0),
    "1e4": lambda: 1e4 * features(B, D, std=1.0),
    "1e-20": lambda: 1e-20 * features(B, D, std=1.0),
    "two-rows-1e-20": lambda: 1e-20 * features(2, D, std=1.0),
    "outlier": lambda: outlier(features(B, D, std=1.0)),
    "offset-50": lambda: 50 + features(B, D, std=0.1),
    "offset-1e4": lambda: 1e4 + features(B, D, std=0.1),
    "nearly-equal": lambda: features(1, D, std=1.0) + features(B, D, seed=1, std=1e-4),
    "duplicates": lambda: features(B // 2, D, std=1.0).repeat(2, 1),
}
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-10}


def pairs_of_input_and_dtype() -> list[object]:
    """All inputs in float32 and bfloat16, and in float16 what it can hold."""
    return [
        pytest.param(case, dtype, id=f"{case}-{str(dtype).removeprefix('torch.')}")
        for case in INPUTS
        for dtype in ROUNDING
        if dtype != torch.float16 or "1e-20" not in case
    ]


@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("case", "dtype"), pairs_of_input_and_dtype())
def test_extreme_features(case: str, dtype: torch.dtype, name: str, diagonal: str) -> None:
    z = INPUTS[case]().to(dtype)
    value, gradient = value_and_gradient(name, z, diagonal=diagonal)
    reference, slope = dispersive_autograd.value_and_gradient(name, z, diagonal=diagonal)
    assert (value.dtype, gradient.dtype) == (torch.float32, dtype)
    assert math.isfinite(value.item())
    assert gradient.isfinite().all()
    assert value.item() == pytest.approx(reference.item(), rel=1e-5, abs=1e-6)

    limits = bounds(name, *z.shape, diagonal=diagonal)  # type: ignore[arg-type]
    slack = 1e-6 * max(1.0, abs(limits.ceiling))
    assert limits.floor - slack <= value.item() <= limits.ceiling + slack

    allowed = gradient_tolerance(case, name, z) * slope.norm() + gradient_unit(name, z)
    assert (gradient.double() - slope).norm() <= allowed


def gradient_tolerance(case: str, name: str, z: Tensor) -> float:
    """Relative tolerance of a gradient in norm."""
    tolerance = ROUNDING[z.dtype]
    if name == "infonce-cosine":
        # Unit rows round at 6e-8, and the angles between rows are this small.
        wide = z.double()
        spread = (wide - wide.mean(dim=0)).norm(dim=1)
        tolerance += 1.2e-7 * (wide.norm(dim=1) / spread.clamp_min(1e-30)).max().item()
    if (case, name) == ("outlier", "covariance"):
        # Every column is the outlier, to 1e-4: what is left of the others has fewer digits.
        tolerance *= 10
    return tolerance


def gradient_unit(name: str, z: Tensor) -> float:
    """Rounding of a gradient that is 0 in theory, by the unit that its terms come in."""
    wide = z.double()
    if name == "infonce-cosine":
        unit = 1 / wide.norm(dim=1).min()
    elif name == "covariance":
        spread = (wide - wide.mean(dim=0)).abs().amax(dim=0)
        unit = 1 / spread[spread > 0].min() if spread.any() else torch.tensor(0.0)
    else:
        unit = (wide - wide.mean(dim=0)).abs().max() / z.numel()
    subnormal = 3e-8 * math.sqrt(z.numel()) if z.dtype == torch.float16 else 0.0
    return 1e-6 * unit.item() + subnormal


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize("dtype", [torch.float64, *ROUNDING])
@pytest.mark.parametrize("b", [2, 3, 64])
@pytest.mark.parametrize("name", NAMES)
def test_equal_rows(name: str, b: int, dtype: torch.dtype, diagonal: str, scale: str) -> None:
    for row in (features(1, 5), 1e4 + features(1, 5), torch.zeros(1, 5)):
        z = row.to(dtype).expand(b, 5).contiguous()
        value, gradient = value_and_gradient(name, z, diagonal=diagonal, scale=scale)
        ceiling = bounds(name, b, 5, diagonal=diagonal, scale=scale).ceiling  # type: ignore[arg-type]
        assert value.item() == pytest.approx(ceiling, rel=1e-6)
        assert gradient.eq(0).all()


@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize("name", NAMES)
def test_rows_of_zeros_beside_others(name: str, diagonal: str) -> None:
    z = features(6, 4).float()
    z[2] = 0
    z[5] = 0
    value, gradient = value_and_gradient(name, z, diagonal=diagonal)
    limits = bounds(name, 6, 4, diagonal=diagonal)  # type: ignore[arg-type]
    assert limits.floor <= value.item() <= limits.ceiling
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("b", "group"), [(1, None), (6, 1), (1, 1)])
@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize("scale", SCALES)
def test_one_row_has_no_pairs(name: str, b: int, group: int | None, diagonal: str, scale: str) -> None:
    z = features(b, 7).requires_grad_()
    loss = DispersiveLoss(name, local_batch=group, diagonal=diagonal, scale=scale)  # type: ignore[arg-type]
    with pytest.warns(NoPairsWarning, match="one row has no pairs.*at least 2") as seen:
        value = loss(z)
    assert len(seen) == 1
    assert value.item() == 0
    (gradient,) = torch.autograd.grad(value, z)
    assert gradient.eq(0).all()
    with pytest.warns(NoPairsWarning) as seen:
        report = loss.report(z)
    assert len(seen) == 1
    assert (report.value, report.floor, report.ceiling, report.saturation) == (0, 0, 0, 0)
    assert report.off_diagonal_weight == 0


@pytest.mark.parametrize("name", NAMES)
def test_one_row_warns_in_the_pure_function_too(name: str) -> None:
    with pytest.warns(NoPairsWarning, match=r"shape \(1, 7\)") as seen:
        value, gradient = value_and_gradient(name, features(1, 7))
    assert len(seen) == 1
    assert value.item() == 0
    assert gradient.eq(0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_token_mean_of_half_precision_is_not_rounded(name: str, dtype: torch.dtype) -> None:
    z = (features(B, 3, 16, std=1.0) + 1).to(dtype)
    wide = z.double().mean(dim=1)
    reference = dispersive_autograd.loss(name, wide).item()
    rounded = dispersive_autograd.loss(name, wide.to(dtype).double()).item()
    value = DispersiveLoss(name, tokens="mean")(z).item()
    assert value == pytest.approx(reference, rel=1e-6)
    assert rounded != pytest.approx(reference, rel=1e-6)


def test_temperature_far_below_the_distances() -> None:
    # Weights of pairs come from differences of logits, which are 1e6 here.
    z = features(5, 4)
    for name in ("infonce-l2", "infonce-cosine"):
        for diagonal in DIAGONALS:
            value, gradient = value_and_gradient(name, z.float(), tau=1e-6, diagonal=diagonal)
            reference, slope = dispersive_autograd.value_and_gradient(
                name, z.float(), tau=1e-6, diagonal=diagonal
            )
            assert value.item() == pytest.approx(reference.item(), rel=1e-5)
            # Kept, only the diagonal is left of the sum: no gradient but rounding.
            assert slope.norm() > 0.1 or diagonal == "keep"
            assert (gradient - slope).norm() <= 1e-5 * slope.norm() + 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_autocast_changes_no_bit(name: str, dtype: torch.dtype) -> None:
    z = features(16, 40).to(dtype)
    value, gradient = value_and_gradient(name, z)
    with torch.autocast("cpu", torch.bfloat16):
        inside, slope = value_and_gradient(name, z)
        # The negative control: autocast is on, and would show.
        assert (z.float() @ z.float().mT).dtype == torch.bfloat16
    assert inside.dtype == torch.float32
    assert torch.equal(inside, value)
    assert torch.equal(slope, gradient)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(function(name)(z), value)
