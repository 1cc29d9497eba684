"""A model that embedkit did not train: its answers by how related a test image is to train."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedkit.audits.novelty import Novelty, novelty_curve
from embedkit.audits.refits import Bench
from embedkit.errors import InputError
from embedkit.readers.manifest import PATH_NAMES, read_table
from embedkit.statistics import Estimate, proportion
from embedkit.store import Store
from embedkit.vectors import BoolArray, IntArray

ID_NAMES = ("id", *PATH_NAMES)
ANSWER_NAMES = ("prediction", "predicted", "predicted_label", "answer")
LISTED = 10


@dataclass(frozen=True, slots=True)
class Yours:
    """What can be said of a model by its answers alone.

    Attributes:
        file: of the answers.
        reported: accuracy on the test split.
        strata: accuracy on test images that have an exact copy in train, a near one, their person
            on another photograph, or nothing of these (`novel`).
        novelty: accuracy by similarity to the nearest training image.
        clusters: independent clusters among the test images: its effective size.
    """

    file: Path
    reported: Estimate
    strata: tuple[tuple[str, Estimate], ...]
    novelty: Novelty
    clusters: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "file": str(self.file),
            "reported": self.reported.to_dict(),
            "strata": [{"stratum": name, **one.to_dict()} for name, one in self.strata],
            "novelty": self.novelty.to_dict(),
            "clusters_in_test": self.clusters,
            "lines": None,
            "lines_missing_because": "its training cannot be repeated here",
        }

    def sentence(self) -> str:
        """Say it in a line."""
        parts = ", ".join(
            f"{one.value:.1%} on {one.n} {NAMES[name]}" for name, one in self.strata if one.n
        )
        return f"{self.file.name}: {self.reported.value:.1%} reported; {parts}."


NAMES = {
    "exact_twins": "with an exact copy in train",
    "near_twins": "with a near copy",
    "siblings": "whose person is in train",
    "novel": "with no relative there",
}


def judge(
    path: Path,
    store: Store,
    levels: Sequence[tuple[str, IntArray]],
    *,
    split: str,
    label: str,
    backbone: str | None,
    seed: int,
) -> Yours:
    """Divide a model's answers by how related the test images are to train.

    Args:
        path: csv, jsonl or parquet: the image's id or path, and either its predicted label
            (`prediction`) or a column of probabilities for each class.
        store: of the images.
        levels: cause and (n,) clusters, each holding those before it.
        split: the test split.
        label: column with the truth.
        backbone: whose similarities draw the novelty curve.
        seed: of the bootstraps.

    Raises:
        InputError: the file cannot be read, or does not answer for just the test images.
    """
    bench = Bench(
        store,
        "yours",
        [clusters for _, clusters in levels],
        split=split,
        label=label,
        backbone=backbone,
        seed=seed,
    )
    answers = _read(path, bench.labels)
    ids = [store.items.ids[row] for row in bench.test]
    _check_ids(path, answers, ids, set(store.items.ids))
    truth = [bench.labels[one] for one in bench.y[bench.test]]
    right = np.array([answers[id_] == given for id_, given in zip(ids, truth, strict=True)])
    strata: list[tuple[str, Estimate]] = []
    clusters = bench.clusters[bench.test]
    taken = np.zeros(len(ids), bool)

    def share(some: BoolArray) -> Estimate:
        if not some.any():
            return Estimate(float("nan"), 0.0, 1.0, 0)
        return proportion(right[some], clusters[some], seed=seed)

    for cause, members in levels:
        related = np.isin(members[bench.test], members[bench.train]) & ~taken
        strata.append((cause, share(related)))
        taken |= related
    strata.append(("novel", share(~taken)))
    return Yours(
        path,
        proportion(right, clusters, seed=seed),
        tuple(strata),
        novelty_curve(bench, right, ~taken),
        len(np.unique(clusters)),
    )


def ids_of(path: Path, table: pa.Table) -> tuple[str, list[str]]:
    """Return the column of a table that names its images, and the ids.

    Raises:
        InputError: there is none, or it names an image twice.
    """
    names = {name.lower(): name for name in table.column_names}
    column = next((names[name] for name in ID_NAMES if name in names), None)
    if column is None:
        raise InputError(
            f"{path} has no column of ids ({', '.join(ID_NAMES[:3])}); it has "
            f"{', '.join(table.column_names)}"
        )
    ids = [str(one) for one in table.column(column).to_pylist()]
    twice = sorted(one for one, times in Counter(ids).items() if times > 1)
    if twice:
        raise InputError(f"{path} answers twice for {', '.join(twice[:LISTED])}")
    return column, ids


def _read(path: Path, labels: Sequence[str]) -> dict[str, str]:
    table = read_table(path)
    names = {name.lower(): name for name in table.column_names}
    _, ids = ids_of(path, table)
    answer = next((names[name] for name in ANSWER_NAMES if name in names), None)
    if answer is not None:
        return dict(zip(ids, map(str, table.column(answer).to_pylist()), strict=True))
    columns = [
        next((c for c in (name, f"p_{name}") if c in table.column_names), None) for name in labels
    ]
    # Beside probabilities a column "label" is the truth; alone it is the answer.
    if None in columns and "label" in names:
        return dict(zip(ids, map(str, table.column(names["label"]).to_pylist()), strict=True))
    if None in columns:
        missing = [name for name, c in zip(labels, columns, strict=True) if c is None]
        raise InputError(
            f"{path} has neither a column {ANSWER_NAMES[0]!r} nor probabilities of every class; "
            f"there is none for {', '.join(missing[:LISTED])}"
        )
    try:
        values = np.column_stack([table.column(c).to_numpy().astype(np.float64) for c in columns])
    except (TypeError, ValueError):
        raise InputError(f"{path} has probabilities that are no numbers") from None
    if not np.isfinite(values).all():
        raise InputError(f"{path} has probabilities that are no numbers")
    return dict(zip(ids, [labels[place] for place in values.argmax(axis=1)], strict=True))


def _check_ids(path: Path, answers: dict[str, str], test: Sequence[str], every: set[str]) -> None:
    unknown = sorted(answers.keys() - every)
    if unknown:
        raise InputError(
            f"{path} answers for {len(unknown)} images that the store has not: "
            f"{', '.join(unknown[:LISTED])}; ids are paths relative to the data set"
        )
    missing = sorted(set(test) - answers.keys())
    if missing:
        raise InputError(
            f"{path} does not answer for {len(missing)} of the {len(test)} test images: "
            f"{', '.join(missing[:LISTED])}"
        )
