"""Finetuning from a store to a result: the network, its score, and what it is compared with."""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from embedkit.errors import InputError
from embedkit.finetuning.alterations import DESCRIPTION
from embedkit.finetuning.division import Division, divide
from embedkit.finetuning.inputs import BATCH, Inputs
from embedkit.finetuning.leaks import Leaks, Purge, Retrained, plan_purge
from embedkit.finetuning.networks import SMALL, UNFREEZE, Trainee, published, small
from embedkit.finetuning.pictures import check_memory, read_pictures
from embedkit.finetuning.training import (
    INTERRUPTED,
    Epoch,
    History,
    answer,
    measure_cost,
    settled,
    steps_for,
    train_network,
)
from embedkit.heads.metrics import Evaluation, score
from embedkit.heads.training import clusters_in, evaluate, fit
from embedkit.pipeline.progress import OnProgress, Progress
from embedkit.statistics import Estimate, paired_difference
from embedkit.store import Store
from embedkit.vectors import BoolArray, DoubleArray, Pixels

SIZES = (16, 224)  # pixels
SIDE = 64  # of the small network's input
PUBLISHED_SIDE = 96
EPOCHS = 40
PATIENCE = 8
FROZEN = "logistic"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Frozen:
    """A head on frozen vectors, on the same test images.

    Attributes:
        space: of the store.
        head: its kind.
        accuracy: of it.
        difference: accuracy of the network minus that of the head.
    """

    space: str
    head: str
    accuracy: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Finetuned:
    """A network that was trained on the pictures of a store, and how it did.

    Attributes:
        store: folder of the store.
        label: column with the class.
        settings: everything else that it was asked for, as JSON.
        trainee: the network, as it was after its best epoch.
        division: which images were trained, stopped and scored on.
        history: of the training.
        evaluation: on the test images.
        probabilities: (n, k) of each class of the division for each of them.
        frozen: a head on frozen vectors beside it.
        leaks: networks trained without relatives of test images; None where that was not asked.
        told: seconds that the training would take at most, as told before it.
        seconds: that it took.
    """

    store: Path
    label: str
    settings: dict[str, object]
    trainee: Trainee
    division: Division
    history: History
    evaluation: Evaluation
    probabilities: DoubleArray
    frozen: Frozen
    leaks: Leaks | None
    told: float
    seconds: float


def finetune(
    store: Store,
    *,
    network: str = SMALL,
    unfreeze: str = "last",
    label: str = "label",
    backbone: str | None = None,
    size: int | None = None,
    epochs: int = EPOCHS,
    patience: int = PATIENCE,
    augment: bool | None = None,
    without_leaks: bool = False,
    weights: str | Path | None = None,
    seed: int = 0,
    threads: int | None = None,
    say: Say | None = None,
    progress: OnProgress | None = None,
) -> Finetuned:
    """Train a network on the pictures of a store, and score it on the test split.

    The same seed gives the same network on the same machine. An interruption ends the training and
    keeps its best epoch.

    Args:
        store: with labels, a train and a test split, and its pictures still where they were.
        network: `small` from scratch, or `torchvision:NAME` or `timm:NAME` from their weights.
        unfreeze: of the latter, the `last` block or `all`.
        label: column with the class: `label` or any attribute.
        backbone: which space the frozen head is trained in; needed if there are more.
        size: side that pictures are squashed to; 64 for `small`, 96 for others where left out.
        epochs: at most.
        patience: epochs without a smaller loss on validation before it stops.
        augment: whether training pictures are altered each time they are seen; where left out, all
            but those for a network whose last block alone is trained.
        without_leaks: train two more networks, for as many steps: without the images that are
            related to test images, and without as many others.
        weights: file of a published network's weights, or a folder that holds it.
        seed: of everything that is drawn.
        threads: to read pictures on; the result does not depend on it.
        say: told what it will cost, and how each epoch went.
        progress: called now and then while pictures are read.

    Raises:
        InputError: no such column, network or split, a number out of its range, or a picture that
            is gone or has changed.
        NotEnoughImagesError: one class only, or too few images.
        WeightsError: the weights are not on this machine, damaged, or of another network.
        KeyboardInterrupt: before the first epoch was done.
    """
    side = size or (SIDE if network == SMALL else PUBLISHED_SIDE)
    _check(side, epochs, patience, unfreeze)
    say = say or (lambda _: None)
    space = store.space(backbone)
    division = divide(store, label, seed=seed)
    altered = network == SMALL or unfreeze == "all" if augment is None else augment
    trainee = _start(network, division, side, unfreeze=unfreeze, weights=weights, seed=seed)
    rows = division.every
    _say_memory(len(rows), side, say)
    pictures = read_pictures(store, rows, trainee.preprocessing, threads=threads, progress=progress)
    purge = None
    if without_leaks:
        purge = plan_purge(store, division, label=label, backbone=space.name, seed=seed)
    work = _Work(store, division, trainee, pictures, altered, epochs, patience, seed, say, progress)
    told = work.tell_cost(3 if purge is not None and not purge.reason else 1)
    history, probabilities = work.train(trainee, division)
    evaluation = work.score(probabilities, label)
    leaks = None if purge is None else work.leaks(purge, history, evaluation, label)
    head = fit(store, head=FROZEN, label=label, backbone=space.name, augmented=False, seed=seed)
    beside = evaluate(head, store, split=division.split, seed=seed)
    clusters = clusters_in(store)[division.test]
    return Finetuned(
        store=store.path,
        label=label,
        settings={
            "network": network,
            "unfreeze": "all" if trainee.frozen is None else unfreeze,
            "size": side,
            "epochs": epochs,
            "patience": patience,
            "augmented": DESCRIPTION if altered else "",
            "without_leaks": without_leaks,
            "seed": seed,
        },
        trainee=trainee,
        division=division,
        history=history,
        evaluation=evaluation,
        probabilities=probabilities,
        frozen=Frozen(
            space.name,
            FROZEN,
            beside.accuracy,
            paired_difference(evaluation.right, beside.right, clusters, seed=seed),
        ),
        leaks=leaks,
        told=told,
        seconds=work.seconds,
    )


def _check(side: int, epochs: int, patience: int, unfreeze: str) -> None:
    low, high = SIZES
    if not low <= side <= high:
        raise InputError(f"--size is {side}; pictures have {low} to {high} pixels a side")
    for name, value in (("--epochs", epochs), ("--patience", patience)):
        if value < 1:
            raise InputError(f"{name} is {value}; 1 or more are possible")
    if unfreeze not in UNFREEZE:
        raise InputError(f"--unfreeze is {unfreeze!r}; allowed are {', '.join(UNFREEZE)}")


def _start(
    network: str,
    division: Division,
    side: int,
    *,
    unfreeze: str,
    weights: str | Path | None,
    seed: int,
) -> Trainee:
    k = len(division.labels)
    if network == SMALL:
        if weights is not None:
            raise InputError(f"{SMALL} starts from random weights, so --weights is not for it")
        return small(k, side=side, seed=seed)
    given = str(weights or "")
    return published(network, k, side=side, unfreeze=unfreeze, weights=given, seed=seed)


def _say_memory(n: int, side: int, say: Say) -> None:
    amount = n * side * side * 3
    check_memory(amount, f"{n} pictures of {side} x {side} pixels; take a smaller --size")
    say(f"Keeping {n} pictures of {side} x {side} pixels in memory: {amount / 2**20:.0f} MiB")


class _Work:
    """The trainings of one run, which share their pictures."""

    def __init__(
        self,
        store: Store,
        division: Division,
        trainee: Trainee,
        pictures: Pixels,
        altered: bool,
        epochs: int,
        patience: int,
        seed: int,
        say: Say,
        progress: OnProgress | None,
    ) -> None:
        self._store, self._division, self._trainee = store, division, trainee
        self._pictures, self._altered = pictures, altered
        self._epochs, self._patience, self._seed, self._say = epochs, patience, seed, say
        self._progress = progress
        self._inputs = Inputs(pictures, trainee, augment=altered)
        self._y = division.y[division.every]
        self._place = np.full(len(division.y), -1, np.int64)
        self._place[division.every] = np.arange(len(pictures))
        self._start = deepcopy(trainee.trained.state_dict())
        self._steps = steps_for(len(division.train))
        self.seconds = 0.0

    def tell_cost(self, trainings: int) -> float:
        """Say what the trainings will take at most, and return it in seconds."""
        division, trainee, inputs = self._division, self._trainee, self._inputs
        if inputs.can_remember:
            check_memory(
                inputs.remembered,
                f"what the frozen part makes of {len(inputs)} pictures; take "
                "a smaller --size, or --augment, which keeps nothing",
            )
        few = self._place[division.train[:BATCH]]
        cost = measure_cost(
            trainee,
            self._pictures[few],
            self._y[few],
            n=len(inputs),
            augment=self._altered,
            seed=self._seed,
        )
        epoch = cost.epoch(len(division.train), len(division.valid))
        once = cost.remember + cost.look * len(division.test)
        most = trainings * (self._epochs * epoch) + once
        start = f" from {trainee.first} on" if trainee.first else ""
        self._say(
            f"{trainee.name}{start}: {trainee.learned:,} of {trainee.parameters:,} numbers are "
            f"trained on {len(division.train)} pictures; {len(division.valid)} "
            f"{'cut off train' if division.cut else 'of the valid split'} say when to stop"
        )
        many = f"{trainings} trainings of " if trainings > 1 else ""
        self._say(
            f"An epoch takes up to {duration(epoch)}, all of it at most {duration(most)}: {many}"
            f"{self._epochs} epochs, fewer where {self._patience} in a row bring nothing"
            + (
                f"; the frozen part sees each picture once, {duration(cost.remember)}"
                if inputs.can_remember
                else ""
            )
        )
        if inputs.can_remember:
            began = time.perf_counter()
            with settled(self._seed):
                inputs.remember()
            self.seconds += time.perf_counter() - began
        return most

    def train(
        self, trainee: Trainee, division: Division, *, epochs: int = 0
    ) -> tuple[History, DoubleArray]:
        """Train, and return the probabilities for the test images.

        Args:
            trainee: to train.
            division: what to train and stop on.
            epochs: as many as these, whatever they bring; until patience ends where left out.
        """
        began = time.perf_counter()
        history = train_network(
            trainee,
            self._inputs,
            self._y,
            self._place[division.train],
            self._place[division.valid],
            epochs=epochs or self._epochs,
            patience=epochs or self._patience,
            steps=self._steps,
            seed=self._seed,
            tell=lambda epoch: self._tell(epoch, epochs or self._epochs),
        )
        with settled(self._seed):
            probabilities = answer(trainee, self._inputs, self._place[division.test])
        self.seconds += time.perf_counter() - began
        return history, probabilities

    def _tell(self, epoch: Epoch, epochs: int) -> None:
        """Say how an epoch went, and how long the rest of this training takes at most."""
        number = epoch.number
        self._say(
            f"epoch {number} of {epochs}: train loss {epoch.train_loss:.3f}, "
            f"{epoch.train_accuracy:.1%}; valid loss {epoch.valid_loss:.3f}, "
            f"{epoch.valid_accuracy:.1%}; {epoch.seconds:.1f} s, at most "
            f"{duration((epochs - number) * epoch.seconds)} left"
        )
        if self._progress is not None:
            self._progress(Progress("training", number, epochs, number, 0, unit="epochs"))

    def score(self, probabilities: DoubleArray, label: str) -> Evaluation:
        """Score probabilities for the test images as those of a head are."""
        division, items = self._division, self._store.items
        given = items.label_column(label)
        majority = np.bincount(division.y[division.train]).argmax()
        return score(
            probabilities,
            [given[row] or "" for row in division.test],
            labels=division.labels,
            majority=division.labels[int(majority)],
            clusters=clusters_in(self._store)[division.test],
            ids=[items.ids[row] for row in division.test],
            split=division.split,
            seed=self._seed,
        )

    def leaks(self, purge: Purge, history: History, whole: Evaluation, label: str) -> Leaks:
        """Train without relatives, and without as many others, for as many steps."""
        reason = purge.reason
        if history.stopped == INTERRUPTED:
            reason = "the training was interrupted"
        if reason:
            return Leaks(purge.causes, reason=reason)
        made: list[tuple[Retrained, BoolArray]] = []
        for what, removed in (("relatives", purge.removed), ("as many others", purge.others)):
            division = self._division.without(removed)
            self._say(f"Training for as many steps on {len(division.train)}, without {what}")
            other = replace(self._trainee, trained=deepcopy(self._trainee.trained))
            other.trained.load_state_dict(self._start)
            try:
                again, p = self.train(other, division, epochs=len(history.epochs))
            except KeyboardInterrupt:
                return Leaks(purge.causes, reason=f"the training without {what} was interrupted")
            if again.stopped == INTERRUPTED:
                return Leaks(purge.causes, reason=f"the training without {what} was interrupted")
            scored = self.score(p, label)
            n = len(division.train), len(division.valid)
            made.append((Retrained(*n, again.kept, scored.accuracy), scored.right))
        (without, right), (control, also) = made
        clusters = purge.clusters[self._division.test]
        return Leaks(
            purge.causes,
            without,
            control,
            paired_difference(whole.right, right, clusters, seed=self._seed),
            paired_difference(also, right, clusters, seed=self._seed),
            purge.mixed,
        )


def duration(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
