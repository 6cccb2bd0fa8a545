"""Where things lie: the home of runs and results, the data that a user has, and what can be made again."""

import os
from pathlib import Path


def home() -> Path:
    """The folder that holds ``runs/``, ``figures/`` and ``papermill_runs/``.

    ``$DISPERSE_HOME`` if set; else the repository that this package lies in; else the current folder.
    """
    named = os.environ.get("DISPERSE_HOME")
    if named:
        return Path(named).expanduser().resolve()
    repository = Path(__file__).resolve().parents[1]
    return repository if (repository / "notebooks").is_dir() else Path.cwd()


def data_home() -> Path:
    """The folder of the data sets that a user brings: ``$DISPERSE_DATA`` if set, else ``home()/data``.

    An environment variable reaches notebooks, worker processes and batch jobs alike, and is no part of a run.
    """
    named = os.environ.get("DISPERSE_DATA")
    return Path(named).expanduser().resolve() if named else home() / "data"


def data_cache() -> Path:
    """Where decoded data sets lie; what is here can be made again from ``data_home()``."""
    return home() / "build" / "data"


def output_folder(profile: str) -> Path:
    """Where this machine's executed notebooks and their figures go, or ``$DISPERSE_OUTPUT``."""
    return Path(os.environ.get("DISPERSE_OUTPUT") or home() / "papermill_runs" / "here" / profile)


def figures_folder(profile: str) -> Path:
    """Where figures of a profile are kept: beside the notebook that drew them, or ``$DISPERSE_FIGURES``."""
    named = os.environ.get("DISPERSE_FIGURES")
    return Path(named).expanduser().resolve() / profile if named else output_folder(profile)
