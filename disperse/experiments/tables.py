"""From evaluations to table rows: means over seeds, paired changes, verdicts; no picture."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluation import Estimate, log_ratio, mean_over_seeds, noise_floor
from . import paper
from .items import Cell
from .profiles import Profile
from .store import Record, select

METRICS = ("fd", "precision", "recall", "agreement", "guided_agreement")


@dataclass(frozen=True)
class Row:
    """One line of the variants table.

    Attributes:
        label: ``"baseline"`` or the variant.
        seeds: training seeds that are finished.
        metrics: name → mean over seeds with its interval.
        change: paired mean of log(FD/FD of the baseline), None for the baseline.
        verdict: ``"improves"``, ``"worse"`` or ``"can't tell"``: where the interval of ``change`` lies.
        paper_fid, paper_change: the published value and relative change; the setting is another.
        block: means over seeds at the regularised block, noise level 0.5: rms, effective_rank, ...
    """

    label: str
    seeds: list[int]
    metrics: dict[str, Estimate]
    change: Estimate | None
    verdict: str
    paper_fid: float
    paper_change: float | None
    block: dict[str, Estimate]


def verdict(change: Estimate) -> str:
    """What the 95% interval of a paired log ratio of distances says; without interval, nothing."""
    if change.high < 0:
        return "improves"
    return "worse" if change.low > 0 else "can't tell"


def curves(pool: list[Record], cells: list[Cell], row: Profile) -> list[dict[str, Any]]:
    """Finished evaluations of these cells as flat rows: label, seed, step, metrics, block measures, terms.

    ``update_ratio``: what later blocks add to the stream, over its length at the regularised block.
    ``off_diagonal_weight``, ``saturation``, ``gradient_ratio`` of the run's first term; None without one.
    Each evaluation stands once, also where two cells are the same run at different lengths.
    """
    rows: dict[tuple[str, int, int], dict[str, Any]] = {}
    for cell in cells:
        for record in select(pool, cell.spec, row.protocol_of(cell.spec.objective.kind)):
            block = regularised_block(record)
            term: dict[str, Any] = next(iter(record["terms"]), {})
            rows[cell.label, record["seed"], record["step"]] = (
                {"label": cell.label, "seed": record["seed"], "step": record["step"]}
                | {name: value["value"] for name, value in record["metrics"].items()}
                | {name: block[name] for name in ("rms", "spread", "effective_rank", "mean_cosine")}
                | {"update_ratio": _update_ratio(record, block)}
                | {name: term.get(name) for name in ("off_diagonal_weight", "saturation", "gradient_ratio")}
            )
    return list(rows.values())


def regularised_block(record: Record, level: float = 0.5) -> dict[str, float]:
    """Measures at a quarter of the depth, for all runs alike, at one noise level."""
    depth = 1 + max(entry["block"] for entry in record["blocks"])
    block = max(depth // 4 - 1, 0)
    return next(e for e in record["blocks"] if e["block"] == block and e["level"] == level)


def _update_ratio(record: Record, block: dict[str, float]) -> float:
    later = [e["update_rms"] for e in record["blocks"]
             if e["level"] == block["level"] and e["block"] > block["block"]]  # fmt: skip
    return float(np.mean(later)) / block["rms"]


def variants_table(pool: list[Record], cells: list[Cell], row: Profile) -> list[Row]:
    """Cells of the paper's variants table, dispersive and contrastive, in the order of ``cells``.

    Only finished runs count; a label without any is left out.
    """
    final: dict[str, dict[int, Record]] = {}
    for cell in cells:
        found = select(pool, cell.spec, row.protocol)
        if found and found[-1]["step"] == cell.spec.num_steps:
            final.setdefault(cell.label, {})[cell.spec.seed] = found[-1]
    baseline = {seed: r["metrics"]["fd"]["value"] for seed, r in final.get("baseline", {}).items()}
    rows = []
    for label, by_seed in final.items():
        change = None
        if label != "baseline" and baseline.keys() & by_seed.keys():
            change = log_ratio({s: r["metrics"]["fd"]["value"] for s, r in by_seed.items()}, baseline)
        published = paper.variants_fid(label)
        rows.append(
            Row(
                label=label,
                seeds=sorted(by_seed),
                metrics={
                    name: _within(name, [r["metrics"][name]["value"] for r in by_seed.values()])
                    for name in METRICS
                },
                change=change,
                verdict=verdict(change) if change else "",
                paper_fid=published.value,
                paper_change=None
                if label == "baseline"
                else paper.relative_change(published.value, paper.BASELINE_FID.value),
                block={
                    name: mean_over_seeds([regularised_block(r)[name] for r in by_seed.values()])
                    for name in ("rms", "effective_rank", "mean_cosine")
                },
            )
        )
    return rows


def _within(name: str, values: list[float]) -> Estimate:
    """Mean over seeds; the interval of a share stays within [0, 1]."""
    estimate = mean_over_seeds(values)
    if name == "fd" or not np.isfinite(estimate.low):
        return estimate
    return dataclasses.replace(estimate, low=max(estimate.low, 0.0), high=min(estimate.high, 1.0))


def with_interval(estimate: Estimate, digits: int = 2) -> str:
    """``1.23 ± 0.04`` (half the interval), or the value alone where one seed gives no interval."""
    if not np.isfinite(estimate.low):
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} ± {(estimate.high - estimate.low) / 2:.{digits}f}"


def percent_interval(change: Estimate | None) -> str:
    """A log ratio as ``+12% [+5%, +20%]``."""
    if change is None:
        return ""
    value, low, high = (100 * np.expm1(v) for v in (change.value, change.low, change.high))
    return f"{value:+.0f}%" + (f" [{low:+.0f}%, {high:+.0f}%]" if np.isfinite(low) else " (one seed)")


def variants_markdown(rows: list[Row], profile: Profile) -> str:
    """The table as Markdown, with the card of the protocol below."""
    header = (
        "| variant | paper FID | paper Δ | our FD | our Δ (paired, 95%) | verdict | precision | recall | "
        "guided agreement | feature rms | effective rank | mean cosine | seeds |"
    )
    lines = [header, "|" + "---|" * 13]
    for row in rows:
        paper_change = "" if row.paper_change is None else f"{100 * row.paper_change:+.2f}%"
        lines.append(
            f"| {paper.NAMES[row.label]} | {row.paper_fid:.2f} | {paper_change} | "
            f"{with_interval(row.metrics['fd'])} | {percent_interval(row.change)} | {row.verdict} | "
            f"{with_interval(row.metrics['precision'])} | {with_interval(row.metrics['recall'])} | "
            f"{with_interval(row.metrics['guided_agreement'])} | {with_interval(row.block['rms'])} | "
            f"{with_interval(row.block['effective_rank'], 1)} | "
            f"{with_interval(row.block['mean_cosine'])} | {len(row.seeds)} |"
        )
    floor = noise_floor(profile.protocol)
    lines += [
        "",
        f"Ours: {profile.model} on digits, {profile.num_steps} steps of {profile.batch_size}; mean ± half "
        "the 95% interval over training seeds (Student's t). "
        f"{profile.protocol.card()}. Noise floor of the distance (real against real, same n and "
        f"reference): {floor.value:.2f} [{floor.low:.2f}, {floor.high:.2f}].",
        "",
        f"Paper: {paper.VARIANTS_SETTING}. Feature measures: block at a quarter of the depth, held-out "
        "images at noise level 0.5. Another data set, model size and metric: only the sign of Δ can be "
        "compared.",
    ]
    return "\n".join(lines) + "\n"


def grid_markdown(rows: list[Row]) -> str:
    """The paper's grid, variant by kind of term: its change beside ours, with the number of our seeds."""
    by_label = {row.label: row for row in rows}
    head = " | ".join(f"{column}: paper | ours" for column in paper.COLUMNS)
    lines = [f"| variant | {head} |", "|" + "---|" * (1 + 2 * len(paper.COLUMNS))]
    for variant in paper.VARIANTS_FID:
        cells = []
        for column in paper.COLUMNS:
            label = variant if column == "dispersive" else f"{variant}-{column}"
            published = paper.relative_change(paper.variants_fid(label).value, paper.BASELINE_FID.value)
            own = by_label.get(label)
            ours = "not trained yet"
            if own and own.change:
                ours = f"{percent_interval(own.change)}, {own.verdict} (n = {own.change.n})"
            cells.append(f"{100 * published:+.1f}% | {ours}")
        lines.append(f"| {paper.NAMES[variant]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Rows as plain data; NaN (no interval) becomes None."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, float) and not np.isfinite(value):
            return None
        return value

    return [clean(dataclasses.asdict(row)) for row in rows]
