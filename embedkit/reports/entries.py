"""Entries: the rows of a result's table, as its JSON has them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from embedkit.audits import Finding
from embedkit.audits.bias import Bias
from embedkit.audits.leakage import Leakage
from embedkit.audits.ledger import Ledger
from embedkit.audits.quality import Quality
from embedkit.audits.remedies import SplitPlan
from embedkit.audits.siblings import Siblings
from embedkit.audits.twins import Twins
from embedkit.heads import Head
from embedkit.heads.mitigation import Effect
from embedkit.heads.predict import Prediction
from embedkit.items import ItemTable, Unreadable
from embedkit.store import Store

Entry = dict[str, Any]
ESTIMATE = ("value", "low", "high")


def of_finding(one: Finding) -> Entry:
    """Return a finding with its figure as one cell."""
    made = one.to_dict()
    return made | {"figure": {key: made[key] for key in ESTIMATE}}


def counts(one: Leakage | Siblings) -> Iterable[Entry]:
    """Yield what was counted, of how many."""
    of = one.estimate.n if one.estimate is not None else None
    for name, value in one.details().items():
        if isinstance(value, int):
            yield {"what": name, "images": value, "of": of}


def ledger_lines(one: Ledger) -> Iterable[Entry]:
    """Yield the lines of each head's ledger, from reported to honest."""
    for head in one.details()["heads"]:
        yield {"head": head["head"], "line": "reported", "share": head["reported"]}
        for line in head["lines"]:
            figure = {key: line[key] for key in ESTIMATE}
            yield {"head": head["head"], "line": line["cause"], "share": figure, **line}
        yield {"head": head["head"], "line": "honest", "share": head["honest"]}


def groups(one: Bias) -> Iterable[Entry]:
    """Yield the groups of every gap."""
    for gap in one.details()["gaps"]:
        for group in gap["groups"]:
            yield {"attributes": " and ".join(gap["attributes"]), **group}


def faults(one: Quality) -> Iterable[Entry]:
    """Yield every fault of every flagged image."""
    for flagged in one.flagged:
        for fault in flagged.to_dict()["faults"]:
            yield flagged.to_dict() | fault


def pairs(one: Twins) -> Iterable[Entry]:
    """Yield the pairs of copies."""
    for pair in one.details()["pairs"]:
        splits, labels = pair["splits"], pair["labels"]
        yield (
            pair
            | {"split_a": splits[0], "split_b": splits[1]}
            | {
                "label_a": labels[0],
                "label_b": labels[1],
            }
        )


def parts(every: Sequence[Effect]) -> Iterable[Entry]:
    """Yield every part of the test images under every balance."""
    for one in every:
        made = one.to_dict()
        for over in ("wholes", "classes", "groups"):
            for part in made[over]:
                yield {"balance": made["balance"], "over": over, **part}


def answers(every: Sequence[Prediction | Unreadable]) -> Iterable[Entry]:
    """Yield a row for each picture, readable or not."""
    for one in every:
        if isinstance(one, Unreadable):
            yield {"source": one.id, "reason": one.reason}
        else:
            yield {"source": one.source, "label": one.label, "probability": one.probability}


def images(one: ItemTable | Store) -> Iterable[Entry]:
    """Yield the images of a data set."""
    items = one.items if isinstance(one, Store) else one
    names = ("id", "label", "split", "group", *items.attributes)
    columns = [items.ids, *(items.label_column(name) for name in names[1:])]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def training_images(head: Head) -> Iterable[Entry]:
    """Yield how many images of each class a head was trained on."""
    counts = np.bincount(head.training.y, minlength=len(head.labels))
    for label, n in zip(head.labels, counts.tolist(), strict=True):
        yield {"label": label, "images": n}


def planned(one: SplitPlan) -> Iterable[Entry]:
    """Yield how many images of each class go to each split."""
    for split, labels in one.to_dict()["labels"].items():
        for label, n in labels.items():
            yield {"split": split, "label": label, "images": n}
