"""The trainings of one run: what they will cost, the first, and those without leaks."""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np

from embedkit.finetuning.division import Division
from embedkit.finetuning.inputs import BATCH, Inputs
from embedkit.finetuning.leaks import Leaks, Purge, Retrained
from embedkit.finetuning.networks import Trainee
from embedkit.finetuning.pictures import check_memory
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
from embedkit.heads.training import clusters_in
from embedkit.pipeline.progress import OnProgress, Progress
from embedkit.statistics import paired_difference
from embedkit.store import Store
from embedkit.vectors import BoolArray, DoubleArray, Pixels

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How networks are trained.

    Attributes:
        epochs: at most.
        patience: epochs without a smaller loss on validation before a training stops.
        augment: whether training pictures are altered each time.
        seed: of everything that is drawn.
    """

    epochs: int
    patience: int
    augment: bool
    seed: int


class Work:
    """The trainings of one run, which share their pictures.

    Attributes:
        seconds: that training has taken so far.
    """

    def __init__(
        self,
        store: Store,
        label: str,
        division: Division,
        trainee: Trainee,
        pictures: Pixels,
        plan: Plan,
        *,
        say: Say,
        progress: OnProgress | None,
    ) -> None:
        """Prepare the trainings.

        Args:
            store: of the pictures.
            label: column with the class.
            division: of its images.
            trainee: the network, as it starts.
            pictures: of the division, in its order, (n, h, w, 3) uint8.
            plan: of each training.
            say: told what they will cost, and how each epoch went.
            progress: called after each epoch.
        """
        self.seconds = 0.0
        self._store, self._label, self._division = store, label, division
        self._trainee, self._pictures, self._plan = trainee, pictures, plan
        self._say, self._progress = say, progress
        self._inputs = Inputs(pictures, trainee, augment=plan.augment)
        self._y = division.y[division.every]
        self._place = np.full(len(division.y), -1, np.int64)
        self._place[division.every] = np.arange(len(pictures))
        self._start = deepcopy(trainee.trained.state_dict())
        self._steps = steps_for(len(division.train))

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
            augment=self._plan.augment,
            seed=self._plan.seed,
        )
        epoch = cost.epoch(len(division.train), len(division.valid))
        once = cost.remember + cost.look * len(division.test)
        most = trainings * (self._plan.epochs * epoch) + once
        start = f" from {trainee.first} on" if trainee.first else ""
        many = f"{trainings} trainings of " if trainings > 1 else ""
        self._say(
            f"{trainee.name}{start}: {trainee.learned:,} of {trainee.parameters:,} numbers are "
            f"trained on {len(division.train)} pictures; {len(division.valid)} "
            f"{'cut off train' if division.cut else 'of the valid split'} say when to stop"
        )
        line = (
            f"An epoch takes up to {duration(epoch)}, all of it at most {duration(most)}: {many}"
            f"{self._plan.epochs} epochs, fewer where {self._plan.patience} in a row bring nothing"
        )
        if inputs.can_remember:
            line += f"; the frozen part sees each picture once, {duration(cost.remember)}"
        self._say(line)
        if inputs.can_remember:
            began = time.perf_counter()
            with settled(self._plan.seed):
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
            epochs=epochs or self._plan.epochs,
            patience=epochs or self._plan.patience,
            steps=self._steps,
            seed=self._plan.seed,
            tell=lambda epoch: self._tell(epoch, epochs or self._plan.epochs),
        )
        if history.stopped == INTERRUPTED:
            self._say(f"Interrupted: epoch {history.kept} is kept and scored (again to drop it)")
        with settled(self._plan.seed):
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

    def score(self, probabilities: DoubleArray) -> Evaluation:
        """Score probabilities for the test images as those of a head are."""
        division, items = self._division, self._store.items
        given = items.label_column(self._label)
        majority = np.bincount(division.y[division.train]).argmax()
        return score(
            probabilities,
            [given[row] or "" for row in division.test],
            labels=division.labels,
            majority=division.labels[int(majority)],
            clusters=clusters_in(self._store)[division.test],
            ids=[items.ids[row] for row in division.test],
            split=division.split,
            seed=self._plan.seed,
        )

    def leaks(self, purge: Purge, history: History, whole: Evaluation) -> Leaks:
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
            except KeyboardInterrupt:  # before its first epoch
                return Leaks(purge.causes, reason=f"the training without {what} was interrupted")
            if again.stopped == INTERRUPTED:
                return Leaks(purge.causes, reason=f"the training without {what} was interrupted")
            scored = self.score(p)
            n = len(division.train), len(division.valid)
            made.append((Retrained(*n, again.kept, scored.accuracy), scored.right))
        (without, right), (control, also) = made
        clusters = purge.clusters[self._division.test]
        return Leaks(
            purge.causes,
            without,
            control,
            paired_difference(whole.right, right, clusters, seed=self._plan.seed),
            paired_difference(also, right, clusters, seed=self._plan.seed),
            purge.mixed,
        )


def duration(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
