"""Moving averages of weights by their closed form, and those of a run by what they average."""

from pathlib import Path

import numpy as np
import pytest
import torch

from disperse.training import TrainState, ema

from .cases import TINY, run


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_power_average_weighs_step_i_by_the_growth_of_a_power(width: float) -> None:
    exponent = ema.power_exponent(width) + 1
    averages = np.zeros(40)  # the average of unit vectors: its weights
    for step in range(1, 41):
        beta = ema.decay(f"power-{width}", step)
        averages = beta * averages + (1 - beta) * np.eye(40)[step - 1]
    steps = np.arange(1, 41)
    closed = (steps**exponent - (steps - 1) ** exponent) / 40**exponent
    np.testing.assert_allclose(averages, closed, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25, 0.28])
def test_power_average_has_the_width_of_its_name(width: float) -> None:
    exponent, steps = ema.power_exponent(width) + 1, np.arange(1, 100_001)
    share = (steps**exponent - (steps - 1.0) ** exponent) / 1e5**exponent
    mean = (share * steps).sum()
    assert np.sqrt((share * (steps - mean) ** 2).sum()) / 1e5 == pytest.approx(width, rel=1e-3)


def test_a_constant_decay_is_the_number_in_its_name() -> None:
    assert [ema.decay("constant-0.9999", step) for step in (1, 7, 10**6)] == [0.9999] * 3


def test_the_averages_of_a_run_are_those_of_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["blocks.0.mlp.fc1.weight", "final_layer.linear.bias"]
    seen: list[dict[str, torch.Tensor]] = []
    update = TrainState.update_averages

    def recorded(state: TrainState) -> None:
        seen.append({name: state.model.state_dict()[name].double().clone() for name in names})
        update(state)

    monkeypatch.setattr(TrainState, "update_averages", recorded)
    state = run(tmp_path, num_steps=12)
    start = TrainState.initial(TINY, torch.device("cpu")).model.state_dict()
    exponent, steps = ema.power_exponent(0.1) + 1, np.arange(1, 13)
    shares = {
        "power-0.1": [0.0, *(steps**exponent - (steps - 1.0) ** exponent) / 12**exponent],
        "constant-0.9": [0.9**12, *0.1 * 0.9 ** (12.0 - steps)],
    }
    for average, share in shares.items():
        assert sum(share) == pytest.approx(1)
        for name in names:
            values = [start[name].double(), *(weights[name] for weights in seen)]
            expected = sum(part * value for part, value in zip(share, values, strict=True))
            got = state.averages[average][name].double()
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)
        assert torch.equal(state.averages[average]["pos_embed"], start["pos_embed"])
