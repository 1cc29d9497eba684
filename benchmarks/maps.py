"""Maps: what the store's own neighbours save, what a map is worth, how a page moves.

10,000 real pictures (the samples thrown together), 100,000 drawn vectors. Stores and finished parts
stay in a folder for temporary files, so that a run that was stopped goes on; delete it to measure
anew.
"""

import csv
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from common import data_folder, table, write_page
from playwright.sync_api import sync_playwright

from embedkit.images import SUFFIXES
from embedkit.maps import Map, map_of
from embedkit.maps.edges import fuzzy_graph
from embedkit.maps.honesty import compare, nearest_in_plane, trustworthiness
from embedkit.maps.layout import curve, lay_out, load_umap, neighbour_graph
from embedkit.pipeline import embed
from embedkit.reports.map_files import write_map
from embedkit.store import Store
from embedkit.store.index import NeighbourIndex, Neighbours
from embedkit.vectors import FloatArray, unit_rows

SETS = (
    "fer2013",
    "utkface",
    "fairface",
    "lfw_deepfunneled",
    "att_faces",
    "anime_faces",
    "cifar10_duplicates",
)
REAL, DRAWN, DIMENSION, GROUPS = 10_000, 100_000, 128, 500
NEIGHBOURS, RANKED, SEEDS = 15, 1_000, 2
WORK = Path(tempfile.gettempdir()) / "embedkit-maps"
FRAMES = 300
HEAD_RACES = ["", "clock s", "CPU s", "neighbours kept", "trustworthiness"]
HEAD_STARTS = ["set", "start", "CPU s", "neighbours kept", "trustworthiness", "moved", "same"]
HEAD_HONEST = ["set", "n", "trustworthiness", "kept", "map", "space", "chance", "moved", "same"]
HEAD_PAGES = ["page", "MB", "s to write", "frames/s", "95% ms", "phone", "95% ms"]
# Wheel and arrow keys, one of each a frame; in and out again by a factor of 13.
DRIVE = """frames => new Promise(done => {
  const canvas = document.querySelector(".em-canvas"), box = canvas.getBoundingClientRect();
  const times = [];
  let last = performance.now();
  const step = () => {
    const now = performance.now();
    times.push(now - last);
    last = now;
    const turn = times.length % 80;
    canvas.dispatchEvent(new WheelEvent("wheel", {deltaY: turn < 40 ? -40 : 40, cancelable: true,
      clientX: box.x + box.width / 2, clientY: box.y + box.height / 2}));
    canvas.dispatchEvent(new KeyboardEvent("keydown",
      {key: turn % 20 < 10 ? "ArrowLeft" : "ArrowRight"}));
    if (times.length <= frames) return requestAnimationFrame(step);
    times.shift();
    const sum = times.reduce((a, b) => a + b, 0);
    times.sort((a, b) => a - b);
    done([1000 * times.length / sum, times[Math.floor(0.95 * times.length)]]);
  };
  requestAnimationFrame(step);
})"""


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return a result, the seconds by the clock, and those of all cores."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return made, wall, cpu


def real_store(data: Path) -> Store:
    """Return 10,000 pictures of all samples, in the space of mtcnn; the sample is the label."""
    manifest = WORK / "mixed.csv"
    rows = [
        (str(path.relative_to(data)), name)
        for name in SETS
        for path in sorted((data / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    random.Random(0).shuffle(rows)
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows[:REAL]])
    return embed(manifest, WORK / "mixed", root=data, backbone="mtcnn")


def drawn_vectors() -> FloatArray:
    """Return 100,000 vectors around 500 centres."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(GROUPS, DIMENSION))
    noise = 0.8 * generator.normal(size=(DRAWN, DIMENSION))
    return unit_rows(centres[np.arange(DRAWN) % GROUPS] + noise)


def compile_everything() -> tuple[float, float]:
    """Use everything once, and return the CPU seconds of ours and of UMAP alone after it."""
    some = unit_rows(drawn_vectors()[:5_000, :16])  # enough for its search to be approximate
    few = some[:60]
    graph = neighbour_graph(NeighbourIndex(few), few, NEIGHBOURS)
    _, _, ours = timed(lambda: lay_out(graph, few, seed=0))
    _, _, theirs = timed(lambda: umap_itself(some, epochs=1))
    return ours, theirs


def umap_itself(vectors: FloatArray, epochs: int | None = None) -> FloatArray:
    """Return the places that UMAP finds when it searches for neighbours itself."""
    reducer = load_umap().UMAP(
        n_neighbors=NEIGHBOURS + 1,  # it counts the image itself
        metric="cosine",
        random_state=0,
        n_jobs=1,
        n_epochs=epochs,
    )
    return np.asarray(reducer.fit_transform(vectors), np.float32)


def worth(vectors: FloatArray, graph: Neighbours, places: FloatArray) -> list[str]:
    """Return neighbours kept and trustworthiness of a layout."""
    near = nearest_in_plane(places, NEIGHBOURS)
    kept = np.mean([np.isin(a, b).mean() for a, b in zip(graph.rows, near, strict=True)])
    rows = np.random.default_rng(0).choice(len(vectors), RANKED, replace=False)
    return [f"{kept:.1%}", f"{trustworthiness(vectors, near, rows):.3f}"]


def race(name: str, vectors: FloatArray, index: NeighbourIndex) -> list[list[str]]:
    """Lay vectors out by the index and by UMAP alone; a row of the table for each step."""
    graph, *search = timed(lambda: neighbour_graph(index, vectors, NEIGHBOURS))
    layout, *lay = timed(lambda: lay_out(graph, vectors, seed=0))
    theirs, *alone = timed(lambda: umap_itself(vectors))
    whole = [a + b for a, b in zip(search, lay, strict=True)]

    def row(what: str, seconds: list[float], more: list[str]) -> list[str]:
        return [what, *(f"{one:.1f}" for one in seconds), *more]

    return [
        row(f"{name}: exact neighbours by the store's index", search, ["", ""]),
        row("layout from them", lay, worth(vectors, graph, layout.places)),
        row("both", whole, ["", ""]),
        row("UMAP that searches itself (approximate)", alone, worth(vectors, graph, theirs)),
    ]


def starts(name: str, vectors: FloatArray, graph: Neighbours) -> list[list[str]]:
    """Lay vectors out from each kind of start, three seeds each."""
    umap, rows = load_umap(), []
    for start in ("principal components (ours)", "spectral", "random"):
        layouts, spent = [], []
        for seed in range(SEEDS):

            def work(start: str = start, seed: int = seed) -> FloatArray:
                if "ours" in start:
                    return lay_out(graph, vectors, seed=seed).places
                state = np.random.RandomState(seed)
                settings = (2, 1.0, *curve(), 1.0, 5, None, start, state, "cosine", {}, False)
                places, _ = umap.simplicial_set_embedding(
                    vectors, fuzzy_graph(graph), *settings, {}, False
                )
                return np.asarray(places, np.float32)

            made, _, cpu = timed(work)
            layouts.append(made)
            spent.append(cpu)
        moved, shared = compare(layouts, NEIGHBOURS)
        figures = worth(vectors, graph, layouts[0])
        apart = [f"{moved:.1%}", f"{shared:.0%}"]
        rows.append([name, start, f"{np.mean(spent):.1f}", *figures, *apart])
    return rows


def honest_row(name: str, made: Map) -> list[str]:
    """Return what is printed on a map, as a row."""
    one = made.honesty
    shares = (one.kept, one.label_plane, one.label_space, one.label_chance, one.moved, one.shared)
    return [name, str(len(made.rows)), f"{one.trustworthiness:.3f}", *(f"{x:.0%}" for x in shares)]


def tenfold(made: Map) -> Map:
    """Return a map with every point ten times, moved a little: 100,000 points."""
    times = DRAWN // len(made.rows)
    moves = np.random.default_rng(0).normal(0, 0.3, (times, len(made.rows), 2))
    every = np.tile(np.arange(len(made.rows)), times)
    return replace(
        made,
        rows=made.rows[every],
        places=(made.places[None] + moves).reshape(-1, 2).astype(np.float32),
        columns=replace(
            made.columns, columns=tuple(one.take(every) for one in made.columns.columns)
        ),
    )


def page_row(name: str, made: Map, *, images: bool) -> list[str]:
    """Write a page, drive it, and return its size, time to make, frames a second."""
    path, wall, _ = timed(lambda: write_map(made, WORK / "map.html", images=images))
    cells = [name, f"{path.stat().st_size / 1e6:.1f}", f"{wall:.0f}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for width, height, ratio in ((1280, 900, 1), (390, 844, 2)):
            view = {"width": width, "height": height}
            tab = browser.new_page(viewport=view, device_scale_factor=ratio)
            tab.goto(path.as_uri())
            tab.wait_for_timeout(3000)
            rate, slow = tab.evaluate(DRIVE, FRAMES)
            cells += [f"{rate:.0f}", f"{slow:.0f}"]
            tab.close()
        browser.close()
    return cells


def part(name: str, work: Callable[[], Any]) -> Any:
    """Return what a part measured; one that a stopped run has finished is not measured again."""
    path = WORK / f"{name}.json"
    if not path.exists():
        made = work()
        path.write_text(json.dumps(made))
        print(f"{name}: {made}", flush=True)
    return json.loads(path.read_text())


def real(data: Path) -> dict[str, Any]:
    """Measure 10,000 real pictures."""
    ours, theirs = compile_everything()
    space = real_store(data).space()
    name = f"{REAL:,} real pictures, {space.record.dimension} numbers"
    return {"compiled": [ours, theirs], "races": race(name, space.vectors, space.index)}


def small(name: str, store: Store) -> dict[str, Any]:
    """Measure a sample by itself."""
    space = store.space()
    graph = neighbour_graph(space.index, space.vectors, NEIGHBOURS)
    begins = starts(name, space.vectors, graph)
    return {"starts": begins, "honest": honest_row(name, map_of(store))}


def mixed_pages(data: Path) -> dict[str, Any]:
    """Make the map of the real pictures, and drive pages of it."""
    made, wall, cpu = timed(lambda: map_of(real_store(data)))
    rows = [
        page_row(f"{REAL:,} points, all with pictures", made, images=True),
        page_row(f"{REAL:,} points, no pictures", made, images=False),
        page_row(f"{DRAWN:,} points, 10,000 with pictures", tenfold(made), images=True),
    ]
    honest = honest_row("all samples: which one", made)
    return {"pages": rows, "honest": honest, "seconds": [wall, cpu]}


def drawn() -> list[list[str]]:
    """Measure 100,000 drawn vectors."""
    compile_everything()
    vectors = drawn_vectors()
    index = NeighbourIndex(vectors)
    return race(f"{DRAWN:,} drawn vectors, {DIMENSION} numbers", vectors, index)


def main() -> None:
    data = data_folder()
    WORK.mkdir(exist_ok=True)
    begun = part("load", lambda: os.getloadavg()[0])
    first = part("real", lambda: real(data))
    (ours, theirs), races = first["compiled"], first["races"]
    sources = {
        "FER2013, emotion": (data / "fer2013", {}),
        "UTKFace, gender": (data / "utkface/labels.csv", {"label": "gender"}),
    }
    begins, honest = [], []
    for name, (source, options) in sources.items():
        folder = WORK / name.split(",")[0]
        store = embed(source, folder, backbone="mtcnn", **options)
        found = part(f"{folder.name}-alone", lambda name=name, store=store: small(name, store))
        begins += found["starts"]
        honest.append(found["honest"])
    found = part("pages", lambda: mixed_pages(data))
    pages, (wall, cpu) = found["pages"], found["seconds"]
    honest.append(found["honest"])
    given, searched = (ours + float(races[row][2]) for row in (1, 2))
    alone = ours + theirs + float(races[3][2])
    races += part("drawn", drawn)
    write_page(
        "maps.md",
        "maps.py",
        f"""# Maps: what they cost and what they are worth

`embedkit map` lays a store out by UMAP (umap-learn {metadata.version("umap-learn")}) from the
exact {NEIGHBOURS} neighbours that the store's index finds. Other work ran on the same two cores;
the load was {begun:.1f} at the start, so CPU seconds say more than the clock.

## Time, beside UMAP that searches itself

One process, everything compiled before: that took {ours:.1f} s of CPU for the layout as embedkit
does it and {theirs:.1f} s more for what UMAP alone needs, and is paid in every process. So a
command of its own that lays the {REAL:,} pictures out takes {given:.0f} s of CPU where their
neighbours are known already, {searched:.0f} s with the search for them, and {alone:.0f} s where
UMAP searches itself.

"Neighbours kept" is the share of the {NEIGHBOURS} nearest in the space that are among the
{NEIGHBOURS} nearest in the plane; trustworthiness is taken over {RANKED:,} drawn images.

{table([HEAD_RACES, *races])}

A whole map of the {REAL:,} pictures, with columns, a head, and the layouts that its honesty is
measured on, took {wall:.0f} s by the clock and {cpu:.0f} s of CPU.

## Where a layout starts

CPU seconds of one layout, mean of {SEEDS} seeds; how far half of the pictures move from one to the
other at least, as a share of the map's width, and how many of the nearest stay the same.

{table([HEAD_STARTS, *begins])}

UMAP's spectral start looks for eigenvectors, which may not converge and then falls back to a
random start; where the graph has more than four parts and the vectors are not at hand, it places
the parts by numbers that no seed rules. Principal components always exist, and the axes are found
on at most 10,000 images.

## What is printed on maps of real pictures

Spaces of mtcnn. Shares of the {NEIGHBOURS} nearest that carry the label: on the map, in the space,
by chance.

{table([HEAD_HONEST, *honest])}

## Pages

Headless Chromium without a graphics card, one wheel step and one arrow key each frame, {FRAMES}
frames: mean frames a second (the browser makes 60 at most) and the 95th percentile of the time
between two, on a screen of 1280 x 900 and on a phone's of 390 x 844 with four pixels for one. The
page of {DRAWN:,} points has those of the {REAL:,} ten times over, moved a little.

{table([HEAD_PAGES, *pages])}
""",
    )


if __name__ == "__main__":
    main()
