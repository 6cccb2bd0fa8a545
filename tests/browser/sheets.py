"""What can be seen of a gallery's sheets."""

import base64
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .notebook import drop_down, labelled

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

TIMEOUT_S = 60  # a busy machine samples for seconds
LEFT, RIGHT, DIFFERENCE, TWINS = range(4)
# Of each control: what is pressed or chosen, and what the line above the sheets says then.
SLIDERS = [
    ("training step", "ArrowLeft", "step (?!40)"),
    ("steps", "ArrowLeft", "heun ODE, 20 steps"),
    ("guidance", "ArrowRight", "guidance 1.25"),
]
DROP_DOWNS = [
    ("weights", "raw", "raw weights"),
    ("class", "3", "class 3"),
    ("sampler", "euler", "euler ODE, 50 steps"),
]


def sheet(page: "Page", which: int) -> "Locator":
    """``LEFT``, ``RIGHT``, their ``DIFFERENCE``, or ``TWINS``: the training images."""
    return page.locator(".disperse-sheet").nth(which)


def drawn(figure: "Locator") -> bytes | None:
    """What the picture of a sheet shows, as PNG; None where there is none to be seen."""
    url = figure.locator("img").evaluate(
        """image => { if (!image.clientHeight || !image.naturalWidth) return '';
          const canvas = document.createElement('canvas');
          [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
          canvas.getContext('2d').drawImage(image, 0, 0);
          return canvas.toDataURL() }"""
    )
    return base64.b64decode(url.partition(",")[2]) if url else None


def said(page: "Page") -> str:
    """The line between controls and sheets."""
    return page.locator(".jupyter-widgets span[role=status]").inner_text()


def chosen(select: "Locator") -> str:
    """The option that a drop-down shows."""
    return select.evaluate("select => select.selectedOptions[0]?.textContent ?? ''").replace("\xa0", " ")


def wait_until(page: "Page", holds: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
    """Look again and again until it holds."""
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, f"not within {timeout_s} s"
        page.wait_for_timeout(50)


def wait_for_other(page: "Page", which: int, before: bytes | None) -> bytes:
    """Wait until a sheet shows another picture than before; gives it."""
    wait_until(page, lambda: drawn(sheet(page, which)) not in (None, before))
    found = drawn(sheet(page, which))
    assert found is not None
    return found


def moved(page: "Page", move: Callable[[], object], says: str) -> None:
    """Move a control; the left sheet changes, and the line above the sheets says to what."""
    before = drawn(sheet(page, LEFT))
    assert not re.search(says, said(page))
    move()
    wait_for_other(page, LEFT, before)
    wait_until(page, lambda: re.search(says, said(page)) is not None)


def the_left_run_brings_its_sampler(page: "Page") -> None:
    """A run of another system on the left is sampled as its system is, and shown alone."""
    one_step = drop_down(page, "left").locator("option", has_text="meanflow").get_attribute("value")
    moved(page, lambda: drop_down(page, "left").select_option(one_step), "meanflow")
    assert sheet(page, LEFT).locator("figcaption").inner_text() == "meanflow, seed 0"
    assert chosen(drop_down(page, "sampler")) == "meanflow"
    assert labelled(page, "slider", "steps").locator(".widget-readout").inner_text() == "1"
    assert drop_down(page, "right").locator("option").count() == 1
    assert drawn(sheet(page, RIGHT)) is drawn(sheet(page, DIFFERENCE)) is None


def the_right_run_is_compared_or_gone(page: "Page") -> None:
    """The run of the left on the right as well is shown once; another one beside it, with the difference."""
    baseline = drop_down(page, "right").locator("option", has_text="baseline").get_attribute("value")
    drop_down(page, "right").select_option(baseline)
    wait_until(page, lambda: drawn(sheet(page, RIGHT)) is drawn(sheet(page, DIFFERENCE)) is None)
    other = drop_down(page, "right").locator("option", has_text="InfoNCE").get_attribute("value")
    drop_down(page, "right").select_option(other)
    wait_until(page, lambda: drawn(sheet(page, DIFFERENCE)) is not None)
