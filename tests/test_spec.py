"""What a run is: identity, fingerprints, and one-line errors."""

import json
from typing import Any

import pytest

from disperse.errors import ConfigError
from disperse.experiments import profile, sweeps
from disperse.losses import PRESETS, VARIANTS
from disperse.objectives import DiTSpec, MeanFlowSpec
from disperse.regularizers import ContrastiveSpec, DispersiveSpec
from disperse.spec import NUMERICS, OptimizerSpec, RunSpec, Strict


def test_fingerprints_of_published_runs_do_not_move() -> None:
    assert NUMERICS == 2
    assert RunSpec().fingerprint == "9021ec7a4e6f"
    assert RunSpec(regularizers=(DispersiveSpec(variant="hinge", lam=0.25),)).fingerprint == "c7b4eab8f278"
    assert {spec.name: spec.fingerprint for spec in sweeps.variants(profile("cpu"), 0)} == {
        "baseline": "1bc3877a11e7", "infonce-l2": "1814dd8b7314", "infonce-cosine": "7803dfae81d4",
        "hinge": "eaff78d305ad", "covariance": "26d8a17f5d90",
    }  # fmt: skip


# Identity leaves defaults out, so a default that changes gives old runs another meaning under the same
# fingerprint. A field that is new is a line here; a line that changes is another NUMERICS.
TERM = {
    "variant": "infonce-l2", "lam": 0.5, "lam_schedule": (), "tau": 0.5, "eps": 1.0, "blocks": "quarter",
    "scale": "dim", "tokens": "flatten", "local_batch": None, "options": (),
}  # fmt: skip
DEFAULTS: list[tuple[Strict, dict[str, Any]]] = [
    (
        RunSpec(),
        {
            "model": "SiT-Mini/2", "overrides": {}, "data": "digits", "flip": False,
            "objective": {"kind": "sit", "path": "linear", "prediction": "velocity", "weighting": "none",
                          "reversed_time": False},
            "regularizers": (),
            "optimizer": {"lr": 1e-4, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.0, "warmup_steps": 0},
            "batch_size": 128, "label_drop": 0.1, "ema": ("power-0.1", "constant-0.9999"),
            "precision": "fp32", "seed": 0, "engine": "single", "numerics": 2,
            "name": "run", "num_steps": 1000, "milestones": (), "checkpoint_interval": 250,
            "log_interval": 10, "device": "auto", "compile": False,
        },
    ),
    (DispersiveSpec(), {**TERM, "kind": "dispersive", "diagonal": "keep", "time_weight": "none"}),
    (
        ContrastiveSpec(),
        {**TERM, "kind": "contrastive", "view": "restricted", "max_dt": 0.005, "candidates": "second",
         "offdiagonal_weight": 1.0, "diagonal": None},
    ),
    (DiTSpec(), {"kind": "dit"}),
    (
        MeanFlowSpec(),
        {"kind": "meanflow", "omega": 1.0, "kappa": 0.0, "interval": (0.0, 1.0), "equal_share": 0.75,
         "time_mean": -0.4, "time_std": 1.0, "adaptive_power": 1.0, "adaptive_c": 0.01,
         "derivative": "exact"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "expected"), DEFAULTS, ids=lambda value: type(value).__name__)
def test_defaults_do_not_move(spec: Strict, expected: dict[str, Any]) -> None:
    assert spec.model_dump() == expected


def test_specs_can_be_counted() -> None:
    specs = [
        RunSpec(overrides={"depth": d}, regularizers=(DispersiveSpec(blocks=(0, 1)),)) for d in (2, 3, 2)
    ]
    assert len({*specs, RunSpec(), RunSpec(seed=1)}) == 4
    assert hash(RunSpec()) == hash(RunSpec(overrides={}))
    one, other = ({"depth": 2, "num_heads": 1}, {"num_heads": 1, "depth": 2})
    assert hash(RunSpec(overrides=one)) == hash(RunSpec(overrides=other))


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
        ({"milestones": [0, 5]}, r"milestones = \(0, 5\): expected steps from 1 on"),
        ({"milestones": [-5]}, r"milestones = \(-5,\): expected steps from 1 on"),
        ({"milestones": [5, 11], "num_steps": 10}, r"milestones = \(5, 11\): beyond num_steps = 10"),
        ({"milestones": [1.5]}, r"milestones\.0 = 1\.5"),
        ({"name": "../x"}, "name = '../x'"),
        ({"numerics": 0}, "numerics = 0.*train it again"),
    ],
)
def test_errors_are_one_line_with_the_path(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        RunSpec.parse(values)
    assert "\n" not in str(caught.value)


def test_each_name_has_one_home() -> None:
    assert {preset.variant for preset in PRESETS.values()} <= set(VARIANTS)


def test_lists_within_lists_come_back_from_json() -> None:
    term = DispersiveSpec(lam_schedule=((600, 0.0), (601, 1.0)))
    spec = RunSpec(regularizers=(term,))
    again = RunSpec.parse(json.loads(spec.model_dump_json()))
    assert again == spec
    assert again.fingerprint == spec.fingerprint
