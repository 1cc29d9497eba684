"""Labels: how many are wrong, which they probably are, and what that leaves to be reached."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from embedkit.audits.base import MATERIAL, Finding, Verdict, effect_verdict, rounded
from embedkit.audits.ceiling import Ceiling
from embedkit.audits.noise import Noise, estimate_noise
from embedkit.audits.opinions import Panel
from embedkit.audits.suspects import Case, Suspect, conflicting, least_wrong, suspects
from embedkit.audits.twins import Twins
from embedkit.heads.classifier import FOLDS
from embedkit.heads.training import clusters_in
from embedkit.items import ItemTable
from embedkit.statistics import Estimate, clusters_of, detectable, proportion
from embedkit.store import Store
from embedkit.vectors import BoolArray, DoubleArray, IntArray

FEWEST = 50  # independent images
SWAPPED = 0.05  # of the labels, on purpose, to see whether that is seen
DRAWS = 3
PRUNED = 0.05  # of the images, the most suspicious: what heads learn without when ranking
DIVISIONS = 3
NO = ("no", "false", "0", "0.0")  # in a manifest


@dataclass(frozen=True, kw_only=True)
class Labels(Finding):
    """What is thought of the labels.

    Attributes:
        ground_truth: whether a label can be wrong; otherwise it can only be shared or not.
        agreement: share of labels that heads agree with which saw neither image nor relatives.
        neighbours: the same for the vote of the nearest images that are not related.
        k: how many of those vote.
        confident: labels that confident learning objects to.
        images: labels to look at, most suspicious first.
        certain: labels that are wrong for certain, at least: copies disagree.
        seen: by how much the rate rises when `SWAPPED` of the labels are swapped on purpose; None
            without ground truth.
        ceiling: None without ground truth or without enough test images.
        left_out: classes with too few independent images to be judged.
        case: what is thought of every label; too much for the JSON.
    """

    ground_truth: bool
    agreement: Estimate
    neighbours: Estimate
    k: int
    confident: int
    images: tuple[Suspect, ...]
    certain: int
    seen: float | None
    ceiling: Ceiling | None
    left_out: tuple[str, ...]
    case: Case = field(repr=False, compare=False)

    def left_out_sentence(self) -> list[str]:
        """Say which classes are not judged; nothing where all are."""
        if not self.left_out:
            return []
        some = ", ".join(map(repr, self.left_out[:5])) + (", ..." if self.left_out[5:] else "")
        return [f"Not judged, for too few images: {some}."]

    def details(self) -> dict[str, Any]:
        """Return the list, and what the figure rests on."""
        swapped = None
        if self.seen is not None:
            swapped = {"share": SWAPPED, "seen": rounded(self.seen), "draws": DRAWS}
        return {
            "ground_truth": self.ground_truth,
            "agreement": self.agreement.to_dict(),
            "agreement_of_neighbours": self.neighbours.to_dict() | {"k": self.k},
            "confident_learning": self.confident,
            "certain_by_copies": self.certain,
            "swapped_on_purpose": swapped,
            "ceiling": None if self.ceiling is None else self.ceiling.to_dict(),
            "classes_left_out": list(self.left_out),
            "issues": [one.to_dict() for one in self.images],
        }


def are_true(items: ItemTable, label: str) -> bool:
    """Return whether a data set leaves it open that its labels can be wrong.

    A column `ground_truth` of the manifest that says no of any labelled image denies it.
    """
    if "ground_truth" not in items.attributes:
        return True
    given = zip(items.label_column(label), items.label_column("ground_truth"), strict=True)
    return not any(of is not None and (said or "").lower() in NO for of, said in given)


def check_labels(
    store: Store,
    twins: Twins,
    related: IntArray,
    *,
    label: str = "label",
    backbone: str | None = None,
    split: str | None = None,
    reported: Sequence[tuple[str, Estimate]] = (),
    ground_truth: bool = True,
    people: bool = True,
    material: float = MATERIAL,
    seed: int = 0,
) -> Labels | str:
    """Ask heads and neighbours that never saw an image or its relatives about its label.

    The rate of wrong labels is that of `estimate_noise`; what it does not see of labels that are
    swapped on purpose is added to its upper limit. As many images are listed as the rate says, of
    those whose label confident learning or the neighbours object to, after the copies that carry
    different labels.

    Args:
        store: with labels.
        twins: of that store.
        related: (n,) clusters of relatives.
        label: column with the class.
        backbone: which space.
        split: the test split; None for none.
        reported: accuracy on it, by name of the model.
        ground_truth: whether a label can be wrong; if not, nothing is called so.
        people: whether relatives are known, and not copies only.
        material: least rate, 0 to 1, that is worth a headline.
        seed: of folds, draws and bootstraps.

    Returns:
        The finding; a sentence if the labels cannot be judged.
    """
    items = store.items
    given = items.label_column(label)
    every = clusters_of(clusters_in(store), related)
    rows, labels, left_out = _judged(given, every)
    clusters = every[rows]
    independent = len(np.unique(clusters))
    reason = _why_not(label, given, labels, independent)
    if reason:
        return reason
    y = np.array([labels.index(given[row] or "") for row in rows], np.int64)
    vectors = store.space(backbone).vectors[rows]
    panel = Panel(vectors, y, clusters, n_classes=len(labels), seed=seed)
    voters = panel.voters()
    confident = _confident(y, panel.head)
    alike = [one.argmax(axis=1) == y for one in (panel.head, voters.votes)]
    agreement, neighbours = (proportion(one, clusters, seed=seed) for one in alike)
    opinion = panel.head
    if ground_truth:
        noise = estimate_noise(panel.head, y, clusters, seed=seed)
        opinion = panel.without(_worst(noise.wrong, y), divisions=DIVISIONS)
    case = Case(rows, labels, y, _together(opinion, voters.votes), panel.head, voters, confident)
    judged = set(rows.tolist())
    own = [name if row in judged else None for row, name in enumerate(given)]
    certain = least_wrong(twins.pairs, twins.near, own)
    known = conflicting(twins.pairs, case, items.ids, ground_truth=ground_truth)
    made = Labels(
        name="labels",
        verdict=Verdict.INCONCLUSIVE,
        summary="",
        missed=twins.missed,
        ground_truth=ground_truth,
        agreement=agreement,
        neighbours=neighbours,
        k=voters.rows.shape[1],
        confident=int(confident.sum()),
        images=(),
        certain=certain if ground_truth else 0,
        seen=None,
        ceiling=None,
        left_out=left_out,
        case=case,
    )
    if not ground_truth:
        disputed = ~alike[0] & ~alike[1]
        order = _order(case, disputed)
        listed = suspects(case, order, known, ids=items.ids, splits=items.splits)
        return _unshared(replace(made, images=listed), proportion(disputed, clusters, seed=seed))
    seen = _seen(panel, noise, seed)
    blind = max(0.0, SWAPPED - seen)
    rate = _at_least(_allowing(noise.rate, blind), certain / len(rows))
    order = _order(case, confident | ~alike[1])[: max(0, round(rate.value * len(rows)) - certain)]
    ceiling = None
    if split is not None:
        test = np.array([items.splits[row] == split for row in rows])
        if len(np.unique(clusters[test])) >= FEWEST:
            tested = estimate_noise(panel.head[test], y[test], clusters[test], seed=seed).rate
            tested = _allowing(tested, blind)
            top = Estimate(1 - tested.value, 1 - tested.high, 1 - tested.low, tested.n)
            ceiling = Ceiling(split, top, tuple(reported))
    listed = suspects(case, order, known, ids=items.ids, splits=items.splits)
    made = replace(made, images=listed, seen=seen, ceiling=ceiling)
    return _judge(made, rate, people=people, material=material)


def _judged(
    given: Sequence[str | None], clusters: IntArray
) -> tuple[IntArray, list[str], tuple[str, ...]]:
    """Return rows and names of classes with an independent image for each fold; other classes."""
    members: dict[str, set[int]] = {}
    for name, cluster in zip(given, clusters.tolist(), strict=True):
        if name is not None:
            members.setdefault(name, set()).add(cluster)
    labels = sorted(name for name, some in members.items() if len(some) >= FOLDS)
    rows = [row for row, name in enumerate(given) if name in labels]
    return np.array(rows, np.int64), labels, tuple(sorted(set(members) - set(labels)))


def _why_not(
    label: str, given: Sequence[str | None], labels: Sequence[str], independent: int
) -> str:
    there = {name for name in given if name is not None}
    if not there:
        return f"no image has a label in the column {label!r}"
    if len(there) == 1:
        return f"there is one class only ({min(there)!r})"
    if len(labels) < 2:
        return (
            f"fewer than two classes have {FOLDS} images that are not related to one another, so "
            "no head can be asked about images that it has not seen"
        )
    if independent < FEWEST:
        return f"not enough images (n = {independent} that are not related; {FEWEST} are needed)"
    return ""


def _confident(y: IntArray, probabilities: DoubleArray) -> BoolArray:
    """Mark the labels that confident learning objects to.

    Source: C. Northcutt, L. Jiang and I. Chuang, "Confident learning: estimating uncertainty in
    dataset labels", JAIR 70 (2021), as cleanlab has it.
    """
    from cleanlab.filter import find_label_issues  # takes a second

    # In this process: its own would be started anew for each call.
    return np.asarray(find_label_issues(y, probabilities, n_jobs=1), bool)


def _worst(suspicion: DoubleArray, y: IntArray) -> BoolArray:
    """Mark the `PRUNED` most suspicious images, at most half of any class."""
    marked = np.zeros(len(y), bool)
    marked[np.argsort(-suspicion, kind="stable")[: round(PRUNED * len(y))]] = True
    for number in np.unique(y[marked]):
        of_class = np.flatnonzero(marked & (y == number))
        spared = of_class[np.argsort(-suspicion[of_class], kind="stable")]
        marked[spared[np.sum(y == number) // 2 :]] = False
    return marked


def _together(first: DoubleArray, second: DoubleArray) -> DoubleArray:
    """Return the geometric mean of two opinions, each row summing to 1."""
    mean = np.sqrt(first * second)
    return np.asarray(mean / mean.sum(axis=1, keepdims=True))


def _order(case: Case, among: BoolArray) -> list[int]:
    """Return the places of some images, that with the least probable label first."""
    own = case.own()
    return [int(place) for place in np.argsort(own, kind="stable") if among[place]]


def _seen(panel: Panel, noise: Noise, seed: int) -> float:
    """Swap labels on purpose and return by how much the rate rises, the mean of some draws."""
    n, rises = len(panel.y), []
    for draw in range(DRAWS):
        generator = np.random.default_rng([seed, draw, 2])
        chosen = generator.choice(n, max(1, round(SWAPPED * n)), replace=False)
        y = panel.y.copy()
        y[chosen] += generator.integers(1, panel.n_classes, size=len(chosen))
        y %= panel.n_classes
        swapped = estimate_noise(panel.with_labels(y), y, panel.clusters, seed=seed, draws=1)
        rises.append(swapped.rate.value - noise.rate.value)
    return float(np.mean(rises))


def _allowing(rate: Estimate, unseen: float) -> Estimate:
    """Add what is not seen to the upper limit."""
    return replace(rate, high=min(1.0, rate.high + unseen))


def _at_least(rate: Estimate, least: float) -> Estimate:
    """Return a rate that is no less than what is certain."""
    value, low, high = (max(figure, least) for figure in (rate.value, rate.low, rate.high))
    return Estimate(value, low, high, rate.n)


def _judge(made: Labels, rate: Estimate, *, people: bool, material: float) -> Labels:
    """Say whether labels are wrong, by the interval of their rate or for certain.

    The rate is that of a model of how heads err, and its interval knows nothing of what the model
    has wrong. So it is present only if its lower limit is material.
    """
    seen = made.seen or 0.0
    reported = made.ceiling.reported if made.ceiling is not None else ()
    tested = reported[0][1] if reported else made.agreement
    missed = [made.missed] if made.missed else []
    if seen < SWAPPED / 2:
        missed.append(
            f"of the {SWAPPED:.0%} of labels that were swapped on purpose {max(0.0, seen):.1%} "
            "was seen: the head is right too seldom to tell a wrong label from a hard picture"
        )
    # The rate's own interval is its test.
    verdict = effect_verdict(rate, tested, p=0.0, material=material)
    if made.certain:
        verdict = Verdict.PRESENT
    elif rate.low < material if verdict is Verdict.PRESENT else missed:
        verdict = Verdict.INCONCLUSIVE
    listed = len(made.images)
    are = "are" if verdict is Verdict.PRESENT else "may be"
    sentences = [
        f"An estimated {_percent(rate)} of {rate.n} labels {are} wrong; {listed} to look at are "
        "listed."
    ]
    if not listed:
        sentences = [
            f"No label of {rate.n} stands out as wrong: at most {rate.high:.1%} of them are."
        ]
    if made.certain:
        sentences.append(
            f"At least {made.certain} of them certainly, for copies of one photograph carry "
            "different labels."
        )
    power = None
    if verdict is Verdict.INCONCLUSIVE:
        power = 100 * (material + detectable(rate))
        sentences.append(f"Four of five such tests would find {power:.1f}%.")
    if made.ceiling is not None:
        sentences.append(made.ceiling.sentence())
    sentences += [f"Some may have been missed: {one}." for one in missed]
    if not people:
        sentences.append(
            "Who is on a picture is not known: if there are several photographs of one person, the "
            "interval is too narrow."
        )
    return replace(
        made,
        verdict=verdict,
        summary=" ".join([*sentences, *made.left_out_sentence()]),
        estimate=rate,
        points=100 * rate.value,
        detectable=power,
        missed="; ".join(missed),
    )


def _unshared(made: Labels, disputed: Estimate) -> Labels:
    """Say how far labels that have no ground truth are shared, and call nothing wrong."""
    copies = sum(one.by == ("copy",) for one in made.images)
    sentences = [
        f"Labels without a ground truth, so none is called wrong: {_percent(made.agreement)} of "
        f"{disputed.n} agree with a head that has not seen the image, {_percent(made.neighbours)} "
        f"with its {made.k} nearest; {_percent(disputed)} with neither."
    ]
    if copies:
        sentences.append(f"{copies} images have a copy that carries another label.")
    return replace(
        made,
        verdict=Verdict.PRESENT if copies else Verdict.INCONCLUSIVE,
        summary=" ".join([*sentences, *made.left_out_sentence()]),
        estimate=disputed,
    )


def _percent(figure: Estimate) -> str:
    return f"{figure.value:.1%} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
