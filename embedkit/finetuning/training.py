"""The training of a network: epochs, early stopping, the best epoch kept."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from embedkit.errors import BackboneError
from embedkit.finetuning.inputs import BATCH, Inputs, batches
from embedkit.finetuning.networks import Trainee
from embedkit.interrupts import held_back
from embedkit.vectors import DoubleArray, IntArray, Pixels

RATE = 1e-3  # of a layer that starts from random weights
GENTLE = 1e-4  # of one that starts from published ones
DECAY = 0.01
TIMED = 5  # steps
INTERRUPTED = "interrupted"

Tell = Callable[["Epoch"], None]


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over as many pictures as train has.

    Attributes:
        number: from 1.
        train_loss: mean cross entropy in nats, of the pictures as they were trained on.
        train_accuracy: likewise.
        valid_loss: after the epoch, of the validation pictures as they are.
        valid_accuracy: likewise.
        seconds: that it took.
    """

    number: int
    train_loss: float
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class History:
    """What a training did.

    Attributes:
        epochs: in order.
        kept: number of the one whose weights were kept: the least loss on validation.
        stopped: `patience`, `epochs` (all were done) or `INTERRUPTED`.
    """

    epochs: tuple[Epoch, ...]
    kept: int
    stopped: str


@dataclass(frozen=True, slots=True)
class Cost:
    """How long things take on this machine, in seconds, at the slowest of a few trials.

    Attributes:
        step: of training, with its batch.
        look: at one picture that is not trained on.
        remember: what the frozen part makes of all pictures, once; 0 where nothing is remembered.
    """

    step: float
    look: float
    remember: float

    def epoch(self, n_train: int, n_valid: int) -> float:
        """Return what an epoch takes."""
        return steps_for(n_train) * self.step + n_valid * self.look


def steps_for(n_train: int) -> int:
    """Return how many batches hold as many pictures as train has."""
    return math.ceil(n_train / min(BATCH, n_train))


@contextmanager
def settled(seed: int) -> Iterator[None]:
    """Make what torch does repeatable: its own randomness seeded, one thread a step.

    Sums over several threads differ in their last digits from those over one, and training makes
    large differences of small ones. Layers as small as these are not slower on one thread.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def measure_cost(
    trainee: Trainee, pictures: Pixels, y: IntArray, *, n: int, augment: bool, seed: int
) -> Cost:
    """Time a few steps on a copy of a network, which stays as it is.

    Args:
        trainee: to be trained.
        pictures: (m, h, w, 3) uint8, a batch or less of those to train on.
        y: (m,) class of each.
        n: pictures that the frozen part will look at.
        augment: whether training pictures are altered each time.
        seed: of what is drawn.
    """
    inputs, places = Inputs(pictures, trainee, augment=augment), np.arange(len(y))
    other = replace(trainee, trained=deepcopy(trainee.trained))
    optimizer, generator = _optimizer(other), np.random.default_rng(seed)
    remember = 0.0
    with settled(seed):
        if inputs.can_remember:
            remember = _seconds(inputs.remember) / len(y) * n
        step = _seconds(lambda: _step(other, optimizer, inputs, y, places, generator))
        look = _seconds(lambda: answer(other, inputs, places)) / len(y)
    return Cost(step, look, remember)


def _seconds(do: Callable[[], object]) -> float:
    """Return how long something takes at the slowest of a few times; the first is not counted."""
    do()
    slowest = 0.0
    for _ in range(TIMED):
        began = time.perf_counter()
        do()
        slowest = max(slowest, time.perf_counter() - began)
    return slowest


def train_network(
    trainee: Trainee,
    inputs: Inputs,
    y: IntArray,
    train: IntArray,
    valid: IntArray,
    *,
    epochs: int,
    patience: int,
    steps: int,
    seed: int,
    tell: Tell,
) -> History:
    """Train a network's trained part, and leave it as it was after its best epoch.

    AdamW with a constant rate, cross entropy, classes as often as they are. An interruption ends
    it after the step, and keeps the best epoch so far.

    Args:
        trainee: to train, in place.
        inputs: all pictures.
        y: (n,) class of each.
        train: places of those to train on.
        valid: places of those that say which epoch is best.
        epochs: at most.
        patience: epochs without a smaller loss on validation before it stops.
        steps: in an epoch.
        seed: of order, alterations and dropout.
        tell: called after each epoch.

    Raises:
        KeyboardInterrupt: before the first epoch was done.
        BackboneError: the loss is no number.
    """
    done: list[Epoch] = []
    kept, best, stopped = 0, math.inf, "epochs"
    state = trainee.trained.state_dict()
    generator = np.random.default_rng(seed)
    order = batches(len(train), generator)
    optimizer = _optimizer(trainee)
    with settled(seed), held_back() as interrupted:
        try:
            for number in range(1, epochs + 1):
                began = time.perf_counter()
                loss = right = 0.0
                for _ in range(steps):
                    interrupted()
                    places = train[next(order)]
                    one, hits = _step(trainee, optimizer, inputs, y[places], places, generator)
                    loss, right = loss + one / steps, right + hits / steps
                p = answer(trainee, inputs, valid)
                valid_loss, valid_right = _scores(p, y[valid])
                if not math.isfinite(loss + valid_loss):
                    raise BackboneError(
                        f"the training of {trainee.name} went astray: its loss is no number any "
                        f"more in epoch {number}"
                    )
                seconds = time.perf_counter() - began
                done.append(Epoch(number, loss, right, valid_loss, valid_right, seconds))
                if valid_loss < best:
                    kept, best = number, valid_loss
                    state = deepcopy(trainee.trained.state_dict())
                tell(done[-1])
                if number - kept >= patience:
                    stopped = "patience"
                    break
            interrupted()
        except KeyboardInterrupt:
            if not done:
                raise
            stopped = INTERRUPTED
    trainee.trained.load_state_dict(state)
    return History(tuple(done), kept, stopped)


def answer(trainee: Trainee, inputs: Inputs, places: IntArray) -> DoubleArray:
    """Return each class's probability for some pictures, unaltered: (n, k), rows summing to 1."""
    trainee.trained.eval()
    parts = []
    with torch.no_grad():
        for at in range(0, len(places), BATCH):
            logits = trainee.trained(inputs.show(places[at : at + BATCH], None))
            parts.append(functional.softmax(logits.double(), dim=1).numpy())
    return np.concatenate(parts)


def _scores(p: DoubleArray, y: IntArray) -> tuple[float, float]:
    """Return the mean cross entropy and the accuracy."""
    own = np.maximum(p[np.arange(len(y)), y], 1e-300)
    return float(-np.log(own).mean()), float((p.argmax(axis=1) == y).mean())


def _optimizer(trainee: Trainee) -> torch.optim.Optimizer:
    """Return AdamW; what starts from published weights takes smaller steps than what does not."""
    groups: list[dict[str, Any]] = [{"params": trainee.trained.parameters()}]
    if trainee.weights_sha256:
        *known, new = trainee.trained.children()
        gentle = [one for layer in known for one in layer.parameters()]
        groups = [{"params": new.parameters()}, {"params": gentle, "lr": GENTLE}]
    return torch.optim.AdamW(groups, lr=RATE, weight_decay=DECAY)


def _step(
    trainee: Trainee,
    optimizer: torch.optim.Optimizer,
    inputs: Inputs,
    y: IntArray,
    places: IntArray,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """Take a step; return loss and accuracy of its batch, before it."""
    trainee.train()
    truth = torch.from_numpy(y)
    optimizer.zero_grad(set_to_none=True)
    logits = trainee.trained(inputs.show(places, generator))
    loss = functional.cross_entropy(logits, truth)
    torch.autograd.backward(loss)
    optimizer.step()
    return float(loss.detach()), float((logits.argmax(dim=1) == truth).float().mean())
