"""Ctrl-C while a notebook runs: one line, no output of a kernel that was stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

# A shell's background jobs ignore SIGINT, and so would what they start.
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from disperse.cli import main
sys.exit(main(["reproduce", "--profile", "smoke"]))
"""


def notebook(folder: Path, *sources: str) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in ('profile = "cpu"', *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    folder.mkdir(parents=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(made, folder / "00_start_here.ipynb")


@pytest.mark.parametrize(
    "busy", ["time.sleep(60)", "while True: sum(range(1000))"], ids=["sleeps", "computes"]
)
def test_an_interrupt_is_one_line(store: Path, busy: str) -> None:
    begun = store / "begun"
    notebook(store / "notebooks", f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\n{busy}")
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND], env={**os.environ, "DISPERSE_HOME": str(store)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        for _ in range(600):
            if begun.exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        time.sleep(0.5)
        assert process.poll() is None, process.communicate()
        os.killpg(process.pid, signal.SIGINT)
        output, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert error == "disperse reproduce: 00_start_here: stopped; type the same command to go on\n"
    assert process.returncode == 130
    assert output == ""
    assert not list((store / "papermill_runs" / "smoke").iterdir())
