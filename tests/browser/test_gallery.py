"""The gallery in JupyterLab: every control, moved as a reader does, changes what is seen.

One notebook and one kernel for all tests here; each begins with the first picture again.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import logged_in
from .notebook import (
    ask,
    drop_down,
    labelled,
    open_notebook,
    pixels,
    run_all,
    screenshot,
    slider,
    wait_for_change,
    watch,
)
from .server import Server
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

NUM = 20  # samples: two rows
PATIENCE_MS = 1000 * TIMEOUT_S
# To the first picture, whatever a test before has left.
AGAIN = """
gallery.newest.cancel()
for picture in gallery.pictures:
    picture.selected = -1
gallery.view.value = False
gallery.frame.value = len(gallery.frame.options) - 1
gallery.controls.set(first)
gallery._ask()
"""


@pytest.fixture(scope="module")
def lab(
    chromium: "Browser", server: Server, runs: list[Path]
) -> Iterator[tuple["Page", list[str], list[bytes]]]:
    """The executed notebook, what went wrong on its page, and its first pictures."""
    with logged_in(chromium, server) as context:
        problems = watch(context, server.url)
        page = context.new_page()
        open_notebook(page, "02_gallery", {"profile": "smoke", "num": NUM})
        run_all(page)
        sheet(page, LEFT).scroll_into_view_if_needed()
        ask(page, "first = gallery.controls.settings")
        yield page, problems, [drawn(sheet(page, which)) for which in range(3)]


@pytest.fixture
def page(lab: tuple["Page", list[str], list[bytes]]) -> Iterator["Page"]:
    page, problems, first = lab
    ask(page, AGAIN)
    wait_until(page, lambda: [drawn(sheet(page, which)) for which in range(3)] == first)
    yield page
    assert not problems


def test_what_is_seen_first_is_whole(page: "Page") -> None:
    assert sheet(page, LEFT).locator("figcaption").inner_text() == "baseline, seed 0"
    assert len({drawn(sheet(page, which)) for which in (LEFT, RIGHT, DIFFERENCE)}) == 3
    assert drawn(sheet(page, TWINS)) is None
    screenshot(page, "02_gallery")


@pytest.mark.parametrize(("label", "option", "says"), DROP_DOWNS)
def test_a_drop_down_chooses(page: "Page", label: str, option: str, says: str) -> None:
    moved(page, lambda: drop_down(page, label).select_option(option), says)


def test_the_left_run_brings_its_sampler(page: "Page") -> None:
    the_left_run_brings_its_sampler(page)
    screenshot(page, "02_gallery_one_run")


def test_the_right_run_is_compared_or_gone(page: "Page") -> None:
    the_right_run_is_compared_or_gone(page)


@pytest.mark.parametrize(("label", "key", "says"), [*SLIDERS, ("samples", "ArrowRight", "seeds 0–39")])
def test_a_slider_moves(page: "Page", label: str, key: str, says: str) -> None:
    moved(page, lambda: slider(page, label).press(key), says)


def test_guidance_is_bounded_to_the_levels_chosen(page: "Page") -> None:
    moved(page, lambda: slider(page, "guidance").press("End"), "guidance 5")
    moved(page, lambda: slider(page, "guided levels", 1).press("PageDown"), r"levels 0 to 0\.\d")


def test_the_first_seed_is_typed(page: "Page") -> None:
    field = labelled(page, "text", "first seed").locator("input")
    field.fill("5")
    moved(page, lambda: field.press("Enter"), "seeds 5–24")


def test_noise_becomes_an_image_by_key_and_by_mouse(page: "Page") -> None:
    image = sheet(page, LEFT).locator("img")
    scrub = slider(page, "noise → image")
    image.scroll_into_view_if_needed()
    at_end = drawn(sheet(page, LEFT))
    before = pixels(image)
    scrub.press("ArrowLeft")
    wait_for_change(image, before)
    assert image.get_attribute("alt").endswith("noise level 0.08")
    handle, rail = scrub.bounding_box(), labelled(page, "slider", "noise → image").locator(".slider")
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    page.mouse.move(rail.bounding_box()["x"], handle["y"], steps=5)
    page.mouse.up()
    wait_until(page, lambda: image.get_attribute("alt").endswith("noise level 1.00"))
    scrub.press("End")
    wait_until(page, lambda: drawn(sheet(page, LEFT)) == at_end)


def test_state_or_predicted_end(page: "Page") -> None:
    before = drawn(sheet(page, LEFT))
    slider(page, "noise → image").press("Home")
    noise = wait_for_other(page, LEFT, before)
    page.get_by_role("button", name="predicted end").click()
    end = wait_for_other(page, LEFT, noise)
    assert end != before
    page.get_by_role("button", name="state").click()
    assert wait_for_other(page, LEFT, end) == noise


def about(page: "Page") -> str:
    return page.get_by_text("Training images nearest to sample seed").inner_text()


def test_a_click_and_the_arrow_keys_walk(page: "Page") -> None:
    right = sheet(page, RIGHT).locator(".disperse-stage")
    box = right.bounding_box()
    right.click(position={"x": box["width"] * 0.35, "y": box["height"] * 0.25})  # the fourth of ten
    wait_until(page, lambda: drawn(sheet(page, TWINS)) is not None)
    assert "sample seed 3 of InfoNCE" in about(page)
    twins = drawn(sheet(page, TWINS))
    for which in (LEFT, RIGHT):
        mark = sheet(page, which).locator(".disperse-mark").bounding_box()
        stage = sheet(page, which).locator(".disperse-stage").bounding_box()
        assert mark["x"] - stage["x"] == pytest.approx(0.3 * stage["width"], abs=2)
        assert mark["y"] == pytest.approx(stage["y"], abs=2)
    screenshot(page, "02_gallery_clicked")
    for key, seed in (("ArrowRight", 4), ("ArrowDown", 14), ("ArrowLeft", 13), ("ArrowUp", 3)):
        right.press(key)
        page.get_by_text(f"nearest to sample seed {seed} of InfoNCE").wait_for(timeout=PATIENCE_MS)
    wait_until(page, lambda: drawn(sheet(page, TWINS)) == twins)
    sheet(page, DIFFERENCE).locator("img").click()  # nothing to choose there
    assert "sample seed 3 of InfoNCE" in about(page)


def test_cancel_keeps_what_is_shown(page: "Page") -> None:
    before, cancel = drawn(sheet(page, LEFT)), page.get_by_role("button", name="Cancel")
    assert cancel.is_disabled()
    slider(page, "steps").press("End")  # 250 of them
    cancel.click(timeout=PATIENCE_MS)
    wait_until(page, lambda: said(page).startswith("cancelled"))
    ask(page, "gallery.wait()")
    assert drawn(sheet(page, LEFT)) == before
    assert cancel.is_disabled()


def test_export_writes_what_is_shown(page: "Page", store: Path) -> None:
    moved(page, lambda: drop_down(page, "class").select_option("7"), "class 7")
    page.get_by_role("button", name="Export").click()
    written = page.get_by_text("Written to").locator("code", has_text=re.compile(r"^gallery-.*\.json$"))
    written.wait_for(timeout=PATIENCE_MS)
    settings = store / "papermill_runs" / "here" / "smoke" / written.inner_text()
    assert json.loads(settings.read_text())["settings"]["label"] == 7
    assert settings.with_suffix(".png").exists()
    assert settings.with_suffix(".html").exists()


def test_scrubbing_never_blanks_the_picture(page: "Page") -> None:
    """Each repaint and each change of the document is looked at, while the slider moves ten times."""
    page.evaluate(
        """() => {
          const figure = document.querySelector('.disperse-sheet');
          const [stage, image] = [figure.querySelector('.disperse-stage'), figure.querySelector('img')];
          window.looked = {blank: 0, times: 0, pictures: new Set(), on: true};
          const look = () => {
            looked.times += 1;
            looked.pictures.add(image.src);
            if (!image.complete || !image.naturalWidth || !stage.clientHeight) looked.blank += 1 };
          new MutationObserver(look).observe(figure, {attributes: true, childList: true, subtree: true});
          const frame = () => { look(); if (looked.on) requestAnimationFrame(frame) };
          frame() }"""
    )
    for _ in range(10):
        before = drawn(sheet(page, LEFT))
        slider(page, "noise → image").press("ArrowLeft")
        wait_for_other(page, LEFT, before)
    blank, times, pictures = page.evaluate(
        "() => { looked.on = false; return [looked.blank, looked.times, looked.pictures.size] }"
    )
    assert pictures == 11
    assert times > 20
    assert not blank
