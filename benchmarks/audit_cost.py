"""What the whole audit costs at the size of the original data set, and the nuisance table alone."""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from audit_scale import IMAGES, Clock
from common import data_folder, measure, table, write_page

from embedkit.audits import audit, run
from embedkit.pipeline import embed
from embedkit.pipeline import run as pipeline
from embedkit.store import Store
from embedkit.synthetic import make_faces

PHOTOGRAPHS, SIZE = 6, 200
PAIRS = 7  # of embeddings with and without the nuisance table
SOME = 1000  # pictures of each
ASKED_SHARE, ASKED_MINUTES = 0.2, 5
WATCHED = {
    "find_twins": "twins",
    "find_siblings": "siblings",
    "measure_leakage": "leakage",
    "keep_ledger": "ledger, both heads",
    "check_parity": "parity",
    "nuisance_columns": "shortcuts: columns",
    "find_clues": "shortcuts: what the files say",
    "find_shortcuts": "shortcuts: does the head use it",
    "check_labels": "labels",
    "check_quality": "quality",
}
OF_PICTURES = ("shortcuts", "labels", "quality")


def audit_store(path: str) -> dict[str, Any]:
    """Run every audit and take the CPU seconds of each; run in a process of its own."""
    clock = Clock()
    clock.seconds["start (importing torch and the like)"] = time.process_time()
    for function, name in WATCHED.items():
        clock.watch(run, function, name)
    with clock.part("the rest"):
        found = audit(Store.open(Path(path)))
    cpu: dict[str, float] = {}
    for name, seconds in clock.seconds.items():
        part = name.partition("|")[0]
        cpu[part] = cpu.get(part, 0.0) + seconds
    verdicts = {one.name: one.verdict.value for one in found.findings}
    return {"cpu": cpu, "verdicts": verdicts}


def cost_of_nuisances(source: Path) -> list[tuple[float, float]]:
    """Return CPU seconds of embedding some pictures with the nuisance table and without."""
    made = []
    with_table = pipeline.glance
    for pair in range(PAIRS + 1):
        seconds = []
        for reads in (with_table, lambda *_: None):
            pipeline.glance = reads
            with tempfile.TemporaryDirectory() as folder:
                began = time.process_time()
                embed(source, Path(folder) / "store", backbone="mtcnn")
                seconds.append(time.process_time() - began)
        pipeline.glance = with_table
        if pair:  # the first pays for what is loaded once
            made.append((seconds[0], seconds[1]))
    return made


def some_of(paths: list[Path], folder: Path) -> Path:
    """Link some pictures into a folder."""
    folder.mkdir()
    for number, path in enumerate(paths[:SOME]):
        (folder / f"{number:05}{path.suffix}").symlink_to(path)
    return folder


def added(pairs: list[tuple[float, float]]) -> list[float]:
    return [with_table / without - 1 for with_table, without in pairs]


def main() -> None:
    data = data_folder()
    work = Path(tempfile.mkdtemp())
    faces = work / "faces"
    make_faces(faces, people=IMAGES // PHOTOGRAPHS, photographs=PHOTOGRAPHS, size=SIZE, seed=0)
    program = [sys.executable, "-m", "embedkit_cli"]
    command = [*program, "embed", str(faces), "-o", "store", "-b", "mtcnn"]
    embedded = measure(command, folder=work)
    script = [sys.executable, str(Path(__file__).resolve()), "audit", str(work / "store")]
    audited = measure(script, folder=work)
    made = json.loads(audited.output)
    rows = [["pictures", "with the table, CPU s", "without", "added, median", "least", "most"]]
    shares = []
    for name, paths in (
        (f"FairFace, {SOME}", sorted((data / "fairface/images").iterdir())),
        (f"drawn, {SOME}", sorted(faces.rglob("*.png")) + sorted(faces.rglob("*.jpg"))),
    ):
        pairs = cost_of_nuisances(some_of(paths, work / name.partition(",")[0]))
        more = added(pairs)
        shares.append(statistics.median(more))
        cells = [f"{statistics.median(one):.2f}" for one in zip(*pairs, strict=True)]
        ends = [f"{statistics.median(more):.1%}", f"{min(more):.1%}", f"{max(more):.1%}"]
        rows.append([name, *cells, *ends])
    cpu = made["cpu"]
    pictures = sum(seconds for name, seconds in cpu.items() if name.startswith(OF_PICTURES))
    parts = [["part", "CPU s"], *([name, f"{seconds:.1f}"] for name, seconds in cpu.items())]
    verdicts = ", ".join(f"{name} {verdict}" for name, verdict in made["verdicts"].items())

    def asked(kept: bool, limit: str) -> str:
        return f"{'within' if kept else '**not** within'} the {limit} asked"

    write_page(
        "audit-cost.md",
        "audit_cost.py",
        f"""# What an audit of {IMAGES:,} pictures costs

{IMAGES:,} drawn faces of {SIZE} pixels ({IMAGES // PHOTOGRAPHS:,} people, {PHOTOGRAPHS} photographs
each, nothing planted), embedded with `mtcnn` and audited with everything that an audit does without
`--views`. Each runs in a process of its own; CPU seconds are of all cores, start-up included.

Embedding: {embedded.cpu:.0f} s of CPU, {embedded.wall:.0f} s by the clock, {embedded.peak:.0f} MiB
at the peak. Audit: {audited.cpu:.0f} s of CPU ({audited.cpu / 60:.1f} min), {audited.wall:.0f} s by
the clock, {audited.peak:.0f} MiB.

Shortcuts, labels and quality together: {pictures:.0f} s of CPU ({pictures / 60:.1f} min),
{asked(pictures <= 60 * ASKED_MINUTES, f"{ASKED_MINUTES} min")}.

{table(parts)}

It found: {verdicts}.

## The nuisance table, read in the pass that embeds

CPU seconds of embedding {SOME} pictures with `mtcnn`, with the table and without it, in turn,
{PAIRS} times each in one process: {asked(max(shares) <= ASKED_SHARE, f"{ASKED_SHARE:.0%}")}.

{table(rows)}
""",
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["audit"]:
        print(json.dumps(audit_store(sys.argv[2])))
    else:
        main()
