"""The lines of the ledger: what each cause is worth to one head, and what stands beside them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embedkit.audits.base import Statement, Verdict, effect_verdict, rounded
from embedkit.audits.controls import Controls
from embedkit.audits.crossval import CrossValidation
from embedkit.audits.extracts import Extract
from embedkit.audits.floor import Floor
from embedkit.audits.novelty import Novelty
from embedkit.audits.prices import Price
from embedkit.audits.refits import CONTROLS
from embedkit.statistics import Estimate, detectable, plus
from embedkit.vectors import BoolArray, DoubleArray, IntArray

CAUSES = ("exact_twins", "near_twins", "siblings", "shortcuts")


@dataclass(frozen=True, slots=True)
class Line:
    """One cause and what it is worth.

    Attributes:
        cause: one of `CAUSES` but the last.
        effect: accuracy that the cause carries beyond the causes above it: control minus purged,
            less the same of the line above.
        removed: training images that the purge takes out, those of the lines above included.
        left: training images that stay.
        accuracy: of the head trained on them.
        control: accuracy of heads trained without as many random images; None where a class would
            be left without an image, and the effect then includes what fewer images cost.
        mixed: whether related images are among the random ones, for too few others were there.
        alone: what the cause is worth if only its own images are taken out.
        shapley: its share when causes overlap: its worth averaged over every order of them.
        mcnemar: p of McNemar's exact test, the head on all of train against the purged one.
        p: of the effect, by signs drawn for each cluster; NaN where nothing was taken out.
        adjusted: the same by Benjamini and Hochberg over the lines.
        reason: why the head could not be trained again; empty if it was.
        price: what the control rests on where it is of a sample; None where it is of all images.
    """

    cause: str
    effect: Estimate
    removed: int
    left: int
    accuracy: Estimate
    control: Estimate | None
    mixed: bool
    alone: float
    shapley: float
    mcnemar: float
    p: float
    adjusted: float
    reason: str = ""
    price: Price | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        control: dict[str, Any] | None = None
        if self.control is not None:
            control = self.control.to_dict() | {"draws": CONTROLS, "mixed": self.mixed}
        if control is not None and self.price is not None:
            control["sample"] = self.price.to_dict()
        return {
            "cause": self.cause,
            **self.effect.to_dict(),
            "control": control,
            "removed_from_train": self.removed,
            "left_in_train": self.left,
            "accuracy_after": self.accuracy.to_dict(),
            "alone": rounded(self.alone),
            "shapley": rounded(self.shapley),
            "p": rounded(self.p),
            "p_adjusted": rounded(self.adjusted),
            "mcnemar_p": rounded(self.mcnemar),
            "reason": self.reason or None,
        }


@dataclass(frozen=True, slots=True)
class ShortcutLine:
    """The last line: what following the files is worth to the head that the purges leave.

    Attributes:
        column: whose value the head follows, or might; empty where none is tied to the label.
        effect: accuracy that the head would lose if the column said nothing of the class.
        verdict: whether it follows it; only then the line is taken off what is honest.
        p: of that.
        adjusted: the same by Holm over the columns asked about.
        reason: why it cannot be told; empty if it can.
    """

    column: str
    effect: Estimate
    verdict: Verdict
    p: float
    adjusted: float
    reason: str = ""

    @property
    def counted(self) -> bool:
        """Whether the line is taken off."""
        return self.verdict is Verdict.PRESENT

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "cause": CAUSES[-1],
            **self.effect.to_dict(),
            "control": None,
            "column": self.column or None,
            "statement": Statement.MATCHED.value,
            "verdict": self.verdict.value,
            "taken_off": self.counted,
            "p": rounded(self.p),
            "p_adjusted": rounded(self.adjusted),
            "reason": self.reason or None,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """What each test image gives to a ledger, whose figures are the means of these.

    Attributes:
        right: (n,) whether the head that is trained on all of train answers rightly.
        answers: (causes, n) class number answered after each purge, of the first head where the
            purged one could not be trained.
        lines: (causes, n) each line's effect; NaN where it could not be measured.
        total: (n,) what all of these carry; NaN likewise.
        shortcuts: (n,) what following the files carries; zero where that is not shown.
        honest: (n,) right minus total minus shortcuts.
    """

    right: BoolArray
    answers: IntArray
    lines: DoubleArray
    total: DoubleArray
    shortcuts: DoubleArray
    honest: DoubleArray


@dataclass(frozen=True, slots=True)
class HeadLedger:
    """The ledger of one head.

    Attributes:
        head: its kind.
        reported: accuracy of the head trained on all of train.
        lines: one a purge, each on top of the one before.
        shortcut: what is left by them and comes from following the files; None where nothing is
            known of these.
        total: what all purges carry; NaN where that could not be measured.
        p: of the total, by signs drawn for each cluster; NaN where nothing was taken out.
        adjusted: the same by Holm over the heads.
        material: least total that is worth a headline.
        honest: reported minus total, and minus the shortcut where the head is shown to take it.
        novelty: accuracy by similarity to the nearest training image.
        look_up: share of test images answered otherwise once all relatives are out of train.
        look_up_control: the same for as many random images.
        floor: accuracy with labels that mean nothing.
        effective: independent images that would show the reported accuracy as surely as the test
            images do.
        folds: grouped beside plain cross-validation.
        controls: the same head with vectors that know nothing.
        missed: why relatives may have been missed, and nothing found would mean little.
        extract: what the floor, the folds and the controls are of; None where of all images.
        fitted: how the head on all of train was; empty where images are not too many.
        shares: of each test image; too many for the JSON, see `explain`.
    """

    head: str
    reported: Estimate
    lines: tuple[Line, ...]
    shortcut: ShortcutLine | None
    total: Estimate
    p: float
    adjusted: float
    material: float
    honest: Estimate
    novelty: Novelty
    look_up: Estimate
    look_up_control: float
    floor: Floor
    shares: Shares = field(repr=False, compare=False)
    effective: float
    folds: CrossValidation
    controls: Controls
    missed: str = ""
    extract: Extract | None = field(default=None, repr=False, compare=False)
    fitted: str = ""

    @property
    def of_relatives(self) -> Verdict:
        """Whether what the purges take away carries accuracy."""
        verdict = effect_verdict(self.total, self.reported, p=self.adjusted, material=self.material)
        return Verdict.INCONCLUSIVE if self.missed and verdict is Verdict.ABSENT else verdict

    @property
    def follows(self) -> ShortcutLine | None:
        """The shortcut, where the head is shown to take it."""
        return self.shortcut if self.shortcut is not None and self.shortcut.counted else None

    @property
    def verdict(self) -> Verdict:
        """Whether anything that is taken away carries accuracy."""
        return self.of_relatives if self.follows is None else Verdict.PRESENT

    @property
    def lost(self) -> Estimate:
        """Reported less honest."""
        return self.total if self.follows is None else plus(self.total, self.follows.effect)

    @property
    def detectable(self) -> float | None:
        """Points that 4 of 5 such tests would find; None where nothing could be measured."""
        if not self.removed or np.isnan(self.total.value):
            return None
        return 100 * max(self.material, detectable(self.total))

    @property
    def removed(self) -> int:
        """Training images that the last purge takes out."""
        return self.lines[-1].removed

    @property
    def reason(self) -> str:
        """Why the last purge could not be measured; empty if it was."""
        return next((line.reason for line in reversed(self.lines) if line.reason), "")

    def notes(self) -> tuple[str, ...]:
        """Say what stands beside the lines, a sentence each."""
        n, size = self.reported.n, round(self.effective)
        count = (f"The {n} test images count as {size} independent ones.",) if size < n else ()
        sample = () if self.extract is None else (self.extract.sentence(),)
        fitted = (f"The head: {self.fitted}.",) if self.fitted else ()
        return (*count, *fitted, *sample, self.folds.sentence(), self.controls.sentence())

    def sentence(self, split: str) -> str:
        """Sum it up, in a sentence or two.

        Args:
            split: name of the test split.
        """
        head, reported = self.head, f"{self.reported.value:.1%} on {split}"
        follows = ""
        if self.follows is not None:
            effect = self.follows.effect
            follows = (
                f" Following {self.follows.column} carries {100 * effect.value:.1f} points "
                f"[{100 * effect.low:.1f}, {100 * effect.high:.1f}] of "
                f"{'what is left' if self.removed else 'them'} (matched)."
            )
        if self.reason:
            return (
                f"{head}: {reported}; what relatives are worth cannot be measured: {self.reason}."
            )
        if not self.removed:
            seen = " seen" if self.missed else ""
            becomes = f" becomes {self.honest.value:.1%}" if follows else ""
            return f"{head}: {reported}{becomes}, no relatives of it{seen} in train.{follows}"
        total, last = self.total, self.lines[-1]
        mixed = "; related ones are among them, for too few others are left" if last.mixed else ""
        beyond = (
            f"beyond what as many random images are worth ({last.control.value:.1%} "
            f"without those{mixed})"
            if last.control is not None
            else "what fewer images cost included"
        )
        if last.price is not None:
            beyond += f" ({last.price.sentence()})"
        unsure = ""
        if self.of_relatives is Verdict.INCONCLUSIVE:
            unsure = f" Four of five such tests would find {self.detectable:.1f} points."
        return (
            f"{head}: {reported} becomes {self.honest.value:.1%}: the {self.removed} training "
            f"images related to test images carry {100 * total.value:.1f} points "
            f"[{100 * total.low:.1f}, {100 * total.high:.1f}], {beyond}.{unsure}{follows}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        covered = [line.cause for line in self.lines if not line.reason]
        lines = [line.to_dict() for line in self.lines]
        if self.shortcut is not None:
            lines.append(self.shortcut.to_dict())
            if self.shortcut.verdict in (Verdict.PRESENT, Verdict.ABSENT):
                covered.append(CAUSES[-1])
        return {
            "head": self.head,
            "reported": self.reported.to_dict(),
            "lines": lines,
            "verdict": self.verdict.value,
            "total": self.total.to_dict()
            | {"p": rounded(self.p), "p_adjusted": rounded(self.adjusted)}
            | {"verdict": self.of_relatives.value},
            "detectable": None if self.detectable is None else round(self.detectable, 4),
            "honest": self.honest.to_dict(),
            "honest_covers": covered,
            "honest_does_not_cover": [cause for cause in CAUSES if cause not in covered],
            "novelty": self.novelty.to_dict(),
            "look_up": self.look_up.to_dict() | {"control": rounded(self.look_up_control)},
            "random_labels": self.floor.to_dict(),
            "effective_test_size": rounded(self.effective),
            "cross_validation": self.folds.to_dict(),
            "controls": self.controls.to_dict(),
            "fitted": self.fitted,
        } | ({} if self.extract is None else {"sample": self.extract.to_dict()})
