"""The published results of profile ``cpu``, as notebooks compute with them, for tests of what they say."""

import contextlib
import functools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from disperse import results
from disperse.experiments import PROFILES, evaluations, records_of
from disperse.reproduce.declared import declared
from disperse.results import Claim
from disperse.store import Record

REPOSITORY = Path(__file__).resolve().parents[2]
ROW = PROFILES["cpu"]
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


def check(notebook: str, sentence: str, holds: Callable[[], Any]) -> None:
    assert sentence in prose(notebook)
    assert holds()


def names(said: list[Said]) -> list[str]:
    return [f"{notebook}: {sentence[:40]}" for notebook, sentence, _ in said]


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
    """Evaluations of a notebook's runs with these values: at their end, or at the ``step`` that is named."""
    table = _of(name)[0]
    return results.where(table if "step" in columns else table[table.final], **columns)


def way(name: str, **columns: Any) -> pd.DataFrame:
    """The same at every step."""
    return results.where(_of(name)[0], **columns)


def with_term(table: pd.DataFrame) -> pd.DataFrame:
    return table[table.regularizers != "none"]


def without(table: pd.DataFrame) -> pd.DataFrame:
    return table[table.regularizers == "none"]


def pairs(own: pd.DataFrame, name: str, by: Iterable[str] = (), y: str = "fd") -> pd.DataFrame:
    """Log ratios of rows with the term over a notebook's without: columns ``by``, ``seed``, ``value``."""
    found = results.pairs(with_term(own), without(_of(name)[0]), y, by=list(by), match=PAIRED)
    return found[[*dict.fromkeys([*by, "seed"]), "value"]]


def change(name: str, y: str = "fd", **columns: Any) -> Mean:
    """What the term changes of a measure, in the mean over seeds."""
    return mean(pairs(rows(name, **columns), name, y=y).value)


def changes(own: pd.DataFrame, name: str, by: str | list[str], y: str = "fd") -> dict[Any, Mean]:
    """The same for each value of a column, or of several."""
    keys = [by] if isinstance(by, str) else by
    return _by(pairs(own, name, keys, y).groupby(by, sort=False, dropna=False).value)


def means(table: pd.DataFrame, y: str, by: str | list[str]) -> dict[Any, Mean]:
    """Mean of a measure for each value of a column, or of several."""
    return _by(table.groupby(by, sort=False, dropna=False)[y])


def over(own: pd.DataFrame, base: pd.DataFrame, y: str = "fd", *, log: bool = True) -> Mean:
    """Mean log ratio of the rows of two tables that share a seed; with ``log=False`` the mean difference."""
    return mean(results.pairs(own, base, y, log=log).value)


def mean(values: Iterable[float]) -> Mean:
    return Mean(*results.interval(values))


def _by(groups: Any) -> dict[Any, Mean]:
    return {key: mean(values) for key, values in groups}


def signs(found: dict[Any, Mean]) -> dict[Any, int]:
    return {key: each.sign for key, each in found.items()}


def slope(found: pd.DataFrame, x: str) -> Mean:
    """By how much a log ratio changes when ``x`` doubles, fitted within each seed that has every x."""
    return mean(math.log(2) * results.slopes(found, x, x).value)


@functools.cache
def blocks(name: str) -> pd.DataFrame:
    """Measures of every block at the end of a notebook's runs, at noise level ½; ``at``: where the term acts."""
    table, records = _of(name)
    runs = table[table.final][["fingerprint", "step", "regularizers", "blocks"]].rename(columns={"blocks": "at"})
    return results.where(results.blocks(records), level=0.5).merge(runs, on=["fingerprint", "step"])


def block_changes(name: str, y: str, *, log: bool = True) -> dict[tuple[Any, int], Mean]:
    """What the term does to a measure of each block, by where it acts and the block that is measured."""
    return _by(block_pairs(name, y, log=log).groupby(["at", "block"], sort=False).value)


def block_pairs(name: str, y: str, *, log: bool = True) -> pd.DataFrame:
    own, base = with_term(blocks(name)), without(blocks(name))
    return results.pairs(own, base, y, by=["at", "block"], match=["seed", "block"], log=log)


@functools.cache
def noise(name: str, *by: str) -> pd.DataFrame:
    """Means over noise levels for each run against training images, and for each value of ``by``.

    ``noise`` is low, middle or high; ``gap`` is the loss on unseen images minus that on seen ones.
    """
    table, records = _of(name)
    runs = table[table.against_training]
    found = results.levels(records)
    bands = pd.cut(found.level, [0, 1 / 3, 2 / 3, 1], labels=["low", "middle", "high"]).astype(str)
    logs = {f"log_{y}": np.log(found[y].astype(float)) for y in ("unseen_loss", "gradient_ratio")}
    found = found.assign(noise=bands, gap=found.unseen_loss - found.seen_loss, **logs)
    measures = ["rms", "effective_rank", "gradient_cosine", "gap", *logs]
    found = found.groupby(["fingerprint", *by], as_index=False)[measures].mean()
    return found.merge(runs.drop(columns=measures, errors="ignore"), on="fingerprint")


def verdicts(*claims: Claim) -> list[str]:
    return list(results.judge(claims).verdict)
