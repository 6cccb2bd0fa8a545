"""Tables as Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..evaluation import Estimate, noise_floor
from . import paper
from .claims import Judgement, Part
from .compare import Row
from .profiles import Profile

# After "mean ± half the 95% interval": what ``with_interval`` writes of a measure near an end of its range.
OR_BOUNDS = ", or [low, high] where the range of the measure cuts it"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, its cells as text; no newline at its end."""
    lines = [[str(cell) for cell in row] for row in (columns, *rows)]
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(columns), *body])


def own_count(estimate: Estimate, seeds: int | None) -> str:
    """``, n = 2``, to follow an estimate over another number of seeds than the one its row tells."""
    return f", n = {estimate.n}" if seeds not in (None, estimate.n) else ""


def with_interval(estimate: Estimate, digits: int = 2, *, seeds: int | None = None) -> str:
    """``1.23 ± 0.04`` (half the interval), or ``0.37 [-0.60, 1.00]`` where its two halves aren't alike.

    The value alone where one seed gives no interval; empty where nothing was measured.

    Args:
        estimate: a mean.
        digits: after the point.
        seeds: the number that the row tells, 0 for none: where the estimate has another, it follows.
    """
    if not np.isfinite(estimate.value):
        return ""
    if not np.isfinite(estimate.low):
        return f"{estimate.value:.{digits}f}{own_count(estimate, seeds)}"
    below, above = estimate.value - estimate.low, estimate.high - estimate.value
    if math.isclose(below, above, abs_tol=1e-9) or f"{below:.{digits}f}" == f"{above:.{digits}f}":
        interval = f"± {(estimate.high - estimate.low) / 2:.{digits}f}"
    else:
        interval = f"[{estimate.low:z.{digits}f}, {estimate.high:z.{digits}f}]"
    return f"{estimate.value:.{digits}f} {interval}{own_count(estimate, seeds)}"


def whole(value: float) -> str:
    """``+12``, ``-3``, and ``0`` for what rounds to it: neither ``-0`` nor ``+0``."""
    return f"{round(value):+d}".replace("+0", "0")


def percent_interval(change: Estimate | None, *, seeds: int | None = None) -> str:
    """A log ratio as ``+12% [+5%, +20%]``; ``seeds`` as in ``with_interval``."""
    if change is None:
        return ""
    value, low, high = (100 * np.expm1(v) for v in (change.value, change.low, change.high))
    if not np.isfinite(low):
        return f"{whole(value)}% (one seed)"
    return f"{whole(value)}% [{whole(low)}%, {whole(high)}%]{own_count(change, seeds)}"


def times_interval(ratio: Estimate | None) -> str:
    """A log ratio as ``×4.60 [4.10, 5.16]``."""
    if ratio is None:
        return ""
    value, low, high = (np.exp(v) for v in (ratio.value, ratio.low, ratio.high))
    return f"×{value:.2f}" + (f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else " (one seed)")


def variants_markdown(rows: list[Row], profile: Profile) -> str:
    """The table as Markdown, with the card of the protocol below."""
    columns = ("variant", "paper FID", "paper Δ", "our FD", "our Δ (paired, 95%)", "verdict", "precision",
               "recall", "guided agreement", "feature rms", "effective rank", "mean cosine",
               "seeds")  # fmt: skip
    cells = []
    for row in rows:
        published = paper.variants_change(row.label)
        cells.append([
            paper.name_of(row.label),
            f"{paper.variants_fid(row.label).value:.2f}",
            "" if published is None else f"{100 * published:+.2f}%",
            with_interval(row.metrics["fd"]),
            percent_interval(row.change, seeds=len(row.seeds)),
            row.verdict,
            *(with_interval(row.metrics[name]) for name in ("precision", "recall", "guided_agreement")),
            with_interval(row.block["rms"]),
            with_interval(row.block["effective_rank"], 1),
            with_interval(row.block["mean_cosine"]),
            len(row.seeds),
        ])  # fmt: skip
    floor = noise_floor(profile.protocol)
    lines = [
        markdown_table(columns, cells),
        "",
        f"Ours: {profile.model} on {profile.data}, {profile.num_steps} steps of {profile.batch_size}; mean ± "
        f"half the 95% interval over training seeds (Student's t){OR_BOUNDS}. "
        f"{profile.protocol.card()}."
        + (
            " Noise floor of the distance (real against real, same n and reference): "
            f"{floor.value:.2f} [{floor.low:.2f}, {floor.high:.2f}]."
            if floor
            else ""
        ),
        "",
        f"Paper: {paper.VARIANTS_SETTING}. Feature measures: block at a quarter of the depth, "
        f"{profile.protocol.split} images at noise level 0.5. Another data set, model size and metric: only "
        "the sign of Δ can be compared.",
    ]
    return "\n".join(lines) + "\n"


def comparison_markdown(
    rows: list[Row],
    card: str,
    *,
    names: Mapping[str, str] | None = None,
    published: Mapping[str, float] | None = None,
) -> str:
    """Runs with their distances, paired changes and class agreement; below, how they were measured.

    Args:
        rows: of the table.
        card: how the numbers were measured.
        names: of labels that are called otherwise here.
        published: the paper's relative changes by label; a column of its own, if given.
    """
    named, paper_column = names or {}, published is not None
    columns = ["run", *(["paper Δ"] if paper_column else []), "our FD", "our Δ (paired, 95%)", "verdict",
               "class agreement", "under guidance", "seeds"]  # fmt: skip
    cells = []
    for row in rows:
        change = (published or {}).get(row.label)
        cells.append([
            named.get(row.label) or paper.name_of(row.label),
            *(["" if change is None else f"{100 * change:+.1f}%"] if paper_column else []),
            with_interval(row.metrics["fd"]),
            percent_interval(row.change, seeds=len(row.seeds)),
            row.verdict,
            with_interval(row.metrics["agreement"]),
            with_interval(row.metrics["guided_agreement"]),
            len(row.seeds),
        ])  # fmt: skip
    note = f"Mean ± half the 95% interval over training seeds (Student's t){OR_BOUNDS}. {card}"
    return f"{markdown_table(columns, cells)}\n\n{note}\n"


def features_markdown(rows: list[Row]) -> str:
    """What each kind of term makes of the features: effective rank, rms and n, variant by kind of term."""
    by_label = {row.label: row for row in rows}
    columns = [name for column in paper.COLUMNS for name in (f"{column}: rank", "rms", "n")]
    cells = []
    for variant in paper.VARIANTS_FID:
        found = [by_label.get(paper.grid_label(variant, column)) for column in paper.COLUMNS]
        measures = [text for row in found for text in (_rank_and_rms(row) if row else ("", "", "0"))]
        cells.append([paper.NAMES[variant], *measures])
    table, base = markdown_table(["variant", *columns], cells), by_label.get("baseline")
    if base is None:
        return table + "\n"
    rank, rms, n = _rank_and_rms(base)
    note = f"Features at a quarter of the depth, noise level 0.5; baseline: {rank} and {rms}, n = {n}."
    return f"{table}\n\n{note}\n"


def _rank_and_rms(row: Row) -> tuple[str, str, str]:
    rank, rms = row.block["effective_rank"], row.block["rms"]
    return with_interval(rank, 0), with_interval(rms), str(rms.n)


def claims_markdown(judgements: list[Judgement]) -> str:
    """Claims of the paper, what our runs say of each, and the comparisons that the verdict rests on."""
    cells = []
    for judgement in judgements:
        parts = judgement.claim.parts
        below = sum(part.estimate.high < 0 for part in parts if part.values)
        above = sum(part.estimate.low > 0 for part in parts if part.values)
        counted = (
            f"{len(parts)}: {below} as claimed, {above} the other way, {len(parts) - below - above} open"
        )
        claim = f"{judgement.claim.number}. {paper.CLAIMS[judgement.claim.number]}"
        cells.append([claim, f"**{judgement.said}**", f"{judgement.p:.2g}", judgement.seeds, counted,
                      deciding(judgement)])  # fmt: skip
    columns = ("claim of the paper", "at this scale", "p (corrected)", "seeds", "comparisons", "decided by")
    lines = [
        markdown_table(columns, cells),
        "",
        "*Agrees*: every comparison as claimed; *disagrees*: at least one the other way, by Student's t over "
        "seeds that share initial weights, order of data and noise. The p of a verdict is corrected for the "
        "number of comparisons, and by Holm's method (the smallest of m is multiplied by m, the next by "
        "m − 1, ...) for the claims of this table, so that all of them together are wrong in at most one of "
        "twenty such tables. Comparisons are counted by their own 95% intervals, uncorrected.",
        "",
        not_tested(judgements),
    ]
    return "\n".join(lines).rstrip() + "\n"


def compared_markdown(parts: Sequence[Part]) -> str:
    """Comparisons of runs with each other as a table; empty without any."""
    there = [part for part in parts if part.values]
    if not there:
        return ""
    rows = [[part.label, percent_interval(part.estimate), str(len(part.values))] for part in there]
    columns = ("compared with each other", "change of the distance (paired, 95%)", "seeds")
    return f"\n{markdown_table(columns, rows)}\n"


def deciding(judgement: Judgement) -> str:
    """The comparison that a verdict stands on, with interval and seeds; empty where nothing is decided."""
    part = judgement.deciding
    if part is None:
        return ""
    label, ratio = part.told
    labels, _, block = label.partition(", ")
    names = " / ".join(paper.name_of(label) for label in labels.split(" / "))
    return (
        f"{names}{', ' if block else ''}{block}: {percent_interval(ratio)}, n = {len(part.values)}, "
        f"p = {judgement.p:.2g}"
    )


def not_tested(judgements: list[Judgement]) -> str:
    """What the claims say beyond what their verdicts stand on; empty for claims that say no more."""
    numbers = sorted(judgement.claim.number for judgement in judgements)
    said = [f"{paper.NOT_TESTED[number]} ({number})" for number in numbers if number in paper.NOT_TESTED]
    return f"Not tested: {'; '.join(said)}." if said else ""
