"""Methods of your own: Python files that enter objectives, regularisers, losses, data sets or profiles.

``DISPERSE_METHODS`` names them, with the separator of ``PATH`` between; a name that the library doesn't
know makes it import them, in every process of a run, a notebook or a batch. In a process of your own,
importing the file is enough.
"""

import functools
import importlib.util
import os
import sys
from collections.abc import Container
from pathlib import Path

from .errors import ConfigError

VARIABLE = "DISPERSE_METHODS"


def known(name: object, table: Container[object]) -> bool:
    """Whether a table has a name, after the files of ``DISPERSE_METHODS`` had their chance to enter it.

    Raises:
        ConfigError: one of them can't be imported.
    """
    if name in table:
        return True
    for path in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        _import(Path(path).expanduser().resolve())
    return name in table


@functools.cache
def _import(path: Path) -> None:
    name = f"disperse_methods_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"{VARIABLE}: {path} is no Python file; correct it or leave it out")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the file does
        del sys.modules[name]
        raise ConfigError(f"{VARIABLE}: {path}: {type(error).__name__}: {error}") from error
