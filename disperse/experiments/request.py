"""From what a user asks for, on the command line or in a notebook, to the specification of a run."""

import json
from collections.abc import Iterable
from typing import Any

from ..errors import ConfigError, unknown
from ..losses import VARIANTS
from ..objectives import OBJECTIVES
from ..plugins import known
from ..regularizers import ContrastiveSpec, DispersiveSpec
from ..regularizers.paper import VIEWS, contrastive_term, dispersive_term
from ..spec import RunSpec
from .profiles import profile


def requested_spec(
    profile_name: str,
    *,
    variant: str = "none",
    view: str = "none",
    objective: str | None = None,
    seed: int = 0,
    name: str | None = None,
    num_steps: int | None = None,
    changes: Iterable[str] = (),
    run: dict[str, Any] | None = None,
    **term: Any,
) -> RunSpec:
    """The run of a profile with what was asked for; all else is the profile's and the paper's.

    Args:
        profile_name: row of the ladder.
        variant: of the dispersive term; ``"none"`` is the baseline.
        view: ``"independent"`` or ``"restricted"``: the variant's contrastive parent, with this second view.
        objective: kind of it, such as ``"meanflow"``, on the network of the same size.
        seed, name, num_steps: of the run; the name is the variant's by default, the length the profile's.
        changes: ``"a.b=value"``, any field of the specification; the value is JSON, or text if it isn't.
        run: further fields of ``RunSpec``; None where not given.
        term: fields of the term that are given, None where not: lam, tau, eps, blocks, local_batch (0: the
            whole batch), max_dt.

    Raises:
        ConfigError: a name is unknown, or an option doesn't belong to what was asked for.
    """
    if objective is not None and not known(objective, OBJECTIVES):
        raise unknown("--objective", objective, OBJECTIVES)
    terms = _terms(variant, view, {key: value for key, value in term.items() if value is not None})
    label = "baseline" if not terms else variant if view == "none" else f"{variant}-{view}"
    spec = profile(profile_name).spec(
        label if name is None else name, seed, *terms, system=objective or "sit"
    )
    given = {field: value for field, value in (run or {}).items() if value is not None}
    values = spec.model_dump(mode="json") | given
    if num_steps is not None:
        values |= {"num_steps": num_steps, "milestones": []}
    for change in changes:
        assign(values, change)
    return RunSpec.parse(values)


def _terms(variant: str, view: str, given: dict[str, Any]) -> tuple[DispersiveSpec | ContrastiveSpec, ...]:
    """The term of the paper but for what was given; none for the baseline."""
    if view not in ("none", *VIEWS):
        raise unknown("--view", view, ("none", *VIEWS))
    if variant == "none":
        asked = [*given, *(["view"] if view != "none" else [])]
        if asked:
            raise ConfigError(f"{_flag(asked[0])}: the baseline has no term; name its --variant")
        return ()
    if "max_dt" in given and view != "restricted":
        raise ConfigError("--max-dt: bounds the second view of --view restricted alone")
    if "blocks" in given:
        given["blocks"] = _blocks(given["blocks"])
    if given.get("local_batch") == 0:
        given["local_batch"] = None
    views = [each for each in VIEWS if each == view]
    paper = contrastive_term("infonce-l2", views[0]) if views else dispersive_term("infonce-l2")
    values = paper.model_dump(mode="json") | {"variant": variant} | given
    term = type(paper).parse(values, "regularizer")
    own = VARIANTS[term.variant].option
    for name in ("tau", "eps"):
        if name in given and name != own:
            instead = f"its own option is {_flag(own)}" if own else "it has no option of its own"
            raise ConfigError(f"{_flag(name)}: {term.variant} has none; {instead}")
    return (term,)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _blocks(value: Any) -> Any:
    """What ``--blocks`` names; whether the model has them is seen later."""
    if not isinstance(value, str) or value in ("quarter", "last", "all"):
        return value
    try:
        return float(value) if "." in value else [int(part) for part in value.split(",")]
    except ValueError:
        raise ConfigError(
            f"--blocks {value}: expected quarter, last, all, a fraction such as 0.5, or indices such as 0,2"
        ) from None


def json_or_text(text: str) -> Any:
    """A value as it is typed: JSON, or text if it isn't."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def assign(values: dict[str, Any], change: str) -> None:
    """Set ``a.b=value`` in nested plain data; the value is JSON, or text if it isn't."""
    path, equals, text = change.partition("=")
    if not equals:
        raise ConfigError(f"--set {change}: expected FIELD=VALUE")
    *parents, last = path.split(".")
    target: Any = values
    for part in parents:
        entries = dict(enumerate(target)) if isinstance(target, list) else target
        target = entries.get(int(part) if isinstance(target, list) and part.isdecimal() else part)
        if not isinstance(target, (dict, list)):
            raise ConfigError(f"--set {path}: {part} does not exist or has no fields")
    if isinstance(target, list):
        raise ConfigError(f"--set {path}: name a field of an entry, e.g. regularizers.0.lam")
    target[last] = json_or_text(text)
