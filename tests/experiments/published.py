"""The published results of profile ``cpu``, as notebooks compute with them, for tests of what they say."""

import contextlib
import functools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from disperse import results
from disperse.experiments import evaluations, records_of
from disperse.reproduce.declared import declared
from disperse.store import Record

REPOSITORY = Path(__file__).resolve().parents[2]
# Runs with the term and without are partners if they agree in these.
PAIRED = ["seed", "system", "size", "patch", "images", "lr", "token_scale", "step", "solver", "nfe", "guidance",
          "against_training"]  # fmt: skip
Said = tuple[str, str, Callable[[], Any]]  # notebook, sentence, whether it holds


class Mean(NamedTuple):
    """A mean over seeds with its 95% interval; of a change, of log ratios."""

    value: float
    low: float
    high: float
    n: int

    @property
    def sign(self) -> int:
        """−1 or 1 where the interval lies below or above zero, 0 where it holds it or there is none."""
        return int(self.low > 0) - int(self.high < 0)

    @property
    def percent(self) -> float:
        return 100 * math.expm1(self.value)

    @property
    def text(self) -> str:
        """A log ratio as prose has it: ``+15% [+8%, +23%]``."""
        value, low, high = (round(100 * math.expm1(each)) for each in self[:3])
        return f"{value:+d}% [{low:+d}%, {high:+d}%]".replace("-", "−").replace("+0%", "0%")


def said(rows: list[Said]) -> Any:
    """Mark of a test that is run for each row."""
    ids = [f"{notebook}: {sentence[:40]}" for notebook, sentence, _ in rows]
    return pytest.mark.parametrize(("notebook", "sentence", "holds"), rows, ids=ids)


@functools.cache
def prose(name: str) -> str:
    """Text of a notebook, its white space made even."""
    cells = json.loads((REPOSITORY / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return " ".join(" ".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown").split())


@contextlib.contextmanager
def at_home() -> Iterator[None]:
    """Work in the repository; a run that isn't published is an error, and is not trained."""

    def refuse(jobs: Iterable[Any]) -> None:
        lacking = list(jobs)
        assert not lacking, f"not published: {lacking}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPERSE_HOME", str(REPOSITORY))
        patch.setattr("disperse.experiments.runs.complete_jobs", refuse)
        yield


@functools.cache
def _of(name: str) -> tuple[pd.DataFrame, list[Record]]:
    """Table and records of the runs that a notebook declares."""
    with at_home():
        runs = declared(name, {"profile": "cpu", "source": "published"}).runs
        return evaluations(runs, "cpu", source="published")[0], records_of(runs, "cpu", source="published")


@functools.cache
def everything() -> pd.DataFrame:
    """Every published evaluation, whichever notebook declares its run."""
    with at_home():
        return results.frame("cpu")


def rows(name: str, **columns: Any) -> pd.DataFrame:
    """Evaluations of a notebook's runs with these values: at their end, or at the steps that are named."""
    table = _of(name)[0]
    return results.where(table if "step" in columns else table[table.final], **columns)


def pairs(name: str, by: Sequence[str] = (), y: str = "fd", **columns: Any) -> pd.DataFrame:
    """Log ratios of a measure, with the term over without, of such rows: columns ``by``, ``seed``, ``value``."""
    own, base = with_term(rows(name, **columns)), without(_of(name)[0])
    found = results.pairs(own, base, y, by=list(by), match=PAIRED)
    return found[[*dict.fromkeys([*by, "seed"]), "value"]]


def change(name: str, y: str = "fd", **columns: Any) -> Mean:
    """What the term changes of a measure, in the mean over seeds."""
    return mean(pairs(name, (), y, **columns))


def changes(name: str, by: str | list[str], y: str = "fd", **columns: Any) -> dict[Any, Mean]:
    """The same for each value of a column, or of several."""
    return means(pairs(name, [by] if isinstance(by, str) else by, y, **columns), "value", by)


def over(own: pd.DataFrame, base: pd.DataFrame, y: str = "fd", *, log: bool = True) -> Mean:
    """Mean log ratio of the rows of two tables that share a seed; with ``log=False`` the mean difference."""
    return mean(results.pairs(own, base, y, log=log))


def mean(table: pd.DataFrame, y: str = "value") -> Mean:
    """Of rows that differ in their seed alone."""
    return Mean(*results.means(table, y).iloc[0])


def value(name: str, y: str = "fd", **columns: Any) -> float:
    """Mean of a measure of the rows of a notebook."""
    return mean(rows(name, **columns), y).value


def means(table: pd.DataFrame, y: str, by: str | list[str]) -> dict[Any, Mean]:
    """The same for each value of a column, or of several."""
    found = results.means(table, y, by)
    keys = found[by] if isinstance(by, str) else zip(*(found[name] for name in by), strict=True)
    return dict(zip(keys, map(Mean._make, found[[*Mean._fields]].to_numpy()), strict=True))


def with_term(table: pd.DataFrame) -> pd.DataFrame:
    return table[table.regularizers != "none"]


def without(table: pd.DataFrame) -> pd.DataFrame:
    return table[table.regularizers == "none"]


def signs(found: dict[Any, Mean]) -> list[int]:
    return [each.sign for each in found.values()]


def slope(found: pd.DataFrame, x: str) -> Mean:
    """By how much a log ratio changes when ``x`` doubles, fitted within each seed that has every x."""
    return mean(results.slopes(found, x, x).eval(f"value = value * {math.log(2)}"))


def verdicts(*claims: pd.DataFrame | list[pd.DataFrame]) -> pd.DataFrame:
    """Claims that are judged together, each by its comparisons."""
    parts = [each if isinstance(each, list) else [each] for each in claims]
    return results.judge([results.Claim.of(number, *part) for number, part in enumerate(parts, 1)])


def block_pairs(name: str, y: str, *, log: bool = True) -> pd.DataFrame:
    """What the term does to a measure of each ``block`` at noise level ½, by where it acts (``at``)."""
    table, records = _of(name)
    runs = table[table.final][["fingerprint", "step", "regularizers", "blocks"]].rename(
        columns={"blocks": "at"}
    )
    found = results.where(results.blocks(records), level=0.5).merge(runs, on=["fingerprint", "step"])
    by, match = ["at", "block"], ["seed", "block"]
    return results.pairs(with_term(found), without(found), y, by=by, match=match, log=log)


@functools.cache
def _levels(name: str) -> pd.DataFrame:
    found = results.levels(_of(name)[1])
    band = pd.cut(found.level, [0, 1 / 3, 2 / 3, 1], labels=["low", "middle", "high"]).astype(str)
    logs = {f"log_{y}": np.log(found[y].astype(float)) for y in ("unseen_loss", "gradient_ratio")}
    return found.assign(band=band, gap=found.unseen_loss - found.seen_loss, **logs)


def noise(name: str, *by: str, **columns: Any) -> pd.DataFrame:
    """Means over noise levels for each run against training images, and for each value of ``by``.

    ``band`` is low, middle or high; ``gap`` is the loss on unseen images minus that on seen ones.
    """
    measures = ["rms", "effective_rank", "gradient_cosine", "gap", "log_unseen_loss", "log_gradient_ratio"]
    runs = rows(name, against_training=True).drop(columns=measures, errors="ignore")
    found = _levels(name).groupby(["fingerprint", *by], as_index=False)[measures].mean()
    return results.where(found.merge(runs, on="fingerprint"), **columns)
