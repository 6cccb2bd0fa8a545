"""Taps on eager models: values, gradients, stale and missing values, names."""

import gc
import weakref

import pytest
import torch
from torch import nn

from disperse.errors import TapError
from disperse.taps import tap

from .cases import Block, assert_gradients, batch, expected, make, total

# Tracing a block whose input has a graph looks at its .grad; torch hides its own warning about that,
# but not where warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


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


@pytest.mark.parametrize("failing", [0, 3])
def test_failed_forward_leaves_no_bad_state(failing):
    model = make()
    z = tap(model, "blocks.2")
    model(batch(0))
    handle = model.blocks[failing].register_forward_pre_hook(fail)
    with pytest.raises(ValueError, match="failing"):
        model(batch(1))
    with pytest.raises(ValueError, match="failing"), tap(model, "blocks.1") as failed:
        model(batch(1))
    for reader, index in ((z, 2), (failed, 1)):
        if failing == 0:
            with pytest.raises(TapError, match="did not reach"):
                _ = reader.value
        else:
            torch.testing.assert_close(reader.value, expected(model, batch(1), index))
    handle.remove()
    for seed, call in enumerate([model.encode, model.encode, model]):
        call(batch(seed))
        torch.testing.assert_close(z.value, expected(model, batch(seed)))
    assert failed._slot is not z._slot
    assert held(model).count(None) == 3  # those of the tap that was closed by the failure


def fail(*_):
    raise ValueError("a failing forward")


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


def test_missing_layer_names_the_nearest():
    with pytest.raises(TapError) as error:
        tap(make(), "blocks.12")
    text = str(error.value)
    assert text.startswith("blocks.12: no such layer; did you mean blocks.")
    assert text.endswith("blocks.3.linear")
    assert "layers are blocks, blocks.0, blocks.1" in text
    assert "\n" not in text


def test_a_name_under_wrappers_is_named_whole():
    """As an adapter's: what ends in the name comes before what only looks like it, and the shortest first."""
    model = nn.ModuleDict(
        {"base_model": nn.ModuleDict({"model": make()}), "blocks": nn.ModuleDict({"22": Block()})}
    )
    model.teacher = nn.ModuleDict({"of": nn.ModuleDict({"base_model": model.base_model})})
    with pytest.raises(TapError, match=r"no such layer; did you mean base_model\.model\.blocks\.2\? layers"):
        tap(model, "blocks.2")


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
