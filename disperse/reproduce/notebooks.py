"""Execute notebooks headlessly with papermill, and judge them by what their last cell writes.

papermill runs on after an unknown parameter and returns normally after ``sys.exit(0)``. So parameters
are checked before a kernel starts, and a run counts only if the notebook's last cell, a call of
``finish``, has written its receipt.
"""

import ast
import contextlib
import difflib
import gc
import json
import keyword
import logging
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .. import atomic
from ..device import resolve_device
from ..errors import ConfigError, Interrupted, RunFailedError
from ..experiments import profile as check_profile
from ..folders import figures_folder, home, output_folder
from ..store import commit, device_name

TOKEN = "DISPERSE_NOTEBOOK_TOKEN"
EXECUTED = "executed with profile"  # in the line that says by which commit and where
TIMEOUT_S = 7200  # longest time for one cell


def notebook_names() -> list[str]:
    """Every notebook of the repository, by name.

    Raises:
        ConfigError: there are none.
    """
    folder = home() / "notebooks"
    names = sorted(path.stem for path in folder.glob("*.ipynb"))
    if not names:
        raise ConfigError(
            f"{folder}: no notebooks; they come with the repository: run in a clone of it, "
            "or name one in DISPERSE_HOME"
        )
    return names


def notebook_path(name: str) -> Path:
    """A notebook of the repository by name.

    Raises:
        ConfigError: there is none of that name; the nearest is suggested. Or there are none at all.
    """
    names = notebook_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"notebook {name!r}: expected one of {', '.join(names)}{hint}")
    return home() / "notebooks" / f"{name}.ipynb"


def finish(name: str, profile: str, *, claims: Any = None, **outputs: Any) -> None:
    """Last call of every notebook: write its receipt and say what executed it; pictures say whose numbers.

    Args:
        name: of the notebook.
        profile: its row of the ladder.
        claims: table of ``results.judge``: kept as ``<name>.claims.json`` beside the pictures.
        outputs: values worth keeping: paths and numbers.
    """
    if claims is not None:
        atomic.write_json(figures_folder(profile) / f"{name}.claims.json", claims.to_dict("records"))
    facts = {
        "notebook": name,
        "profile": profile,
        "commit": commit(),
        "torch": torch.__version__,
        "device": device_name(resolve_device()),
        "token": os.environ.get(TOKEN, ""),
        "outputs": {key: str(value) if isinstance(value, Path) else value for key, value in outputs.items()},
    }
    atomic.write_json(output_folder(profile) / f"{name}.receipt.json", facts)
    made_with = f"commit {facts['commit']}, torch {facts['torch']}, {facts['device']}"
    print(f"{name}: {EXECUTED} {profile}; {made_with}")


def parameters_of(path: Path) -> dict[str, Any]:
    """Names and default values in a notebook's ``parameters`` cell.

    Raises:
        ConfigError: there is no such cell, or it holds more than assignments of literals.
    """
    cells = tagged_sources(path, "parameters")
    if len(cells) != 1:
        raise ConfigError(f"{path.name}: expected one cell tagged parameters, found {len(cells)}")
    defaults = {}
    try:
        for node in ast.parse(cells[0]).body:
            if (
                not isinstance(node, ast.Assign)
                or not isinstance(node.targets[0], ast.Name)
                or node.targets[1:]
            ):
                raise ValueError
            defaults[node.targets[0].id] = ast.literal_eval(node.value)
    except (ValueError, SyntaxError):
        raise ConfigError(f"{path.name}: the parameters cell may hold assignments of literals only") from None
    return defaults


def tagged_sources(path: Path, tag: str) -> list[str]:
    """Sources of a notebook's code cells that have this tag.

    Raises:
        ConfigError: it is no notebook.
    """
    try:  # as plain JSON: nbformat takes seconds to import
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return ["".join(cell["source"]) for cell in cells if tag in cell["metadata"].get("tags", [])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: not a notebook of format 4 ({type(error).__name__}: {error})") from None


def check_parameters(path: Path, parameters: dict[str, Any]) -> None:
    """Refuse parameters that the notebook doesn't have, or of another type than its default.

    Raises:
        ConfigError: names the parameter, its value, and the nearest name or the expected type.
    """
    defaults = parameters_of(path)
    for name, value in parameters.items():
        if not name.isidentifier() or keyword.iskeyword(name) or name not in defaults:
            near = difflib.get_close_matches(name, defaults, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"{path.stem}: unknown parameter {name!r}; expected one of {', '.join(defaults)}{hint}"
            )
        default = defaults[name]
        fits = type(value) is type(default) or (type(default) is float and type(value) is int)
        if not fits or (isinstance(value, float) and value != value):
            raise ConfigError(
                f"{path.stem}: {name} = {value!r}: expected {type(default).__name__}, as in "
                f"{name} = {default!r}"
            )


def execute(name: str, parameters: dict[str, Any], *, timeout_s: int = TIMEOUT_S) -> float:
    """Run a notebook into ``papermill_runs/<profile>/<name>.ipynb``; returns seconds.

    The output replaces an earlier one only after success; a failed one stays beside it as
    ``<name>.failed.ipynb``.

    Args:
        name: of the notebook.
        parameters: checked against its parameters cell; ``profile`` chooses the folder.
        timeout_s: longest time for one cell.

    Raises:
        ConfigError: unknown notebook, or a parameter that doesn't fit.
        RunFailedError: a cell failed, the kernel died, or the last cell wrote no receipt.
    """
    import papermill  # slow to import, needed only here

    path = notebook_path(name)
    check_parameters(path, parameters)
    profile = parameters.get("profile", parameters_of(path)["profile"])
    check_profile(profile)  # before it becomes the name of a folder
    folder = output_folder(profile)
    folder.mkdir(parents=True, exist_ok=True)
    receipt, failed = folder / f"{name}.receipt.json", folder / f"{name}.failed.ipynb"
    running = folder / f"{atomic.TEMPORARY_PREFIX}{uuid.uuid4().hex}.ipynb"
    token, started = uuid.uuid4().hex, time.monotonic()
    os.environ[TOKEN] = token
    try:
        with _muted("papermill", "asyncio"):
            papermill.execute_notebook(
                str(path),
                str(running),
                parameters=parameters,
                kernel_name="python3",
                cwd=str(path.parent),
                progress_bar=False,
                execution_timeout=timeout_s,
                log_output=False,
                extra_arguments=["--log-level=CRITICAL"],  # the kernel's own notices are not ours
            )
        if not receipt.exists() or json.loads(receipt.read_text(encoding="utf-8"))["token"] != token:
            raise RunFailedError(f"{name}: ended without its last cell; see {failed}")
        os.replace(running, folder / f"{name}.ipynb")
        failed.unlink(missing_ok=True)
    except KeyboardInterrupt:
        # By now papermill has interrupted the kernel, so what trained in it has saved its last step.
        raise Interrupted(signal.SIGINT, f"{name}: stopped; type the same command to go on") from None
    except Exception as error:  # papermill, nbclient and the kernel raise many kinds
        receipt.unlink(missing_ok=True)  # it is the sign of success
        if running.exists():
            os.replace(running, failed)
        if isinstance(error, RunFailedError):
            raise
        raise RunFailedError(f"{name}: {_reason(error)}; see {failed}") from None
    finally:
        running.unlink(missing_ok=True)
        del os.environ[TOKEN]
    return time.monotonic() - started


def with_parameters(name: str, parameters: dict[str, Any], folder: Path) -> Path:
    """A copy of a notebook that has these parameters set, to be opened or served; not executed.

    Raises:
        ConfigError: unknown notebook, or a parameter that doesn't fit.
    """
    import nbformat  # all are slow to import
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    path = notebook_path(name)
    check_parameters(path, parameters)
    with _muted("papermill"):
        copy = parameterize_notebook(load_notebook_node(str(path)), parameters, kernel_name="python3")
    target = folder / path.name
    atomic.write_text(target, nbformat.writes(copy) + "\n")
    return target


@contextlib.contextmanager
def _muted(*loggers: str) -> Iterator[None]:
    """Silence what others log of an end that is told in one line, also of what the collector finds."""
    levels = {logger: logger.level for logger in map(logging.getLogger, loggers)}
    try:
        for logger in levels:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    except KeyboardInterrupt:
        interrupted = True
    else:
        interrupted = False
    finally:
        gc.collect()  # an abandoned task of the kernel's client complains when it is collected
        for logger, level in levels.items():
            logger.setLevel(level)
    if interrupted:
        raise KeyboardInterrupt


def _reason(error: Exception) -> str:
    """What went wrong and in which cell, in one line."""
    if hasattr(error, "ename"):  # papermill's report of an error in a cell; str() of it is a traceback
        text = " ".join(f"{error.ename}: {getattr(error, 'evalue', '')}".split())[:300]
        return f"{text} in cell [{getattr(error, 'exec_count', '?')}]"
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
