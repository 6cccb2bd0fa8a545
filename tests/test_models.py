"""The backbone against the published implementation, its parameter counts, and its initialisation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from disperse.errors import ConfigError
from disperse.models import MODELS, DiffusionTransformer, TransformerConfig, build_model, from_config
from disperse.models.embed import position_table
from disperse.sampling import SOLVERS, guided_prediction, uniform_times

REFERENCE = Path(__file__).parent / "reference"
ARCHITECTURES = json.loads((REFERENCE / "architectures.json").read_text())
PUBLISHED = sorted(name for name in ARCHITECTURES if name in MODELS)


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load_file(REFERENCE / "sit.safetensors")


@pytest.fixture(scope="module")
def published(reference: dict[str, Tensor]) -> DiffusionTransformer:
    """Our model with the published implementation's weights, loaded strictly."""
    config = json.loads((REFERENCE / "sit_config.json").read_text())["config"]
    model = from_config(TransformerConfig(**config))
    weights = {name[6:]: value for name, value in reference.items() if name.startswith("param.")}
    model.load_state_dict(weights, strict=True)
    return model.eval().requires_grad_(False)


def relative(got: Tensor, expected: Tensor) -> float:
    return ((got - expected).abs().max() / expected.abs().max()).item()


def test_velocity_equals_the_published_one(
    published: DiffusionTransformer, reference: dict[str, Tensor]
) -> None:
    got = published(reference["x"], reference["t"], reference["y"])
    assert relative(got, reference["velocity"]) < 1e-5


def test_guidance_on_three_channels_equals_the_published_one(
    published: DiffusionTransformer, reference: dict[str, Tensor]
) -> None:
    half = len(reference["cfg_y"]) // 2
    for row in range(half):
        velocity = guided_prediction(
            published, reference["cfg_y"][row : row + 1], null_class=10,
            scale=reference["cfg_scale"].item(), guided_channels=3,
        )  # fmt: skip
        got = velocity(reference["cfg_x"][row : row + 1], reference["cfg_t"][row].item())
        assert relative(got, reference["cfg_velocity_first3"][row : row + 1]) < 1e-5


@pytest.mark.parametrize(("solver", "entry"), [("euler", "euler"), ("heun", "heun2")])
def test_ode_end_states_equal_the_published_ones(
    published: DiffusionTransformer, reference: dict[str, Tensor], solver: str, entry: str
) -> None:
    velocity = guided_prediction(published, reference["y"], null_class=10)
    got = SOLVERS[solver](velocity, reference["ode.noise"], uniform_times(10))
    assert relative(got, reference[f"ode.{entry}.11points"]) < 1e-4


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_equal_the_published_ones(name: str) -> None:
    model, facts = build_model(name, device="meta"), ARCHITECTURES[name]
    assert sum(p.numel() for p in model.parameters()) == facts["params_with_pos_embed"]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == facts["params"]
    if "state_dict" in facts:
        assert {key: list(value.shape) for key, value in model.state_dict().items()} == facts["state_dict"]


def test_all_published_sizes_are_compared() -> None:
    assert len(PUBLISHED) >= 24


def test_position_table_by_loops() -> None:
    grid, width = 3, 16
    table = position_table(grid, width)[0]
    for row in range(grid):
        for column in range(grid):
            expected = []
            for place in (column, row):
                angles = [place * 10 ** (-4 * k / (width / 4)) for k in range(width // 4)]
                expected += [np.sin(a) for a in angles] + [np.cos(a) for a in angles]
            torch.testing.assert_close(
                table[row * grid + column], torch.tensor(expected, dtype=torch.float32)
            )


def test_initialisation_follows_the_rules_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    model = build_model("SiT-Nano/2", seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    weights = dict(model.named_parameters())
    for name, value in weights.items():
        if name.endswith("bias") or "adaLN" in name or name.startswith("final_layer"):
            assert not value.any(), name
    assert weights["y_embedder.embedding_table.weight"].std().item() == pytest.approx(0.02, rel=0.15)
    qkv = weights["blocks.0.attn.qkv.weight"]
    bound = (6 / (qkv.shape[0] + qkv.shape[1])) ** 0.5
    assert 0.97 * bound < qkv.abs().max() <= bound
    patch = weights["x_embedder.proj.weight"]
    assert patch.abs().max() <= (6 / (patch.shape[0] + patch[0].numel())) ** 0.5
    again, other = build_model("SiT-Nano/2", seed=3), build_model("SiT-Nano/2", seed=4)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert not torch.equal(qkv, other.blocks[0].attn.qkv.weight)


def test_taps_are_the_outputs_of_the_blocks() -> None:
    model = build_model("SiT-Nano/2")
    seen: list[Tensor] = []
    model.blocks[1].register_forward_hook(lambda _, __, output: seen.append(output))
    x, t, y = torch.randn(2, 1, 8, 8), torch.rand(2), torch.tensor([0, 10])
    output = model(x, t, y, taps=(1, 3))
    assert sorted(output.features) == [1, 3]
    assert torch.equal(output.features[1], seen[0])
    assert torch.equal(output.prediction, model(x, t, y))
    with pytest.raises(ConfigError, match="blocks are 0 to 3"):
        model(x, t, y, taps=(4,))


def test_sit_returns_the_first_half_and_dit_both() -> None:
    small = {"input_size": 4, "hidden_size": 8, "depth": 1, "num_heads": 1, "num_classes": 2}
    x, t, y = torch.randn(1, 4, 4, 4), torch.rand(1), torch.tensor([0])
    assert build_model("SiT-S/2", **small)(x, t, y).shape[1] == 4
    assert build_model("DiT-S/2", **small)(x, t, y).shape[1] == 8


def test_a_patch_lands_where_it_came_from() -> None:
    model = build_model("SiT-Nano/2")
    tokens = torch.zeros(1, 16, 4)
    tokens[0, 6] = torch.tensor([1.0, 2.0, 3.0, 4.0])  # grid row 1, column 2
    image = model._unpatchify(tokens)[0, 0]
    assert image[2:4, 4:6].tolist() == [[1, 2], [3, 4]]
    assert image.sum() == 10


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("SiT-B/3", {}, 'did you mean "SiT-B/'),
        ("SiT-B/2", {"hiden_size": 8}, 'did you mean "hidden_size"'),
        ("SiT-B/2", {"num_heads": 7}, "must be a multiple"),
        ("SiT-B/2", {"patch_size": 3}, "must divide"),
    ],
)
def test_bad_settings_are_one_line(name: str, overrides: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_model(name, **overrides)
    assert "\n" not in str(caught.value)
