"""The helpers of this folder see what they say they see, in JupyterLab and in Voila."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from .notebook import (
    errors,
    open_notebook,
    open_page,
    pixels,
    run_all,
    slider,
    wait_for_change,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page

GREY = """
import io, os
import ipywidgets
from PIL import Image
def grey(level):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()
picture = ipywidgets.Image(value=grey(100))
level = ipywidgets.IntSlider(value=100, max=255, description="level")
level.observe(lambda change: setattr(picture, "value", grey(change["new"])), "value")
ipywidgets.VBox([level, picture, ipywidgets.Label(os.environ.get("QUERY_STRING", ""))])
"""


def write(store: Path, *sources: str) -> None:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# Toy"), *map(nbformat.v4.new_code_cell, sources)],
        metadata={"kernelspec": kernel},
    )
    nbformat.write(made, store / "notebooks" / "toy.ipynb")


def in_lab(page: "Page") -> None:
    open_notebook(page, "toy")
    run_all(page)


def in_voila(page: "Page") -> None:
    open_page(page, "toy", lam=0.5)
    page.get_by_text("lam=0.5").wait_for()


@pytest.mark.parametrize("show", [in_lab, in_voila])
def test_a_slider_moves_a_picture(page: "Page", store: Path, show: Callable[["Page"], None]) -> None:
    write(store, GREY)
    show(page)
    picture = page.locator("img.widget-image")
    before = pixels(picture)
    assert (before[20, 20] == 100).all()
    slider(page, "level").press("ArrowRight")
    after = wait_for_change(picture, before)
    assert (after[20, 20] == 101).all()


def test_a_failed_cell_is_named(page: "Page", store: Path) -> None:
    write(store, "import sys; print('a notice', file=sys.stderr)", "1 / 0", "print('never')")
    open_notebook(page, "toy")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_all(page)
    assert errors(page) == [
        "code cell 1 says on stderr: a notice\n",
        "code cell 2: ZeroDivisionError: division by zero",
    ]


def test_problems_of_the_page_are_collected(page: "Page", problems: list[str]) -> None:
    page.set_content("<img src='http://example.org/x'><script>console.error('boom')</script>")
    page.evaluate("setTimeout(() => { throw new Error('bang') })")
    page.wait_for_timeout(300)
    found = sorted(problems)
    problems.clear()
    assert found == [
        "asks for http://example.org/x",
        "console: Failed to load resource: net::ERR_FAILED (http://example.org/x)",
        "console: boom ()",
        "page error: bang",
    ]
