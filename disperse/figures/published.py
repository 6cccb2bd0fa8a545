"""The committed figures: redrawn from ``results.jsonl``, without training."""

import re
from pathlib import Path

from .. import atomic
from ..errors import StorageError
from ..experiments import Profile, home, item, profile, published
from ..experiments.compare import compare
from ..experiments.verdicts import Verdict, verdicts, verdicts_markdown
from ..store import Record
from .sections import SECTIONS, Section

# The claims stand in the project's README between these lines.
BEGIN, END = "<!-- claims: written by `make figures` -->\n", "<!-- end of claims -->\n"


def draw_published(profile_name: str, into: Path | None = None) -> list[Path]:
    """Redraw every published figure and table of a profile, and the index of all.

    Args:
        profile_name: row of the ladder.
        into: where ``<profile>/`` and the index go; ``figures`` by default, and then the claims in the
            project's README are written as well.

    Raises:
        StorageError: too little is published for that profile, or a result was edited.
    """
    row, pool = profile(profile_name), published(profile_name)
    if not pool:
        raise StorageError(f"figures/{profile_name}/results.jsonl: nothing published; run `disperse publish`")
    seeds = tuple(sorted({record["seed"] for record in pool}))
    finished = {entry.label for entry in compare(pool, item("variants", profile_name, seeds), row)}
    if not {"baseline"} < finished:
        raise StorageError(
            f"figures/{profile_name}/results.jsonl: expected the baseline and a variant at the profile's "
            f"length and protocol, found {', '.join(sorted(finished)) or 'none'}; run `disperse reproduce`, "
            "then `disperse publish`"
        )
    folder, kept = (into or home() / "figures") / profile_name, home() / "figures" / profile_name
    paths: list[Path] = []
    shown = []
    for section in SECTIONS:
        cells = section.cells(pool, row, seeds)
        if cells and section.there(kept):
            paths += section.draw(pool, cells, row, folder)
            shown.append(section)
    claims = verdicts(pool, row)
    paths.append(folder.parent / "README.md")
    atomic.write_text(paths[-1], _index(row, pool, shown, folder, kept, claims))
    readme = home() / "README.md"
    if into is None and readme.exists():
        atomic.write_text(readme, with_claims(readme.read_text(encoding="utf-8"), claims))
    return paths


def with_claims(text: str, claims: list[Verdict]) -> str:
    """A README with the table of claims between its two marks; unchanged where it has no marks."""
    table = verdicts_markdown(claims, "notebooks")
    marked = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    return marked.sub(lambda _: BEGIN + table + END, text)


def _index(
    row: Profile, pool: list[Record], shown: list[Section], folder: Path, kept: Path, claims: list[Verdict]
) -> str:
    template = Path(__file__).with_name("index.md").read_text(encoding="utf-8")
    return template.format(
        profile=row.name,
        evaluations=len(pool),
        runs=len({record["fingerprint"] for record in pool}),
        claims=verdicts_markdown(claims, "../notebooks"),
        rows="".join(section.index_row(folder, kept) for section in shown),
        sections="\n".join(section.markdown(folder, kept) for section in shown),
    )
