"""Many runs of a profile as ensembles on one device: ``python -m disperse.experiments.ensemble --help``.

Each record of ``results.jsonl`` has the form of the published ones. With draws made on the device its run
is of another engine (``RunSpec.engine``), so it never counts as a run of ``train``; seeds start at 100, so
that it can't be mistaken for one either.
"""

import argparse
import sys
from pathlib import Path

import torch

from ..device import resolve_device
from ..errors import ConfigError, DisperseError, check_count, unknown
from ..evaluation import EVALUATORS, Protocol
from ..models import config_of
from ..spec import RunSpec
from ..training.ensemble_members import ENGINES
from .ensemble_records import Clock, finished, write_report
from .ensemble_waves import run_waves
from .profiles import profile
from .request import assign
from .rules import EXPERIMENTS, rule_protocol

FIRST_SEED = 100


def cells(names: list[str], profile_name: str, seed: int) -> list[RunSpec]:
    """Runs of one seed by name, each once; the name of an experiment of ``docs/rules.md`` means all its runs.

    Raises:
        ConfigError: a name that is none of these.
    """
    row = profile(profile_name)
    groups = {name: each.sweep(row, seed) for name, each in EXPERIMENTS.items()}
    by_name = {spec.name: [spec] for own in reversed(groups.values()) for spec in reversed(own)}
    found: dict[str, RunSpec] = {}
    for name in names:
        if name not in by_name and name not in groups:
            raise unknown("--cells", name, [*by_name, *groups])
        for spec in groups.get(name) or by_name[name]:
            found.setdefault(spec.fingerprint, spec)
    return list(found.values())


def members(
    names: list[str],
    profile_name: str,
    seeds: range,
    *,
    draws: str = "device",
    steps: int | None = None,
    changes: list[str] | None = None,
) -> list[RunSpec]:
    """The members of all cells and seeds, seed by seed.

    Args:
        names: as of ``cells``.
        profile_name: row of the ladder.
        seeds: of training.
        draws: ``"device"`` or ``"keyed"``.
        steps: length; that of each cell by default.
        changes: ``"a.b=value"``, as of ``disperse train --set``.

    Raises:
        ConfigError: an unknown name, or a value that a run can't have.
    """
    if draws not in ENGINES:
        raise unknown("--draws", draws, ENGINES)
    found = []
    for spec in cells(names, profile_name, seeds.start):
        values = spec.model_dump(mode="json") | {"milestones": [], "engine": ENGINES[draws]}
        if steps is not None:
            values["num_steps"] = check_count("--steps", steps, 1)
        for change in changes or []:
            assign(values, change)
        found.append(RunSpec.parse(values))
    return [spec.replace(seed=seed) for seed in seeds for spec in found]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code, with one line on stderr for a foreseeable failure."""
    options = parser().parse_args(arguments)
    try:
        return run(options)
    except DisperseError as error:
        print(f"ensemble: {error}", file=sys.stderr)
        return error.exit_code
    except torch.OutOfMemoryError as error:
        print(f"ensemble: {str(error).splitlines()[0]}; choose a smaller --members", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ensemble: interrupted; records that were written stay", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """What the command does; 0 if every member that was begun and did not diverge has a record, else 5."""
    clock = Clock(60 * options.minutes)
    if options.minutes <= 0:
        raise ConfigError(f"--minutes {options.minutes:g}: expected more than 0")
    check_count("--seeds", options.seeds, 1)
    check_count("--members", options.members, 1)
    if options.measure_on not in ("cpu", "device"):
        raise unknown("--measure-on", options.measure_on, ("cpu", "device"))
    row, device = profile(options.profile), resolve_device(options.device)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    names = [name for name in options.cells.split(",") if name]
    wanted = members(
        names, options.profile, seeds, draws=options.draws, steps=options.steps, changes=options.changes
    )
    for spec in wanted:
        config_of(spec)

    def protocol_of(system: str) -> Protocol:
        changed = {} if options.samples is None else {"num_samples": options.samples}
        values = rule_protocol(row, system).model_dump() | changed
        values["guided_samples"] = min(values["guided_samples"], values["num_samples"])
        return Protocol.parse(values)

    if row.evaluator not in EVALUATORS:
        raise ConfigError(
            f"--profile {row.name}: an ensemble is measured by a classifier, not {row.evaluator}"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    done = finished(options.out)
    remaining = [
        spec
        for spec in wanted
        if (spec.fingerprint, spec.num_steps, protocol_of(spec.objective.kind).hash) not in done
    ]
    print(f"{len(wanted)} members of {len(names)} names and {len(seeds)} seeds, {len(done)} in {options.out}")
    report = run_waves(
        remaining, protocol_of, device, options.out, clock,
        draws=options.draws, most=options.members, keep=options.keep, code=options.commit,
        measure_on="cpu" if options.measure_on == "cpu" else options.device, tail=options.tail,
    )  # fmt: skip
    write_report(options.out, report, clock)
    missing = len(report.unfinished) + len(report.failed)
    report.say(
        clock,
        f"{len(finished(options.out))} records; {len(report.not_finite)} not finite, {missing} not measured, "
        f"{len(report.not_begun)} not begun",
    )
    return 5 if missing else 0


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    top = argparse.ArgumentParser(
        prog="python -m disperse.experiments.ensemble",
        description="Train and evaluate many runs of a profile as ensembles on one device.",
        epilog="example: python -m disperse.experiments.ensemble --cells variants --seeds 20 --out build/gpu",
    )
    top.add_argument(
        "--cells", required=True, help="labels of cells, items, experiments such as E4; with commas"
    )
    top.add_argument("--seeds", type=int, default=1, help="how many training seeds")
    top.add_argument("--first-seed", type=int, default=FIRST_SEED, help="100 by default")
    top.add_argument("--profile", default="cpu")
    top.add_argument("--minutes", type=float, default=9.0, help="time for all of it, 9 by default")
    top.add_argument("--out", type=Path, required=True, help="folder of results.jsonl and report.json")
    top.add_argument("--device", default="auto", help="auto, cpu, cuda")
    top.add_argument(
        "--draws", default="device", help="device (fast), or keyed: the numbers of `disperse train`"
    )
    top.add_argument("--steps", type=int, default=None, help="length; that of the cells by default")
    top.add_argument("--samples", type=int, default=None, help="of an evaluation; the profile's by default")
    top.add_argument("--members", type=int, default=256, help="most members of one stack")
    top.add_argument("--keep", type=int, default=0, help="keep the weights of the first so many members")
    top.add_argument("--measure-on", default="cpu", help="cpu, many at a time; or device, for large networks")
    top.add_argument("--tail", type=float, default=None, help="seconds to leave for the last measures")
    top.add_argument("--commit", default=None, help="of the code, where it is no clone of git")
    top.add_argument(
        "--set", dest="changes", action="append", default=[], metavar="FIELD=VALUE",
        help="any field of the runs, e.g. model=SiT-S/4; repeatable",
    )  # fmt: skip
    return top


if __name__ == "__main__":
    sys.exit(main())
