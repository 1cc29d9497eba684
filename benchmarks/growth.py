"""How the cost of embedding grows with the number of pictures, and what a picture takes on disk.

1,000, 3,000 and 10,000 real pictures, the same mixture at each size, embedded with `mtcnn` and with
`pixels`, each by a command of its own, in turn. Figures are kept in `docs/benchmarks/growth.json`;
`--only NAME` measures one of the two anew.
"""

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import measure
from mixed import lay_out
from rivals import keep, kept, options

START = 50  # pictures: what a command costs before it has work to do
SIZES = (1_000, 3_000, 10_000)
SPACES = ("mtcnn", "pixels")


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Return the slope of a line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def bytes_of(store: Path, space: str) -> dict[str, int]:
    """Return the bytes of the parts of a store."""
    parts = {
        "vectors": store.glob(f"{space}/vectors-*.npy"),
        "index": store.glob(f"{space}/index.*"),
    }
    sizes = {name: sum(path.stat().st_size for path in some) for name, some in parts.items()}
    every = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    return sizes | {"labels and facts": every - sum(sizes.values())}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    spaces = given.only or SPACES
    made: dict[str, dict[str, dict[str, Any]]] = {space: {} for space in spaces}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for n in (START, *SIZES):
            lay_out(given.data, work / str(n), n)
        for turn in range(given.rounds):
            for n in (START, *SIZES):
                for space in spaces:
                    store = work / f"{space}-{n}-{turn}"
                    command = [sys.executable, "-m", "embedkit_cli", "embed", str(work / str(n))]
                    done = measure([*command, "-o", str(store), "-b", space], folder=work)
                    cell = made[space].setdefault(str(n), {"cpu": [], "wall": []})
                    cell["cpu"].append(done.cpu)
                    cell["wall"].append(done.wall)
                    cell["peak"] = done.peak
                    cell["bytes"] = bytes_of(store, space)
                    print(n, space, cell, flush=True)
    before = kept("growth").get("spaces", {})
    keep("growth", {"rounds": given.rounds, "spaces": before | fitted(made)})


def fitted(made: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Add the exponents: of whole commands, and without what each costs at the start."""
    spaces = {}
    for space, cells in made.items():
        cpu = {int(n): statistics.median(cell["cpu"]) for n, cell in cells.items()}
        whole = [cpu[n] for n in SIZES]
        spaces[space] = {
            "sizes": cells,
            "exponent": exponent(list(SIZES), whole),
            "exponent without the start": exponent(
                list(SIZES), [seconds - cpu[START] for seconds in whole]
            ),
        }
    return spaces


if __name__ == "__main__":
    main()
