"""Predictions for new pictures, with the nearest training images as evidence."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy.typing as npt

from embedkit.backbones import Backbone, embed_pictures, embed_prepared, load_again
from embedkit.errors import UnreadableImageError
from embedkit.heads.head import Head, Training
from embedkit.inputs import Input, read_input, read_inputs
from embedkit.items import Unreadable
from embedkit.store import Neighbour
from embedkit.vectors import FloatArray, Pixels


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a head says of one picture.

    Attributes:
        source: the picture's path or address.
        label: the most probable class.
        probabilities: of every class, summing to 1.
        neighbours: the nearest training images, closest first.
    """

    source: str
    label: str
    probabilities: dict[str, float]
    neighbours: tuple[Neighbour, ...]

    @property
    def probability(self) -> float:
        """Probability of the label."""
        return self.probabilities[self.label]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "source": self.source,
            "label": self.label,
            "probabilities": {name: round(p, 6) for name, p in self.probabilities.items()},
            "neighbours": [
                {
                    "id": one.id,
                    "label": one.label,
                    "split": one.split,
                    "similarity": round(one.similarity, 6),
                }
                for one in self.neighbours
            ],
        }


def predict(
    head: Head, inputs: Iterable[Input], *, k: int = 5
) -> Iterator[Prediction | Unreadable]:
    """Classify pictures one after another, a batch at a time; see `Head.predict`."""
    backbone = backbone_of(head.training)
    prepared = ((name, _prepared(backbone, name, pixels)) for name, pixels in read_inputs(inputs))
    while batch := list(islice(prepared, backbone.card.batch)):
        good = [(name, one) for name, one in batch if not isinstance(one, Unreadable)]
        answers = iter(_classify(head, backbone, good, k))
        for _, one in batch:
            yield one if isinstance(one, Unreadable) else next(answers)


def predict_one(head: Head, one: Input, *, k: int = 5) -> Prediction:
    """Classify one picture; see `Head.predict`."""
    name = str(one) if isinstance(one, str) or hasattr(one, "__fspath__") else "picture"
    backbone = backbone_of(head.training)
    return _classify(head, backbone, [(name, backbone.prepare(read_input(one)))], k)[0]


def embed_input(backbone: Backbone, one: Input) -> FloatArray:
    """Return one picture's vector, (1, d) float32.

    Raises:
        UnreadableImageError: it cannot be read.
    """
    return embed_pictures(backbone, [read_input(one)])


def backbone_of(training: Training) -> Backbone:
    """Load the backbone of a head's space and check that it still makes the same vectors.

    Raises:
        SpaceMismatchError: this embedkit's backbone of that name has another contract.
    """
    return load_again(
        **training.backbone, contract_sha256=training.contract_sha256, where="the head's space"
    )


def _prepared(
    backbone: Backbone, name: str, pixels: Pixels | Unreadable
) -> npt.NDArray[Any] | Unreadable:
    if isinstance(pixels, Unreadable):
        return pixels
    try:
        return backbone.prepare(pixels)
    except UnreadableImageError as error:
        return Unreadable(name, str(error))


def _classify(
    head: Head, backbone: Backbone, pictures: list[tuple[str, npt.NDArray[Any]]], k: int
) -> list[Prediction]:
    if not pictures:
        return []
    vectors = embed_prepared(backbone, [inputs for _, inputs in pictures])
    evidence = head.nearest(vectors, k) if k else [()] * len(pictures)
    return [
        Prediction(
            name,
            head.labels[int(row.argmax())],
            dict(zip(head.labels, row.tolist(), strict=True)),
            near,
        )
        for (name, _), row, near in zip(
            pictures, head.classifier.probabilities(vectors), evidence, strict=True
        )
    ]
