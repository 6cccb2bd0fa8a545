"""Taps on layers whose output is not a tensor."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from disperse.errors import TapError
from disperse.taps import tap

from .cases import batch, make

# Tracing a block whose input has a graph looks at its .grad; torch hides its own warning about that,
# but not where warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


@dataclass
class Features:
    count: int
    hidden: torch.Tensor


@dataclass(slots=True)
class Slotted:
    hidden: torch.Tensor


class Returns(nn.Module):
    def __init__(self, make_output):
        super().__init__()
        self.make_output = make_output

    def forward(self, x):
        return self.make_output(x)


OUTPUTS = {
    "tuple": (lambda x: (None, x), 1, r"tuple of \(0: NoneType, 1: Tensor \[5, 8\]\)"),
    "list": (lambda x: [x], 0, r"list of \(0: Tensor \[5, 8\]\)"),
    "dict": (lambda x: {"n": 1, "hidden": x}, "hidden", r"dict of \('n': int, 'hidden': Tensor"),
    "dataclass": (lambda x: Features(1, x), "hidden", r"Features of \('count': int, 'hidden': T"),
    "slots": (lambda x: Slotted(x), "hidden", r"Slotted of \('hidden': Tensor"),
}


class Last(nn.Module):
    """Calls the layer under test and returns a tensor, as a model would."""

    def __init__(self, make_output):
        super().__init__()
        self.layer = Returns(make_output)

    def forward(self, x):
        self.layer(2 * x)
        return x


@pytest.mark.parametrize("kind", OUTPUTS)
def test_select_reads_a_part(kind):
    make_output, key, was = OUTPUTS[kind]
    model, x = Last(make_output), batch()
    with tap(model, "layer") as plain, tap(model, "layer", select=key) as z:
        model(x)
    torch.testing.assert_close(z.value, 2 * x)
    with pytest.raises(TapError, match=was) as error:
        _ = plain.value
    assert f"not a tensor; pass select={key!r} or a function of it" in str(error.value)
    assert "\n" not in str(error.value)


def test_select_counts_from_the_end_and_takes_a_function():
    model, x = Last(lambda x: (x, {"deep": 3 * x})), batch()
    with (
        tap(model, "layer", select=lambda output: output[1]["deep"]) as deep,
        tap(model, "layer", select=-2) as first,
        tap(model, "layer", select=-3) as outside,
    ):
        model(x)
    torch.testing.assert_close(deep.value, 6 * x)
    torch.testing.assert_close(first.value, 2 * x)
    with pytest.raises(TapError, match="gave NoneType, not a tensor; pass select=0 or"):
        _ = outside.value


def test_select_that_does_not_fit():
    model = Last(lambda x: {"a": x})
    with (
        tap(model, "layer", select="b") as key,
        tap(model, "layer", select=lambda output: output) as function,
    ):
        model(batch())
    with pytest.raises(TapError, match=r"^layer: .* select='b' gave NoneType.* pass select='a' or"):
        _ = key.value
    with pytest.raises(TapError, match="gave dict, not a tensor"):
        _ = function.value
    with tap(make(), "blocks.2", select=0) as z:
        z._root(batch())
    with pytest.raises(TapError, match=r"output is Tensor \[5, 8\] .*leave select out"):
        _ = z.value
    with tap(Last(lambda x: None), "layer") as none:
        none._root(batch())
    with pytest.raises(TapError, match="is NoneType; tap a layer that returns a tensor"):
        _ = none.value
