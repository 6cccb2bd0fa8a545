"""Solvers show their order of convergence on a Gaussian flow that is known exactly, in float64."""

import pytest
import torch

from disperse.analysis.gaussian import GaussianFlow, ode_error, order, propagate, sde_error, solver_errors
from disperse.errors import ConfigError
from disperse.objectives import PATHS
from disperse.sampling import uniform_times
from disperse.sampling.sde import FORMS, SDE_SOLVERS, diffusion_coefficient

FLOWS = {name: GaussianFlow(path, 0.7, 0.4) for name, path in PATHS.items()}
STEPS = (32, 64, 128, 256)


@pytest.mark.parametrize("name", FLOWS)
def test_the_exact_flow_solves_its_equation(name: str) -> None:
    flow, x, h = FLOWS[name], torch.linspace(-2, 2, 5, dtype=torch.float64), 1e-6
    slope = (flow.flow(x, 0.4, 0.4 + h) - flow.flow(x, 0.4, 0.4 - h)) / (2 * h)
    torch.testing.assert_close(flow.velocity(x, 0.4), slope, rtol=1e-6, atol=1e-8)
    t = torch.tensor(0.4, dtype=torch.float64)
    score = flow.path.score_from_velocity(flow.velocity(x, 0.4), x, t)
    torch.testing.assert_close(score, flow.score(x, 0.4), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize(("solver", "expected"), [("euler", 1), ("heun", 2)])
def test_order_of_ode_solvers(name: str, solver: str, expected: int) -> None:
    high = 0.95 if name == "vp" else 1.0
    measured = order(lambda n: ode_error(FLOWS[name], solver, n, high=high), STEPS)
    assert measured == pytest.approx(expected, abs=0.12)


def test_dopri5_keeps_its_tolerance() -> None:
    assert ode_error(FLOWS["linear"], "dopri5", 1) < 5e-3
    assert ode_error(FLOWS["linear"], "dopri5", 1) < 0.1 * ode_error(FLOWS["linear"], "euler", 10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("solver", SDE_SOLVERS)
def test_weak_order_of_sde_solvers_is_one(solver: str, form: str) -> None:
    """Mean and variance are propagated exactly, not sampled."""
    flow = GaussianFlow(PATHS["linear"], 0.7, 0.5)  # no error of this one changes its sign over these steps
    diffusion = diffusion_coefficient(form, flow.path)
    low = 0.1 if form == "sbdm" else 0.0  # d(t) diverges at 0
    measured = order(lambda n: sde_error(flow, solver, diffusion, n, low=low), STEPS)
    assert measured == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", FLOWS)
def test_an_sde_has_the_marginals_of_its_ode_for_every_diffusion(name: str) -> None:
    flow = FLOWS[name]
    for form in ("constant", "sigma", "increasing-decreasing"):
        assert sde_error(flow, "sde-euler", diffusion_coefficient(form, flow.path), 2000) < 2e-3


def test_a_drift_without_score_would_be_seen() -> None:
    flow, one = FLOWS["linear"], lambda t: 1.0
    _, std = propagate("sde-euler", flow.velocity, one, uniform_times(500, 0, 0.9), *flow.moments(0))
    assert abs(std - flow.moments(0.9)[1]) > 0.1


def test_errors_of_many_solvers_are_those_of_each() -> None:
    flow, steps = FLOWS["linear"], (8, 16)
    found = solver_errors(flow, ["heun", "sde-euler"], steps, form="constant")
    diffusion = diffusion_coefficient("constant", flow.path)
    assert found == {
        "heun": [ode_error(flow, "heun", n) for n in steps],
        "sde-euler": [sde_error(flow, "sde-euler", diffusion, n) for n in steps],
    }
    assert found["heun"][0] > 3 * found["heun"][1] > 0
    with pytest.raises(ConfigError, match="did you mean"):
        solver_errors(flow, ["huen"], steps)
