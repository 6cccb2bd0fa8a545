"""Numbers that must not move by accident: a short run's losses and averages, and every default."""

from pathlib import Path

import pytest

from disperse.objectives import MeanFlowSpec
from disperse.regularizers import ContrastiveSpec, DispersiveSpec
from disperse.spec import OptimizerSpec, RunSpec
from disperse.training import train

SPEC = RunSpec(
    model="SiT-Nano/2",
    overrides={"hidden_size": 16, "num_heads": 2, "depth": 2},
    regularizers=(DispersiveSpec(local_batch=4),),
    batch_size=8,
    optimizer=OptimizerSpec(lr=1e-2, warmup_steps=5),
    label_drop=0.5,
    num_steps=5,
    log_interval=1,
    device="cpu",
)
LOSSES = [1.543083667755127, 1.3153302669525146, 1.5374720096588135, 1.465179204940796, 1.3478819131851196]
AVERAGES = {
    "power-0.1": [-0.027401383966, -0.026793755592, -0.026413416490],
    "constant-0.9999": [-6.8696017e-06, -6.7642345e-06, -6.6497068e-06],
}


def test_golden_trajectory(tmp_path: Path) -> None:
    """When this moves, numbers have moved: raise NUMERICS in disperse/spec.py and say so in the changelog."""
    rows: list[dict[str, float]] = []
    state = train(SPEC, tmp_path, progress=False, on_log=rows.extend)
    assert [row["loss"] for row in rows] == pytest.approx(LOSSES, rel=1e-5)
    for name, expected in AVERAGES.items():
        bias = state.averages[name]["final_layer.linear.bias"][:3]
        assert bias.tolist() == pytest.approx(expected, rel=1e-4), name


def test_defaults_never_move() -> None:
    """A fingerprint leaves defaults out, so a default that moved would give a published run other numbers."""
    values = RunSpec().model_dump(mode="json", exclude=set(RunSpec.NOT_IDENTITY))
    assert values.pop("numerics") > 0
    assert values == {
        "model": "SiT-Mini/2", "overrides": {}, "data": "digits", "flip": False, "regularizers": [], "batch_size": 128,
        "objective": {"kind": "sit", "path": "linear", "prediction": "velocity", "weighting": "none",
                      "reversed_time": False},
        "optimizer": {"lr": 1e-4, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.0, "warmup_steps": 0},
        "label_drop": 0.1, "ema": ["power-0.1", "constant-0.9999"], "precision": "fp32", "seed": 0, "engine": "single",
    }  # fmt: skip
    shared = {
        "variant": "infonce-l2", "lam": 0.5, "lam_schedule": [], "tau": 0.5, "eps": 1.0, "blocks": "quarter",
        "scale": "dim", "tokens": "flatten", "local_batch": None, "options": [],
    }  # fmt: skip
    assert DispersiveSpec().model_dump(mode="json") == {
        **shared, "kind": "dispersive", "diagonal": "keep", "time_weight": "none",
    }  # fmt: skip
    assert ContrastiveSpec().model_dump(mode="json") == {
        **shared, "kind": "contrastive", "view": "restricted", "max_dt": 0.005, "candidates": "second",
        "offdiagonal_weight": 1.0, "diagonal": None,
    }  # fmt: skip
    assert MeanFlowSpec().model_dump(mode="json") == {
        "kind": "meanflow", "omega": 1.0, "kappa": 0.0, "interval": [0.0, 1.0], "equal_share": 0.75,
        "time_mean": -0.4, "time_std": 1.0, "adaptive_power": 1.0, "adaptive_c": 0.01, "derivative": "exact",
    }  # fmt: skip
