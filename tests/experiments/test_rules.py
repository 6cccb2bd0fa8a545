"""The rules stay as they were committed; their runs, and what their seeds can show, are what they say."""

import hashlib
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from disperse.errors import ConfigError
from disperse.experiments import power, profile, rules

TEXT = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
# Of the file as it stood before the first addition, and before each next one, and now. A change of a line means
# that the rules were changed after the runs began; a new addition appends one.
FROZEN = ["c783ea4c193a7b4f", "d674d1b706e4e6e7", "65d39e864bfd039b", "08dc28211e8182e4"]


def rows_of(section: str) -> list[list[str]]:
    """Cells of the table of a section."""
    body = TEXT.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in body.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_rules_are_not_edited_and_additions_are_dated() -> None:
    starts = [match.start() for match in re.finditer(r"^## Addition", TEXT, flags=re.MULTILINE)]
    assert len(re.findall(r"^## Addition of \d{4}-\d\d-\d\d: ", TEXT, flags=re.MULTILINE)) == len(starts)
    before = [TEXT[:start].rstrip("\n") for start in [*starts, len(TEXT)]]
    assert [hashlib.sha256(text.encode()).hexdigest()[:16] for text in before] == FROZEN


def test_the_runs_are_those_that_the_rules_name() -> None:
    named = re.findall(r"^\| ([\w-]+) \| [\d–]+ \| (\d+) \| `(\w+)` \|$", TEXT, flags=re.MULTILINE)
    assert sorted(name for name, *_ in named) == sorted(rules.EXPERIMENTS)
    for name, count, digest in named:
        each = rules.experiment(name)
        assert (str(len(rules.runs_of(each))), rules.digest_of(each)) == (count, digest), name


def test_their_length_and_evaluations_are_those_that_the_rules_name() -> None:
    named = re.findall(r"^\| ([\w-]+) \| `(\w{12})` \|$", TEXT, flags=re.MULTILINE)
    assert sorted(named) == sorted(
        (each.name, rules.plan_digest_of(each)) for each in rules.EXPERIMENTS.values()
    )


def test_what_is_judged_was_not_looked_at() -> None:
    for each in rules.EXPERIMENTS.values():
        explores = each.name in ("variants-explored", "E2-rates")
        assert explores == (min(each.seeds) <= 5), each.name


def test_samples_have_seeds_of_their_own_and_few_images_are_followed_by_their_loss() -> None:
    row = profile("cpu")
    for name in ("E4", "E3"):
        each = rules.experiment(name)
        spec = each.sweep(row, 7)[1]
        evaluations = each.evaluations(spec)
        step, last = evaluations[-1]
        assert (step, last.num_samples, last.sample_seeds) == (2400, 1000, "own")
        assert last.first_seed(7) == 7000
        assert last.spaces[0] == "digits-selfsup-e830"
        before = evaluations[:-1]
        if name == "E3":
            assert [step for step, _ in before] == list(range(100, 2400, 100))
            assert {protocol.num_samples for _, protocol in before} == {0}
        else:
            assert {protocol for _, protocol in evaluations} == {last}


def test_arms_differ_in_what_their_name_says_alone() -> None:
    row = profile("cpu")
    cells = {spec.name: spec for spec in rules.experiment("E4").sweep(row, 6)}
    paper = cells["infonce-l2"].regularizers[0]
    rms, late, covariance = (cells[k].regularizers[0] for k in ("l2-rms", "l2-late", "covariance-lam2"))
    assert rms == paper.model_copy(update={"scale": "rms"})
    assert late == paper.model_copy(update={"lam_schedule": ((600, 0.0), (601, 1.0))})
    assert (covariance.variant, covariance.lam) == ("covariance", 2.0)
    rates = {spec.optimizer.lr for spec in rules.experiment("E2-rates").sweep(row, 0)}
    assert rates == {1e-3, 2e-3, 4e-3}


@pytest.mark.parametrize("row", rows_of("What so many seeds can show"), ids=lambda row: f"{row[0]}, {row[1]}")
def test_smallest_effects_are_computed(row: list[str]) -> None:
    sd, n = float(row[2]), int(row[3])
    effect, margin = power.smallest_effect(sd, n), power.smallest_margin(sd, n)
    digits = 2 if sd < 0.01 else 1
    low, high, most = (100 * abs(math.expm1(x)) for x in (-effect, effect, margin))
    assert row[4] == f"−{low:.{digits}f}% or +{high:.{digits}f}%"
    assert row[5] == f"{most:.{digits}f}%"


@pytest.mark.parametrize(
    "row",
    [[c.strip() for c in line.strip("|").split("|")] for line in TEXT.splitlines() if "0.05/" in line],
    ids=lambda row: f"{row[0]}, {row[1]}",
)
def test_smallest_effects_at_the_levels_of_holm(row: list[str]) -> None:
    sd, n, share = float(row[2]), int(row[3]), float(row[4].removeprefix("0.05/"))
    effect, digits = power.smallest_effect(sd, n, level=0.05 / share), 2 if float(row[2]) < 0.01 else 1
    low, high = (100 * abs(math.expm1(x)) for x in (-effect, effect))
    assert row[5] == f"−{low:.{digits}f}% or +{high:.{digits}f}%"


def test_power_is_that_of_drawn_seeds() -> None:
    draws = np.random.default_rng(0).normal(0, 1, (20_000, 6))
    for effect in (0.5, 1.5):
        moved = draws + effect
        reach = stats.t.ppf(0.975, 5) * moved.std(axis=1, ddof=1) / math.sqrt(6)
        assert power.detection_power(effect, 1.0, 6) == pytest.approx(
            (moved.mean(axis=1) > reach).mean(), abs=0.01
        )
    reach = stats.t.ppf(0.95, 5) * draws.std(axis=1, ddof=1) / math.sqrt(6)
    inside = (np.abs(draws.mean(axis=1)) + reach < 1.2).mean()
    assert power.equivalence_power(1.2, 1.0, 6) == pytest.approx(inside, abs=0.01)
    assert power.smallest_effect(0.2, 6) == pytest.approx(2 * power.smallest_effect(0.1, 6), rel=1e-6)
    with pytest.raises(ConfigError, match="at least 2 seeds"):
        power.smallest_effect(0.1, 1)
