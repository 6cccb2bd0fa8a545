"""Closed forms against the network itself."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from disperse.models import MODELS, build_model, model_config
from disperse.models.flops import forward_macs, num_parameters, train_flops


@pytest.mark.parametrize("name", MODELS)
def test_parameters(name: str) -> None:
    assert num_parameters(model_config(name)) == sum(
        p.numel() for p in build_model(name, device="meta").parameters()
    )


@pytest.mark.parametrize(
    ("name", "gmac"),
    [("SiT-S/2", 6.06), ("SiT-B/4", 5.57), ("SiT-B/2", 23.01), ("SiT-L/2", 80.70), ("SiT-XL/2", 118.62)],
)
def test_published_figures(name: str, gmac: float) -> None:
    assert forward_macs(model_config(name)) / 1e9 == pytest.approx(gmac, abs=0.006)


@pytest.mark.parametrize("name", ["SiT-S/2", "DiT-B/4", "MF-B/2", "DiT-XL/8", "MF-Nano/2", "SiT-Mini/2"])
def test_operations_counted_on_the_meta_device(name: str) -> None:
    model = build_model(name, device="meta")
    x = torch.empty(1, *model.config.image_shape, device="meta")
    t, y = torch.zeros(1, device="meta"), torch.zeros(1, dtype=torch.long, device="meta")
    second = {"r": t} if model.config.second_time else {}
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(x, t, y, **second)
    assert counter.get_total_flops() == 2 * forward_macs(model.config)
    assert train_flops(model.config) == 3 * counter.get_total_flops()
