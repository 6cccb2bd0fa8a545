"""A run in parts has the bits of one that never stopped."""

from pathlib import Path

import numpy as np
import pytest
import torch

from .cases import content, run

# Lengths at which a run is stopped; the log has a line every third step.
CUTS = {"every ten steps": range(10, 31, 10), "every step": range(1, 13)}


@pytest.mark.parametrize("cuts", CUTS)
def test_a_run_in_parts_is_the_whole_run(tmp_path: Path, cuts: str) -> None:
    for length in CUTS[cuts]:
        run(tmp_path / "parts", num_steps=length, log_interval=3)
        torch.rand(3)  # stray draws of other code
        np.random.rand(3)
    run(tmp_path / "whole", num_steps=length, log_interval=3)
    got = content(tmp_path / "parts", length)
    assert got == content(tmp_path / "whole", length)
    assert set(got) == {
        "model.safetensors", "optimizer.safetensors", "ema.power-0.1.safetensors",
        "ema.constant-0.9.safetensors", "metrics",
    }  # fmt: skip


def test_another_seed_leaves_nothing_the_same(undisturbed: Path, tmp_path: Path) -> None:
    run(tmp_path, seed=1)
    other, same = content(tmp_path), content(undisturbed)
    assert all(other[name] != same[name] for name in same)
