"""Notebooks in JupyterLab: every cell runs, and what a reader sees is whole."""

from typing import TYPE_CHECKING

import pytest

from .notebook import (
    FRONT,
    READY_MS,
    cells,
    open_notebook,
    pictures,
    raw_formulas,
    run_all,
    screenshot,
    wait_idle,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.mark.parametrize(
    ("name", "parameters", "num_pictures"),
    [
        ("00_start_here", {"num_points": 8, "num_steps": 20}, 6),
        ("objectives", {}, 2),
        ("01_train", {"num_steps": 20, "seed": 7}, 3),  # a run that no other test has trained
    ],
)
def test_runs_and_shows(page: "Page", name: str, parameters: dict, num_pictures: int) -> None:
    open_notebook(page, name, {"profile": "smoke", **parameters})
    run_all(page)
    screenshot(page, name)
    found = pictures(page)
    assert len(found) == num_pictures
    for picture in found:
        assert picture["width"] > 0
        assert 0 < picture["shown"] <= picture["room"]
    outputs = [output for cell in cells(page) for output in cell["outputs"]]
    images = [output["metadata"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(images) == num_pictures
    assert all(metadata["image/png"]["alt"] for metadata in images)  # JupyterLab 4.6 doesn't show it
    assert not raw_formulas(page)


def test_links_lead_to_other_notebooks_and_their_sections(page: "Page") -> None:
    open_notebook(page, "variants")
    link = page.locator(f"{FRONT} a", has_text="00_start_here").first
    link.click()
    heading = page.locator(f"{FRONT} h2", has_text="Words used everywhere")
    heading.wait_for(timeout=READY_MS)
    # JupyterLab 4.6 opens a notebook at its top; to a section it goes only where the notebook is open.
    wait_idle(page)
    page.locator(".lm-TabBar-tab", has_text="variants.ipynb").click()
    link.click()
    page.wait_for_function(
        """heading => { const box = heading.getBoundingClientRect();
        return 0 < box.top && box.bottom < window.innerHeight }""",
        arg=heading.element_handle(),
    )
    page.locator(f"{FRONT} a", has_text="norm_cost").first.click()
    page.locator(".lm-TabBar-tab.lm-mod-current", has_text="norm_cost.ipynb").wait_for(timeout=READY_MS)
    page.locator(f"{FRONT} h1").wait_for(timeout=READY_MS)
