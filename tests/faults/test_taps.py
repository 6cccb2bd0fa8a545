"""Taps that cannot give a value say so with the layer's name, and when they are opened if they can."""

import pytest
import torch
from torch import nn

from disperse.errors import TapError
from disperse.taps import tap

from ..taps.cases import batch, expected, make

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (
            lambda output: output["hidden"],
            r"^blocks\.2: select raised \w+Error: .*its output is Tensor \[5, 8\]$",
        ),
        (
            lambda output: 1 / 0,
            r"^blocks\.2: select raised ZeroDivisionError: division by zero; its output is",
        ),
    ],
)
def test_a_select_that_raises(select: object, message: str) -> None:
    model = make()
    with tap(model, "blocks.2", select=select) as z:  # type: ignore[arg-type]
        model(batch())
    with pytest.raises(TapError, match=message) as caught:
        _ = z.value
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_select_whose_message_has_lines() -> None:
    def fails(output: object) -> None:
        raise ValueError("first\n  second")

    model = make()
    with tap(model, "blocks.0", select=fails) as z:  # type: ignore[arg-type]
        model(batch())
    with pytest.raises(TapError, match="ValueError: first second;"):
        _ = z.value


@pytest.mark.parametrize(
    ("holder", "name", "inside"),
    [
        (nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]), "ModuleList", "part.0, part.1"),
        (nn.ModuleDict({"a": nn.Linear(2, 2)}), "ModuleDict", "part.a"),
        (nn.ModuleList(), "ModuleList", "it holds none"),
        (nn.ParameterList(), "ParameterList", "it holds none"),
    ],
)
def test_what_is_never_called(holder: nn.Module, name: str, inside: str) -> None:
    model = nn.Module()
    model.part = holder
    with pytest.raises(TapError, match=f"^part: a {name} only holds layers and is never called.*: {inside}$"):
        tap(model, "part")


def test_a_container_with_a_forward_of_its_own_is_tapped() -> None:
    class Called(nn.ModuleList):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[0](x)

    model = nn.Sequential(Called([nn.Linear(8, 8)]), nn.Linear(8, 8))
    with tap(model, "0") as z:
        model(batch())
    assert z.value.shape == (5, 8)


def test_a_tap_opened_in_a_whole_compiled_function() -> None:
    model = make()

    def step(x: torch.Tensor) -> torch.Tensor:
        with tap(model, "blocks.1") as z:
            model(x)
        return z.value.sum()

    with pytest.raises(Exception, match=r"blocks\.1: open the tap outside the compiled function"):
        torch.compile(step, backend="eager", fullgraph=True)(batch())
    part = torch.compile(step, backend="eager")  # may leave the graph: opened by Python, and right
    torch.testing.assert_close(part(batch()), expected(model, batch(), 1).sum())
