"""Command line: what each command of ``disperse`` does; its arguments are in ``arguments``.

Exit codes: 0 done, 2 usage or configuration, 3 data, checkpoint or storage, 4 non-finite numbers, 5 a
notebook or run failed, 75 locked by another process, 130/143 stopped by a signal, 141 the
reader of the output is gone.
"""

import argparse
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import TERM_OPTIONS, given_knobs, parser
from .errors import ConfigError, DisperseError

if TYPE_CHECKING:
    from .models import DiffusionTransformer
    from .sampling import SamplerConfig


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code, with one line on stderr for a foreseeable failure."""
    options = parser().parse_args(arguments)
    warnings.showwarning = _one_line_warning
    if getattr(options, "data_path", None):
        os.environ["DISPERSE_DATA"] = options.data_path  # so that worker processes and notebooks see it too
    try:
        if "RANK" in os.environ:
            return _run_as_a_rank(options)
        COMMANDS[options.command](options)
        sys.stdout.flush()
    except DisperseError as error:
        return _say(options, error)
    except BrokenPipeError:  # `disperse ... | head` has all it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's last flush fails again
        return 141
    except KeyboardInterrupt:
        print(f"disperse {options.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _say(options: argparse.Namespace, error: DisperseError) -> int:
    print(f"disperse {options.command}: {error}", file=sys.stderr)
    return error.exit_code


def _run_as_a_rank(options: argparse.Namespace) -> int:
    """One of the processes that torchrun started; returns the exit code."""
    from .distributed import process_group, rank, started_ranks, together

    if started_ranks() > 1 and options.command not in ("train", "sample", "run"):
        raise ConfigError("several processes can train or sample; start this command without torchrun")
    with process_group():
        try:
            COMMANDS[options.command](options)
        except DisperseError as error:
            if not error.on_all_ranks:
                raise
            code = _say(options, error) if rank() == 0 else error.exit_code
            with together():  # leave together: torchrun kills the others when the first is gone
                return code
    return 0


def _print_once(text: str) -> None:
    from .distributed import rank

    if rank() == 0:
        print(text)


def _one_line_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"disperse: warning: {message}", file=sys.stderr)


def _train(options: argparse.Namespace) -> None:
    from .distributed import together
    from .experiments import requested_spec, run_folder
    from .training import train

    with together():
        spec = requested_spec(
            options.profile, variant=options.variant, view=options.view, objective=options.objective,
            seed=options.seed, name=options.name, num_steps=options.steps, changes=options.changes,
            run={"device": options.device, "precision": options.precision, "compile": options.compile},
            **{name: getattr(options, name) for name in TERM_OPTIONS},
        )  # fmt: skip
        folder = options.out or run_folder(spec)
    state = train(spec, folder)
    if state.step > spec.num_steps:
        _print_once(f"{folder}: already at step {state.step}, asked for {spec.num_steps}; nothing to train")
    else:
        _print_once(f"{folder}: {state.step} steps, {state.elapsed_s:.0f} s of training")


def _sample(options: argparse.Namespace) -> None:
    from .distributed import together
    from .sampling import sample_to_folder

    with together():
        model, source, config = _sampler(options)
    made = sample_to_folder(
        model, options.out, options.num, config=config, source=source, label=options.label,
        batch_size=options.batch, device=options.device,
    )  # fmt: skip
    _print_once(f"{options.out}: {made} images made, {options.num - made} were there ({config.describe()})")


def _sampler(options: argparse.Namespace) -> tuple["DiffusionTransformer", dict[str, Any], "SamplerConfig"]:
    from .sampling import SamplerConfig

    if options.num < 0 or options.batch < 1:
        raise ConfigError(f"--num {options.num} --batch {options.batch}: expected ≥ 0 and ≥ 1")
    model, source = _model(options)
    return model, source, SamplerConfig.for_system(model.objective.kind, **given_knobs(options))


def _model(options: argparse.Namespace) -> tuple["DiffusionTransformer", dict[str, Any]]:
    """The model that a command names, a run's or a file's, and what its weights are."""
    from .atomic import sha256_file
    from .device import resolve_device
    from .training import find_run, latest_step, load_model, load_weights, read_spec, weights_sha256

    if Path(options.source).is_file():
        model = load_model(options.source, step=options.step, weights=options.weights)
        return model, {"file": Path(options.source).name, "sha256": sha256_file(Path(options.source))}
    folder = find_run(options.source, options.seed)
    spec, weights = read_spec(folder), options.weights or "power-0.1"
    step = latest_step(folder) if options.step is None else options.step
    device = resolve_device(getattr(options, "device", "cpu"))
    model = load_weights(folder, spec, step, weights, device)
    digest = weights_sha256(folder, step, weights)
    return model, {"run": spec.run_id, "step": step, "weights": weights, "sha256": digest}


def _import(options: argparse.Namespace) -> None:
    from .atomic import sha256_file
    from .models.checkpoints import import_checkpoint, save_model
    from .models.flops import num_parameters

    imported = import_checkpoint(
        options.file, system=options.system, weights=options.weights, num_heads=options.num_heads,
        reversed_time=options.reversed_time,
    )  # fmt: skip
    source = {"file": options.file.name, "sha256": sha256_file(options.file), "weights": imported.weights}
    save_model(imported.model, options.out, **source)
    config = imported.model.config
    for note in imported.notes:
        print(f"{options.file}: {note}")
    print(
        f"{options.out}: {config.system}, depth {config.depth}, width {config.hidden_size}, patch "
        f"{config.patch_size}, {num_parameters(config):,} parameters ({imported.weights} weights)"
    )


def _export(options: argparse.Namespace) -> None:
    from .models.checkpoints import export_checkpoint

    model, source = _model(options)
    export_checkpoint(model, options.out)
    print(f"{options.out}: weights of {source.get('run', source.get('file'))}")


def _evaluate(options: argparse.Namespace) -> None:
    from .evaluation import (
        Protocol,
        evaluator_for,
        find_evaluator,
        memorizer_distance,
        metric_name,
        noise_floor,
        spaces_for,
    )
    from .experiments import evaluate_run
    from .sampling import SamplerConfig
    from .training import find_run, latest_step, read_spec

    folder = find_run(options.source, options.seed)
    spec = read_spec(folder)
    protocol = Protocol(
        num_samples=options.num, weights=options.weights, evaluator=evaluator_for(spec.data),
        data=spec.data.partition(":")[0], spaces=spaces_for(spec.data),
        sampler=SamplerConfig.for_system(spec.objective.kind, **given_knobs(options)),
    )  # fmt: skip
    # Before sampling: it knows how many samples are too many.
    floors = {space: noise_floor(protocol, space=space) for space in (protocol.evaluator, *protocol.spaces)}
    step = latest_step(folder) if options.step is None else options.step
    record = evaluate_run(folder, step, protocol, device=options.device)
    print(f"{record['name']}-{record['fingerprint']}, step {record['step']}, training seed {record['seed']}")
    for name, value in record["metrics"].items():
        print(
            f"  {name:25} {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]  ({value['method']})"
        )
    for space, floor in floors.items():
        rows = {"noise floor": floor}
        if ":" in spec.data:  # a part of the set can be learned by heart
            rows["memoriser"] = memorizer_distance(spec.data, protocol.reference, space, protocol.num_samples)
        for name, each in rows.items():
            if each:
                told = f"{each.value:.3f} [{each.low:.3f}, {each.high:.3f}]  ({each.method})"
                print(f"  {name + ' of ' + metric_name(space):25} {told}")
    print(f"  {record['card']}")
    features = find_evaluator(protocol.evaluator).num_features
    if options.num <= features:
        _one_line_warning(
            f"{options.num} samples for {features} features: their covariance is singular; "
            "the distance says little"
        )


def _list(options: argparse.Namespace) -> None:
    from .training import list_runs

    print("\n".join(list_runs()))


# What executing and drawing need beyond the library, by the name of their import.
_EXTRA = ("IPython", "ipykernel", "matplotlib", "nbformat", "pandas", "papermill", "seaborn")


def _check_extra(*more: str) -> None:
    """Say at once that the extra is missing, not after minutes of training."""
    missing = [name for name in (*_EXTRA, *more) if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} not installed: pip install 'disperse[notebooks]'")


def _reproduce(options: argparse.Namespace) -> None:
    _check_extra()
    from .reproduce import plan, reproduce

    if options.plan:
        print(plan(options.profile, options.train, options.seeds))
    else:
        reproduce(options.profile, options.train, options.seeds)


def _run(options: argparse.Namespace) -> None:
    from .reproduce import complete_run

    complete_run(options.file, job=options.job)


def _notebook(options: argparse.Namespace) -> None:
    _check_extra()
    from .experiments.request import json_or_text
    from .reproduce import execute_notebook

    parameters: dict[str, object] = {"profile": options.profile}
    for given in options.parameters:
        name, equals, text = given.partition("=")
        if not equals:
            raise ConfigError(f"-p {given}: expected NAME=VALUE")
        parameters[name] = json_or_text(text)
    execute_notebook(options.name, parameters, job=options.job)


def _figures(options: argparse.Namespace) -> None:
    _check_extra()
    from .reproduce.publishing import draw_published

    paths = draw_published(options.profile)
    print(f"{len(paths)} files in figures/{options.profile} and papermill_runs/{options.profile}")


def _report(options: argparse.Namespace) -> None:
    _check_extra("nbconvert", "latex2mathml")
    from .reproduce.report import build_report

    print(build_report(options.profile))


def _gallery(options: argparse.Namespace) -> None:
    _check_extra("anywidget", "ipywidgets", *([] if options.settings else ["voila"]))
    from .widgets import read_settings, remake, serve

    if options.settings is None:
        serve(options.profile, seed=options.seed, port=options.port, browser=not options.no_browser)
        return
    for path in remake(read_settings(options.settings), options.out).values():
        print(path)


def _verify(options: argparse.Namespace) -> None:
    _check_extra()
    from .reproduce.verify import verify

    print(verify(options.profile, retrain_count=options.retrain, seed=options.seed))


def _publish(options: argparse.Namespace) -> None:
    _check_extra()
    from .reproduce.publishing import publish_finished

    new, networks = publish_finished(options.profile, options.seeds)
    again = f"draw them with `disperse figures --profile {options.profile}`"
    print(f"{new} new evaluations, {len(networks)} new networks; {again}")


def _queue(options: argparse.Namespace) -> None:
    from .experiments.queue import complete_queue, describe_left, publish_queue

    names = tuple(options.experiments)
    if options.list:
        print(describe_left(names))
    elif options.publish:
        for profile, count in publish_queue(names).items():
            print(f"figures/{profile}/results.jsonl: {count} new evaluations")
    else:
        complete_queue(names, processes=options.processes)
        print(describe_left(names))


COMMANDS = {
    "train": _train,
    "sample": _sample,
    "evaluate": _evaluate,
    "import": _import,
    "export": _export,
    "list": _list,
    "reproduce": _reproduce,
    "run": _run,
    "notebook": _notebook,
    "figures": _figures,
    "publish": _publish,
    "queue": _queue,
    "gallery": _gallery,
    "report": _report,
    "verify": _verify,
}

if __name__ == "__main__":
    sys.exit(main())
