"""The table and its statistics give what was published before they were written."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from disperse.atomic import read_jsonl
from disperse.results import Claim, blocks, changes, judge, pairs, slopes, table, where

REFERENCE = Path(__file__).parents[1] / "reference"
SETTING: dict[str, Any] = {"lam": 0.5, "tau": 0.5, "blocks": (0,), "group": 16, "scale": "dim"}
NANO: dict[str, Any] = {"size": "Nano", "patch": 2, "lr": 4e-3, "token_scale": 1, "images": 1297}


@pytest.fixture(scope="module")
def pool() -> list[dict[str, Any]]:
    """The evaluations that the reference was computed from: shared sample seeds, with guided agreement."""
    shared = {"sample_seeds": "shared"}
    return [
        record
        for record in read_jsonl(REFERENCE.parents[1] / "figures" / "cpu" / "results.jsonl")
        if shared.items() <= ({"sample_seeds": "shared"} | record["protocol"]).items()
        and record["protocol"]["guided_samples"] == 200
    ]


@pytest.fixture(scope="module")
def rows(pool: list[dict[str, Any]]) -> pd.DataFrame:
    return table(pool)


def test_every_change_that_was_published_comes_out(rows: pd.DataFrame) -> None:
    expected = [json.loads(line) for line in (REFERENCE / "changes.jsonl").read_text().splitlines()]
    assert len(expected) == 253
    for want in expected:
        same = where(rows, step=want["step"], solver=want["solver"], sampler_steps=want["num_steps"])
        own, base = (where(same, fingerprint=list(want[side].values())) for side in ("own", "base"))
        (got,) = changes(own, base, want["metric"]).to_dict("records")
        assert got["n"] == want["n"]
        for name in ("value", "low", "high"):
            if want[name] is not None:
                assert got[name] == pytest.approx(want[name], abs=1e-9), want["label"]


def turned(found: pd.DataFrame) -> pd.DataFrame:
    """The same comparisons the other way round."""
    return found.assign(value=-found["value"])


def claims_by_notebook(rows: pd.DataFrame, pool: list[dict[str, Any]]) -> list[list[Claim]]:
    """The eleven claims, those of one notebook together."""
    sit = where(rows, system="sit", step=2400, **NANO)
    base = where(sit, regularizers="none")
    dispersive = where(sit, regularizers="dispersive", **SETTING)
    l2, others = (
        where(dispersive, variant=v) for v in ("infonce-l2", ["infonce-cosine", "hinge", "covariance"])
    )
    views = where(sit, regularizers="contrastive")
    independent, restricted = (where(views, view=v) for v in ("independent", "restricted"))
    variants = [
        Claim.of(1, pairs(dispersive, base, "fd", "variant")),
        Claim.of(2, turned(pairs(others, l2, "fd", "variant"))),
        Claim.of(3, turned(pairs(independent, base, "fd", "variant"))),
        Claim.of(4, pairs(restricted[restricted.variant != "infonce-l2"], base, "fd", "variant")),
        Claim.of(5, turned(pairs(views[views.variant != "covariance"], dispersive, "fd", ("variant", "view"),
                                 match=("seed", "variant")))),
    ]  # fmt: skip
    places = where(sit, regularizers="dispersive", variant="infonce-l2", lam_schedule=(),
                   **{k: v for k, v in SETTING.items() if k != "blocks"})  # fmt: skip
    single, every = places[places.blocks.map(len) == 1], places[places.blocks.map(len) > 1]
    beside = turned(pairs(single, every, "fd", "blocks")).assign(base="all")
    cells = where(sit, regularizers="dispersive", variant="infonce-l2", blocks=(0,), group=16, scale="dim",
                  lam=[0.25, 0.5, 1.0], tau=[0.25, 0.5, 1.0, 2.0])  # fmt: skip
    sizes = where(rows, system=["sit", "dit"], step=2400, **{k: v for k, v in NANO.items() if k != "size"})
    by_size = pairs(where(sizes, variant="infonce-l2", regularizers="dispersive", **SETTING),
                    where(sizes, regularizers="none"), "fd", ("system", "size", "parameters"),
                    match=("seed", "system", "size"))  # fmt: skip
    falls = [slopes(where(by_size, system=name), "parameters", name) for name in ("sit", "dit")]
    longer = where(rows, system="sit", step=9600, **NANO)
    inner = where(blocks(pool), level=0.5, step=2400)
    inside = inner.merge(single[["fingerprint", "blocks"]], on="fingerprint")
    plain = inner[inner.fingerprint.isin(base.fingerprint)]
    flow = where(rows, system="meanflow", lr=4e-3, token_scale=1)
    shown = {("Nano", 4, 2400), ("Nano", 2, 2400), ("Nano", 2, 7200), ("Mini", 2, 2400)}
    flow = flow[[key in shown for key in zip(flow["size"], flow.patch, flow.step, strict=True)]]
    key = ("size", "patch", "step")
    return [
        variants,
        [Claim.of(6, pairs(places, base, "fd", "blocks"), beside)],
        [Claim.of(7, pairs(cells, base, "fd", ("lam", "tau")))],
        [Claim.of(8, by_size, *falls)],
        [Claim.of(9, pairs(where(longer, variant="infonce-l2"), where(longer, variant="none"), "fd"))],
        [Claim.of(10, turned(pairs(inside, plain, "rms", ("blocks", "block"), match=("seed", "block"))))],
        [Claim.of(11, pairs(where(flow, variant="infonce-l2"), where(flow, variant="none"), "fd", key,
                            match=("seed", *key)))],
    ]  # fmt: skip


def test_every_verdict_that_was_published_comes_out(rows: pd.DataFrame, pool: list[dict[str, Any]]) -> None:
    expected = {want["claim"]: want for want in json.loads((REFERENCE / "verdicts.json").read_text())}
    got = pd.concat([judge(claims) for claims in claims_by_notebook(rows, pool)])
    assert list(got.claim) == sorted(expected)
    for found in got.to_dict("records"):
        want = expected[found["claim"]]
        verdict = "open" if want["verdict"] == "can't tell" else want["verdict"]
        assert (found["verdict"], found["comparisons"]) == (verdict, want["comparisons"])
        assert found["p"] == pytest.approx(want["p"], abs=1e-9)
