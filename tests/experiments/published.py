"""What the published results of profile ``cpu`` say, for tests of what is said of them."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from disperse import atomic
from disperse.evaluation import Estimate, log_ratio, mean_over_seeds
from disperse.experiments import ITEMS, PROFILES, Cell, compare, item
from disperse.experiments.claims import per_doubling, slope
from disperse.experiments.compare import Row
from disperse.figures.changes import in_percent
from disperse.store import Record

REPOSITORY = Path(__file__).resolve().parents[2]
ROW = PROFILES["cpu"]
GROUPS = ("l2-group4", "l2-group8", "infonce-l2", "l2-group32", "l2-group64", "l2-group-whole")


@functools.cache
def pool() -> list[Record]:
    return list(atomic.read_jsonl(REPOSITORY / "figures" / "cpu" / "results.jsonl"))


def cells(*seeds: int) -> list[Cell]:
    """Every cell of every item, of all seeds or of some."""
    return [cell for name in ITEMS for cell in item(name, "cpu", seeds or tuple(range(6)))]


@functools.cache
def rows(*seeds: int) -> dict[str, Row]:
    """Every label of every item: means, paired change, verdict; of all seeds or of some."""
    return {row.label: row for row in compare.compare(pool(), cells(*seeds), ROW)}


@functools.cache
def facts(name: str) -> dict[str, Any]:
    """Sidecar of a published picture."""
    return json.loads((REPOSITORY / "figures" / "cpu" / f"{name}.json").read_text(encoding="utf-8"))


@functools.cache
def prose(name: str) -> str:
    """Text of a notebook, its white space made even."""
    cells = json.loads((REPOSITORY / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return " ".join(" ".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown").split())


def published_table(name: str) -> str:
    return (REPOSITORY / "figures" / "cpu" / f"{name}.md").read_text(encoding="utf-8")


def claim(name: str) -> str:
    """The first claim of a published table, and its verdict."""
    return " |".join(published_table(name).splitlines()[2].split(" |")[:2])


def change(label: str, *seeds: int) -> Estimate:
    found = rows(*seeds)[label].change
    assert found is not None
    return found


def percent(label: str) -> float:
    return 100 * float(np.expm1(change(label).value))


def percents(ratio: Estimate) -> list[int]:
    """A log ratio and its bounds in whole percent."""
    shown = in_percent(ratio)
    return [round(shown.value), round(shown.low), round(shown.high)]


def rank(label: str) -> float:
    return rows()[label].block["effective_rank"].value


def rms(label: str) -> float:
    return rows()[label].block["rms"].value


def verdicts(*labels: str) -> list[str]:
    return [rows()[label].verdict for label in labels]


def group(term: str, name: str, measure: str) -> dict[str, float]:
    """Of the table by noise level: baseline or infonce-l2; low, middle or high."""
    return next(
        g[measure] for g in facts("per_timestep")["groups"] if (g["term"], g["group"]) == (term, name)
    )


def norms_down(measure: str) -> list[int]:
    """Blocks where the paper's setting has clearly less of a measure than the baseline."""
    return [
        d["block"] for d in facts("norms")["differences"]
        if (d["label"], d["measure"]) == ("infonce-l2", measure) and (d["difference"]["high"] or 0) < 0
    ]  # fmt: skip


def by_length(seed: int) -> dict[int, float]:
    """Length → change of one seed, in percent."""
    fd = {(v["label"], v["step"]): v["fd"] for v in facts("longer_training")["values"] if v["seed"] == seed}
    return {
        step: 100 * (value / fd["baseline", step] - 1)
        for (label, step), value in fd.items()
        if label != "baseline"
    }


def shift(system: str) -> Estimate:
    return facts("systems")["shifts"][system]


def by_nfe(system: str) -> dict[int, dict[str, float]]:
    return {entry["nfe"]: entry for entry in facts("one_step")["changes"] if entry["system"] == system}


def against_l2(label: str, step: int) -> dict[str, float]:
    return facts("norm_cost")["changes_against_l2"][label][str(step)]


def clear(entry: dict[str, Any]) -> bool:
    return entry["low"] is not None and (entry["low"] > 0 or entry["high"] < 0)


def place(images: int, size: str = "Nano") -> dict[str, Any]:
    found = {(p["model"], p["images"]): p for p in facts("beyond_fid")["places"]}
    return found[f"SiT-{size}/2", images]


def best_rate(size: str) -> str:
    """In the published scan of rates."""
    line = next(line for line in published_table("model_size").splitlines() if line.startswith(f"| {size} |"))
    return ("0.002", "0.004", "0.008")[[cell.startswith("**") for cell in line.split(" | ")[1:4]].index(True)]


def apart(kind: str) -> float:
    """How far pairs of published samples are apart, in the mean."""
    return facts("samples_pairs")["distances"][kind]["value"]


@functools.cache
def finals() -> dict[str, dict[int, Record]]:
    """The evaluation at the end of every run: label → seed → record."""
    return compare.finals(pool(), cells(), ROW)


def by_seed(label: str, measure: str) -> dict[int, float]:
    """Seed → measure of the features at a quarter of the depth."""
    return {seed: compare.regularised_block(record)[measure] for seed, record in finals()[label].items()}


def longer_features(label: str, other: str) -> list[float]:
    """How many times as long the features are as those of another run of the same seed."""
    own, others = by_seed(label, "rms"), by_seed(other, "rms")
    return [own[seed] / others[seed] for seed in own.keys() & others.keys()]


def against_no_attraction(alpha: str) -> list[int]:
    """Distance with this weight of the attraction against that with none, in percent: value, low, high."""
    own, none = (
        {seed: record["metrics"]["fd"]["value"] for seed, record in finals()[f"l2-alpha{a}"].items()}
        for a in (alpha, "0")
    )
    ratio = log_ratio(own, none)
    return percents(ratio)


def line_of(step: int) -> str:
    """The row of a length in the published table of longer training."""
    lines = published_table("longer_training").splitlines()
    return next(line for line in lines if line.startswith(f"| {step} |"))


def distances_at(step: int) -> list[float]:
    """Baseline's and ℓ2's distance in that row."""
    return [float(cell.split(" ±")[0]) for cell in line_of(step).split("| ")[2:4]]


def part(name: str, compared: str) -> dict[str, float]:
    """A comparison of a published claim: mean of log ratios with its interval."""
    parts = (each for found in facts(name)["claims"] for each in found["parts"])
    return next(each for each in parts if each["compared"] == compared)


def sign(entry: dict[str, Any]) -> int:
    """Below zero, above it, or 0 where the interval holds it."""
    return (int(entry["low"] > 0) - int(entry["high"] < 0)) if clear(entry) else 0


def longer_meanflow(term: str, seed: int) -> tuple[float, float]:
    """Distances of a run of patch 2 at the usual length and three times as long."""
    labels = (f"meanflow-patch2-{term}", f"meanflow-patch2-longer-{term}")
    short, long = (round(rows(seed)[label].metrics["fd"].value, 2) for label in labels)
    return short, long


def slope_of_groups() -> list[int]:
    """Change per doubling of the group in percent, fitted within each seed that has every group."""
    sizes = dict(zip(GROUPS, (4.0, 8.0, 16.0, 32.0, 64.0, 128.0), strict=True))
    changes = {g: {s: change(g, s).value for s in range(3)} for g in GROUPS}
    return percents(per_doubling(slope(sizes, changes, "groups")).estimate)


def by_step(measure: str, label: str, step: int, against: str = "baseline") -> float:
    """Geometric mean of the ratio of two labels at a step, over the seeds of both."""
    found = {(v["label"], v["seed"], v["step"]): v[measure] for v in facts("norm_cost")["values"]}
    ratios = [
        value / found[against, seed, step]
        for (own, seed, at), value in found.items()
        if (own, at) == (label, step) and (against, seed, step) in found
    ]
    return float(np.exp(np.mean(np.log(ratios))))


def share_of_cost(label: str, step: int) -> float:
    """What a run costs against the baseline, as a share of what the paper's setting costs."""
    return (by_step("fd", label, step) - 1) / (by_step("fd", "infonce-l2", step) - 1)


def rank_difference(name: str) -> Estimate:
    """Of the group of levels: effective rank with the term minus the baseline's, over seeds."""
    found: dict[tuple[int, str], list[float]] = {}
    for v in facts("per_timestep")["values"]:
        if v["group"] == name:
            found.setdefault((v["seed"], v["term"]), []).append(v["effective_rank"])
    seeds = sorted({seed for seed, _ in found})
    return mean_over_seeds([np.mean(found[s, "infonce-l2"]) - np.mean(found[s, "baseline"]) for s in seeds])


def one_against_four() -> list[int]:
    """MeanFlow in one evaluation against SiT in four, both with the term, in percent."""
    fd = {(v["system"], v["term"], v["seed"], v["NFE"]): v["fd"] for v in facts("one_step")["values"]}
    own = [key for key in fd if key[:2] == ("MeanFlow", "infonce-l2") and key[3] == 1]
    found = mean_over_seeds([float(np.log(fd[key] / fd["SiT", "infonce-l2", key[2], 4])) for key in own])
    return percents(found)


def guidance(system: str, term: str) -> dict[str, float]:
    return next(
        c for c in facts("systems")["changes_by_guidance"] if (c["system"], c["term"]) == (system, term)
    )


def on_grid(solver: str, nfe: int, what: str = "changes_by_term") -> dict[str, float]:
    """The change by the term on a grid, or how far it is off that of the finest."""
    return next(entry for entry in facts("sampler")[what] if (entry["solver"], entry["nfe"]) == (solver, nfe))


def errors_on_grid(solver: str, nfe: int) -> list[float]:
    """Log ratio of each model's distance on a grid to that on the finest."""
    entries = facts("sampler")["over_finest"]
    return [e["change"]["value"] for e in entries if (e["solver"], e["nfe"]) == (solver, nfe)]


def quality(name: str) -> dict[str, float]:
    return facts("beyond_fid")["changes"][name]["difference"]


def cost_by_steps(first: int, second: int) -> list[tuple[float, float]]:
    """Pairs of changes of one network on one data set at two lengths."""
    found = {(c["size"], c["images"], c["step"]): c["value"] for c in facts("scale_of_effect")["cells"]}
    return [
        (value, found[size, images, second])
        for (size, images, step), value in found.items()
        if step == first and (size, images, second) in found
    ]
