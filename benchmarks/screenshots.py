"""The screenshots of the documentation: the demonstration's report, map and explorer.

Drawn faces only; writes docs/pictures/report.png, map.png and explorer.png.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import DOCS
from playwright.sync_api import Page, sync_playwright

from embedkit.audits.kept import keep
from embedkit.demo import run_demo
from embedkit.explorer.serving import serve
from embedkit.maps import map_of
from embedkit.reports.map_files import write_map
from embedkit.store import Store

SIZE = {"width": 1280, "height": 860}


def hover(page: Page) -> None:
    """Hold the pointer over the first point that it meets."""
    box = page.locator("canvas").first.bounding_box()
    for step in range(4000):
        x, y = step % 80, step // 80
        page.mouse.move(box["x"] + box["width"] * (0.3 + x / 160), box["y"] + 200 + 4 * y)
        if page.locator(".em-tip").is_visible():
            return


def look(page: Page) -> None:
    """Look at the first pair of copies."""
    page.get_by_role("button", name="Judge", exact=False).first.click()
    page.locator("img:visible").first.wait_for()
    page.wait_for_load_state("networkidle")


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    made = run_demo(folder / "demo")
    keep(made.audit)
    store = Store.open(folder / "demo/store")
    write_map(map_of(store), folder / "map.html")
    pictures = DOCS / "pictures"
    pictures.mkdir(exist_ok=True)
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright, serve(store.path) as served:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])

        def shoot(address: str, name: str, act: Callable[[Page], None]) -> None:
            page = browser.new_page(viewport=SIZE)
            page.goto(address)
            act(page)
            page.screenshot(path=pictures / name)
            page.close()
            print(f"wrote docs/pictures/{name}")

        shoot(f"file://{made.report.resolve()}", "report.png", lambda page: None)
        shoot(f"file://{folder / 'map.html'}", "map.png", hover)
        shoot(served.address, "explorer.png", look)
        browser.close()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
