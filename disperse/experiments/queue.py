"""The queue: what is left of the rules' runs, completed in their order at low priority."""

import warnings
from dataclasses import dataclass

from ..data import load_data
from ..errors import ConfigError, DataError, RunFailedError
from ..spec import RunSpec
from ..store import Evaluations, Record, evaluation_path, publish, record_key, records, run_folder
from .cost import remaining_core_hours
from .profiles import profile
from .rules import EXPERIMENTS, Experiment, experiment, runs_of
from .runner import Job, complete_jobs

NICENESS = 15


@dataclass(frozen=True)
class Left:
    """What is left of an experiment.

    Attributes:
        experiment: which.
        runs, evaluations: (done, all) of its runs and evaluations on this machine.
        core_hours: estimated, of what is left.
    """

    experiment: Experiment
    runs: tuple[int, int]
    evaluations: tuple[int, int]
    core_hours: float


def jobs_of(each: Experiment) -> list[Job]:
    """Every run of an experiment with its evaluations."""
    return [(spec, each.evaluations(spec)) for spec in runs_of(each)]


def complete_queue(names: tuple[str, ...] = (), *, processes: int = 2, progress: bool = True) -> None:
    """Complete what is left; killed at any moment, the same call goes on from the last checkpoints.

    Experiments on data that are not on this machine are left out, with a warning that says where to get them.

    Raises:
        ConfigError: unknown experiment, or ``processes`` < 1.
        RunFailedError, Interrupted: as ``complete_jobs``.
    """
    if processes < 1:
        raise ConfigError(f"--processes {processes}: expected ≥ 1")
    failures = []
    # One after another: a run that a later experiment wants longer goes on then, and holds up nothing before.
    for each in _with_data(names):
        try:
            complete_jobs(jobs_of(each), processes=processes, progress=progress, niceness=NICENESS)
        except RunFailedError as error:
            failures.append(f"{each.name}: {error}")
    if failures:
        raise RunFailedError("; ".join(failures))


def left(names: tuple[str, ...] = ()) -> list[Left]:
    """What is done and left of each experiment here; the hours of a run stand where it comes first."""
    chosen = _chosen(names)
    first: dict[str, list[Job]] = {}
    seen: set[tuple[str, int]] = set()
    for each in chosen:
        jobs = jobs_of(each)
        first[each.name] = [job for job in jobs if (job[0].fingerprint, job[0].num_steps) not in seen]
        seen |= {(spec.fingerprint, spec.num_steps) for spec, _ in jobs}
    hours = iter(remaining_core_hours([job for jobs in first.values() for job in jobs]))
    found = []
    for each in chosen:
        jobs = jobs_of(each)
        done, wanted = [_done(*job) for job in jobs], [len(evaluations) for _, evaluations in jobs]
        own = sum(next(hours) for _ in first[each.name])
        whole = sum(map(int.__eq__, done, wanted))
        found.append(Left(each, (whole, len(jobs)), (sum(done), sum(wanted)), own))
    return found


def describe_left(names: tuple[str, ...] = ()) -> str:
    """A line for each experiment: runs done of all, evaluations, and core-hours left."""
    lines = []
    for row in left(names):
        runs, evaluations = ("{:4} of {:3}".format(*count) for count in (row.runs, row.evaluations))
        lines.append(
            f"{row.experiment.name:18}{runs} runs, {evaluations} evaluations, "
            f"{row.core_hours:5.1f} core-hours left: {row.experiment.question}"
        )
    return "\n".join(lines)


def publish_queue(names: tuple[str, ...] = ()) -> dict[str, int]:
    """Append this machine's finished evaluations to the published results: profile → how many were new."""
    by_profile: dict[str, dict[tuple[str, int, str], Record]] = {}
    for each in _chosen(names):
        found = by_profile.setdefault(each.profile, {})
        for job in jobs_of(each):
            found.update({record_key(record): record for record in records(*job)})
    return {name: publish(name, list(found.values())) for name, found in by_profile.items()}


def _with_data(names: tuple[str, ...]) -> list[Experiment]:
    """Of the experiments, those whose data are here."""
    found: list[Experiment] = []
    missing: dict[str, str] = {}
    for each in _chosen(names):
        data = profile(each.profile).data
        try:
            if data not in missing:
                load_data(data)
        except DataError as error:
            missing[data] = str(error)
        if data not in missing:
            found.append(each)
    for data, reason in missing.items():
        warnings.warn(f"experiments on {data} are left out: {reason}", stacklevel=3)
    if not found:
        raise ConfigError("nothing to do: no experiment has its data on this machine")
    return found


def _done(spec: RunSpec, evaluations: Evaluations) -> int:
    folder = run_folder(spec)
    return sum(evaluation_path(folder, *each).exists() for each in evaluations)


def _chosen(names: tuple[str, ...]) -> list[Experiment]:
    return [experiment(name) for name in names] if names else list(EXPERIMENTS.values())
