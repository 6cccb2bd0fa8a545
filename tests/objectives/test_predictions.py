"""SiT's predictions, weights, time ranges and second views."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from disperse.errors import ConfigError
from disperse.objectives import (
    DiTSpec,
    Draws,
    IndependentNoise,
    Interpolant,
    MeanFlowSpec,
    RestrictedNoise,
    SiTSpec,
    build_objective,
)
from disperse.rng import normal

SHAPE = (6, 2, 4, 4)
X, Y = normal(SHAPE, "x"), torch.arange(6)


def model(x: Tensor, t: Tensor, y: Tensor, *, taps: tuple[int, ...] = ()) -> Tensor:
    return 0.5 * x + t[:, None, None, None]


@pytest.mark.parametrize("path", ["linear", "gvp", "vp"])
@pytest.mark.parametrize(
    ("prediction", "weighting"),
    [("velocity", "none"), *itertools.product(["noise", "score"], ["none", "velocity", "likelihood"])],
)
def test_losses_equal_a_float64_loop(path: str, prediction: str, weighting: str) -> None:
    objective = Interpolant(SiTSpec(path=path, prediction=prediction, weighting=weighting), 9, label_drop=0)
    draws = objective.draw(SHAPE, "loop")
    got = objective.losses(model, objective.forward(model, X, Y, draws)).losses
    for i in range(6):
        t = draws.t[i].double()
        p = objective.path
        alpha, sigma, d = (f(t).item() for f in (p.alpha, p.sigma, p.diffusion))
        alpha_dot, sigma_dot = p.alpha_dot(t).item(), p.sigma_dot(t).item()
        weight = {"none": 1.0, "velocity": (d / sigma) ** 2, "likelihood": d / sigma**2}[weighting]
        total = 0.0
        for index in np.ndindex(SHAPE[1:]):
            x, eps = X[i][index].item(), draws.eps[i][index].item()
            out = 0.5 * (alpha * x + sigma * eps) + t.item()
            total += {
                "velocity": (out - (alpha_dot * x + sigma_dot * eps)) ** 2,
                "noise": weight * (out - eps) ** 2,
                "score": weight * (out * sigma + eps) ** 2,
            }[prediction]
        assert got[i].item() == pytest.approx(total / np.prod(SHAPE[1:]), rel=2e-4)


def test_a_velocity_is_not_weighted() -> None:
    with pytest.raises(ConfigError, match='weighting = "likelihood": a velocity is not weighted'):
        SiTSpec(weighting="likelihood")


@pytest.mark.parametrize("path", ["linear", "gvp", "vp"])
def test_perfect_networks_of_every_prediction_give_one_velocity(path: str) -> None:
    """And no loss: each is told x and ε."""
    draws = Interpolant(SiTSpec(path=path, prediction="noise"), 9).draw(SHAPE, "perfect")
    t = draws.t.view(-1, 1, 1, 1)
    velocities = []
    for prediction in ("velocity", "noise", "score"):
        objective = Interpolant(SiTSpec(path=path, prediction=prediction), 9, label_drop=0)
        p = objective.path
        perfect = {
            "velocity": p.velocity(X, draws.eps, t), "noise": draws.eps, "score": -draws.eps / p.sigma(t)
        }[prediction]  # fmt: skip
        forward = objective.forward(lambda *_, out=perfect, **__: out, X, Y, draws)
        assert objective.losses(model, forward).losses.max() < 1e-10
        velocities.append(objective.velocity(perfect, forward.x_t, draws.t))
    torch.testing.assert_close(velocities[1], velocities[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(velocities[2], velocities[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("spec", "training", "sampling", "sde"),
    [
        (SiTSpec(), (0, 1), (0, 1), (0, 0.999)),
        (SiTSpec(path="gvp"), (0, 1), (0, 1), (0, 0.999)),
        (SiTSpec(prediction="noise"), (1e-3, 0.999), (1e-3, 0.999), (1e-3, 0.999)),
        (SiTSpec(path="vp"), (0, 1 - 1e-5), (0, 0.999), (0, 0.999)),
    ],
    ids=repr,
)
def test_time_ranges_are_the_published_ones(
    spec: SiTSpec, training: tuple, sampling: tuple, sde: tuple
) -> None:
    objective = Interpolant(spec, 9)
    assert objective.interval(training=True) == training
    assert objective.interval() == sampling
    assert objective.interval(sde_form="sigma") == sde
    t, r = objective.times(20_000, "", 0)
    assert r is None
    assert training[0] <= t.min() < training[0] + 1e-3
    assert training[1] - 1e-3 < t.max() <= training[1]


def test_sbdm_starts_after_zero() -> None:
    assert Interpolant(SiTSpec(), 9).interval(sde_form="sbdm") == (1e-3, 0.999)


def test_a_network_that_counts_the_other_way_learns_the_negative_velocity() -> None:
    plain, other = (Interpolant(SiTSpec(reversed_time=r), 9, label_drop=0) for r in (False, True))
    draws = plain.draw(SHAPE, "reversed")
    turned = Draws(1 - draws.t, draws.eps, draws.dropped)
    seen: list[Tensor] = []

    def net(x: Tensor, t: Tensor, y: Tensor, *, taps: tuple[int, ...] = ()) -> Tensor:
        seen.append(t)
        return -0.3 * x

    theirs = other.losses(net, other.forward(net, X, Y, turned)).losses
    ours = plain.losses(net, plain.forward(lambda x, t, y, taps: 0.3 * x, X, Y, draws)).losses
    torch.testing.assert_close(theirs, ours)
    assert torch.equal(seen[0], 1 - draws.t)
    out = normal(SHAPE, "out")
    assert torch.equal(other.velocity(out, X, draws.t), -plain.velocity(out, X, draws.t))


@pytest.mark.parametrize("path", ["linear", "gvp", "vp"])
@pytest.mark.parametrize("reversed_time", [False, True])
def test_noise_level_there_and_back(path: str, reversed_time: bool) -> None:
    objective = Interpolant(SiTSpec(path=path, reversed_time=reversed_time), 9)
    level = torch.linspace(0.02, 0.98, 97)  # VP keeps 1e-3 from its end
    t = objective.time_of_noise_level(level)
    torch.testing.assert_close(objective.noise_level(t), level, rtol=0, atol=2e-4)
    assert (t.diff() > 0).all() if reversed_time else (t.diff() < 0).all()


SPECS = [SiTSpec(), SiTSpec(path="vp"), SiTSpec(reversed_time=True), DiTSpec(), MeanFlowSpec()]


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_the_rate_of_label_drop_reaches_every_objective(spec: object) -> None:
    for rate in (0.0, 1.0):
        assert build_objective(spec, 9, label_drop=rate).draw(SHAPE, 0).dropped.tolist() == [bool(rate)] * 6


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_level_zero_is_data_and_level_one_is_noise(spec: object) -> None:
    """Up to what the path keeps of the other: 0.7% of data (VP), 1% of noise (DiT)."""
    objective, eps = build_objective(spec, 9), normal(SHAPE, "eps")
    level = torch.tensor([0.0, 1.0])
    t = objective.time_of_noise_level(level)
    torch.testing.assert_close(objective.noise_level(t), level, rtol=0, atol=0.011)
    expected = torch.stack([X[0], eps[1]])
    torch.testing.assert_close(objective.corrupt(X[:2], eps[:2], t), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_a_restricted_view_stays_near_and_has_noise_of_its_own(spec: object) -> None:
    objective = build_objective(spec, 9, label_drop=0.5)
    shape = (2000, 1, 2, 2)
    first = objective.draw(shape, 0)
    second = objective.second_view(first, RestrictedNoise(0.005), 0)
    span = 1000 if isinstance(spec, DiTSpec) else 1
    gap = (second.t - first.t).abs().double() / span
    assert gap.max() <= 0.005 + 1e-6
    assert gap.mean() == pytest.approx(0.0025, rel=0.15)
    assert (second.t - first.t).double().mean().abs() / span < 5e-4  # to both sides
    assert not torch.equal(first.eps, second.eps)
    assert torch.equal(first.dropped, second.dropped)
    again = objective.second_view(first, RestrictedNoise(0.005), 0)
    assert torch.equal(second.t, again.t)
    assert torch.equal(second.eps, again.eps)
    assert torch.equal(objective.second_view(first, RestrictedNoise(0.0), 0).t, first.t)
    level = objective.noise_level(second.t)
    assert 0 <= level.min() <= level.max() <= 1
    if isinstance(spec, MeanFlowSpec):
        assert torch.equal(first.r == first.t, second.r == second.t)
        assert (second.r <= second.t).all()
    far = objective.second_view(first, RestrictedNoise(1.0), 0)
    for time in (far.t,) if far.r is None else (far.t, far.r):
        assert 0 <= time.min() <= time.max() <= (999 if isinstance(spec, DiTSpec) else 1)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_an_independent_view_has_a_time_of_its_own(spec: object) -> None:
    objective = build_objective(spec, 9)
    shape = (4000, 1, 2, 2)
    first = objective.draw(shape, 0)
    second = objective.second_view(first, IndependentNoise(), 0)
    times = torch.stack([first.t.double(), second.t.double()])
    assert abs(torch.corrcoef(times)[0, 1].item()) < 5 / 4000**0.5
    assert torch.allclose(times.mean(dim=1)[0], times.mean(dim=1)[1], rtol=0.05)
    assert torch.equal(first.dropped, second.dropped)
