"""A small model whose output depends on image, time and label (a new one predicts zero)."""

import pytest
import torch

from disperse.models import DiffusionTransformer, build_model
from disperse.rng import normal

from ..models.conftest import published, reference

__all__ = ["published", "reference"]


def awake(model: DiffusionTransformer, std: float = 0.05) -> DiffusionTransformer:
    """Add keyed noise to every trained weight."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(std * normal(parameter.shape, "awake", name))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="package")
def small() -> DiffusionTransformer:
    return awake(build_model("SiT-Nano/2", hidden_size=32, num_heads=2, depth=2), std=0.2)


@pytest.fixture(scope="package")
def wide() -> DiffusionTransformer:
    """Width 384: products round differently from batch size to batch size."""
    return awake(build_model("SiT-Nano/2", hidden_size=384, num_heads=6, depth=2))
