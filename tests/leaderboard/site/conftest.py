"""A headless Chromium that notices errors and requests, and boards to look at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from leaderboard.site.build import Site, build_site
from leaderboard.tables import read_entries
from tests.leaderboard.stores import store_hits

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, or a skip where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium on the path (pages are not tried in a browser)")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield found
        found.close()


@dataclass
class Visit:
    """Opens pages from the disk and keeps what went wrong."""

    context: BrowserContext
    trouble: list[str] = field(default_factory=list)

    def open(self, path: Path, fragment: str = "", ready: str = "") -> Page:
        """The page, when it says that it is `ready`."""
        page = self.context.new_page()
        page.on("console", lambda message: self.trouble.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        page.on("requestfailed", lambda request: self.trouble.append(f"failed: {request.url}"))
        page.on("request", lambda request: self._note(request.url))
        page.goto(path.as_uri() + (f"#{fragment}" if fragment else ""))
        if ready:
            page.wait_for_function(f"document.documentElement.dataset.ready === '{ready}'")
        return page

    def _note(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.trouble.append(f"outside request: {url}")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A visitor who ends with a check that nothing went wrong."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    found = Visit(context)
    yield found
    context.close()
    assert found.trouble == []


SCORES = {"good": 0.9, "fair": 0.7, "poor": 0.4, "<script>alert(1)</script>": 0.65}


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Four models on three datasets, one of them named like an attack; one model lacks a dataset."""
    root = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(0)
    for index, dataset in enumerate(("cars", "pets", "wine & <b>dine</b>")):
        hard = rng.random(400)
        for model, skill in SCORES.items():
            if (model, index) != ("poor", 2):
                store_hits(root / "runs", model, hard + rng.normal(0, 0.1, 400) < skill, dataset=dataset)
    return build_site(read_entries([root / "runs"]), root / "site", "A & B")
