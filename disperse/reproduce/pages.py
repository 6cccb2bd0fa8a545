"""Notebooks and Markdown as HTML that loads nothing from elsewhere: formulas are MathML, pictures are files.

nbconvert's own pages fetch MathJax and require.js from the network when they are opened; so only its
parsers are used here, and every tag that loads something is written by this module.
"""

import base64
import html
import re
import unicodedata
from collections.abc import Callable

import nbformat
from latex2mathml.converter import convert
from nbconvert.filters import ansi2html
from nbconvert.filters.highlight import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

# Where a link leads within the site; None if the site doesn't have it.
Link = Callable[[str], str | None]
# Keeps a picture beside the page and says how it is called there.
Keep = Callable[[bytes, str, str], str]
WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURES = {"image/png": "png", "image/jpeg": "jpg"}
_EXTERNAL = re.compile(r"(?i)^[a-z][a-z0-9+.-]*:|^//")
# Of HTML that a cell shows: anything that runs or fetches.
_LOADS = re.compile(
    r"(?i)<(script|iframe|object|embed|link|img|video|audio|source|form|base|meta)\b|url\(|@import"
)


def page(title: str, body: str, *, nav: str = "", footer: str = "") -> str:
    """A whole HTML page around ``body``."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n"
        '<link rel="icon" href="data:,">\n<link rel="stylesheet" href="report.css">\n</head>\n<body>\n'
        f"<nav>{nav}</nav>\n<main>\n{body}\n</main>\n<footer>{footer}</footer>\n</body>\n</html>\n"
    )


def markdown_html(text: str, link: Link) -> str:
    """Markdown with formulas as HTML; raw HTML in it is shown as text."""
    return MarkdownWithMath(renderer=_Renderer(link)).render(text)


def notebook_html(notebook: nbformat.NotebookNode, link: Link, keep: Keep) -> str:
    """The cells of an executed notebook as HTML, without progress bars, widgets and warnings."""
    highlight = Highlight2HTML(pygments_lexer="ipython3")
    parts = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown" and "papermill-error-cell-tag" not in tags:
            parts.append(f'<div class="text">\n{markdown_html(cell.source, link)}</div>')
        elif cell.cell_type == "code" and cell.source.strip():
            names = {"parameters": "parameters", "injected-parameters": "parameters of this run"}
            label = next((names[tag] for tag in tags if tag in names), "")
            note = f'<p class="label">{label}</p>\n' if label else ""
            parts.append(f'<div class="code">\n{note}{highlight(cell.source)}</div>')
            shown = [_output_html(output, link, keep) for output in cell.outputs]
            parts += [f'<div class="output">\n{part}\n</div>' for part in shown if part]
    return "\n".join(parts)


def _output_html(output: nbformat.NotebookNode, link: Link, keep: Keep) -> str:
    if output.output_type == "stream":
        lines = [line.rpartition("\r")[2] for line in output.text.split("\n")]
        text = "\n".join(lines).strip("\n")
        return f"<pre>{ansi2html(text)}</pre>" if output.name == "stdout" and text.strip() else ""
    if output.output_type == "error":
        return f'<pre class="error">{ansi2html(chr(10).join(output.traceback))}</pre>'
    data = output.data
    if WIDGET in data:
        return ""
    for kind, suffix in PICTURES.items():
        if kind in data:
            alt = output.metadata.get(kind, {}).get("alt", "")
            name = keep(base64.b64decode(data[kind]), suffix, alt)
            return f'<a href="{name}"><img src="{name}" alt="{html.escape(alt)}"></a>'
    if "text/html" in data and not _LOADS.search(data["text/html"]):
        return f'<div class="table">{data["text/html"]}</div>'
    if "text/markdown" in data:
        return markdown_html(data["text/markdown"], link)
    return f"<pre>{ansi2html(data['text/plain'])}</pre>" if "text/plain" in data else ""


def formula_html(tex: str, display: str = "inline") -> str:
    """TeX as MathML; as code where it can't be read."""
    try:
        found = convert(tex.replace(r"\big\|", r"\|").replace(r"\Big\|", r"\|"), display=display)
    except Exception:  # the parser raises many kinds
        return f"<code>{html.escape(tex)}</code>"
    # Browsers draw the letter that is there, whatever ``mathvariant`` says.
    found = re.sub(r'<mi mathvariant="([a-z-]+)">(\w)</mi>', _letter, found)
    return re.sub(r"(<mi>(?:log|exp|cos|sin|det)</mi>)(?=<(?!mo|/))", r'\1<mspace width="0.17em"/>', found)


def _letter(found: re.Match[str]) -> str:
    variant, letter = found[1].upper(), found[2]
    case = "CAPITAL" if letter.isupper() else "SMALL"
    for name in (f"MATHEMATICAL {variant} {case} {letter}", f"{variant} {case} {letter}"):
        try:
            return f"<mi>{unicodedata.lookup(name.upper())}</mi>"
        except KeyError:
            continue
    return found[0]


class _Renderer(IPythonRenderer):
    """Markdown as HTML with links into the site, and formulas as MathML."""

    def __init__(self, site_link: Link):
        super().__init__(escape=True, exclude_anchor_links=True)
        self.site_link = site_link

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if _EXTERNAL.match(url):
            return f'<a href="{html.escape(url)}">{text}</a>' if url.startswith("http") else text
        target = self.site_link(url)
        return text if target is None else f'<a href="{html.escape(target)}">{text}</a>'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        target = None if _EXTERNAL.match(url) else self.site_link(url)
        if target is None:
            return f"<em>{html.escape(text)}</em>"
        name = html.escape(target)
        return f'<a href="{name}"><img src="{name}" alt="{html.escape(text)}"></a>'

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        tag, length = "th" if head else "td", len(re.sub(r"<[^>]*>", "", text))
        # Numbers stay on one line, prose gets room; neither widens the page, since tables scroll.
        return f'<{tag} class="{"short" if length <= 24 else "prose"}">{text}</{tag}>\n'

    def block_math(self, body: str) -> str:
        return f'<span class="formula">{formula_html(body, "block")}</span>'

    def inline_math(self, body: str) -> str:
        return formula_html(body)

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")
