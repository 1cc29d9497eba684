"""The browser of the tests: the Chromium that is installed, driven by playwright."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources

import pytest
from playwright.sync_api import Browser, Page, sync_playwright


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Start the browser, or skip with a reason."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def hindrances(page: Page) -> list[str]:
    """Return what axe-core finds to be in the way of people who use the page otherwise.

    The page's policy lets no script of others in, so axe-core goes past it.
    """
    source = resources.files("axe_playwright_python") / "axe.min.js"
    page.evaluate(source.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then(found => found.violations)")
    return [
        f"{one['id']}: {one['help']}: {json.dumps([node['target'] for node in one['nodes'][:5]])}"
        for one in found
    ]
