"""Guidance and ODE end states against those of the published implementation."""

import pytest
from torch import Tensor

from disperse.models import DiffusionTransformer
from disperse.sampling import SOLVERS, guided_prediction, uniform_times

from ..models.conftest import relative


def test_guidance_on_three_channels_equals_the_published_one(
    published: DiffusionTransformer, reference: dict[str, Tensor]
) -> None:
    half = len(reference["cfg_y"]) // 2
    for row in range(half):
        velocity = guided_prediction(
            published, reference["cfg_y"][row : row + 1], null_class=10,
            scale=reference["cfg_scale"].item(), guided_channels=3,
        )  # fmt: skip
        got = velocity(reference["cfg_x"][row : row + 1], reference["cfg_t"][row].item())
        assert relative(got, reference["cfg_velocity_first3"][row : row + 1]) < 1e-5


@pytest.mark.parametrize(("solver", "entry"), [("euler", "euler"), ("heun", "heun2")])
def test_ode_end_states_equal_the_published_ones(
    published: DiffusionTransformer, reference: dict[str, Tensor], solver: str, entry: str
) -> None:
    velocity = guided_prediction(published, reference["y"], null_class=10)
    got = SOLVERS[solver](velocity, reference["ode.noise"], uniform_times(10))
    assert relative(got, reference[f"ode.{entry}.11points"]) < 1e-4
