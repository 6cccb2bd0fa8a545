"""REPA: the cosine of a head's tokens and the frozen encoder's, on the network's grid."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from disperse.atomic import sha256_file
from disperse.data import load_data
from disperse.errors import ConfigError
from disperse.objectives import Draws, ForwardPass
from disperse.regularizers import RepaSpec, build_regularizer
from disperse.regularizers.encoders import ENCODERS, FOLDER, PatchEncoder, frozen_encoder, on_grid
from disperse.rng import normal

TARGET = normal((6, 16, 32), "target")


def forward_pass(features: dict[int, Tensor]) -> ForwardPass:
    x = torch.zeros(6, 1, 8, 8)
    draws = Draws(torch.zeros(6), x, torch.zeros(6).bool())
    labels = torch.zeros(6).long()
    return ForwardPass(x, x, labels, labels, draws, torch.zeros(6), x, features)


def with_head(head: nn.Module) -> nn.Module:
    term = build_regularizer(RepaSpec(blocks=(0,), hidden=8), 4, 32)
    term.heads[0] = head  # type: ignore[index]
    return term


def test_tokens_that_are_the_target_give_minus_one_at_any_length() -> None:
    term = with_head(nn.Identity())
    for scale in (1.0, 1e-3, 40.0):
        loss = term(forward_pass({0: scale * TARGET}), None, TARGET).loss
        assert loss.item() == pytest.approx(-1, abs=1e-6)
    assert term(forward_pass({0: -TARGET}), None, TARGET).loss.item() == pytest.approx(1, abs=1e-6)


def test_the_loss_is_the_mean_cosine_in_float64() -> None:
    h, z = (normal((6, 16, 32), name).double() for name in ("h", "z"))
    cosines = (h * z).sum(dim=-1) / (h.norm(dim=-1) * z.norm(dim=-1))
    term = with_head(nn.Identity())
    assert term(forward_pass({0: h.float()}), None, z.float()).loss.item() == pytest.approx(
        -cosines.mean().item(), abs=1e-6
    )


def test_the_head_is_three_layers_and_a_pure_function_of_the_seed() -> None:
    one, same, other = (build_regularizer(RepaSpec(hidden=8), 4, 32, seed=seed) for seed in (0, 0, 1))
    shapes = [tuple(p.shape) for p in one.parameters() if p.ndim > 1]
    assert shapes == [(8, 32), (8, 8), (32, 8)]
    weights = [torch.cat([p.flatten() for p in term.parameters()]) for term in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert [build_regularizer(RepaSpec(), depth, 32).blocks for depth in (4, 12, 24)] == [(0,), (3,), (7,)]


def test_the_gradient_reaches_the_tokens_and_the_head_alone() -> None:
    term = build_regularizer(RepaSpec(blocks=(0,), hidden=8), 4, 32)
    tokens, target = normal((6, 16, 32), "tokens").requires_grad_(), TARGET.clone().requires_grad_()
    term(forward_pass({0: tokens}), None, target.detach()).loss.backward()
    assert tokens.grad is not None
    assert all(p.grad is not None for p in term.parameters())
    assert not any(p.requires_grad for p in frozen_encoder("digits-patches-views").network.parameters())
    assert not any("network" in name for name, _ in term.named_parameters())


def test_targets_of_other_images_are_harder_to_align_with() -> None:
    """The control: shuffled over images, a target leaves its mean alone to be learned."""
    encoder = frozen_encoder("digits-patches-views")
    x = load_data("digits").read(slice(0, 400))
    z = encoder(x)
    tokens = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).flatten(2, 3).squeeze(1)  # pixels of each patch
    tokens = tokens @ normal((4, 32), "projection") + normal((16, 32), "places")

    def aligned(targets: Tensor) -> float:
        term = build_regularizer(RepaSpec(blocks=(0,), hidden=32), 4, 32)
        optimizer = torch.optim.Adam(term.parameters(), lr=1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            term(forward_pass({0: tokens}), None, targets).loss.backward()
            optimizer.step()
        return term(forward_pass({0: tokens}), None, targets).loss.item()

    own, other = aligned(z), aligned(z.roll(1, dims=0))
    assert own < other - 0.03


def test_targets_on_a_coarser_grid_are_averaged() -> None:
    rows = torch.arange(16.0).view(1, 16, 1)
    assert on_grid(rows, 4).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert torch.equal(on_grid(rows, 16), rows)
    with pytest.raises(ConfigError, match="16 tokens can't be averaged to the network's 64"):
        on_grid(rows, 64)


def test_unknown_encoders_are_named() -> None:
    with pytest.raises(ConfigError, match="encoder = 'digits-patches-view': expected one of"):
        RepaSpec(encoder="digits-patches-view")


@pytest.mark.parametrize("name", ENCODERS)
def test_the_encoders_are_what_their_records_say(name: str) -> None:
    path = FOLDER / f"{name.replace('-', '_')}.safetensors"
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["sha256"] == sha256_file(path)
    assert (record["labels"] == "none") == (not ENCODERS[name][2])
    encoder = frozen_encoder(name)
    assert encoder.key == f"{name}-{record['sha256'][:4]}"
    tokens = encoder(load_data("digits", "held-out").read(slice(0, 40)))
    assert tokens.shape == (40, 16, 32)
    assert tokens.flatten(0, 1).std(dim=0).min() > 0.01  # every direction is alive
    others = {path.read_bytes() for path in Path("disperse/evaluation/weights").glob("*.safetensors")}
    assert path.read_bytes() not in others, "a target is no measure"


def test_tokens_lie_as_patches_do() -> None:
    """What stands at the lower right of an image moves the last tokens most."""
    network, image = PatchEncoder(1, 8), torch.zeros(1, 1, 8, 8)
    moved = image.clone()
    moved[..., 7, 7] = 1.0
    change = (network(moved) - network(image)).norm(dim=-1)[0]
    assert change.argmax().item() == 15
    assert change[0].item() == pytest.approx(0, abs=1e-6)
