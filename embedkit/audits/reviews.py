"""Reviews: how much of what audits list is real, as far as somebody has looked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from embedkit.audits.claims import Claim, claims_of, random_order
from embedkit.audits.kept import kept
from embedkit.audits.ticks import Answer, Tick, ticks
from embedkit.statistics import Estimate, wilson
from embedkit.store import Store

NOUNS = {"twins": "pairs", "siblings": "pairs", "labels": "labels", "quality": "pictures"}
# A random sample of fewer says next to nothing.
LEAST = 10


@dataclass(frozen=True, slots=True)
class Reviewed:
    """How much of what one audit lists is real, as far as somebody has looked.

    Attributes:
        finding: name of the audit.
        listed: things that it lists now.
        real: of them, those ticked as real.
        not_real: those ticked as not real.
        unsure: those looked at and not told.
        precision: real / (real + not real), with Wilson's interval.
        sampled: things at the start of `random_order` that were looked at without a gap.
        sample: their precision: the estimate for the whole list, whatever else was looked at.
    """

    finding: str
    listed: int
    real: int
    not_real: int
    unsure: int
    precision: Estimate
    sampled: int
    sample: Estimate

    @property
    def looked_at(self) -> int:
        """How many were ticked."""
        return self.real + self.not_real + self.unsure

    @property
    def complete(self) -> bool:
        """Whether everything was looked at, so that nothing is left to estimate."""
        return self.looked_at == self.listed

    @property
    def random(self) -> bool:
        """Whether enough of a random sample was looked at to speak for the whole list."""
        return self.sampled >= min(LEAST, self.listed) and self.sample.n > 0

    @property
    def sentence(self) -> str:
        """All of it in plain words."""
        what = NOUNS[self.finding]
        if not self.looked_at:
            return f"Nobody has looked at the {self.listed} listed {what} yet."
        start = (
            f"{self.looked_at} of {self.listed} listed {what} were looked at: {self.real} real, "
            f"{self.not_real} not real, {self.unsure} unsure."
        )
        if not self.real + self.not_real:
            return start
        if self.complete:
            return f"{start} {_percent(self.precision)} of those told are real."
        if self.random:
            return (
                f"{start} Of the {self.sampled} drawn at random, {_percent(self.sample)} of those "
                "told are real: an estimate for the whole list."
            )
        return (
            f"{start} {_percent(self.precision)} of those told are real; they were not drawn at "
            "random, so that is no estimate for the rest of the list."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "finding": self.finding,
            "listed": self.listed,
            "looked_at": self.looked_at,
            "real": self.real,
            "not_real": self.not_real,
            "unsure": self.unsure,
            "precision": self.precision.to_dict(),
            "random_sample": {"looked_at": self.sampled, "precision": self.sample.to_dict()},
            "sentence": self.sentence,
        }


def review_of(claims: Sequence[Claim], given: dict[Claim, Tick]) -> Reviewed:
    """Count the answers to the claims of one audit."""
    answers = [None if (one := given.get(claim)) is None else one.answer for claim in claims]
    ordered = [answers[place] for place in random_order(claims)]
    sampled = ordered.index(None) if None in ordered else len(ordered)
    return Reviewed(
        finding=claims[0].finding,
        listed=len(claims),
        real=answers.count(Answer.REAL),
        not_real=answers.count(Answer.NOT_REAL),
        unsure=answers.count(Answer.UNSURE),
        precision=_precision(answers),
        sampled=sampled,
        sample=_precision(ordered[:sampled]),
    )


def reviewed(
    store: Store, *, label: str = "label", backbone: str | None = None
) -> dict[str, Reviewed]:
    """Return the reviewed precision of every kept finding that lists something, by its name.

    Args:
        store: that was audited.
        label: column that the audit took for the class.
        backbone: which space; can be left out where there is only one.

    Raises:
        InputError: there is no such space, or a kept finding is damaged.
    """
    return reviews_of(kept(store, label=label, backbone=backbone), ticks(store), label=label)


def reviews_of(
    findings: dict[str, dict[str, Any]], given: dict[Claim, Tick], *, label: str
) -> dict[str, Reviewed]:
    """Return the same of findings as JSON, by name, and answers."""
    listed = {name: claims_of(finding, label=label) for name, finding in findings.items()}
    return {name: review_of(claims, given) for name, claims in listed.items() if claims}


def _precision(answers: Iterable[Answer | None]) -> Estimate:
    told = [one for one in answers if one in (Answer.REAL, Answer.NOT_REAL)]
    return wilson(told.count(Answer.REAL), len(told))


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.0%} [{estimate.low:.0%}, {estimate.high:.0%}]"
