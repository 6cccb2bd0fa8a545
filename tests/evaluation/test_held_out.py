"""The held-out denoising loss: the objective's error at every noise level, on fixed noise, in float64."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from disperse.data import digits
from disperse.evaluation.held_out import LEVELS, held_out_loss
from disperse.models import DiffusionTransformer, build_model
from disperse.rng import normal

NAMES = ("SiT-Nano/2", "DiT-Nano/2", "MF-Nano/2")


def awake(name: str) -> DiffusionTransformer:
    model = build_model(name, hidden_size=32, num_heads=2, depth=1)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * normal(parameter.shape, "awake", key))
    return model.eval()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_same_whatever_the_batch_and_the_process(name: str) -> None:
    data = digits("held-out").take(torch.arange(60))
    model = awake(name)
    estimate, by_level = held_out_loss(model, data)
    for batch_size in (7, 60):
        other, levels = held_out_loss(model, data, batch_size=batch_size)
        assert other.value == pytest.approx(estimate.value, rel=1e-6)
        assert levels == pytest.approx(by_level, rel=1e-6)
    code = (
        "import torch; torch.set_num_threads(2); from tests.evaluation.test_held_out import *; "
        f"print(held_out_loss(awake({name!r}), digits('held-out').take(torch.arange(60)), batch_size=11)[0].value)"
    )
    if name == NAMES[0]:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert float(done.stdout) == pytest.approx(estimate.value, rel=1e-6)
    assert len(by_level) == LEVELS
    assert np.mean(by_level) == pytest.approx(estimate.value, rel=1e-12)
    assert estimate.low < estimate.value < estimate.high
    assert estimate.n == 60


def test_it_is_the_error_of_the_velocity_by_hand() -> None:
    """SiT, linear path: ``x_t = t x + (1 − t) ε``, velocity ``x − ε``, at t = 1 − level."""
    data, model = digits("held-out").take(torch.arange(30)), awake("SiT-Nano/2")
    expected = []
    for number in range(LEVELS):
        eps = normal(tuple(data.images.shape), "held-out noise", number)
        t = 1 - (number + 0.5) / LEVELS
        with torch.no_grad():
            out = model(t * data.images + (1 - t) * eps, torch.full((30,), t), data.labels)
        expected.append((out - (data.images - eps)).double().square().mean().item())
    estimate, by_level = held_out_loss(model, data)
    assert by_level == pytest.approx(expected, rel=1e-5)
    assert estimate.value == pytest.approx(np.mean(expected), rel=1e-5)


def test_meanflow_is_measured_at_equal_times() -> None:
    data, model = digits("held-out").take(torch.arange(20)), awake("MF-Nano/2")
    eps = normal(tuple(data.images.shape), "held-out noise", 0)
    t = torch.full((20,), 0.5 / LEVELS)
    with torch.no_grad():
        out = model((1 - t[0]) * data.images + t[0] * eps, t, data.labels, r=t)
    expected = (out - (eps - data.images)).double().square().mean().item()
    assert held_out_loss(model, data)[1][0] == pytest.approx(expected, rel=1e-5)


def test_the_target_of_a_guided_meanflow_does_not_hold_its_own_prediction() -> None:
    data, model = digits("held-out").take(torch.arange(20)), awake("MF-Nano/2")
    plain = held_out_loss(model, data)[0].value
    model.objective = model.objective.model_copy(update={"omega": 1.0, "kappa": 0.5})
    assert held_out_loss(model, data)[0].value == plain


def test_an_untrained_network_that_answers_zero_scores_the_power_of_the_target() -> None:
    data = digits("held-out").take(torch.arange(200))
    power = data.images.double().square().mean().item() + 1
    estimate, _ = held_out_loss(build_model("SiT-Nano/2").eval(), data)
    assert estimate.value == pytest.approx(power, rel=0.01)
