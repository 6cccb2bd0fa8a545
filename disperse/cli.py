"""Command line: ``disperse train | sample | evaluate | list | reproduce | figures | publish``.

Exit codes: 0 done, 2 usage or configuration, 3 data, checkpoint or storage, 4 non-finite numbers, 5 a
notebook or run failed, 75 locked by another process, 130/143 stopped by a signal.
"""

import argparse
import importlib.util
import json
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

from . import __version__
from .errors import ConfigError, DisperseError, unknown
from .spec import OBJECTIVES, DispersiveSpec, RunSpec


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
    parser.add_argument("--version", action="version", version=f"disperse {__version__}")
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
    # Given or not, and to which variant: so no defaults here. They are those of the paper's setting.
    train.add_argument("--lam", type=float, help="weight of the dispersive term; 0.5 by default")
    train.add_argument("--tau", type=float, help="temperature of the InfoNCE variants; 0.5 by default")
    train.add_argument("--eps", type=float, help="margin of the hinge; 1 by default")
    train.add_argument("--local-batch", type=int, metavar="ROWS",
                       help="rows that see each other; 16 by default, 0 is the whole batch")  # fmt: skip
    train.add_argument("--blocks", metavar="WHICH", help="quarter (the default), last, all, a fraction of "
                       "the depth such as 0.5, or indices from 0 such as 0,2")  # fmt: skip
    train.add_argument("--objective", help="sit, dit or meanflow; the profile's model by default, else the "
                       "model of the same size; its settings by --set objective.FIELD=VALUE")  # fmt: skip
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
    sample.add_argument("--seed", type=int, default=None, help="training seed, among runs of one name")
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
    evaluate.add_argument("--seed", type=int, default=None, help="training seed, among runs of one name")
    evaluate.add_argument("--step", type=int, default=None, help="checkpoint; the newest by default")
    evaluate.add_argument("--num", type=int, default=1000, help="samples")
    evaluate.add_argument("--solver", default="heun")
    evaluate.add_argument("--steps", type=int, default=25, help="steps of the solver")
    evaluate.add_argument("--guidance", type=float, default=1.0)
    evaluate.add_argument("--weights", default="power-0.1", help="raw, or an average the run keeps")
    evaluate.add_argument("--device", default="auto")

    command(
        "list", _list, "List the runs of the store: name, seed, steps, evaluations.",
        "disperse list",
    )  # fmt: skip

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


# Options of ``train`` that belong to the dispersive term.
_TERM = ("lam", "tau", "eps", "local_batch", "blocks")


def _train(options: argparse.Namespace) -> None:
    from .experiments import profile, run_folder
    from .training import train

    terms = _terms(options)
    label = options.variant if terms else "baseline"
    name = label if options.name is None else options.name
    spec = profile(options.profile).spec(name, options.seed, *terms)
    values = spec.model_dump(mode="json")
    values |= {"device": options.device, "precision": options.precision, "compile": options.compile}
    if options.objective is not None:
        values |= _objective(options.objective, spec.model)
    if options.steps is not None:
        values |= {"num_steps": options.steps, "milestones": []}
    for change in options.changes:
        _assign(values, change)
    spec = RunSpec.parse(values)
    folder = options.out or run_folder(spec)
    state = train(spec, folder)
    if state.step > spec.num_steps:
        print(f"{folder}: already at step {state.step}, asked for {spec.num_steps}; nothing to train")
    else:
        print(f"{folder}: {state.step} steps, {state.elapsed_s:.0f} s of training")


def _terms(options: argparse.Namespace) -> tuple[DispersiveSpec, ...]:
    """The dispersive term, as in the paper but for what was given; none for the baseline."""
    from .experiments import paper_term
    from .losses import VARIANTS

    given = {name: getattr(options, name) for name in _TERM if getattr(options, name) is not None}
    if options.variant == "none":
        if given:
            raise ConfigError(f"{_flag(next(iter(given)))}: the baseline has no term; name its --variant")
        return ()
    if "blocks" in given:
        given["blocks"] = _blocks(given["blocks"])
    if given.get("local_batch") == 0:
        given["local_batch"] = None
    values = paper_term("infonce-l2").model_dump(mode="json") | {"variant": options.variant} | given
    term = DispersiveSpec.parse(values, "regularizer")
    own = VARIANTS[term.variant][1]
    for name in ("tau", "eps"):
        if name in given and name != own:
            instead = f"its own option is {_flag(own)}" if own else "it has no option of its own"
            raise ConfigError(f"{_flag(name)}: {term.variant} has none; {instead}")
    return (term,)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _blocks(text: str) -> str | float | list[int]:
    """What ``--blocks`` names; whether the model has them is seen later."""
    if text in ("quarter", "last", "all"):
        return text
    try:
        return float(text) if "." in text else [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--blocks {text}: expected quarter, last, all, a fraction such as 0.5, or indices such as 0,2"
        ) from None


def _objective(kind: str, model: str) -> dict[str, Any]:
    """An objective with its defaults, and the model of the same size that fits it."""
    if kind not in OBJECTIVES:
        raise unknown("--objective", kind, OBJECTIVES)
    system = {"sit": "SiT", "dit": "DiT", "meanflow": "MF"}[kind]
    _, _, size = model.partition("-")
    return {"objective": OBJECTIVES[kind]().model_dump(mode="json"), "model": f"{system}-{size}"}


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
    from .sampling import SamplerConfig, sample_to_folder
    from .training import find_run, latest_step, load_weights, read_spec, weights_sha256

    if options.num < 0 or options.batch < 1:
        raise ConfigError(f"--num {options.num} --batch {options.batch}: expected ≥ 0 and ≥ 1")
    config = SamplerConfig(
        options.solver, options.steps, options.guidance, options.guided_channels,
        options.precision, options.compile,
    )  # fmt: skip
    folder = find_run(options.source, options.seed)
    spec = read_spec(folder)
    step = latest_step(folder) if options.step is None else options.step
    model = load_weights(folder, spec, step, options.weights, resolve_device(options.device))
    source = {
        "run": spec.run_id, "step": step, "weights": options.weights,
        "sha256": weights_sha256(folder, step, options.weights),
    }  # fmt: skip
    made = sample_to_folder(
        model, options.out, options.num, config=config, source=source, label=options.label,
        batch_size=options.batch, device=options.device,
    )  # fmt: skip
    print(f"{options.out}: {made} images made, {options.num - made} were there ({config.describe()})")


def _evaluate(options: argparse.Namespace) -> None:
    from .evaluation import FEATURES, Protocol, noise_floor
    from .experiments import evaluate_run
    from .training import find_run, latest_step, read_spec

    protocol = Protocol.parse({
        "num_samples": options.num, "solver": options.solver, "num_steps": options.steps,
        "guidance": options.guidance, "weights": options.weights,
    })  # fmt: skip
    folder = find_run(options.source, options.seed)
    read_spec(folder)  # says so if it is damaged
    floor = noise_floor(protocol)  # before sampling: it knows how many samples are too many
    step = latest_step(folder) if options.step is None else options.step
    record = evaluate_run(folder, step, protocol, device=options.device)
    print(f"{record['name']}-{record['fingerprint']}, step {record['step']}, training seed {record['seed']}")
    for name, value in record["metrics"].items():
        print(
            f"  {name:17} {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]  ({value['method']})"
        )
    print(
        f"  {'noise floor of fd':17} {floor.value:.3f} [{floor.low:.3f}, {floor.high:.3f}]  ({floor.method})"
    )
    print(f"  {record['card']}")
    if options.num <= FEATURES:
        _one_line_warning(
            f"{options.num} samples for {FEATURES} features: their covariance is singular; "
            "the distance says little"
        )


def _list(options: argparse.Namespace) -> None:
    from .training import list_runs

    print("\n".join(list_runs()))


# What executing and drawing need beyond the library, by the name of their import.
_EXTRA = ("IPython", "ipykernel", "matplotlib", "nbformat", "pandas", "papermill", "seaborn")


def _check_extra() -> None:
    """Say at once that the extra is missing, not after minutes of training."""
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} not installed: pip install 'disperse[notebooks]'")


def _reproduce(options: argparse.Namespace) -> None:
    _check_extra()
    from .reproduce import plan, reproduce

    if options.seeds < 1:
        raise ConfigError(f"--seeds {options.seeds}: expected ≥ 1")
    if options.plan:
        print(plan(options.profile, options.seeds))
    else:
        reproduce(options.profile, options.seeds)


def _figures(options: argparse.Namespace) -> None:
    _check_extra()
    from .figures import draw_published

    for path in draw_published(options.profile):
        print(path)


def _publish(options: argparse.Namespace) -> None:
    from .experiments import finished, publish

    new = publish(options.profile, finished(options.profile, options.seeds))
    print(f"{new} new evaluations; redraw with `disperse figures --profile {options.profile}`")


if __name__ == "__main__":
    sys.exit(main())
