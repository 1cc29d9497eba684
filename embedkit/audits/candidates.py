"""Candidates: the pairs of pictures that are worth a look, found without skipping any."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedkit.errors import InputError
from embedkit.images import mirrored_hash
from embedkit.joins import Recall, cells_of, close_hashes, every_pair, pairs_in_cells
from embedkit.rows import Rows
from embedkit.vectors import BoolArray, FloatArray, IntArray

BITS = 10  # of 63 that may differ
NEAREST = 5  # among all pictures
ACROSS = 2  # among those of each split
# What two witnesses had to say of near copies before they were verified on the pixels.
ALIKE_BITS = 6
ALIKE_COSINE = 0.87
FEWEST = 2000  # candidates, where there are as many pairs: what is usual is learned from them
CROWD = 100  # of later pictures with a hash like one's own, the nearest: more add no link
ROWS = 1024
ALL_COMPARED = 50_000  # pictures up to which each is compared with all others for its nearest
ALL_ALIKE = 1_000_000  # up to which every pair as alike as witnesses ask is found
ALIKE_EACH = 20  # pairs for each picture, of those; more say that the network finds all alike
SAMPLE = 200  # pictures by which it is measured how many of the nearest were found

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs that may be copies, and how completely they were looked for.

    Attributes:
        pairs: (m, 2) rows, the smaller first, each pair once, in order.
        nearest: of the pairs that are candidates by being nearest, how many of a sample of pictures
            were found; None where every picture was compared with all.
        alike: whether every pair as alike as a witness asks by its vectors is among them; without
            comparing all, there may be too many.
    """

    pairs: IntArray
    nearest: Recall | None = None
    alike: bool = True


def find_candidates(vectors: FloatArray, hashes: Hashes, splits: list[str | None]) -> Candidates:
    """Find the pairs of pictures that may be copies of one photograph.

    Those are all pairs whose perceptual hashes are alike, in the picture or its mirror image (in
    crowds of more than `CROWD` alike, enough of them to join all); and each picture with its
    nearest by the cosine of centred vectors, among all pictures and among those of every split: so
    nothing stands between a test picture and its copy in train.

    Up to `ALL_COMPARED` pictures all pairs are compared (n * n * d multiplications), nothing is
    approximate. Beyond, the hashes are still all compared, and up to `ALL_ALIKE` every pair whose
    centred vectors are as alike as a witness asks (`ALIKE_COSINE`) is found exactly, beyond that in
    cells; the nearest that are less alike are looked for in cells, which may miss some: how many is
    measured.

    Args:
        vectors: (n, d) float32, unit rows.
        hashes: (n,) perceptual hashes of the same pictures.
        splits: (n,) of the same pictures.
    """
    if len(vectors) <= ALL_COMPARED:
        return Candidates(candidate_pairs(vectors, hashes, splits))
    n = len(vectors)
    centred = _centred(vectors)
    rows = Rows.of(centred)
    found = [close_hashes(hashes, (hashes, mirrored_hash(hashes)), bits=BITS, crowd=CROWD)]
    join = every_pair if n <= ALL_ALIKE else pairs_in_cells
    alike = True
    try:
        # Rounded to five decimals by those who ask, so a little less is as much.
        found.append(join(rows, ALIKE_COSINE - 1e-5, most=ALIKE_EACH * n).rows)
    except InputError:
        alike = False
    names = np.array([split or "" for split in splits])
    cells = cells_of(rows)[0]
    found += [
        _nearest(centred, cells.home(cell), cells.listed(cell), names) for cell in range(len(cells))
    ]
    pairs = _once(np.concatenate(found))
    chosen = np.sort(np.random.default_rng(0).choice(n, min(SAMPLE, n), replace=False))
    every = np.arange(n)
    sought = _once(
        np.concatenate([_nearest(centred, row, every, names) for row in chosen[:, None]])
    )
    known = np.isin(sought[:, 0] * n + sought[:, 1], pairs[:, 0] * n + pairs[:, 1])
    return Candidates(pairs, Recall(int(known.sum()), len(sought), len(chosen)), alike)


def _nearest(
    centred: FloatArray, rows: IntArray, among: IntArray, names: npt.NDArray[np.str_]
) -> IntArray:
    """Return the pairs of rows with their nearest among some others, of all and of every split."""
    sides = [(among, NEAREST)]
    kinds = np.unique(names)
    if len(kinds) > 1:
        sides += [(among[names[among] == name], ACROSS) for name in kinds]
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(rows), ROWS):
        ours = rows[start : start + ROWS]
        for theirs, most in sides:
            similar = np.round(centred[ours] @ centred[theirs].T, 5)
            similar[ours[:, None] == theirs] = -2
            nearest = theirs[_largest(similar, most)]
            found.append(np.stack([np.repeat(ours, nearest.shape[1]), nearest.ravel()], axis=1))
    return np.concatenate(found)


def _once(pairs: IntArray) -> IntArray:
    """Return pairs with the smaller row first, each once, in order."""
    pairs = np.sort(pairs, axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0).astype(np.int64)


def candidate_pairs(vectors: FloatArray, hashes: Hashes, splits: list[str | None]) -> IntArray:
    """Return the candidates by comparing all pairs; see `find_candidates`.

    Args:
        vectors: (n, d) float32, unit rows.
        hashes: (n,) perceptual hashes of the same pictures.
        splits: (n,) of the same pictures.

    Returns:
        (m, 2) rows, the smaller first, each pair once, in order.
    """
    n = len(vectors)
    if n < 2:
        return np.empty((0, 2), np.int64)
    k = max(NEAREST, -(-FEWEST // n))
    centred = _centred(vectors)
    names = np.array([split or "" for split in splits])
    sides = [(np.arange(n), k)]
    if len(set(names.tolist())) > 1:
        sides += [(np.flatnonzero(names == name), ACROSS) for name in np.unique(names)]
    mirrored = mirrored_hash(hashes)
    found = []
    for start in range(0, n, ROWS):
        rows = np.arange(start, min(start + ROWS, n))
        bits = np.minimum(
            np.bitwise_count(hashes[rows, None] ^ hashes[None, start:]),
            np.bitwise_count(hashes[rows, None] ^ mirrored[None, start:]),
        )
        first, second = _nearest_hashes(bits)
        found.append(np.stack([rows[first], second + start], axis=1))
        # Rounded: the last bits of a product depend on the block and on the number of threads.
        similar = np.round(centred[rows] @ centred.T, 5)
        similar[np.arange(len(rows)), rows] = -2
        for side, most in sides:
            nearest = side[_largest(similar[:, side], most)]
            found.append(np.stack([np.repeat(rows, nearest.shape[1]), nearest.ravel()], axis=1))
    return _once(np.concatenate(found))


def witnessed(vectors: FloatArray, hashes: Hashes, pairs: IntArray) -> BoolArray:
    """Mark the pairs that the perceptual hash, or the cosine of centred vectors, calls alike.

    Both are far stricter than for a candidate.

    Args:
        vectors: (n, d) float32, unit rows.
        hashes: (n,) perceptual hashes of the same pictures.
        pairs: (m, 2) rows of them.
    """
    centred = _centred(vectors)
    first, second = pairs.T
    cosine = np.einsum("ij,ij->i", centred[first], centred[second], dtype=np.float64)
    alike = alike_hashes(hashes[first], hashes[second])
    return np.asarray(alike | (np.round(cosine, 5) >= ALIKE_COSINE))


def alike_hashes(first: Hashes, second: Hashes) -> BoolArray:
    """Mark the pairs of perceptual hashes, (m,) each, that are alike as `witnessed` asks."""
    bits = np.minimum(
        np.bitwise_count(first ^ second), np.bitwise_count(first ^ mirrored_hash(second))
    )
    return np.asarray(bits <= ALIKE_BITS)


def _centred(vectors: FloatArray) -> FloatArray:
    """Return unit rows about their mean; one that is the mean itself is near nothing."""
    centre = vectors.mean(axis=0, dtype=np.float64)
    centred = (vectors - centre).astype(np.float32)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    made: FloatArray = centred / np.maximum(lengths, 1e-6)
    return made


def _nearest_hashes(bits: npt.NDArray[np.uint8]) -> tuple[IntArray, IntArray]:
    """Return (row, column) of the least `CROWD` of each row that are small enough."""
    bits = np.triu(bits, 1) + np.tril(np.full_like(bits, 64))  # each pair once, none with itself
    row, column = np.nonzero(bits <= BITS)
    order = np.lexsort((column, bits[row, column], row))
    row, column = row[order], column[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    return row[rank < CROWD], column[rank < CROWD]


def _largest(values: FloatArray, k: int) -> IntArray:
    """Return where the k largest of each row stand, the first of equals first: (n, k)."""
    if values.shape[1] <= k:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    # More than k where there are ties, which go to the first, whatever the machine.
    least = np.partition(values, -k, axis=1)[:, [-k]]
    row, place = np.nonzero(values >= least)
    order = np.lexsort((place, -values[row, place], row))
    starts = np.searchsorted(row[order], np.arange(len(values)))
    kept: IntArray = place[order][starts[:, None] + np.arange(k)]
    return kept
