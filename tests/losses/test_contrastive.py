"""The contrastive parents: float64 loops, gradients, limits, and what the module makes of views."""

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from disperse.errors import ConfigError, NonFiniteError
from disperse.losses import (
    ContrastiveLoss,
    NoPairsWarning,
    alignment,
    contrastive_covariance,
    contrastive_hinge,
    contrastive_infonce_cosine,
    contrastive_infonce_l2,
    infonce_l2,
)
from disperse.rng import normal

from ..reference import contrastive_loops as loops

FUNCTIONS = {
    "infonce-l2": (contrastive_infonce_l2, partial(loops.infonce, loops.squared), {"tau": 0.4}),
    "infonce-cosine": (
        contrastive_infonce_cosine,
        partial(loops.infonce, loops.negative_cosine),
        {"tau": 0.4},
    ),
    "hinge": (contrastive_hinge, loops.hinge, {"eps": 2.5}),
}
OPTIONS = list(itertools.product(["second", "own"], ["keep", "mask"], ["dim", "none"]))


def views(b: int = 6, d: int = 5, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    first = normal((b, d), "first").double()
    return first, first + noise * normal((b, d), "second").double()


@pytest.mark.parametrize("variant", FUNCTIONS)
@pytest.mark.parametrize(("candidates", "diagonal", "scale"), OPTIONS)
def test_values_equal_loops(variant: str, candidates: str, diagonal: str, scale: str) -> None:
    function, loop, own = FUNCTIONS[variant]
    first, second = views()
    options = {"candidates": candidates, "diagonal": diagonal, "scale": scale, **own}
    expected = loop(first.numpy(), second.numpy(), **options)
    assert function(first, second, **options).item() == pytest.approx(expected, rel=1e-12)
    assert function(first.float(), second.float(), **options).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("distance", "loop"), [("l2", loops.squared), ("cosine", loops.negative_cosine)])
@pytest.mark.parametrize("scale", ["dim", "none"])
def test_alignment_equals_a_loop(distance: str, loop: object, scale: str) -> None:
    first, second = views()
    expected = loops.alignment(loop, first.numpy(), second.numpy(), tau=0.4, scale=scale)
    got = alignment(first, second, tau=0.4, distance=distance, scale=scale)
    assert got.item() == pytest.approx(expected, rel=1e-12)
    leaves = tuple(view.requires_grad_() for view in views(4, 3))
    assert torch.autograd.gradcheck(lambda a, b: alignment(a, b, distance=distance), leaves)


def test_alignment_is_what_infonce_has_beyond_the_repulsion() -> None:
    """``contrastive = alignment + E_i log Σ_j exp(−D(z_i, z_j)/τ)`` over the rows of the first view."""
    first, second = views()
    logits = -torch.cdist(first, first).square() / first.shape[1] / 0.4
    repulsion = logits.logsumexp(dim=1).mean()
    contrastive = contrastive_infonce_l2(first, second, tau=0.4, candidates="own")
    torch.testing.assert_close(alignment(first, second, tau=0.4) + repulsion, contrastive)


@pytest.mark.parametrize("scale", ["dim", "none"])
@pytest.mark.parametrize("weight", [0.0, 1.0, 0.05])
@pytest.mark.parametrize("d", [5, 11])
def test_covariance_equals_a_loop(scale: str, weight: float, d: int) -> None:
    first, second = views(d=d)
    expected = loops.covariance(first.numpy(), second.numpy(), offdiagonal_weight=weight, scale=scale)
    got = contrastive_covariance(first, second, offdiagonal_weight=weight, scale=scale)
    assert got.item() == pytest.approx(expected, rel=1e-12)
    got = contrastive_covariance(first.float(), second.float(), offdiagonal_weight=weight, scale=scale)
    assert got.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("variant", [*FUNCTIONS, "covariance"])
def test_gradients_of_both_views(variant: str) -> None:
    function = contrastive_covariance if variant == "covariance" else FUNCTIONS[variant][0]
    first, second = (view.requires_grad_() for view in views(4, 3))
    assert torch.autograd.gradcheck(function, (first, second))
    for gradient in torch.autograd.grad(function(first, second), (first, second)):
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("variant", [*FUNCTIONS, "covariance"])
def test_a_pair_that_parts_costs_more(variant: str) -> None:
    function = contrastive_covariance if variant == "covariance" else FUNCTIONS[variant][0]
    costs = [function(*views(noise=noise)).item() for noise in (0.01, 0.5, 2.0)]
    assert costs == sorted(costs)


EXTREMES: dict[str, Callable[[Tensor], Tensor]] = {
    "far from the origin": lambda z: 1e4 + 0.1 * z,
    "large": lambda z: 1e4 * z,
    "small": lambda z: 1e-20 * z,
    "one outlier": lambda z: torch.cat([1e4 * z[:1], z[1:]]),
    "nearly equal": lambda z: 1 + 1e-4 * z,
}


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("variant", [*FUNCTIONS, "covariance"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_views_are_near_float64(dtype: torch.dtype, variant: str, extreme: str) -> None:
    function = contrastive_covariance if variant == "covariance" else FUNCTIONS[variant][0]
    first, second = (EXTREMES[extreme](view).to(dtype) for view in views(8, 48))
    got, expected = function(first, second), function(first.double(), second.double())
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)


def test_one_dimension_has_nothing_off_the_diagonal() -> None:
    """Neither 0/0 nor, by rounding, less than 0."""
    for seed in range(50):
        z = normal((8, 1), "column", seed)
        assert 0 <= contrastive_covariance(z, z, offdiagonal_weight=1e3).item() < 1e-3


def test_limits() -> None:
    same = torch.ones(8, 3, dtype=torch.float64)
    assert contrastive_infonce_l2(same, same).item() == pytest.approx(math.log(8))
    assert contrastive_hinge(same, same, eps=2.0).item() == pytest.approx(4)
    far = 100 * normal((8, 3), "far").double()
    assert contrastive_infonce_l2(far, far).item() == pytest.approx(0)
    assert contrastive_hinge(far, far).item() == 0
    z = normal((400, 2), "z").double()
    assert contrastive_covariance(z, z, offdiagonal_weight=0).item() == pytest.approx(0, abs=1e-12)
    assert contrastive_covariance(z, -z, offdiagonal_weight=0).item() == pytest.approx(4)


def test_identical_views_pushed_from_their_own_rows_disperse() -> None:
    """With z⁺ = z, the mean of the row-wise log-sums bounds the dispersive loss (Jensen)."""
    z = views()[0]
    contrastive = contrastive_infonce_l2(z, z, candidates="own") - math.log(len(z))
    assert contrastive <= infonce_l2(z) + 1e-12


def test_groups_are_averaged_and_options_reach_the_function() -> None:
    first, second = views(8)
    loss = ContrastiveLoss("hinge", eps=2.5, local_batch=4, candidates="own", diagonal="keep", scale="none")
    options = {"eps": 2.5, "candidates": "own", "diagonal": "keep", "scale": "none"}
    halves = [contrastive_hinge(first[p], second[p], **options) for p in (slice(4), slice(4, 8))]
    torch.testing.assert_close(loss(first, second), sum(halves) / 2)
    tokens = first.view(8, 1, 5).expand(8, 3, 5), second.view(8, 1, 5).expand(8, 3, 5)
    torch.testing.assert_close(ContrastiveLoss(tokens="mean")(*tokens), ContrastiveLoss()(first, second))


@pytest.mark.parametrize("variant", FUNCTIONS)
def test_the_diagonal_is_the_variants_own_where_none_is_given(variant: str) -> None:
    first, second = views()
    own = "mask" if variant == "hinge" else "keep"
    expected = FUNCTIONS[variant][0](first, second, diagonal=own)
    assert torch.equal(ContrastiveLoss(variant)(first, second), expected)


def test_one_row_has_no_pairs() -> None:
    first, second = (view[:1].clone().requires_grad_() for view in views())
    for variant in (*FUNCTIONS, "covariance"):
        with pytest.warns(NoPairsWarning) as caught:
            loss = ContrastiveLoss(variant)(first, second)
        assert len(caught) == 1
        assert loss == 0
        for gradient in torch.autograd.grad(loss, (first, second)):
            assert not gradient.any()


def test_a_dimension_that_is_constant_in_one_view_is_left_out() -> None:
    first, second = views()
    flat = second.clone()
    flat[:, 2] = 7.0
    kept = [0, 1, 3, 4]
    torch.testing.assert_close(
        contrastive_covariance(first, flat), contrastive_covariance(first[:, kept], second[:, kept])
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [({"variant": "infonce"}, "did you mean"), ({"tau": 0.0}, "loss.tau = 0.0"), ({"candidates": "first"}, "candidates"),
     ({"diagonal": "drop"}, "diagonal"), ({"local_batch": 0}, "local_batch"),
     ({"scale": "dims"}, "scale"), ({"variant": "hinge", "eps": -1.0}, "eps")],
)  # fmt: skip
def test_bad_options_are_one_line(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ContrastiveLoss(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("function", [*(entry[0] for entry in FUNCTIONS.values()), contrastive_covariance])
def test_a_function_checks_for_itself(function: Callable[..., Tensor]) -> None:
    first, second = views()
    with pytest.raises(ConfigError, match=r"views: expected float dtypes, got torch\.int64"):
        function(first.long(), second.long())
    if function is contrastive_covariance:
        for bad in (-1.0, float("nan"), "1"):
            with pytest.raises(ConfigError, match=r"loss\.offdiagonal_weight = "):
                function(first, second, offdiagonal_weight=bad)
        return
    for option in ("candidates", "diagonal"):
        with pytest.raises(ConfigError, match=f"loss.{option} = 'first'"):
            function(first, second, **{option: "first"})


def test_bad_views_are_named() -> None:
    first, second = views()
    with pytest.raises(ConfigError, match=r"views: expected two of one shape"):
        ContrastiveLoss()(first, second[:, :4])
    first[2, 1] = second[4, 0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"contrastive loss .* rows \[2\]; \[4\]"):
        ContrastiveLoss()(first, second)
    assert ContrastiveLoss(validate=False)(first, second).isnan()
