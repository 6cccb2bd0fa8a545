"""JupyterLab in a real browser: one server and one Chromium for all tests here, a page for each.

Where Chromium or playwright is missing these tests are skipped; with ``DISPERSE_BROWSER=required`` they fail.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from disperse.experiments import dispersive_term, profile, run_folder
from disperse.training import train

from . import server as jupyter
from .notebook import SIZE, watch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


def missing(what: str) -> NoReturn:
    if os.environ.get("DISPERSE_BROWSER") == "required":
        pytest.fail(f"{what}, and DISPERSE_BROWSER=required", pytrace=False)
    pytest.skip(what)


# Ends with this folder, not with the session: while playwright runs, asyncio.run fails in its process.
@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Browser"]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright isn't installed: pip install -e '.[browser]'")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        missing("no Chromium on the PATH: apt-get install chromium")
    environment = os.environ | {"HOME": str(tmp_path_factory.mktemp("chromium"))}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*FLAGS], env=environment)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def server(chromium: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator[jupyter.Server]:
    running = jupyter.start(tmp_path_factory.mktemp("jupyter"))
    yield running
    running.end()


@pytest.fixture(scope="package", autouse=True)
def store(server: jupyter.Server) -> Iterator[Path]:
    """The kernels' store, for the tests too; all tests here share it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPERSE_HOME", str(server.home))
        yield server.home


@pytest.fixture(scope="package")
def runs(store: Path) -> list[Path]:
    """Folders of the smoke pair and of a MeanFlow run, trained, in the store."""
    row = profile("smoke")
    pair = [row.run(0), row.run(0, dispersive_term("infonce-l2"))]
    for spec in pair:
        train(spec, run_folder(spec), progress=False)
    one_step = row.spec("meanflow", 0, system="meanflow")
    train(one_step.replace(num_steps=4, milestones=()), run_folder(one_step), progress=False)
    return [*map(run_folder, pair), run_folder(one_step)]


@contextmanager
def logged_in(chromium: "Browser", server: jupyter.Server) -> Iterator["BrowserContext"]:
    """A session of its own; afterwards no kernel is left."""
    with chromium.new_context(base_url=server.url, viewport=SIZE) as fresh:
        fresh.request.get(f"api/status?token={server.token}")  # leaves the cookie
        yield fresh
    server.end_kernels()


@pytest.fixture
def context(chromium: "Browser", server: jupyter.Server) -> Iterator["BrowserContext"]:
    with logged_in(chromium, server) as fresh:
        yield fresh


@pytest.fixture
def problems(context: "BrowserContext", server: jupyter.Server) -> Iterator[list[str]]:
    """Errors of the console and requests to elsewhere, until now; a test that ends with one has failed."""
    found = watch(context, server.url)
    yield found
    assert not found


@pytest.fixture
def page(context: "BrowserContext", problems: list[str]) -> "Page":
    return context.new_page()
