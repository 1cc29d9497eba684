"""Index plans: which index for how many rows, in how many files, and what making it takes."""

import math
import re
import time
from dataclasses import dataclass
from functools import cache

import numpy as np

from embedkit.errors import InputError

TYPES = ("flat", "ivf", "ivfpq", "hnsw")
AUTO = "auto"
MEMORY = 4_000_000_000
FLAT_UP_TO = 1_000_000  # rows that are searched one and all in about a quarter of a second
FILE = 8 << 30  # bytes of a file of an index, at most
LINKS = 32  # of a row in an hnsw index; twice as many on its lowest level
BREADTH = 80  # rows held while a row is linked
PER_LIST = 64  # rows of the sample that the lists of an ivf index are learned from, for each list
FEWEST_PER_LIST = 16
ROUNDS = 8
CODED = 65_536  # rows that the codes of an ivfpq index are learned from
WORKING = 150_000_000  # bytes for a shard and its copies
HELD = 3  # times: lists that grow leave room, and the whole is held again as bytes to be written
SMALLEST = 1024  # rows of a file
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What will be made of the rows of a space, and what that takes.

    Attributes:
        asked: type asked for, `auto` among them.
        type: `flat` (all rows, exact), `ivf` (rows in lists, of which a few are looked through),
            `ivfpq` (the same with short codes instead of rows) or `hnsw` (a graph).
        n: rows.
        dimension: of a row.
        lists: of an ivf or ivfpq index; 0 for others.
        code: bytes of a code of an ivfpq index; 0 for others.
        sample: rows that lists are learned from.
        rows_per_file: of the index; the last file holds what is left.
        budget: bytes of memory that were allowed.
        memory: bytes that making it takes beside the program.
        disk: bytes of its files.
        seconds: that making it takes on one core, roughly.
    """

    asked: str
    type: str
    n: int
    dimension: int
    lists: int
    code: int
    sample: int
    rows_per_file: int
    budget: int
    memory: int
    disk: int
    seconds: float

    @property
    def files(self) -> int:
        """How many files it has."""
        return max(1, -(-self.n // self.rows_per_file))

    @property
    def exact(self) -> bool:
        """Whether it finds what a comparison with all rows finds."""
        return self.type == "flat"


def plan_index(n: int, dimension: int, *, asked: str = AUTO, memory: int = MEMORY) -> IndexPlan:
    """Plan an index.

    Args:
        n: rows.
        dimension: of a row.
        asked: a type, or `auto`: flat up to a million rows, ivf beyond.
        memory: bytes that making it may take beside the program.

    Raises:
        InputError: no such type, too few rows for it, or not enough memory.
    """
    if asked not in (AUTO, *TYPES):
        raise InputError(f"no index is called {asked!r}; known are auto, {', '.join(TYPES)}")
    kind = asked if asked != AUTO else "flat" if n <= FLAT_UP_TO else "ivf"
    if kind == "ivfpq" and n < 256:
        raise InputError(f"an ivfpq index needs 256 rows or more, {n} are there; take flat")
    row = 4 * dimension
    code = next(m for m in range(max(1, dimension // 8), 0, -1) if dimension % m == 0)
    code = code if kind == "ivfpq" else 0
    size = {"flat": row, "ivf": row + 8, "ivfpq": code + 8, "hnsw": row + 9 * LINKS}[kind]
    lists = max(1, round(min(4 * math.sqrt(n), n / FEWEST_PER_LIST)))
    lists = lists if kind in ("ivf", "ivfpq") else 0
    learning = 3 * row  # bytes of a row that lists are learned from, with its copies
    sample = min(n, PER_LIST * lists, max(0, memory - WORKING) // (3 * learning))
    fewest = min(n, FEWEST_PER_LIST * lists)
    fixed = WORKING + 4 * row * lists + (min(CODED, n) * 3 * row if code else 0)
    smallest = fixed + fewest * 3 * learning + HELD * size * min(n, SMALLEST)
    # What was learned from is given back, but not always to the system.
    room = memory - fixed - sample * learning
    if kind == "flat":
        smallest, per_file = WORKING, FILE // size
    else:
        per_file = max(1, min(room // (HELD * size), FILE // size))
    if memory < smallest:
        raise InputError(
            f"an index of type {kind} over {n} x {dimension} needs {said(smallest)} at the least, "
            f"{said(memory)} were allowed; raise --memory or take another type"
        )
    files = max(1, -(-n // per_file))
    per_file = -(-n // files) or 1
    most = WORKING if kind == "flat" else fixed + sample * learning + HELD * size * per_file
    return IndexPlan(
        asked=asked,
        type=kind,
        n=n,
        dimension=dimension,
        lists=lists,
        code=code,
        sample=sample,
        rows_per_file=per_file,
        budget=memory,
        memory=most,
        disk=size * n + files * row * (lists + (256 if code else 0)),
        seconds=_seconds(kind, n, dimension, lists, sample),
    )


def _seconds(kind: str, n: int, d: int, lists: int, sample: int) -> float:
    """Estimate the time from the products to be computed and the bytes to be moved."""
    products = lists * d * (n + ROUNDS * sample)
    if kind == "ivfpq":
        products += 256 * d * (n + 25 * min(n, CODED))
    if kind == "hnsw":
        # Rows are compared one by one and from anywhere in memory, ten times slower than in blocks.
        products += 10 * BREADTH * LINKS * d * n
    return products / _products_a_second() + 12 * d * n / 1e9


@cache
def _products_a_second() -> float:
    """Measure how many products of numbers this machine computes a second, as a rough guide."""
    square = np.ones((512, 512), np.float32)
    square @ square
    began = time.process_time()  # not by the clock: others may keep the machine busy
    for _ in range(4):
        square @ square
    return 4 * 512**3 / max(time.process_time() - began, 1e-9)


def parse_memory(text: str) -> int:
    """Return the bytes that a text like `4GB`, `512 MiB` or `2e9` means.

    Raises:
        InputError: it means none.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    unit = UNITS.get(match[2].upper()) if match else None
    try:
        value = float(match[1]) if match else 0.0
    except ValueError:
        value = 0.0
    if unit is None or not 1 <= value * unit < 2**60:
        raise InputError(f"{text!r} is no amount of memory; write for example 4GB, 512MB or 2GiB")
    return round(value * unit)


def said(size: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size >= UNITS[unit]:
            return f"{size / UNITS[unit]:.1f} {unit}"
    return f"{size:.0f} bytes"
