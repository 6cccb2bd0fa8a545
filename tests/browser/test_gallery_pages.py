"""The gallery without a notebook around it: as Voila's page, and exported as a file."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from disperse.widgets import Gallery
from disperse.widgets.picture import HERE

from .notebook import RUN_MS, SCREENSHOTS, drop_down, labelled, screenshot, slider, watch
from .sheets import (
    DIFFERENCE,
    DROP_DOWNS,
    LEFT,
    RIGHT,
    SLIDERS,
    TIMEOUT_S,
    TWINS,
    drawn,
    moved,
    said,
    sheet,
    the_left_run_brings_its_sampler,
    the_right_run_is_compared_or_gone,
    wait_for_other,
    wait_until,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FRESH_S = 120  # until `disperse gallery` answers on a busy machine


@contextmanager
def opened(chromium: "Browser", url: str, width: int = 1280) -> Iterator["Page"]:
    """A page of its own; nothing may go wrong on it, and nothing be asked for from elsewhere."""
    with chromium.new_context(viewport={"width": width, "height": 900}) as context:
        problems = watch(context, url)
        page = context.new_page()
        page.goto(url, timeout=RUN_MS)
        yield page
        assert not problems


@pytest.fixture
def served(store: Path, runs: list[Path], tmp_path: Path) -> Iterator[str]:
    """Address of `disperse gallery`, which is ended as by Ctrl-C."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "disperse", "gallery", "--profile", "smoke", "--no-browser"]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=file, stderr=file, start_new_session=True,
            # A shell that starts the tests in the background has Ctrl-C ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        for _ in range(FRESH_S * 10):
            if answers():
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        yield f"http://localhost:{port}/"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 130, log.read_text()
        with pytest.raises(OSError):
            urllib.request.urlopen(f"http://localhost:{port}/", timeout=5)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_page_of_voila(chromium: "Browser", served: str, store: Path) -> None:
    """Every control of it, one after the other."""
    with opened(chromium, served) as page:
        sheet(page, LEFT).locator("img").wait_for(timeout=RUN_MS)
        wait_until(page, lambda: drawn(sheet(page, DIFFERENCE)) is not None)
        screenshot(page, "voila_gallery")
        first = drop_down(page, "left").input_value()
        the_right_run_is_compared_or_gone(page)
        the_left_run_brings_its_sampler(page)
        moved(page, lambda: drop_down(page, "left").select_option(first), "heun ODE, 25 steps")
        the_right_run_is_compared_or_gone(page)
        for label, key, says in [*SLIDERS, ("samples", "ArrowLeft", "seeds 0–19")]:
            moved(page, lambda label=label, key=key: slider(page, label).press(key), says)
        moved(page, lambda: slider(page, "guided levels", 1).press("PageDown"), r"levels 0 to 0\.\d")
        for label, option, says in DROP_DOWNS:
            moved(page, lambda label=label, option=option: drop_down(page, label).select_option(option), says)
        field = labelled(page, "text", "first seed").locator("input")
        field.fill("5")
        moved(page, lambda: field.press("Enter"), "seeds 5–24")
        end = drawn(sheet(page, LEFT))
        slider(page, "noise → image").press("Home")
        noise = wait_for_other(page, LEFT, end)
        page.get_by_role("button", name="predicted end").click()
        wait_for_other(page, LEFT, noise)
        slider(page, "steps").press("End")
        page.get_by_role("button", name="Cancel").click(timeout=1000 * TIMEOUT_S)
        wait_until(page, lambda: said(page).startswith("cancelled"))
        page.get_by_role("button", name="Export").click()
        written = page.get_by_text("Written to build/gallery").locator(
            "code", has_text=re.compile("^gallery-")
        )
        written.first.wait_for(timeout=1000 * TIMEOUT_S)
        assert (store / "build" / "gallery" / written.first.inner_text()).exists()
        assert (store / "build" / "gallery" / "02_gallery.receipt.json").exists()  # not among a batch's
        sheet(page, RIGHT).locator("img").click(position={"x": 5, "y": 5})
        page.get_by_text("Training images nearest to sample seed 5 of InfoNCE").wait_for(timeout=RUN_MS)
        wait_until(page, lambda: drawn(sheet(page, TWINS)) is not None)
        assert "$" not in page.locator("#rendered_cells").inner_text()  # no formula waits for MathJax
        screenshot(page, "voila_gallery_clicked")


@pytest.fixture(scope="module")
def exported(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    gallery = Gallery(runs, num=20, folder=tmp_path_factory.mktemp("exported"), stamp="SMOKE")
    gallery.wait()
    return gallery.export("gallery")["page"].as_uri()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_exported_page(chromium: "Browser", exported: str, width: int) -> None:
    with opened(chromium, exported, width) as page:

        def shown() -> list[str]:
            return page.locator("figure img").evaluate_all("images => images.map(image => image.src)")

        at_end = shown()
        assert len(set(at_end)) == 3
        assert page.get_by_role("status").inner_text() == "noise level 0.00"
        whole = "images => images.every(image => image.complete && image.naturalWidth)"
        wait_until(page, lambda: page.locator("figure img").evaluate_all(whole))
        page.screenshot(path=SCREENSHOTS / f"gallery_page_{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        slider = page.get_by_label("noise → image")
        slider.press("Home")
        noise = shown()
        assert page.get_by_role("status").inner_text() == "noise level 1.00"
        assert noise[0] == noise[1]  # the same noise
        assert not set(noise) & set(at_end)
        page.get_by_label("predicted end").check()
        ends = shown()
        assert not set(ends) & {*noise, *at_end}
        page.get_by_label("state").check()
        assert shown() == noise
        slider.press("End")
        assert shown() == at_end


def test_a_picture_that_is_decoded_late_replaces_no_newer_one(page: "Page") -> None:
    """Two values come one after the other, and the first takes longer to decode."""
    page.set_content("<div id=here></div>")
    script = (HERE / "sheet.js").read_text()
    widths = page.evaluate(
        """async script => {
          const {default: widget} = await import('data:text/javascript,' + encodeURIComponent(script));
          const values = {value: null, title: '', alt: '', color: '', width: '90px', columns: 1, count: 1,
                          selected: -1, clickable: false};
          let draw;
          const model = {get: name => values[name],
                         on: (name, handler) => { if (name === 'change:value') draw = handler }};
          const png = async width => {
            const canvas = document.createElement('canvas');
            canvas.width = width;
            const blob = await new Promise(done => canvas.toBlob(done));
            return new DataView(await blob.arrayBuffer()) };
          const decode = Image.prototype.decode, waits = [300, 0];
          Image.prototype.decode = async function () {
            await new Promise(done => setTimeout(done, waits.shift()));
            return decode.call(this) };
          const el = document.getElementById('here');
          widget.render({model, el});
          const image = el.querySelector('img');
          const seen = [];
          for (const width of [11, 22]) { values.value = await png(width); draw() }
          for (const wait of [150, 400]) {
            await new Promise(done => setTimeout(done, wait));
            seen.push(image.naturalWidth) }
          return seen }""",
        script,
    )
    assert widths == [22, 22]
