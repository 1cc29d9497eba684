"""docs/load.md: 100,000 small pictures in one folder, and in 10,000 folders, through the commands.

Each command is a process of its own that may have 64 files open. What it costs with fifty pictures
is what it costs to start; growth is fitted to what comes on top. After each step the store is
compared with what was drawn, picture by picture. Figures are kept in `docs/load.json`;
`--only LAYOUT` and `--sizes N...` measure a part anew. `--figures FILE` appends the figures for
docs/reliability.md.
"""

import argparse
import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import DOCS, measure, table, write_page
from PIL import Image

from embedkit.store import Store

SIZES = (50, 10_000, 100_000)
LAYOUTS = {"one folder": 10**9, "folders of ten": 10}  # pictures in a folder
SIDE = 8
OPEN_FILES = 64
FORGET = 10
FROM = 1.0  # seconds on top of the start; growth of less is noise
KEPT = DOCS / "load.json"
PROGRAM = ("sh", "-c", f'ulimit -n {OPEN_FILES}; exec "$@"', "sh", sys.executable, "-m")


Step = dict[str, Any]  # name, cpu and wall in seconds, peak in MiB, pictures that are lost


def draw(root: Path, n: int, per: int) -> dict[str, str]:
    """Draw pictures, so many a folder, the last a copy; return the SHA-256 of each by its id."""
    drawn = {}
    generator = np.random.default_rng(n)
    for number in range(n):
        id_ = f"{number // per:05d}/{number:06d}.png"
        path = root / id_
        if number % per == 0:
            path.parent.mkdir(parents=True)
        if number < n - 1:
            picture = generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(picture).save(path)
        drawn[id_] = hashlib.sha256(path.read_bytes()).hexdigest()
    return drawn


def missing(store: Path, drawn: dict[str, str]) -> int:
    """Count pictures that a store lacks, holds as others, or has too many."""
    items = Store.open(store).items
    held = dict(zip(items.ids, items.column("sha256"), strict=True))
    return len(dict(held.items() ^ drawn.items()))


def through(work: Path, n: int, per: int) -> Iterator[Step]:
    """Take `n` pictures through the commands, each measured."""
    source, store = work / "pictures", work / "store"
    drawn = draw(source, n, per)
    *_, asked, copy = drawn
    leaving = list(drawn)[: -2 : n // FORGET]
    steps = (
        ("scan", "scan", source),
        ("embed", "embed", source, "-b", "pixels", "-o", store),
        ("embed, nothing new", "embed", source, "-o", store),
        ("index", "index", store),
        ("search", "search", store, source / asked, "--sheet", work / "sheet.png"),
        ("info --deep", "info", store, "--deep"),
        (f"forget {FORGET}", "forget", store, *leaving, "--yes"),
        ("embed after it", "embed", source, "-o", store),
    )
    for name, *arguments in steps:
        command = [*PROGRAM, "embedkit_cli", *map(str, arguments), "--json"]
        measured = measure(command, folder=work)
        said = json.loads(measured.output)
        if name.startswith("forget"):
            drawn = {id_: hash_ for id_, hash_ in drawn.items() if id_ not in leaving}
        lost = n - said["n"] if name == "scan" else missing(store, drawn)
        if name == "search":
            lost += said["neighbours"][0]["id"] != copy
        yield {
            "name": name,
            "cpu": round(measured.cpu, 2),
            "wall": round(measured.wall, 1),
            "peak": round(measured.peak),
            "lost": lost,
        }


def growth(steps: list[Step]) -> float | None:
    """Return the exponent that CPU time on top of the start grows with; None where it is noise."""
    start, small, large = (step["cpu"] for step in steps)
    return math.log10((large - start) / (small - start)) if small - start >= FROM else None


def rows(found: dict[str, list[Step]]) -> list[list[str]]:
    """Return the table of a layout that was measured at every size."""
    made = [["command", *(f"CPU s, {n:,}" for n in SIZES), "wall s", "growth"]]
    made[0] += [*(f"MiB, {n:,}" for n in SIZES[1:]), "pictures lost"]
    for steps in zip(*(found[str(n)] for n in SIZES), strict=True):
        exponent = growth(list(steps))
        made.append([steps[0]["name"], *(f"{step['cpu']:.1f}" for step in steps)])
        made[-1] += [f"{steps[-1]['wall']:.0f}", f"{exponent:.2f}" if exponent else "–"]
        made[-1] += [*(str(step["peak"]) for step in steps[1:])]
        made[-1].append(str(max(step["lost"] for step in steps)))
    return made


def counted(words: str, found: dict[str, list[Step]]) -> str:
    """Return what docs/reliability.md says of a layout."""
    exponents = [growth(list(steps)) for steps in zip(*(found[str(n)] for n in SIZES), strict=True)]
    cost = {step["name"]: step for step in found[str(SIZES[-1])]}
    small, large = (max(step["peak"] for step in found[str(n)]) for n in SIZES[1:])
    return (
        f"{SIZES[-1]} pictures in {words}, {OPEN_FILES} open files, through {len(cost)} commands: "
        f"{max(step['lost'] for steps in found.values() for step in steps)} lost; embed "
        f"{cost['embed']['cpu']:.0f} s of CPU, again with nothing new "
        f"{cost['embed, nothing new']['cpu']:.0f} s; at most {large} MiB ({small} with "
        f"{SIZES[-2]}); CPU time grows with n to the power of "
        f"{max(one for one in exponents if one):.2f} at most"
    )


def main() -> None:
    """Measure, keep, write the page, and append the figures where that is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figures", type=Path, help="file that figures are appended to")
    parser.add_argument("--only", choices=LAYOUTS, help="layout to measure; default: both")
    parser.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=SIZES)
    given = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {words: {} for words in LAYOUTS}
    for words in [given.only] if given.only else LAYOUTS:
        for n in given.sizes:
            with tempfile.TemporaryDirectory() as folder:
                kept[words][str(n)] = list(through(Path(folder), n, LAYOUTS[words]))
            KEPT.write_text(json.dumps(kept, indent=1) + "\n")
            print(words, n, kept[words][str(n)], flush=True)
    whole = {words: found for words, found in kept.items() if len(found) == len(SIZES)}
    parts = [
        f"## In {words}\n\n" + (table(rows(kept[words])) if words in whole else NOT_RUN)
        for words in LAYOUTS
    ]
    if given.figures is not None:
        with given.figures.open("a", encoding="utf-8") as file:
            for words, found in whole.items():
                said = {"row": "J2", "test": f"benchmarks/reliability_load.py::{words}"}
                said |= {"thorough": True, "counted": counted(words, found)}
                file.write(json.dumps(said) + "\n")
    write_page("load.md", "reliability_load.py", INTRODUCTION + "\n\n".join(parts))


NOT_RUN = "Not run at every size."
INTRODUCTION = f"""# 100,000 small pictures

Pictures of {SIDE} x {SIDE} pixels, all different but the last, a copy, through the commands in
turn: each a process of its own that may have {OPEN_FILES} files open. *Growth* is the exponent from
10,000 to 100,000 of the CPU time on top of what the command takes with 50 pictures (1 is linear; –
where 10,000 take less than a second more). *Lost* are pictures that the store lacks after the
command, holds with another hash, or has too many; for `search`, a copy that is not what is found
first.

"""


if __name__ == "__main__":
    main()
