"""Outputs that other people's layers give: each is read, or one line says what to pass."""

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
import torch._dynamo.testing
from torch import nn

from disperse import DispersiveLoss
from disperse.errors import TapError
from disperse.taps import tap

from .cases import batch, make
from .test_outputs import Last

Pair = namedtuple("Pair", "count hidden")
ROWS = 5


class ModelOutput(OrderedDict):
    """As in Hugging Face's libraries: a dict with fields and positions, without those that are None."""

    def to_tuple(self):
        return tuple(self.values())


@dataclass
class Outer:
    sample: dict


class Layer(nn.Module):
    """A model of one layer whose output is a function of the input."""

    def __init__(self, output):
        super().__init__()
        self.inner = Last(output)

    def forward(self, x, scale=None):
        return self.inner(x)


def read(output, select=None, x=None, **kwargs):
    model = Layer(output)
    with tap(model, "inner.layer", select=select) as z:
        model(batch() if x is None else x, **kwargs)
    return z.value


def refused(output, select=None, x=None, **kwargs):
    with pytest.raises(TapError) as error:
        read(output, select, x, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


NESTED = {
    "tuple of tuples": (lambda x: (None, (x, None)), "lambda output: output[1][0]"),
    "dict of lists": (lambda x: {"n": [1, x]}, "lambda output: output['n'][1]"),
    "dataclass of a dict": (lambda x: Outer({"a": x}), "lambda output: output.sample['a']"),
    "user's mapping": (lambda x: UserDict(a=x), "'a'"),
    "named tuple": (lambda x: Pair(1, x), "'hidden'"),
    "named tuple inside": (lambda x: [Pair(1, x)], "lambda output: output[0].hidden"),
    "ModelOutput": (lambda x: ModelOutput(sample=x), "'sample'"),
    "the label first": (lambda x: (x[:, 0].long(), x[:, 0], x), "2"),
    "a mask of the same shape first": (lambda x: (x > 0, x), "1"),
}


@pytest.mark.parametrize("kind", NESTED)
def test_the_select_that_an_error_names_works(kind):
    output, way = NESTED[kind]
    message = refused(output)
    assert f"not a tensor; pass select={way} or a function of it" in message
    torch.testing.assert_close(read(output, eval(way)), 2 * batch())


def test_a_position_of_a_named_tuple_and_of_a_model_output():
    torch.testing.assert_close(read(NESTED["named tuple"][0], 1), 2 * batch())
    torch.testing.assert_close(read(NESTED["named tuple"][0], -1), 2 * batch())
    torch.testing.assert_close(read(NESTED["ModelOutput"][0], 0), 2 * batch())
    assert "gave NoneType" in refused(lambda x: {"a": x}, 0)  # a plain dict has no positions


def test_what_is_no_feature_is_named_with_its_dtype():
    message = refused(lambda x: (x > 0, x.long()))
    assert "(0: Tensor [5, 8] of bool, 1: Tensor [5, 8] of int64)" in message


@pytest.mark.parametrize("output", [lambda x: None, lambda x: "text", lambda x: 3, lambda x: (None, 1)])
def test_nothing_to_select(output):
    message = refused(output)
    assert "tap a layer that returns a tensor" in message or "pass select=a function of it" in message
    assert "lambda" not in message


def test_maps_flatten_in_either_memory_format_and_layout():
    maps = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = DispersiveLoss()(maps.flatten(1))
    torch.testing.assert_close(DispersiveLoss()(maps), expected)
    torch.testing.assert_close(DispersiveLoss()(maps.to(memory_format=torch.channels_last)), expected)
    torch.testing.assert_close(DispersiveLoss()(maps.permute(0, 2, 3, 1)), expected)  # (b, h, w, c)
    mean = DispersiveLoss(tokens="mean")
    torch.testing.assert_close(mean(maps.flatten(2).transpose(1, 2)), DispersiveLoss()(maps.mean((2, 3))))
    last = maps.permute(0, 2, 3, 1).flatten(1, 2)
    torch.testing.assert_close(mean(last), DispersiveLoss()(maps.mean((2, 3))))


def test_batch_second():
    """As nn.MultiheadAttention and its layers without batch_first: rows would be tokens."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)  # batch_first=False, (n, b, d)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):  # (b, n, d)
            return self.layer(x.transpose(0, 1)).transpose(0, 1)

    model, x = Model(), torch.randn(ROWS, 3, 8)
    with tap(model, "layer") as plain, tap(model, "layer", select=lambda z: z.transpose(0, 1)) as z:
        y = model(x)
    torch.testing.assert_close(z.value, y)
    message = (
        r"^layer: its output is Tensor \[3, 5, 8\] where batch_first=False .* the batch second; pass select="
    )
    with pytest.raises(TapError, match=message) as error:
        _ = plain.value
    assert "lambda z: z.transpose(0, 1)" in str(error.value)
    with tap(model, "layer", select=lambda z: z) as meant:
        model(x)
    assert meant.value.shape == (3, 5, 8)
    assert "was given 5 rows; pass select=lambda z: z.transpose(0, 1), or" in refused(
        lambda x: x.repeat(3, 1, 1)
    )


def test_windows_or_frames_folded_into_the_batch():
    def fold(x):
        return x.unflatten(1, (4, 2)).flatten(0, 1)  # (b, 8) → (4b, 2)

    message = refused(fold)
    assert "Tensor [20, 2] where the model was given 5 rows" in message
    assert "pass select=lambda z: z.unflatten(0, (-1, 4)) if each" in message
    for x in (batch(), batch(size=3)):  # right for every size of the batch
        z = read(fold, lambda z: z.unflatten(0, (-1, 4)), x)
        torch.testing.assert_close(z.flatten(1), 2 * x)


def test_which_rows_are_taken_as_they_are():
    """No error where the batch can't be known, or another argument explains it."""
    assert read(lambda x: x[:3]).shape == (3, 8)  # not a multiple
    assert read(lambda x: x.T).shape == (8, 5)  # two axes: could be anything
    assert read(lambda x: x.repeat(2, 1), scale=torch.zeros(10)).shape == (10, 8)
    model = make()
    z = tap(model, "blocks.2")
    model(batch(size=5))
    model.blocks[2](batch(size=10))  # not a call of the model
    assert z.value.shape == (10, 8)


def test_a_layer_whose_output_is_changed_in_place():
    class Model(nn.Sequential):
        def forward(self, x):
            z = self[0](x)
            return self[1](z)

    model = Model(nn.Linear(8, 8), nn.ReLU(inplace=True))
    message = "^0: the model changed this layer's output in place"
    with tap(model, "0") as before, tap(model, "1") as after, tap(model, "0", select=lambda z: z) as now:
        y = model(batch())
    with pytest.raises(TapError, match=message) as error:
        _ = before.value
    assert "\n" not in str(error.value)
    torch.testing.assert_close(after.value, y)
    torch.testing.assert_close(now.value, y)
    with torch.inference_mode(), tap(model, "1") as z:  # nothing counts there
        model(batch())
    assert z.value.shape == (5, 8)


def test_batches_of_other_sizes_compile_no_more_often_than_without_a_tap():
    def graphs(tapped):
        model, counter = make(), torch._dynamo.testing.CompileCounter()
        torch._dynamo.reset()
        z = tap(model, "blocks.2") if tapped else None
        run = torch.compile(model, backend=counter)
        for size in (5, 6, 7, 8):
            run(batch(size=size))
            assert z is None or z.value.shape == (size, 8)
        return counter.frame_count

    assert graphs(True) == graphs(False)
