"""What there is to do: a job for every run and every notebook, and what each waits for.

A run is one job however many items ask for it and at whatever lengths: its results are the evaluation
files of the run store, so what is there is never made again. A notebook waits for the runs that it
draws on. Only names, files and commands here; the ``Snakefile`` hands them to Snakemake.
"""

import functools
import hashlib
import json
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ..atomic import sha256_file
from ..errors import ConfigError, unknown
from ..evaluation import Protocol
from ..experiments import ITEMS, Profile, cells_of, item, profile, published, run_folder, select
from ..folders import output_folder
from ..spec import RunSpec
from ..store import evaluation_path, published_path
from .notebooks import notebook_names, notebook_path, parameters_of

# What a fresh machine trains; other notebooks draw on the published results.
HEADLINE = ("variants",)


@dataclass(frozen=True)
class Draws:
    """Items that a notebook draws on.

    Attributes:
        own: the item it shows: retrained with it, the notebook shows this machine's runs.
        beside: items whose runs stand beside, or go on in the notebook.
        look: that it takes at those of these runs which the look is of.
        asked: item → the notebook's parameter that asks for it; nothing of it is needed otherwise.
    """

    own: str | None = None
    beside: tuple[str, ...] = ()
    look: str = ""
    asked: tuple[tuple[str, str], ...] = ()


# A notebook that isn't named here draws on no item. The first goes first: the first picture soon.
NOTEBOOKS = {
    "00_start_here": Draws(),
    "01_train": Draws(beside=("variants",)),
    "02_gallery": Draws(beside=("pair",)),
    "03_representations": Draws(beside=("pair",)),
    "variants": Draws("variants", asked=(("contrastive", "contrastive_seeds"),)),
    "blocks": Draws("blocks", beside=("pair",)),
    "lambda_tau": Draws("lambda_tau", beside=("pair",)),
    "norms": Draws("blocks", beside=("pair",)),
    "model_size": Draws("model_size", asked=(("rate_scan", "scan_seeds"),)),
    "longer_training": Draws("longer"),
    "systems": Draws("systems_tour", beside=("large_pair",), look="systems"),
    "meanflow": Draws("meanflow"),
    "one_step": Draws("systems_tour", beside=("large_pair",), look="one_step"),
    "samples": Draws(beside=("large_pair",)),
    "beyond_fid": Draws("scale_of_effect", beside=("pair",), look="against_training"),
    "per_timestep": Draws(beside=("pair",), look="against_training"),
    "contrastive_to_dispersive": Draws("contrastive_to_dispersive", beside=("pair",)),
    "local_batch": Draws("local_batch", beside=("pair",)),
    "scale_of_effect": Draws("scale_of_effect", beside=("model_size",)),
    "norm_cost": Draws("norm_cost", beside=("variants", "pair_longer")),
    "sampler": Draws(beside=("pair",), look="sampler"),
    "systems_tour": Draws("systems_tour", beside=("large_pair",)),
}


@dataclass(frozen=True)
class RunJob:
    """One run to its end, every milestone evaluated.

    Attributes:
        title: for people.
        spec: the longest that was asked for, with the milestones of all.
        protocol: how it is evaluated.
        arguments: of ``disperse``, to do this alone.
        outputs: the evaluation files.
        log: what it prints.
    """

    title: str
    spec: RunSpec
    protocol: Protocol
    arguments: tuple[str, ...]
    outputs: tuple[Path, ...]
    log: Path


@dataclass(frozen=True)
class NotebookJob:
    """One notebook.

    Attributes:
        title: its name.
        parameters: that it is executed with.
        arguments, outputs, log: as of a run. The first output is the receipt, the second the notebook.
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
        left_out: notebooks without a job → items that they draw on, not all of which is published.
    """

    row: Profile
    seeds: int
    runs: tuple[RunJob, ...]
    notebooks: tuple[NotebookJob, ...]
    left_out: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Runs, then notebooks."""
        return (*self.runs, *self.notebooks)


def chosen_items(text: str) -> tuple[str, ...]:
    """Items by name: ``"headline"``, ``"all"`` or a comma list.

    Raises:
        ConfigError: an unknown item.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in (*ITEMS, "headline", "all"):
            raise unknown("--items", name, ("headline", "all", *ITEMS))
    groups = {"headline": HEADLINE, "all": tuple(ITEMS)}
    return tuple(dict.fromkeys(each for name in names for each in groups.get(name, (name,))))


def find_spec(profile_name: str, items: str, label: str, seed: int) -> RunSpec:
    """The run of a cell: at the length of its item, or the longest of several items that share it.

    Raises:
        ConfigError: unknown item, or no cell of this label in the first.
    """
    names = chosen_items(items)
    cells = {cell.label: cell.spec for cell in item(names[0], profile_name, (seed,))}
    if label not in cells:
        raise unknown("--label", label, cells)
    others = [cell.spec for name in names[1:] for cell in item(name, profile_name, (seed,))]
    same = [spec for spec in others if spec.fingerprint == cells[label].fingerprint]
    return longest([cells[label], *same])


def longest(specs: list[RunSpec]) -> RunSpec:
    """One specification for a run that several ask for: as far as the longest goes, every step evaluated."""
    last = max(specs, key=lambda spec: spec.num_steps)
    steps = {step for spec in specs for step in _steps(spec)} - {last.num_steps}
    return last.replace(milestones=tuple(sorted(steps)))


def make_plan(profile_name: str, items: str = "headline", seeds: int = 1) -> Plan:
    """The jobs of a profile.

    Runs: of the chosen items for seeds 0 to ``seeds`` − 1, and those that a notebook would otherwise
    have to train, since they aren't published. Where runs take accelerators, such notebooks are left out
    instead: trained are the chosen items, and what they are compared with.

    Raises:
        ConfigError: an unknown name, ``seeds`` < 1, or there are no notebooks.
    """
    row, chosen = profile(profile_name), chosen_items(items)
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: expected ≥ 1")
    every = tuple(range(seeds))
    names = sorted(notebook_names(), key=lambda name: (name != "00_start_here", name))
    unpublished = functools.cache(functools.partial(_unpublished, row=row))
    asked: dict[str, list[tuple[str, str, RunSpec]]] = {}

    def ask(wanted: str, label: str, spec: RunSpec) -> None:
        asked.setdefault(spec.fingerprint, []).append((wanted, label, spec))

    for wanted in chosen:
        for cell in item(wanted, profile_name, every):
            ask(wanted, cell.label, cell.spec)
    for name in names:
        draws = NOTEBOOKS.get(name, Draws())
        if draws.own in chosen:
            for wanted in draws.beside:
                for cell in item(wanted, profile_name, every):
                    ask(wanted, cell.label, cell.spec)
    chosen_runs = {key: {step for *_, spec in same for step in _steps(spec)} for key, same in asked.items()}
    left_out: dict[str, tuple[str, ...]] = {}
    for name in names:
        draws = NOTEBOOKS.get(name, Draws())
        if draws.own in chosen:
            continue
        lacking = [
            (wanted, label, spec)
            for wanted in filter(None, (draws.own, *draws.beside))
            for label, spec in unpublished(wanted)
            if not {*_steps(spec)} <= chosen_runs.get(spec.fingerprint, set())
        ]
        if lacking and row.gpus:
            left_out[name] = tuple(dict.fromkeys(wanted for wanted, *_ in lacking))
        else:
            for wanted, label, spec in lacking:
                ask(wanted, label, spec)
    runs = {key: _run_job(row, same) for key, same in asked.items()}
    notebooks = []
    for name in names:
        if name in left_out:
            continue
        draws = NOTEBOOKS.get(name, Draws())
        touched = filter(None, (draws.own, *draws.beside, *(wanted for wanted, _ in draws.asked)))
        # By fingerprint: a notebook goes on with a run whichever item has asked for it, and never at once.
        own = {cell.spec.fingerprint for wanted in touched for cell in item(wanted, profile_name, every)}
        needs = [run for key, run in runs.items() if key in own]
        notebooks.append(_notebook_job(row, name, draws, chosen, seeds, tuple(needs)))
    return Plan(row, seeds, tuple(runs.values()), tuple(notebooks), left_out)


def _unpublished(name: str, row: Profile) -> list[tuple[str, RunSpec]]:
    """Runs of an item that ``results`` would have to train for a notebook at its defaults."""
    pool = published(row.name)
    cells = [(cell, row.protocol_of(cell.spec.objective.kind)) for cell in cells_of((name,), row.name, 0)]
    return [
        (cell.label, cell.spec)
        for cell, protocol in cells
        if len(select(pool, cell.spec, protocol)) < cell.spec.num_evaluations
    ]


def _steps(spec: RunSpec) -> list[int]:
    return sorted({*spec.milestones, spec.num_steps})


def _run_job(row: Profile, same: list[tuple[str, str, RunSpec]]) -> RunJob:
    name, label, last = max(same, key=lambda entry: entry[2].num_steps)
    spec = longest([spec for *_, spec in same])
    others = dict.fromkeys(other for other, _, each in same if not {*_steps(each)} <= {*_steps(last)})
    protocol, folder = row.protocol_of(spec.objective.kind), run_folder(spec)
    return RunJob(
        title=f"{label}, seed {spec.seed}",
        spec=spec,
        protocol=protocol,
        arguments=(
            "run", "--profile", row.name, "--item", ",".join([name, *others]), "--label", label,
            "--seed", str(spec.seed),
        ),
        outputs=tuple(evaluation_path(folder, step, protocol) for step in _steps(spec)),
        log=log_folder(row.name) / f"run-{label}-{spec.fingerprint}.log",
    )  # fmt: skip


def _notebook_job(
    row: Profile, name: str, draws: Draws, chosen: tuple[str, ...], seeds: int, needs: tuple[RunJob, ...]
) -> NotebookJob:
    path = notebook_path(name)
    own = draws.own in chosen
    values: dict[str, object] = {"source": "runs" if own else "published"}
    if own:
        values["num_seeds"] = seeds
    values |= {parameter: seeds for wanted, parameter in draws.asked if wanted in chosen}
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
