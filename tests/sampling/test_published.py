"""Guidance, ODE end states and conversions against those of the published implementation."""

import pytest
from torch import Tensor

from disperse.models import DiffusionTransformer
from disperse.objectives import Interpolant, SiTSpec
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


@pytest.mark.parametrize(("solver", "entry"), [("euler", "euler"), ("heun", "heun2"), ("dopri5", "dopri5")])
def test_ode_end_states_equal_the_published_ones(
    published: DiffusionTransformer, reference: dict[str, Tensor], solver: str, entry: str
) -> None:
    predict = guided_prediction(published, reference["y"], null_class=10)
    velocity = Interpolant(SiTSpec(), 10).velocity_field(predict)
    got = SOLVERS[solver](velocity, reference["ode.noise"], uniform_times(10))
    assert relative(got, reference[f"ode.{entry}.11points"]) < 1e-4


@pytest.mark.parametrize(("path", "name"), [("linear", "Linear"), ("gvp", "GVP"), ("vp", "VP")])
def test_conversions_of_the_network_equal_the_published_ones(
    published: DiffusionTransformer, reference: dict[str, Tensor], path: str, name: str
) -> None:
    """The network read as noise, as score, and as velocity."""
    entry = {key: reference[f"path_{name}.{key}"] for key in ("t", "xt", "drift_from_noise", "drift_from_score",
                                                              "score_from_velocity")}  # fmt: skip
    x_t, t = entry["xt"], entry["t"]
    out = published(x_t, t, reference["y"])
    noise, score = (Interpolant(SiTSpec(path=path, prediction=p), 10) for p in ("noise", "score"))
    assert relative(noise.velocity(out, x_t, t), entry["drift_from_noise"]) < 1e-5
    assert relative(score.velocity(out, x_t, t), entry["drift_from_score"]) < 1e-5
    assert relative(noise.score(out, x_t, t), entry["score_from_velocity"]) < 1e-5
