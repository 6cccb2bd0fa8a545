"""The runs of the experiments whose rules are in ``docs/rules.md``.

Each experiment names its arms, its seeds and how a run is evaluated. What decides it, and how, is in that
file, which was committed before the first of these runs and is not edited afterwards. Seeds 0 to 5 had been
looked at before: what is judged is trained anew on others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..atomic import digest
from ..errors import unknown
from ..evaluation import Protocol
from ..regularizers import DispersiveSpec
from ..regularizers.paper import dispersive_term
from ..spec import RunSpec
from ..store import Evaluations, at_every_step
from .items import Cell, item
from .profiles import Profile, profile

CONFIRMATORY = tuple(range(6, 12))
FASHION_SEEDS = tuple(range(6, 10))
L2 = "infonce-l2"


@dataclass(frozen=True)
class Experiment:
    """Runs that answer one question.

    Attributes:
        name: as in ``docs/rules.md``.
        question: in a line.
        profile: row of the ladder.
        cells: seed → its runs.
        seeds: of the runs.
        losses_alone: whether milestones are evaluated by the held-out loss alone.
    """

    name: str
    question: str
    profile: str
    cells: Callable[[Profile, int], list[Cell]]
    seeds: tuple[int, ...]
    losses_alone: bool = False

    def evaluations(self, spec: RunSpec) -> Evaluations:
        """How a run of it is evaluated: samples of a run come from seeds of its own."""
        protocol = rule_protocol(profile(self.profile), spec.objective.kind)
        if not self.losses_alone:
            return at_every_step(spec, protocol)
        alone = protocol.model_copy(update={"num_samples": 0, "guided_samples": 0})
        return (*((step, alone) for step in spec.milestones), (spec.num_steps, protocol))


def rule_protocol(row: Profile, kind: str) -> Protocol:
    """The profile's protocol with sample seeds of each training seed's own."""
    return row.protocol_of(kind).model_copy(update={"sample_seeds": "own"})


def _pair(
    row: Profile, seed: int, name: str, *, system: str = "sit", lr: float | None = None, **changes: Any
) -> list[Cell]:
    """A baseline and the same with the paper's term."""
    label, own = f"{name}-baseline", f"{name}-{L2}"
    base = row.spec(label.lower(), seed, system=system, lr=lr).replace(**changes)
    with_term = base.replace(name=own.lower(), regularizers=(dispersive_term(L2),))
    return [Cell(label, base), Cell(own, with_term, label)]


RATES = (1e-3, 2e-3, 4e-3)


def meanflow_rates(row: Profile, seed: int) -> list[Cell]:
    """MeanFlow at three learning rates, plain and with the term."""
    return [cell for lr in RATES for cell in _pair(row, seed, f"meanflow-lr{lr:g}", system="meanflow", lr=lr)]


def safe_settings(row: Profile, seed: int) -> list[Cell]:
    """Three settings that a small model may bear better, beside the baseline and the paper's.

    ℓ2 distances divided by the mean squared length; λ 0 for a quarter of training, then whole;
    covariance at λ 2.
    """
    term, quarter = dispersive_term(L2), row.num_steps // 4
    terms: dict[str, DispersiveSpec] = {
        "l2-rms": term.model_copy(update={"scale": "rms"}),
        "l2-late": term.model_copy(update={"lam_schedule": ((quarter, 0.0), (quarter + 1, 1.0))}),
        "covariance-lam2": dispersive_term("covariance").model_copy(update={"lam": 2.0}),
    }
    return item("pair", row.name, (seed,)) + [
        Cell(k, row.spec(k, seed, v), "baseline") for k, v in terms.items()
    ]


def clock(row: Profile, seed: int) -> list[Cell]:
    """Few images, followed step by step: baseline, the term, and a baseline at half the rate."""
    often = tuple(range(100, row.num_steps, 100))
    cells = []
    for count in (160, 450):
        changes: dict[str, Any] = {"data": f"{row.data}:{count}", "milestones": often}
        cells += _pair(row, seed, f"sit-{count}", **changes)
        slow = f"sit-{count}-slow"
        spec = row.spec(slow, seed, lr=row.lr / 2).replace(**changes)
        cells.append(Cell(slow, spec, f"sit-{count}-baseline"))
    return cells


def meanflow_pair(row: Profile, seed: int) -> list[Cell]:
    """MeanFlow plain and with the term, each at the rate that was chosen for it."""
    rates = row.meanflow_lr or (row.lr, row.lr)
    base, own = (row.spec("run", seed, *terms, system="meanflow", lr=lr) for terms, lr in zip(
        ((), (dispersive_term(L2),)), rates, strict=True
    ))  # fmt: skip
    labels = "meanflow-own-rate-baseline", f"meanflow-own-rate-{L2}"
    return [
        Cell(labels[0], base.replace(name=labels[0])),
        Cell(labels[1], own.replace(name=labels[1]), labels[0]),
    ]


def _items(*names: str) -> Callable[[Profile, int], list[Cell]]:
    return lambda row, seed: [cell for name in names for cell in item(name, row.name, (seed,))]


# In the order in which the queue takes them: cheapest decisions first.
EXPERIMENTS = {
    row.name: row
    for row in (
        Experiment("variants-explored", "what seeds 0 to 2 say under the new evaluator: the spread of each "
                   "measure, for the smallest detectable effects", "cpu", _items("pair"), (0, 1, 2)),
        Experiment("E2-rates", "which rate suits MeanFlow, each arm", "cpu", meanflow_rates, (0, 1, 2)),
        Experiment("E4", "a safe setting for small models?", "cpu", safe_settings, CONFIRMATORY),
        Experiment("fashion", "claim 1 on a second data set", "fashion", _items("pair"), FASHION_SEEDS),
        Experiment("E2", "MeanFlow's gain at a fair rate?", "cpu", meanflow_pair, tuple(range(6, 14))),
        Experiment("E7-variants", "claims 1 and 2", "cpu", _items("variants"), CONFIRMATORY),
        Experiment("E3", "regulariser or slow clock?", "cpu", clock, CONFIRMATORY, losses_alone=True),
        Experiment("E7-longer", "claim 9", "cpu", _items("longer"), CONFIRMATORY),
        Experiment("E7-blocks", "claims 6 and 10", "cpu", _items("blocks"), CONFIRMATORY),
        Experiment("E7-contrastive", "claims 3 to 5", "cpu", _items("contrastive"), CONFIRMATORY),
        Experiment("E7-meanflow", "claim 11", "cpu", _items("meanflow"), CONFIRMATORY),
        Experiment("E7-lambda-tau", "claim 7", "cpu", _items("lambda_tau"), CONFIRMATORY),
        Experiment("E7-size", "claim 8", "cpu", _items("model_size"), CONFIRMATORY),
    )
}  # fmt: skip


def experiment(name: str) -> Experiment:
    """An experiment by name.

    Raises:
        ConfigError: unknown name.
    """
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS)
    return EXPERIMENTS[name]


def runs_of(each: Experiment) -> list[RunSpec]:
    """Every run of an experiment, one seed after another."""
    row = profile(each.profile)
    specs = [cell.spec for seed in each.seeds for cell in each.cells(row, seed)]
    return list({spec.fingerprint: spec for spec in specs}.values())


def digest_of(each: Experiment) -> str:
    """12 hex digits that name all runs of an experiment; ``docs/rules.md`` holds them."""
    return digest([spec.fingerprint for spec in runs_of(each)])


def plan_digest_of(each: Experiment) -> str:
    """12 hex digits that name how long those runs are, and when and how each is evaluated."""
    runs = runs_of(each)
    return digest([[spec.num_steps, [[s, p.hash] for s, p in each.evaluations(spec)]] for spec in runs])
