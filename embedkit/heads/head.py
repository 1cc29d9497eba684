"""A head: a fitted classifier, what it was fitted on, and how it did."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from embedkit.errors import HeadError, SpaceMismatchError
from embedkit.files import sha256
from embedkit.heads.balance import PLAIN_BALANCE, Balance
from embedkit.heads.classifier import Classifier
from embedkit.heads.knn import index_of
from embedkit.matrices import Matrix, blocks, large, part_of
from embedkit.results import Result
from embedkit.store import Neighbour, Space, Store
from embedkit.store.index import NeighbourIndex
from embedkit.store.scan import Scan
from embedkit.store.schema import STORE
from embedkit.vectors import DoubleArray, FloatArray, IntArray

if TYPE_CHECKING:
    from embedkit.heads.predict import Prediction, Predictions
    from embedkit.inputs import Input


ASKED = 65_536  # rows whose probabilities are computed at once where there are too many


@dataclass(frozen=True)
class Training:
    """The images that a head was fitted on, and the store that they are in.

    Attributes:
        store: folder of the store.
        space: name of the space.
        contract_sha256: of that space.
        backbone: how to load what made it; see `SpaceRecord`.
        ids: training images.
        y: (n,) class number of each.
        sha256: over the images' ids, bytes, labels and splits; tells whether the store has them.
        label: column that the classes come from.
        augmented: hash of the altered copies of those images that it was fitted on too; empty for
            none.
    """

    store: Path
    space: str
    contract_sha256: str
    backbone: dict[str, str]
    ids: tuple[str, ...]
    y: IntArray
    sha256: str
    label: str = "label"
    augmented: str = ""

    @cached_property
    def opened(self) -> Store:
        """The store.

        Raises:
            HeadError: it is not there, or has other images than the head was fitted on.
            SpaceMismatchError: its space was made in another way.
            StoreError: it is damaged.
        """
        if not (self.store / STORE).exists():
            raise HeadError(
                f"the head's store is not at {self.store.resolve()}; say where it is now with "
                "--store ('predict -k 0' asks for no neighbours, and does without for any head but "
                "kNN)"
            )
        store = Store.open(self.store)
        check_space(self, store.space(self.space))
        if training_hash(store, self.ids, self.label) != self.sha256:
            raise HeadError(
                f"{self.store} no longer has the images, labels or splits that the head was "
                "trained on; train again"
            )
        return store

    @cached_property
    def vectors(self) -> Matrix:
        """The training vectors, (n, d) float32, unit rows."""
        row_of = {id_: row for row, id_ in enumerate(self.opened.items.ids)}
        rows = np.array([row_of[id_] for id_ in self.ids], np.int64)
        return part_of(self.opened.space(self.space).matrix, rows)

    @cached_property
    def copies(self) -> tuple[FloatArray, IntArray]:
        """Vectors of altered copies, (m, d), and the place in `ids` of each one's original, (m,).

        Raises:
            HeadError: the store has other copies now.
        """
        space = self.opened.space(self.space)
        if not self.augmented:
            return np.empty((0, space.record.dimension), np.float32), np.empty(0, np.int64)
        copies = space.augmented
        if copies is None or copies.sha256 != self.augmented:
            raise HeadError(
                f"{self.store} no longer has the altered copies that the head was trained on; "
                "train again"
            )
        return copies.of(hashed(self.opened, self.ids))

    @cached_property
    def index(self) -> NeighbourIndex | Scan:
        """Nearest neighbours among the training images."""
        return index_of(self.vectors)


def hashed(store: Store, ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return id and SHA-256 of the bytes of images."""
    known = dict(zip(store.items.ids, store.items.column("sha256"), strict=True))
    return [(id_, str(known[id_])) for id_ in ids]


def training_hash(store: Store, ids: Sequence[str], label: str) -> str:
    """Return a hash over images' ids, bytes, labels and splits."""
    if not ids:
        return sha256(b"[]")
    columns = (store.items.column("sha256"), store.items.label_column(label), store.items.splits)
    known = dict(zip(store.items.ids, zip(*columns, strict=True), strict=True))
    return sha256(json.dumps([[id_, known.get(id_)] for id_ in ids]).encode())


def check_space(training: Training, space: Space) -> None:
    """Refuse a space whose vectors cannot be compared with the training vectors.

    Raises:
        SpaceMismatchError: with both spaces' names and hashes.
    """
    if space.contract_sha256 != training.contract_sha256:
        raise SpaceMismatchError(
            f"the head was trained in space {training.space} ({training.contract_sha256[:12]}), "
            f"{space.folder} is {space.name} ({space.contract_sha256[:12]}); vectors of different "
            "spaces cannot be compared"
        )


@dataclass(frozen=True)
class Head(Result):
    """A classifier on the vectors of one space.

    Attributes:
        kind: `logistic`, `knn`, `cumulative` or `zeroshot`.
        labels: its classes.
        label: column of the store that they come from.
        classifier: the fitted numbers.
        training: what it was fitted on.
        metrics: of its evaluation after training, as JSON; empty where there was no test split.
        made_with: versions.
        balance: what it was trained for.
    """

    kind: str
    labels: tuple[str, ...]
    label: str
    classifier: Classifier
    training: Training
    metrics: dict[str, Any] = field(default_factory=dict)
    made_with: dict[str, str] = field(default_factory=dict)
    balance: Balance = PLAIN_BALANCE

    @property
    def majority(self) -> str:
        """The commonest class of the training set; empty for a head that was trained on none."""
        if not len(self.training.y):
            return ""
        return self.labels[int(np.bincount(self.training.y, minlength=len(self.labels)).argmax())]

    def probabilities(self, space: Space, rows: Sequence[int] | IntArray) -> DoubleArray:
        """Return (n, k) probabilities for rows of a space.

        Raises:
            SpaceMismatchError: the space is another than the one that the head was trained in.
        """
        check_space(self.training, space)
        asked = part_of(space.matrix, np.asarray(rows, np.int64))
        if not large(len(asked)):
            return self.classifier.probabilities(asked[:])
        parts = blocks(len(asked), ASKED)
        return np.concatenate([self.classifier.probabilities(asked[part]) for part in parts])

    def nearest(self, vectors: FloatArray, k: int) -> list[tuple[Neighbour, ...]]:
        """Return the k nearest training images of each vector, closest first."""
        if not self.training.ids:
            return [()] * len(vectors)
        found = self.training.index.search(vectors, k)
        splits = dict(
            zip(self.training.opened.items.ids, self.training.opened.items.splits, strict=True)
        )

        def one(rows: IntArray, similarities: DoubleArray) -> Iterator[Neighbour]:
            for row, similarity in zip(rows, similarities, strict=True):
                if row >= 0:
                    id_ = self.training.ids[row]
                    label = self.labels[self.training.y[row]]
                    yield Neighbour(id_, label, splits[id_], float(similarity))

        return [tuple(one(*pair)) for pair in zip(found.rows, found.similarities, strict=True)]

    @overload
    def predict(self, inputs: "Input", *, k: int = 5) -> "Prediction": ...

    @overload
    def predict(
        self, inputs: "list[Input] | tuple[Input, ...]", *, k: int = 5
    ) -> "Predictions": ...

    def predict(
        self, inputs: "Input | list[Input] | tuple[Input, ...]", *, k: int = 5
    ) -> "Prediction | Predictions":
        """Classify pictures: a path, an address, an array, a Pillow image, or a list of them.

        Args:
            inputs: one picture, or a list of pictures and folders; a folder alone counts as a list.
            k: nearest training images to return as evidence.

        Returns:
            A prediction for one picture; for a list one entry a picture, in order, where one that
            cannot be read gives its reason.

        Raises:
            UnreadableImageError: the one picture cannot be read.
        """
        from embedkit.heads.predict import Predictions, predict, predict_one

        if isinstance(inputs, list | tuple):
            return Predictions(predict(self, inputs, k=k))
        if isinstance(inputs, str | Path) and Path(inputs).is_dir():
            return Predictions(predict(self, [inputs], k=k))
        return predict_one(self, inputs, k=k)

    def save(self, path: str | Path) -> Path:
        """Write the head to a file and return its path; see `heads/saving.py`."""
        from embedkit.heads.saving import save_head

        return save_head(self, Path(path))

    def with_metrics(self, metrics: dict[str, Any]) -> "Head":
        """Return the head with the metrics of an evaluation."""
        return replace(self, metrics=metrics)
