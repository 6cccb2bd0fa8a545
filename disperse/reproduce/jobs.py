"""What there is to do: a job for every run and every notebook, and what each waits for.

Notebooks declare their runs. A run is one job however many ask for it and at whatever lengths: its results
are the evaluation files of the run store, so what is there is never made again. Only names, files and
commands here; the ``Snakefile`` hands them to Snakemake.
"""

import functools
import hashlib
import json
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .. import atomic
from ..atomic import sha256_file
from ..errors import ConfigError, unknown
from ..evaluation import Protocol
from ..experiments import Profile, profile
from ..experiments.runs import jobs_of, lacking_of, network_path
from ..folders import output_folder
from ..spec import RunSpec
from ..store import Evaluations, evaluation_path, published, published_path, run_folder
from .declared import Declared, declared
from .notebooks import notebook_names, notebook_path, parameters_of

# Notebooks whose runs a fresh machine trains; others draw on the published results.
HEADLINE = ("variants",)


@dataclass(frozen=True)
class RunJob:
    """One run to its end, with every evaluation that a notebook asks for.

    Attributes:
        spec: the longest that was asked for, with the milestones of all.
        evaluations: step and protocol of each.
        profile: row of the ladder.
        network: whether a notebook draws from the network at its end.
    """

    spec: RunSpec
    evaluations: Evaluations
    profile: str
    network: bool = False

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.spec.name}, seed {self.spec.seed}"

    @property
    def file(self) -> Path:
        """Where ``write_jobs`` keeps it, for the command that does this job alone."""
        return output_folder(self.profile) / "jobs" / f"{self.spec.fingerprint}.json"

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of ``disperse``, to do this alone."""
        return ("run", str(self.file))

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The evaluation files, and where a notebook draws from the network a note that it is trained.

        A note, since Snakemake makes the folders of outputs: an empty one of a checkpoint looks damaged.
        """
        folder = run_folder(self.spec)
        note = folder / "evaluations" / f"trained_{self.spec.num_steps:08d}.json"
        return (*(evaluation_path(folder, *each) for each in self.evaluations), *([note] * self.network))

    @property
    def log(self) -> Path:
        """What it prints."""
        return log_folder(self.profile) / f"run-{self.spec.run_id}.log"


@dataclass(frozen=True)
class NotebookJob:
    """One notebook.

    Attributes:
        title: its name.
        parameters: that it is executed with.
        arguments: of ``disperse``, to do this alone.
        outputs: the receipt and the notebook.
        log: what it prints.
        needs: runs that must be there before.
        depends: what makes it stale, besides those: name → hash.
    """

    title: str
    parameters: dict[str, object]
    arguments: tuple[str, ...]
    outputs: tuple[Path, Path]
    log: Path
    needs: tuple[RunJob, ...]
    depends: dict[str, str]


Job = RunJob | NotebookJob


@dataclass(frozen=True)
class Plan:
    """Every job of a profile.

    Attributes:
        row, seeds: profile, and number of training seeds.
        runs, notebooks: jobs.
        left_out: notebooks without a job → how many of their runs are neither asked for nor published.
    """

    row: Profile
    seeds: int
    runs: tuple[RunJob, ...]
    notebooks: tuple[NotebookJob, ...]
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Runs, then notebooks."""
        return (*self.runs, *self.notebooks)


def chosen_notebooks(text: str) -> tuple[str, ...]:
    """Notebooks whose runs are trained: ``"headline"``, ``"all"`` or a comma list of names.

    Raises:
        ConfigError: an unknown notebook.
    """
    every = notebook_names()
    groups = {"headline": HEADLINE, "all": tuple(every)}
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in (*every, *groups):
            raise unknown("--train", name, (*groups, *every))
    return tuple(dict.fromkeys(each for name in names for each in groups.get(name, (name,))))


class _Asked:
    """Runs that were asked for, by fingerprint."""

    def __init__(self) -> None:
        self.specs: dict[str, list[RunSpec]] = {}
        self.evaluations: dict[str, dict[tuple[int, Protocol], None]] = {}
        self.networks: set[str] = set()

    def add(self, spec: RunSpec, evaluations: Evaluations, *, network: bool = False) -> None:
        key = spec.fingerprint
        self.specs.setdefault(key, []).append(spec)
        self.evaluations.setdefault(key, {}).update(dict.fromkeys(evaluations))
        if network:
            self.networks.add(key)

    def has(self, spec: RunSpec, evaluations: Evaluations) -> bool:
        return set(evaluations) <= self.evaluations.get(spec.fingerprint, {}).keys()

    def jobs(self, row: Profile) -> dict[str, RunJob]:
        return {
            key: RunJob(longest(same), tuple(self.evaluations[key]), row.name, key in self.networks)
            for key, same in self.specs.items()
        }


def make_plan(profile_name: str, train: str = "headline", seeds: int = 1) -> Plan:
    """The jobs of a profile.

    Runs: of the chosen notebooks for seeds 0 to ``seeds`` − 1, and those that another notebook would
    otherwise have to train, since they aren't published. Where runs take accelerators, such notebooks are
    left out instead.

    Raises:
        ConfigError: an unknown name, ``seeds`` < 1, or there are no notebooks.
    """
    row, chosen = profile(profile_name), chosen_notebooks(train)
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: expected ≥ 1")
    pool = published(profile_name)
    names = sorted(notebook_names(), key=lambda name: (name != "00_start_here", name))
    asked, left_out = _Asked(), {}
    at_defaults = {name: declared(name, {"profile": row.name}) for name in names}
    own = {
        name: declared(name, {"profile": row.name, "num_seeds": seeds, "source": "runs"})
        for name in names
        if name in chosen
    }
    for each in own.values():
        for spec, evaluations in jobs_of(each.runs, row):
            asked.add(spec, evaluations)
    for name in names:
        there = at_defaults[name]
        lacking = [] if name in own else lacking_of(jobs_of(there.runs, row), pool)
        lacking = [job for job in lacking if not asked.has(*job)]
        networks = [spec for spec in there.networks if not network_path(spec, row.name).exists()]
        if row.gpus and name not in own and (lacking or networks):
            left_out[name] = len(lacking) + len(networks)
            continue
        for spec, evaluations in lacking:
            asked.add(spec, evaluations)
        for spec in networks:
            asked.add(spec, (), network=True)
    runs = asked.jobs(row)
    notebooks = []
    for name in names:
        if name in left_out:
            continue
        mentioned = _fingerprints(at_defaults[name], row) | _fingerprints(own.get(name, Declared()), row)
        # A notebook goes on with a run whichever notebook has asked for it, and never at once.
        needs = tuple(run for key, run in runs.items() if key in mentioned)
        values: dict[str, object] = {}
        if name in own and lacking_of(jobs_of(at_defaults[name].runs, row), pool):
            values = {"num_seeds": seeds, "source": "runs"}  # nothing published that they could stand beside
        notebooks.append(_notebook_job(row, name, values, needs))
    return Plan(row, seeds, tuple(runs.values()), tuple(notebooks), left_out)


def _fingerprints(each: Declared, row: Profile) -> set[str]:
    runs = {spec.fingerprint for spec, _ in jobs_of(each.runs, row)}
    return runs | {spec.fingerprint for spec in each.networks}


def longest(specs: list[RunSpec]) -> RunSpec:
    """One specification for a run that several ask for: as far as the longest goes, every step evaluated."""
    last = max(specs, key=lambda spec: spec.num_steps)
    steps = {step for spec in specs for step in (*spec.milestones, spec.num_steps)} - {last.num_steps}
    return last.replace(milestones=tuple(sorted(steps)))


def _notebook_job(
    row: Profile, name: str, values: dict[str, object], needs: tuple[RunJob, ...]
) -> NotebookJob:
    path = notebook_path(name)
    there = parameters_of(path)
    parameters = {key: value for key, value in values.items() if key in there}
    folder, results = output_folder(row.name), published_path(row.name)
    return NotebookJob(
        title=name,
        parameters={"profile": row.name, **parameters},
        arguments=(
            "notebook", name, "--profile", row.name,
            *(part for key, value in parameters.items() for part in ("-p", f"{key}={value}")),
        ),
        outputs=(folder / f"{name}.receipt.json", folder / f"{name}.ipynb"),
        log=log_folder(row.name) / f"notebook-{name}.log",
        needs=needs,
        depends={
            "notebook": sha256_file(path),
            "parameters": json.dumps(parameters, sort_keys=True),
            "source": source_hash(),
            "published": sha256_file(results) if results.exists() else "none",
            "runs": " ".join(sorted(run.spec.fingerprint for run in needs)),
        },
    )  # fmt: skip


def write_jobs(plan: Plan) -> None:
    """Keep every run's job in its file, which ``disperse run FILE`` reads."""
    for job in plan.runs:
        content = {
            "spec": job.spec.model_dump(mode="json"),
            "profile": job.profile,
            "evaluations": [[step, protocol.model_dump(mode="json")] for step, protocol in job.evaluations],
            "network": job.network,
        }
        if not job.file.exists() or json.loads(job.file.read_text(encoding="utf-8")) != content:
            atomic.write_json(job.file, content)


def read_job(path: Path) -> RunJob:
    """The job of a file that ``write_jobs`` wrote.

    Raises:
        ConfigError: it can't be read, or is of another version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        spec, evaluations = RunSpec.parse(content["spec"]), content["evaluations"]
        how = tuple((int(step), Protocol.parse(protocol)) for step, protocol in evaluations)
        return RunJob(spec, how, content["profile"], content["network"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: no job of a run ({error}); `disperse reproduce --profile NAME` writes them into "
            "papermill_runs/here/NAME/jobs"
        ) from None


def log_folder(profile_name: str) -> Path:
    """Where the jobs of a profile write what they print."""
    return output_folder(profile_name) / "logs"


@functools.cache
def source_hash() -> str:
    """SHA-256 over the files of this package: a notebook is stale when its library changed."""
    package = Path(__file__).resolve().parents[1]
    whole = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            whole.update(f"{path.relative_to(package)} {sha256_file(path)}\n".encode())
    return whole.hexdigest()


def missing(job: Job) -> list[Path]:
    """Outputs of a job that aren't there."""
    return [path for path in job.outputs if not path.exists()]


def alone(job: Job) -> str:
    """The command that does this job and no other."""
    return shlex.join(["disperse", *job.arguments])


def shell_command(job: Job, row: Profile) -> str:
    """What Snakemake runs: as ``alone``, on as many accelerators as the profile says, with the log.

    ``exec`` leaves no shell between: a signal to the job's process reaches training, which saves. On several
    accelerators the run is trained first, then evaluated by one process.
    """
    own = [*job.arguments, "--job", str(job.log)]
    command = "exec " + shlex.join([sys.executable, "-m", "disperse", *own])
    if isinstance(job, RunJob) and row.gpus > 1:
        ranks = ["torchrun", "--standalone", "--nproc-per-node", str(row.gpus), "-m", "disperse", *own]
        return f"{shlex.join(ranks)} && {command}"
    return command
