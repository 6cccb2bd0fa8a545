"""Ctrl-C while a notebook runs: one line, no output of a kernel that was stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from disperse import atomic
from disperse.reproduce import make_plan

# A shell's background jobs ignore SIGINT, and so would what they start.
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from disperse.cli import main
sys.exit(main([*sys.argv[1:], "--profile", "smoke"]))
"""


def notebook(folder: Path, *sources: str) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in ('profile = "cpu"', *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    folder.mkdir(parents=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(made, folder / "00_start_here.ipynb")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def fill_store() -> None:
    """Evaluations of every run, made up by hand: the notebook is all there is to do."""
    for run in make_plan("smoke").runs:
        for path in run.outputs:
            atomic.write_json(path, {})


@pytest.mark.parametrize(
    ("arguments", "busy", "told"),
    [
        (["notebook", "00_start_here"], "while True: sum(range(1000))", "00_start_here: stopped;"),
        (["reproduce"], "time.sleep(600)", "stopped; runs are saved,"),
    ],
    ids=["a notebook that computes", "the workflow while one sleeps"],
)
def test_an_interrupt_is_one_line(store: Path, arguments: list[str], busy: str, told: str) -> None:
    begun = store / "begun"
    notebook(
        store / "notebooks", f"import os, pathlib, time\npathlib.Path({str(begun)!r}).touch()\n"
        f"pathlib.Path({str(begun)!r}).write_text(str(os.getpid()))\n{busy}",
    )  # fmt: skip
    fill_store()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments], env={**os.environ, "DISPERSE_HOME": str(store)},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        for _ in range(1800):
            if (begun.exists() and begun.read_text()) or process.poll() is not None:
                break
            time.sleep(0.1)
        time.sleep(0.5)
        assert process.poll() is None, process.communicate()
        os.killpg(process.pid, signal.SIGINT)
        output, error = process.communicate(timeout=120)
    finally:
        process.kill()
    assert error == f"disperse {arguments[0]}: {told} type the same command to go on\n"
    assert process.returncode == 130
    assert "FAILED" not in output
    left = {path.name for path in (store / "papermill_runs" / "here" / "smoke").iterdir()}
    assert left <= {"logs", "jobs"}
    for _ in range(100):  # no kernel computes on
        if not _alive(int(begun.read_text())):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the kernel is alive")
