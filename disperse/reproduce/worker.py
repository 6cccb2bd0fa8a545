"""One job alone: complete a run, or execute a notebook; typed by hand or started by the workflow."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import atomic, distributed
from ..errors import Interrupted
from ..experiments.runner import end_gently
from ..folders import output_folder
from ..store import complete, run_folder
from ..training import train
from .jobs import read_job
from .notebooks import execute

Say = Callable[[str], None]


def complete_run(path: Path, *, job: Path | None = None) -> None:
    """Train a run to its end and evaluate it, as far as that isn't done.

    Args:
        path: file of the job, see ``jobs.write_jobs``.
        job: the log, for a job of the workflow; see ``_reporting``.
    """
    own = read_job(path)
    spec = own.spec
    with _reporting(own.title, job) as say:
        started = time.monotonic()
        train(spec, run_folder(spec), progress=False)
        complete(spec, own.evaluations)
        if own.network and distributed.rank() == 0:
            atomic.write_json(own.outputs[-1], {"step": spec.num_steps})
        done = f"{spec.num_steps} steps"
        if distributed.size() == 1:
            done += f", {len(own.evaluations)} evaluations"
        elapsed = time.monotonic() - started
        say(f"{spec.name}, seed {spec.seed}: {done}, {elapsed:.0f} s ({run_folder(spec)})")


def execute_notebook(name: str, parameters: dict[str, object], *, job: Path | None = None) -> None:
    """Execute a notebook into ``papermill_runs/<profile>/``; SIGTERM saves what trains in it.

    Arguments as ``complete_run`` and ``execute``.
    """
    # As Ctrl-C, which stops the kernel too.
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _reporting(name, job) as say:
            elapsed = execute(name, parameters)
            folder = output_folder(str(parameters["profile"]))
            say(f"{name}: executed in {elapsed:.0f} s ({folder / name}.ipynb)")
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def _reporting(title: str, job: Path | None) -> Iterator[Say]:
    """Say how a job ended.

    As a job of the workflow (``job`` is its log), many run at once: from here on, all that the process
    prints goes to the log; the terminal gets one line, when it is done. The process ends with the
    one that started it, so that none trains on when the workflow was killed.
    """
    if job is None:
        yield print if distributed.rank() == 0 else lambda line: None
        return
    if distributed.rank() > 0:
        job = job.with_suffix(f".rank{distributed.rank()}.log")
    job.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(job, "w", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

    def say(line: str) -> None:
        print(line, flush=True)
        if distributed.rank() == 0:
            print(line, file=terminal, flush=True)

    try:
        yield say
    except (Interrupted, KeyboardInterrupt):
        raise  # the workflow says so once for all
    except Exception as error:
        if distributed.rank() == 0:
            print(f"FAILED {title}: {error}", file=terminal, flush=True)
        raise


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    end_gently()


def end_group_with(parent: int) -> None:
    """End this process and its group when ``parent`` is gone, if that is what started it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.killpg(0, signal.SIGTERM)

    if os.getppid() == parent and os.getpgrp() == os.getpid():
        threading.Thread(target=watch, daemon=True).start()
