"""Shortcut: the steps of a known flow meet the target exactly, and its limits are flow matching and Euler."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from disperse.errors import ConfigError
from disperse.models import build_model, config_of
from disperse.models.presets import from_config
from disperse.objectives import Draws, Interpolant, Shortcut, ShortcutSpec, SiTSpec, build_objective
from disperse.objectives.shortcut import FINEST, shortcut_steps, step_times
from disperse.rng import normal
from disperse.sampling import SamplerConfig, sample
from disperse.spec import RunSpec

X, EPS = (normal((64, 1, 4, 4), name).double() for name in ("x", "eps"))
Y = torch.arange(64) % 10
MEAN = 0.3


def objective(**options: Any) -> Shortcut:
    return Shortcut(ShortcutSpec(**options), 10, label_drop=0.0)


def variance(t: Tensor, std: float) -> Tensor:
    """Of x_t for data N(μ, s²)."""
    return (1 - t) ** 2 + (t * std) ** 2


def exact_step(std: float) -> Callable[..., Tensor]:
    """``S(x, t, d) = [d μ + (x − t μ)(√(V(t + d)/V(t)) − 1)]/d``: the flow of N(μ, s²) over a step d."""

    def network(x: Tensor, t: Tensor, y: Tensor, *, r: Tensor, taps: Any = ()) -> Tensor:
        t, d = (value.double().view(-1, 1, 1, 1) for value in (t, 2.0**-r))
        ratio = (variance(t + d, std) / variance(t, std)).sqrt()
        return (d * MEAN + (x - t * MEAN) * (ratio - 1)) / d

    return network


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_the_steps_of_a_known_flow_meet_their_target(std: float) -> None:
    network, own = exact_step(std), objective()
    for level in range(FINEST):
        count = 2**level
        t = (torch.arange(64, dtype=torch.float64) % count) / count
        r = torch.full_like(t, level)
        target = own.two_half_steps(network, X, t, r, Y)
        torch.testing.assert_close(target, network(X, t, Y, r=r), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("std", "gain"), [(0.5, 0.49425), (1.0, 0.9900), (2.0, 1.9770)])
def test_a_perfect_student_is_euler_with_128_steps(std: float, gain: float) -> None:
    """Level by level the targets are those of the level below: one step then is 128 of Euler."""
    own = objective()

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        t = t.double().view(-1, 1, 1, 1)
        return x * (t * std**2 - (1 - t)) / variance(t, std)

    def network(x: Tensor, t: Tensor, y: Tensor, *, r: Tensor, taps: Any = ()) -> Tensor:
        if float(r[0]) == FINEST:
            return velocity(x, t)
        return own.two_half_steps(network, x, t, r, y)

    def predict(x: Tensor, t: float, r: float) -> Tensor:
        return network(x, torch.full((1,), t, dtype=torch.float64), Y[:1], r=torch.tensor([r]))

    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for count in (1, 4, 128):
        assert shortcut_steps(predict, one, step_times(count)).item() == pytest.approx(gain, abs=5e-5)


def test_without_half_steps_it_is_flow_matching() -> None:
    shortcut, flow = objective(bootstrap_share=0.0), Interpolant(SiTSpec(), 10, label_drop=0.0)
    model = exact_step(0.7)
    t, _ = shortcut.times(64, "", 0)
    ours = shortcut.forward(model, X, Y, Draws(t, EPS, Y < 0, torch.full_like(t, FINEST)))
    theirs = flow.forward(lambda x, t, y, taps=(): model(x, t, y, r=torch.full_like(t, FINEST)), X, Y,
                          Draws(t, EPS, Y < 0))  # fmt: skip
    # The authors leave 1e-5 of the noise at the end of the path.
    torch.testing.assert_close(ours.x_t, theirs.x_t, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        shortcut.losses(model, ours).losses,
        flow.losses(model, theirs).losses,
        atol=1e-3,
        rtol=1e-3,
        check_dtype=False,
    )


@pytest.mark.parametrize("share", [0.0, 0.125, 0.25, 1.0])
def test_rows_times_and_levels(share: float) -> None:
    own = objective(bootstrap_share=share)
    t, level = own.times(4096, "", 0)
    assert level is not None
    coarse = level < FINEST
    assert coarse.double().mean() == share
    assert torch.equal(coarse, own.apart(4096))
    steps = t * 2**level
    assert torch.equal(steps, steps.round())
    assert (t >= 0).all()
    assert (t + 2**-level <= 1).all()
    if share:
        counts = torch.bincount(level[coarse].long(), minlength=FINEST)
        assert (counts / counts.sum() - 1 / FINEST).abs().max() < 0.06
    moved, same = own.near((t, level), torch.full((4096,), 0.5))
    assert torch.equal(same, level)
    assert (moved + 2**-level <= 1 + 1e-6).all()


def passes(own: Shortcut, network: Any) -> Any:
    t, level = own.times(64, "", 0)
    return own.forward(network, X.float(), Y, Draws(t, EPS.float(), Y < 0, level))


def test_the_teacher_makes_the_targets_and_gets_no_gradient() -> None:
    own = objective()
    weight = torch.ones((), requires_grad=True)
    student, teacher = (
        lambda x, t, y, r, w=w, taps=(): w * x * (1 + r.view(-1, 1, 1, 1)) for w in (weight, weight * 2)
    )
    forward = passes(own, student)
    losses = own.losses(student, forward, teacher=teacher).losses
    (gradient,) = torch.autograd.grad(losses.sum(), weight)
    rows = own.apart(64)
    state = forward.x_t[rows], forward.draws.t[rows], forward.draws.r[rows], Y[rows]
    target = (forward.x - forward.draws.eps).clone()
    target[rows] = own.two_half_steps(teacher, *state)
    features = forward.prediction.detach()  # the prediction is linear in the weight, which is 1
    expected = (2 * (features - target) * features).flatten(1).mean(dim=1).sum()
    assert gradient.item() == pytest.approx(expected.item(), rel=1e-4)
    alone = own.losses(student, forward).losses
    assert torch.equal(losses[~rows], alone[~rows])
    assert not torch.isclose(losses[rows], alone[rows]).any()


def test_guidance_is_baked_into_the_targets_of_64_steps_alone() -> None:
    calls: list[tuple[Tensor, Tensor]] = []

    def network(x: Tensor, t: Tensor, y: Tensor, *, r: Tensor, taps: Any = ()) -> Tensor:
        calls.append((y, r))
        return x * y.view(-1, 1, 1, 1)

    own = objective(guidance=1.5)
    x, t, y = torch.ones(3, 1, 2, 2), torch.zeros(3), torch.tensor([2, 10, 2])
    target = own.two_half_steps(network, x, t, torch.tensor([6.0, 6.0, 5.0]), y)
    half = 2.0**-7
    guided = 10 + 1.5 * (2 - 10)  # of the row with a label at the finest level
    assert target[0, 0, 0, 0].item() == pytest.approx(guided * (1 + (1 + half * guided)) / 2)
    assert target[1, 0, 0, 0].item() == pytest.approx(10 * (1 + (1 + half * 10)) / 2)
    assert target[2, 0, 0, 0].item() == pytest.approx(2 * (1 + (1 + 2 * half * 2)) / 2)
    assert [list(level) for _, level in calls if len(level) == 1] == [[7.0], [7.0]]


def test_states_and_targets_are_clipped_where_asked() -> None:
    own = objective(clip=4.0)
    big = torch.full((1, 1, 2, 2), 30.0)
    target = own.two_half_steps(lambda x, t, y, r: x, big, torch.zeros(1), torch.zeros(1), Y[:1])
    assert target.max() == 4.0


def test_samples_in_numbers_of_steps_that_have_a_level() -> None:
    spec = RunSpec(model="SiT-Nano/2", objective="shortcut")
    model = from_config(config_of(spec), seed=0, objective=spec.objective)
    assert SamplerConfig.for_system("shortcut").nfe == 4
    images = {n: sample(model, [0, 1], 3, solver="shortcut", num_steps=n) for n in (1, 128)}
    assert all(math.isfinite(image.sum()) for image in images.values())
    with pytest.raises(
        ConfigError, match=r"num_steps = 3: a shortcut takes 1, 2, 4, \.\.\. or 128 steps; try 2"
    ):
        sample(model, [0], 3, num_steps=3)
    with pytest.raises(ConfigError, match=r"r: this network \(shortcut\) needs a second condition"):
        model(torch.zeros(1, 1, 8, 8), torch.zeros(1), torch.zeros(1).long())


def test_it_runs_on_the_networks_of_sit() -> None:
    assert config_of(RunSpec(model="SiT-Nano/2", objective="shortcut")).step_level
    with pytest.raises(ConfigError, match="choose a SiT model"):
        config_of(RunSpec(model="MF-Nano/2", objective="shortcut"))
    assert not build_model("SiT-Nano/2").config.step_level
    assert build_objective(ShortcutSpec(), 10).teacher == 0.999
