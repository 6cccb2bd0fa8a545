"""What each feature space sees and tells apart, as the tables of ``docs/evaluators.md``.

Usage: python -m disperse.experiments.evaluators
"""

import sys
from pathlib import Path

from .. import atomic
from ..errors import DataError
from ..evaluation import memorizer_distance, sight
from ..evaluation.features import metric_name
from ..evaluation.frechet import mean_over_seeds
from ..evaluation.separation import spoiled_distances
from ..store import published, select
from .profiles import Profile, profile
from .rules import rule_protocol

PAGE = Path("docs") / "evaluators.md"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
PROFILES = ("cpu", "fashion", "cifar16")


def trained_distances(row: Profile, metric: str) -> tuple[str, str]:
    """Mean over published seeds of the baseline at half and at the whole of its training, as text with n."""
    pool, half = published(row.name), row.num_steps // 2
    found: dict[int, list[float]] = {half: [], row.num_steps: []}
    for seed in sorted({record["seed"] for record in pool}):
        for record in select(pool, row.run(seed), rule_protocol(row, "sit")):
            if record["step"] in found and metric in record["metrics"]:
                found[record["step"]].append(record["metrics"][metric]["value"])
    half_text, whole_text = (
        f"{mean_over_seeds(values).value:.3f} (n = {len(values)})" if values else "not published"
        for values in found.values()
    )
    return half_text, whole_text


def tables(row: Profile) -> str:
    """Two tables of the feature spaces of a profile's data.

    Raises:
        DataError: the data are not on this machine.
    """
    protocol, n = row.protocol, row.num_samples
    spaces = (protocol.evaluator, *protocol.spaces)
    seen = [
        f"### `{row.data}`, n = {n}, against the held-out images",
        "",
        "| space | metric | features | alive | effective rank | 95% of the variance in | within classes |",
        "|---|---|---|---|---|---|---|",
    ]
    told = [
        "| space | floor: real | memoriser of " + " | memoriser of ".join(map(str, row.subsets))
        + " | blurred | a class missing | one style | a random quarter | baseline, half | baseline, whole |",
        "|---|---|" + "---|" * (len(row.subsets) + 6),
    ]  # fmt: skip
    for space in spaces:
        each = sight(row.data, space)
        metric = metric_name(space)
        seen.append(
            f"| `{space}` | `{metric}` | {each.num_features} | {each.alive:.0%} | "
            f"{each.effective_rank:.1f} | {each.directions95} | {each.within_class:.0%} |"
        )
        apart = spoiled_distances(row.data, space, n)
        memory = [memorizer_distance(f"{row.data}:{m}", row.reference, space, n) for m in row.subsets]
        cells = [
            f"{apart.real.value:.3f} [{apart.real.low:.3f}, {apart.real.high:.3f}]",
            *(f"{m.value:.3f}" for m in memory),
            *(
                f"{value:.3f}"
                for value in (apart.blurred, apart.class_missing, apart.one_style, apart.quarter)
            ),
            *trained_distances(row, metric),
        ]
        told.append(f"| `{space}` | " + " | ".join(cells) + " |")
    return "\n".join([*seen, "", *told, ""])


def main() -> int:
    """Write the tables of every profile whose data are here; keep the others as they stand."""
    page = Path(__file__).resolve().parents[2] / PAGE
    before, rest = page.read_text(encoding="utf-8").split(BEGIN, 1)
    old, after = rest.split(END, 1)
    parts = []
    for name in PROFILES:
        row = profile(name)
        try:
            parts.append(tables(row))
        except DataError as error:
            print(f"evaluators: {row.data} stays as it stands: {error}", file=sys.stderr)
            head = f"### `{row.data}`,"
            parts += [head + part.rstrip("\n") + "\n" for part in _sections(old, head)]
    atomic.write_text(page, before + BEGIN + "\n" + "\n".join(parts) + END + after)
    return 0


def _sections(text: str, head: str) -> list[str]:
    """What stands below a heading, up to the next, where it is there."""
    return [part.split("\n### ", 1)[0] for part in text.split(head)[1:]]


if __name__ == "__main__":
    sys.exit(main())
