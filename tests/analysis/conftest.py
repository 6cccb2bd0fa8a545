"""A model that is no longer as it was initialised: its blocks and its output do something."""

import pytest
import torch

from disperse.models import DiffusionTransformer, build_model
from disperse.rng import normal


@pytest.fixture(scope="module")
def model() -> DiffusionTransformer:
    model = build_model("SiT-Nano/2", depth=3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * normal(parameter.shape, "terms test", name))
    return model.eval().requires_grad_(False)
