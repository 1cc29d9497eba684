"""What to say first: reported and honest accuracy, and the largest causes of what lies between."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from embedkit.audits.base import MATERIAL, Finding, Statement, Verdict
from embedkit.audits.bias import Bias
from embedkit.audits.labels import Labels
from embedkit.audits.leakage import Leakage
from embedkit.audits.ledger import Ledger
from embedkit.audits.lines import HeadLedger, Line
from embedkit.audits.quality import Quality
from embedkit.audits.shortcuts import Shortcuts
from embedkit.audits.siblings import Siblings
from embedkit.audits.twins import Pair, Twins
from embedkit.statistics import Estimate

MOST = 3
CAUSES = {
    "exact_twins": "exact copies in train",
    "near_twins": "near copies in train",
    "siblings": "same people in train",
}
APART = "split anew: 'embedkit split' makes a split that no copy and no person crosses"


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that makes an accuracy differ from what single pictures show.

    Attributes:
        audit: the one that found it.
        title: what it is.
        effect: its size, 0 to 1.
        of: what that is a share of: `accuracy`, `accuracy between groups`, `test images`, `labels`
            or `images`.
        shown: whether it is more than chance.
        statement: what kind of claim it is.
        certainty: how sure it is, in words.
        evidence: (id, words) of up to two images.
        step: what to do next.
    """

    audit: str
    title: str
    effect: Estimate
    of: str
    shown: bool
    statement: Statement
    certainty: str
    evidence: tuple[tuple[str, str], ...]
    step: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "audit": self.audit,
            "title": self.title,
            **self.effect.to_dict(),
            "of": self.of,
            "shown": self.shown,
            "statement": self.statement.value,
            "certainty": self.certainty,
            "evidence": [id_ for id_, _ in self.evidence],
            "next": self.step,
        }


@dataclass(frozen=True, slots=True)
class Headline:
    """The first screen of a report.

    Attributes:
        title: a sentence with the figures.
        text: what that means, and what it does not.
        head: kind of head; empty where none could be trained and scored.
        reported: its accuracy; None without one.
        honest: what is left of it; None where that could not be measured.
        without: what was taken away for that, in words; empty where nothing was.
        causes: at most three: those of the accuracy, then others; the largest first.
    """

    title: str
    text: str
    head: str
    reported: Estimate | None
    honest: Estimate | None
    without: str
    causes: tuple[Cause, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "title": self.title,
            "text": self.text,
            "head": self.head or None,
            "reported": self.reported and self.reported.to_dict(),
            "honest": self.honest and self.honest.to_dict(),
            "without": self.without or None,
            "causes": [one.to_dict() for one in self.causes],
        }


def headline(findings: Sequence[Finding]) -> Headline:
    """Sum up an audit: the first head's figures and the causes that matter most."""
    ledger = next((one for one in findings if isinstance(one, Ledger)), None)
    worth = [one for one in _causes(findings) if one.shown or one.effect.value >= MATERIAL]
    before = ("accuracy", "test images")
    worth.sort(key=lambda one: (one.of not in before, not one.shown, -one.effect.value))
    most = tuple(worth[:MOST])
    if ledger is None and all(one.name != "ledger" for one in findings):
        found = [one for one in findings if one.verdict is Verdict.PRESENT]
        return Headline(
            _first(found[0].summary) if found else "Nothing was found that is worth a headline",
            "What that is worth in accuracy the ledger says, which was not asked for here.",
            *("", None, None, "", most),
        )
    if ledger is None:
        return Headline(
            "No accuracy to explain yet",
            "There is no ledger below, because no head could be trained and scored; the list of "
            "what did not run says why.",
            *("", None, None, "", most),
        )
    first = ledger.heads[0]
    honest = None if first.reason else first.honest
    title, text = _words(first, findings)
    without = "" if first.reason else " and without ".join(_gone(first))
    return Headline(title, text, first.head, first.reported, honest, without, most)


def _first(summary: str) -> str:
    """Return the first sentence."""
    return re.split(r"(?<=[.]) (?=[A-Z])", summary, maxsplit=1)[0]


def _kin(first: HeadLedger) -> str:
    """Return what those are called that the purges take out."""
    return "relatives" if any(line.cause == "siblings" for line in first.lines) else "copies"


def _gone(first: HeadLedger) -> list[str]:
    """Return what the honest figure does without."""
    gone = [f"{_kin(first)} in train"] if first.removed else []
    return gone if first.follows is None else [*gone, f"following {first.follows.column}"]


def _words(first: HeadLedger, findings: Sequence[Finding]) -> tuple[str, str]:
    """Return the first sentence and what comes after it."""
    reported = f"Reported accuracy ({first.head} head): {first.reported.value:.1%}."
    kin, gone = _kin(first), _gone(first)
    if first.reason:
        return (
            f"{reported} What {kin} are worth in it cannot be measured.",
            f"Train shares pictures or people with test, and {first.reason}, so no head could be "
            "trained without them. The test says nothing about new pictures.",
        )
    title = f"{reported} No test image has {kin} in train."
    if gone:
        title = f"{reported} Without {' and without '.join(gone)}: {first.honest.value:.1%}."
    elif first.missed:
        title = f"{reported} {kin.capitalize()} in train may have been missed."
    text = {
        Verdict.PRESENT: f"Part of the reported accuracy comes from test images whose {kin} the "
        "classifier has been trained on.",
        Verdict.ABSENT: f"The {kin} of test images in train carry at most "
        f"{max(0.0, 100 * first.total.high):.1f} points, less than this test can tell from noise."
        if first.removed
        else "",
        Verdict.INCONCLUSIVE: f"Whether {kin} of test images in train carry accuracy cannot be "
        + (f"told: {first.missed}." if first.missed else "told from this many test images."),
        Verdict.NOT_RUN: "",
    }[first.of_relatives]
    if first.follows is not None:
        text += (
            f" The classifier follows {first.follows.column}: where that points to another class, "
            "it is wrong more often."
        )
    ran = {one.name for one in findings if one.verdict is not Verdict.NOT_RUN}
    missing = [] if kin == "relatives" else ["the same person on both sides"]
    missing += [] if "shortcuts" in ran else ["shortcuts"]
    rest = f": {' and '.join(missing)} may be in it still" if missing else ""
    takes = f" The second figure takes {' and '.join(gone)} away and nothing else;" if gone else ""
    start = " for" if gone else " For"
    return (
        title,
        f"{text}{takes}{start} pictures of somebody new, taken elsewhere, expect less{rest}.",
    )


def _causes(findings: Sequence[Finding]) -> Iterator[Cause]:
    for one in findings:
        if isinstance(one, Ledger):
            yield from _of_the_ledger(one.heads[0], findings)
        elif isinstance(one, Leakage) and one.verdict is Verdict.PRESENT:
            yield from _of_leakage(one, findings)
        elif isinstance(one, Labels) and one.verdict is Verdict.PRESENT and one.images:
            yield _of_labels(one)
        elif isinstance(one, Bias) and one.verdict is Verdict.PRESENT:
            yield _of_bias(one)
        elif isinstance(one, Quality) and one.verdict is Verdict.PRESENT:
            yield _of_quality(one)


def _of_the_ledger(head: HeadLedger, findings: Sequence[Finding]) -> Iterator[Cause]:
    gone = 0
    for line in head.lines:
        removed, gone = line.removed - gone, line.removed
        if line.reason or not removed:
            continue
        shown = line.effect.low > 0 and line.adjusted < 0.05
        sure = "more than chance" if shown else "not shown to be more than chance"
        control = ", what fewer images cost included" if line.control is None else ""
        yield Cause(
            "ledger",
            f"{removed} {CAUSES[line.cause]}",
            *(line.effect, "accuracy", shown, Statement.CAUSAL),
            f"{sure} (p {_p(line.adjusted)}, adjusted){control}",
            _related(line, findings),
            APART if line.cause == "siblings" else f"drop them, or {APART}",
        )
    follows = head.follows
    if follows is not None:
        shortcuts = next((one for one in findings if isinstance(one, Shortcuts)), None)
        yield Cause(
            "shortcuts",
            f"following {follows.column}",
            *(follows.effect, "accuracy", True, Statement.MATCHED),
            f"more than chance (p {_p(follows.adjusted)}, adjusted)",
            _exhibits(shortcuts),
            "make the files alike, or take pictures of every class from the same sources; "
            "'embedkit audit --views' says what is left on pictures made alike",
        )


def _of_leakage(found: Leakage, findings: Sequence[Finding]) -> Iterator[Cause]:
    """Yield the relatives in train where the ledger does not say what they are worth."""
    ledger = next((one for one in findings if isinstance(one, Ledger)), None)
    if found.estimate is None or (ledger is not None and not ledger.heads[0].reason):
        return
    twins = next((one for one in findings if isinstance(one, Twins)), None)
    pairs = [one for one in most_telling(twins.pairs if twins else ()) if one.across_splits]
    shown = zip((pairs[0].a, pairs[0].b), pairs[0].splits, strict=True) if pairs else ()
    n = found.near if found.related is None else found.related
    yield Cause(
        "leakage",
        f"{n} of {found.n} {found.split} images have a relative in train",
        *(found.estimate, "test images", True, found.statement),
        "counted; what that is worth in accuracy was not measured",
        tuple((id_, side or "no split") for id_, side in shown),
        f"drop them, or {APART}",
    )


def _related(line: Line, findings: Sequence[Finding]) -> tuple[tuple[str, str], ...]:
    """Return a test image and its relative in train."""
    if line.cause == "siblings":
        people = next((one for one in findings if isinstance(one, Siblings)), None)
        if people is None or not people.pairs:
            return ()
        image, other = people.pairs[0]
        return (image, people.split), (other, "train")
    twins = next((one for one in findings if isinstance(one, Twins)), None)
    kind = line.cause.removesuffix("_twins")
    for copies in most_telling(twins.pairs if twins is not None else ()):
        if copies.kind == kind and copies.across_splits and "train" in copies.splits:
            ends = zip((copies.a, copies.b), copies.splits, strict=True)
            return tuple((id_, side or "no split") for id_, side in ends)
    return ()


def _exhibits(found: Shortcuts | None) -> tuple[tuple[str, str], ...]:
    """Return an image that the shortcut helps and one that it misleads."""
    if found is None:
        return ()
    rows = (*found.aligned[:1], *found.conflicting[:1])
    return tuple(
        (one.id, f"{one.label}, answered {'rightly' if one.right else 'wrongly'}") for one in rows
    )


def _of_labels(found: Labels) -> Cause:
    first = found.images[0]
    copy = ((first.other, first.suggested),) if first.other else ()
    n = len(found.images)
    sure = f"{found.certain} of them certain: copies that carry different labels"
    return Cause(
        "labels",
        f"{n} label{'s' if n > 1 else ''} to look at",
        *(found.estimate or Estimate(0.0, 0.0, 1.0, 0), "labels", True, found.statement),
        sure if found.certain else "an estimate of how many are wrong, not of which",
        ((first.id, first.label), *copy),
        "look at each and mend what is wrong: 'embedkit clean' lists them",
    )


def _of_bias(found: Bias) -> Cause:
    gap, worst = found.headline, found.worst
    return Cause(
        "bias",
        f"{gap.grouping.name}: {gap.spoken.better} above {gap.spoken.worse}",
        *(gap.spoken.gap, "accuracy between groups", True, found.statement),
        f"more than chance (p {_p(gap.adjusted)}, adjusted); {worst.group} is answered rightly "
        f"on {worst.accuracy.value:.1%} of {worst.accuracy.n}",
        (),
        f"'embedkit mitigate --by {gap.grouping.attributes[0]}' shows what evening out changes",
    )


def _of_quality(found: Quality) -> Cause:
    flagged = [one for one in found.flagged if one.readable][:2]
    n = len(found.flagged)
    return Cause(
        "quality",
        f"{n} picture{'s' if n > 1 else ''} with a defect",
        *(found.estimate or Estimate(0.0, 0.0, 1.0, 0), "images", True, found.statement),
        "each was measured; the rules stand below",
        tuple((one.id, one.faults[0].check) for one in flagged),
        "look at them: 'embedkit clean' lists them",
    )


def most_telling(pairs: Sequence[Pair]) -> list[Pair]:
    """Order pairs for show: across splits first, then those with conflicting labels."""
    return sorted(pairs, key=lambda pair: (not pair.across_splits, not pair.conflicting))


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"
