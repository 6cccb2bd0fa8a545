"""The batch in an output of several parts: the ``select=`` that an error names gives one row per sample."""

import re

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from disperse.errors import TapError
from disperse.taps import tap

from .test_shapes import read, refused

STEPS, ROWS = 7, 5
WAY = re.compile(r"(?:select=| or )(lambda output: .*?|\S+)(?: \(gives (\[.*?\])\))?(?= or )")


def ways(message):
    """Each ``select=`` that an error names, with the shape that it says it gives."""
    return WAY.findall(message.split("not a tensor; ")[1])


class Calls(nn.Module):
    """A model with the batch first around a layer that may have it second."""

    def __init__(self, layer, call):
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, x):
        self.call(self.layer, x)
        return x


def value(model, x, select=None):
    with tap(model, "layer", select=select) as z:
        model(x)
    return z.value


def lstm(**options):
    return nn.LSTM(8, 8, **options)


def turned(layer, x):
    layer(x.transpose(0, 1))


def attends(layer, x):
    layer(*[x.transpose(0, 1)] * 3)


def packs(layer, x):
    layer(pack_padded_sequence(x, [7, 7, 4, 2, 1], batch_first=True))


LAYERS = {
    "LSTM": (lstm(), turned, (ROWS, STEPS, 8)),
    "LSTM of a model with the batch second": (lstm(), lambda layer, x: layer(x), (STEPS, ROWS, 8)),
    "LSTM with batch_first": (lstm(batch_first=True), lambda layer, x: layer(x), (ROWS, STEPS, 8)),
    "MultiheadAttention": (nn.MultiheadAttention(8, 2), attends, (ROWS, STEPS, 8)),
    "LSTM of a packed sequence": (lstm(), packs, (ROWS, STEPS, 8)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_of_torch_that_return_several(kind):
    layer, call, shape = LAYERS[kind]
    model, x = Calls(layer, call), torch.randn(ROWS, STEPS, 8)
    with pytest.raises(TapError, match="not a tensor; pass") as error:
        value(model, x)
    ((way, _),) = ways(str(error.value))
    assert value(model, x, eval(way)).shape == shape
    if shape[0] != ROWS or "transpose" in way:  # the first part itself has the steps first
        with pytest.raises(
            TapError, match=re.escape(f"pass select={way}, or select=lambda output: output[0]")
        ):
            value(model, x, 0)


def test_a_packed_sequence_is_padded_in_a_function():
    message = refused(lambda x: pack_padded_sequence(x[:, :, None], [8, 8, 4, 2, 1], batch_first=True))
    way = "lambda output: torch.nn.utils.rnn.pad_packed_sequence(output, batch_first=True)[0]"
    assert "output is PackedSequence" in message
    assert ways(message) == [(way, "")]
    packed = refused(lambda x: pack_padded_sequence(x[:, :, None], [8] * 5, batch_first=True), "data")
    assert "select='data' gave NoneType" in packed  # its rows are steps of sequences
    assert ways(packed) == [(way, "")]


SEVERAL = {
    "a bias first": (lambda x: (x.new_zeros(2, 4, 4), x), [("1", "")]),
    "text first, another length": (lambda x: (x[:, None].repeat(1, 3, 1), x), [("0", "[5, 3, 8]"), ("1", "[5, 8]")]),
    "a dict of both": (
        lambda x: {"steps": x.repeat(3, 1, 1), "pooled": x},
        [("lambda output: output['steps'].transpose(0, 1)", "[5, 3, 8]"), ("'pooled'", "[5, 8]")],
    ),
    "deeper ones aren't named": (lambda x: (x, (x, x)), [("0", "")]),
    "a bias above": (lambda x: (x.new_zeros(2, 4), [x]), [("lambda output: output[1][0]", "")]),
    "folded rather than what fits nothing": (lambda x: (x.new_zeros(2, 4), x.repeat(3, 1)), [("1", "")]),
    "nothing fits": (lambda x: (x.new_zeros(2, 4), x[:3]), [("0", "[2, 4]"), ("1", "[3, 8]")]),
}  # fmt: skip


@pytest.mark.parametrize("kind", SEVERAL)
def test_parts_with_the_rows_of_the_batch_are_named(kind):
    output, expected = SEVERAL[kind]
    message = refused(output)
    assert ways(message) == expected
    assert message.endswith(" or a function of it")
    if kind.startswith(("folded", "nothing")):
        return
    for way, shape in ways(message):
        z = read(output, eval(way))
        assert len(z) == ROWS
        assert shape in ("", str(list(z.shape)))


@pytest.mark.parametrize(("output", "select", "way"), [
    (lambda x: (x.repeat(3, 1, 1),), 0, "lambda output: output[0].transpose(0, 1)"),
    (lambda x: {"a": x.repeat(3, 1, 1)}, "a", "lambda output: output['a'].transpose(0, 1)"),
    (lambda x: [x.repeat_interleave(3, 0)], -1, "lambda output: output[0].unflatten(0, (-1, 3))"),
])  # fmt: skip
def test_rows_of_a_part_are_compared_too(output, select, way):
    """Only a function is meant so."""
    message = refused(output, select)
    assert f"where the model was given 5 rows; pass select={way}" in message
    assert len(read(output, eval(way))) == ROWS
    assert len(read(output, eval(way.split(".t")[0].split(".u")[0]))) == len(output(torch.ones(5, 8))[select])


def test_a_layer_that_says_the_batch_is_second():
    """The model's own batch is second: by shapes alone its tokens would be the rows."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
    model, x = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.randn(STEPS, ROWS, 8)

    def read_layer(x, select=None):
        with tap(model, "layers.0", select=select) as z:
            model(x)
        return z.value

    with pytest.raises(TapError, match=r"^layers\.0: .*batch_first=False .* puts the batch second") as error:
        read_layer(x)
    assert "; pass select=lambda z: z.transpose(0, 1), or select=lambda z: z if" in str(error.value)
    assert read_layer(x, lambda z: z.transpose(0, 1)).shape == (ROWS, STEPS, 8)
    assert read_layer(x, lambda z: z).shape == (STEPS, ROWS, 8)
    assert read_layer(x[:, 0]).shape == (STEPS, 8)  # one sequence without a batch


@pytest.mark.parametrize("layers", ["", "layers.0"])
def test_a_whole_encoder_of_torch_says_it_too(layers):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    with tap(model, f"0.{layers}".rstrip(".")) as z:
        model(torch.randn(STEPS, ROWS, 8))
    with pytest.raises(TapError, match="puts the batch second"):
        _ = z.value


def test_a_block_of_ones_own_may_turn_inside():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.self_attn = nn.MultiheadAttention(8, 2)

        def forward(self, x):
            turned = x.transpose(0, 1)
            return x + self.self_attn(turned, turned, turned)[0].transpose(0, 1)

    x = torch.randn(ROWS, STEPS, 8)
    assert value(Calls(Block(), lambda layer, x: layer(x)), x).shape == (ROWS, STEPS, 8)


@pytest.mark.parametrize("index", [0, -2])
def test_an_index_from_the_end_is_compared_as_one_from_the_start(index):
    model = Calls(nn.MultiheadAttention(8, 2), lambda layer, x: layer(x, x, x))
    with pytest.raises(TapError, match="puts the batch second"):
        value(model, torch.randn(STEPS, ROWS, 8), index)
