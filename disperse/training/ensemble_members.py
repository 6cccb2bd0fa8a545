"""Members of an ensemble: what they must share, what they compute together, and their order."""

import functools
import itertools
import json
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ConfigError
from ..losses.dispersive import check_choice
from ..models import config_of
from ..models.stacked import MOST_ROWS
from ..objectives import View
from ..regularizers import build_regularizer
from ..spec import RunSpec
from .ensemble_draws import CHUNK

# How batches are drawn -> engine of the runs whose numbers those are.
ENGINES = {"keyed": "single", "device": "ensemble-1"}


@functools.lru_cache(maxsize=4096)
def stack_key(spec: RunSpec) -> str:
    """What members of one stack must share, as text: all that decides shapes and steps."""
    values = spec.model_dump(
        mode="json", include=set(RunSpec.model_fields) - {"seed", "regularizers", "name"}
    )
    values["optimizer"].pop("lr")
    values["data"] = values["data"].partition(":")[0]
    for name in ("milestones", "checkpoint_interval", "device", "compile"):
        values.pop(name)
    return json.dumps(values, sort_keys=True)


class Group:
    """Neighbouring members whose terms differ in λ and its schedule alone.

    Attributes:
        first, last: rows of the stack, the latter past the end.
        terms: their regularisers, those of the first member.
    """

    def __init__(self, rows: tuple[int, int], specs: list[RunSpec], depth: int, device: torch.device):
        self.first, self.last = rows
        self.own = [[build_regularizer(term, depth) for term in spec.regularizers] for spec in specs]
        self.terms = self.own[0]
        self.device, self.chunk, self.table = device, -1, torch.empty(0)

    def lam(self, step: int) -> Tensor:
        """λ of each term and member, (terms, members); sent to the device a chunk of steps at a time."""
        chunk, position = divmod(step, CHUNK)
        if chunk != self.chunk:
            steps = range(chunk * CHUNK, (chunk + 1) * CHUNK)
            values = [[[term.weight(at) for term in member] for member in self.own] for at in steps]
            self.chunk, self.table = chunk, torch.tensor(values, device=self.device).mT
        return self.table[position]


def runs_of(
    specs: list[RunSpec], key: Callable[[RunSpec], str]
) -> list[tuple[tuple[int, int], list[RunSpec]]]:
    """Neighbours with the same key: (first row, row past the last) and specifications."""
    found, start = [], 0
    for _, group in itertools.groupby(specs, key):
        members = list(group)
        found.append(((start, start + len(members)), members))
        start += len(members)
    return found


def kind(spec: RunSpec) -> str:
    """Canonical text of the regularisers without λ: what members compute together."""
    terms = [term.model_dump(mode="json", exclude={"lam", "lam_schedule"}) for term in spec.regularizers]
    return json.dumps(terms, sort_keys=True)


def views_of(spec: RunSpec) -> list[View]:
    """The distinct second views that a run's terms need."""
    found = [build_regularizer(term, config_of(spec).depth).view for term in spec.regularizers]
    return [view for view in dict.fromkeys(found) if view is not None]


def stack_order(spec: RunSpec) -> tuple[str, str, float]:
    """Members that share a second view, a term and a learning rate stand side by side."""
    return repr(views_of(spec)), kind(spec), spec.optimizer.lr


def check_members(specs: list[RunSpec], draws: str) -> None:
    """Refuse what can't be one stack.

    Raises:
        ConfigError: no members, one twice, other shapes, another engine than that of the draws, or too many.
    """
    check_choice("draws", draws, ENGINES)
    if not specs:
        raise ConfigError("members: expected at least one")
    if len({spec.fingerprint for spec in specs}) < len(specs):
        raise ConfigError("members: a run stands twice; each must differ in its seed or its setting")
    for spec in specs:
        if stack_key(spec) != stack_key(specs[0]):
            raise ConfigError(
                f"members {specs[0].run_id} and {spec.run_id}: differ in more than seed, regularisers, "
                "learning rate and part of the data; train them as two ensembles"
            )
    if specs[0].engine != ENGINES[draws]:
        raise ConfigError(f'engine = {specs[0].engine}: draws = "{draws}" are of engine {ENGINES[draws]}')
    most = MOST_ROWS // specs[0].batch_size
    if len(specs) > most:
        raise ConfigError(
            f"{len(specs)} members of batch_size = {specs[0].batch_size}: at most {most} fit one call"
        )
