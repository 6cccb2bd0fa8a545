"""What a run is: identity, fingerprints, and one-line errors."""

from typing import Any, get_args

import pytest

from disperse.errors import ConfigError
from disperse.losses import PRESETS, VARIANTS
from disperse.spec import NUMERICS, DispersiveSpec, OptimizerSpec, RunSpec, Variant


def test_fingerprints_of_published_runs_do_not_move() -> None:
    assert NUMERICS == 2
    assert RunSpec().fingerprint == "9021ec7a4e6f"
    assert RunSpec(regularizers=(DispersiveSpec(variant="hinge", lam=0.25),)).fingerprint == "c7b4eab8f278"


@pytest.mark.parametrize(
    "change",
    [{"num_steps": 7}, {"milestones": (3,)}, {"device": "cpu"}, {"compile": True}, {"name": "other"},
     {"checkpoint_interval": 3}, {"log_interval": 3}],
)  # fmt: skip
def test_length_and_place_are_not_identity(change: dict[str, Any]) -> None:
    assert RunSpec().replace(**change).fingerprint == RunSpec().fingerprint


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"batch_size": 64}, {"label_drop": 0.2}, {"precision": "bf16"}, {"model": "SiT-S/2"},
     {"regularizers": (DispersiveSpec(),)}, {"optimizer": OptimizerSpec(lr=1e-3)}, {"ema": ("power-0.05",)},
     {"overrides": {"depth": 2}}],
)  # fmt: skip
def test_what_decides_the_numbers_is_identity(change: dict[str, Any]) -> None:
    assert RunSpec().replace(**change).fingerprint != RunSpec().fingerprint


def test_a_spec_survives_json() -> None:
    spec = RunSpec(regularizers=(DispersiveSpec(blocks=(0, 2)),), milestones=(1, 2), overrides={"depth": 3})
    assert RunSpec.parse(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeed": 1}, 'did you mean "seed"'),
        ({"regularizers": [{"lan": 1.0}]}, r'regularizers\.0\.field = .lan.*did you mean "lam"'),
        ({"regularizers": [{"lam": "0.5"}]}, r"regularizers\.0\.lam = '0\.5'.*number"),
        ({"regularizers": [{"variant": "hinje"}]}, "hinge"),
        ({"regularizers": [{"tau": 0.0}]}, r"regularizers\.0\.tau = 0\.0.*greater than 0"),
        ({"regularizers": [{"tau": float("nan")}]}, "finite"),
        ({"optimizer": {"lr": float("inf")}}, "finite"),
        ({"seed": True}, "seed = True"),
        ({"seed": -1}, "seed = -1"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"ema": ["mean-3"]}, "power-0.1"),
        ({"name": "../x"}, "name = '../x'"),
        ({"numerics": 0}, "numerics = 0.*train it again"),
    ],
)
def test_errors_are_one_line_with_the_path(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        RunSpec.parse(values)
    assert "\n" not in str(caught.value)


def test_each_name_has_one_home() -> None:
    assert tuple(VARIANTS) == get_args(Variant)
    assert {preset.variant for preset in PRESETS.values()} <= set(VARIANTS)
