"""The main job: Snakemake over the run store, on every core of this machine."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from .. import atomic
from ..errors import ConfigError, Interrupted, RunFailedError
from ..experiments import home
from ..experiments.runner import cores
from .jobs import Plan, log_folder, make_plan, missing, write_jobs
from .summary import cost, failed, forget_failures, plan_text, summary


def plan(profile_name: str, train: str, seeds: int) -> str:
    """The runs and notebooks of a profile: what is finished, and what remains."""
    return plan_text(make_plan(profile_name, train, seeds))


def reproduce(profile_name: str, train: str, seeds: int) -> None:
    """Fill the run store and execute the notebooks; what fails stops nothing that doesn't need it.

    Raises:
        ConfigError: an unknown name, or Snakemake isn't installed.
        RunFailedError: after everything else is done; what failed was printed.
        Interrupted: a signal; runs saved their last step.
        LockedError: another process reproduces this profile.
    """
    todo = make_plan(profile_name, train, seeds)
    check_snakemake()
    logs = log_folder(profile_name)
    with atomic.locked(logs / "lock") as lock:
        started = time.monotonic()
        left = sum(bool(missing(run)) for run in todo.runs)
        print(
            f"{left} of {len(todo.runs)} runs to do, {cost(todo)}; {len(todo.notebooks)} notebooks",
            flush=True,
        )
        forget_failures(todo)
        write_jobs(todo)
        own_log = logs / "snakemake.log"
        code = _snakemake(todo, train, lock, own_log)
        print(summary(todo), flush=True)
        print(f"{(time.monotonic() - started) / 60:.1f} min", flush=True)
    broken = failed(todo)
    if broken:
        raise RunFailedError(f"{len(broken)} of {len(todo.jobs)} jobs failed, as above")
    if code:
        last = own_log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise RunFailedError(f"Snakemake ended with code {code}: {''.join(last)}; see {own_log}")


def check_snakemake() -> None:
    """Say at once how to install what is missing.

    Raises:
        ConfigError: Snakemake isn't there.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise ConfigError("snakemake not installed: pip install 'disperse[workflow]'")


def workflow_folder() -> Path:
    """Where ``Snakefile`` and ``profiles/`` are: the clone that this package lies in, or home.

    Raises:
        ConfigError: neither has them.
    """
    for folder in (Path(__file__).resolve().parents[2], home()):
        if (folder / "Snakefile").is_file():
            return folder
    raise ConfigError(f"{home()}: no Snakefile; it comes with the repository: name a clone in DISPERSE_HOME")


def _snakemake(todo: Plan, train: str, lock: int, log: Path) -> int:
    """Run Snakemake in a process group of its own; its jobs print to ours. Returns its exit code.

    It doesn't lock: our lock frees itself when the process dies, also by SIGKILL, and Snakemake, which
    inherits it, holds it until the last job has ended.
    """
    folder = workflow_folder()
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(folder / "Snakefile"),
        "--workflow-profile", str(folder / "profiles" / "default"),
        "--profile", str(folder / "profiles" / "local"), "--directory", str(home()),
        "--cores", str(cores()), "--resources", f"gpu={max(todo.row.gpus, 1)}", "--nolock", "--no-hooks",
        "--config", f"profile={todo.row.name}", f"train={train}", f"seeds={todo.seeds}",
    ]  # fmt: skip
    with open(log, "w", encoding="utf-8") as messages:
        process = subprocess.Popen(
            command,
            stderr=messages,
            start_new_session=True,
            pass_fds=(lock,),
            env={**os.environ, "DISPERSE_ENGINE": str(os.getpid())},
        )
    with _forwarded_signals(process.pid) as received:
        code = process.wait()
    if received:
        _wait_for_group(process.pid)
        raise Interrupted(received[0], "stopped; runs are saved, type the same command to go on")
    return code


@contextlib.contextmanager
def _forwarded_signals(group: int) -> Iterator[list[int]]:
    """Hand Ctrl-C and SIGTERM to every job as SIGTERM: training saves, a notebook stops its kernel."""
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # What is ignored, as SIGHUP under nohup, stays so.
    previous = {
        number: signal.signal(number, forward)
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait_for_group(group: int, timeout_s: float = 20) -> None:
    """Wait until the last process of a group has ended, in case Snakemake ended before its jobs."""
    end = time.monotonic() + timeout_s
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(group, 0)
            time.sleep(0.1)
