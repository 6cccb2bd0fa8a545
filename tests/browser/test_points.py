"""Points that show their images: in JupyterLab, and on the page that the notebook writes."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from .conftest import logged_in
from .notebook import SCREENSHOTS, ask, open_notebook, place_at_rest, run_all, screenshot, watch
from .server import Server
from .sheets import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

SIZE, EDGE = 300, 10  # of a plane, as points.js has them
POINTS = "points = next(each for each in Out.values() if isinstance(each, Points))"


@pytest.fixture(scope="module")
def lab(chromium: "Browser", server: Server, runs: list[Path]) -> Iterator[tuple["Page", list[str]]]:
    """The executed notebook, and what went wrong on its page."""
    with logged_in(chromium, server) as context:
        problems = watch(context, server.url)
        page = context.new_page()
        open_notebook(page, "03_representations", {"profile": "smoke"})
        run_all(page)
        ask(page, POINTS)
        yield page, problems


@pytest.fixture(scope="module")
def scene(lab: tuple["Page", list[str]]) -> dict[str, Any]:
    return json.loads(ask(lab[0], "import json; print(json.dumps(scene))"))


@pytest.fixture(params=["lab", 390, 1280])
def page(
    request: pytest.FixtureRequest, lab: tuple["Page", list[str]], chromium: "Browser", store: Path
) -> Iterator["Page"]:
    """The notebook, and the page by itself in two widths."""
    if request.param == "lab":
        yield lab[0]
        assert not lab[1]
        return
    url = (store / "papermill_runs" / "here" / "smoke" / "representations_points.html").as_uri()
    with chromium.new_context(viewport={"width": request.param, "height": 900}) as context:
        problems = watch(context, url)
        alone = context.new_page()
        alone.goto(url)
        yield alone
        assert not problems


def python_has(page: "Page", name: str, value: object) -> None:
    """In JupyterLab a trait of the widget becomes this; a page has no Python."""
    if page.url.startswith("file:"):
        return
    wait_until(page, lambda: json.loads(ask(page, f"print(json.dumps(points.{name}))")) == value)


def places(page: "Page", scene: dict[str, Any], which: int) -> np.ndarray:
    """Of each point of a plane where it is on the screen, (n, 2)."""
    canvas = page.locator(".disperse-planes canvas").nth(which)
    box, plane = place_at_rest(canvas), scene["planes"][which]
    low, high = np.array(plane["low"]), np.array(plane["high"])
    inside = EDGE + (np.array(plane["points"]) - low) / (high - low) * (SIZE - 2 * EDGE)
    inside[:, 1] = SIZE - inside[:, 1]
    return np.array([box["x"], box["y"]]) + inside * (box["width"] / SIZE)


def loneliest(points: np.ndarray) -> int:
    """The point that is farthest from its nearest other."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    return int(distances.min(1).argmax())


def image_of(scene: dict[str, Any], index: int) -> np.ndarray:
    """An image of the scene, (h, w), 0 to 255."""
    data = base64.b64decode(scene["sprite"].partition(",")[2])
    sheet = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    row, column = divmod(index, scene["columns"])
    step, cell = scene["cell"] + 1, scene["cell"]
    return sheet[row * step : row * step + cell, column * step : column * step + cell]


def shown(canvas: "Locator", cell: int) -> np.ndarray:
    """The image that a canvas shows, one value for each of its pixels."""
    url = canvas.evaluate("canvas => canvas.toDataURL()")
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("L"))
    size = found.shape[0] // cell
    return found[size // 2 :: size, size // 2 :: size]


def test_a_point_shows_its_image(page: "Page", scene: dict[str, Any]) -> None:
    for which in (0, 4):
        points = places(page, scene, which)
        index = loneliest(points)
        page.mouse.move(*points[index])
        tip = page.locator(".disperse-tip")
        tip.wait_for()
        np.testing.assert_array_equal(shown(tip, scene["cell"]), image_of(scene, index))
        python_has(page, "hovered", index)
        box, width = tip.bounding_box(), page.viewport_size["width"]
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    page.mouse.move(1, 1)
    tip.wait_for(state="hidden")
    python_has(page, "hovered", -1)


def test_what_is_drawn_around_is_shown(page: "Page", scene: dict[str, Any]) -> None:
    points = places(page, scene, 0)
    middle = np.median(points, axis=0)
    away = np.abs(points - middle).max(1)
    order = away.argsort()
    count = 5 + int(np.diff(away[order][4:12]).argmax())  # a mouse has whole pixels: where the gap is wide
    reach = away[order][count - 1 : count + 1].mean()  # of a square around so many points
    chosen = sorted(order[:count].tolist())
    corners = middle + reach * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=4)
    page.mouse.up()
    strip, note = page.locator(".disperse-strip canvas"), page.locator(".disperse-points [role=status]")
    wait_until(page, lambda: strip.count() == count)
    python_has(page, "selected", chosen)
    for place, index in enumerate(chosen):
        np.testing.assert_array_equal(shown(strip.nth(place), scene["cell"]), image_of(scene, index))
    assert page.locator(".disperse-legend span").all_inner_texts() == [str(label) for label in range(10)]
    assert note.inner_text().startswith(f"{count} images: ")
    name = f"points_page_{page.viewport_size['width']}"
    if page.url.startswith("file:"):
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    else:
        screenshot(page, "03_representations")
    page.mouse.click(*places(page, scene, 1)[0])  # no line: nothing is chosen any more
    wait_until(page, lambda: strip.count() == 0)
    python_has(page, "selected", [])
    assert "draw around" in note.inner_text()


def test_a_finger_taps_and_scrolls(
    lab: tuple["Page", list[str]], scene: dict[str, Any], chromium: "Browser", store: Path
) -> None:
    url = (store / "papermill_runs" / "here" / "smoke" / "representations_points.html").as_uri()
    with chromium.new_context(viewport={"width": 390, "height": 700}, has_touch=True) as context:
        page = context.new_page()
        page.goto(url)
        points = places(page, scene, 0)
        index = loneliest(points)
        page.touchscreen.tap(*points[index])
        tip = page.locator(".disperse-tip")
        tip.wait_for()
        np.testing.assert_array_equal(shown(tip, scene["cell"]), image_of(scene, index))
        assert page.locator(".disperse-strip canvas").count() == 0
        finger, before = context.new_cdp_session(page), page.evaluate("scrollY")
        x, y = points[index]
        for kind, up in [
            ("touchStart", 0),
            *(("touchMove", 20 * k) for k in range(1, 11)),
            ("touchEnd", None),
        ]:
            touched = [] if up is None else [{"x": x, "y": y - up}]
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})
            page.wait_for_timeout(30)
        wait_until(page, lambda: page.evaluate("scrollY") >= before + 100)
