"""Every system trains, resumes bit by bit, and makes no forward pass more than it says."""

from pathlib import Path
from typing import Any

import pytest
import torch

from disperse import load_model, sample
from disperse.errors import ConfigError
from disperse.models import DiffusionTransformer
from disperse.objectives import DiTSpec, MeanFlowSpec, SiTSpec
from disperse.regularizers import AlignmentSpec, ContrastiveSpec, DispersiveSpec
from disperse.spec import RunSpec
from disperse.training import train

from .cases import TINY, tensors

DISPERSIVE = DispersiveSpec(blocks=(1,), lam=0.5)
RESTRICTED = ContrastiveSpec(blocks=(1,), lam=0.25)
INDEPENDENT = ContrastiveSpec(blocks=(0,), lam=0.25, view="independent", variant="hinge")
SYSTEMS: dict[str, dict[str, Any]] = {
    "dit": {"model": "DiT-Nano/2", "objective": DiTSpec()},
    "sit-vp-noise": {"model": "SiT-Nano/2", "objective": SiTSpec(path="vp", prediction="noise")},
    "meanflow": {"model": "MF-Nano/2", "objective": MeanFlowSpec(omega=1.0, kappa=0.5)},
}


def spec(system: str, **changes: Any) -> RunSpec:
    return TINY.replace(**SYSTEMS[system], num_steps=6, checkpoint_interval=3, **changes)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_run_in_two_parts_is_the_run_in_one(system: str, tmp_path: Path) -> None:
    terms = (DISPERSIVE, INDEPENDENT)
    whole = train(spec(system, regularizers=terms), tmp_path / "whole", progress=False)
    train(spec(system, regularizers=terms).replace(num_steps=3), tmp_path / "parts", progress=False)
    parts = train(spec(system, regularizers=terms), tmp_path / "parts", progress=False)
    ours, theirs = tensors(whole), tensors(parts)
    assert all(ours[name].equal(theirs[name]) for name in ours)
    model = load_model(tmp_path / "whole")
    assert model.objective == SYSTEMS[system]["objective"]
    images = sample(model, range(2), num_steps=2)
    assert images.shape == (2, 1, 8, 8)


def test_alignment_of_no_weight_leaves_the_dispersive_run_bit_for_bit(tmp_path: Path) -> None:
    one_view = train(spec("meanflow", regularizers=(DISPERSIVE,)), tmp_path / "one", progress=False)
    for alpha in (0.0, 0.1):
        terms = (DISPERSIVE, AlignmentSpec(blocks=(1,), lam=alpha))
        two_views = train(spec("meanflow", regularizers=terms), tmp_path / f"{alpha}", progress=False)
        ours, theirs = tensors(one_view), tensors(two_views)
        assert all(ours[name].equal(theirs[name]) for name in ours) == (alpha == 0)


def test_what_is_logged(tmp_path: Path) -> None:
    names = {"step", "loss", "diffusion", "grad_norm", "feature_rms", "regularizer_0"}
    for system, parts in (("dit", {"mse", "vb"}), ("meanflow", {"squared_error"}), ("sit-vp-noise", set())):
        rows: list[dict[str, float]] = []
        train(spec(system), tmp_path / system, progress=False, on_log=rows.extend)
        assert names | parts <= set(rows[0])
        assert all(value == value for value in rows[-1].values())


@pytest.mark.parametrize(
    ("system", "terms", "with_gradients"),
    [
        ("dit", (), 1),
        ("dit", (DISPERSIVE,), 1),
        ("dit", (RESTRICTED,), 2),
        ("dit", (RESTRICTED, RESTRICTED.model_copy(update={"variant": "hinge"}), DISPERSIVE), 2),
        ("meanflow", (DISPERSIVE,), 1),
        ("meanflow", (RESTRICTED,), 2),
        ("sit-vp-noise", (RESTRICTED, INDEPENDENT), 3),
    ],
)
def test_forward_passes_with_gradients(
    system: str, terms: tuple, with_gradients: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for the objective, one more for each kind of second view, whatever reads it."""
    calls: list[bool] = []
    forward = DiffusionTransformer.forward

    def counted(self: DiffusionTransformer, *args: Any, **options: Any) -> Any:
        calls.append(torch.is_grad_enabled())
        return forward(self, *args, **options)

    monkeypatch.setattr(DiffusionTransformer, "forward", counted)
    train(spec(system, regularizers=terms).replace(num_steps=1), tmp_path, progress=False)
    assert sum(calls) == with_gradients


def test_views_of_one_step_differ_and_the_baseline_does_not_see_them(tmp_path: Path) -> None:
    """A term of weight 0 reproduces the base run bit for bit, also with a second view."""
    base = train(spec("dit", regularizers=()), tmp_path / "base", progress=False)
    zero = train(spec("dit", regularizers=(RESTRICTED.model_copy(update={"lam": 0.0}),)), tmp_path / "zero",
                 progress=False)  # fmt: skip
    ours, theirs = tensors(base), tensors(zero)
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_a_schedule_reaches_the_update(tmp_path: Path) -> None:
    off = DISPERSIVE.model_copy(update={"lam_schedule": ((0, 0.0),)})
    late = DISPERSIVE.model_copy(update={"lam_schedule": ((4, 0.0), (5, 1.0))})
    states = {
        name: tensors(train(spec("dit", regularizers=terms), tmp_path / name, progress=False))
        for name, terms in {"base": (), "off": (off,), "late": (late,), "on": (DISPERSIVE,)}.items()
    }
    same = {name: all(states["base"][k].equal(v) for k, v in s.items()) for name, s in states.items()}
    assert same == {"base": True, "off": True, "late": False, "on": False}


@pytest.mark.parametrize(
    ("model", "objective", "cure"),
    [("DiT-Nano/2", SiTSpec(), "objective = dit"), ("SiT-Nano/2", DiTSpec(), "sit")],
)
def test_a_model_of_another_system_is_refused(model: str, objective: Any, cure: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=cure):
        train(TINY.replace(model=model, objective=objective), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
