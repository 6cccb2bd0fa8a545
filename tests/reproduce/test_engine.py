"""Snakemake over the store: what is done stays, what fails stops nothing else, what changed is done again."""

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from disperse import atomic
from disperse.experiments import PROFILES
from disperse.reproduce import cluster, make_plan
from disperse.reproduce.jobs import RunJob, log_folder

from ..experiments.cases import record
from .toys import PAIR, write

REPOSITORY = Path(__file__).parents[2]


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
        for path, (step, protocol) in zip(run.outputs, run.evaluations, strict=True):
            atomic.write_json(path, record(run.spec, step, protocol))


def test_failures_are_told_and_only_what_changed_is_done_again(store: Path) -> None:
    write(store, "good")
    write(store, "bad", "1 / 0")
    # A run that fails: its folder can't be written. `variants` waits for it, the others don't.
    write(store, "variants", runs=PAIR)
    fill_store()
    broken = make_plan("smoke").runs[-1]
    for path in broken.outputs:
        path.unlink()
    (broken.outputs[0].parents[1] / "lock").mkdir()
    done = reproduce(store)
    assert done.returncode == 5, done
    assert done.stderr == "disperse reproduce: 2 of 5 jobs failed, as above\n"
    lines = done.stdout.splitlines()
    assert any(line.startswith("good: executed in ") for line in lines)
    failed = lines.index("FAILED bad: ZeroDivisionError: division by zero in cell [3]; see "
                         f"{store / 'papermill_runs' / 'here' / 'smoke' / 'bad.failed.ipynb'}")  # fmt: skip
    assert lines[failed + 1 : failed + 3] == [
        f"  log: {log_folder('smoke') / 'notebook-bad.log'}",
        "  alone: disperse notebook bad --profile smoke",
    ]
    assert f"  alone: disperse {' '.join(broken.arguments)}" in lines
    assert f"not executed: variants (waits for {broken.title})" in lines
    assert f"done: 1 of 2 runs, 1 of 3 notebooks ({store / 'papermill_runs' / 'here' / 'smoke'})" in lines

    # Mended: the failed notebook and run, and what waited for it; not the good one.
    write(store, "bad")
    fill_store()
    done = reproduce(store)
    assert done.returncode == 0, done
    assert done.stderr == ""
    executed = [line.split(":")[0] for line in done.stdout.splitlines() if ": executed in " in line]
    assert sorted(executed) == ["bad", "variants"]
    receipt = json.loads((store / "papermill_runs" / "here" / "smoke" / "bad.receipt.json").read_text())
    assert receipt["token"]

    # A changed notebook is executed again, it alone: what a checkout touches is as it was.
    for path in store.rglob("*"):
        path.touch()
    write(store, "good", "# more")
    done = snakemake(store, "--dry-run", "--cores", "1", "--quiet", "rules")
    assert done.returncode == 0, done
    jobs = {line.split()[0] for line in done.stdout.splitlines() if line.startswith(("notebook_", "run_"))}
    assert jobs == {"notebook_good"}, done


# A cluster that takes down what it is asked for, and is full.
SBATCH = '#!/bin/sh\nprintf "%s\\n" "$@" ---- >> "$ASKED"\necho "sbatch: error: no room" >&2\nexit 1\n'
# Snakemake on a row of the ladder that asks for several accelerators.
ON_GPUS = """
import dataclasses, sys
from disperse.experiments import PROFILES
from disperse.reproduce import cluster
from snakemake.cli import main
PROFILES["smoke"] = dataclasses.replace(PROFILES["smoke"], gpus=8, memory_gb=64, hours=1)
cluster.MARGIN = 1e8
main(sys.argv[1:])
"""


def test_slurm_is_asked_for_what_each_job_needs(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, "good")
    write(store, "variants", runs=PAIR)
    row = dataclasses.replace(PROFILES["smoke"], gpus=8, memory_gb=64, hours=1)
    monkeypatch.setitem(PROFILES, "smoke", row)
    monkeypatch.setattr(cluster, "MARGIN", 1e8)  # so that toys ask for hours
    found = make_plan("smoke")
    for name, text in {"sbatch": SBATCH, "sinfo": "#!/bin/sh\n", "sacct": "#!/bin/sh\n"}.items():
        atomic.write_text(tmp_path / "bin" / name, text)
        (tmp_path / "bin" / name).chmod(0o755)
    asked = tmp_path / "asked"
    environment = {**os.environ, "DISPERSE_HOME": str(store), "ASKED": str(asked),
                   "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}  # fmt: skip

    def on_slurm(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", ON_GPUS, "--snakefile", str(REPOSITORY / "Snakefile"),
             "--workflow-profile", str(REPOSITORY / "profiles" / "default"),
             "--profile", str(REPOSITORY / "profiles" / "slurm"), "--slurm-no-account", *more,
             "--slurm-logdir", str(tmp_path / "logs"), "--directory", str(store), "--config", "profile=smoke"],
            cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    dry = on_slurm("--dry-run")
    assert dry.returncode == 0, dry
    assert not asked.exists()  # nothing was submitted
    printed = {text.split(":")[0]: text for text in re.split(r"^rule ", dry.stdout, flags=re.MULTILINE)[1:]}
    done = on_slurm()
    assert done.returncode == 1, done
    submitted = {job.splitlines()[-1]: job.splitlines() for job in asked.read_text().split("----\n")[:-1]}
    assert len(submitted) == len(found.runs) + 1, done  # `variants` waits for its runs
    minutes = set()
    for job in found.jobs:
        if job.title == "variants":
            continue
        name = f"run_{job.spec.fingerprint}" if isinstance(job, RunJob) else f"notebook_{job.title}"
        (options,) = [options for script, options in submitted.items() if name in script]
        asked_for = cluster.asked(job, row)
        assert f"-t {asked_for['runtime']} --mem 65536" in " ".join(options), options
        assert f"--gpus={8 if isinstance(job, RunJob) else 1}" in options, options
        minutes.add(asked_for["runtime"])
        # What the dry run prints is what was asked for, and the command.
        gpus = 8 if isinstance(job, RunJob) else 1
        for told in (f"mem_mb={64 * 1024},", f"runtime={asked_for['runtime']},", f"gpu={gpus}"):
            assert told in printed[name].split("resources: ")[1].splitlines()[0] + ",", printed[name]
        assert shlex.join(["-m", "disperse", *job.arguments, "--job", str(job.log)]) in printed[name]
        assert ("torchrun --standalone --nproc-per-node 8" in printed[name]) == isinstance(job, RunJob)
    assert len(minutes) == 2  # of a run, and of a notebook that evaluates nothing


KUBECTL = """#!/bin/sh
case "$1" in
  create) cat > "$ASKED"; printf disperse-7 ;;
  get) printf %s "$STATE" ;;
esac
"""


def test_kubernetes_is_asked_for_what_a_job_needs(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "kubectl", KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    folder, asked = REPOSITORY / "profiles" / "kubernetes", tmp_path / "asked"

    def call(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        known = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ASKED": str(asked), **environment}
        return subprocess.run(
            [folder / name, *arguments], cwd=tmp_path, env=known, capture_output=True, text=True, check=False
        )

    options = ("65536", "720", "4", "8", "/clone/.snakemake/tmp/job.sh")
    done = call("submit", *options, DISPERSE_IMAGE="python:3.11", DISPERSE_VOLUME="claim")
    assert (done.returncode, done.stdout) == (0, "disperse-7"), done
    job = yaml.safe_load(asked.read_text())["spec"]
    assert job["activeDeadlineSeconds"] == 720 * 60
    (container,) = job["template"]["spec"]["containers"]
    assert container["command"] == ["bash", "/clone/.snakemake/tmp/job.sh"]
    assert container["workingDir"] == container["volumeMounts"][0]["mountPath"] == str(tmp_path)
    assert container["resources"]["limits"] == {"memory": "65536Mi", "nvidia.com/gpu": "8"}
    assert job["template"]["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "claim"}
    done = call("submit", *options, DISPERSE_IMAGE="python:3.11")
    assert done.returncode != 0
    assert "the claim of the volume" in done.stderr
    for state, word in {"1/": "success", "/1": "failed", "/": "running"}.items():
        assert call("status", "disperse-7", STATE=state).stdout == f"{word}\n"
