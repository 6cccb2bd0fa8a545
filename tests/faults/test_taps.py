"""Taps that cannot give a value say so with the layer's name, and when they are opened if they can."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from disperse import DispersiveLoss
from disperse.errors import ConfigError, TapError
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


@pytest.mark.parametrize("select", [[0], 1.0, (1, 2), b"hidden"])
def test_a_select_of_another_type(select: object) -> None:
    with pytest.raises(
        TapError, match=r"^blocks\.2: select: expected an index, .* got (list|float|tuple|bytes)$"
    ):
        tap(make(), "blocks.2", select=select)  # type: ignore[arg-type]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x)


@pytest.mark.parametrize(
    "make_script", [torch.jit.script, lambda model: torch.jit.trace(model, batch().float())]
)
@pytest.mark.parametrize("inside", [True, False])
def test_a_scripted_model_has_no_hooks(make_script: Callable[..., nn.Module], inside: bool) -> None:
    scripted = make_script(Small())
    model, name = (nn.Sequential(scripted), "0.blocks.0") if inside else (scripted, "blocks.0")
    with pytest.raises(
        TapError, match=f"^{name}: a scripted or traced model .* tap the module that it was made of$"
    ):
        tap(model, name)


def test_a_traced_module_as_a_layer_is_read_whole() -> None:
    x = batch().float()
    model = nn.Sequential(torch.jit.trace(Small(), x), nn.Identity())
    with tap(model, "0") as z:
        y = model(x)
    torch.testing.assert_close(z.value, y)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of torch about itself
def test_an_exported_graph_does_not_call_its_layers() -> None:
    program = torch.export.export(Small(), (batch().float(),))
    for name in ("blocks", "blocks.0"):
        with pytest.raises(
            TapError, match=f"^{name}: a graph that was exported .* tap the module that was exported"
        ):
            tap(program.module(), name)
    with pytest.raises(
        TapError, match=r"expected a torch\.nn\.Module and a layer's name, got ExportedProgram"
    ):
        tap(program, "blocks")  # type: ignore[arg-type]
    unflat, x = torch.export.unflatten(program), batch().float()
    with tap(unflat, "blocks.1") as z:
        y = unflat(x)
    torch.testing.assert_close(z.value, y)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_a_nested_tensor_comes_as_it_is_and_the_loss_says_what_to_do(layout: torch.layout) -> None:
    class Model(nn.Module):
        def __init__(self, several: bool) -> None:
            super().__init__()
            self.layer, self.several = nn.Identity(), several

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.layer((x, x) if self.several else x)
            return x

    x = torch.nested.nested_tensor([torch.randn(3, 4), torch.randn(5, 4)], layout=layout)
    for several, select in ((False, None), (True, 0)):
        model = Model(several)
        with tap(model, "layer", select=select) as z:
            model(x)
        assert z.value is x
        with pytest.raises(
            ConfigError, match=r"expected a dense tensor, got a nested tensor; pass torch\.nested"
        ):
            DispersiveLoss()(z.value)
    with tap(model, "layer") as plain:
        model(x)
    with pytest.raises(
        TapError, match=r"tuple of \(0: nested tensor of 2, 1: nested .*; pass select=a function"
    ) as caught:
        _ = plain.value
    assert "\n" not in str(caught.value)
