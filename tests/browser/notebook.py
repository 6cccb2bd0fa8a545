"""What a reader does with a notebook in JupyterLab or Voila, and what can be seen of it."""

import io
import re
import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np
from PIL import Image

from disperse.reproduce import with_parameters
from disperse.training import home

from ..conftest import REPOSITORY

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, FloatRect, Locator, Page, Route

SIZE = {"width": 1280, "height": 900}
READY_MS = 60_000
RUN_MS = 300_000  # for a whole notebook on a busy machine
SCREENSHOTS = REPOSITORY / "build" / "screenshots"
# Addresses whose absence is no error of ours, each with its reason; nothing here leaves the machine.
KNOWN = {
    r"^https://cdn\.jsdelivr\.net/npm/@fortawesome": "Voila links its icons there",
    r"^https://cdnjs\.cloudflare\.com/ajax/libs/mathjax": "Voila takes MathJax from there",
}
FRONT = ".jp-NotebookPanel:not(.lm-mod-hidden)"
# Of the notebook in front: what every cell that holds code has come to.
CELLS = """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
  .filter(cell => cell.type === 'code' && cell.sharedModel.getSource().trim())
  .map(cell => ({count: cell.executionCount, state: cell.sharedModel.executionState,
                 outputs: cell.outputs.toJSON()}))"""


def watch(context: "BrowserContext", url: str) -> list[str]:
    """Collect what goes wrong on the pages of a context, and let nothing out of the machine."""
    found: list[str] = []

    def known(address: str) -> bool:
        return any(re.match(pattern, address) for pattern in KNOWN)

    def console(message: "ConsoleMessage") -> None:
        address = message.location.get("url", "")
        if message.type == "error" and not known(address):
            found.append(f"console: {message.text} ({address})")

    def outside(route: "Route") -> None:
        if not known(route.request.url):
            found.append(f"asks for {route.request.url}")
        route.abort()

    context.on("console", console)
    context.on("weberror", lambda error: found.append(f"page error: {error.error}"))
    context.route(lambda address: not address.startswith((url, "data:", "blob:")), outside)
    return found


def write_notebook(name: str, parameters: Mapping[str, Any] | None = None) -> None:
    """Put a fresh copy of one of the repository's notebooks before the server, with these parameters."""
    path = home() / "notebooks" / f"{name}.ipynb"
    if (source := REPOSITORY / "notebooks" / path.name).exists():
        shutil.copyfile(source, path)
    if parameters:
        with_parameters(name, dict(parameters), path.parent)


def open_notebook(page: "Page", name: str, parameters: Mapping[str, Any] | None = None) -> None:
    """Open a notebook in JupyterLab, with parameters as papermill writes them; nothing has run yet."""
    write_notebook(name, parameters)
    page.goto(f"lab/workspaces/{name}/tree/{name}.ipynb?reset")
    wait_idle(page)


def open_page(page: "Page", name: str, parameters: Mapping[str, Any] | None = None, **query: Any) -> None:
    """Open a notebook as a page of Voila; it has run when this returns.

    ``query`` is what the kernel finds in ``QUERY_STRING``.
    """
    write_notebook(name, parameters)
    page.goto(f"voila/render/{name}.ipynb?{urlencode(query)}", timeout=RUN_MS)
    page.locator("#rendered_cells").wait_for(timeout=RUN_MS)


def wait_idle(page: "Page") -> None:
    """Wait until the kernel of the notebook in front waits too; it says "Idle" only once it is connected."""
    status = page.locator("#jp-main-statusbar")
    status.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=READY_MS)


def cells(page: "Page") -> list[dict[str, Any]]:
    """Of each cell with code: ``count``, its number or None; ``state``; ``outputs`` as in the file."""
    return page.evaluate(CELLS)


def run_all(page: "Page", timeout_ms: int = RUN_MS) -> None:
    """Run all cells by the menu, and wait until each has run or one has failed.

    Raises:
        AssertionError: a cell failed; says which, and why.
    """
    page.locator(f"{FRONT} .jp-Cell").first.click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
    page.wait_for_function(
        f"""() => {{ const cells = ({CELLS})();
        return cells.every(cell => cell.state !== 'running') && (cells.every(cell => cell.count !== null)
          || cells.some(cell => cell.outputs.some(output => output.output_type === 'error'))) }}""",
        timeout=timeout_ms,
    )
    wait_idle(page)
    found = errors(page)
    assert not found, found


def errors(page: "Page") -> list[str]:
    """What went wrong in the cells, one line each; also what they wrote to stderr."""
    found = []
    for number, cell in enumerate(cells(page), start=1):
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                found.append(f"code cell {number}: {output['ename']}: {output['evalue']}")
            elif output.get("name") == "stderr":
                found.append(f"code cell {number} says on stderr: {''.join(output['text'])}")
    return found


def pictures(page: "Page") -> list[dict[str, Any]]:
    """Of each picture among the outputs: its own ``width``, that ``shown``, and the ``room`` it has."""
    everything = f"{FRONT} .jp-OutputArea-output img"
    page.wait_for_function(f"[...document.querySelectorAll({everything!r})].every(image => image.complete)")
    return page.locator(everything).evaluate_all(
        """images => images.map(image => ({width: image.naturalWidth, shown: image.clientWidth,
          room: image.closest('.jp-OutputArea-output').clientWidth}))"""
    )


def raw_formulas(page: "Page") -> list[str]:
    """Pieces of text that still look like LaTeX."""
    page.locator(".jp-RenderedMarkdown mjx-container").first.wait_for(timeout=READY_MS)
    return page.evaluate(
        r"""() => { const found = [];
        for (const part of document.querySelectorAll('.jp-RenderedMarkdown')) {
          const walk = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
          while (walk.nextNode()) {
            const text = walk.currentNode;
            if (/\$|\\[a-z]{2,}/i.test(text.data) && !text.parentElement.closest('code, pre, mjx-container'))
              found.push(text.data.slice(0, 80)); } }
        return found.concat([...document.querySelectorAll('mjx-merror')].map(e => e.textContent)) }"""
    )


def labelled(page: "Page", kind: str, label: str) -> "Locator":
    """The widget of a kind ("slider", "dropdown", "text") with that description."""
    named = page.locator(".widget-label", has_text=re.compile(f"^{re.escape(label)}$"))
    return page.locator(f".widget-{kind}", has=named)


def slider(page: "Page", label: str, handle: int = 0) -> "Locator":
    """The handle of the slider with that description; ``slider(page, "λ").press("ArrowRight")`` moves it."""
    return labelled(page, "slider", label).locator(".noUi-handle").nth(handle)


def drop_down(page: "Page", label: str) -> "Locator":
    """The drop-down with that description; ``drop_down(page, "sampler").select_option("euler")`` chooses."""
    return labelled(page, "dropdown", label).locator("select")


def pixels(locator: "Locator") -> np.ndarray:
    """What the screen shows there, (height, width, 3), 0 to 255."""
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB"))


def place_at_rest(locator: "Locator", timeout_s: float = 30) -> "FloatRect":
    """Scroll there, and wait until nothing that comes late (pictures, formulas) moves it any more; its place."""
    until = time.monotonic() + timeout_s
    last, since = None, time.monotonic()
    while last is None or time.monotonic() - since < 1:
        locator.scroll_into_view_if_needed()
        if (now := locator.bounding_box()) != last:
            last, since = now, time.monotonic()
        assert time.monotonic() < until, f"still moves after {timeout_s} s"
        locator.page.wait_for_timeout(50)
    return last


def wait_for_change(locator: "Locator", before: np.ndarray, timeout_s: float = 30) -> np.ndarray:
    """Wait until ``pixels(locator)`` are others than before; gives them."""
    until = time.monotonic() + timeout_s
    while np.array_equal(now := pixels(locator), before):
        assert time.monotonic() < until, f"nothing has changed within {timeout_s} s"
        locator.page.wait_for_timeout(50)
    return now


def screenshot(page: "Page", name: str) -> None:
    """Keep the whole notebook in front as ``build/screenshots/<name>.png``, to be looked at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for _ in range(3):  # what was off the screen has only an estimated height at first
        bottom = page.evaluate(
            f"""() => {{ const panel = document.querySelector({f"{FRONT} .jp-WindowedPanel-outer"!r});
            if (!panel) return 0;  // Voila's page scrolls as a whole
            panel.scrollTop = 0;
            return Math.max(...[...panel.querySelectorAll('.jp-Cell')].map(e => e.getBoundingClientRect().bottom)) }}"""
        )
        height = int(min(max(bottom + 60, SIZE["height"]), 16_000))
        page.set_viewport_size({"width": SIZE["width"], "height": height})
        page.wait_for_timeout(300)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    page.set_viewport_size(SIZE)


def ask(page: "Page", code: str) -> str:
    """Have the kernel of the notebook in front run some code, no cell of it; gives what it prints.

    Raises:
        playwright's Error: the code failed; says why.
    """
    return page.evaluate(
        """async code => {
          const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
          const future = kernel.requestExecute({code, store_history: false});
          let text = '';
          future.onIOPub = message => { if (message.header.msg_type === 'stream') text += message.content.text };
          const {content} = await future.done;
          if (content.status !== 'ok') throw new Error(`${content.ename}: ${content.evalue}`);
          return text }""",
        code,
    )
