"""Command line: ``disperse train | sample | evaluate | reproduce | figures | publish``.

Exit codes: 0 done, 2 usage or configuration, 3 data, checkpoint or storage, 4 non-finite numbers, 5 a
notebook or run failed, 75 locked by another process, 130/143 stopped by a signal.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

from .errors import ConfigError, DisperseError


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code, with one line on stderr for a foreseeable failure."""
    options = _parser().parse_args(arguments)
    warnings.showwarning = _one_line_warning
    try:
        options.run(options)
    except DisperseError as error:
        print(f"disperse {options.command}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"disperse {options.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _one_line_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"disperse: warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="disperse", description="Dispersive Loss: train, sample, evaluate, reproduce.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser, metavar="COMMAND")

    def command(name: str, run: Any, about: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=about, description=about, epilog=f"example: {example}")
        sub.set_defaults(run=run)
        return sub

    train = command(
        "train", _train, "Train one run, or go on with it.",
        "disperse train --profile cpu --variant infonce-l2 --lam 0.5 --seed 3 --set optimizer.lr=0.002",
    )  # fmt: skip
    train.add_argument("--profile", default="cpu", help="row of the ladder that gives the defaults")
    train.add_argument("--variant", default="none", help="dispersive variant, or none for the baseline")
    train.add_argument("--lam", type=float, default=0.5, help="weight of the dispersive term")
    train.add_argument("--tau", type=float, default=0.5, help="temperature of the InfoNCE variants")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--name", default=None, help="what to call the run; the variant by default")
    train.add_argument("--steps", type=int, default=None, help="length; the profile's by default")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    train.add_argument("--precision", default="fp32", help="fp32 or bf16")
    train.add_argument("--compile", action="store_true", help="compile the network")
    train.add_argument("--set", dest="changes", action="append", default=[], metavar="FIELD=VALUE",
                       help="any field of the run's spec, e.g. optimizer.lr=0.002; repeatable")  # fmt: skip
    train.add_argument("--out", type=Path, default=None, help="run folder; in the store by default")

    sample = command(
        "sample", _sample, "Sample images from a run to disk, batch by batch; repeat to resume.",
        "disperse sample infonce-l2 --num 1000 --batch 250 --guidance 1.5 --out build/samples",
    )  # fmt: skip
    sample.add_argument("source", metavar="RUN", help="run folder, its name, or a part of the name")
    sample.add_argument("--num", type=int, required=True, help="seeds 0 to NUM-1")
    sample.add_argument("--batch", type=int, default=256, help="images on the device at a time")
    sample.add_argument("--out", type=Path, required=True)
    sample.add_argument("--step", type=int, default=None, help="checkpoint; the newest by default")
    sample.add_argument("--weights", default="power-0.1", help="raw, or an average the run keeps")
    sample.add_argument("--solver", default="heun", help="euler or heun")
    sample.add_argument("--steps", type=int, default=25, help="steps of the solver")
    sample.add_argument("--guidance", type=float, default=1.0)
    sample.add_argument("--guided-channels", type=int, default=None, help="guide the first so many only")
    sample.add_argument("--label", type=int, default=None, help="one class for all; random by default")
    sample.add_argument("--device", default="auto")
    sample.add_argument("--precision", default="fp32", help="fp32 or bf16")
    sample.add_argument("--compile", action="store_true")

    evaluate = command(
        "evaluate", _evaluate, "Measure a run: distance, precision, recall, class agreement.",
        "disperse evaluate baseline --num 1000 --weights raw",
    )  # fmt: skip
    evaluate.add_argument("source", metavar="RUN", help="run folder, its name, or a part of the name")
    evaluate.add_argument("--step", type=int, default=None, help="checkpoint; the newest by default")
    evaluate.add_argument("--num", type=int, default=1000, help="samples")
    evaluate.add_argument("--solver", default="heun")
    evaluate.add_argument("--steps", type=int, default=25, help="steps of the solver")
    evaluate.add_argument("--guidance", type=float, default=1.0)
    evaluate.add_argument("--weights", default="power-0.1", help="raw, or an average the run keeps")
    evaluate.add_argument("--device", default="auto")

    reproduce = command(
        "reproduce", _reproduce, "Train what is missing, then execute the notebooks.",
        "disperse reproduce --profile cpu --seeds 3",
    )  # fmt: skip
    reproduce.add_argument("--profile", default="cpu")
    reproduce.add_argument("--seeds", type=int, default=1, help="training seeds 0 to SEEDS-1")
    reproduce.add_argument("--plan", action="store_true", help="print the runs and what is done; run nothing")

    figures = command(
        "figures", _figures, "Redraw the published figures and tables; trains nothing.",
        "disperse figures --profile cpu",
    )  # fmt: skip
    figures.add_argument("--profile", default="cpu")

    publish = command(
        "publish", _publish, "Append this machine's finished evaluations to the published results.",
        "disperse publish --profile cpu --seeds 3",
    )  # fmt: skip
    publish.add_argument("--profile", default="cpu")
    publish.add_argument("--seeds", type=int, default=16, help="look for seeds 0 to SEEDS-1")
    return parser


def _train(options: argparse.Namespace) -> None:
    from .experiments import profile, run_folder
    from .spec import DispersiveSpec, RunSpec
    from .training import train

    terms: tuple[DispersiveSpec, ...] = ()
    if options.variant != "none":
        values = {"variant": options.variant, "lam": options.lam, "tau": options.tau}
        terms = (DispersiveSpec.parse(values, "regularizer"),)
    label = "baseline" if options.variant == "none" else options.variant
    spec = profile(options.profile).spec(options.name or label, options.seed, *terms)
    values = spec.model_dump(mode="json")
    values |= {"device": options.device, "precision": options.precision, "compile": options.compile}
    if options.steps is not None:
        values |= {"num_steps": options.steps, "milestones": []}
    for change in options.changes:
        _assign(values, change)
    spec = RunSpec.parse(values)
    folder = options.out or run_folder(spec)
    state = train(spec, folder)
    print(f"{folder}: {state.step} steps, {state.elapsed_s:.0f} s of training")


def _assign(values: dict[str, Any], change: str) -> None:
    """Set ``a.b=value`` in nested plain data; the value is JSON, or text if it isn't."""
    path, equals, text = change.partition("=")
    if not equals:
        raise ConfigError(f"--set {change}: expected FIELD=VALUE")
    *parents, last = path.split(".")
    target: Any = values
    for part in parents:
        entries = dict(enumerate(target)) if isinstance(target, list) else target
        target = entries.get(int(part) if isinstance(target, list) and part.isdecimal() else part)
        if not isinstance(target, (dict, list)):
            raise ConfigError(f"--set {path}: {part} does not exist or has no fields")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if isinstance(target, list):
        raise ConfigError(f"--set {path}: name a field of an entry, e.g. regularizers.0.lam")
    target[last] = value


def _sample(options: argparse.Namespace) -> None:
    from .device import resolve_device
    from .experiments.store import find_run
    from .sampling import SamplerConfig, sample_to_folder
    from .training import latest_step, load_weights, read_spec

    if options.num < 0 or options.batch < 1:
        raise ConfigError(f"--num {options.num} --batch {options.batch}: expected ≥ 0 and ≥ 1")
    config = SamplerConfig(
        options.solver, options.steps, options.guidance, options.guided_channels,
        options.precision, options.compile,
    )  # fmt: skip
    folder = find_run(options.source)
    spec = read_spec(folder)
    step = latest_step(folder) if options.step is None else options.step
    model = load_weights(folder, spec, step, options.weights, resolve_device(options.device))
    source = {"run": spec.run_id, "step": step, "weights": options.weights}
    made = sample_to_folder(
        model, options.out, options.num, config=config, source=source, label=options.label,
        batch_size=options.batch, device=options.device,
    )  # fmt: skip
    print(f"{options.out}: {made} images made, {options.num - made} were there ({config.describe()})")


def _evaluate(options: argparse.Namespace) -> None:
    from .evaluation import Protocol, noise_floor
    from .experiments.store import evaluate_run, find_run
    from .training import latest_step, read_spec

    protocol = Protocol.parse({
        "num_samples": options.num, "solver": options.solver, "num_steps": options.steps,
        "guidance": options.guidance, "weights": options.weights,
    })  # fmt: skip
    folder = find_run(options.source)
    read_spec(folder)  # says so if this is no run folder
    step = latest_step(folder) if options.step is None else options.step
    record = evaluate_run(folder, step, protocol, device=options.device)
    print(f"{record['name']}-{record['fingerprint']}, step {record['step']}, training seed {record['seed']}")
    for name, value in record["metrics"].items():
        print(
            f"  {name:17} {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]  ({value['method']})"
        )
    floor = noise_floor(protocol)
    print(
        f"  {'noise floor of fd':17} {floor.value:.3f} [{floor.low:.3f}, {floor.high:.3f}]  ({floor.method})"
    )
    print(f"  {record['card']}")


def _reproduce(options: argparse.Namespace) -> None:
    from .reproduce import plan, reproduce

    if options.seeds < 1:
        raise ConfigError(f"--seeds {options.seeds}: expected ≥ 1")
    if options.plan:
        print(plan(options.profile, options.seeds))
    else:
        reproduce(options.profile, options.seeds)


def _figures(options: argparse.Namespace) -> None:
    from .figures import draw_published

    for path in draw_published(options.profile):
        print(path)


def _publish(options: argparse.Namespace) -> None:
    from .experiments import finished, publish

    new = publish(options.profile, finished(options.profile, options.seeds))
    print(f"{new} new evaluations; redraw with `disperse figures --profile {options.profile}`")


if __name__ == "__main__":
    sys.exit(main())
