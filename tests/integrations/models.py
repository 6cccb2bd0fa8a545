"""Models that we didn't write, at toy size, and how each is called, trained and tapped."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from disperse import DispersiveLoss, tap
from disperse.data import digits


class ResBlock(nn.Module):
    """Two convolutions; the time and label shift every channel."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(4, inside), nn.SiLU(), nn.Conv2d(inside, outside, 3, padding=1)
        )
        self.shift = nn.Linear(32, outside)
        self.second = nn.Sequential(
            nn.GroupNorm(4, outside), nn.SiLU(), nn.Conv2d(outside, outside, 3, padding=1)
        )
        self.skip = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        hidden = self.first(x) + self.shift(condition)[:, :, None, None]
        return self.skip(x) + self.second(hidden)


class PlainUNet(nn.Module):
    """8×8 → 4×4 → 8×8, in plain PyTorch; runs channels-last."""

    def __init__(self) -> None:
        super().__init__()
        self.time, self.label = nn.Linear(1, 32), nn.Embedding(10, 32)
        self.enter = nn.Conv2d(1, 16, 3, padding=1)
        self.down = ResBlock(16, 32)
        self.pool = nn.Conv2d(32, 32, 2, stride=2)
        self.middle = ResBlock(32, 32)
        self.up = nn.ConvTranspose2d(32, 32, 2, stride=2)
        self.merge = ResBlock(64, 16)
        self.leave = nn.Conv2d(16, 1, 3, padding=1)
        self.checkpointed = False
        self.to(memory_format=torch.channels_last)

    def enable_gradient_checkpointing(self) -> None:
        self.checkpointed = True

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        condition = torch.tanh(self.time(t[:, None]) + self.label(y))
        x = x.to(memory_format=torch.channels_last)
        down = self.down(self.enter(x), condition)
        if self.checkpointed:
            middle = checkpoint(self.middle, self.pool(down), condition, use_reentrant=False)
        else:
            middle = self.middle(self.pool(down), condition)
        return self.leave(self.merge(torch.cat([self.up(middle), down], dim=1), condition))


def unet_2d() -> nn.Module:
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8, attention_head_dim=8, num_class_embeds=10,
    )  # fmt: skip


def dit() -> nn.Module:
    from diffusers import DiTTransformer2DModel

    return DiTTransformer2DModel(
        sample_size=8, patch_size=2, in_channels=1, out_channels=1, num_layers=4, num_attention_heads=2,
        attention_head_dim=16, num_embeds_ada_norm=10, norm_num_groups=8,
    )  # fmt: skip


def sd3() -> nn.Module:
    from diffusers import SD3Transformer2DModel

    return SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=1, out_channels=1, num_layers=4, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=16, caption_projection_dim=16, pooled_projection_dim=16,
        pos_embed_max_size=8,
    )  # fmt: skip


def call_sd3(model: nn.Module, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """The label is the text: three tokens and a pooled one."""
    text = F.one_hot(y, 16).to(x.dtype)
    tokens = torch.stack([text, text.roll(1, 1), text.roll(2, 1)], dim=1)
    return model(
        hidden_states=x, timestep=1000 * t, encoder_hidden_states=tokens, pooled_projections=text
    ).sample


@dataclass(frozen=True)
class Case:
    """One model.

    Attributes:
        make: the model.
        call: (model, x_t, t in [0, 1], y) → prediction.
        layer: what is tapped, and ``select`` of its output.
        recomputed: a layer that gradient checkpointing runs twice, and ``select`` of that.
    """

    make: Callable[[], nn.Module]
    call: Callable[..., Tensor]
    layer: str
    select: int | None
    recomputed: str
    recomputed_select: int | None = None


CASES = {
    "PlainUNet": Case(PlainUNet, lambda model, x, t, y: model(x, t, y), "middle", None, "middle"),
    "UNet2DModel": Case(
        unet_2d, lambda model, x, t, y: model(x, 1000 * t, class_labels=y).sample,
        "down_blocks.0", 0, "down_blocks.0.resnets.0",
    ),
    "DiTTransformer2DModel": Case(
        dit, lambda model, x, t, y: model(x, timestep=1000 * t, class_labels=y).sample,
        "transformer_blocks.0", None, "transformer_blocks.0",
    ),
    "SD3Transformer2DModel": Case(sd3, call_sd3, "transformer_blocks.0", 1, "transformer_blocks.0", 1),
}  # fmt: skip


@cache
def _weights(name: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = CASES[name].make()
    for parameter in model.parameters():  # zero at first in some: gradients would vanish
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model.state_dict()


def build(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The model with the same weights each time."""
    model = CASES[name].make()
    model.load_state_dict(_weights(name))
    return model.to(dtype)


def batch(step: int = 0, size: int = 16, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """x_t, t, y and the velocity ``eps − x`` of real digits: ``x_t = (1 − t) x + t eps``."""
    generator = torch.Generator().manual_seed(step)
    data = digits()
    index = torch.randint(len(data), (size,), generator=generator)
    x, y = data.read(index).to(dtype), data.labels[index]
    t = torch.rand(size, generator=generator, dtype=dtype)
    eps = torch.randn(x.shape, generator=generator, dtype=dtype)
    level = t[:, None, None, None]
    return (1 - level) * x + level * eps, t, y, eps - x


def losses(
    name: str, run: Any, tapped: nn.Module, rows: tuple[Tensor, ...], loss_fn: DispersiveLoss
) -> tuple[Tensor, Tensor, Tensor]:
    """The three lines: velocity error, dispersive loss and features."""
    case = CASES[name]
    x_t, t, y, target = rows
    with tap(tapped, case.layer, select=case.select) as z:
        prediction = case.call(run, x_t, t, y)
    return F.mse_loss(prediction, target), loss_fn(z.value), z.value


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Of each parameter; zeros where nothing reached it."""
    return {
        key.removeprefix("module."): torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for key, p in model.named_parameters()
    }


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> None:
    """Each gradient within ``tolerance`` of the largest of its parameter, and of 1e-3 of the model's largest."""
    assert ours.keys() == theirs.keys()
    largest = max(grad.abs().max() for grad in theirs.values())
    assert largest > 0
    for key, grad in theirs.items():
        scale = max(grad.abs().max().item(), 1e-3 * largest.item())
        assert (ours[key] - grad).abs().max().item() <= tolerance * scale, key


def differ(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Whether two losses have visibly other gradients."""
    largest = max(grad.abs().max() for grad in theirs.values())
    return max((ours[key] - grad).abs().max() for key, grad in theirs.items()).item() > 1e-3 * largest.item()
