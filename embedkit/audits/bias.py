"""Bias: is a head right as often on one group of test images as on another?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedkit.audits.base import ALPHA, MATERIAL, Finding, Verdict, not_run
from embedkit.audits.gaps import Gap, Pair, measure_gap
from embedkit.audits.groups import GUESSED, WIDEST, attributes_of, find_groups, smallest
from embedkit.audits.guesses import Guess
from embedkit.audits.mixtures import unmix
from embedkit.audits.proxies import ALL, Proxy, Shown, find_proxies, shown_attributes
from embedkit.audits.rates import GroupRates, group_rates
from embedkit.audits.refits import Bench
from embedkit.items import ItemTable
from embedkit.statistics import Estimate, holm

TOLERANCE = 0.05  # largest gap between two groups that "no gap above" still allows
NAMED = 3
NONE_GIVEN = "all attributes are guessed from the pictures, which show the label too"
CAVEAT = (
    "A label is what an annotator or source said, so a gap says where answers and labels part, "
    "not which of them is right"
)


@dataclass(frozen=True, kw_only=True)
class Bias(Finding):
    """How groups of test images differ in what a head makes of them.

    Attributes:
        head: kind of head.
        split: of the images.
        material: least gap, 0 to 1, that is worth a headline.
        tolerance: largest gap, 0 to 1, that counts as none.
        least: independent images that a group needs to be compared.
        gaps: of every attribute, then of pairs of them.
        rates: of every group, in the order of the gaps.
        without: (attribute, why) of those in no comparison.
        proxies: how well attributes alone tell the label; or why that is not known.
        shown: how well the vectors tell each attribute.
    """

    head: str
    split: str
    material: float
    tolerance: float
    least: int
    gaps: tuple[Gap, ...]
    rates: tuple[GroupRates, ...]
    without: tuple[tuple[str, str], ...]
    proxies: tuple[Proxy, ...] | str
    shown: tuple[Shown, ...]

    @property
    def headline(self) -> Gap:
        """The gap to speak of: of those that the verdict rests on, the surest."""
        return _headline([one for one in self.gaps if self.judge(one) is self.verdict])

    @property
    def worst(self) -> GroupRates:
        """The group of that gap that is answered rightly most seldom."""
        at = self.headline
        return self.rates_of(at.grouping.name, at.spoken.worse)

    def judge(self, gap: Gap) -> Verdict:
        """Return the answer for one attribute, or for two at once."""
        return gap.verdict(material=self.material, tolerance=self.tolerance)

    def rates_in(self, gap: Gap) -> tuple[GroupRates, ...]:
        """Return the rates of all groups of one gap."""
        return tuple(one for one in self.rates if one.grouping == gap.grouping.name)

    def rates_of(self, grouping: str, group: str) -> GroupRates:
        """Return the rates of one group."""
        return next(one for one in self.rates if (one.grouping, one.group) == (grouping, group))

    def details(self) -> dict[str, Any]:
        """Return groups, gaps and proxies."""
        known = () if isinstance(self.proxies, str) else self.proxies
        return {
            "head": self.head,
            "split": self.split,
            "tolerance": 100 * self.tolerance,
            "least_independent_images": self.least,
            "worst_group": {"attributes": self.worst.grouping, "group": self.worst.group},
            "gaps": [
                {
                    **one.to_dict(),
                    "verdict": self.judge(one).value,
                    "groups": [rates.to_dict() for rates in self.rates_in(one)],
                    "too_few": [{"group": g, "independent": n} for g, n in one.grouping.small],
                    "without_value": one.grouping.missing,
                }
                for one in self.gaps
            ],
            "not_compared": [{"attribute": a, "reason": why} for a, why in self.without],
            "label_from_attributes": [one.to_dict() for one in known],
            "label_from_attributes_not_run": None if known else self.proxies,
            "attributes_from_vectors": [one.to_dict() for one in self.shown],
        }


def check_bias(
    bench: Bench,
    items: ItemTable,
    *,
    split: str,
    label: str = "label",
    material: float = MATERIAL,
    tolerance: float = TOLERANCE,
    guesses: Sequence[Guess] = (),
) -> Finding:
    """Compare groups of test images by what a head makes of them.

    Args:
        bench: of the head; it is trained on all of train.
        items: of its store, with attributes.
        split: name of the test split.
        label: column with the class.
        material: least gap, 0 to 1, that is worth a headline.
        tolerance: largest gap that counts as none.
        guesses: of attributes.

    Returns:
        A `Bias`; a finding that did not run where there is nothing to compare.
    """
    attributes, without = attributes_of(items, label=label, guesses=guesses)
    if not attributes:
        return not_run("bias", _why_none(without))
    y, clusters, seed = bench.y[bench.test], bench.clusters[bench.test], bench.seed
    least = smallest(float(np.mean(bench.first == y)))
    groupings, few = find_groups(attributes, bench.test, clusters, least=least)
    if not groupings:
        names = ", ".join(one.name for one in attributes)
        return not_run(
            "bias",
            f"not enough {split} images: none of {names} has two groups of {least} independent "
            f"ones, which a gap of {100 * WIDEST:.0f} points needs to be seen; more {split} "
            "images, or wider groups, would do",
        )
    labels = tuple(bench.labels)
    gaps = [
        measure_gap(one, y, bench.first, clusters, labels, tests=len(groupings), seed=seed)
        for one in groupings
    ]
    adjusted = holm([one.p for one in gaps])
    at_mix = holm([one.mix_p for one in gaps])
    by_name = {one.name: one.guess for one in attributes}
    gaps = [
        _carried(replace(one, adjusted=p, mix_adjusted=mix), by_name, bench)
        for one, p, mix in zip(gaps, adjusted, at_mix, strict=True)
    ]
    probabilities = np.zeros((len(y), len(labels)))
    probabilities[:, bench.whole.classes] = bench.whole.classifier.probabilities(
        bench.vectors[bench.test]
    )
    rates = tuple(
        rate
        for one in groupings
        for rate in group_rates(one, y, probabilities, clusters, labels, seed=seed)
    )
    verdicts = [one.verdict(material=material, tolerance=tolerance) for one in gaps]
    order = (Verdict.PRESENT, Verdict.INCONCLUSIVE, Verdict.ABSENT)
    verdict = next(one for one in order if one in verdicts)
    deciding = [gap for gap, one in zip(gaps, verdicts, strict=True) if one is verdict]
    at = _headline(deciding)
    seen = max((one.detectable for one in deciding if one.shows), default=None)
    given = [one for one in attributes if one.guess is None]
    made = Bias(
        name="bias",
        verdict=verdict,
        summary="",
        estimate=at.spoken.gap,
        points=100 * at.spoken.gap.value,
        detectable=None if seen is None or verdict is Verdict.PRESENT else 100 * seen,
        head=bench.kind,
        split=split,
        material=material,
        tolerance=tolerance,
        least=least,
        gaps=tuple(gaps),
        rates=rates,
        without=(*without, *few),
        proxies=find_proxies(bench, given) if given else NONE_GIVEN,
        shown=shown_attributes(bench, given),
    )
    return replace(made, summary=" ".join(_sentences(made)))


def _headline(gaps: Sequence[Gap]) -> Gap:
    """Choose the surest gap; of equally sure ones the plainest, and of those the largest."""
    return min(
        gaps,
        key=lambda one: (
            one.adjusted,
            one.grouping.guessed,
            len(one.grouping.attributes),
            -one.pair.gap.value,
        ),
    )


def _carried(gap: Gap, guesses: dict[str, Guess | None], bench: Bench) -> Gap:
    """Carry the errors of a guess through, where the gap is by one attribute that is guessed."""
    guess = guesses.get(gap.grouping.name)
    if guess is None:
        return gap
    mixture = unmix(
        guess,
        gap.grouping.groups,
        (gap.pair.better, gap.pair.worse),
        bench.first == bench.y[bench.test],
        bench.test,
        bench.clusters,
        seed=bench.seed,
    )
    return gap.carrying(mixture)


def _why_none(without: Sequence[tuple[str, str]]) -> str:
    way = (
        "a column of a manifest beside label, split and group, such as gender or age_group, is "
        "one ('embedkit embed faces.csv')"
    )
    if not without:
        return f"the data set names no attribute to compare groups by; {way}"
    named = "; ".join(f"{name}: {why}" for name, why in without[:NAMED])
    more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
    return f"no column divides the images into groups ({named}{more}); {way}"


def _sentences(found: Bias) -> list[str]:
    at, n = found.headline, len(found.gaps)
    judged = f"{n} groupings" if n > 1 else "one grouping"
    said = {
        Verdict.PRESENT: _present,
        Verdict.ABSENT: _absent,
        Verdict.INCONCLUSIVE: _open,
    }[found.verdict](found, at, judged)
    more = [one for one in found.gaps if one is not at and found.judge(one) is Verdict.PRESENT]
    if more:
        names = ", ".join(
            f"{one.grouping.name} ({100 * one.spoken.gap.value:.1f} points)" for one in more[:NAMED]
        )
        rest = f" and {len(more) - NAMED} more" if len(more) > NAMED else ""
        said.append(f"There are gaps by {names}{rest} too.")
    for one in found.gaps:
        pair = one.mix_apart
        if pair is not None and one.shows and one.mix_adjusted < ALPHA and not one.apart:
            said.append(
                f"At the same mix of labels {pair.better!r} is {_points(pair.gap)} above "
                f"{pair.worse!r} ({one.grouping.name}; p {one.mix_adjusted:.2g}), which the mix "
                "they have hides."
            )
    for one in found.gaps:
        if one.mixture is not None:
            name = one.grouping.attributes[0].removesuffix(GUESSED)
            said.append(f"{name} is {'; '.join(one.mixture.sentences())}.")
    small = sum(len(one.grouping.small) for one in found.gaps)
    if small:
        said.append(f"{small} groups of fewer than {found.least} independent images are left out.")
    if found.without:
        reasons: dict[str, list[str]] = {}
        for name, why in found.without:
            reasons.setdefault(why, []).append(name)
        parts = []
        for why, some in reasons.items():
            rest = f" and {len(some) - NAMED} more" if len(some) > NAMED else ""
            parts.append(f"{', '.join(some[:NAMED])}{rest} ({why})")
        said.append(f"Not compared: {'; '.join(parts)}.")
    return [*said, *_proxies(found), f"{CAVEAT}."]


def _present(found: Bias, at: Gap, judged: str) -> list[str]:
    pair, name = at.pair, at.grouping.name
    better, worse = (found.rates_of(name, group) for group in (pair.better, pair.worse))
    of = "of those guessed " if at.grouping.guessed else "of "
    return [
        f"The {found.head} head is right on {better.accuracy.value:.1%} {of}{pair.better!r} and on "
        f"{worse.accuracy.value:.1%} {of}{pair.worse!r} ({name}; {better.accuracy.n} and "
        f"{worse.accuracy.n} {found.split} images): a gap of {_points(pair.gap)}, "
        f"{_same_mix(at, pair)}.",
        f"Random groups of these sizes differ by up to {100 * at.by_chance:.1f} points "
        f"(p {at.adjusted:.2g}, in {judged}).",
    ]


def _absent(found: Bias, at: Gap, judged: str) -> list[str]:
    reach = max(one.limit for one in found.gaps)
    return [
        f"The {found.head} head has no gap in accuracy above {100 * found.tolerance:g} points "
        f"between any two groups in {judged}: no two differ by more than {100 * reach:.1f} points "
        f"(the surest difference is {_points(at.spoken.gap)}, {_two(at)})."
    ]


def _open(found: Bias, at: Gap, judged: str) -> list[str]:
    said = [
        f"Whether the {found.head} head is right as often on every group cannot be told from these "
        f"{found.split} images ({judged}): the surest difference is {_points(at.spoken.gap)}, "
        f"{_two(at)}; random groups of these sizes differ by up to {100 * at.by_chance:.1f}."
    ]
    if found.detectable is not None:
        said.append(
            f"A gap of {found.detectable:.0f} points would have been found in 4 of 5 cases, and "
            f"one of {100 * found.tolerance:g} cannot be ruled out."
        )
    return said


def _two(at: Gap) -> str:
    return f"{at.spoken.better!r} above {at.spoken.worse!r} ({at.grouping.name})"


def _same_mix(at: Gap, pair: Pair) -> str:
    if at.mix_reason:
        return f"not known at the same mix of labels ({at.mix_reason})"
    return f"{_points(pair.same_mix)} at the same mix of labels, p {at.mix_adjusted:.2g}"


def _points(gap: Estimate) -> str:
    return f"{100 * gap.value:.1f} points [{100 * gap.low:.1f}, {100 * gap.high:.1f}]"


def _proxies(found: Bias) -> list[str]:
    said = []
    if isinstance(found.proxies, str):
        said.append(f"Whether attributes tell the label was not measured: {found.proxies}.")
    else:
        told = [one for one in found.proxies if one.score.tells(found.material)]
        best = max(told or found.proxies, key=lambda one: one.score.gain.value)
        score, by = best.score, "all attributes together" if best.name == ALL else best.name
        reached = (
            f"{by} alone: right on {score.accuracy.value:.1%}, the commonest label on "
            f"{score.majority.value:.1%}, p {score.adjusted:.2g}"
        )
        said.append(
            f"Attributes tell the label ({reached})."
            if told
            else f"Attributes are not shown to tell the label (at best {reached})."
        )
    seen = sorted(
        (one for one in found.shown if not one.reason and one.gain.low > 0),
        key=lambda one: -one.gain.value,
    )
    if seen:
        names = ", ".join(
            f"{one.name} ({one.accuracy.value:.1%}, commonest {one.majority.value:.1%})"
            for one in seen[:NAMED]
        )
        said.append(f"The vectors tell {names}.")
    return said
