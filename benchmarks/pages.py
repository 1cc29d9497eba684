"""The report at the size of the original data set: how large it is, how it opens, how it scrolls.

12,420 drawn faces with planted faults are embedded and audited, and the page is opened in headless
Chromium. With --work FOLDER what is embedded is kept and taken up again.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from common import table, write_page
from playwright.sync_api import sync_playwright

from embedkit.audits import Audit, audit
from embedkit.pipeline import embed
from embedkit.reports.outputs import write_report
from embedkit.reports.page import MOST_PAIRS
from embedkit.synthetic import Faults, make_faces

PEOPLE, PHOTOGRAPHS = 2070, 6  # 12,420 pictures
FAULTS = Faults(exact_twins=0.08, near_twins=0.2, wrong_labels=0.05, unreadable=20)
TIMES = 8  # as often are the lists of 12,420 pictures repeated for those of about 100,000
FRAMES = """async () => {
  const began = performance.now(), times = [];
  let last = began;
  while (performance.now() - began < 3000) {
    await new Promise(requestAnimationFrame);
    const now = performance.now(); times.push(now - last); last = now;
    window.scrollBy(0, 60);
  }
  times.sort((a, b) => a - b);
  const slowest = times[Math.floor(0.95 * times.length)];
  return {rate: 1000 * times.length / (last - began), slowest};
}"""
OPENED = """() => {
  const one = performance.getEntriesByType('navigation')[0];
  return {opened: one.domContentLoadedEventEnd, loaded: one.loadEventEnd};
}"""


def repeated(result: Audit) -> Audit:
    """Return an audit whose lists are as long as those of a far larger data set."""
    lists = {"twins": "pairs", "labels": "images", "quality": "flagged"}
    longer = [
        replace(one, **{lists[one.name]: getattr(one, lists[one.name]) * TIMES})
        if hasattr(one, lists.get(one.name, ""))
        else one
        for one in result.findings
    ]
    return replace(result, findings=tuple(longer))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path)
    work = parser.parse_args().work
    folder = Path(tempfile.mkdtemp()) if work is None else work
    faces = folder / "faces"
    if not (faces / "truth.json").exists():
        make_faces(faces, people=PEOPLE, photographs=PHOTOGRAPHS, size=96, faults=FAULTS)
    store = embed(faces, folder / "store", backbone="mtcnn")
    began = time.process_time()
    result = audit(store)
    spent = time.process_time() - began
    rows = [["page", "MB", "CPU s to write", "ms to open", "frames/s scrolling", "slowest of 20"]]
    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for name, shown, options in (
            (f"{len(store.items):,} images", result, {}),
            ("the same, faces blurred", result, {"blur_faces": True}),
            ("the same, no images", result, {"images": False}),
            (f"lists {TIMES} times as long", repeated(result), {}),
        ):
            path = folder / "report.html"
            began = time.process_time()
            write_report(shown, path, **options)
            wrote = time.process_time() - began
            page = browser.new_page()
            page.goto(f"file://{path.resolve()}")
            opened = page.evaluate(OPENED)
            moved = page.evaluate(FRAMES)
            page.close()
            rows.append(
                [
                    name,
                    f"{path.stat().st_size / 1e6:.2f}",
                    f"{wrote:.1f}",
                    f"{opened['loaded']:.0f}",
                    f"{moved['rate']:.0f}",
                    f"{moved['slowest']:.0f} ms",
                ]
            )
        version = browser.version
        browser.close()
    for suffix in (".json", ".md"):
        path = write_report(result, folder / f"report{suffix}")
        rows.append([path.name, f"{path.stat().st_size / 1e6:.2f}", "", "", "", ""])
    pairs = len(result["twins"].pairs)
    text = f"""# The report's page

{len(store.items):,} drawn faces with planted copies, wrong labels and unreadable files; the audit
took {spent / 60:.1f} min of CPU and lists {pairs:,} pairs of copies. The page shows {MOST_PAIRS} of
every list and says so, which is why its size hardly depends on how many there are. Opened in
headless Chromium {version}, which draws in software; frames while the page scrolls by 60 pixels a
frame, for three seconds; the slowest of 20 is the 95th percentile between two frames. For the last
of the pages the lists of pairs, labels and pictures were repeated {TIMES} times, as a data set of
about 100,000 would have them; no such set was audited.

{table(rows)}
"""
    write_page("pages.md", "pages.py", text)
    if work is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
