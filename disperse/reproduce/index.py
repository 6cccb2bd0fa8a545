"""The index of published results, and the table of claims in the project's README."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import atomic
from ..experiments import dispersive_term, profile, published, seeds_of, select
from ..experiments.paper import CLAIMED, CLAIMS, NOT_TESTED
from ..folders import home
from ..results import changes, frame, percent_text, table
from .notebooks import notebook_names, notebook_path

# The claims stand in the project's README between these lines.
BEGIN, END = "<!-- claims: written by `make figures` -->\n", "<!-- end of claims -->\n"
HOW = """\
*Agrees*: every comparison as claimed, by Student's t over paired seeds; *disagrees*: at least one the
other way; p is corrected for the number of comparisons, and by Holm's method for the claims of one
notebook. Anything else is *open*, as is whatever stands on comparisons of one seed. Comparisons are
counted by their own 95% intervals, uncorrected. Seeds: of the comparison that has fewest. (S): read in
one secondary source. Claims 1, 6, 7 and 8 share one comparison, the paper's setting with the baseline on
the same pairs of runs: they are not independent. Another data set, model size and metric than the
paper's: only signs can be compared.
"""


@dataclass(frozen=True)
class Shown:
    """A notebook as the index shows it: its heading, and its finding or what it is about, as Markdown."""

    title: str
    finding: str


def shown(path: Path) -> Shown:
    """The heading of a notebook, and its finding or else the line in italics below it.

    Args:
        path: a notebook, executed or not.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    first = next(("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"), "")
    heading, _, rest = first.partition("\n")
    paragraph = " ".join(rest.strip().split("\n\n")[0].split())
    told = re.fullmatch(r"\*\*(?:Finding|In short)\.\*\* (.+)|\*(?!\*)(.+)(?<!\*)\*", paragraph)
    title = heading.removeprefix("#").strip() if heading.startswith("# ") else ""
    return Shown(title or path.stem, (told[1] or told[2]) if told else "")


def claims_of(folder: Path) -> dict[int, dict[str, Any]]:
    """Verdicts that notebooks kept in a folder: number of the claim → its row, with the notebook's name."""
    found: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.claims.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            found[row["claim"]] = {**row, "notebook": path.name.removesuffix(".claims.json")}
    return dict(sorted(found.items()))


def claims_markdown(profile_name: str, folder: Path, notebooks: str) -> str:
    """Every claim of the paper with its verdict, as a table below a sentence that counts them.

    Args:
        profile_name: row of the ladder.
        folder: where notebooks kept their verdicts.
        notebooks: path from the table's file to the folder of notebooks.
    """
    rows = ["| claim of the paper | paper | our comparisons | seeds | verdict at this scale |",
            "|---|---|---|---|---|"]  # fmt: skip
    found = claims_of(folder)
    for number, row in found.items():
        link = f"[`{row['notebook']}`]({notebooks}/{row['notebook']}.ipynb)"
        counted = f"{row['below']} of {row['comparisons']} as claimed, {row['above']} against"
        why = "" if row["verdict"] == "open" else f", p = {row['p']:.2g}"
        rows.append(
            f"| {number}. {CLAIMS[number]} {link} | {CLAIMED[number]} | {counted} | {row['seeds']} "
            f"| **{row['verdict']}**{why} |"
        )
    kinds = [row["verdict"] for row in found.values()]
    counts = ", ".join(f"{kind} {kinds.count(kind)}" for kind in ("agrees", "disagrees", "open"))
    told = f"At this scale, of {len(found)} claims of the paper: {counted_text(counts, profile_name)}"
    untested = "; ".join(f"{text} ({number})" for number, text in NOT_TESTED.items() if number in found)
    left = f"\nNot tested: {untested}.\n" if untested else ""
    return f"{told}\n\n" + "\n".join(rows) + f"\n{left}"


def counted_text(counts: str, profile_name: str) -> str:
    """The counts, and what the paper's own setting did to the distance."""
    row, pool = profile(profile_name), published(profile_name)
    runs = [row.run(s, *t, milestones=()) for s in seeds_of(profile_name) for t in ((), (dispersive_term(),))]
    ends = table(record for spec in runs for record in select(pool, spec, row.protocol))
    if ends.empty or ends.regularizers.nunique() < 2:
        return f"{counts}."
    own, base = ends[ends.regularizers != "none"], ends[ends.regularizers == "none"]
    (change,) = changes(own, base, "fd").to_dict("records")
    told = percent_text(change["value"], change["low"], change["high"])
    return f"{counts}. The paper's own setting against the baseline: {told}, n = {change['n']} seeds."


def write_index(profile_name: str) -> list[Path]:
    """Write ``figures/README.md``, and the table of claims into the project's README."""
    figures = home() / "figures"
    index = figures / "README.md"
    atomic.write_text(index, index_markdown(profile_name, figures))
    readme = home() / "README.md"
    if not readme.exists():
        return [index]
    text = readme.read_text(encoding="utf-8")
    atomic.write_text(
        readme, with_claims(text, claims_markdown(profile_name, figures / profile_name, "notebooks"))
    )
    return [index, readme]


def with_claims(text: str, table: str) -> str:
    """A README with the table of claims between its two marks; unchanged where it has no marks."""
    marked = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    return marked.sub(lambda _: BEGIN + table + END, text)


def index_markdown(profile_name: str, figures: Path) -> str:
    """The index: claims, then each notebook with its finding and pictures, linked to its executed copy."""
    rows, folder = frame(profile_name), figures / profile_name
    parts = [
        "# Published results\n",
        f"Drawn by `make figures`, which executes the notebooks on {len(rows)} evaluations of "
        f"{rows.fingerprint.nunique()} runs, [`{profile_name}/results.jsonl`]({profile_name}/results.jsonl), "
        "each with its specification, seed, protocol, interval, commit and device. Nothing here is edited by "
        "hand; `make verify` executes them again and compares. Beside each picture lie the values that it "
        "shows (`.json`) and a drawing for papers (`.svg`).\n",
        "## The paper's claims\n",
        claims_markdown(profile_name, folder, "../notebooks"),
        HOW,
        "## Notebooks\n",
    ]
    for name in notebook_names():
        own = shown(notebook_path(name))
        executed = f"../papermill_runs/{profile_name}/{name}.ipynb"
        if not (figures / executed).exists():
            continue
        parts.append(f"### [{own.title}]({executed})\n\n{own.finding}\n")
        for path in sorted(folder.glob("*.png")):
            if notebook_of(path.stem) == name:
                facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
                parts.append(f"![{facts['picture']['alt']}]({profile_name}/{path.name})\n")
    return "\n".join(parts)


def notebook_of(stem: str) -> str:
    """The notebook that keeps a file: the one with the longest name that the file's begins with; or none.

    Numbers before a notebook's name don't count: ``03_representations`` keeps ``representations_maps.png``.
    """
    short = {name.lstrip("0123456789_"): name for name in notebook_names()}
    fits = [own for own in short if stem == own or stem.startswith((f"{own}_", f"{own}."))]
    return short[max(fits, key=len)] if fits else ""
