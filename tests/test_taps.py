"""Taps: the value and its gradient, eager, compiled, checkpointed, wrapped and copied."""

import copy
import gc
import subprocess
import sys
import weakref
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.utils.checkpoint import checkpoint

from disperse.errors import TapError
from disperse.taps import tap

# Tracing a block whose input has a graph looks at its .grad; torch hides its own warning about that,
# but not where warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


class Block(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.calls = 0

    def forward(self, x):
        if not torch.compiler.is_compiling():
            self.calls += 1
        return torch.tanh(self.linear(x))


class Model(nn.Module):
    """Four blocks; ``checkpointed`` is None or the value of use_reentrant; stops before ``stop``."""

    def __init__(self, checkpointed=None):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(4))
        self.checkpointed, self.stop = checkpointed, 4

    def forward(self, x):
        for block in self.blocks[: self.stop]:
            if self.checkpointed is None:
                x = block(x)
            else:
                x = checkpoint(block, x, use_reentrant=self.checkpointed)
        if self.stop < 0:
            raise ValueError("a failing forward")
        return x

    def encode(self, x):
        return self.forward(x)


def make(checkpointed=None):
    torch.manual_seed(0)
    return Model(checkpointed).requires_grad_(True)


def batch(seed=0, size=5):
    return torch.randn(size, 8, generator=torch.Generator().manual_seed(seed))


def expected(model, x, index=2):
    """What block ``index`` outputs, by hand and without calling any module."""
    for block in list(model.blocks)[: index + 1]:
        linear = getattr(block, "_orig_mod", block).linear
        x = torch.tanh(x @ linear.weight.T + linear.bias)
    return x


def total(prediction, value):
    """A loss in which both the output and the tapped value have a gradient."""
    return prediction.square().mean() + 0.5 * value.square().mean()


def gradients(model):
    return [parameter.grad.clone() for parameter in model.parameters()]


def expected_gradients(x):
    model = make()
    total(expected(model, x, 3), expected(model, x, 2)).backward()
    return gradients(model)


def assert_gradients(model, x):
    torch.testing.assert_close(gradients(model), expected_gradients(x))
    without = make()
    without(x).square().mean().backward()
    assert not torch.allclose(gradients(model)[0], gradients(without)[0], rtol=1e-3)


# --- eager -----------------------------------------------------------------------------------------


def test_with_block_reads_the_value_and_its_gradient():
    model, x = make(), batch()
    with tap(model, "blocks.2") as z:
        prediction = model(x)
    torch.testing.assert_close(z.value, expected(model, x))
    total(prediction, z.value).backward()
    assert_gradients(model, x)


def test_value_after_the_block_stays_when_later_forwards_run():
    model = make()
    with tap(model, "blocks.2") as z:
        model(batch(0))
    kept = z.value
    with tap(model, "blocks.2") as later:
        model(batch(1))
    model(batch(2))
    assert z.value is kept
    torch.testing.assert_close(later.value, expected(model, batch(1)))


def test_kept_tap_reads_each_forward_and_can_be_read_twice():
    model, z = make(), None
    z = tap(model, "blocks.2")
    for seed in range(3):
        model(batch(seed))
        torch.testing.assert_close(z.value, expected(model, batch(seed)))
        assert z.value is z.value


def test_no_grad_and_eval_give_a_value_without_a_graph():
    model = make().eval()
    with torch.no_grad(), tap(model, "blocks.2") as z:
        model(batch())
    assert not z.value.requires_grad
    torch.testing.assert_close(z.value, expected(model, batch()).detach())


def test_reading_before_any_forward_raises():
    z = tap(make(), "blocks.2")
    with pytest.raises(TapError, match=r"^blocks\.2: no forward yet; call the model"):
        _ = z.value


def test_a_second_tap_does_not_see_the_forward_before_it():
    model = make()
    first = tap(model, "blocks.2")
    model(batch())
    second = tap(model, "blocks.2")
    with pytest.raises(TapError, match="no forward yet"):
        _ = second.value
    assert first.value is not None


def test_forward_that_does_not_reach_the_layer_raises_and_drops_the_old_value():
    model = make()
    z = tap(model, "blocks.2")
    model(batch())
    old = weakref.ref(z.value)
    model.stop = 2
    model(batch())
    with pytest.raises(TapError, match=r"^blocks\.2: the last forward did not reach this layer"):
        _ = z.value
    assert old() is None


def test_layer_called_several_times_keeps_the_first_output_of_a_forward():
    shared = Block()
    model = nn.Sequential(shared, nn.Identity(), shared)
    with tap(model, "0") as z:
        model(batch())
    torch.testing.assert_close(z.value, shared(batch()))
    with tap(model, "2") as z:  # the same module under its other name
        model(batch())
    torch.testing.assert_close(z.value, shared(batch()))


def test_two_forwards_in_one_block_read_the_last():
    model = make()
    with tap(model, "blocks.2") as z:
        model(batch(0))
        model(batch(1))
    torch.testing.assert_close(z.value, expected(model, batch(1)))


def test_calls_that_go_around_the_model_are_never_stale():
    model = make()
    z = tap(model, "blocks.2")
    for seed, call in enumerate([model.encode, model.encode, model, model.encode, model]):
        call(batch(seed))
        torch.testing.assert_close(z.value, expected(model, batch(seed)))


def test_nested_and_repeated_taps_are_independent():
    model = make()
    with tap(model, "blocks.1") as one, tap(model, "blocks.2") as two:
        with tap(model, "blocks.2") as again:
            model(batch(0))
        model(batch(1))
    torch.testing.assert_close(one.value, expected(model, batch(1), 1))
    torch.testing.assert_close(two.value, expected(model, batch(1), 2))
    torch.testing.assert_close(again.value, expected(model, batch(0), 2))


def test_taps_with_different_roots_on_one_layer_are_independent():
    inner = make()
    outer = nn.Sequential(nn.Identity(), inner)
    whole, part = tap(outer, "1.blocks.2"), tap(inner, "blocks.2")
    outer(batch(0))
    assert whole.value is part.value
    inner(batch(1))
    torch.testing.assert_close(part.value, expected(inner, batch(1)))


@pytest.mark.parametrize("stop", [1, -1])
def test_failed_forward_leaves_no_bad_state(stop):
    model = make()
    z = tap(model, "blocks.2")
    model(batch(0))
    model.stop = stop if stop > 0 else -1
    model.blocks[3 if stop < 0 else 0].register_forward_pre_hook(fail)
    with pytest.raises(ValueError, match="failing"):
        model(batch(1))
    with pytest.raises(ValueError, match="failing"), tap(model, "blocks.1") as failed:
        model(batch(1))
    if stop > 0:
        for reader in (z, failed):
            with pytest.raises(TapError, match="did not reach"):
                _ = reader.value
    for block in model.blocks:
        block._forward_pre_hooks.clear()
    model.stop = 4
    for seed, call in enumerate([model.encode, model.encode, model]):
        call(batch(seed))
        torch.testing.assert_close(z.value, expected(model, batch(seed)))


def fail(*_):
    raise ValueError("a failing forward")


# --- closing ---------------------------------------------------------------------------------------


def test_remove_leaves_nothing_active():
    model = make()
    z = tap(model, "blocks.2")
    model(batch())
    feature = weakref.ref(z.value)
    z.remove()
    z.remove()
    assert feature() is None
    model(batch())
    assert all(value is None for value in held(model))
    with pytest.raises(TapError, match=r"^blocks\.2: this tap was removed; open another"):
        _ = z.value


def held(model):
    """What the hooks of a model hold on to."""
    hooks = [*model._forward_pre_hooks.values()]
    hooks += [hook for module in model.modules() for hook in module._forward_hooks.values()]
    assert hooks
    return [hook.slot.output for hook in hooks]


@pytest.mark.parametrize("block", [True, False])
def test_features_die_with_the_tap(block):
    model = make()
    z = tap(model, "blocks.2")
    if block:
        with z:
            model(batch())
    else:
        model(batch())
    feature = weakref.ref(z.value)
    gc.disable()
    try:
        del z
        assert feature() is None
    finally:
        gc.enable()
    model(batch())
    assert all(value is None for value in held(model))


def test_a_block_lets_go_of_the_value_when_the_next_step_begins():
    model, alive = make(), []
    for _ in range(3):
        with tap(model, "blocks.2") as z:
            model(batch())
        alive.append(weakref.ref(z.value))
    assert [feature() is None for feature in alive] == [True, True, False]


def test_hooks_do_not_pile_up():
    model = make()
    for _ in range(20):
        with tap(model, "blocks.2") as z:
            model(batch())
    assert z.value is not None
    assert len(model.blocks[2]._forward_hooks) == len(model._forward_pre_hooks) == 1


def test_a_tap_can_be_entered_again_and_closed_by_a_block():
    model = make()
    z = tap(model, "blocks.2")
    model(batch(0))
    with z:
        model(batch(1))
    torch.testing.assert_close(z.value, expected(model, batch(1)))
    with z:
        with pytest.raises(TapError, match="no forward yet"):
            _ = z.value
        model(batch(2))
    model(batch(3))
    torch.testing.assert_close(z.value, expected(model, batch(2)))


# --- names -----------------------------------------------------------------------------------------


def test_missing_layer_names_the_nearest():
    with pytest.raises(TapError) as error:
        tap(make(), "blocks.12")
    text = str(error.value)
    assert text.startswith("blocks.12: no such layer; did you mean blocks.")
    assert text.endswith("blocks.3.linear")
    assert "layers are blocks, blocks.0, blocks.1" in text
    assert "\n" not in text


def test_missing_layer_of_a_large_model_names_only_some():
    model = nn.Sequential(*(nn.Identity() for _ in range(50)))
    with pytest.raises(TapError, match=r"layers are 0, 1, .*, 15, \.\.\. \(50 in all\)$"):
        tap(model, "encoder")


@pytest.mark.parametrize("name", ["", "module", "_orig_mod"])
def test_the_model_itself_is_not_an_inner_layer(name):
    with pytest.raises(TapError, match="no such layer"):
        tap(torch.compile(make(), backend="eager"), name)


def test_a_model_that_is_no_module_is_an_error():
    with pytest.raises(TapError, match=r"expected a torch\.nn\.Module .* got function, str"):
        tap(lambda x: x, "blocks.2")
    with pytest.raises(TapError, match=r"a layer's name, got Model, int"):
        tap(make(), 2)


@pytest.mark.parametrize("name", ["blocks.2", "module.blocks.2", "_orig_mod.blocks.2"])
@pytest.mark.parametrize("wrap", ["plain", "compiled", "average", "own"])
def test_names_resolve_through_wrappers(name, wrap):
    model = make()
    wrapped = {
        "plain": lambda: model,
        "compiled": lambda: torch.compile(model, backend="eager"),
        "average": lambda: torch.optim.swa_utils.AveragedModel(model),
        "own": lambda: Wrapper(model),
    }[wrap]()
    with tap(wrapped, name) as z:
        wrapped(batch())
    torch.testing.assert_close(z.value, expected(model, batch()))


class Wrapper(nn.Module):
    """Someone's wrapper, with the name that DistributedDataParallel uses; calls the model twice."""

    def __init__(self, model):
        super().__init__()
        self.module = model

    def forward(self, x):
        return self.module(x) + self.module(2 * x)


def test_a_layer_that_is_itself_compiled():
    model = make()
    model.blocks[2] = torch.compile(model.blocks[2], backend="eager")
    model(batch())
    for name in ("blocks.2", "blocks.2._orig_mod"):
        with tap(model, name) as z:
            model(batch())
        torch.testing.assert_close(z.value, expected(model, batch()))
    with tap(model, "blocks.2.linear") as z:  # registered after the block was compiled
        model(batch())
    with pytest.raises(TapError, match=r"did not reach this layer.*the first compiled call"):
        _ = z.value


# --- outputs that are not tensors ------------------------------------------------------------------


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
    with pytest.raises(TapError, match="is NoneType, not a tensor; pass select=a function of it"):
        _ = none.value


# --- torch.compile ---------------------------------------------------------------------------------


def compiled(model, how, **options):
    """The model compiled in one of the ways people do; returns what to call and what to tap."""
    if how == "wrapped, tapped through the wrapper":
        run = torch.compile(model, **options)
        return run, run
    if how == "wrapped":
        return torch.compile(model, **options), model
    if how == "in place":
        model.compile(**options)
    elif how == "in a function":
        return torch.compile(lambda x: model(x), **options), model
    elif how == "inside a larger model":
        return torch.compile(nn.Sequential(model), **options), model
    elif how == "around the model":
        return torch.compile(model.encode, **options), model
    elif how == "block by block":
        for block in model.blocks:
            block.compile(**options)
    return model, model


HOWS = [
    "wrapped",
    "wrapped, tapped through the wrapper",
    "in place",
    "in a function",
    "inside a larger model",
    "around the model",
    "block by block",
]


@pytest.mark.parametrize("fullgraph", [False, True])
@pytest.mark.parametrize("how", HOWS)
def test_with_block_in_every_compiled_step(how, fullgraph):
    model, counter, frames = make(), CompileCounter(), []
    run, tapped = compiled(model, how, backend=counter, fullgraph=fullgraph)
    for seed in range(5):
        model.zero_grad()
        x = batch(seed)
        with tap(tapped, "blocks.2") as z:
            prediction = run(x)
        torch.testing.assert_close(z.value, expected(model, x))
        total(prediction, z.value).backward()
        assert_gradients(model, x)
        frames.append(counter.frame_count)
    assert frames[0] > 0
    assert set(frames) == {frames[0]}, "a step compiled again"
    run(batch())  # without a tap: one more graph, which does not keep the feature
    frames = []
    for seed in range(3):
        with tap(tapped, "blocks.2") as z:
            run(batch(seed))
        torch.testing.assert_close(z.value, expected(model, batch(seed)))
        run(batch())
        frames.append(counter.frame_count)
    assert set(frames) == {frames[0]}, "switching the tap on and off compiled again"


@pytest.mark.parametrize("how", HOWS)
def test_kept_tap_under_compile(how):
    model, counter = make(), CompileCounter()
    z = tap(model, "blocks.2")  # before compiling
    run, _ = compiled(model, how, backend=counter)
    for seed in range(4):
        run(batch(seed))
        torch.testing.assert_close(z.value, expected(model, batch(seed)))
        if seed == 0:
            frames = counter.frame_count
    assert counter.frame_count == frames


def test_fresh_hooks_in_each_step_would_compile_again():
    """Why hooks stay registered: the plain way, without this module, recompiles every step."""
    model, counter, seen = make(), CompileCounter(), []
    run = torch.compile(model, backend=counter)
    for seed in range(3):
        handle = model.blocks[2].register_forward_hook(lambda *call: seen.append(call[2]))
        run(batch(seed))
        handle.remove()
    assert counter.frame_count == 3
    assert len(seen) == 3


@pytest.mark.parametrize("backend", ["inductor", "aot_eager"])
def test_values_and_gradients_of_a_compiling_backend(backend):
    model = make()
    run = torch.compile(model, backend=backend, fullgraph=True)
    for seed in range(2):
        model.zero_grad()
        with tap(model, "blocks.2") as z:
            prediction = run(batch(seed))
        torch.testing.assert_close(z.value, expected(model, batch(seed)))
        total(prediction, z.value).backward()
        assert_gradients(model, batch(seed))


@pytest.mark.parametrize("how", [how for how in HOWS if how != "block by block"])
def test_tap_after_a_compiled_forward_raises_and_reset_cures(how):
    model = make()
    run, tapped = compiled(model, how, backend="eager")
    run(batch())
    kept = tap(tapped, "blocks.2")
    for _ in range(2):
        with tap(tapped, "blocks.2") as z:
            run(batch())
        for reader in (z, kept):
            with pytest.raises(TapError, match="before the first compiled call") as error:
                _ = reader.value
            assert "call torch.compiler.reset() after registering" in str(error.value)
            assert "\n" not in str(error.value)
    torch.compiler.reset()
    with tap(tapped, "blocks.2") as z:
        run(batch(1))
    torch.testing.assert_close(z.value, expected(model, batch(1)))
    torch.testing.assert_close(kept.value, expected(model, batch(1)))


def test_blocks_compiled_one_by_one_can_be_tapped_at_any_time():
    model = make()
    run, _ = compiled(model, "block by block", backend="eager")
    run(batch())
    with tap(model, "blocks.2") as z:
        run(batch(1))
    torch.testing.assert_close(z.value, expected(model, batch(1)))


def test_late_kept_tap_is_not_stale_when_an_older_graph_runs_again():
    """A new shape compiles anew and is seen; the first shape's graph is still without the hook."""
    model = make()
    run = torch.compile(model, backend="eager", dynamic=False)
    run(batch())
    z = tap(model, "blocks.2")
    run(batch(size=7))
    assert z.value.shape == (7, 8)
    run(batch())
    with pytest.raises(TapError, match="did not reach"):
        _ = z.value


def test_compiled_forward_that_does_not_reach_the_layer_raises():
    model = make()
    run = torch.compile(model, backend="eager")
    z = tap(model, "blocks.2")
    for stop in (4, 2, 4, 2):
        model.stop = stop
        run(batch())
        if stop == 4:
            torch.testing.assert_close(z.value, expected(model, batch()))
        else:
            with pytest.raises(TapError, match="did not reach"):
                _ = z.value


@pytest.mark.parametrize("form", ["with", "kept"])
def test_whole_training_step_in_one_compiled_function(form):
    model, counter = make(), CompileCounter()
    kept = tap(model, "blocks.2")

    def step(x):
        if form == "kept":
            prediction = model(x)
            return total(prediction, kept.value)
        with tap(model, "blocks.1") as z:
            prediction = model(x)
        return total(prediction, z.value)

    run = torch.compile(step, backend=counter)
    index = 2 if form == "kept" else 1
    for seed in range(4):
        x = batch(seed)
        torch.testing.assert_close(run(x), total(expected(model, x, 3), expected(model, x, index)))
    assert 0 < counter.frame_count <= 2


def test_nested_taps_under_compile():
    model, counter = make(), CompileCounter()
    run = torch.compile(model, backend=counter)
    for seed in range(3):
        with tap(model, "blocks.1") as one, tap(run, "blocks.2") as two, tap(run, "blocks.2") as b:
            run(batch(seed))
        torch.testing.assert_close(one.value, expected(model, batch(seed), 1))
        torch.testing.assert_close(two.value, expected(model, batch(seed), 2))
        assert b.value is two.value
    assert counter.frame_count == 1


# --- activation checkpointing ----------------------------------------------------------------------


@pytest.mark.parametrize("form", ["with", "kept", "whole model", "backward in the block"])
def test_checkpointed_forward_keeps_the_first_value_and_the_gradient(form):
    model, x = make(checkpointed=None if form == "whole model" else False), batch()
    z = tap(model, "blocks.2")
    if form == "whole model":
        prediction = checkpoint(model, x, use_reentrant=False)
    elif form == "with":
        with z:
            prediction = model(x)
    else:
        prediction = model(x)
    value = z.value
    total(prediction, value).backward()
    assert model.blocks[2].calls == 2, "the block was not recomputed: this shows nothing"
    assert z.value is value
    assert_gradients(model, x)
    torch.testing.assert_close(value, expected(model, x))


def test_calls_around_a_checkpointed_model_keep_the_first_value():
    model, x = make(checkpointed=False), batch()
    z = tap(model, "blocks.2")
    prediction = model.encode(x)
    value = z.value
    total(prediction, value).backward()
    assert model.blocks[2].calls == 2
    assert z.value is value
    assert_gradients(model, x)


def test_reentrant_checkpoint_raises_where_a_gradient_would_be_lost():
    model, x = make(checkpointed=True), batch().requires_grad_()
    with tap(model, "blocks.2") as z:
        model(x)
    with pytest.raises(TapError, match=r"^blocks\.2: .*without a graph.*use_reentrant=False"):
        _ = z.value
    with torch.no_grad():
        torch.testing.assert_close(z.value, expected(model, x))
    with torch.no_grad(), tap(model, "blocks.2") as z:
        model(x)
    assert not z.value.requires_grad
    model.blocks[2].requires_grad_(False)
    with tap(model, "blocks.2") as z:
        model(x)
    assert not z.value.requires_grad


def test_a_reentrant_forward_does_not_taint_the_next():
    model, x = make(checkpointed=True), batch().requires_grad_()
    z = tap(model, "blocks.2")
    model(x)
    model.checkpointed = None
    model(x)
    assert z.value.requires_grad


@pytest.mark.parametrize("compiled_too", [False, True])
def test_checkpoint_inside_compile(compiled_too):
    """Without the option the model runs uncompiled; with it, the feature comes out of the graph."""
    option = {"skip_fwd_side_effects_in_bwd_under_checkpoint": compiled_too}
    model, counter = make(checkpointed=False), CompileCounter()
    with torch._dynamo.config.patch(option):
        run = torch.compile(model, backend=counter, fullgraph=compiled_too)
        for seed in range(3):
            model.zero_grad()
            with tap(model, "blocks.2") as z:
                prediction = run(batch(seed))
            total(prediction, z.value).backward()
            torch.testing.assert_close(z.value, expected(model, batch(seed)))
            assert_gradients(model, batch(seed))
    assert counter.frame_count == int(compiled_too)


def test_checkpoint_around_compiled_blocks():
    model, counter = make(checkpointed=False), CompileCounter()
    run, _ = compiled(model, "block by block", backend=counter)
    for seed in range(3):
        model.zero_grad()
        with tap(model, "blocks.2") as z:
            prediction = run(batch(seed))
        value = z.value
        total(prediction, value).backward()
        assert z.value is value
        assert_gradients(model, batch(seed))
    assert counter.frame_count <= 2


def test_forward_mode_derivative_keeps_the_gradient():
    model, x = make(), batch()
    with tap(model, "blocks.2") as z:
        prediction, _ = torch.func.jvp(model, (x,), (torch.ones_like(x),))
    total(prediction, z.value).backward()
    assert_gradients(model, x)


# --- copies and files ------------------------------------------------------------------------------


def test_a_copy_made_while_a_value_is_held_does_not_feed_the_tap():
    model = make()
    z = tap(model, "blocks.2")
    model(batch(0))
    value = z.value
    assert value.grad_fn is not None  # a tensor that cannot be copied
    ema = copy.deepcopy(model)
    average = torch.optim.swa_utils.AveragedModel(model)
    ema(batch(1))
    average(batch(1))
    assert z.value is value
    with tap(ema, "blocks.2") as of_copy:
        ema(batch(2))
    assert z.value is value
    torch.testing.assert_close(of_copy.value, expected(model, batch(2)))
    torch.compile(copy.deepcopy(ema), backend="eager", fullgraph=True)(batch(1))


def test_a_model_that_keeps_its_own_tap_can_be_copied():
    model = make()
    model.tap = tap(model, "blocks.2")
    model(batch(0))
    value = model.tap.value
    ema = copy.deepcopy(model)
    ema(batch(1))
    assert model.tap.value is value
    with pytest.raises(TapError, match="removed"):
        _ = ema.tap.value
    with ema.tap:
        ema(batch(1))
    torch.testing.assert_close(ema.tap.value, expected(model, batch(1)))
    assert model.tap.value is value
    ema.tap.remove()
    copy.deepcopy(model).tap.remove()


def test_state_dict_and_parameters_are_unaffected():
    plain, model = make(), make()
    z = tap(model, "blocks.2")
    model(batch())
    assert z.value is not None
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in model.named_modules()] == [name for name, _ in plain.named_modules()]
    plain.load_state_dict(model.state_dict())


def test_saved_model_loads_without_this_package(tmp_path):
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
    z = tap(model, "1")
    y = model(batch())
    assert z.value.grad_fn is not None
    torch.save(model, tmp_path / "model.pt")
    torch.save((batch(), y.detach()), tmp_path / "data.pt")
    script = (
        "import sys; sys.modules['disperse'] = None\n"
        "import torch\n"
        "model = torch.load('model.pt', weights_only=False)\n"
        "x, y = torch.load('data.pt')\n"
        "assert torch.equal(model(x), y)\n"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- distributed -----------------------------------------------------------------------------------


@pytest.fixture
def process_group(tmp_path):
    dist = pytest.importorskip("torch.distributed")
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("name", ["blocks.2", "module.blocks.2"])
def test_distributed_data_parallel(process_group, name):
    model, x = make(), batch()
    wrapped = nn.parallel.DistributedDataParallel(model)
    for run in (wrapped, torch.compile(wrapped, backend="eager")):
        for _ in range(2):
            wrapped.zero_grad()
            with tap(run, name) as z:
                prediction = run(x)
            torch.testing.assert_close(z.value, expected(model, x))
            total(prediction, z.value).backward()
            assert_gradients(model, x)
    z = tap(model, "blocks.2")  # tapped from inside, called from outside
    wrapped(batch(1))
    torch.testing.assert_close(z.value, expected(model, batch(1)))
