"""All pairs of vectors with a cosine of at least 0.95, at 10,000 and 100,000, by nine programs.

One set of vectors for all: 512 numbers a row, in clusters, their variances falling off as 1/i; one
in fifty rows is a near copy of another. The truth is what an exact search finds. At 10,000 all run
in turn, three times; at 100,000 once. Figures are kept in `docs/benchmarks/pairs.json`;
`--only NAME` measures one anew, `--size N` one size.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pair_rivals import FIELD
from rivals import NO_RESULT, ask, keep, kept, options

from embedkit.vectors import FloatArray, unit_rows

DIMENSION, CLUSTER, WITHIN = 512, 100, 0.8
COPIES = 0.02
COSINES = 0.955, 0.995  # of the near copies
LEAST = 0.95
ROUNDS = {10_000: 3, 100_000: 1}
TRUTH = "faiss"
MOST_MEMORY = 6 * 2**30  # bytes that a process may take on this machine
ROWS = 50_000


def drawn(n: int, seed: int = 0) -> FloatArray:
    """Draw n clustered unit rows, a share of them near copies of others."""
    generator = np.random.default_rng(seed)
    spread = (1 / np.sqrt(np.arange(1, DIMENSION + 1))).astype(np.float32)
    centres = generator.normal(size=(max(n // CLUSTER, 1), DIMENSION)).astype(np.float32) * spread
    vectors = np.empty((n, DIMENSION), np.float32)
    for start in range(0, n, ROWS):
        part = vectors[start : start + ROWS]
        part[:] = generator.normal(size=part.shape).astype(np.float32) * spread * WITHIN
        part += centres[generator.integers(len(centres), size=len(part))]
        part[:] = unit_rows(part)
    copies = generator.choice(n, 2 * round(COPIES * n), replace=False).reshape(2, -1)
    cosine = generator.uniform(*COSINES, size=(copies.shape[1], 1))
    aside = generator.normal(size=(copies.shape[1], DIMENSION)) * spread
    old = vectors[copies[1]].astype(np.float64)
    aside -= np.einsum("ij,ij->i", aside, old)[:, None] * old
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    vectors[copies[0]] = cosine * old + np.sqrt(1 - cosine**2) * aside
    return unit_rows(vectors)


def keys(pairs: np.ndarray, n: int) -> np.ndarray:
    return pairs[:, 0].astype(np.int64) * n + pairs[:, 1]


def one_run(name: str, n: int, vectors: Path, rivals: Path | None) -> dict[str, Any]:
    """Let one program find the pairs, and compare them with the truth beside the vectors."""
    if name == "imagededup" and 2 * n * n > MOST_MEMORY:
        why = f"it holds all {n:,} x {n:,} cosines, {2 * n * n / 1e9:,.0f} GB"
        return {NO_RESULT: why}
    found, truth = vectors.with_name("found.npy"), vectors.with_name("truth.npy")
    arguments = (name, str(vectors), str(found), str(LEAST))
    made = ask(name, "pair_rivals.py", *arguments, rivals=rivals, folder=vectors.parent)
    if NO_RESULT in made:
        return made
    pairs = np.load(found)
    if name == TRUTH:
        np.save(truth, pairs)
    wanted, got = keys(np.load(truth), n), keys(pairs, n)
    right = np.isin(wanted, got).sum()
    return made | {
        "pairs": len(got),
        "recall": float(right / len(wanted)),
        "wrong": int(len(got) - np.isin(got, wanted).sum()),
    }


def measure_size(n: int, names: list[str], rivals: Path | None) -> None:
    """Measure programs at one size, in turn, and keep their figures after each."""
    with tempfile.TemporaryDirectory() as folder:
        vectors = Path(folder) / "vectors.npy"
        np.save(vectors, drawn(n))
        runs: dict[str, list[dict]] = {name: [] for name in names}
        made: dict[str, dict] = {}
        for _ in range(ROUNDS[n]):
            for name, some in runs.items():
                if some and NO_RESULT in some[-1]:
                    continue
                some.append(one_run(name, n, vectors, rivals))
                print(n, name, some[-1], flush=True)
                made[name] = summary(some)
                figures = kept("pairs")
                keep("pairs", figures | {str(n): figures.get(str(n), {}) | made})


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians of the runs of one program."""
    last = runs[-1]
    if NO_RESULT in last:
        return last
    middle = {what: statistics.median(run[what] for run in runs) for what in ("cpu", "wall")}
    spread = [min(run["cpu"] for run in runs), max(run["cpu"] for run in runs)]
    peak = max(run["peak"] for run in runs)
    same = {what: last[what] for what in ("pairs", "recall", "wrong", "versions", "load")}
    return middle | same | {"spread": spread, "peak": peak, "runs": len(runs)}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--size", type=int, choices=tuple(ROUNDS), action="append")
    given = parser.parse_args()
    # The truth comes first: the others are compared with it.
    names = [TRUTH, *(name for name in given.only or FIELD if name != TRUTH)]
    for n in given.size or ROUNDS:
        measure_size(n, names, given.rivals)


if __name__ == "__main__":
    main()
