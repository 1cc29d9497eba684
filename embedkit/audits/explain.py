"""Explain: why the answer to one image is what it is, from the same numbers as the ledger."""

import difflib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from embedkit.audits import relatives
from embedkit.audits.books import Books, levels_of
from embedkit.audits.cards import (
    EXACT,
    NEAR,
    PERSON,
    Card,
    Entry,
    Evidence,
    Part,
    Relative,
    Without,
)
from embedkit.audits.clues import find_clues
from embedkit.audits.decisions import Decision, Seen, decide
from embedkit.audits.fits import Refit
from embedkit.audits.lines import CAUSES, Shares
from embedkit.audits.nuisance import nuisance_columns
from embedkit.audits.refits import Bench
from embedkit.audits.run import held_out
from embedkit.audits.shadows import Added, with_pictures
from embedkit.audits.siblings import Siblings, find_siblings
from embedkit.audits.twins import Twins, find_twins
from embedkit.errors import InputError, NotEnoughImagesError
from embedkit.heads.calibration import Calibration, calibrate
from embedkit.heads.fitting import HEADS
from embedkit.heads.training import held_out_split, labelled_rows
from embedkit.items import path_of_id
from embedkit.store import Neighbour, Store
from embedkit.store.outsiders import refuse_outsiders
from embedkit.vectors import BoolArray, DoubleArray

NEIGHBOURS = 5


def explain(
    store: Store,
    image: str | Path,
    *,
    head: str = "logistic",
    label: str = "label",
    backbone: str | None = None,
    k: int = NEIGHBOURS,
    seed: int = 0,
) -> Card:
    """Say what the answer to one image rests on.

    Args:
        store: with labels and a train split.
        image: an id of the store, the end of one, the path of one of its pictures, or the path of
            a picture that is not in it.
        head: kind of head.
        label: column with the class.
        backbone: which space; can be left out where there is only one.
        k: nearest training images to name.
        seed: of folds and draws, as of the audit.

    Raises:
        InputError: no such image, head, column or space, or the picture cannot be read.
        NotEnoughImagesError: train holds one class only.
    """
    desk, row, known = _open(store, image, head, label, backbone, k, seed)
    return desk.card(row, known=known)


def explain_decision(
    store: Store,
    image: str | Path,
    *,
    head: str = "logistic",
    label: str = "label",
    backbone: str | None = None,
    k: int = NEIGHBOURS,
    seed: int = 0,
) -> tuple[Card, Decision, Seen]:
    """Return a card, the decision that it is of, and the picture as its backbone sees it.

    Arguments and errors are those of `explain`.
    """
    desk, row, known = _open(store, image, head, label, backbone, k, seed)
    return desk.card(row, known=known), desk.decision(row), desk.seen(row)


def open_desk(
    store: Store,
    *,
    head: str = "logistic",
    label: str = "label",
    backbone: str | None = None,
    k: int = NEIGHBOURS,
    twins: Twins | None = None,
    seed: int = 0,
) -> "Desk":
    """Return what makes the cards of one head, to ask for one after the other.

    The other arguments and the errors are those of `explain`.

    Args:
        store: with labels and a train split.
        head: kind of head.
        label: column with the class.
        backbone: which space; can be left out where there is only one.
        k: nearest training images to name.
        twins: of the store, where they are known; to look for them takes longest.
        seed: of folds and draws, as of the audit.
    """
    if twins is None:
        twins, people = relatives(store, label=label, backbone=backbone, seed=seed)
    else:
        people = find_siblings(store, twins, split=held_out(store) or "test", seed=seed)
    return Desk(store, twins, people, head, label, backbone, k, seed)


def cards(
    store: Store,
    *,
    head: str = "logistic",
    label: str = "label",
    backbone: str | None = None,
    k: int = NEIGHBOURS,
    seed: int = 0,
) -> Iterator[Card]:
    """Explain every labelled test image; the means of their entries are the ledger's figures.

    Args:
        store: with labels, a train and a test split.
        head: kind of head.
        label: column with the class.
        backbone: which space; can be left out where there is only one.
        k: nearest training images to name.
        seed: of folds and draws, as of the audit.

    Raises:
        InputError: as `explain`, or there is no test split.
        NotEnoughImagesError: train holds one class only.
    """
    desk = open_desk(store, head=head, label=label, backbone=backbone, k=k, seed=seed)
    for row in labelled_rows(store, label, desk.split or "test").tolist():
        yield desk.card(row)


def find_image(store: Store, image: str | Path) -> int | Path:
    """Return the row of an image in a store, or the path of a picture that is not in it.

    Raises:
        InputError: nothing has that name, several images end in it, or it could not be read.
    """
    ids, given = store.items.ids, str(image)
    if given in ids:
        return ids.index(given)
    path = Path(image)
    if os.path.isfile(given):  # noqa: PTH113 (a name too long to be a file's is none)
        there = path.resolve()
        own = (
            row
            for row, id_ in enumerate(ids)
            if path_of_id(id_).endswith(there.name) and store.items.path(id_).resolve() == there
        )
        return next(own, there)
    ends = [row for row, id_ in enumerate(ids) if f"/{id_}".endswith(f"/{given.lstrip('/')}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        some = ", ".join(ids[row] for row in ends[:3]) + (", ..." if len(ends) > 3 else "")
        raise InputError(f"{len(ends)} images of {store.path} end in {given!r}: {some}; name one")
    for one in store.unreadable:
        if f"/{one.id}".endswith(f"/{given}"):
            raise InputError(f"{one.id} could not be read when the store was made: {one.reason}")
    near = difflib.get_close_matches(given, ids, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; an id looks like {ids[0]}"
    raise InputError(f"{given!r} is neither an image of {store.path} nor a picture file{hint}")


def _open(
    store: Store,
    image: str | Path,
    head: str,
    label: str,
    backbone: str | None,
    k: int,
    seed: int,
) -> tuple["Desk", int, bool]:
    """Return the desk for an image, its row there, and whether the store holds it."""
    place = find_image(store, image)
    if isinstance(place, Path):
        refuse_outsiders(store.space(backbone).record.contract, f"{place} is not in the store")
        with_it, refused = with_pictures(store, [Added(place, {})], backbone=backbone)
        if refused:
            raise InputError(f"{place} cannot be read: {refused[0].reason}")
        twins = find_twins(with_it, label=label)
        unknown = "a picture from outside the store is compared with copies only"
        desk = Desk(with_it, twins, unknown, head, label, None, k, seed)
        return desk, len(store.items), False
    desk = open_desk(store, head=head, label=label, backbone=backbone, k=k, seed=seed)
    return desk, place, True


class Desk:
    """What all cards of one head share; each head that they need is trained once."""

    def __init__(
        self,
        store: Store,
        twins: Twins,
        people: Siblings | str,
        head: str,
        label: str,
        backbone: str | None,
        k: int,
        seed: int,
    ) -> None:
        if head not in HEADS:
            raise InputError(f"no head is called {head!r}; known are {', '.join(HEADS)}")
        self.store, self.label, self.k = store, label, k
        self.twins = twins
        self.people = people
        self.split = held_out_split(store, label)
        self.levels = levels_of(twins, None if isinstance(people, str) else people)
        related = [clusters for _, clusters in self.levels]
        train = labelled_rows(store, label, "train")
        given = store.items.label_column(label)
        classes = {given[row] for row in train}
        if len(classes) < 2:
            raise NotEnoughImagesError(
                f"the train split holds one class only ({classes.pop()!r}, {len(train)} images); "
                "a classifier needs two"
            )
        # Without a test split nothing is scored, and the rows to score do not matter.
        self.bench = Bench(
            store,
            head,
            related,
            split=self.split or "train",
            label=label,
            backbone=backbone,
            seed=seed,
        )
        self.space = store.space(backbone).name
        self._without: dict[int, tuple[Refit | None, int, str]] = {}

    @cached_property
    def shares(self) -> Shares:
        """What each test image gives to the ledger."""
        columns = nuisance_columns(self.store.items, label=self.label)
        clues = find_clues(self.bench, columns, split=self.split or "")
        known = None if isinstance(clues, str) else clues
        return Books(self.bench, self.levels, known).shares()

    @cached_property
    def calibration(self) -> Calibration:
        """What makes the head's probabilities mean what they say."""
        bench = self.bench
        classes, numbers = np.unique(bench.y[bench.train], return_inverse=True)
        return calibrate(
            HEADS[bench.kind],
            bench.vectors[bench.train],
            numbers.ravel().astype(np.int64),
            bench.clusters[bench.train],
            n_classes=len(classes),
            value=bench.whole.classifier.choice.value,
            seed=bench.seed,
        )

    def card(self, row: int, *, known: bool = True) -> Card:
        """Explain the image of one row."""
        items, bench = self.store.items, self.bench
        stated = bench.whole.classifier.probabilities(bench.vectors[[row]])
        calibrated = self.calibration.apply(stated)[0]
        best = int(stated[0].argmax())
        names = [bench.labels[number] for number in bench.whole.classes]
        no_entry = self._no_entry(row) if known else "it is not one of the test images"
        return Card(
            id=items.ids[row],
            split=items.splits[row],
            label=items.label_column(self.label)[row],
            known=known,
            head=bench.kind,
            space=self.space,
            answer=names[best],
            probability=float(calibrated[best]),
            stated=float(stated[0, best]),
            probabilities=dict(zip(names, calibrated.tolist(), strict=True)),
            calibration=self.calibration,
            neighbours=self._neighbours(row),
            relatives=self._relatives(row),
            people_unknown=self.people if isinstance(self.people, str) else "",
            missed=self.twins.missed,
            without=self._answer_without(row),
            entry=None if no_entry else self._entry(row),
            no_entry=no_entry,
        )

    def decision(self, row: int) -> Decision:
        """Return what the head of all cards decides of one image."""
        bench = self.bench
        names = [bench.labels[number] for number in bench.whole.classes]
        return decide(bench.whole.classifier, names, bench.vectors[row])

    def seen(self, row: int) -> Seen:
        """Return the picture of one image, which is read again where it is asked for."""
        return Seen(self.store, self.store.items.ids[row], self.store.space(self.space))

    def _no_entry(self, row: int) -> str:
        if self.split is None:
            return "there is no labelled test (or valid) split"
        if row in self.bench.test:
            return ""
        side = self.store.items.splits[row]
        if side == self.split:
            return "it has no label"
        return f"it is not one of the {self.split} images" + (f", but of {side}" if side else "")

    def _entry(self, row: int) -> Entry:
        place = int(np.flatnonzero(self.bench.test == row)[0])
        shares, labels = self.shares, self.bench.labels
        parts = tuple(
            Part(
                cause,
                float(effect[place]),
                None if np.isnan(effect[place]) else labels[int(answers[place])],
            )
            for (cause, _), effect, answers in zip(
                self.levels, shares.lines, shares.answers, strict=True
            )
        )
        if shares.shortcuts.any():
            parts += (Part(CAUSES[-1], float(shares.shortcuts[place]), None),)
        return Entry(
            float(shares.right[place]),
            parts,
            float(shares.total[place] + shares.shortcuts[place]),
            float(shares.honest[place]),
        )

    def _relation(self, row: int, other: int) -> str | None:
        for relation, clusters in (
            (EXACT, self.twins.exact),
            (NEAR, self.twins.near),
            (PERSON, self.bench.clusters),
        ):
            if clusters[row] == clusters[other]:
                return relation
        return None

    def _relatives(self, row: int) -> tuple[Relative, ...]:
        items = self.store.items
        labels, splits = items.label_column(self.label), items.splits
        others = np.flatnonzero(self.bench.clusters == self.bench.clusters[row]).tolist()
        found = [
            Relative(items.ids[one], labels[one], splits[one], relation)
            for one in others
            if one != row and (relation := self._relation(row, one)) is not None
        ]
        order = (EXACT, NEAR, PERSON)
        return tuple(
            sorted(found, key=lambda one: (order.index(one.relation), one.split != "train", one.id))
        )

    def _neighbours(self, row: int) -> tuple[Evidence, ...]:
        items, bench = self.store.items, self.bench
        train = bench.train[bench.train != row]
        similar: DoubleArray = bench.vectors[train].astype(np.float64) @ bench.vectors[row]
        order = np.lexsort((train, -np.round(similar, 6)))[: self.k]
        labels = items.label_column(self.label)
        nearest = bench.nearest if self.split is not None else np.array([np.nan])
        evidence = []
        for place in order.tolist():
            one, cosine = int(train[place]), float(similar[place])
            neighbour = Neighbour(items.ids[one], labels[one], "train", cosine)
            of_test = float(np.mean(_below(nearest, cosine))) if self.split else float("nan")
            evidence.append(
                Evidence(
                    neighbour,
                    self._relation(row, one),
                    float(np.mean(_below(similar, cosine))),
                    of_test,
                )
            )
        return tuple(evidence)

    def _answer_without(self, row: int) -> Without:
        bench = self.bench
        cluster = int(bench.clusters[row])
        if cluster not in self._without:
            self._without[cluster] = self._train_without(cluster)
        refit, removed, reason = self._without[cluster]
        if refit is None:
            return Without(removed, None, float("nan"), reason)
        stated = refit.classifier.probabilities(bench.vectors[[row]])
        best = int(stated[0].argmax())
        answer = bench.labels[int(refit.classes[best])]
        return Without(removed, answer, float(self.calibration.apply(stated)[0, best]))

    def _train_without(self, cluster: int) -> tuple[Refit | None, int, str]:
        """Train without a cluster, the hyper-parameter as chosen on all of train."""
        bench = self.bench
        gone = bench.clusters[bench.train] == cluster
        n = int(gone.sum())
        if not n:
            return bench.whole, 0, ""
        reason = bench.too_little(gone)
        if reason:
            return None, n, reason
        value = bench.whole.classifier.choice.value
        return bench.fit(bench.train[~gone], value=value), n, ""


def _below(values: DoubleArray, one: float) -> BoolArray:
    """Mark what is less similar; two similarities that differ by rounding are one."""
    return values < one - 1e-6
