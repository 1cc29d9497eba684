"""All pairs of vectors above a similarity, by one tool or library, for `all_pairs.py`.

Runs in the environment of that tool: `python pair_rivals.py NAME VECTORS PAIRS LEAST`. VECTORS is a
file of (n, d) float32 unit rows; the pairs found go to PAIRS as (m, 2) rows, the smaller first.
Prints JSON: seconds from the array in memory to the pairs, of the clock and of all cores, and the
versions; what is imported and loaded before that is not in them. The peak of memory is that of
the main process, the vectors included.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np

NEAREST = 10  # asked of the indexes that only know nearest neighbours
WIDER = 128  # the indexes' own breadth of search, where it is widened for the sake of recall
Found = np.ndarray
Work = Callable[[np.ndarray, float], Found]


def spent() -> float:
    """Return the CPU seconds of this process and of its finished children."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(one.ru_utime + one.ru_stime for one in map(resource.getrusage, who))


def peak() -> float:
    """Return the highest resident memory of this process, in MiB.

    Not by getrusage, which counts what the process was forked from as well.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def pairs_of(first: np.ndarray, second: np.ndarray) -> Found:
    """Return pairs of rows, each once, the smaller first."""
    pairs = np.sort(np.stack([first, second], axis=1), axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def of_nearest(rows: np.ndarray, distances: np.ndarray, least: float) -> Found:
    """Return the pairs among nearest neighbours, (n, k) each, that are similar enough."""
    first, place = np.nonzero(1 - distances >= least)
    return pairs_of(first, rows[first, place].astype(np.int64))


def embedkit_exact() -> Work:
    """Embedkit's join: every pair, exactly."""
    from embedkit.joins import every_pair

    return lambda vectors, least: every_pair(vectors, least).rows


def embedkit_cells() -> Work:
    """Embedkit's join of rows that share a cell."""
    from embedkit.joins import pairs_in_cells

    return lambda vectors, least: pairs_in_cells(vectors, least).rows


def faiss_range() -> Work:
    """Exact: faiss' range search in a flat index."""
    import faiss

    def work(vectors: np.ndarray, least: float) -> Found:
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        ends, _, rows = index.range_search(vectors, least)
        first = np.repeat(np.arange(len(vectors)), np.diff(ends.astype(np.int64)))
        return pairs_of(first, rows)

    return work


def hnswlib() -> Work:
    """A graph of neighbours with the settings of hnswlib's own example."""
    return _hnswlib(100)


def hnswlib_wider() -> Work:
    """The same with a wider search while building."""
    return _hnswlib(200)


def _hnswlib(breadth: int) -> Work:
    import hnswlib as library

    def work(vectors: np.ndarray, least: float) -> Found:
        index = library.Index(space="ip", dim=vectors.shape[1])
        index.init_index(max_elements=len(vectors), ef_construction=breadth, M=16)
        index.add_items(vectors)
        index.set_ef(max(NEAREST, breadth // 2))
        return of_nearest(*index.knn_query(vectors, k=NEAREST), least)

    return work


def usearch() -> Work:
    """A graph of neighbours as delivered (bf16 in, breadth 64)."""
    return _usearch("bf16")


def usearch_fp32() -> Work:
    """The same in full precision, searched more widely."""
    return _usearch("f32", expansion_search=WIDER)


def _usearch(precision: str, **settings: int) -> Work:
    from usearch.index import Index

    def work(vectors: np.ndarray, least: float) -> Found:
        index = Index(ndim=vectors.shape[1], metric="ip", dtype=precision, **settings)
        index.add(np.arange(len(vectors)), vectors)
        matches = index.search(vectors, NEAREST)
        return of_nearest(matches.keys, matches.distances, least)

    return work


def semhash() -> Work:
    """SemHash's removal of duplicates, given vectors; it searches with usearch."""
    from semhash import SemHash

    def work(vectors: np.ndarray, least: float) -> Found:
        names = [str(row) for row in range(len(vectors))]
        lab = SemHash.from_embeddings(vectors, names, model=None)
        result = lab.self_deduplicate(threshold=least)
        found = [(int(one.record), int(one.duplicate_of)) for one in result.filtered]
        return pairs_of(*np.array(found, np.int64).reshape(-1, 2).T)

    return work


def imagededup() -> Work:
    """Exact: the pair search of imagededup's CNN method, given vectors."""
    from torchvision import models

    published = models.mobilenet_v3_small
    models.mobilenet_v3_small = lambda weights: published(weights=None)
    from imagededup.methods import CNN

    encoder = CNN(verbose=False)

    def work(vectors: np.ndarray, least: float) -> Found:
        codes = {str(row): vector for row, vector in enumerate(vectors)}
        near = encoder.find_duplicates(encoding_map=codes, min_similarity_threshold=least)
        found = [(int(one), int(other)) for one, others in near.items() for other in others]
        return pairs_of(*np.array(found, np.int64).reshape(-1, 2).T)

    return work


def fastdup() -> Work:
    """Fastdup's neighbours, given vectors."""
    import fastdup as library

    def work(vectors: np.ndarray, least: float) -> Found:
        names = [f"{row}.jpg" for row in range(len(vectors))]
        with tempfile.TemporaryDirectory() as folder:
            lab = library.create(input_dir=folder, work_dir=f"{folder}/work")
            lab.run(annotations=names, embeddings=vectors, threshold=least, verbose=False)
            near = lab.similarity()
        first, second = (
            near[side].map(lambda name: int(Path(name).stem)).to_numpy()
            for side in ("filename_from", "filename_to")
        )
        return pairs_of(first, second)

    return work


FIELD: dict[str, tuple[Callable[[], Work], str]] = {
    "embedkit": (embedkit_exact, "embedkit"),
    "embedkit cells": (embedkit_cells, "embedkit"),
    "faiss": (faiss_range, "faiss-cpu"),
    "imagededup": (imagededup, "imagededup"),
    "fastdup": (fastdup, "fastdup"),
    "hnswlib": (hnswlib, "hnswlib"),
    "hnswlib wider": (hnswlib_wider, "hnswlib"),
    "usearch": (usearch, "usearch"),
    "usearch fp32": (usearch_fp32, "usearch"),
    "semhash": (semhash, "semhash"),
}


def main() -> None:
    name, source, target, least = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a tool says of itself is no answer
    make, package = FIELD[name]
    work = make()
    vectors = np.load(source)
    wall, cpu = time.perf_counter(), spent()
    found = work(vectors, float(least))
    wall, cpu = time.perf_counter() - wall, spent() - cpu
    np.save(target, found)
    version = {package: metadata.version(package)}
    answer = {"wall": wall, "cpu": cpu, "peak": peak(), "versions": version}
    print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
