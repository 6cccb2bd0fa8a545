"""Snakemake over the store: what is done stays, what fails stops nothing else, what changed is done again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from disperse import atomic
from disperse.reproduce import make_plan
from disperse.reproduce.jobs import log_folder

from ..experiments.cases import record

REPOSITORY = Path(__file__).parents[2]
# Writes what `finish` would, without the seconds that importing the library takes.
FINISH = """
import json, os, pathlib
path = pathlib.Path(os.environ["DISPERSE_HOME"]) / f"papermill_runs/{profile}/NAME.receipt.json"
path.write_text(json.dumps({"token": os.environ["DISPERSE_NOTEBOOK_TOKEN"]}))
"""


def write(store: Path, name: str, source: str = "", parameters: str = 'profile = "cpu"') -> None:
    """A notebook that does ``source`` and finishes."""
    cells = [
        nbformat.v4.new_code_cell(text) for text in (parameters, source, FINISH.replace("NAME", name))
    ]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    (store / "notebooks").mkdir(parents=True, exist_ok=True)
    nbformat.write(made, store / "notebooks" / f"{name}.ipynb")


def reproduce(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "disperse", "reproduce", "--profile", "smoke", *arguments],
        env={**os.environ, "DISPERSE_HOME": str(store)}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def snakemake(store: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), *arguments,
         "--directory", str(store), "--config", "profile=smoke"],
        cwd=REPOSITORY, env={**os.environ, "DISPERSE_HOME": str(store), **environment},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def fill_store() -> None:
    """Evaluations of every run, made up by hand."""
    for run in make_plan("smoke").runs:
        for path, step in zip(run.outputs, sorted({*run.spec.milestones, run.spec.num_steps}), strict=True):
            atomic.write_json(path, record(run.spec, step, run.protocol))


def test_failures_are_told_and_only_what_changed_is_done_again(store: Path) -> None:
    write(store, "good")
    write(store, "bad", "1 / 0")
    # A run that fails: its folder can't be written. `variants` waits for it, the others don't.
    write(store, "variants", parameters='profile = "cpu"\nnum_seeds = 1\nsource = "runs"')
    fill_store()
    broken = make_plan("smoke").runs[-1]
    for path in broken.outputs:
        path.unlink()
    (broken.outputs[0].parents[1] / "lock").mkdir()
    done = reproduce(store)
    assert done.returncode == 5, done
    assert done.stderr == "disperse reproduce: 2 of 8 jobs failed, as above\n"
    lines = done.stdout.splitlines()
    assert any(line.startswith("good: executed in ") for line in lines)
    failed = lines.index("FAILED bad: ZeroDivisionError: division by zero in cell [3]; see "
                         f"{store / 'papermill_runs' / 'smoke' / 'bad.failed.ipynb'}")  # fmt: skip
    assert lines[failed + 1 : failed + 3] == [
        f"  log: {log_folder('smoke') / 'notebook-bad.log'}",
        "  alone: disperse notebook bad --profile smoke",
    ]
    assert f"  alone: disperse {' '.join(broken.arguments)}" in lines
    assert f"not executed: variants (waits for {broken.title})" in lines
    assert f"done: 4 of 5 runs, 1 of 3 notebooks ({store / 'papermill_runs' / 'smoke'})" in lines

    # Mended: the failed notebook and run, and what waited for it; not the good one.
    write(store, "bad")
    fill_store()
    done = reproduce(store)
    assert done.returncode == 0, done
    assert done.stderr == ""
    executed = [line.split(":")[0] for line in done.stdout.splitlines() if ": executed in " in line]
    assert sorted(executed) == ["bad", "variants"]
    receipt = json.loads((store / "papermill_runs" / "smoke" / "bad.receipt.json").read_text())
    assert receipt["token"]

    # And now nothing: neither touched files nor other prose elsewhere; a changed notebook alone.
    for path in store.rglob("*"):
        path.touch()
    done = snakemake(store, "--dry-run", "--cores", "1")
    assert "Nothing to be done" in done.stdout + done.stderr, done
    write(store, "good", "# more")
    done = snakemake(store, "--dry-run", "--cores", "1", "--quiet", "rules")
    assert done.returncode == 0, done
    counts = [line.split() for line in done.stdout.splitlines() if line.startswith(("notebook_", "run_"))]
    assert counts == [["notebook_good", "1"]], done
