"""Classifier-free guidance: ``v = v_∅ + s (v_y − v_∅)``."""

import torch
from torch import Tensor, nn

from ..errors import check_count
from .solvers import Velocity


def guided_velocity(
    model: nn.Module,
    y: Tensor,
    *,
    null_class: int,
    scale: float = 1.0,
    guided_channels: int | None = None,
) -> Velocity:
    """Velocity field of a class-conditional model under guidance.

    Args:
        model: network ``model(x, t, y)``.
        y (Tensor): labels, shape (b,).
        null_class: the label that stands for "no label".
        scale: s; 1 is no guidance (one network call on b rows), otherwise one call on 2b rows.
        guided_channels: guide only the first so many channels, as the published DiT and SiT code
            does with 3 (the others follow v_y); None guides all.

    The two outputs are mixed in float32, also where the network computes in half precision.

    Source: Ho & Salimans 2022.
    """
    if guided_channels is not None:
        check_count("guided_channels", guided_channels, 1)

    def plain(x: Tensor, t: float) -> Tensor:
        return model(x, torch.full((len(x),), t, device=x.device, dtype=x.dtype), y).to(x.dtype)

    def guided(x: Tensor, t: float) -> Tensor:
        both = torch.cat([y, torch.full_like(y, null_class)])
        times = torch.full((2 * len(x),), t, device=x.device, dtype=x.dtype)
        with_label, without = model(torch.cat([x, x]), times, both).to(x.dtype).chunk(2)
        mixed = without + scale * (with_label - without)
        if guided_channels is None:
            return mixed
        return torch.cat([mixed[:, :guided_channels], with_label[:, guided_channels:]], dim=1)

    return plain if scale == 1 else guided
