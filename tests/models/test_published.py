"""The backbone against the published implementation: its velocity, parameter counts and state-dict keys."""

import json

import pytest
from torch import Tensor

from disperse.models import MODELS, DiffusionTransformer, build_model

from .conftest import REFERENCE, relative

ARCHITECTURES = json.loads((REFERENCE / "architectures.json").read_text())
PUBLISHED = sorted(name for name in ARCHITECTURES if name in MODELS)


def test_velocity_equals_the_published_one(
    published: DiffusionTransformer, reference: dict[str, Tensor]
) -> None:
    got = published(reference["x"], reference["t"], reference["y"])
    assert relative(got, reference["velocity"]) < 1e-5


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_equal_the_published_ones(name: str) -> None:
    model, facts = build_model(name, device="meta"), ARCHITECTURES[name]
    assert sum(p.numel() for p in model.parameters()) == facts["params_with_pos_embed"]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == facts["params"]
    if "state_dict" in facts:
        assert {key: list(value.shape) for key, value in model.state_dict().items()} == facts["state_dict"]


def test_all_published_sizes_are_compared() -> None:
    assert len(PUBLISHED) >= 24
