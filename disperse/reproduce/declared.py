"""What a notebook declares in its cell ``runs``: the planner reads it, and no registry repeats it."""

import ast
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, DisperseError
from ..experiments.runs import Wanted
from ..spec import RunSpec
from .notebooks import check_parameters, notebook_path, parameters_of, tagged_sources


@dataclass(frozen=True)
class Declared:
    """Runs of a notebook under some parameters.

    Attributes:
        runs: its ``runs``: specifications, or pairs of one and the protocols that evaluate its end.
        networks: its ``networks``: runs whose trained networks it draws from.
    """

    runs: tuple[Wanted, ...] = ()
    networks: tuple[RunSpec, ...] = ()


def declared(name: str, parameters: dict[str, Any]) -> Declared:
    """Execute a notebook's cell ``runs`` with these parameters, others at their defaults; nothing is trained.

    Args:
        name: of the notebook.
        parameters: names of its parameters cell → values; those that it doesn't have are left out.

    Raises:
        ConfigError: unknown notebook, a parameter that doesn't fit, several such cells, or the cell fails.
    """
    path = notebook_path(name)
    defaults = parameters_of(path)
    given = {key: value for key, value in parameters.items() if key in defaults}
    check_parameters(path, given)
    cells = tagged_sources(path, "runs")
    if len(cells) > 1:
        raise ConfigError(f"{path.name}: expected at most one cell tagged runs, found {len(cells)}")
    namespace: dict[str, Any] = {**defaults, **given}
    for source in cells:
        try:
            exec(compile(ast.parse(source), f"{path.name}, cell runs", "exec"), namespace)
        except DisperseError:
            raise
        except Exception as error:  # a notebook may raise anything
            raise ConfigError(f"{path.name}: its cell runs fails: {type(error).__name__}: {error}") from None
    return Declared(tuple(namespace.get("runs", ())), tuple(namespace.get("networks", ())))
