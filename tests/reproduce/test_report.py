"""The static site: it opens without server or network, and shows what ran, what failed and what did not."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from disperse import atomic
from disperse.cli import main
from disperse.errors import StorageError
from disperse.reproduce import output_folder
from disperse.reproduce.index import Shown, shown
from disperse.reproduce.pages import WIDGET, formula_html, markdown_html
from disperse.reproduce.report import build_report, site_path

PUBLISHED = Path(__file__).parents[2] / "figures" / "cpu"
FIRST, SECOND = b"\x89PNG one", b"\x89PNG two"
HOSTILE = '<img src="https://example.org/x.png"><script src="//example.org/x.js"></script>'
TEXT = """# Which variant?

*The `paper` says: all.
With intervals.*

Now $\\mathcal L = \\mathbb E[x_i]$, see [`norms`](norms.ipynb), [results](../figures/README.md#variants),
[missing](missing.ipynb), [the readme](../README.md) and [the paper](https://arxiv.org/abs/2506.09027).

$$\\frac{a}{b} < c$$

![elsewhere](https://example.org/picture.png)
"""


class Page(HTMLParser):
    """What a page loads, where it links to, and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.alts: list[str] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.alts += [values.get("alt") or ""] if tag == "img" else []
        for name, value in attrs:
            if tag == "a" and name == "href":
                self.links.append(value or "")
            elif name in ("src", "href", "srcset", "data", "poster", "action"):
                self.loads.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


def picture(content: bytes, alt: str) -> nbformat.NotebookNode:
    data = {"image/png": base64.b64encode(content).decode(), "text/plain": "<Image>"}
    return new_output("display_data", data=data, metadata={"image/png": {"alt": alt}})


def write(name: str, *cells: nbformat.NotebookNode, text: str = TEXT, profile: str = "smoke") -> None:
    run = {"start_time": "2026-01-02T03:04:05.6+00:00", "duration": 125.0}
    notebook = new_notebook(cells=[new_markdown_cell(text), *cells], metadata={"papermill": run})
    folder = output_folder(profile)
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")


def receipt(name: str, **outputs: object) -> None:
    facts = {"notebook": name, "profile": "smoke", "commit": "abc123", "torch": "2.9", "device": "cpu"}
    atomic.write_json(output_folder("smoke") / f"{name}.receipt.json", {**facts, "outputs": outputs})


@pytest.fixture
def site(store: Path) -> Path:
    """Two notebooks with pages, one that failed, one that was not executed, and published results."""
    for name in ("which", "norms", "broken", "missing"):
        path = store / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(), path)
    code = new_code_cell("x = 1", metadata={"tags": ["parameters"]})
    code.outputs = [
        new_output("stream", name="stderr", text="runs:  50%|█████ UserWarning: noise"),
        new_output("stream", name="stdout", text="1/2\r2/2\nfd < 0.5"),
        new_output("display_data", data={WIDGET: {"model_id": "x"}, "text/plain": "HBox(junk)"}),
        new_output("display_data", data={"text/html": HOSTILE, "text/plain": "plainly"}),
        new_output("display_data", data={"text/html": "<table><tr><td>0.25</td></tr></table>"}),
        new_output("display_data", data={"text/markdown": "| a |\n|---|\n| [n](norms.ipynb) |"}),
        picture(FIRST, "first picture"),
        picture(SECOND, "main picture"),
        picture(SECOND, "main picture again"),
    ]
    write("which", code)
    receipt("which", picture="/some/where/else/which_main.png")
    (output_folder("smoke") / "which_main.png").write_bytes(SECOND)
    rows = [{"claim": 1, "verdict": "disagrees"}]
    atomic.write_json(output_folder("smoke") / "which.claims.json", rows)
    write("norms", text="no heading")
    failing = new_code_cell("1 / 0")
    failing.outputs = [new_output("error", ename="Zero<Error>", evalue="by\nzero",
                                  traceback=["\x1b[31mZero<Error>\x1b[0m: by zero"])]  # fmt: skip
    write("broken.failed", failing, text="# Broken")
    figures = store / "figures"
    (figures / "cpu").mkdir(parents=True)
    (figures / "README.md").write_text(
        "# Published\n\n[`which`](../papermill_runs/cpu/which.ipynb)\n\n![alt](cpu/which.png)"
    )
    (figures / "cpu" / "which.png").write_bytes(FIRST)
    assert build_report("smoke").endswith("index.html: 2 notebooks, 1 failed, 1 not executed")
    return store / "build" / "report" / "smoke"


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for path in site.glob("*.html"):
        page = Page(path)
        assert not {"script", "iframe", "object", "embed", "base"} & set(page.tags)
        for target in page.loads:
            assert target == "data:," or (site / target).is_file(), f"{path.name}: {target}"
        assert 'name="viewport" content="width=device-width' in path.read_text()
    style = (site / "report.css").read_text()
    assert "@import" not in style
    assert "url(" not in style


def test_every_link_leads_somewhere_within(site: Path) -> None:
    outside = []
    for path in site.glob("*.html"):
        for link in Page(path).links:
            target, _, anchor = link.partition("#")
            if link.startswith("http"):
                outside.append(link)
            else:
                assert (site / (target or path.name)).is_file(), f"{path.name}: {link}"
                if target == "index.html" and anchor:
                    assert f'id="{anchor}"' in (site / target).read_text()
    assert set(outside) == {"https://arxiv.org/abs/2506.09027"}  # followed only by who clicks
    links = Page(site / "which.html").links
    assert "norms.html" in links
    assert "figures.html#variants" in links
    assert "index.html#not-executed" in links
    assert not any("README" in link for link in links)
    assert "which.html" in Page(site / "figures.html").links


def test_the_index_says_what_ran_and_how(site: Path) -> None:
    text, page = (site / "index.html").read_text(), Page(site / "index.html")
    assert "Which variant?" in page.words
    assert "The paper says: all. With intervals." in page.words
    assert "norms" in page.words  # a notebook without a heading goes by its name
    assert '<li class="disagrees">claim 1: disagrees</li>' in text
    assert "profile smoke · commit abc123 · torch 2.9 · cpu · 2026-01-02 03:04 UTC · 2 min" in page.words
    assert "no receipt" in page.words
    assert "toy size" in page.words
    assert page.alts == ["main picture"]
    assert (site / page.loads[-1]).read_bytes() == SECOND
    failed = text[text.index('id="failed"') :].split("</section>")[0]
    assert '<a href="broken.failed.html">broken</a>: Zero&lt;Error&gt;: by zero' in failed
    missing = text[text.index('id="not-executed"') :].split("</section>")[0]
    assert re.findall("<li>(.*?)</li>", missing) == ["missing"]


def test_a_page_shows_results_and_no_junk(site: Path) -> None:
    page = Page(site / "which.html")
    for junk in ("UserWarning", "50%", "HBox", "<Image>", "1/2", "example.org/x"):
        assert junk not in page.words
    for told in ("2/2", "fd < 0.5", "plainly", "0.25", "parameters", "ℒ", "𝔼", "2 min"):
        assert told in page.words
    assert page.tags.count("math") == 2
    assert page.tags.count("img") == 3
    assert len(list(site.glob("which-*.png"))) == 2  # the same picture is kept once
    assert "Zero<Error>: by zero" in Page(site / "broken.failed.html").words
    assert "This execution failed" in Page(site / "broken.failed.html").words


def test_a_failure_beside_an_earlier_success(site: Path, store: Path) -> None:
    write("broken", text="# Broken, mended")
    build_report("smoke")
    text = (site / "index.html").read_text()
    assert "the page above is of an earlier execution" in text
    assert {"broken.html", "broken.failed.html"} <= set(Page(site / "index.html").links)
    assert not list(store.rglob(".tmp-*"))


def test_a_new_report_replaces_the_old(site: Path) -> None:
    (output_folder("smoke") / "norms.ipynb").unlink()
    assert "1 notebooks, 1 failed, 2 not executed" in build_report("smoke")
    assert not (site / "norms.html").exists()
    assert "norms.html" not in Page(site / "which.html").links


def test_a_card_says_what_the_claims_of_its_notebook_come_to(site: Path) -> None:
    rows = [{"claim": 10, "verdict": "agrees"}, {"claim": 6, "verdict": "open"}]
    atomic.write_json(output_folder("smoke") / "which.claims.json", rows)
    build_report("smoke")
    chips = re.findall(r'<li class="(\w+)">(.*?)</li>', (site / "index.html").read_text())
    assert chips == [("other", "claim 6: open"), ("agrees", "claim 10: agrees")]


def test_nothing_executed_and_a_damaged_notebook(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--profile", "smoke"]) == 3
    assert "no executed notebooks; run `disperse reproduce --profile smoke`" in capsys.readouterr().err
    output_folder("smoke").mkdir(parents=True)
    (output_folder("smoke") / "a.ipynb").write_text("{")
    with pytest.raises(StorageError, match=r"a\.ipynb: no notebook \(\w+\); delete it or execute it again"):
        build_report("smoke")
    assert not (store / "build").exists()
    (output_folder("smoke") / "a.ipynb").unlink()
    write("a", text="# A")
    (output_folder("smoke") / "a.receipt.json").write_text("{")
    assert main(["report", "--profile", "smoke"]) == 0
    assert capsys.readouterr().out.endswith("1 notebooks, 0 failed, 0 not executed\n")


@pytest.mark.parametrize(
    ("tex", "shown"),
    [
        (r"\mathcal L", "ℒ"),
        (r"\mathbb E_i", "𝔼"),
        (r"\big\| v \big\|^2", "‖"),
        (r"\|\mu_r-\mu_g\|^2", "‖"),
        (r"a < b & c", "&lt;"),
    ],
)
def test_formulas_are_mathml(tex: str, shown: str) -> None:
    found = formula_html(tex).replace("&#x02016;", "‖").replace("&#x0003C;", "&lt;")
    assert found.startswith("<math ")
    assert shown in found
    assert r"\|" not in found


def test_a_formula_that_cannot_be_read_is_shown_as_it_was_written() -> None:
    assert formula_html(r"\left( a<") == r"<code>\left( a&lt;</code>"


def test_formulas_of_the_notebooks_are_all_readable() -> None:
    for path in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "markdown":
                text = re.sub(r"```.*?```|`[^`]*`", "", "".join(cell["source"]), flags=re.DOTALL)
                found = markdown_html(text, lambda _: None)
                assert "$" not in found, path.name
                assert not re.search(r"<code>[^<]*\\|>\\[a-zA-Z|]", found), path.name
                assert 'mathvariant="double-struck"' not in found


def test_titles_and_findings(tmp_path: Path) -> None:
    def shown_of(*sources: str) -> Shown:
        cells = [new_markdown_cell(source) for source in sources]
        nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
        return shown(tmp_path / "a.ipynb")

    for path in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb")):
        assert shown(path).title != path.stem
        assert shown(path).finding, path.name
    assert shown_of() == Shown("a", "")
    assert shown_of("# A\n\n**b**") == shown_of("# A\n\nplain *b*") == Shown("A", "")
    assert shown_of("# A\n\n**Finding.** It is *b*.\n\n*Paper: c*") == Shown("A", "It is *b*.")


@pytest.mark.parametrize(
    ("url", "base", "target"),
    [
        ("norms.ipynb", "notebooks", "norms.html"),
        ("./norms.ipynb#check", "notebooks", "norms.html#check"),
        ("other.ipynb", "notebooks", "index.html#not-executed"),
        ("../notebooks/norms.ipynb", "figures", "norms.html"),
        ("../figures/README.md", "notebooks", "figures.html"),
        ("../papermill_runs/cpu/norms.ipynb", "figures", "norms.html"),
        ("cpu/variants.png", "figures", "figures-cpu-variants.png"),
        ("cpu/none.png", "figures", None),
        ("../README.md", "notebooks", None),
        ("#check", "notebooks", "#check"),
    ],
)
def test_links_within_the_site(url: str, base: str, target: str | None) -> None:
    published = {"figures/README.md", "figures/cpu/variants.png"}
    assert site_path(url, base, {"norms"}, published) == target


def test_a_page_that_a_notebook_wrote_stands_beside_it(site: Path) -> None:
    (output_folder("smoke") / "play.html").write_text("<script>1</script>")
    receipt("which", page="/some/where/else/play.html")
    receipt("norms", page="/some/where/else/gone.html")
    build_report("smoke")
    assert (site / "which-live.html").read_text() == "<script>1</script>"
    assert "which-live.html" in Page(site / "which.html").links
    assert not (site / "norms-live.html").exists()
    assert "norms-live.html" not in Page(site / "norms.html").links
