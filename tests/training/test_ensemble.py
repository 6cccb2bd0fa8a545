"""Many runs as one: each member is the run that ``train`` makes, and knows nothing of the others."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from disperse.data import load_data
from disperse.errors import ConfigError
from disperse.experiments import contrastive_term, dispersive_term, profile
from disperse.models import from_config
from disperse.models.stacked import StackedNetwork
from disperse.objectives import MeanFlowSpec, stacked_objective
from disperse.regularizers import AlignmentSpec, DispersiveSpec
from disperse.sampling import SamplerConfig, sample
from disperse.sampling.stacked import sample_stacked
from disperse.spec import OptimizerSpec, RunSpec
from disperse.training import train
from disperse.training.ensemble import Ensemble
from disperse.training.ensemble_draws import CHUNK, DeviceSource

from .cases import TINY

CPU = torch.device("cpu")
SMOKE = profile("smoke")
DEVICE = TINY.replace(engine="ensemble-1", milestones=(), regularizers=())
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


@pytest.fixture(autouse=True)
def no_loop_over_members() -> Iterator[None]:
    """An operation without a batching rule would loop over members; the warning is an error here."""
    torch._C._functorch._set_vmap_fallback_warning_enabled(True)
    yield
    torch._C._functorch._set_vmap_fallback_warning_enabled(False)


def stack(*specs: RunSpec, steps: int, draws: str = "device") -> Ensemble:
    ensemble = Ensemble(list(specs), CPU, draws=draws)
    ensemble.train(steps)
    return ensemble


def without_key_bias(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Softmax doesn't see the bias of the keys: its gradient is rounding, which Adam scales up to a whole step."""
    found = {}
    for name, value in tensors.items():
        if name.endswith("qkv.bias"):
            query, _, values = value.chunk(3)
            value = torch.cat([query, values])
        found[name] = value
    return found


def deviation(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Largest ‖a − b‖/‖b‖ of a tensor."""
    assert ours.keys() == theirs.keys()
    pairs = zip(without_key_bias(ours).values(), without_key_bias(theirs).values(), strict=True)
    return max(((a - b).norm() / b.norm().clamp_min(1e-6)).item() for a, b in pairs)


def agrees_with_single_runs(specs: list[RunSpec], folder: Path, *, within: float = 1e-4) -> None:
    steps = specs[0].num_steps
    ensemble = stack(*specs, steps=steps, draws="keyed")
    assert (ensemble.first_bad == -1).all()
    for row, spec in enumerate(ensemble.specs):
        lines: list[dict[str, float]] = []
        state = train(spec, folder / spec.run_id, progress=False, on_log=lines.extend)
        assert deviation(ensemble.weights(row), state.model.state_dict()) < within, spec.name
        for name in spec.ema:
            assert deviation(ensemble.weights(row, name), state.averages[name]) < within, (spec.name, name)
        logged = ensemble.log(row)
        assert [line["step"] for line in logged] == [line["step"] for line in lines]
        for ours, theirs in zip(logged, lines, strict=True):
            assert {key: theirs[key] for key in ours} == pytest.approx(ours, rel=within, abs=1e-6)
            assert {key for key in theirs if key not in ours} <= {
                f"regularizer_{n}_off_diagonal_weight" for n in (0, 1)
            }


def short(spec: RunSpec, steps: int, **changes: object) -> RunSpec:
    return spec.replace(num_steps=steps, milestones=(), log_interval=5, device="cpu", **changes)


def test_two_cells_of_two_seeds_are_the_single_runs(tmp_path: Path) -> None:
    specs = [
        short(SMOKE.spec(name, seed, *terms), 25)
        for seed in (0, 1)
        for name, terms in (("baseline", ()), ("l2", (dispersive_term("infonce-l2"),)))
    ]
    agrees_with_single_runs(specs, tmp_path)


def test_members_of_meanflow_are_the_single_runs(tmp_path: Path) -> None:
    term = dispersive_term("infonce-l2")
    specs = [
        short(SMOKE.spec("plain", 0, system="meanflow"), 10),
        short(SMOKE.spec("l2", 1, term, system="meanflow"), 10),
    ]
    agrees_with_single_runs(specs, tmp_path)


@pytest.mark.parametrize("share", [0.75, 0.7])
def test_rows_of_meanflow_that_stand_apart_are_those_of_single_runs(share: float) -> None:
    spec = MeanFlowSpec(equal_share=share)
    objective = stacked_objective(spec, 10, 10, label_drop=0.1)
    times = [objective.times(10, "", 3, step) for step in range(2)]
    for t, r in times:
        assert torch.equal((t != r).nonzero().flatten(), objective._rows(CPU))  # type: ignore[attr-defined]
    assert torch.equal(objective.apart(30), objective.apart(10).repeat(3))  # type: ignore[attr-defined]


def test_terms_of_every_kind_stand_in_one_stack(tmp_path: Path) -> None:
    l2 = dispersive_term("infonce-l2")
    scheduled = l2.model_copy(update={"lam_schedule": ((0, 1.0), (6, 0.1)), "blocks": "all"})
    terms = {
        "contrastive": (contrastive_term("infonce-l2", "restricted"),),
        "independent": (contrastive_term("covariance", "independent"),),
        "alpha": (l2, AlignmentSpec(lam=0.25, tau=0.5)),
        "cosine": (dispersive_term("infonce-cosine"),),
        "hinge": (dispersive_term("hinge"),),
        "covariance": (dispersive_term("covariance"),),
        "scheduled": (scheduled,),
        "tau": (l2.model_copy(update={"tau": 0.1, "local_batch": None}),),
        "none": (),
    }
    specs = [short(TINY, 6, name=name, regularizers=own, batch_size=16) for name, own in terms.items()]
    specs[-1] = specs[-1].replace(optimizer=OptimizerSpec(lr=3e-3, warmup_steps=4), data="digits:400")
    agrees_with_single_runs(specs, tmp_path)


def test_mirror_images_and_bf16_are_those_of_single_runs(tmp_path: Path) -> None:
    specs = [short(TINY, 3, seed=seed, flip=True, regularizers=()) for seed in (0, 1)]
    agrees_with_single_runs(specs, tmp_path / "fp32")
    # bf16 rounds to three digits, and a product of several members rounds elsewhere than that of one.
    half = [spec.replace(precision="bf16") for spec in specs]
    agrees_with_single_runs(half, tmp_path / "bf16", within=2e-2)


def test_members_do_not_influence_each_other() -> None:
    term = DispersiveSpec(lam=0.5, local_batch=4)
    specs = [DEVICE.replace(seed=seed, regularizers=own) for seed in (7, 8) for own in ((), (term,))]
    before = stack(*specs, steps=8)
    stronger = DispersiveSpec(lam=5.0, local_batch=4)
    for changed in (specs[3].replace(seed=99), specs[3].replace(regularizers=(stronger,))):
        after = stack(*specs[:3], changed, steps=8)
        for spec in specs[:3]:
            own = (each.weights(each.specs.index(spec)) for each in (before, after))
            assert deviation(*own) < 1e-7
        moved = before.weights(before.specs.index(specs[3])), after.weights(after.specs.index(changed))
        assert deviation(*moved) > 1e-4
    alone = stack(specs[0], steps=8)  # nor does their number
    assert deviation(alone.weights(0), before.weights(before.specs.index(specs[0]))) < 1e-6


def test_one_member_that_diverges_does_not_disturb_the_others() -> None:
    wild = DEVICE.replace(seed=3, optimizer=OptimizerSpec(lr=1e30, warmup_steps=4))
    specs = [DEVICE.replace(seed=seed) for seed in (1, 2)]
    mixed, calm = stack(*specs, wild, steps=6), stack(*specs, steps=6)
    bad = {spec.seed: step for spec, step in zip(mixed.specs, mixed.first_bad.tolist(), strict=True)}
    assert bad[1] == bad[2] == -1
    assert 0 < bad[3] < 6
    for spec in specs:
        own = mixed.weights(mixed.specs.index(spec)), calm.weights(calm.specs.index(spec))
        assert deviation(*own) < 1e-6


def device_source(spec: RunSpec, seeds: tuple[int, ...]) -> DeviceSource:
    ensemble = Ensemble([spec.replace(seed=seed) for seed in seeds], CPU)
    assert isinstance(ensemble.source, DeviceSource)
    return ensemble.source


def test_device_draws_have_the_laws_of_training() -> None:
    source = device_source(DEVICE.replace(batch_size=64, label_drop=0.25), (5, 6))
    batches = [source.batch(step) for step in range(2 * CHUNK)]
    t = torch.cat([batch.draws.t.flatten() for batch in batches]).sort().values
    n = len(t)
    assert (t - (torch.arange(n) + 0.5) / n).abs().max() < 1.6 / math.sqrt(n)  # Kolmogorov, p ≈ 0.01
    eps = torch.cat([batch.draws.eps.flatten() for batch in batches])
    assert abs(eps.mean()) < 4 / math.sqrt(len(eps))
    assert abs(eps.var() - 1) < 4 * math.sqrt(2 / len(eps))
    assert abs((eps.abs() < 1).float().mean() - math.erf(1 / math.sqrt(2))) < 2e-3
    dropped = torch.cat([batch.draws.dropped.flatten() for batch in batches]).float()
    assert abs(dropped.mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / n)
    # Neither members nor steps nor chunks share numbers.
    first = torch.stack([batch.draws.eps[:, 0, 0, 0, 0] for batch in batches])
    assert len(first.unique()) == first.numel()


def test_device_draws_of_meanflow_keep_the_share_of_equal_times() -> None:
    spec = DEVICE.replace(model="MF-Nano/2", objective="meanflow", batch_size=16)
    batch = device_source(spec, (0, 1)).batch(3)
    assert batch.draws.r is not None
    assert ((batch.draws.t != batch.draws.r).float().mean(dim=1) == 0.25).all()
    assert (batch.draws.r <= batch.draws.t).all()


def test_device_draws_mirror_half_of_the_images() -> None:
    source = device_source(DEVICE.replace(batch_size=64, flip=True), (5,))
    plain = device_source(DEVICE.replace(batch_size=64), (5,))
    same = [
        (a.x == b.x).flatten(2).all(dim=2).float().mean()
        for a, b in ((source.batch(s), plain.batch(s)) for s in range(CHUNK))
    ]
    assert abs(torch.stack(same).mean() - 0.5) < 0.05


def test_device_draws_see_every_image_once_an_epoch_in_the_order_of_training() -> None:
    spec = DEVICE.replace(batch_size=100, data="digits:400")
    source, data = device_source(spec, (5, 6)), load_data("digits:400")
    for step in (0, 4, 48, 52):  # an epoch is four steps, some of them over the end of a chunk
        epoch = torch.stack([source.batch(step - step % 4 + k).x for k in range(4)], dim=1)
        for member in epoch.flatten(1, 2):
            rows = {tuple(image.flatten().tolist()) for image in member}
            assert rows == {tuple(image.flatten().tolist()) for image in data.images}
    assert not torch.equal(source.batch(0).x[0], source.batch(0).x[1])
    keyed = Ensemble([spec.replace(engine="single", seed=5)], CPU, draws="keyed").source
    assert torch.equal(keyed.batch(53).x[0], source.batch(53).x[0])


def test_chunks_can_be_drawn_in_any_order() -> None:
    source = device_source(DEVICE, (5,))
    late = source.batch(CHUNK + 3).draws.eps.clone()
    source.batch(0)
    assert torch.equal(source.batch(CHUNK + 3).draws.eps, late)


@pytest.mark.parametrize(
    ("system", "guidance"), [("sit", 1.0), ("sit", 1.5), ("meanflow", 1.0), ("dit", 1.0)]
)
def test_stacked_samples_are_those_of_each_member(system: str, guidance: float) -> None:
    spec = SMOKE.spec("x", 0, system=system)
    config = SMOKE.protocol_of(system).sampler
    config = SamplerConfig(config.solver, config.num_steps, guidance)
    from disperse.models import config_of

    network = StackedNetwork(config_of(spec), spec.objective, CPU)
    weights = network.initial([3, 4, 5], CPU)
    generator = torch.Generator().manual_seed(0)
    for value in weights.values():  # new ones predict zero
        value.add_(0.03 * torch.randn(value.shape, generator=generator))
    labels = torch.arange(7) % 10
    images = sample_stacked(network, weights, range(7), labels, config, offsets=(0, 100, 0), batch_size=4)
    for row, first in enumerate((0, 100, 0)):
        model = network.model({name: value[row] for name, value in weights.items()})
        seeds = range(first, first + 7)
        alone = sample(
            model, seeds, labels, solver=config.solver, num_steps=config.num_steps, guidance=guidance
        )
        torch.testing.assert_close(images[row], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("system", "solver"), [("sit", "sde-euler"), ("dit", "ddpm")])
def test_members_that_draw_noise_at_every_step_share_their_seeds(system: str, solver: str) -> None:
    spec = SMOKE.spec("x", 0, system=system)
    from disperse.models import config_of

    network = StackedNetwork(config_of(spec), spec.objective, CPU)
    labels, sde = torch.arange(2), SamplerConfig(solver, 4)
    with pytest.raises(ConfigError, match="draws noise at every step"):
        sample_stacked(network, network.initial([3, 4], CPU), range(2), labels, sde, offsets=(0, 1))


def test_initial_weights_are_those_of_training() -> None:
    network = Ensemble([DEVICE.replace(seed=s) for s in (11, 12)], CPU)
    model = from_config(network.network.config, seed=12)
    assert all(torch.equal(value, network.weights(1)[name]) for name, value in model.state_dict().items())


def test_what_cannot_be_stacked_is_said_in_one_line() -> None:
    with pytest.raises(ConfigError, match="differ in more than seed"):
        Ensemble([DEVICE, DEVICE.replace(seed=1, batch_size=4)], CPU)
    with pytest.raises(ConfigError, match="stands twice"):
        Ensemble([DEVICE, DEVICE], CPU)
    with pytest.raises(ConfigError, match="at least one"):
        Ensemble([], CPU)
    with pytest.raises(ConfigError, match=r"engine = single: draws"):
        Ensemble([DEVICE.replace(engine="single")], CPU)
    with pytest.raises(ConfigError, match="draws"):
        Ensemble([DEVICE], CPU, draws="devise")
    guided = DEVICE.replace(model="MF-Nano/2", objective=MeanFlowSpec(omega=2.0))
    with pytest.raises(ConfigError, match="without guidance"):
        Ensemble([guided], CPU)
    with pytest.raises(ConfigError, match="at most 8191 fit"):
        Ensemble([DEVICE.replace(seed=seed) for seed in range(8192)], CPU)


def test_runs_of_an_ensemble_are_others_than_those_of_train(tmp_path: Path) -> None:
    assert DEVICE.fingerprint != DEVICE.replace(engine="single").fingerprint
    assert "engine" not in DEVICE.replace(engine="single").identity
    with pytest.raises(ConfigError, match=r"engine = ensemble-1: .*disperse\.experiments\.ensemble"):
        train(DEVICE, tmp_path, progress=False)
    assert not list(tmp_path.iterdir())
