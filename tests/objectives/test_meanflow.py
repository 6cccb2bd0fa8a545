"""MeanFlow: against the published tensors, an exact average velocity, and flow matching."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from disperse.errors import ConfigError
from disperse.models import DiffusionTransformer, TransformerConfig, from_config
from disperse.objectives import Draws, MeanFlow, MeanFlowSpec
from disperse.objectives.meanflow import average_velocity_steps
from disperse.rng import normal
from disperse.sampling import guided_prediction

FOLDER = Path(__file__).parents[1] / "reference"
REF = load_file(FOLDER / "meanflow.safetensors")
NONE = torch.zeros(5, dtype=torch.bool)
ALL_APART = MeanFlow(MeanFlowSpec(equal_share=0.0), 10)


@pytest.fixture(scope="module")
def published() -> DiffusionTransformer:
    config = json.loads((FOLDER / "sit_config.json").read_text())["config"]
    model = from_config(TransformerConfig(**config, second_time=True, learn_sigma=False))
    model.load_state_dict({k[6:]: v for k, v in REF.items() if k.startswith("param.")}, strict=True)
    return model.eval().requires_grad_(False)


def relative(got: Tensor, expected: Tensor) -> float:
    return ((got - expected).abs().max() / expected.abs().max()).item()


def test_network_derivative_target_and_loss_equal_the_published_ones(published: DiffusionTransformer) -> None:
    assert relative(published(REF["x"], REF["t"], REF["y"], r=REF["r"]), REF["u"]) < 1e-5
    draws = Draws(REF["t"], REF["eps"], NONE, REF["r"])
    forward = ALL_APART.forward(published, REF["data"], REF["y"], draws)
    assert relative(forward.x_t, REF["z_t"]) < 1e-6
    assert relative(forward.prediction, REF["u_at_zt"]) < 1e-5
    slope = ALL_APART.derivative(published, forward.x_t, REF["t"], REF["r"], REF["y"], REF["v"])
    assert relative(slope, REF["du_dt"]) < 1e-5
    assert relative(ALL_APART.target(published, forward), REF["u_target"]) < 1e-5
    losses = ALL_APART.losses(published, forward)
    assert relative(losses.losses, REF["adaptive_loss_sum_c0p01_p1"]) < 1e-5
    assert relative(losses.parts["squared_error"], REF["sq_mean"]) < 1e-5


def test_one_step_sample_equals_the_published_one(published: DiffusionTransformer) -> None:
    noise = load_file(FOLDER / "sit.safetensors")["ode.noise"]
    got = average_velocity_steps(guided_prediction(published, REF["y"], null_class=10), noise, [1.0, 0.0])
    assert relative(got, REF["one_step_sample"]) < 1e-5


def test_the_finite_difference_is_near_the_exact_derivative(published: DiffusionTransformer) -> None:
    """Measured: 2.4e-4 relative in float32, of which the step's own error is a hundredth in float64."""
    objective = MeanFlow(MeanFlowSpec(derivative="difference"), 10)
    arguments = REF["z_t"], REF["t"], REF["r"], REF["y"], REF["v"]
    assert relative(objective.derivative(published, *arguments), REF["du_dt"]) < 1e-3


# Data N(MEAN, STD²): the average velocity of its flow in closed form.
MEAN, STD = 0.7, 0.4


def marginal(t: Tensor) -> tuple[Tensor, Tensor]:
    return (1 - t) * MEAN, torch.sqrt((1 - t) ** 2 * STD**2 + t**2)


def average_velocity(z: Tensor, t: Tensor, y: Tensor | None = None, *, r: Tensor) -> Tensor:
    """``u = (z_t − z_r)/(t − r)``, where z_r is where the flow carries z_t."""
    (mean_t, std_t), (mean_r, std_r) = marginal(t), marginal(r)
    return (z - (mean_r + std_r / std_t * (z - mean_t))) / (t - r)


def velocity(z: Tensor, t: Tensor) -> Tensor:
    mean, std = marginal(t)
    return -MEAN + (t - (1 - t) * STD**2) / std**2 * (z - mean)


def test_the_identity_holds_on_an_exact_average_velocity() -> None:
    """``u = v − (t − r) du/dt`` with the derivative along the flow: to float64 rounding."""
    z = torch.linspace(-2, 2, 40, dtype=torch.float64)
    t, r = torch.linspace(0.2, 1, 40).double(), torch.linspace(0, 0.7, 40).double()
    v = velocity(z, t)
    slope = ALL_APART.derivative(average_velocity, z, t, r, torch.zeros(40), v)
    torch.testing.assert_close(average_velocity(z, t, r=r), v - (t - r) * slope, rtol=1e-10, atol=1e-12)
    # Not along another direction:
    wrong = ALL_APART.derivative(average_velocity, z, t, r, torch.zeros(40), v + 0.1)
    assert (average_velocity(z, t, r=r) - (v - (t - r) * wrong)).abs().max() > 1e-3
    difference = MeanFlow(MeanFlowSpec(derivative="difference"), 10)
    near = difference.derivative(average_velocity, z, t, r, torch.zeros(40), v)
    assert 1e-9 < (near - slope).abs().max() < 2e-3  # of up to 10: the step squared


def test_one_step_of_an_exact_average_velocity_is_the_flow() -> None:
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)

    def predict(z: Tensor, t: float, r: float) -> Tensor:
        now, end = torch.tensor([t, r], dtype=torch.float64)
        return average_velocity(z, now, r=end)

    expected = MEAN + STD * z  # z_1 is standard normal
    for times in ([1.0, 0.0], [1.0, 0.6, 0.0], [1.0, 0.8, 0.3, 0.0]):
        torch.testing.assert_close(
            average_velocity_steps(predict, z, times), expected, rtol=1e-12, atol=1e-12
        )


class Counted:
    """A small network that counts the rows it is called with."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.weight = torch.tensor(0.3, requires_grad=True)

    def __call__(self, z: Tensor, t: Tensor, y: Tensor, *, r: Tensor, taps: tuple[int, ...] = ()) -> Tensor:
        self.rows.append(len(z))
        t, r, label = (part.view(-1, 1, 1, 1) for part in (t, r, y))
        return self.weight * z * (1 + t) + r.square() + 0.1 * label


SHAPE = (8, 1, 4, 4)
X, Y = normal(SHAPE, "x"), torch.arange(8)


def loss_of(spec: MeanFlowSpec, network: Callable[..., Tensor], drop: float = 0.0) -> tuple[MeanFlow, object]:
    objective = MeanFlow(spec, 10, label_drop=drop)
    return objective, objective.forward(network, X, Y, objective.draw(SHAPE, 0))


def test_all_r_equal_t_and_power_zero_is_flow_matching_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a derivative was computed")

    monkeypatch.setattr(torch.func, "jvp", fail)
    network = Counted()
    objective, forward = loss_of(MeanFlowSpec(equal_share=1.0, adaptive_power=0.0), network)
    losses = objective.losses(network, forward)
    assert network.rows == [8]  # one pass; guidance 1 and 0 calls nothing either
    t, eps = forward.draws.t.view(-1, 1, 1, 1), forward.draws.eps
    assert torch.equal(forward.draws.t, forward.draws.r)
    z = (1 - t) * X + t * eps
    flow_matching = (
        (network(z, forward.draws.t, Y, r=forward.draws.t) - (eps - X)).square().flatten(1).sum(dim=1)
    )
    assert torch.equal(losses.losses, flow_matching)
    monkeypatch.undo()


def test_only_rows_that_differ_are_derived_and_no_gradient_reaches_the_target() -> None:
    network = Counted()
    objective, forward = loss_of(MeanFlowSpec(), network)
    losses = objective.losses(network, forward)
    assert network.rows == [8, 2]  # the pass with gradients, and a quarter of the rows for the derivative
    (grad,) = torch.autograd.grad(losses.losses.sum(), network.weight)
    target = objective.target(network, forward)
    assert not target.requires_grad
    error = (forward.prediction - target).detach()
    z, t = forward.x_t, forward.draws.t.view(-1, 1, 1, 1)
    weight = 1 / (error.square().flatten(1).sum(dim=1) + 0.01)
    expected = (weight.view(-1, 1, 1, 1) * 2 * error * z * (1 + t)).sum()
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("equal_share", [1.0, 0.5, 0.0])
@pytest.mark.parametrize(("omega", "kappa"), [(1.0, 0.0), (2.0, 0.0), (1.0, 0.5), (0.2, 0.8)])
def test_guided_target_by_hand(omega: float, kappa: float, equal_share: float) -> None:
    network = Counted()
    spec = MeanFlowSpec(omega=omega, kappa=kappa, interval=(0.2, 0.7), equal_share=equal_share)
    objective, forward = loss_of(spec, network, drop=0.5)
    network.rows.clear()
    got = objective.guided_velocity(network, forward)
    calls = list(network.rows)
    dropped, t, r = forward.draws.dropped, forward.draws.t, forward.draws.r
    assert 0 < dropped.sum() < 8
    plain = dropped | (t < 0.2) | (t > 0.7)
    assert 0 < plain.sum() < 8
    for i in range(8):
        v = forward.draws.eps[i] - X[i]
        row = (forward.x_t[i : i + 1], t[i : i + 1])
        null = network(*row, torch.tensor([10]), r=t[i : i + 1])[0]
        label = network(*row, Y[i : i + 1], r=t[i : i + 1])[0]
        guided = omega * v + (1 - omega - kappa) * null + kappa * label
        torch.testing.assert_close(got[i], (v if plain[i] else guided).detach(), rtol=1e-5, atol=1e-5)
    # Only the rows that need it, in one call: with null, and with label where no pass has u(z, t, t | y).
    with_null = int((~plain).sum()) if 1 - omega - kappa != 0 else 0
    with_label = int((~plain & (t != r)).sum()) if kappa != 0 else 0
    assert calls == [rows for rows in [with_null + with_label] if rows]


def test_no_guidance_is_the_plain_velocity_bit_for_bit() -> None:
    objective, forward = loss_of(MeanFlowSpec(omega=1.0, kappa=0.0), Counted())
    assert torch.equal(objective.guided_velocity(Counted(), forward), forward.draws.eps - X)


def test_a_prediction_of_another_shape_is_not_broadcast() -> None:
    forward = ALL_APART.forward(lambda z, *_, **__: z.repeat(1, 2, 1, 1), X, Y, ALL_APART.draw(SHAPE, 0))
    with pytest.raises(ConfigError, match=r"prediction: expected shape \(8, 1, 4, 4\)"):
        ALL_APART.losses(Counted(), forward)


def test_now_is_the_second_time_that_equals_the_first() -> None:
    t = torch.tensor([0.0, 0.3, 1.0])
    assert torch.equal(ALL_APART.second_time(t), t)
    draws = ALL_APART.draw(SHAPE, 0)
    assert torch.equal(draws.to(torch.device("cpu")).r, draws.r)


def test_times_are_logit_normal_ordered_and_mostly_equal() -> None:
    objective = MeanFlow(MeanFlowSpec(), 10)
    t, r = objective.times(40_000, "", 0)
    assert (r <= t).all()
    assert (t == r).double().mean().item() == pytest.approx(0.75, abs=1e-3)
    apart = objective.apart(40_000)
    assert torch.equal(apart, t != r)
    # Evenly spread: a group of consecutive rows holds as many as any other.
    assert set(apart.view(-1, 16).sum(dim=1).tolist()) == {4}
    logits = torch.logit(torch.cat([t[apart], r[apart]]).double())  # larger and smaller of two, together
    assert logits.mean().item() == pytest.approx(-0.4, abs=0.03)
    assert logits.std().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    ("share", "n", "apart"), [(0.75, 8, 2), (0.75, 6, 1), (0.5, 7, 3), (0.0, 5, 5), (1.0, 5, 0)]
)
def test_how_many_rows_differ(share: float, n: int, apart: int) -> None:
    assert MeanFlow(MeanFlowSpec(equal_share=share), 10).apart(n).sum() == apart


def test_the_adaptive_loss_is_about_one_and_its_parts_tell_the_error() -> None:
    objective, forward = loss_of(MeanFlowSpec(), Counted())
    losses = objective.losses(Counted(), forward)
    assert losses.losses.mean().item() == pytest.approx(1, abs=0.01)
    error = (forward.prediction - objective.target(Counted(), forward)).square().flatten(1).mean(dim=1)
    torch.testing.assert_close(losses.parts["squared_error"], error)
