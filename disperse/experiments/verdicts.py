"""All claims of the paper with what the results of a profile say of each: item → claim → paper → ours."""

from dataclasses import dataclass

import numpy as np

from ..store import Record
from . import paper, tables
from .claims import Judgement, Part, judge
from .items import item
from .profiles import Profile
from .statements import STATEMENTS

# Statement → the notebook that shows it, and the items whose runs it compares. Holm's correction is over
# the claims of one notebook.
SHOWN_BY = {
    "variants": ("variants", ("variants", "contrastive")),
    "blocks": ("blocks", ("pair", "blocks")),
    "lambda_tau": ("lambda_tau", ("pair", "lambda_tau")),
    "model_size": ("model_size", ("model_size",)),
    "longer": ("longer_training", ("longer",)),
    "norms": ("norms", ("pair", "blocks")),
    "meanflow": ("meanflow", ("meanflow",)),
}


@dataclass(frozen=True)
class Verdict:
    """A judged claim and the notebook that shows it."""

    notebook: str
    judgement: Judgement


def verdicts(pool: list[Record], row: Profile) -> list[Verdict]:
    """Every claim of the paper, by number, as far as its runs are in the pool."""
    seeds = tuple(sorted({record["seed"] for record in pool}))
    found = []
    for name, (notebook, items) in SHOWN_BY.items():
        cells = [cell for each in items for cell in item(each, row.name, seeds)]
        found += [Verdict(notebook, each) for each in judge(STATEMENTS[name](pool, cells, row))]
    return sorted(found, key=lambda verdict: verdict.judgement.claim.number)


def verdicts_markdown(found: list[Verdict], notebooks: str) -> str:
    """The index of claims as a table.

    Args:
        found: of ``verdicts``.
        notebooks: path from the table's file to the folder of notebooks.
    """
    columns = ("claim of the paper", "paper", "ours: the changes compared", "seeds", "verdict at this scale")
    judged = [verdict.judgement for verdict in found]
    rows = []
    for verdict in found:
        judgement = verdict.judgement
        number = judgement.claim.number
        there = [part for part in judgement.claim.parts if part.values]
        link = f"[`{verdict.notebook}`]({notebooks}/{verdict.notebook}.ipynb)"
        why = f": {tables.deciding(judgement)}" if judgement.deciding else ""
        rows.append([f"{number}. {paper.CLAIMS[number]} {link}", paper.CLAIMED[number], _ours(there),
                     judgement.seeds, f"**{judgement.said}**{why}"])  # fmt: skip
    told = f"{_in_one_sentence(judged)}\n\n" if found else ""
    return f"{told}{tables.markdown_table(columns, rows)}\n\n{tables.not_tested(judged)}\n"


def _in_one_sentence(judged: list[Judgement]) -> str:
    """How many claims got which verdict, and what the paper's own setting did."""
    counted = ", ".join(
        f"{verdict} {sum(each.verdict == verdict for each in judged)}"
        for verdict in ("agrees", "disagrees", "can't tell")
    )
    told = f"At this scale, of {len(judged)} claims of the paper: {counted}."
    own = [part for each in judged for part in each.claim.parts if part.label == "infonce-l2 / baseline"]
    if not own or not own[0].values:
        return told
    change = tables.percent_interval(own[0].estimate)
    return f"{told} The paper's own setting against the baseline: {change}, n = {len(own[0].values)} seeds."


def _ours(parts: list[Part]) -> str:
    """The changes compared, and how many of them stand as claimed by their 95% intervals."""
    if not parts:
        return ""
    below = sum(part.estimate.high < 0 for part in parts)
    above = sum(part.estimate.low > 0 for part in parts)
    changes = [100 * float(np.expm1(part.told[1].value)) for part in parts if " / " in part.label]
    span = f"{tables.whole(min(changes))}%" + (
        f" to {tables.whole(max(changes))}%" if len(changes) > 1 else ""
    )
    span = span.replace("-", "−")
    if slopes := len(parts) - len(changes):
        span += f" and {slopes} slopes" if slopes > 1 else " and a slope"
    return f"{span} ({below} of {len(parts)} as claimed, {above} against)"
