"""Cards: all that is known of one image's answer, and the sentence that sums it up."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from embedkit.audits.base import rounded
from embedkit.heads.calibration import Calibration
from embedkit.results import Result
from embedkit.store import Neighbour

EXACT, NEAR, PERSON = "exact_twin", "near_twin", "sibling"
RELATIONS = {EXACT: "exact copy", NEAR: "near copy", PERSON: "same person"}
WORDS = {
    EXACT: "the same photograph",
    NEAR: "a near copy of it",
    PERSON: "another photograph of the same person",
}


@dataclass(frozen=True, slots=True)
class Relative:
    """An image of the store that shows the same photograph, or the same person.

    Attributes:
        id: of it.
        label: that it carries.
        split: that it belongs to.
        relation: `exact_twin`, `near_twin` or `sibling`; the nearest that holds.
    """

    id: str
    label: str | None
    split: str | None
    relation: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """A near training image.

    Attributes:
        neighbour: the image and its similarity.
        relation: as in `Relative`; None for a stranger.
        of_train: share of the training images that are less similar.
        of_test: share of the test images whose own nearest training image is less similar than
            this one; NaN without a test split.
    """

    neighbour: Neighbour
    relation: str | None
    of_train: float
    of_test: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "id": self.neighbour.id,
            "label": self.neighbour.label,
            "similarity": round(self.neighbour.similarity, 6),
            "relation": self.relation,
            "closer_than_of_train": rounded(self.of_train),
            "closer_than_nearest_of_test": rounded(self.of_test),
        }


@dataclass(frozen=True, slots=True)
class Without:
    """The answer of a head that is trained without an image and its relatives.

    Attributes:
        removed: training images that were left out.
        answer: of that head; None where it could not be trained.
        probability: of that answer, calibrated; NaN likewise.
        reason: why it could not be trained; empty if it was.
    """

    removed: int
    answer: str | None
    probability: float
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "removed_from_train": self.removed,
            "answer": self.answer,
            "probability": rounded(self.probability),
            "reason": self.reason or None,
        }


@dataclass(frozen=True, slots=True)
class Part:
    """What one test image gives to one line of the ledger.

    Attributes:
        cause: of the line.
        effect: its part of the line's effect; the line is the mean over all test images.
        answer: of the head that is trained without every relative of any test image, of this cause
            and those above; None where that could not be trained, and for shortcuts, for which
            none is.
    """

    cause: str
    effect: float
    answer: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"cause": self.cause, "effect": rounded(self.effect), "answer": self.answer}


@dataclass(frozen=True, slots=True)
class Entry:
    """What one test image gives to the ledger; each figure there is the mean of these.

    Attributes:
        reported: 1 if the head trained on all of train is right, else 0.
        parts: one a line.
        total: sum of the parts.
        honest: reported less total.
    """

    reported: float
    parts: tuple[Part, ...]
    total: float
    honest: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "reported": self.reported,
            "lines": [part.to_dict() for part in self.parts],
            "total": rounded(self.total),
            "honest": rounded(self.honest),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Card(Result):
    """One image: its answer, what that rests on, and what would be left of it.

    Attributes:
        id: of the image, or the path of a picture that is not in the store.
        split: that it belongs to; None for none.
        label: that it carries; None for none.
        known: whether the store holds the image.
        head: kind of the head.
        space: that it was trained in.
        answer: of the head that is trained on all of train.
        probability: of that answer, calibrated.
        stated: what the head itself says of it, before calibration.
        probabilities: of every class, calibrated.
        calibration: how that was done.
        neighbours: the nearest training images, closest first, itself left out.
        relatives: images of the store that show the same photograph or person, nearest kinds first.
        people_unknown: why siblings could not be looked for; empty where they were.
        missed: why near copies may have been missed; empty where they were not.
        without: the answer once it and its relatives are out of train.
        entry: its part of the ledger; None for what is not a labelled test image.
        no_entry: why there is none.
    """

    id: str
    split: str | None
    label: str | None
    known: bool
    head: str
    space: str
    answer: str
    probability: float
    stated: float
    probabilities: dict[str, float]
    calibration: Calibration
    neighbours: tuple[Evidence, ...]
    relatives: tuple[Relative, ...]
    people_unknown: str
    missed: str
    without: Without
    entry: Entry | None
    no_entry: str = ""

    @property
    def right(self) -> bool | None:
        """Whether the answer is the label; None without a label."""
        return None if self.label is None else self.answer == self.label

    @property
    def in_train(self) -> tuple[Relative, ...]:
        """The relatives that the head was trained on."""
        return tuple(
            one for one in self.relatives if one.split == "train" and one.label is not None
        )

    @property
    def nearest(self) -> float:
        """Share of test images whose nearest training image is less similar; NaN for unknown."""
        return self.neighbours[0].of_test if self.neighbours else float("nan")

    @property
    def sentence(self) -> str:
        """All of it in one sentence or two."""
        if self.split == "train":
            return f"A training image, so the head has seen its label. {self._alone()}"
        start = {
            True: "Right",
            False: f"Wrong (its label is {self.label!r})",
            None: f"Answered {self.answer!r} (no label says whether that is right)",
        }[self.right]
        conflict = [one for one in self._copies() if self.label not in (None, one.label)]
        if conflict:
            join = "although" if self.right else "and"
            other = conflict[0]
            what = "copy" if other.relation == EXACT else "near copy"
            return (
                f"{start}, {join} its {what} in train carries the label {other.label!r}: one of "
                f"the two labels is wrong. {self._alone()}"
            )
        if self.in_train:
            what = WORDS[self.in_train[0].relation]
            join = {True: "but", False: "although", None: "and"}[self.right]
            return f"{start}, {join} {what} is in train{self._then()}"
        return f"{start}{self._strangers()}"

    def _copies(self) -> list[Relative]:
        return [one for one in self.in_train if one.relation != PERSON]

    def _then(self) -> str:
        if self.without.reason:
            return f"; what it is worth cannot be measured: {self.without.reason}."
        if self.without.answer == self.answer:
            return "; without it the answer is the same."
        return f"; without it the answer would be {self.without.answer!r}."

    def _alone(self) -> str:
        if self.without.reason:
            return f"Without it the head cannot be trained: {self.without.reason}."
        own = "it" if self.split == "train" else "that"
        answer = f"Without {own} the answer would be {self.without.answer!r}"
        if self.split == "train" and self.in_train:
            answer = f"Without it and its relatives the answer would be {self.without.answer!r}"
        if self.without.answer == self.answer:
            answer = answer.replace("would be", "is still")
        if self.label is None:
            return f"{answer}."
        return f"{answer}, which is {'right' if self.without.answer == self.label else 'wrong'}."

    def _strangers(self) -> str:
        votes = Counter(one.neighbour.label for one in self.neighbours)
        alone = "no copy of it" if self.people_unknown else "nobody related to it"
        seen = "was seen" if self.missed else "is"
        if self.right is None or not self.neighbours:
            return f"; {alone} {seen} in train."
        own, n = votes[self.label], len(self.neighbours)
        if self.right:
            return f", and {alone} {seen} in train."
        if 2 * own > n:
            return f", although {own} of the {n} nearest training images carry that label."
        return f"; {n - own} of the {n} nearest training images are of another class."

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document `embedkit.explain/1`."""
        return {
            "schema": "embedkit.explain/1",
            "id": self.id,
            "in_store": self.known,
            "split": self.split,
            "label": self.label,
            "head": self.head,
            "space": self.space,
            "sentence": self.sentence,
            "answer": self.answer,
            "right": self.right,
            "probability": round(self.probability, 6),
            "probability_before_calibration": round(self.stated, 6),
            "probabilities": {name: round(p, 6) for name, p in self.probabilities.items()},
            "calibration": self.calibration.to_dict(),
            "neighbours": [one.to_dict() for one in self.neighbours],
            "relatives": [
                {"id": one.id, "label": one.label, "split": one.split, "relation": one.relation}
                for one in self.relatives
            ],
            "siblings_not_looked_for_because": self.people_unknown or None,
            "may_have_missed_because": self.missed or None,
            "without_relatives": self.without.to_dict(),
            "ledger": None if self.entry is None else self.entry.to_dict(),
            "no_ledger_because": self.no_entry or None,
        }
