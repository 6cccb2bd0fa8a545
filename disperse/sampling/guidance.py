"""Classifier-free guidance: ``out = out_∅ + s (out_y − out_∅)``, on whatever the network predicts."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import check_count
from ..objectives import Predict

Network = Callable[..., Tensor]


def guided_prediction(
    model: Network,
    y: Tensor,
    *,
    null_class: int,
    scale: float = 1.0,
    guided_channels: int | None = None,
    active: Callable[[float], bool] | None = None,
) -> Predict:
    """What a class-conditional network predicts under guidance.

    Args:
        model: network ``model(x, t, y)``, or ``model(x, t, y, r=r)``.
        y (Tensor): labels, shape (b,).
        null_class: the label that stands for "no label".
        scale: s; 1 is no guidance (one network call on b rows), otherwise one call on 2b rows.
        guided_channels: guide only the first so many channels, as the published DiT and SiT code does
            with 3; None guides as many as x has. The others (DiT's variance among them) follow out_y.
        active: of a time, whether guidance acts there; None is everywhere.

    The two outputs are mixed in the dtype of x, also where the network computes in half precision.

    Source: Ho & Salimans 2022; guidance only in an interval: Kynkäänniemi et al. 2024.
    """
    if guided_channels is not None:
        check_count("guided_channels", guided_channels, 1)

    def call(x: Tensor, t: float, labels: Tensor, r: float | None) -> Tensor:
        dtype = torch.int64 if isinstance(t, int) else x.dtype
        second = {} if r is None else {"r": torch.full((len(x),), r, device=x.device, dtype=dtype)}
        return model(x, torch.full((len(x),), t, device=x.device, dtype=dtype), labels, **second).to(x.dtype)

    def predict(x: Tensor, t: float, r: float | None = None) -> Tensor:
        if scale == 1 or (active is not None and not active(t)):
            return call(x, t, y, r)
        both = torch.cat([y, torch.full_like(y, null_class)])
        with_label, without = call(torch.cat([x, x]), t, both, r).chunk(2)
        channels = guided_channels or x.shape[1]
        mixed = without[:, :channels] + scale * (with_label - without)[:, :channels]
        if mixed.shape[1] == with_label.shape[1]:
            return mixed
        return torch.cat([mixed, with_label[:, channels:]], dim=1)

    return predict
