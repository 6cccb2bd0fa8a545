"""Arguments of the command line."""

import argparse
import functools
from pathlib import Path
from typing import Any, NoReturn

from . import __version__
from .sampling import KNOBS, Knob

# Options of ``train`` that belong to the term.
TERM_OPTIONS = ("lam", "tau", "eps", "local_batch", "blocks", "max_dt")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def _add_knobs(of: argparse.ArgumentParser) -> None:
    """An option for each setting of the sampler; one that isn't given leaves nothing behind."""
    group = of.add_argument_group("sampler")
    for name, knob in KNOBS.items():
        how: dict[str, Any] = {"action": "store_true"}
        if knob.read is not None:
            how = {"type": functools.partial(_read, knob), "metavar": knob.typed or None}
        option, about = f"--{(knob.option or name).replace('_', '-')}", knob.about.replace("%", "%%")
        group.add_argument(option, dest=name, default=argparse.SUPPRESS, help=about, **how)


def _read(knob: Knob, text: str) -> Any:
    assert knob.read is not None  # a flag has no text
    try:
        return knob.read(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {knob.typed or knob.read.__name__}") from None


def given_knobs(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of the sampler that were given."""
    return {name: value for name, value in vars(options).items() if name in KNOBS}


def parser() -> argparse.ArgumentParser:
    """The commands, each with its options, what it does and an example."""
    top = _Parser(prog="disperse", description="Dispersive Loss: train, sample, evaluate, reproduce.")
    top.add_argument("--version", action="version", version=f"disperse {__version__}")
    commands = top.add_subparsers(dest="command", required=True, parser_class=_Parser, metavar="COMMAND")

    def command(name: str, about: str, example: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=about, epilog=f"example: {example}")

    def data_path(of: argparse.ArgumentParser) -> None:
        of.add_argument("--data-path", metavar="FOLDER", help="folder that holds the data sets which you "
                        "bring, such as cifar10; $DISPERSE_DATA by default")  # fmt: skip

    train = command(
        "train", "Train one run, or go on with it.",
        "disperse train --profile cpu --variant infonce-l2 --lam 0.5 --seed 3 --set optimizer.lr=0.002",
    )  # fmt: skip
    train.add_argument("--profile", default="cpu", help="row of the ladder that gives the defaults")
    train.add_argument("--variant", default="none", help="dispersive variant, or none for the baseline")
    train.add_argument("--view", default="none", help="independent or restricted: the variant's contrastive "
                       "parent, with such a second view; none is the dispersive term")  # fmt: skip
    # Given or not, and to which variant: so no defaults here. They are those of the paper's setting.
    train.add_argument("--lam", type=float, help="weight of the dispersive term; 0.5 by default")
    train.add_argument("--tau", type=float, help="temperature of the InfoNCE variants; 0.5 by default")
    train.add_argument("--eps", type=float, help="margin of the hinge; 1 by default")
    train.add_argument("--local-batch", type=int, metavar="ROWS",
                       help="rows that see each other; 16 by default, 0 is the whole batch")  # fmt: skip
    train.add_argument("--blocks", metavar="WHICH", help="quarter (the default), last, all, a fraction of "
                       "the depth such as 0.5, or indices from 0 such as 0,2")  # fmt: skip
    train.add_argument("--max-dt", type=float, help="bound of a restricted second view, as a share of the "
                       "range of times; 0.005 by default")  # fmt: skip
    train.add_argument("--objective", help="sit, dit, meanflow or shortcut, on a network of the profile's "
                       "size; its settings by --set objective.FIELD=VALUE")  # fmt: skip
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--name", default=None, help="what to call the run; the variant by default")
    train.add_argument("--steps", type=int, default=None, help="length; the profile's by default")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    train.add_argument("--precision", default=None, help="fp32 or bf16; the profile's by default")
    train.add_argument("--compile", action="store_true", help="compile the network")
    train.add_argument("--set", dest="changes", action="append", default=[], metavar="FIELD=VALUE",
                       help="any field of the run's spec, e.g. optimizer.lr=0.002; repeatable")  # fmt: skip
    train.add_argument("--out", type=Path, default=None, help="run folder; in the store by default")
    data_path(train)

    sample = command(
        "sample", "Sample images from a run to disk, batch by batch; repeat to resume.",
        "disperse sample infonce-l2 --num 1000 --batch 250 --guidance 1.5 --out build/samples",
    )  # fmt: skip
    sample.add_argument("source", metavar="RUN", help="run folder, its name or a part of it, or a model file")
    sample.add_argument("--seed", type=int, default=None, help="training seed, among runs of one name")
    sample.add_argument("--num", type=int, required=True, help="seeds 0 to NUM-1")
    sample.add_argument("--batch", type=int, default=256, help="images on the device at a time")
    sample.add_argument("--out", type=Path, required=True)
    sample.add_argument("--step", type=int, default=None, help="checkpoint; the newest by default")
    sample.add_argument("--weights", default=None, help="raw, or an average the run keeps; power-0.1")
    sample.add_argument("--label", type=int, default=None, help="one class for all; random by default")
    sample.add_argument("--device", default="auto")
    _add_knobs(sample)

    evaluate = command(
        "evaluate", "Measure a run: distance, precision, recall, class agreement.",
        "disperse evaluate baseline --num 1000 --weights raw",
    )  # fmt: skip
    evaluate.add_argument("source", metavar="RUN", help="run folder, its name, or a part of the name")
    evaluate.add_argument("--seed", type=int, default=None, help="training seed, among runs of one name")
    evaluate.add_argument("--step", type=int, default=None, help="checkpoint; the newest by default")
    evaluate.add_argument("--num", type=int, default=1000, help="samples")
    evaluate.add_argument("--weights", default="power-0.1", help="raw, or an average the run keeps")
    evaluate.add_argument("--device", default="auto")
    _add_knobs(evaluate)
    data_path(evaluate)

    bring = command(
        "import", "Read a published checkpoint (.pt, weights only; .safetensors) into a model file.",
        "disperse import DiT-XL-2-256x256.pt --system dit --out dit-xl-2.safetensors",
    )  # fmt: skip
    bring.add_argument("file", type=Path)
    bring.add_argument("--out", type=Path, required=True, help="model file, .safetensors")
    bring.add_argument("--system", default=None, help="dit or sit, whose files look alike")
    bring.add_argument("--weights", default=None, help="ema (the default) or model, where both are there")
    bring.add_argument("--num-heads", type=int, default=None, help="where the width is no published one")
    bring.add_argument("--reversed-time", action=argparse.BooleanOptionalAction, default=None,
                       help="a SiT network that counts from data to noise, as REPA's do")  # fmt: skip

    export = command(
        "export", "Write a run's weights as the published loaders read them.",
        "disperse export baseline --out baseline.pt",
    )  # fmt: skip
    export.add_argument("source", metavar="RUN", help="run folder, its name or a part of it, or a model file")
    export.add_argument("--seed", type=int, default=None, help="training seed, among runs of one name")
    export.add_argument("--step", type=int, default=None, help="checkpoint; the newest by default")
    export.add_argument("--weights", default=None, help="raw, or an average the run keeps; power-0.1")
    export.add_argument("--out", type=Path, required=True)

    command(
        "list", "List the runs of the store: name, seed, steps, evaluations.",
        "disperse list",
    )  # fmt: skip

    reproduce = command(
        "reproduce", "Train what is missing, then execute the notebooks.",
        "disperse reproduce --profile cpu --train all --seeds 3",
    )  # fmt: skip
    reproduce.add_argument("--profile", default="cpu")
    reproduce.add_argument("--train", default="headline", help="notebooks whose runs are trained here: "
                           "headline (the default), all, or names such as variants,blocks")  # fmt: skip
    reproduce.add_argument("--seeds", type=int, default=1, help="training seeds 0 to SEEDS-1")
    reproduce.add_argument("--plan", action="store_true", help="print what is done, what remains and an "
                           "estimate of its core-hours; run nothing")  # fmt: skip
    data_path(reproduce)

    run = command(
        "run", "Complete one run of a plan: train it to its end, evaluate it as the notebooks ask.",
        "disperse run papermill_runs/here/cpu/jobs/1bc3877a11e7.json",
    )  # fmt: skip
    run.add_argument("file", type=Path, help="of the job; `disperse reproduce` writes one for each run")

    notebook = command(
        "notebook", "Execute one notebook into papermill_runs/PROFILE/.",
        "disperse notebook norm_cost --profile cpu -p num_seeds=3 -p source=runs",
    )  # fmt: skip
    notebook.add_argument("name", metavar="NAME", help="its file's name without .ipynb")
    notebook.add_argument("--profile", default="cpu")
    notebook.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE",
                          help="any name of its parameters cell; repeatable")  # fmt: skip
    for alone in (run, notebook):
        alone.add_argument("--job", type=Path, default=None, metavar="LOG", help="for the workflow: print to "
                           "LOG but for one line at the end, and end when the caller does")  # fmt: skip
        data_path(alone)

    figures = command(
        "figures", "Execute the notebooks on the published results: pictures, values, claims; trains no run.",
        "disperse figures --profile cpu",
    )  # fmt: skip
    figures.add_argument("--profile", default="cpu")

    gallery = command(
        "gallery", "Serve the gallery of samples as a page, or make again the files that it exported.",
        "disperse gallery --settings build/gallery/gallery-1a2b3c4d.json",
    )  # fmt: skip
    gallery.add_argument("--profile", default="cpu")
    gallery.add_argument("--seed", type=int, default=0, help="training seed of the runs shown first")
    gallery.add_argument("--port", type=int, default=8866)
    gallery.add_argument("--no-browser", action="store_true", help="serve, but open no browser")
    gallery.add_argument("--settings", type=Path, default=None, metavar="FILE",
                         help="JSON that a gallery exported: write its files again, no page")  # fmt: skip
    gallery.add_argument("--out", type=Path, default=None, help="where those go; build/gallery by default")

    report = command(
        "report", "Make a static site of the executed notebooks, to read without a server or network.",
        "disperse report --profile cpu",
    )  # fmt: skip
    report.add_argument("--profile", default="cpu")

    verify = command(
        "verify", "Execute the notebooks on the published results again, and compare with what is published.",
        "disperse verify --profile cpu --retrain 1",
    )  # fmt: skip
    verify.add_argument("--profile", default="cpu")
    verify.add_argument("--retrain", type=int, default=0, metavar="N",
                        help="also train N published entries again, chosen at random")  # fmt: skip
    verify.add_argument(
        "--seed", type=int, default=None, help="of that choice; another every time by default"
    )

    publish = command(
        "publish", "Append this machine's finished evaluations to the published results.",
        "disperse publish --profile cpu --seeds 3",
    )  # fmt: skip
    publish.add_argument("--profile", default="cpu")
    publish.add_argument("--seeds", type=int, default=16, help="look for seeds 0 to SEEDS-1")

    queue = command(
        "queue", "Complete the runs of docs/rules.md in their order, at low priority; goes on if stopped.",
        "disperse queue --processes 2",
    )  # fmt: skip
    queue.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="such as E4; all by default")
    queue.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    queue.add_argument("--list", action="store_true", help="print what is done and left; run nothing")
    queue.add_argument("--publish", action="store_true", help="append finished evaluations to the published "
                       "results; run nothing")  # fmt: skip
    data_path(queue)
    return top
