"""Decisions: one picture as a network sees it, and what a head makes of it between two classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from embedkit.audits.pictures import read_again
from embedkit.backbones import (
    Backbone,
    FaceBackbone,
    PreparedBackbone,
    embed_prepared,
    load_again,
    load_backbone,
)
from embedkit.errors import InputError, UnreadableImageError
from embedkit.heads.classifier import Classifier
from embedkit.heads.logistic import Logistic
from embedkit.images import decode, strict_pillow
from embedkit.store import Space, Store
from embedkit.vectors import DoubleArray, FloatArray, Pixels


@dataclass(frozen=True, slots=True)
class Decision:
    """One answer, as what the head sees between the class answered and the next one.

    The unit is the log-odds of the answer against that class, log(p / p'), of the head itself,
    before calibration: of two classes the only quantity, of more the one that would have to fall
    below 0 for the answer to change.

    Attributes:
        classifier: the head.
        answer: the class answered.
        against: the next one.
        numbers: of these two among the classes of the head.
    """

    classifier: Classifier
    answer: str
    against: str
    numbers: tuple[int, int]

    def log_odds(self, vectors: FloatArray) -> DoubleArray:
        """Return the (n,) log-odds of the answer against the next class, of (n, d) unit rows."""
        if isinstance(self.classifier, Logistic):
            weights, intercept = self.weights()
            return vectors.astype(np.float64) @ weights + intercept
        own, other = self.numbers
        p = self.classifier.probabilities(vectors)
        return np.log(p[:, own]) - np.log(p[:, other])

    def weights(self) -> tuple[DoubleArray, float]:
        """Return what a vector's values are multiplied with, (d,), and what is added.

        Raises:
            InputError: the head is not linear.
        """
        if not isinstance(self.classifier, Logistic):
            raise InputError(
                "a knn head compares vectors and has no weights, so its answer is no sum over "
                "places; take --head logistic, or --occlusion, which works with every head"
            )
        own, other = self.numbers
        weights = self.classifier.coefficients[own] - self.classifier.coefficients[other]
        return weights, float(self.classifier.intercepts[own] - self.classifier.intercepts[other])


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture as a backbone sees it.

    Attributes:
        backbone: that sees it.
        picture: (h, w, 3) uint8 RGB; the face where the backbone cuts one out.
        content: (h, w, c) uint8; what the network gets, before normalisation. The picture itself
            where a backbone gets no picture, but what it reads off one.
        prepared: whether it is what the network gets.
        box: left, top, right, bottom of it in pixels of `picture`; may reach beyond it.
    """

    backbone: Backbone
    picture: Pixels
    content: Pixels
    prepared: bool
    box: tuple[float, float, float, float]

    @property
    def shown(self) -> Pixels:
        """The content as RGB."""
        if isinstance(self.backbone, PreparedBackbone) and self.prepared:
            channels = self.backbone.preprocessing.channels
            if channels == "L":
                return np.repeat(self.content, 3, axis=2)
            if channels == "BGR":
                return self.content[:, :, ::-1]
        return self.content

    def embed(self, contents: Pixels) -> FloatArray:
        """Return the unit rows of (n, h, w, c) uint8; n up to the backbone's batch."""
        if self.prepared:
            return self.backbone.embed(contents)
        return embed_prepared(self.backbone, [self.backbone.prepare(one) for one in contents])


@dataclass(frozen=True)
class Seen:
    """A picture of a store, before the backbone of one of its spaces.

    Attributes:
        store: that holds the picture.
        id: of it.
        space: whose backbone is to see it.
    """

    store: Store
    id: str
    space: Space

    @cached_property
    def picture(self) -> Pixels:
        """The picture, read again: (h, w, 3) uint8 RGB.

        Raises:
            InputError: its file is gone or has changed.
        """
        items = self.store.items
        try:
            with strict_pillow():
                expected = items.column("sha256")[items.ids.index(self.id)]
                return decode(read_again(items.path(self.id), expected)).pixels
        except UnreadableImageError as error:
            raise InputError(f"{self.id} cannot be looked at: {error}") from None

    @cached_property
    def frame(self) -> Frame:
        """The picture as the backbone sees it.

        Raises:
            SpaceMismatchError: this embedkit's backbone makes other vectors than the space holds.
        """
        space = self.space
        backbone = load_again(
            **space.record.backbone, contract_sha256=space.contract_sha256, where=str(space.folder)
        )
        return look(backbone, self.picture)

    @cached_property
    def reference(self) -> Frame:
        """The picture as the same network sees it in fp32, which has layers to look into."""
        if self.frame.backbone.card.precision == "fp32":
            return self.frame
        how = self.space.record.backbone | {"precision": "fp32"}
        backbone = load_backbone(**how, named_by=str(self.space.folder))
        return look(backbone, self.picture)


def decide(classifier: Classifier, classes: Sequence[str], vector: FloatArray) -> Decision:
    """Return a head's decision on the vector, (d,), of a picture."""
    p = classifier.probabilities(vector[None])[0]
    own, other = (int(number) for number in np.argsort(-p, kind="stable")[:2])
    return Decision(classifier, classes[own], classes[other], (own, other))


def look(backbone: Backbone, picture: Pixels) -> Frame:
    """Return a picture as a backbone sees it."""
    if isinstance(backbone, FaceBackbone):
        height, width = picture.shape[:2]
        picture = backbone.cut(picture, backbone.choose(backbone.find(picture), width, height))
        content = backbone.prepare_cut(picture)
    else:
        content = backbone.prepare(picture)
    height, width = picture.shape[:2]
    whole = (0.0, 0.0, float(width), float(height))
    if content.dtype != np.uint8 or content.ndim != 3:
        return Frame(backbone, picture, picture, False, whole)
    if isinstance(backbone, PreparedBackbone):
        whole = backbone.preprocessing.box(width, height)
    return Frame(backbone, picture, content, True, whole)
