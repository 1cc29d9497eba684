"""Making the index of a space from its shards, file by file, and measuring what it finds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import numpy.typing as npt

from embedkit.errors import InputError, StoreError
from embedkit.files import Buffer, read_plain, write_parts
from embedkit.joins.bounds import bounds_of, sample_of
from embedkit.joins.cells import Centres, assigned, learned
from embedkit.rows import Rows
from embedkit.store.index import ROUNDING, flat_parts
from embedkit.store.index_files import IndexFile, IndexRecord, index_name
from embedkit.store.index_plans import BREADTH, CODED, LINKS, ROUNDS, IndexPlan
from embedkit.store.index_search import StoredIndex
from embedkit.store.journal import told
from embedkit.store.lock import writer_lock
from embedkit.store.schema import JOURNAL, STORE
from embedkit.vectors import FloatArray

if TYPE_CHECKING:
    from embedkit.store.store import Space, Store

CHUNK = 16_384
NEAREST = 10
MEASURED = 500  # rows whose nearest are looked for among all
ENOUGH = 0.95  # of the nearest found: no more effort is made than this takes

Say = Callable[[str], None]


def index_space(
    store: "Store", space: "Space", plan: IndexPlan, *, seed: int = 0, say: Say = lambda _: None
) -> IndexRecord:
    """Make the index of a space of a finished store; see `build_stored_index`.

    Raises:
        InputError: the store is being extended, and the run that did it is unfinished.
        StoreError: another process writes it, or has since it was opened; or it cannot be written.
    """
    with writer_lock(store.path):
        if (store.path / JOURNAL).exists():
            raise InputError(
                f"{store.path} is being extended and unfinished; run the same 'embedkit embed' "
                "again to finish it, then make the index"
            )
        if read_plain(store.path / STORE) != store.record.to_bytes():
            raise StoreError(f"{store.path} has changed since it was opened; run it again")
        with told(space.folder):
            return build_stored_index(space, plan, seed=seed, say=say)


def build_stored_index(
    space: "Space", plan: IndexPlan, *, seed: int = 0, say: Say = lambda _: None
) -> IndexRecord:
    """Make the index of a space as planned and put it in the place of the one that it has.

    The same bytes come out whatever the number of threads: FAISS works with one, and the lists are
    learned by `embedkit.joins.cells`. How much is looked through for a query is then set to what
    finds enough of the nearest of a sample, and what that finds is recorded.

    Args:
        space: of an opened store.
        plan: for its rows.
        seed: of the samples.
        say: is told what is being done.
    """
    folder, rows, total = space.folder, space.rows, plan.files
    record = IndexRecord(
        faiss=faiss.__version__,
        vectors_sha256=space.vectors_sha256,
        files=(),
        type=plan.type,
        asked=plan.asked,
        memory=plan.budget,
        seed=seed,
    )
    with _one_thread():
        if plan.lists:
            say(f"learning {plan.lists} lists")
        empty = _empty(rows, plan, seed)
        files = []
        for place in range(total):
            start = place * plan.rows_per_file
            end = min(start + plan.rows_per_file, plan.n)
            say(f"rows {start} to {end} of {plan.n}")
            name = index_name(place, total)
            hash_ = write_parts(folder / name, _part(empty, rows, start, end))
            files.append(IndexFile(name, end - start, hash_))
        record = replace(record, files=tuple(files))
        if not plan.exact:
            say("measuring what it finds")
            opened = StoredIndex(record, rows, folder)
            record = _measured(opened, plan, seed)
    record.write(folder)
    return record


@dataclass(frozen=True, slots=True)
class _Empty:
    """What every file of an index begins with.

    Attributes:
        data: bytes of FAISS's index without rows; None for an exact one.
        centres: of the lists, as short rows; None for an index without lists.
    """

    data: npt.NDArray[np.uint8] | None = None
    centres: Centres | None = None


def _empty(rows: Rows, plan: IndexPlan, seed: int) -> _Empty:
    metric, d = faiss.METRIC_INNER_PRODUCT, plan.dimension
    index: Any  # FAISS's types lack half of what it has
    if plan.type == "flat":
        return _Empty()
    if plan.type == "hnsw":
        index = faiss.IndexHNSWFlat(d, LINKS, metric)
        index.hnsw.efConstruction = BREADTH
        return _Empty(faiss.serialize_index(index))
    sample = Rows.of(rows[sample_of(plan.n, plan.sample, seed=seed)])
    centres = learned(bounds_of(sample, None).rows, plan.lists, seed=seed, rounds=ROUNDS)
    quantizer = faiss.IndexFlatIP(d)
    quantizer.add(centres.float().numpy())
    if plan.type == "ivf":
        index = faiss.IndexIVFFlat(quantizer, d, len(centres), metric)
    else:
        index = faiss.IndexIVFPQ(quantizer, d, len(centres), plan.code, 8, metric)
        index.pq.cp.min_points_per_centroid = 1  # else FAISS writes to stderr
        index.train(sample[sample_of(len(sample), CODED, seed=seed)])
    return _Empty(faiss.serialize_index(index), centres)


def _part(empty: _Empty, rows: Rows, start: int, end: int) -> Iterator[Buffer]:
    """Yield the bytes of the index of some rows."""
    chunks = (rows.between(one, min(one + CHUNK, end)) for one in range(start, end, CHUNK))
    if empty.data is None:
        yield from flat_parts(chunks, end - start, rows.shape[1])
        return
    index: Any = faiss.deserialize_index(empty.data)
    for chunk in chunks:
        if empty.centres is None:
            index.add(np.ascontiguousarray(chunk))
        else:
            lists = assigned(bounds_of(Rows.of(chunk), None).rows, empty.centres, 1)
            given = np.ascontiguousarray(chunk), np.ascontiguousarray(lists[:, 0])
            index.add_core(len(chunk), faiss.swig_ptr(given[0]), None, faiss.swig_ptr(given[1]))
    made = faiss.serialize_index(index)
    del index
    yield made.data


def _measured(opened: StoredIndex, plan: IndexPlan, seed: int) -> IndexRecord:
    """Choose the effort and return the record with it and with what it finds.

    The nearest of a sample of rows, themselves left out, are what is to be found; a row as near as
    the last of them counts as it.
    """
    chosen = sample_of(plan.n, MEASURED, seed=seed + 1)
    queries = opened.rows[chosen]
    k = min(NEAREST, plan.n - 1)
    least = _last_of_nearest(opened.rows, queries, k + 1)
    most = plan.lists or plan.n
    effort = 1 if plan.lists else 2 * NEAREST
    while True:
        opened.effort = min(effort, most)
        found = opened.search(queries, k, exclude=chosen).similarities
        recall = float(np.mean(found >= least[:, None] - ROUNDING)) if k else 1.0
        if recall >= ENOUGH or effort >= most:
            break
        effort *= 2
    return replace(
        opened.record,
        effort=opened.effort,
        recall=round(recall, 4),
        measured={"rows": len(chosen), "k": k},
    )


def _last_of_nearest(rows: Rows, queries: FloatArray, k: int) -> FloatArray:
    """Return how near the k-th nearest of all rows is to each query, by comparing with all."""
    best = np.full((len(queries), 0), -2, np.float32)
    for start in range(0, len(rows), CHUNK):
        chunk = np.ascontiguousarray(rows.between(start, start + CHUNK))
        found, _ = faiss.knn(queries, chunk, min(k, len(chunk)), faiss.METRIC_INNER_PRODUCT)
        best = -np.sort(-np.concatenate([best, found], axis=1), axis=1)[:, :k]
    return best[:, -1]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let FAISS work with one thread: with more, its sums and graphs differ from run to run."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
