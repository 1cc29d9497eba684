"""Finetuning from a store to a result: the network, its score, and what it is compared with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedkit.errors import InputError
from embedkit.finetuning.alterations import DESCRIPTION
from embedkit.finetuning.division import Division, divide
from embedkit.finetuning.leaks import Leaks, plan_purge
from embedkit.finetuning.networks import SMALL, UNFREEZE, Trainee, published, small
from embedkit.finetuning.pictures import check_memory, read_pictures
from embedkit.finetuning.training import History
from embedkit.finetuning.work import Plan, Say, Work
from embedkit.heads.metrics import Evaluation
from embedkit.heads.training import clusters_in, evaluate, fit
from embedkit.interrupts import held_back
from embedkit.pipeline.progress import OnProgress
from embedkit.results import Result
from embedkit.statistics import Estimate, paired_difference
from embedkit.store import Store
from embedkit.vectors import DoubleArray

SIZES = (16, 224)  # pixels
SIDE = 64  # of the small network's input
PUBLISHED_SIDE = 96
EPOCHS = 40
PATIENCE = 8
FROZEN = "logistic"


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
class Finetuned(Result):
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
        learned: ids of the images that were trained and stopped on.
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
    learned: tuple[str, ...]
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
    keep: Callable[[Finetuned], object] | None = None,
) -> Finetuned:
    """Train a network on the pictures of a store, and score it on the test split.

    The same seed gives the same network on the same machine. An interruption ends the training and
    keeps its best epoch; after it, an interruption waits until the result is kept.

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
        progress: called now and then while pictures are read, and after each epoch.
        keep: given the result before an interruption that came late ends all.

    Raises:
        InputError: no such column, network or split, a number out of its range, or a picture that
            is gone or has changed.
        NotEnoughImagesError: one class only, or too few images.
        WeightsError: the weights are not on this machine, damaged, or of another network.
        KeyboardInterrupt: before the first epoch was done, or again, or after the training.
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
    plan = Plan(epochs, patience, altered, seed)
    work = Work(store, label, division, trainee, pictures, plan, say=say, progress=progress)
    told = work.tell_cost(3 if purge is not None and not purge.reason else 1)
    with held_back():
        history, probabilities = work.train(trainee, division)
        evaluation = work.score(probabilities)
        leaks = None if purge is None else work.leaks(purge, history, evaluation)
        head = fit(store, head=FROZEN, label=label, backbone=space.name, seed=seed)
        beside = evaluate(head, store, split=division.split, seed=seed)
        clusters = clusters_in(store)[division.test]
        made = Finetuned(
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
            learned=tuple(store.items.ids[row] for row in (*division.train, *division.valid)),
            told=told,
            seconds=work.seconds,
        )
        if keep is not None:
            keep(made)
    return made


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
