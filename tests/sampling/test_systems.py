"""Samplers of every system: exact on Gaussian data, one stream per seed, one call per step."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from disperse.errors import ConfigError
from disperse.models import DiffusionTransformer, build_model, from_config
from disperse.objectives import DiTSpec, Interpolant, MeanFlowSpec, SiTSpec, build_objective
from disperse.objectives.diffusion import schedule
from disperse.sampling import SamplerConfig, all_solvers, sample
from disperse.sampling.ancestral import ddim, ddpm
from disperse.sampling.config import NFE
from disperse.sampling.sde import FORMS, LAST_STEPS, SDE_SOLVERS, diffusion_coefficient, last_step

from .conftest import awake

MEAN, STD = 0.5, 0.3
TABLE = schedule()


def best_noise(x: Tensor, t: int) -> Tensor:
    """E[ε | x_t = x] for data N(MEAN, STD²), and v = 0: a variance between β and β̃."""
    signal, noise = TABLE.signal[t], TABLE.noise[t]
    eps = noise * (x - signal * MEAN) / (signal**2 * STD**2 + noise**2)
    return torch.cat([eps, torch.zeros_like(eps)], dim=1)


def start(n: int) -> Tensor:
    return torch.randn(n, 1, 1, 1, generator=torch.Generator().manual_seed(0))


def test_ddim_carries_quantiles_to_quantiles() -> None:
    x = torch.linspace(-2, 2, 9).view(9, 1, 1, 1)
    got = ddim(best_noise, x, 500, lambda _: torch.zeros_like(x))
    torch.testing.assert_close(got, MEAN + STD * x, rtol=0, atol=0.02)


@pytest.mark.parametrize("num_steps", [100, 250])
def test_ancestral_steps_give_the_data(num_steps: int) -> None:
    x, generator = start(20_000), torch.Generator().manual_seed(1)
    got = ddpm(best_noise, x, num_steps, lambda _: torch.randn(x.shape, generator=generator))
    assert got.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert got.std().item() == pytest.approx(STD, rel=0.05)


def test_ddim_with_eta_one_gives_the_data_too() -> None:
    x, generator = start(20_000), torch.Generator().manual_seed(1)
    got = ddim(best_noise, x, 500, lambda _: torch.randn(x.shape, generator=generator), eta=1.0)
    assert got.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert got.std().item() == pytest.approx(STD, rel=0.05)


def test_ddim_with_eta_one_takes_ancestral_steps_of_the_smaller_variance() -> None:
    """Over all times, where both keep the same ones; v = −1 says the variance β̃."""

    def predict(x: Tensor, t: int) -> Tensor:
        eps = best_noise(x, t)[:, :1]
        return torch.cat([eps, -torch.ones_like(eps)], dim=1)

    x = start(8)
    noise = torch.randn(1000, *x.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        ddim(predict, x, 1000, lambda step: noise[step], eta=1.0),
        ddpm(predict, x, 1000, lambda step: noise[step]), rtol=0, atol=1e-3,
    )  # fmt: skip


def test_noise_is_asked_for_only_where_it_is_used() -> None:
    asked: list[int] = []
    x = start(2)

    def noise(step: int) -> Tensor:
        asked.append(step)
        return torch.zeros_like(x)

    ddim(best_noise, x, 10, noise)
    assert asked == []
    ddpm(best_noise, x, 10, noise)
    assert asked == list(range(9))  # none on the last step


@pytest.fixture(scope="module", params=["SiT", "DiT", "MF"])
def wide(request: pytest.FixtureRequest) -> DiffusionTransformer:
    return awake(build_model(f"{request.param}-Nano/2", hidden_size=384, num_heads=6, depth=1))


SOLVERS = {
    "sit": ("heun", "sde-euler", "sde-heun"),
    "dit": ("ddim", "ddpm"),
    "meanflow": ("meanflow", "heun"),
}


def test_an_image_depends_on_its_seed_alone(wide: DiffusionTransformer) -> None:
    for solver in SOLVERS[wide.config.system]:
        options = {"solver": solver, "num_steps": 4, "guidance": 1.5}
        whole = sample(wide, range(8), **options)
        order = [5, 0, 7, 3, 1]
        parts = sample(wide, order, batch_size=2, **options)
        assert (parts - whole[order]).abs().max() <= 1e-4 * whole.abs().max(), solver
        assert whole.flatten(1).std(dim=0).min() > 0
        assert torch.equal(sample(wide, range(8), **options), whole)


def test_network_calls_are_those_of_the_card(wide: DiffusionTransformer) -> None:
    calls: list[int] = []
    handle = wide.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    try:
        for solver in SOLVERS[wide.config.system]:
            calls.clear()
            sample(wide, range(2), solver=solver, num_steps=4)
            assert len(calls) == SamplerConfig(solver, 4).nfe, solver
    finally:
        handle.remove()


def test_guidance_acts_only_in_its_interval(wide: DiffusionTransformer) -> None:
    rows: list[int] = []
    handle = wide.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    solver = SOLVERS[wide.config.system][0]
    try:
        for interval, first, last in (((0.3, 0.7), 1, 1), ((0.7, 1.0), 2, 1), ((0.0, 0.3), 1, 2)):
            rows.clear()
            sample(wide, [0], solver=solver, num_steps=10, guidance=2.0, guidance_interval=interval)
            assert set(rows) == {1, 2}
            assert (rows[0], rows[-1]) == (first, last)
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("name", "objective", "solver", "expected"),
    [
        ("SiT", SiTSpec(), "euler", [0, 0.5]),
        ("SiT", SiTSpec(reversed_time=True), "euler", [1, 0.5]),
        ("SiT", SiTSpec(prediction="noise"), "heun", [0.001, 0.5, 0.5, 0.999]),
        ("SiT", SiTSpec(), "sde-euler", [0, 0.48, 0.96]),
        ("DiT", DiTSpec(), "ddim", [500, 0]),
        ("DiT", DiTSpec(), "ddpm", [999, 0]),
        ("MF", MeanFlowSpec(), "meanflow", [(1, 0.5), (0.5, 0)]),
        ("MF", MeanFlowSpec(), "euler", [(1, 1), (0.5, 0.5)]),
    ],
)
def test_times_that_the_network_sees(name: str, objective: object, solver: str, expected: list) -> None:
    """From noise to data, whichever way the network counts; MeanFlow's with r."""
    seen: list[object] = []

    def record(_: object, args: tuple[Tensor, ...], options: dict[str, Tensor]) -> None:
        times = [time.unique().item() for time in (args[1], *options.values())]
        seen.extend([tuple(times)] if len(times) > 1 else times)

    model = from_config(build_model(f"{name}-Nano/2", depth=1, device="meta").config, objective=objective)
    model.register_forward_pre_hook(record, with_kwargs=True)
    sample(model, range(2), solver=solver, num_steps=2)
    assert np.array(seen) == pytest.approx(np.array(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("solver", "setting"),
    [("ddim", {"eta": 1.0}), ("sde-euler", {"diffusion": "constant"}), ("sde-heun", {"diffusion_norm": 0.5}),
     ("sde-euler", {"last_step": "tweedie"}), ("sde-euler", {"last_step": "none"}), ("sde-euler", {"last_step_size": 0.2})],
    ids=str,
)  # fmt: skip
def test_settings_of_a_sampler_move_the_image(solver: str, setting: dict) -> None:
    model = awake(build_model("DiT-Nano/2" if solver == "ddim" else "SiT-Nano/2", depth=1), std=0.2)
    plain, other = (sample(model, [0], 1, solver=solver, num_steps=4, **s) for s in ({}, setting))
    assert (plain - other).abs().max() > 1e-3


def test_the_last_step_covers_what_the_sde_leaves() -> None:
    model = build_model("SiT-Nano/2", depth=1)
    model.forward = lambda x, *_, **__: torch.ones_like(x)  # type: ignore[method-assign]
    states: list[Tensor] = []
    for size, covered in ((0.1, 0.1), (5e-4, 1e-3)):  # an SDE ends at 0.999 at the latest
        options = {"num_steps": 2, "last_step": "euler", "last_step_size": size}
        images = sample(model, [0], solver="sde-euler", on_step=lambda _, x: states.append(x), **options)
        torch.testing.assert_close(images - states[-1], torch.full_like(images, covered), rtol=0, atol=1e-6)


def test_a_step_of_its_own_is_counted() -> None:
    assert SamplerConfig("sde-heun", 10).nfe == 21
    assert SamplerConfig("sde-heun", 10, last_step="none").nfe == 20


@pytest.mark.parametrize("last", LAST_STEPS)
@pytest.mark.parametrize("form", FORMS)
def test_an_sde_samples_gaussian_data(form: str, last: str) -> None:
    """The whole sampler, on the best velocity: mean and deviation of many samples."""
    model = build_model("SiT-Nano/2", depth=1, hidden_size=16, num_heads=2).eval()

    def best(x: Tensor, t: Tensor, y: Tensor, **_: object) -> Tensor:
        t = t.view(-1, 1, 1, 1)
        return MEAN + (t - (1 - t)) / (t**2 + (1 - t) ** 2) * (x - t * MEAN)  # data N(MEAN, 1)

    model.forward = best  # type: ignore[method-assign]
    images = sample(model, range(60), solver="sde-euler", num_steps=60, diffusion=form, last_step=last)
    assert images.mean().item() == pytest.approx(MEAN, abs=0.05)
    assert images.std().item() == pytest.approx(1, rel=0.07)


def test_last_steps_by_hand() -> None:
    path = Interpolant(SiTSpec(), 10).path
    x = torch.tensor([2.0])
    steps = {
        form: last_step(form, lambda x, t: 3 * x, lambda x, t: 5 * x, path, x, 0.75, 0.25).item()
        for form in LAST_STEPS
    }
    assert steps == {"mean": 2 + 0.25 * 6, "euler": 2 + 0.25 * 10, "tweedie": 0.25 * 10 + 2, "none": 2}


def test_one_step_of_sde_solvers_by_hand() -> None:
    x, z = torch.tensor([2.0], dtype=torch.float64), torch.tensor([1.5], dtype=torch.float64)
    ends = {
        name: solver(lambda x, t: 3 * x + t, lambda t: 1 + t, x, [0.25, 0.75], lambda _: z).item()
        for name, solver in SDE_SOLVERS.items()
    }
    start = 2 + math.sqrt(2 * 1.25 * 0.5) * 1.5
    first = 3 * start + 0.25
    second = 3 * (start + 0.5 * first) + 0.75
    expected = {"sde-euler": start + 0.5 * 6.25, "sde-heun": start + 0.25 * (first + second)}
    assert ends == pytest.approx(expected, rel=1e-12)


def test_diffusion_forms_by_hand() -> None:
    path, t = Interpolant(SiTSpec(), 10).path, 0.3
    expected = {
        "constant": 1.0, "sbdm": 0.7**2 / 0.3 + 0.7, "sigma": 0.7, "linear": 0.7,
        "decreasing": 0.25 * (math.cos(0.3 * math.pi) + 1) ** 2,
        "increasing-decreasing": math.sin(0.3 * math.pi) ** 2,
    }  # fmt: skip
    assert {form: diffusion_coefficient(form, path)(t) for form in FORMS} == pytest.approx(expected)
    expected = {form: 2 * value for form, value in expected.items()}
    expected["decreasing"] = 0.25 * (2 * math.cos(0.3 * math.pi) + 1) ** 2  # the published form
    assert {form: diffusion_coefficient(form, path, norm=2.0)(t) for form in FORMS} == pytest.approx(expected)


def test_velocity_of_every_system_points_from_noise_to_data() -> None:
    calls: list[tuple[float, ...]] = []

    def predict(x: Tensor, t: float, *r: float) -> Tensor:
        calls.append((t, *r))
        return torch.ones_like(x)

    x = torch.zeros(2, 1, 2, 2)
    for spec, sign, seen in (
        (SiTSpec(), 1, (0.25,)), (SiTSpec(reversed_time=True), -1, (0.75,)), (MeanFlowSpec(), -1, (0.75, 0.75))
    ):  # fmt: skip
        v = build_objective(spec, 10).velocity_field(predict)(x, 0.25)
        assert torch.equal(v, sign * torch.ones_like(x))
        assert calls[-1] == seen


def test_every_solver_has_a_cost_and_settings_are_checked() -> None:
    assert set(NFE) | {"meanflow", "shortcut"} == {*all_solvers()}
    for settings, message in (
        ({"solver": "ddim", "num_steps": 300}, "try 334"), ({"diffusion": "sgima"}, "did you mean"),
        ({"last_step": "men"}, "did you mean"), ({"last_step_size": 0.9}, "from 0 to 0.5"),
        ({"eta": -1.0}, "sampler.eta"), ({"guidance_interval": (0.7, 0.3)}, "guidance_interval"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            SamplerConfig(**settings)


def test_what_a_system_is_sampled_by_where_nothing_is_said() -> None:
    defaults = {"sit": ("heun", 25), "dit": ("ddim", 50), "meanflow": ("meanflow", 1)}
    for system, expected in defaults.items():
        config = SamplerConfig.for_system(system)
        assert (config.solver, config.num_steps) == expected
    assert SamplerConfig.for_system("sit", "sde-euler").num_steps == 250
    assert SamplerConfig.for_system("dit", "ddpm", 7).num_steps == 7


def test_cards_name_what_a_number_depends_on() -> None:
    assert SamplerConfig("sde-euler", 250).describe() == (
        "euler SDE (sigma, last step mean), 250 steps, 251 NFE, no guidance"
    )
    assert "adaptive" in SamplerConfig("dopri5").describe()
    assert SamplerConfig("ddpm", 250).describe() == "ddpm, 250 steps, 250 NFE, no guidance"
    text = SamplerConfig(guidance=1.5, guided_channels=3, guidance_interval=(0.1, 0.7)).describe()
    assert text.endswith("guidance 1.5 (first 3 channels) at noise levels 0.1 to 0.7")
