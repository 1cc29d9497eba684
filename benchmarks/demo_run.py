"""The demonstration: what it costs, and what it finds of what was planted, for several seeds."""

import statistics
import tempfile
from pathlib import Path

from common import embedkit, table, write_page

SEEDS = range(5)


def percent(estimate: dict) -> str:
    low, high = (f"{100 * estimate[end]:.1f}" for end in ("low", "high"))
    return f"{100 * estimate['value']:.1f} [{low}, {high}]"


def main() -> None:
    work = Path(tempfile.mkdtemp())
    runs = [embedkit("demo", f"demo{seed}", "--seed", str(seed), folder=work) for seed in SEEDS]
    faults = [row["fault"] for row in runs[0][1]["planted"]]
    rows = [["seed", *(f"{what}, found of planted" for what in faults), "pairs not planted"]]
    heads = [["seed", "head", "reported", "copies are worth", "without them in train"]]
    for seed, (_, document) in zip(SEEDS, runs, strict=True):
        cells = [f"{row['found']} of {row['planted']}" for row in document["planted"]]
        rows.append([str(seed), *cells, str(document["unplanted_pairs"])])
        ledger = next(f for f in document["audit"]["findings"] if f["name"] == "ledger")
        for head in ledger["details"]["heads"]:
            figures = (head["reported"], head["total"], head["honest"])
            heads.append([str(seed), head["head"], *(percent(figure) for figure in figures)])
    cost = {
        what: statistics.median(getattr(run, what) for run, _ in runs)
        for what in ("wall", "cpu", "peak")
    }
    write_page(
        "demo.md",
        "demo_run.py",
        f"""# The demonstration

`embedkit demo DIR --seed SEED`, start-up included, median of {len(runs)} seeds:
{cost["wall"]:.1f} s, {cost["cpu"]:.1f} s of CPU, at most {cost["peak"]:.0f} MiB. The
target is 60 s of CPU.

{table(rows)}

## Accuracy in percent, with and without the copies

{table(heads)}
""",
    )


if __name__ == "__main__":
    main()
