"""The outputs of the published implementation, and our model with its weights."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from disperse.models import DiffusionTransformer, TransformerConfig, from_config

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="session")
def reference() -> dict[str, Tensor]:
    return load_file(REFERENCE / "sit.safetensors")


@pytest.fixture(scope="session")
def published(reference: dict[str, Tensor]) -> DiffusionTransformer:
    """Our model with the published implementation's weights, loaded strictly."""
    config = json.loads((REFERENCE / "sit_config.json").read_text())["config"]
    model = from_config(TransformerConfig(**config))
    weights = {name[6:]: value for name, value in reference.items() if name.startswith("param.")}
    model.load_state_dict(weights, strict=True)
    return model.eval().requires_grad_(False)


def relative(got: Tensor, expected: Tensor) -> float:
    return ((got - expected).abs().max() / expected.abs().max()).item()
