"""Forty arrays that are no vectors, given to an index and to heads; also run as `python -O`.

No `assert` here: under -O there are none. Prints what was not as it should be, as JSON.
"""

import json
import sys

import numpy as np
import torch

from embedkit.errors import EmbedkitError
from embedkit.heads.balance import PLAIN_BALANCE
from embedkit.heads.classifier import Choice
from embedkit.heads.fitting import Rows, fit_rows
from embedkit.heads.logistic import Logistic
from embedkit.store.index import NeighbourIndex
from embedkit.vectors import unit_rows

N, D = 24, 8
GOOD = unit_rows(np.random.default_rng(0).normal(size=(N, D)))
Y = np.arange(N) % 2
CHOICE = Choice("C", 1.0, "given", ())
HEAD = Logistic(np.random.default_rng(1).normal(size=(2, D)), np.zeros(2), CHOICE)
INDEX = NeighbourIndex(GOOD)


def with_row(value, row=3, kind=np.float32):
    made = GOOD.astype(kind)
    made[row] = value
    return made


def with_number(value, kind=np.float32):
    made = GOOD.astype(kind)
    made[3, 2] = value
    return made


def read_only():
    made = GOOD.copy()
    made.flags.writeable = False
    return made


SWAPPED = GOOD.astype(">f4")
# Taken by all: other forms of the same numbers.
TAKEN = {
    "float64": GOOD.astype(np.float64),
    "long double": GOOD.astype(np.longdouble),
    "by column": np.asfortranarray(GOOD),
    "every second of twice": np.repeat(GOOD, 2, axis=0)[::2],
    "backwards": GOOD[::-1].copy()[::-1],
    "read-only": read_only(),
    "other bytes": SWAPPED,
    "unaligned": np.frombuffer(b"x" + GOOD.tobytes(), np.uint8)[1:].view(np.float32).reshape(N, D),
}
# Refused by what needs unit rows; a linear head takes any finite number.
FINITE = {
    "a row of zeros": with_row(0),
    "length a half": GOOD / 2,
    "length 50": 50 * GOOD,
    "one row too long": with_row(GOOD[3] * 1.01),
    "1e20": with_number(1e20),
    "1e-30": GOOD * np.float32(1e-30),
    "subnormal": np.full((N, D), 1e-40, np.float32),
    "float64 beyond float32": with_number(1e300, np.float64),
    "largest float64": with_number(np.finfo(np.float64).max, np.float64),
    "all alike and not of unit length": np.ones((N, D), np.float32),
}
# Refused by all.
REFUSED = {
    "one NaN": with_number(np.nan),
    "a row of NaN": with_row(np.nan),
    "all NaN": np.full((N, D), np.nan, np.float32),
    "NaN in float64": with_number(np.nan, np.float64),
    "one infinity": with_number(np.inf),
    "one minus infinity": with_number(-np.inf),
    "a row of infinity": with_row(np.inf),
    "NaN in the first row": with_row(np.nan, 0),
    "NaN in the last row": with_row(np.nan, -1),
    "infinity in float16": with_number(np.inf, np.float16),
    "too narrow": GOOD[:, :-1],
    "too wide": np.concatenate([GOOD, GOOD], axis=1),
    "one row, flat": GOOD[0],
    "three dimensions": GOOD[None],
    "no dimension": np.ones((), np.float32),
    "whole numbers": np.eye(N, D, dtype=np.int64),
    "truth values": np.eye(N, D, dtype=bool),
    "complex": GOOD.astype(np.complex64),
    "objects": GOOD.astype(object),
    "text": GOOD.astype("U8"),
    "masked": np.ma.masked_array(GOOD, GOOD > 2),
    "a list": GOOD.tolist(),
}
# A tensor that is learned, and a matrix of a class of its own.
REFUSED["tensor on a graph"] = torch.tensor(GOOD, requires_grad=True) * 1
TAKEN["of no rows"] = GOOD[:0]
EVERY = TAKEN | FINITE | REFUSED


def fitted(kind):
    def fit(array):
        n = (*getattr(array, "shape", ()), N)[0]
        rows = Rows(array, Y[:n], np.arange(n), np.full(n, -1), np.arange(n), n)
        head = fit_rows(kind, rows, balance=PLAIN_BALANCE, n_classes=2, seed=0, value=1.0)
        return head.probabilities(GOOD)

    return fit


def added(array):
    return NeighbourIndex(array).search(GOOD, 3).rows


DOES = {
    "add": added,
    "search": lambda array: INDEX.search(array, 3).rows,
    "fit logistic": fitted("logistic"),
    "fit knn": fitted("knn"),
    "predict": HEAD.probabilities,
}


def outcome(do, array):
    """Return what became of an array: `refused`, `taken`, or something that should not be."""
    try:
        made = np.asarray(do(array), np.float64)
    except EmbedkitError as error:
        return "refused" if "\n" not in str(error) else "refused in several lines"
    except Exception as error:  # noqa: BLE001 (what is looked for)
        return f"{type(error).__name__}: {error}"
    return "taken" if np.isfinite(made).all() else "taken with numbers that are none"


def wanted(name, what):
    """Return what should become of an array; "" where it is not asked."""
    making = what.startswith(("add", "fit"))
    if name in ("too narrow", "too wide") and making:
        return ""  # an index and a head have the width that they are given
    if name == "of no rows" and what.startswith("fit"):
        return ""  # `train` counts images before
    if name in REFUSED or (name in FINITE and what != "predict"):
        return "refused"
    return "taken"


def main():
    wrong, done = {}, 0
    for name, array in EVERY.items():
        for what, do in DOES.items():
            right = wanted(name, what)
            if not right:
                continue
            done += 1
            if (found := outcome(do, array)) != right:
                wrong[f"{name}: {what}"] = found
    print(json.dumps({"arrays": len(EVERY), "done": done, "wrong": wrong, "plain": __debug__}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
