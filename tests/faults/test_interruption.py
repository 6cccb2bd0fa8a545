"""A run that is killed or told to stop goes on with the same bits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from disperse.errors import Interrupted
from disperse.training import checkpoint as checkpoints
from disperse.training import train

from ..training.cases import TINY, content, run

REPOSITORY = Path(__file__).parents[2]
# Trains in the folder of its first argument, and waits so many seconds within each save.
SCRIPT = """
import os, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from disperse.errors import DisperseError
from disperse.training import checkpoint
from tests.training.cases import run
write = checkpoint.write_json
def slow(path, value):
    print("saving", flush=True)
    time.sleep(float(sys.argv[2]))
    write(path, value)
checkpoint.write_json = slow
try:
    run(Path(sys.argv[1]), checkpoint_interval=5)
except DisperseError as error:
    print(error, flush=True)
    os._exit(error.exit_code)  # what Python tidies up at its end takes a second
"""


def start(folder: Path, delay: float) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(delay)], cwd=REPOSITORY,
                            stdout=subprocess.PIPE, text=True,
                            env={**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"})  # fmt: skip


def wait_for_save(process: subprocess.Popen[str], number: int) -> None:
    assert process.stdout
    for _ in range(number):
        assert process.stdout.readline() == "saving\n"


@pytest.mark.parametrize(("save", "later"), [(1, 0.1), (3, 0.0), (2, 0.35)])
def test_kill_9_during_and_after_a_save(undisturbed: Path, tmp_path: Path, save: int, later: float) -> None:
    process = start(tmp_path, delay=0.3)
    wait_for_save(process, save)
    time.sleep(later)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    run(tmp_path)
    assert content(tmp_path) == content(undisturbed)
    assert not list((tmp_path / "checkpoints").glob(".tmp-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_and_saves(undisturbed: Path, tmp_path: Path, number: int) -> None:
    process = start(tmp_path, delay=0.2)
    wait_for_save(process, 1)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "type the same command to go on" in output
    assert max(checkpoints.saved_steps(tmp_path / "checkpoints")) < 30
    run(tmp_path)
    assert content(tmp_path) == content(undisturbed)


def test_handlers_are_restored(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt(rows: list[dict[str, float]]) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train(TINY, tmp_path, progress=False, on_log=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
