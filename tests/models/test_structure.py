"""Parameter counts by formula, initialisation rule by rule, each part, and inputs that would be misread."""

import math

import pytest
import torch
from torch import Tensor, nn

from disperse.errors import ConfigError
from disperse.models import MODELS, DiffusionTransformer, build_model, model_config
from disperse.models.embed import position_table, sinusoids

TINY = {"input_size": 8, "hidden_size": 32, "depth": 2, "num_heads": 2, "num_classes": 5}


@pytest.mark.parametrize("name", MODELS)
def test_parameter_counts_by_formula(name: str) -> None:
    config = model_config(name)
    D, p, c, T = config.hidden_size, config.patch_size, config.in_channels, config.num_tokens
    outputs = p**2 * c * (2 if config.learn_sigma else 1)
    table = T * D
    trained = (
        config.depth * (18 * D**2 + 15 * D)
        + (c * p**2 * D + D)
        + (257 * D + D**2 + D)
        + (config.num_classes + 1) * D
        + (2 * D**2 + 2 * D + outputs * (D + 1))
    )
    if config.second_time:
        trained += 257 * D + D**2 + D
    model = build_model(name, device="meta")
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == trained
    assert sum(p.numel() for p in model.parameters()) == trained + table
    assert all(p.is_meta for p in model.parameters())


@pytest.fixture(scope="module")
def model() -> DiffusionTransformer:
    return build_model(
        "SiT-S/2", seed=5, in_channels=3, hidden_size=96, depth=3, num_heads=4, num_classes=200
    )


def test_initialisation_tensor_by_tensor(model: DiffusionTransformer) -> None:
    rules: dict[str, int] = {"zero": 0, "normal": 0, "xavier": 0}
    for name, value in model.named_parameters():
        if name == "pos_embed":
            assert torch.equal(value, position_table(16, 96))
            assert not value.requires_grad
        elif name.endswith("bias") or "adaLN" in name or name.startswith("final_layer"):
            rules["zero"] += 1
            assert not value.any(), name
        elif name.startswith(("t_embedder", "y_embedder")):
            rules["normal"] += 1
            n = value.numel()
            assert value.std().item() == pytest.approx(0.02, rel=5 / math.sqrt(2 * n)), name
            assert value.abs().max() > 0.06, name  # three deviations: not a uniform distribution
        else:
            rules["xavier"] += 1
            rows, columns = value.flatten(1).shape
            bound = math.sqrt(6 / (rows + columns))
            assert 0.98 * bound < value.abs().max() <= bound, name
            assert value.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05), name
            assert abs(value.mean().item()) < 5 * bound / math.sqrt(3 * value.numel()), name
    assert rules == {"zero": 3 * 5 + 3 * 1 + 1 + 2 + 4, "normal": 3, "xavier": 3 * 4 + 1}
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_every_tensor_is_drawn_for_itself(model: DiffusionTransformer) -> None:
    first, second = (model.blocks[i].attn.qkv.weight for i in (0, 1))
    assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1].item()) < 0.03
    deeper = build_model("SiT-S/2", seed=5, hidden_size=96, depth=4, num_heads=4)
    assert torch.equal(deeper.blocks[1].attn.qkv.weight, second)  # whatever else the model has


def test_initial_weights_are_a_function_of_the_seed_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (build_model("SiT-Nano/2", seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())  # nor is the global generator moved
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], other["blocks.0.attn.qkv.weight"])


def test_first_initial_weights_never_move() -> None:
    model = build_model("SiT-Nano/2", seed=0)
    qkv, time = model.blocks[0].attn.qkv.weight, model.t_embedder.mlp[0].weight
    assert qkv.flatten()[:3].tolist() == pytest.approx([0.10547116, -0.08941323, -0.07806425], rel=1e-6)
    assert time.flatten()[:3].tolist() == pytest.approx([-0.01421775, -0.00919173, 0.01633724], rel=1e-6)


def test_a_new_model_predicts_zero_and_every_block_is_the_identity(model: DiffusionTransformer) -> None:
    x, t, y = torch.ones(2, 3, 32, 32), torch.tensor([0.1, 0.9]), torch.tensor([0, 200])
    with torch.no_grad():
        prediction, features = model(x, t, y, taps=(0, 2))
    assert not prediction.any()
    assert prediction.shape == x.shape
    assert torch.equal(features[0], features[2])


def test_taps_equal_hooks_on_every_block() -> None:
    model = build_model("SiT-S/2", **TINY)
    for block in model.blocks:
        nn.init.normal_(block.adaLN_modulation[1].weight, std=0.5)
    nn.init.normal_(model.final_layer.linear.weight)
    seen: dict[int, Tensor] = {}
    for index, block in enumerate(model.blocks):
        block.register_forward_hook(lambda *args, index=index: seen.update({index: args[-1]}))
    batch = torch.ones(2, 4, 8, 8), torch.ones(2), torch.tensor([0, 1])
    prediction, features = model(*batch, taps=(1, 0))
    assert sorted(features) == [0, 1]
    assert all(torch.equal(features[index], seen[index]) for index in seen)
    assert not torch.equal(features[0], features[1])
    assert prediction.any()
    assert torch.equal(prediction, model(*batch))
    assert model(*batch, taps=(1,)).features.keys() == {1}
    with pytest.raises(ConfigError, match="blocks are 0 to 1"):
        model(*batch, taps=(2,))


def test_position_table_by_loops() -> None:
    grid, width = 3, 16
    table = position_table(grid, width)[0]
    for row in range(grid):
        for column in range(grid):
            expected: list[float] = []
            for place in (column, row):
                angles = [place * 10 ** (-4 * k / (width / 4)) for k in range(width // 4)]
                expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            torch.testing.assert_close(table[row * grid + column], torch.tensor(expected))


def test_sinusoids_by_a_loop() -> None:
    times = [0.0, 0.25, 1.0, 999.0]
    got = sinusoids(torch.tensor(times))
    for row, t in enumerate(times):
        angles = [t * math.exp(-math.log(10_000) * k / 128) for k in range(128)]
        expected = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
        # An angle of 999 has float32 rounding of 3e-5.
        torch.testing.assert_close(got[row], torch.tensor(expected), rtol=0, atol=1e-4 if t > 1 else 1e-6)


def test_the_patch_product_is_the_stored_convolution() -> None:
    embedder = build_model("SiT-S/2", **TINY).x_embedder
    nn.init.normal_(embedder.proj.bias)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = embedder.proj(x).flatten(2).mT
    torch.testing.assert_close(embedder(x), expected, rtol=1e-5, atol=1e-5)


def test_a_patch_lands_where_it_came_from() -> None:
    tokens = torch.zeros(1, 16, 4)
    tokens[0, 6] = torch.tensor([1.0, 2.0, 3.0, 4.0])  # grid row 1, column 2
    image = build_model("SiT-Nano/2")._unpatchify(tokens)[0, 0]
    assert image[2:4, 4:6].tolist() == [[1, 2], [3, 4]]
    assert image.sum() == 10


def test_sit_returns_the_first_half_and_dit_both() -> None:
    x, t, y = torch.ones(1, 4, 8, 8), torch.ones(1), torch.tensor([0])
    sit, dit = (build_model(name, **TINY) for name in ("SiT-S/2", "DiT-S/2"))
    nn.init.normal_(dit.final_layer.linear.weight)
    sit.load_state_dict(dit.state_dict())
    both = dit(x, t, y)
    assert both.shape == (1, 8, 8, 8)
    assert torch.equal(sit(x, t, y), both[:, :4])
    assert not torch.equal(both[:, :4], both[:, 4:])


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("SiT-B2", {}, 'model = .SiT-B2.: expected one of .*did you mean "SiT-B/2"'),
        ("sit-Nano/2", {}, 'did you mean "SiT-Nano/2"'),
        (None, {}, "model = None"),
        ("SiT-B/2", {"num_clases": 3}, 'num_clases.*did you mean "num_classes"'),
        ("SiT-B/2", {"depth": "3"}, "depth = '3'.*integer"),
        ("SiT-B/2", {"depth": True}, "depth = True.*integer"),
        ("SiT-B/2", {"depth": 0}, "depth = 0.*greater than or equal to 1"),
        ("SiT-B/2", {"learn_sigma": 1}, "learn_sigma = 1.*boolean"),
        ("SiT-B/2", {"patch_size": 3}, "^model SiT-B/2: patch_size = 3 must divide"),
        ("SiT-B/2", {"hidden_size": 12, "num_heads": 5}, "^model SiT-B/2: hidden_size = 12 must be a"),
    ],
)
def test_bad_settings_name_field_and_value(name: str, overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_model(name, device="meta", **overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", ["0", True, 0.0, None])
def test_a_seed_that_only_looks_like_one_is_refused(seed: object) -> None:
    with pytest.raises(ConfigError):
        build_model("SiT-Nano/2", seed=seed)


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(2, 4, 2, 2),  # one patch: the position table would be broadcast over it
        torch.zeros(2, 8, 8, 4),  # channels last
        torch.zeros(2, 4, 16, 16),
        torch.zeros(2, 1, 8, 8),
        torch.zeros(4, 8, 8),
        torch.zeros(2, 4, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 4, 8, 8, dtype=torch.int64),
    ],
    ids=lambda x: f"{tuple(x.shape)}-{x.dtype}",
)
def test_images_that_would_be_misread_are_refused(x: Tensor) -> None:
    model = build_model("SiT-S/2", **TINY)
    with pytest.raises(ConfigError, match=r"^x: expected .*\(b, 4, 8, 8\)") as caught:
        model(x, torch.zeros(len(x)), torch.zeros(len(x), dtype=torch.int64))
    assert "\n" not in str(caught.value)


def test_token_scale_multiplies_what_the_first_block_reads() -> None:
    plain, long = (build_model("SiT-Nano/2", token_scale=scale) for scale in (1, 4))
    x, t, y = torch.linspace(-1, 1, 64).view(1, 1, 8, 8), torch.tensor([0.3]), torch.tensor([2])
    # A new block is the identity, so its output is the embedded tokens.
    first = [model(x, t, y, taps=(0,)).features[0] for model in (plain, long)]
    assert torch.equal(first[1], 4 * first[0])
