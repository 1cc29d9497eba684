"""Predictions for new pictures, with the nearest training images as evidence."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from embedkit.backbones import Backbone, contract, embed_pictures, embed_prepared, load_again
from embedkit.errors import EmbedkitError, UnreadableImageError
from embedkit.heads.head import Head, Training
from embedkit.images import unprepared
from embedkit.inputs import Input, read_input, read_inputs
from embedkit.items import Unreadable, name_of_path
from embedkit.results import Result
from embedkit.store import Neighbour
from embedkit.store.outsiders import made_for_people, refuse_outsiders
from embedkit.store.schema import STORE
from embedkit.vectors import FloatArray, Pixels


@dataclass(frozen=True, slots=True)
class Prediction(Result):
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


class Predictions(list[Prediction | Unreadable], Result):
    """What a head says of several pictures, in their order."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Heads that judge the same pictures.

    Attributes:
        heads: in the order of their answers.
        names: of the heads, each another: their columns, or their files where two share a column.
        backbones: by the hash of the space's contract; the heads of one space share one.
    """

    heads: tuple[Head, ...]
    names: tuple[str, ...]
    backbones: dict[str, Backbone]

    @property
    def batch(self) -> int:
        """Pictures that fill a pass of every backbone."""
        return max(backbone.card.batch for backbone in self.backbones.values())


def panel_of(heads: Sequence[Head], files: Sequence[Path] = ()) -> Panel:
    """Load the backbones of heads.

    Args:
        heads: in the order of their answers.
        files: of the heads, for their names, where they were loaded from some.

    Raises:
        SpaceMismatchError: as `backbone_of`.
        InputError: a head answers who somebody is, in a space that tells people apart.
    """
    backbones: dict[str, Backbone] = {}
    for head in heads:
        backbones[head.training.contract_sha256] = _for_outsiders(head)
    return Panel(tuple(heads), _names(heads, files), backbones)


def predict(
    head: Head, inputs: Iterable[Input], *, k: int = 5
) -> Iterator[Prediction | Unreadable]:
    """Classify pictures one after another, a batch at a time; see `Head.predict`."""
    for (answer,) in predict_each(panel_of([head]), inputs, k=k):
        yield answer


def predict_each(
    panel: Panel, inputs: Iterable[Input], *, k: int = 5, max_pixels: int | None = None
) -> Iterator[tuple[Prediction | Unreadable, ...]]:
    """Classify pictures by several heads; a picture is read once, and embedded once a space.

    Yields:
        The answers of all heads to one picture, in the order of the heads. One is `Unreadable`
        where the picture is, or where the head's space leaves it out.
    """
    pictures = read_inputs(inputs, max_pixels=max_pixels)
    while batch := list(islice(pictures, panel.batch)):
        sides = {key: _embedded(backbone, batch) for key, backbone in panel.backbones.items()}
        columns = []
        for head in panel.heads:
            refused, names, vectors = sides[head.training.contract_sha256]
            near = shown(panel.backbones[head.training.contract_sha256], k)
            answers = iter(classify(head, names, vectors, near))
            columns.append([next(answers) if one is None else one for one in refused])
        yield from zip(*columns, strict=True)


def predict_one(head: Head, one: Input, *, k: int = 5) -> Prediction:
    """Classify one picture; see `Head.predict`."""
    is_path = isinstance(one, str) or hasattr(one, "__fspath__")
    name = name_of_path(str(one)) if is_path else "picture"
    backbone = _for_outsiders(head)
    return classify(head, [name], embed_input(backbone, one), shown(backbone, k))[0]


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


def _for_outsiders(head: Head) -> Backbone:
    """Load the backbone of a head's space for pictures that are not of its store.

    Raises:
        InputError: it tells people apart, and people are what the head answers.
        SpaceMismatchError: as `backbone_of`.
    """
    backbone = backbone_of(head.training)
    if made_for_people(contract(backbone)) and names_people(head):
        refuse_outsiders(contract(backbone), "the classes of this head are people")
    return backbone


def names_people(head: Head) -> bool:
    """Say whether each class of a head is one person, as far as its store says who is who."""
    if not (head.training.store / STORE).exists():
        return False
    items = head.training.opened.items
    who = dict(zip(items.ids, items.groups, strict=True))
    people = {(int(y), who[id_]) for y, id_ in zip(head.training.y, head.training.ids, strict=True)}
    known = all(person is not None for _, person in people)
    return known and len(people) == len(head.labels) == len({person for _, person in people})


def shown(backbone: Backbone, k: int) -> int:
    """Return how many neighbours of a picture from outside are shown.

    None where people are told apart: the nearest would be whoever looks most like somebody.
    """
    return 0 if made_for_people(contract(backbone)) else k


def classify(head: Head, names: Sequence[str], vectors: FloatArray, k: int) -> list[Prediction]:
    """Return what a head says of pictures.

    Args:
        head: that judges.
        names: of the pictures.
        vectors: of the pictures, (n, d) of the head's space.
        k: nearest training images to return as evidence.
    """
    if not len(vectors):
        return []
    evidence = head.nearest(vectors, k) if k else [()] * len(vectors)
    return [
        Prediction(
            name,
            head.labels[int(row.argmax())],
            dict(zip(head.labels, row.tolist(), strict=True)),
            near,
        )
        for name, row, near in zip(
            names, head.classifier.probabilities(vectors), evidence, strict=True
        )
    ]


def _embedded(
    backbone: Backbone, batch: Sequence[tuple[str, Pixels | Unreadable]]
) -> tuple[list[Unreadable | None], list[str], FloatArray]:
    """Return why each picture has no vector, None if it has; names and vectors of those that do."""
    refused: list[Unreadable | None] = []
    names, inputs = [], []
    for name, pixels in batch:
        if isinstance(pixels, Unreadable):
            refused.append(pixels)
            continue
        try:
            inputs.append(backbone.prepare(pixels))
        except UnreadableImageError as error:
            refused.append(Unreadable(name, str(error)))
        except EmbedkitError:
            raise
        except Exception as error:  # noqa: BLE001 (one picture is not to end the others)
            refused.append(Unreadable(name, unprepared(error)))
        else:
            names.append(name)
            refused.append(None)
    return refused, names, embed_prepared(backbone, inputs)


def _names(heads: Sequence[Head], files: Sequence[Path]) -> tuple[str, ...]:
    """Return what to call each head: by its column, its file where two share one, or a number."""
    columns = Counter(head.label for head in heads)
    names = [
        file.stem if columns[head.label] > 1 and file else head.label
        for head, file in zip_longest(heads, files)
    ]
    return tuple(
        name if names.count(name) == 1 else f"{name} {names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    )
