"""A static site of the executed notebooks, which opens from the file system without server or network."""

import datetime
import hashlib
import html
import json
import posixpath
import shutil
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import nbformat

from .. import atomic
from ..errors import StorageError
from ..experiments import home, profile
from ..folders import output_folder
from ..store import commit
from . import pages
from .index import claims_of, shown

FAILED = ".failed"


@dataclass
class Entry:
    """What the index shows of an executed notebook.

    Attributes:
        name: of the notebook.
        notebook: as executed.
        title, claim: its heading, and the line in italics below it, as Markdown.
        receipt: what its last cell wrote; empty without.
        failure: why it failed; empty if it succeeded.
        pictures: SHA-256 of each picture → its file in the site and its alternative text.
    """

    name: str
    notebook: nbformat.NotebookNode
    title: str
    claim: str
    receipt: dict[str, Any]
    failure: str = ""
    pictures: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def page(self) -> str:
        """File of its page in the site."""
        return f"{self.name}{FAILED if self.failure else ''}.html"


def build_report(profile_name: str) -> str:
    """Write ``build/report/<profile>/``; returns one line that says where and of what.

    Raises:
        StorageError: nothing was executed, or a notebook can't be read.
    """
    row, source = profile(profile_name), output_folder(profile_name)
    if not any(source.glob("[!.]*.ipynb")):
        source = home() / "papermill_runs" / profile_name  # the published ones
    entries = [_entry(path) for path in sorted(source.glob("[!.]*.ipynb"))]
    if not entries:
        raise StorageError(
            f"{source}: no executed notebooks; run `disperse reproduce --profile {profile_name}`"
        )
    done, failed = ([e for e in entries if bool(e.failure) == state] for state in (False, True))
    known = {path.stem for path in (home() / "notebooks").glob("[!.]*.ipynb")}
    missing = sorted(known - {entry.name for entry in entries})
    site = home() / "build" / "report" / profile_name
    with atomic.new_folder(site) as folder:
        published = _published_pages(folder, {entry.name for entry in done})
        for entry in entries:
            _write_page(folder, entry, source, {entry.name for entry in done}, published)
        index = _index(row.name, row.stamp, done, failed, missing, source, published)
        _write(folder / "index.html", index)
        _write(folder / "report.css", files(__package__).joinpath("report.css").read_text(encoding="utf-8"))
        shutil.rmtree(site, ignore_errors=True)
    counts = f"{len(done)} notebooks, {len(failed)} failed, {len(missing)} not executed"
    return f"{site / 'index.html'}: {counts}"


def _entry(path: Path) -> Entry:
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises many kinds
        kind = type(error).__name__
        raise StorageError(f"{path}: no notebook ({kind}); delete it or execute it again") from None
    name = path.stem.removesuffix(FAILED)
    first = shown(path)
    failure = _reason(notebook) if path.stem.endswith(FAILED) else ""
    receipt = {} if failure else _json(path.with_name(f"{name}.receipt.json"))
    return Entry(name, notebook, first.title, first.finding, receipt, failure)


def _json(path: Path) -> dict[str, Any]:
    """A JSON object, or an empty one: a report shows what there is."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _reason(notebook: nbformat.NotebookNode) -> str:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return " ".join(f"{output.ename}: {output.evalue}".split())[:300]
    return "no error in a cell: the kernel died, a cell took too long, or the last was not reached"


def site_path(url: str, base: str, executed: set[str], published: set[str]) -> str | None:
    """Where a link of a notebook or of the published index leads within the site; None if nowhere.

    Args:
        url: as written, relative.
        base: folder of the repository that it is relative to.
        executed: names of the notebooks that have a page.
        published: files of ``figures/`` that the site has, as paths from the repository.
    """
    target, mark, anchor = url.partition("#")
    if not target:
        return url
    path = posixpath.normpath(posixpath.join(base, target))
    if path.partition("/")[0] in ("notebooks", "papermill_runs") and path.endswith(".ipynb"):
        name = posixpath.basename(path).removesuffix(".ipynb")
        return f"{name}.html{mark}{anchor}" if name in executed else "index.html#not-executed"
    return _published_name(path) + mark + anchor if path in published else None


def _published_name(path: str) -> str:
    """File in the site of a file of ``figures/``."""
    if path == "figures/README.md":
        return "figures.html"
    flat = path.replace("/", "-")
    return flat.removesuffix(".md") + ".html" if flat.endswith(".md") else flat


def _published_pages(folder: Path, executed: set[str]) -> set[str]:
    """Write the published index with its tables and pictures; returns what there is, or nothing."""
    root = home() / "figures"
    if not (root / "README.md").is_file():
        return set()
    paths = [path for path in root.glob("*/*") if path.suffix in (".png", ".json", ".jsonl")]
    published = {f"figures/{path.relative_to(root).as_posix()}" for path in [root / "README.md", *paths]}
    for name in sorted(published):
        source, target = home() / name, folder / _published_name(name)
        if not name.endswith(".md"):
            shutil.copyfile(source, target)
            continue
        text, base = source.read_text(encoding="utf-8"), posixpath.dirname(name)
        body = pages.markdown_html(text, lambda url, base=base: site_path(url, base, executed, published))  # type: ignore[misc]
        nav = _nav(published if name != "figures/README.md" else set())
        _write(target, pages.page("Published results", f'<div class="text">\n{body}</div>', nav=nav))
    return published


def _write_page(folder: Path, entry: Entry, source: Path, executed: set[str], published: set[str]) -> None:
    def keep(content: bytes, suffix: str, alt: str) -> str:
        name = f"{entry.page.removesuffix('.html')}-{len(entry.pictures) + 1}.{suffix}"
        digest = hashlib.sha256(content).hexdigest()
        if digest not in entry.pictures:
            (folder / name).write_bytes(content)
            entry.pictures[digest] = name, alt
        return entry.pictures[digest][0]

    def link(url: str) -> str | None:
        return site_path(url, "notebooks", executed, published)

    body = pages.notebook_html(entry.notebook, link, keep)
    live = source / Path(str(entry.receipt.get("outputs", {}).get("page", ""))).name
    if live.suffix == ".html" and live.is_file():
        name = f"{entry.page.removesuffix('.html')}-live.html"
        shutil.copyfile(live, folder / name)
        body = f'<p class="live"><a href="{name}">To try out: the interactive page</a></p>\n{body}'
    if entry.failure:
        body = f'<p class="failure">This execution failed: {html.escape(entry.failure)}</p>\n{body}'
    footer = " · ".join(provenance(entry))
    _write(folder / entry.page, pages.page(entry.title, body, nav=_nav(published), footer=footer))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _nav(published: set[str]) -> str:
    results = '<a href="figures.html">Published results</a>' if published else ""
    return f'<a href="index.html">All notebooks</a>{results}'


def provenance(entry: Entry) -> list[str]:
    """Where the numbers of a notebook come from, as short texts."""
    run, receipt = entry.notebook.metadata.get("papermill", {}), entry.receipt
    parts = []
    if receipt:
        parts += [f"profile {receipt.get('profile', '?')}", f"commit {receipt.get('commit', '?')}"]
        parts += [f"torch {receipt.get('torch', '?')}", str(receipt.get("device", "?"))]
    elif not entry.failure:
        parts.append("no receipt")
    if run.get("start_time"):
        parts.append(str(run["start_time"])[:16].replace("T", " ") + " UTC")
    if run.get("duration") is not None:
        parts.append(_duration(run["duration"]))
    return [html.escape(part) for part in parts]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def verdicts(entry: Entry, folder: Path) -> list[tuple[str, str]]:
    """(claim, verdict) of a notebook: the paper's claims that it judges, by number."""
    rows = claims_of(folder)
    return [(f"claim {k}", row["verdict"]) for k, row in rows.items() if row["notebook"] == entry.name]


def _main_picture(entry: Entry, folder: Path) -> tuple[str, str] | None:
    """The picture named as the notebook or by its receipt, else its first; file and alternative text."""
    named = Path(str(entry.receipt.get("outputs", {}).get("picture", ""))).name
    for name in (f"{entry.name}.png", named):
        if name and (folder / name).is_file():
            found = entry.pictures.get(atomic.sha256_file(folder / name))
            if found:
                return found
    return next(iter(entry.pictures.values()), None)


def _card(entry: Entry, folder: Path) -> str:
    def nowhere(_: str) -> None:  # a card is a link as a whole
        return None

    picture = _main_picture(entry, folder)
    parts = [f"<h2>{html.escape(entry.title)}</h2>"]
    if picture:
        parts.insert(0, f'<img src="{picture[0]}" alt="{html.escape(picture[1])}">')
    if entry.claim:
        parts.append(pages.markdown_html(entry.claim, nowhere))
    found = verdicts(entry, folder)
    if found:
        items = "".join(_verdict(what, text) for what, text in found)
        parts.append(f'<ul class="verdicts">{items}</ul>')
    parts.append(f'<p class="provenance">{" · ".join(provenance(entry))}</p>')
    return f'<a class="card" href="{entry.page}">\n' + "\n".join(parts) + "\n</a>"


def _verdict(what: str, text: str) -> str:
    kind = text if text in ("agrees", "disagrees") else "other"
    return f'<li class="{kind}">{html.escape(f"{what}: {text}" if what else text)}</li>'


def _index(
    profile_name: str,
    stamp: str,
    done: list[Entry],
    failed: list[Entry],
    missing: list[str],
    source: Path,
    published: set[str],
) -> str:
    parts = [f"<h1>Executed notebooks <small>profile {html.escape(profile_name)}</small></h1>"]
    if stamp:
        parts.append(
            f'<p class="failure">{html.escape(stamp)}: toy size. It shows that the notebooks run, '
            "not what they show.</p>"
        )
    if failed:
        parts.append('<section id="failed">\n<h2>Failed</h2>\n<ul>')
        good = {entry.name for entry in done}
        for entry in failed:
            kept = "; the page above is of an earlier execution" if entry.name in good else ""
            name, why = html.escape(entry.name), html.escape(entry.failure)
            parts.append(f'<li><a href="{entry.page}">{name}</a>: {why}{kept}</li>')
        parts.append("</ul>\n</section>")
    parts += ['<div class="cards">', *(_card(entry, source) for entry in done), "</div>"]
    parts.append('<section id="not-executed">\n<h2>Not executed</h2>')
    names = "".join(f"<li>{html.escape(name)}</li>" for name in missing)
    parts.append(f"<ul>{names}</ul>" if missing else "<p>None: every notebook has a page here.</p>")
    parts.append("</section>")
    made = datetime.datetime.now(datetime.UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")
    footer = f"disperse, commit {html.escape(commit())} · made {made} UTC"
    nav = '<a href="figures.html">Published results</a>' if published else ""
    return pages.page(
        f"disperse: executed notebooks, {profile_name}", "\n".join(parts), nav=nav, footer=footer
    )
