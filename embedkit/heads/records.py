"""What the record and the arrays of a head's file must be for each other, whoever made them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from embedkit.heads.fitting import CUMULATIVE
from embedkit.store.schema import has_form

KNN = "knn"
Arrays = dict[str, npt.NDArray[Any]]

_HEAD = {
    "kind": str,
    "labels": [str],
    "label": str,
    "store": str,
    "space": str,
    "contract_sha256": str,
    "backbone": {"name": str, "weights": str},
    "training_sha256": str,
    "augmented": str,
    "choice": {"name": str, "criterion": str, "tried": [list], "note": str},
    "metrics": dict,
    "made_with": {str: str},
    "arrays": {str: str},
}
# Of what is there in some heads only, besides.
_TEXTS = {str: str}


def makes_sense(record: dict[str, Any], arrays: Arrays) -> bool:
    """Say whether a record has what a head needs, and its arrays the types and shapes for it.

    Their checksums are of their bytes only, and fit whatever somebody has put there on purpose.
    """
    texts = (record.get("backbone"), record.get("balance", {}))
    if not has_form(record, _HEAD) or not all(has_form(one, _TEXTS) for one in texts):
        return False
    if "\0" in record["store"]:  # no path can be asked for
        return False
    choice, n_classes = record["choice"], len(record["labels"])
    tried = all(len(pair) == 2 and all(map(_number, pair)) for pair in choice["tried"])
    if not tried or not _number(choice.get("value")) or len({*record["labels"]}) != n_classes:
        return False
    numbers = dict(arrays)
    ids, y = numbers.pop("training_ids"), numbers.pop("training_classes")
    if (ids.dtype.str, ids.ndim, y.dtype.str, y.ndim) != ("|u1", 1, "<i8", 1):
        return False
    if not ((y >= 0) & (y < n_classes)).all():
        return False
    if not all(one.dtype == np.float64 and np.isfinite(one).all() for one in numbers.values()):
        return False
    shapes = {name: one.shape for name, one in numbers.items()}
    if record["kind"] == KNN:
        # Altered copies vote too, and how many there are is the store's to say.
        value, votes = choice["value"], numbers.get("weights", np.ones(len(y)))
        whole = isinstance(value, int) or float(value).is_integer()
        enough = votes.ndim == 1 and len(votes) >= len(y) and (votes >= 0).all() and votes.any()
        return bool(whole and value >= 1 and enough and shapes.keys() <= {"weights"})
    width = shapes["coefficients"][-1:]
    if not all(width):
        return False
    if record["kind"] == CUMULATIVE:
        rising = bool((np.diff(numbers["thresholds"]) >= 0).all())
        return shapes == {"coefficients": width, "thresholds": (n_classes - 1,)} and rising
    return shapes == {"coefficients": (n_classes, *width), "intercepts": (n_classes,)}


def training_ids(text: Any, n: int) -> tuple[str, ...]:
    """Return the ids of training images that JSON lists, as many as there are classes of them.

    Raises:
        ValueError: it lists something else.
    """
    if not has_form(text, [str]) or len(text) != n or len({*text}) != n:
        raise ValueError("its training images are no list of ids")
    return tuple(text)


def _number(value: Any) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))
