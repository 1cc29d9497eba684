"""Training: rows of a store become a head, and a head is scored on a split."""

from collections import Counter
from importlib import metadata
from pathlib import Path

import numpy as np

import embedkit
from embedkit.errors import InputError, NotEnoughImagesError
from embedkit.heads.balance import PLAIN_BALANCE, SELECT, Balance, check_groups, groups_in
from embedkit.heads.fitting import CUMULATIVE, KINDS, Rows, fit_rows
from embedkit.heads.head import Head, Training, hashed, training_hash
from embedkit.heads.metrics import Evaluation, score
from embedkit.heads.ordered import ordered_classes
from embedkit.matrices import part_of
from embedkit.statistics import clusters_of
from embedkit.store import Store
from embedkit.store.schema import HEADS as HEADS_FOLDER
from embedkit.vectors import IntArray


def train(
    store: Store,
    *,
    head: str = "logistic",
    label: str = "label",
    backbone: str | None = None,
    split: str = "train",
    augmented: bool = True,
    balance: Balance = PLAIN_BALANCE,
    seed: int = 0,
) -> Head:
    """Fit a head on one split of a store and score it on the test split; see `fit`."""
    fitted = fit(
        store,
        head=head,
        label=label,
        backbone=backbone,
        split=split,
        augmented=augmented,
        balance=balance,
        seed=seed,
    )
    held_out = held_out_split(store, label)
    if held_out is None:
        return fitted
    return fitted.with_metrics(evaluate(fitted, store, split=held_out, seed=seed).to_dict())


def fit(
    store: Store,
    *,
    head: str = "logistic",
    label: str = "label",
    backbone: str | None = None,
    split: str = "train",
    augmented: bool = True,
    balance: Balance = PLAIN_BALANCE,
    seed: int = 0,
) -> Head:
    """Fit a head on one split of a store.

    Its hyper-parameter is chosen inside the split, with folds that keep together the images of one
    group, pictures of equal pixels, and an image and its altered copies; copies are never scored.

    Args:
        store: with labels.
        head: `logistic`, `knn`, or `cumulative` for classes that are ranges of numbers.
        label: column with the class: `label` or any attribute.
        backbone: which space; can be left out where there is only one.
        split: to train on.
        augmented: whether to fit on the images' altered copies too, where the space has some.
        balance: what it is trained for besides the mean over the images as they are.
        seed: of the folds and bootstraps.

    Raises:
        InputError: no such head, column, space or split, or classes without an order.
        NotEnoughImagesError: fewer than two classes have images.
    """
    if head not in KINDS:
        raise InputError(f"no head is called {head!r}; known are {', '.join(KINDS)}")
    space = store.space(backbone)
    rows = labelled_rows(store, label, split)
    given = store.items.label_column(label)
    names = [given[row] or "" for row in rows]
    labels = tuple(sorted(set(names)))
    if len(labels) < 2:
        raise NotEnoughImagesError(
            f"the {split} split holds one class only ({labels[0]!r}, {len(rows)} images); a "
            "classifier needs two"
        )
    if head == CUMULATIVE:
        labels = _in_order(labels, label)
    number = {name: place for place, name in enumerate(labels)}
    y = np.array([number[name] for name in names], np.int64)
    clusters = clusters_in(store)[rows]
    ids = tuple(store.items.ids[row] for row in rows)
    vectors, copies = part_of(space.matrix, rows), space.augmented if augmented else None
    place = np.arange(len(rows))
    if copies is not None:
        extra, origin = copies.of(hashed(store, ids))
        vectors = np.concatenate([vectors[:], extra])
        place = np.concatenate([place, origin])
    groups, _ = groups_in(store, balance.by, rows)
    check_groups(balance.by, label, groups)
    given_rows = Rows(vectors, y[place], clusters[place], groups[place], place, len(rows))
    classifier = fit_rows(head, given_rows, balance=balance, n_classes=len(labels), seed=seed)
    return Head(
        kind=head,
        labels=labels,
        label=label,
        classifier=classifier,
        training=Training(
            store.path,
            space.name,
            space.contract_sha256,
            space.record.backbone,
            ids,
            y,
            training_hash(store, ids, label),
            label,
            copies.sha256 if copies is not None and len(place) > len(rows) else "",
        ),
        balance=balance,
        made_with={
            "embedkit": embedkit.__version__,
            "scikit-learn": metadata.version("scikit-learn"),
        },
    )


def _in_order(labels: tuple[str, ...], label: str) -> tuple[str, ...]:
    ordered = ordered_classes(labels)
    if ordered is None:
        some = ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")
        raise InputError(
            f"the classes of {label} ({some}) have no order; a cumulative head needs three or more "
            "ranges of numbers, such as 1-3, 4-10, 11+; --bins of scan and embed makes some"
        )
    return ordered


def evaluate(
    head: Head, store: Store | None = None, *, split: str | None = None, seed: int = 0
) -> Evaluation:
    """Score a head on a split of a store.

    Args:
        head: trained.
        store: its own where left out.
        split: `test`, or `valid` where there is no test split, where left out.
        seed: of the bootstraps.

    Raises:
        InputError: there is no such split, or no label column.
        SpaceMismatchError: the store's vectors are of another space than the head's.
    """
    store = store or head.training.opened
    split = split or held_out_split(store, head.label)
    if split is None:
        raise InputError(
            f"{store.path} has no test or valid split with labels; name one with --split"
        )
    rows = labelled_rows(store, head.label, split)
    given = store.items.label_column(head.label)
    commonest = Counter(given[row] or "" for row in rows).most_common(1)[0][0]
    return score(
        head.probabilities(store.space(head.training.space), rows),
        [given[row] or "" for row in rows],
        labels=head.labels,
        majority=head.majority or commonest,
        clusters=clusters_in(store)[rows],
        ids=[store.items.ids[row] for row in rows],
        split=split,
        seed=seed,
    )


def default_path(head: Head) -> Path:
    """Return where a head is saved when nobody says: in its store, by label, space and kind."""
    parts = [head.label, head.training.space, head.kind]
    if not head.balance.plain:
        select = head.balance.select if head.balance.select != SELECT[0] else ""
        parts += filter(None, (head.balance.over, head.balance.by, select))
    name = "-".join("".join(c if c.isalnum() or c in "-_." else "_" for c in one) for one in parts)
    return head.training.store / HEADS_FOLDER / name


def labelled_rows(store: Store, label: str, split: str) -> IntArray:
    """Return the rows of a split that have a label.

    Raises:
        InputError: there is none.
    """
    given, splits = store.items.label_column(label), store.items.splits
    rows = [
        row
        for row, (name, side) in enumerate(zip(given, splits, strict=True))
        if side == split and name is not None
    ]
    if not rows:
        there = Counter(side for name, side in zip(given, splits, strict=True) if name is not None)
        known = ", ".join(f"{side} ({n})" for side, n in there.items()) or "none"
        columns = ", ".join(("label", *store.items.attributes))
        raise InputError(
            f"{store.path} has no images with a {label!r} in the {split} split; splits with one: "
            f"{known}; columns: {columns}"
        )
    return np.array(rows, np.int64)


def held_out_split(store: Store, label: str) -> str | None:
    """Return the split to score on: test, else valid, else None."""
    given, splits = store.items.label_column(label), store.items.splits
    there = {side for name, side in zip(given, splits, strict=True) if name is not None}
    return next((side for side in ("test", "valid") if side in there), None)


def clusters_in(store: Store) -> IntArray:
    """Return the cluster of each image: one group of the data set, or equal pixels."""
    return clusters_of(store.items.groups, store.items.column("pixel_sha256"))
