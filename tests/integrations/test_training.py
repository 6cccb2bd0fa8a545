"""The plug-in on models that we didn't write, in one process."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import set_checkpoint_early_stop

from disperse import DispersiveLoss, tap
from disperse.errors import TapError

from .models import CASES, assert_same, batch, build, differ, gradients, losses

LAM = 0.5
DOUBLE = torch.float64


def train(name: str, lam: float, steps: int = 12) -> tuple[list[float], float]:
    """Velocity errors of the steps, and the mean squared distance of features at the end, per dimension."""
    torch.manual_seed(1)  # dropped labels
    model, loss_fn = build(name), DispersiveLoss("infonce-l2", tau=0.5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    errors = []
    for step in range(steps):
        error, term, z = losses(name, model, model, batch(step, size=32), loss_fn)
        optimizer.zero_grad()
        (error + lam * term).backward()
        optimizer.step()
        errors.append(error.item())
    rows = z.detach().flatten(1)
    return errors, (torch.cdist(rows, rows).square().mean() / rows.shape[1]).item()


@pytest.mark.parametrize("name", CASES)
def test_trains_and_disperses(name: str) -> None:
    errors, spread = train(name, LAM)
    _, without = train(name, 0.0)
    assert sum(errors[-3:]) < 0.9 * sum(errors[:3])
    assert spread > 1.2 * without


def test_gradients_are_those_of_features_taken_by_hand() -> None:
    """DiT of diffusers, run block by block without any hook."""
    name = "DiTTransformer2DModel"
    model, loss_fn = build(name, DOUBLE).eval(), DispersiveLoss("infonce-l2", tau=0.5)
    x_t, t, y, target = rows = batch(dtype=DOUBLE)
    error, term, z = losses(name, model, model, rows, loss_fn)
    (error + LAM * term).backward()
    ours = gradients(model)
    model.zero_grad()

    hidden, features = model.pos_embed(x_t), None
    for block in model.transformer_blocks:
        hidden = block(hidden, timestep=1000 * t, class_labels=y)
        features = hidden if features is None else features
    condition = model.transformer_blocks[0].norm1.emb(1000 * t, y, hidden_dtype=DOUBLE)
    shift, scale = model.proj_out_1(F.silu(condition)).chunk(2, dim=1)
    patches = model.proj_out_2(model.norm_out(hidden) * (1 + scale[:, None]) + shift[:, None])
    image = patches.unflatten(1, (4, 4)).unflatten(3, (2, 2)).permute(0, 1, 3, 2, 4).reshape(-1, 1, 8, 8)
    torch.testing.assert_close(z, features, rtol=1e-12, atol=1e-12)
    flat = features.flatten(1)
    distances = (flat[:, None] - flat[None]).square().sum(-1) / flat.shape[1]
    by_hand = F.mse_loss(image, target) + LAM * torch.log(torch.exp(-distances / 0.5).mean())
    torch.testing.assert_close(error + LAM * term, by_hand, rtol=1e-12, atol=1e-12)
    by_hand.backward()
    assert_same(ours, gradients(model), 1e-9)
    model.zero_grad()
    losses(name, model, model, rows, loss_fn)[0].backward()
    assert differ(ours, gradients(model))


@pytest.mark.parametrize("stop_early", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_checkpointed_gradients_and_the_first_value(name: str, stop_early: bool) -> None:
    """Recomputing stops early by default, before the layer's hook fires again; else it fires twice."""
    case, loss_fn, rows = CASES[name], DispersiveLoss(), batch(size=8, dtype=DOUBLE)
    found = []
    for checkpointed in (False, True):
        model, calls = build(name, DOUBLE), {"started": 0, "finished": 0}
        torch.manual_seed(0)  # dropped labels
        if checkpointed:
            model.enable_gradient_checkpointing()
        layer = model.get_submodule(case.recomputed)
        layer.register_forward_pre_hook(lambda *_, calls=calls: calls.update(started=calls["started"] + 1))
        layer.register_forward_hook(lambda *_, calls=calls: calls.update(finished=calls["finished"] + 1))
        z = tap(model, case.recomputed, select=case.recomputed_select)  # still open in the backward pass
        with set_checkpoint_early_stop(stop_early):
            prediction = case.call(model, *rows[:3])
        value = z.value
        (F.mse_loss(prediction, rows[3]) + LAM * loss_fn(value)).backward()
        assert calls["started"] == 1 + checkpointed, "not recomputed: this shows nothing"
        assert calls["finished"] == 1 + (checkpointed and not stop_early)
        assert z.value is value
        found.append((value.detach(), gradients(model)))
    (plain, plain_gradients), (value, ours) = found
    torch.testing.assert_close(value, plain, rtol=1e-12, atol=1e-12)
    assert_same(ours, plain_gradients, 1e-9)


@pytest.mark.parametrize("name", CASES)
def test_accumulation_is_the_loss_of_smaller_groups(name: str) -> None:
    """k micro-batches of b/k rows: the loss of local_batch = b/k, and not that of b rows."""
    parts, rows = 4, batch(size=16, dtype=DOUBLE)
    model = build(name, DOUBLE).eval()
    for part in zip(*(column.chunk(parts) for column in rows), strict=True):
        error, term, _ = losses(name, model, model, part, DispersiveLoss())
        ((error + LAM * term) / parts).backward()
    ours = gradients(model)

    def whole(local_batch: int | None) -> dict[str, torch.Tensor]:
        model.zero_grad()
        error, term, _ = losses(name, model, model, rows, DispersiveLoss(local_batch=local_batch))
        (error + LAM * term).backward()
        return gradients(model)

    assert_same(ours, whole(4), 1e-9)
    assert differ(ours, whole(None))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compiled_steps_are_eager_ones(name: str) -> None:
    """Two steps of training: the whole model, or the tapped block alone by the slow default backend."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model, eager, loss_fn = build(name).eval(), build(name).eval(), DispersiveLoss()
    kept = tap(model, CASES[name].layer, select=CASES[name].select)  # before the first call
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (model, eager)]
    run = model
    if name == "PlainUNet":
        model.middle.compile(fullgraph=True)
    else:
        run = torch.compile(model, backend="aot_eager", fullgraph=True)
    for step in range(2):
        found = []
        for tapped, called in ((model, run), (eager, eager)):
            tapped.zero_grad()
            error, term, z = losses(name, called, tapped, batch(step, size=8), loss_fn)
            (error + LAM * term).backward()
            found.append((z.detach(), gradients(tapped)))
        torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(kept.value.detach(), found[1][0], rtol=1e-4, atol=1e-5)
        assert_same(found[0][1], found[1][1], 1e-3)
        for optimizer in optimizers:
            optimizer.step()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "ran eagerly: this shows nothing"
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["PlainUNet", "SD3Transformer2DModel"])
def test_mixed_precision_computes_the_term_in_single(name: str) -> None:
    model, loss_fn = build(name).eval(), DispersiveLoss()
    with torch.autocast("cpu", torch.bfloat16):
        _, term, z = losses(name, model, model, batch(), loss_fn)
    assert z.dtype == torch.bfloat16
    assert term.dtype == torch.float32
    torch.testing.assert_close(term, loss_fn(z.float()), rtol=1e-6, atol=1e-7)
    full = losses(name, model, model, batch(), loss_fn)[1]
    assert abs(term - full) < 0.02 * abs(full)


def test_what_each_layer_says_without_select() -> None:
    for name, says in (
        ("UNet2DModel", r"tuple of \(0: Tensor \[16, 16, 4, 4\], 1: tuple\), not a tensor; pass select=0 or"),
        (
            "SD3Transformer2DModel",
            r"^transformer_blocks\.0: its output is tuple of \(0: Tensor \[16, 3, 16\], 1: Tensor \[16, 16, 16\]\), "
            r"not a tensor; pass select=0 \(gives \[16, 3, 16\]\) or 1 \(gives \[16, 16, 16\]\) "
            r"or a function of it$",
        ),
    ):
        model = build(name)
        with tap(model, CASES[name].layer) as z:
            CASES[name].call(model, *batch()[:3])
        with pytest.raises(TapError, match=says):
            _ = z.value


def test_output_of_a_whole_model_is_read_by_field_or_position() -> None:
    """Transformer2DModelOutput, where a model is a part of another."""

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = build("DiTTransformer2DModel").eval()

        def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.model(x, timestep=1000 * t, class_labels=y)[0]

    model = Outer()
    with tap(model, "model", "sample") as field, tap(model, "model", 0) as place, tap(model, "model") as none:
        prediction = model(*batch()[:3])
    assert field.value is prediction
    assert place.value is prediction
    with pytest.raises(
        TapError, match=r"Transformer2DModelOutput of \('sample': Tensor.*pass select='sample' or"
    ):
        _ = none.value


def test_below_a_frozen_encoder_the_term_has_no_gradient() -> None:
    """Nothing to train before the tap: the term is a number only."""
    model = build("PlainUNet")
    for part in (model.time, model.label, model.enter, model.down, model.pool, model.middle):
        part.requires_grad_(False)
    _, term, z = losses("PlainUNet", model, model, batch(), DispersiveLoss())
    assert not z.requires_grad
    assert not term.requires_grad
