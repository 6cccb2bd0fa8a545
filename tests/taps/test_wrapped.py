"""Taps under checkpointing, in copies and files, and across processes."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.utils.checkpoint import checkpoint

from disperse.errors import TapError
from disperse.taps import tap

from .cases import assert_gradients, batch, expected, make, total
from .test_compiled import compiled

# Tracing a block whose input has a graph looks at its .grad; torch hides its own warning about that,
# but not where warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


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


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpoint_raises_where_a_gradient_would_be_lost():
    model, x = make(checkpointed=True), batch().requires_grad_()
    with tap(model, "blocks.2.linear") as z:
        model(x)
    message = r"^blocks\.2\.linear: .*without a graph.*use_reentrant=False"
    with pytest.raises(TapError, match=message) as error:
        _ = z.value
    assert "\n" not in str(error.value)
    with torch.no_grad():
        torch.testing.assert_close(z.value.tanh(), expected(model, x))
    with torch.no_grad(), tap(model, "blocks.2.linear") as z:
        model(x)
    assert not z.value.requires_grad
    model.blocks[2].requires_grad_(False)
    with tap(model, "blocks.2.linear") as z:
        model(x)
    assert not z.value.requires_grad


def test_reentrant_checkpoint_of_the_layer_itself_keeps_the_gradient():
    """What the checkpoint returns is the layer's own output, so it has the checkpoint's graph."""
    model, x = make(checkpointed=True), batch()
    with tap(model, "blocks.2") as z:
        prediction = model(x.clone().requires_grad_())
    total(prediction, z.value).backward()
    assert model.blocks[2].calls == 2
    assert_gradients(model, x)


def test_a_reentrant_forward_does_not_taint_the_next():
    model, x = make(checkpointed=True), batch().requires_grad_()
    z = tap(model, "blocks.2.linear")
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
