"""The published notebooks: executed on the committed results, with their pictures, values and claims.

``figures/<profile>/`` holds the results, a few networks, and what the notebooks keep; the executed copies lie
in ``papermill_runs/<profile>/``. The published picture is what executing a notebook draws.
"""

import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import atomic
from ..errors import DisperseError, RunFailedError, StorageError
from ..experiments import profile, publish, publish_network, records
from ..experiments.runner import cores, start_worker
from ..experiments.runs import jobs_of, network_path
from ..folders import home, output_folder
from ..spec import RunSpec
from ..store import published_path, run_folder
from ..training.checkpoint import saved_steps
from .declared import declared
from .index import write_index
from .notebooks import EXECUTED, execute, notebook_names, notebook_path, parameters_of

# They show what this machine trains or plays with, not results.
INTERACTIVE = ("01_train", "02_gallery")
WIDGET = "application/vnd.jupyter.widget-view+json"
KEPT = ("results.jsonl", "weights")  # of a folder of figures: what notebooks read


def published_notebooks() -> list[str]:
    """Notebooks that are executed on published results, by name."""
    return [name for name in notebook_names() if name not in INTERACTIVE]


def execute_published(profile_name: str, into: Path, *, progress: bool = True) -> dict[str, str]:
    """Execute every notebook on the published results of a profile, several at a time.

    Args:
        profile_name: row of the ladder.
        into: executed copies go to ``into/notebooks``, what they keep to ``into/<profile>``.
        progress: print a line for each.

    Returns:
        Notebook → why it failed, of those that did.

    Raises:
        StorageError: nothing is published.
    """
    profile(profile_name)
    path = published_path(profile_name)
    if not path.exists():
        raise StorageError(f"{path}: nothing published; run `disperse publish --profile {profile_name}`")
    failures: dict[str, str] = {}
    # spawn: each process has an environment of its own, which its kernel inherits.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores(), mp_context=context, initializer=start_worker) as pool:
        jobs = {pool.submit(_execute, name, profile_name, into): name for name in published_notebooks()}
        for job in as_completed(jobs):
            name = jobs[job]
            try:
                said = f"executed in {job.result():.0f} s"
            except DisperseError as error:
                said = failures[name] = str(error).removeprefix(f"{name}: ")
            if progress:
                print(f"{name}: {said}", flush=True)
    return failures


def _execute(name: str, profile_name: str, into: Path) -> float:
    os.environ["DISPERSE_OUTPUT"] = str(into / "notebooks")
    os.environ["DISPERSE_FIGURES"] = str(into)
    os.environ["OMP_NUM_THREADS"] = "1"  # as many notebooks as cores: more threads would only wait
    parameters: dict[str, object] = {"profile": profile_name}
    if "source" in parameters_of(notebook_path(name)):
        parameters["source"] = "published"
    return execute(name, parameters)


def draw_published(profile_name: str) -> list[Path]:
    """Execute the notebooks on published results, and put what they make in the place of what was there.

    Files that no notebook makes any more go; the index and the README's table of claims are written anew.

    Raises:
        StorageError: nothing is published.
        RunFailedError: a notebook failed; then nothing is replaced.
    """
    figures, executed = home() / "figures" / profile_name, home() / "papermill_runs" / profile_name
    with _beside(figures) as folder:
        failures = execute_published(profile_name, folder)
        if failures:
            for path in (folder / "notebooks").glob("*.failed.ipynb"):
                os.replace(path, output_folder(profile_name) / path.name)
            told = "; ".join(f"{name}: {why.partition('; see ')[0]}" for name, why in failures.items())
            raise RunFailedError(
                f"{len(failures)} notebooks failed, and nothing was replaced: {told}; see "
                f"{output_folder(profile_name)}/*.failed.ipynb"
            )
        for path in (folder / "notebooks").glob("*.ipynb"):
            notebook = cleaned(json.loads(path.read_text(encoding="utf-8")))
            atomic.write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
        for page in (folder / "notebooks").glob("*.html"):
            page.unlink()  # to play with: made wherever the notebook is executed
        made = [*_replace(folder / profile_name, figures), *_replace(folder / "notebooks", executed)]
    return [*made, *write_index(profile_name)]


@contextmanager
def _beside(figures: Path) -> Iterator[Path]:
    """A folder for new files on the same disk as those that they replace."""
    for new in (home() / "build", output_folder(figures.name)):
        new.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="figures-", dir=home() / "build") as folder:
        yield Path(folder)


def _replace(fresh: Path, folder: Path) -> list[Path]:
    """Move what is new into a folder; what isn't made any more goes."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in fresh.iterdir() if path.is_file() and ".receipt." not in path.name}
    for path in folder.iterdir():
        if path.name not in names and path.name not in KEPT and path.is_file():
            path.unlink()
    for name in sorted(names):
        os.replace(fresh / name, folder / name)
    return [folder / name for name in sorted(names)]


def cleaned(notebook: dict[str, Any]) -> dict[str, Any]:
    """An executed notebook without when, where and by which commit it ran: the same results make the same.

    Progress bars and the state of widgets go, too: without a kernel nothing moves.
    """
    own = notebook["metadata"].get("papermill", {})
    notebook["metadata"]["papermill"] = {"parameters": own.get("parameters", {})}
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key == "tags"}
        kept = []
        for output in cell.get("outputs", []):
            if WIDGET in output.get("data", {}):
                output["data"] = {"text/plain": "(a widget: it needs a running notebook)"}
            if "text" in output:
                output["text"] = [line for line in output["text"] if EXECUTED not in line]
            if output.get("name") != "stderr":
                kept.append(output)
        if "outputs" in cell:
            cell["outputs"] = kept
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["id"] = "injected-parameters"  # papermill draws one
    return notebook


def publish_finished(profile_name: str, seeds: int) -> tuple[int, list[Path]]:
    """Append what this machine has finished of notebooks' runs: how many are new, and new networks.

    Args:
        profile_name: row of the ladder.
        seeds: training seeds 0 to ``seeds`` − 1 are looked for.
    """
    row, found, networks = profile(profile_name), [], []
    for name in notebook_names():
        wanted = declared(name, {"profile": profile_name, "num_seeds": seeds, "source": "runs"})
        found += [record for job in jobs_of(wanted.runs, row) for record in records(*job)]
        networks += [spec for spec in wanted.networks if _is_new(spec, profile_name)]
    return publish(profile_name, found), [publish_network(spec, profile_name) for spec in networks]


def _is_new(spec: RunSpec, profile_name: str) -> bool:
    """Whether a network is trained here and not among the published ones."""
    there = saved_steps(run_folder(spec) / "checkpoints")
    return spec.num_steps in there and not network_path(spec, profile_name).exists()
