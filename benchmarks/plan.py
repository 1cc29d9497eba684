"""The plan past this machine: from measured pieces to 10 M, 100 M and 1,000 M images.

`python benchmarks/plan.py` measures and writes docs/scale.md; with `--only simulation` or `pieces`
that part alone is measured anew, with `--only page` nothing (to change the prices:
`--core-hour 0.03 --gpu-hour 1.5`). What was measured is kept in docs/scale.json.
"""

import argparse
import csv
import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import DOCS, ROOT, machine, measure
from plan_cluster import Scene, simulate
from plan_page import page

ROUNDS = 3
FEW, MANY = 200, 1000  # pictures of two runs, whose difference is what a picture costs
ROUGH = {"spread": 0.25, "slow": 0.01}
FAILING = {"worker_h": 24.0, "node_h": 100.0}
CALM = Scene("all blocks alike, nothing fails")
BOTH = CALM.but("uneven blocks, workers and nodes die", **ROUGH, **FAILING)
SCENES = (
    CALM,
    CALM.but("uneven: ±25%, 1 in 100 takes 5 times as long", **ROUGH),
    CALM.but("one node of 16 takes 3 times as long", slow_nodes=1),
    CALM.but("1 block in 10,000 takes 100 times as long", slow=1e-4, slower=100.0),
    CALM.but("a worker dies every 24 h, a node goes every 100 h, each", **FAILING),
    CALM.but("the same, ten times as often", worker_h=2.4, node_h=10.0),
    BOTH,
    BOTH.but("the same, blocks of 4,096", block=4096),
    BOTH.but("the same, blocks of 16,384", block=16384),
    BOTH.but("the same, 64 workers", workers=64),
    BOTH.but("the same, 1,024 workers", workers=1024),
)


def run_pieces(work: Path) -> dict[str, Any]:
    """Measure every piece at its sizes; a store of real pictures is in `work` already."""
    script = str(Path(__file__).with_name("plan_pieces.py"))
    found: dict[str, Any] = json.loads(
        measure([sys.executable, script, str(work)], folder=work).output
    )
    return found


def embed_faces(data: Path, work: Path) -> dict[str, Any]:
    """Embed some pictures of UTKFace with mtcnn; what a picture takes is the difference."""
    names = [
        row[0] for row in csv.reader((data / "utkface/labels.csv").read_text().splitlines()[1:])
    ]
    each, peaks = [], []
    for turn in range(ROUNDS):
        runs = {}
        for n in (FEW, MANY):
            (work / f"{n}.csv").write_text("\n".join(["file", *names[:n]]))
            place = work / (f"few-{turn}" if n == FEW else f"store-{turn}")
            options = ["-o", str(place), "-b", "mtcnn", "--root", str(data / "utkface")]
            program = [sys.executable, "-m", "embedkit_cli", "embed", f"{n}.csv", *options]
            runs[n] = measure(program, folder=work)
        each.append(1000 * (runs[MANY].cpu - runs[FEW].cpu) / (MANY - FEW))
        peaks.append(runs[MANY].peak)
    (work / "store-0").rename(work / "store")
    n = json.loads((work / "store/store.json").read_text())["items"]["n"]
    sizes = {path.name: path.stat().st_size for path in (work / "store").rglob("*.*")}
    return {
        "n": n,
        "cpu_ms": statistics.median(each),
        "cpu_ms_of_rounds": each,
        "peak_mib": statistics.median(peaks),
        "items_bytes": sizes["items.parquet"] / n,
    }


def networks() -> dict[str, dict[str, Any]]:
    """Return what embedding_speed.py measured of the larger networks, on which machine."""
    known = json.loads((DOCS / "embedding.json").read_text())["networks"]
    return {
        name: {
            "cpu": statistics.median(one["cpu"] for one in known[name]["contenders"]["embedkit"]),
            "precision": known[name]["precision"],
            "machine": known[name]["machine"].removeprefix("Machine: ").partition(",")[0],
        }
        for name in ("clip", "vgg16", "facenet")
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", choices=("simulation", "pieces", "page"))
    parser.add_argument("--core-hour", type=float, default=0.04, help="price in dollars")
    parser.add_argument("--gpu-hour", type=float, default=2.0, help="price in dollars")
    given = parser.parse_args()
    kept = DOCS / "scale.json"
    found: dict[str, Any] = {}
    work = Path(tempfile.mkdtemp())
    if given.only in (None, "simulation"):
        found["simulation"] = []
        for scene in SCENES:
            outcome = simulate(scene)
            found["simulation"].append(asdict(outcome))
            print(outcome, flush=True)
        found["simulation_on"] = machine()
    if given.only in (None, "pieces"):
        found["mtcnn"] = embed_faces(given.data.resolve(), work)
        found["pieces"] = run_pieces(work)
        found["pieces_on"] = machine()
    shutil.rmtree(work)
    if kept.exists():  # another part may have been measured meanwhile
        found = json.loads(kept.read_text()) | found
    kept.write_text(json.dumps(found, indent=1, default=float) + "\n")
    found = json.loads(kept.read_text())  # the same numbers, whether measured now or before
    missing = {"simulation", "pieces", "mtcnn"} - found.keys()
    if missing:
        print(f"no page yet: {', '.join(sorted(missing))} not measured")
        return
    page(found, networks(), core_hour=given.core_hour, gpu_hour=given.gpu_hour)


if __name__ == "__main__":
    main()
