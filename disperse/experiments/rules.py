"""The runs of the experiments whose rules are in ``docs/rules.md``.

Each experiment names its arms, its seeds and how a run is evaluated. What decides it, and how, is in that
file, which was committed before the first of these runs and is not edited afterwards. Seeds 0 to 5 had been
looked at before: what is judged is trained anew on others.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ..atomic import digest
from ..errors import unknown
from ..evaluation import Protocol
from ..spec import RunSpec
from ..store import Evaluations, at_every_step
from . import sweeps
from .profiles import Profile, profile

CONFIRMATORY = tuple(range(6, 12))
FASHION_SEEDS = tuple(range(6, 10))


@dataclass(frozen=True)
class Experiment:
    """Runs that answer one question.

    Attributes:
        name: as in ``docs/rules.md``.
        question: in a line.
        profile: row of the ladder.
        sweep: the runs of a seed.
        seeds: of the runs.
        losses_alone: whether milestones are evaluated by the held-out loss alone.
    """

    name: str
    question: str
    profile: str
    sweep: Callable[[Profile, int], list[RunSpec]]
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


# In the order in which the queue takes them: cheapest decisions first.
EXPERIMENTS = {
    row.name: row
    for row in (
        Experiment("variants-explored", "what seeds 0 to 2 say under the new evaluator: the spread of each "
                   "measure, for the smallest detectable effects", "cpu", sweeps.pair, (0, 1, 2)),
        Experiment("E2-rates", "which rate suits MeanFlow, each arm", "cpu", sweeps.meanflow_rates,
                   (0, 1, 2)),
        Experiment("E4", "a safe setting for small models?", "cpu", sweeps.safe_settings, CONFIRMATORY),
        Experiment("fashion", "claim 1 on a second data set", "fashion", sweeps.pair, FASHION_SEEDS),
        Experiment("E2", "MeanFlow's gain at a fair rate?", "cpu", sweeps.meanflow_pair, tuple(range(6, 14))),
        Experiment("E7-variants", "claims 1 and 2", "cpu", sweeps.variants, CONFIRMATORY),
        Experiment("E3", "regulariser or slow clock?", "cpu", sweeps.clock, CONFIRMATORY, losses_alone=True),
        Experiment("E7-longer", "claim 9", "cpu", sweeps.longer, CONFIRMATORY),
        Experiment("E7-blocks", "claims 6 and 10", "cpu", sweeps.blocks, CONFIRMATORY),
        Experiment("E7-contrastive", "claims 3 to 5", "cpu", sweeps.contrastive, CONFIRMATORY),
        Experiment("E7-meanflow", "claim 11", "cpu", sweeps.meanflow, CONFIRMATORY),
        Experiment("E7-lambda-tau", "claim 7", "cpu", sweeps.lambda_tau, CONFIRMATORY),
        Experiment("E7-size", "claim 8", "cpu", sweeps.model_size, CONFIRMATORY),
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
    specs = [spec for seed in each.seeds for spec in each.sweep(row, seed)]
    return list({spec.fingerprint: spec for spec in specs}.values())


def digest_of(each: Experiment) -> str:
    """12 hex digits that name all runs of an experiment; ``docs/rules.md`` holds them."""
    return digest([spec.fingerprint for spec in runs_of(each)])


def plan_digest_of(each: Experiment) -> str:
    """12 hex digits that name how long those runs are, and when and how each is evaluated."""
    runs = runs_of(each)
    return digest([[spec.num_steps, [[s, p.hash] for s, p in each.evaluations(spec)]] for spec in runs])
