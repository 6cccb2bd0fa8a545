"""Taps under torch.compile."""

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from disperse.errors import TapError
from disperse.taps import tap

from .cases import assert_gradients, batch, expected, make, total

# Tracing a block whose input has a graph looks at its .grad; torch hides its own warning about that,
# but not where warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


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
