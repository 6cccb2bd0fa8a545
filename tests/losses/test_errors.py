"""Typed errors: one line that says what was got and what to do."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from disperse.errors import ConfigError, NonFiniteError
from disperse.losses import ContrastiveLoss, DispersiveLoss, bounds
from disperse.taps import tap

from .cases import NAMES, features, function


def error_of(call: Callable[[], object], kind: type[Exception] = ConfigError) -> str:
    """The message of the error that a call raises, checked to be one line."""
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


BAD_NUMBERS = [
    (0.0, "must be > 0"),
    (-1.0, "must be > 0"),
    (math.nan, "nan: must be > 0"),
    (math.inf, "inf: must be > 0 and finite"),
    ("0.5", "'0.5': expected a number > 0, got str"),
    (None, "None: expected a number > 0, got NoneType"),
    (True, "expected a number > 0, got bool"),
]


@pytest.mark.parametrize(("value", "message"), BAD_NUMBERS)
@pytest.mark.parametrize("own", ["tau", "eps"])
def test_tau_and_eps_out_of_range(own: str, value: object, message: str) -> None:
    got = error_of(lambda: DispersiveLoss(**{own: value}))  # type: ignore[arg-type]
    assert got.startswith(f"loss.{own} = ")
    assert message in got
    names = ["infonce-l2", "infonce-cosine"] if own == "tau" else ["hinge"]
    for name in names:
        call = partial(function(name), features(3, 4), **{own: value})
        assert error_of(call) == got


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("infonce_l2", "infonce-l2"),
        ("infonce-cos", "infonce-cosine"),
        ("hing", "hinge"),
        ("covariances", "covariance"),
    ],
)
def test_unknown_variant_names_the_nearest(given: str, nearest: str) -> None:
    for call in (lambda: DispersiveLoss(given), lambda: bounds(given, 4, 5)):
        got = error_of(call)
        assert got.startswith(f"loss.variant = '{given}': expected one of infonce-l2, ")
        assert got.endswith(f'did you mean "{nearest}"?')
    assert "did you mean" not in error_of(lambda: DispersiveLoss("zzzz"))


@pytest.mark.parametrize(
    ("option", "given", "nearest"),
    [("diagonal", "masked", "mask"), ("scale", "dims", "dim"), ("tokens", "flat", "flatten")],
)
def test_unknown_option_names_the_nearest(option: str, given: str, nearest: str) -> None:
    got = error_of(lambda: DispersiveLoss(**{option: given}))  # type: ignore[arg-type]
    assert got.startswith(f"loss.{option} = '{given}'")
    assert got.endswith(f'did you mean "{nearest}"?')
    if option != "tokens":
        for name in NAMES:
            assert error_of(partial(function(name), features(3, 4), **{option: given})) == got


def test_unknown_preset() -> None:
    assert 'did you mean "paper"?' in error_of(lambda: DispersiveLoss.from_preset("papers"))


@pytest.mark.parametrize("value", [0, -4, 2.0, "4", True])
def test_local_batch_out_of_range(value: object) -> None:
    got = error_of(lambda: DispersiveLoss(local_batch=value))  # type: ignore[arg-type]
    assert got == f"loss.local_batch = {value!r}: expected an integer ≥ 1 or None"


def test_local_batch_that_does_not_divide() -> None:
    loss = DispersiveLoss(local_batch=4)
    assert loss(features(8, 3)).ndim == 0
    got = error_of(lambda: loss(features(10, 3)))
    assert got.startswith("loss.local_batch = 4: does not divide the batch of 10 rows")


@pytest.mark.parametrize("group", [None, 4])
@pytest.mark.parametrize("tokens", ["flatten", "mean"])
@pytest.mark.parametrize("shape", [(0, 3, 5), (4, 0, 5), (4, 3, 0)])
@pytest.mark.parametrize("name", NAMES)
def test_no_rows_or_columns(name: str, shape: tuple[int, int, int], tokens: str, group: int | None) -> None:
    loss = DispersiveLoss(name, local_batch=group, tokens=tokens)  # type: ignore[arg-type]
    message = f"features: expected at least one row and one column, got {shape}"
    assert error_of(lambda: loss(torch.zeros(shape))) == message
    assert error_of(lambda: loss.report(torch.zeros(shape))) == message


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_dtypes(name: str) -> None:
    loss, pure = DispersiveLoss(name), function(name)
    assert "got (5,)" in error_of(lambda: loss(torch.zeros(5)))
    assert "expected features of shape (b, d), got (5,)" in error_of(lambda: pure(torch.zeros(5)))
    assert "got (0, 5)" in error_of(lambda: pure(torch.zeros(0, 5)))
    whole = torch.zeros(4, 5, dtype=torch.int64)
    for call in (loss, pure):
        assert "expected a float dtype, got torch.int64" in error_of(partial(call, whole))
    mean = DispersiveLoss(name, tokens="mean")
    assert "expected features of shape (b, n, d)" in error_of(lambda: mean(torch.zeros(4, 5)))
    assert "expected a float dtype" in error_of(lambda: mean(whole[:, None]))


@pytest.mark.parametrize("group", [None, 3])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("diagonal", ["keep", "mask"])
@pytest.mark.parametrize("name", NAMES)
def test_non_finite_features(name: str, diagonal: str, bad: float, group: int | None) -> None:
    loss = DispersiveLoss(name, diagonal=diagonal, local_batch=group)  # type: ignore[arg-type]
    for where in ((4, 2), (0, 0), (5, slice(None)), (slice(None), 1)):
        z = features(6, 7)
        z[where] = bad
        got = error_of(partial(loss, z), NonFiniteError)
        rows = [4] if where == (4, 2) else [0] if where == (0, 0) else [5]
        rows = list(range(6)) if where[0] == slice(None) else rows
        assert got.startswith(f"dispersive loss ({name}) = nan")
        assert f"NaN or infinity in rows {rows};" in got
        loss.validate = False
        assert math.isnan(loss(z).item())
        loss.validate = True


def test_non_finite_rows_are_listed_up_to_eight() -> None:
    z = features(20, 3)
    z[3:15] = math.nan
    got = error_of(lambda: DispersiveLoss()(z), NonFiniteError)
    assert "rows [3, 4, 5, 6, 7, 8, 9, 10] ...;" in got


def test_overflow_is_told_from_bad_features() -> None:
    got = error_of(lambda: DispersiveLoss()(1e30 * features(4, 5).float()), NonFiniteError)
    assert "(none: an overflow)" in got


@pytest.mark.parametrize("kind", ["Tap", "list", "tuple", "ndarray"])
def test_what_only_leads_to_a_tensor(kind: str) -> None:
    z = features(4, 3)
    layer = tap(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), "0")
    given = {"Tap": layer, "list": [z], "tuple": (z, z), "ndarray": np.zeros((4, 3))}[kind]
    loss, parent = DispersiveLoss(), ContrastiveLoss()
    for call in (
        partial(loss, given),
        partial(loss.report, given),
        partial(parent, given, z),
        partial(parent, z, given),
    ):
        got = error_of(call)
        assert got.startswith(f"features: expected a torch.Tensor, got {kind}; of a tap z pass z.value")
    assert f"weights: expected a torch.Tensor, got {kind}" in error_of(partial(loss, z, given))


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_report_of_bad_features(name: str, validate: bool) -> None:
    z = features(6, 7)
    z[4, 2] = math.nan
    got = error_of(partial(DispersiveLoss(name, validate=validate).report, z), NonFiniteError)
    assert got.startswith(f"report of the dispersive loss ({name}) = nan")
    assert "in rows [4];" in got


def test_the_mean_of_maps_says_how() -> None:
    loss, maps = DispersiveLoss(tokens="mean"), torch.randn(4, 3, 2, 2)
    assert "of maps (b, c, h, w) pass features.flatten(2).transpose(1, 2)" in error_of(lambda: loss(maps))
    by_hand = DispersiveLoss()(maps.mean(dim=(2, 3)))
    torch.testing.assert_close(loss(maps.flatten(2).transpose(1, 2)), by_hand)
    assert 'use tokens="flatten"' in error_of(lambda: loss(torch.zeros(4, 3)))


def test_exit_codes() -> None:
    assert (ConfigError.exit_code, NonFiniteError.exit_code) == (2, 4)


SHAPES = [
    (torch.zeros(5), "of one number per sample pass features[:, None]"),
    (torch.zeros(()), "tap an earlier layer"),
    (torch.zeros(4, 3, dtype=torch.bool), "integers and booleans have no gradient: tap a layer that returns"),
    (torch.zeros(4, 3, dtype=torch.complex64), "pass torch.view_as_real(features)"),
    (torch.eye(4).to_sparse(), "got torch.sparse_coo; pass features.to_dense()"),
]


@pytest.mark.parametrize(("z", "cure"), SHAPES)
def test_what_to_pass_instead(z: torch.Tensor, cure: str) -> None:
    assert cure in error_of(lambda: DispersiveLoss()(z))


def test_the_cure_of_a_complex_tensor_works() -> None:
    z = torch.randn(4, 3, dtype=torch.complex64)
    assert torch.isfinite(DispersiveLoss()(torch.view_as_real(z)))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_features() -> None:
    rows = [torch.randn(3, 4), torch.randn(5, 4)]
    for layout in (torch.jagged, torch.strided):
        z = torch.nested.nested_tensor(rows, layout=layout)
        assert "pass torch.nested.to_padded_tensor(features, 0.0)" in error_of(partial(DispersiveLoss(), z))
        assert torch.isfinite(DispersiveLoss()(torch.nested.to_padded_tensor(z, 0.0)))


def test_of_an_output_one_of_its_tensors() -> None:
    z = torch.randn(4, 3)
    for given in ({"sample": z}, None):
        assert "of a list, dict or output one of its tensors" in error_of(partial(DispersiveLoss(), given))


@pytest.mark.parametrize("loss", [DispersiveLoss, ContrastiveLoss])
def test_an_option_that_no_loss_has_is_named(loss: type[nn.Module]) -> None:
    assert "loss option = 'taus': expected one of tau" in error_of(lambda: loss("infonce-l2", taus=0.3))
