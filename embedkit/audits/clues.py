"""Clues: what the files of a data set say of the class, whatever head looks at the pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from embedkit.audits.associations import DRAWS, Association, associate, by_value
from embedkit.audits.base import MATERIAL
from embedkit.audits.blindfolds import Blindfold, blindfold
from embedkit.audits.columns import RARE, Coded, code
from embedkit.audits.nuisance import OF_SUBJECT, SETS, Column
from embedkit.audits.refits import Bench
from embedkit.audits.relabellings import relabellings
from embedkit.audits.reliance import Reliance, adjusted, hardness, measure_reliance, odds
from embedkit.audits.sources import Source, find_sources
from embedkit.audits.suspicions import ALL, sighted
from embedkit.heads.classifier import fold_numbers
from embedkit.vectors import BoolArray, DoubleArray, IntArray

FEWEST = 100  # clusters of labelled images
PER_CLASS = 10  # clusters, for a class to be compared with others
ASKED = 12  # columns of which it is asked whether a head uses them
ALIKE = 0.8  # correlation of what two columns say of the class, from which one stands for both


@dataclass(frozen=True, slots=True, eq=False)
class Clues:
    """What files say of the class.

    Attributes:
        rows: of the n labelled images that were compared.
        y: (n,) class numbers.
        labels: names of the classes.
        clusters: (n,) images that hang together.
        test: (n,) those of the test split.
        without: (column, why) of those that hardly vary, of which nothing can be said.
        rare: classes with too few images to be compared.
        associations: of every other column, what tells the class best first.
        blindfolds: heads on nuisances, in nested sets.
        sources: columns that divide the files into sources.
        purest: of these the one that says most; None without any.
        unasked: columns that are tied to the label and not among the causes, nor alike to one.
        named: the columns among the causes, by name.
        causes: (n, classes) probabilities by each column that a head is asked about, made on other
            folds; and by all together.
        together: the columns that make up all together: the tied ones, or without any those that
            the head on nuisances sees.
        confirmed: whether a head on pictures made alike is shown to know less; None where that was
            not asked.
    """

    rows: IntArray
    y: IntArray
    labels: tuple[str, ...]
    clusters: IntArray
    test: BoolArray
    without: tuple[tuple[str, str], ...]
    rare: tuple[str, ...]
    associations: tuple[Association, ...]
    blindfolds: tuple[Blindfold, ...]
    sources: tuple[Source, ...]
    purest: Coded | None
    unasked: int
    named: dict[str, Coded]
    causes: dict[str, DoubleArray]
    together: frozenset[str]
    confirmed: bool | None = None

    @property
    def telling(self) -> tuple[Association, ...]:
        """Columns that are tied to the label; the thumbnail's are not, for it shows the subject."""
        return tuple(one for one in self.associations if one.present and one.set != SETS[-1])

    def places(self, bench: Bench) -> IntArray:
        """Return which of a bench's test images were compared."""
        return np.asarray(np.searchsorted(bench.test, self.rows[self.test]))

    def reliances(
        self,
        bench: Bench,
        answers: IntArray,
        causes: Mapping[str, DoubleArray] | None = None,
        *,
        heads: int = 1,
    ) -> tuple[Reliance, ...]:
        """Ask of each cause whether answers follow it, p-values adjusted by Holm over the causes.

        Args:
            bench: of the head.
            answers: (m,) class numbers that it gives the bench's test images.
            causes: others than those of the files, in no order.
            heads: that are asked; p-values are multiplied by their number.
        """
        places = self.places(bench)
        # Classes that were not compared have no number here.
        number = {bench.labels.index(name): k for k, name in enumerate(self.labels)}
        given = np.array([number.get(one, -1) for one in answers[places].tolist()], np.int64)
        y = self.y[self.test]
        asked = {
            name: probabilities[self.test]
            for name, probabilities in (self.causes if causes is None else causes).items()
        }
        made: list[Reliance] = []
        stronger: list[DoubleArray] = []
        for name, probabilities in asked.items():
            bounded = causes is None and name != ALL
            unknown = [one.leaning != 0 for one in made if one.reason]
            aside = np.any([np.zeros(len(y), bool), *unknown], axis=0)
            made.append(
                measure_reliance(
                    name,
                    probabilities,
                    np.bincount(self.y) / len(self.y),
                    y,
                    given,
                    hardness(y, bench.nearest[places]),
                    self.clusters[self.test],
                    stronger=stronger if bounded else (),
                    aside=aside if bounded else None,
                    seed=bench.seed,
                )
            )
            stronger.append(probabilities)
        if causes is None:
            made = [replace(one, of_subject=self._of_subject(one.cause)) for one in made]
        return adjusted(made, heads=heads)

    def _of_subject(self, cause: str) -> bool:
        """Whether a cause of the files may be of the subject, and nothing shows that it is not."""
        if self.confirmed:
            return False
        return bool(OF_SUBJECT & (self.together if cause == ALL else {cause}))


def find_clues(
    bench: Bench, columns: Sequence[Column], *, split: str, material: float = MATERIAL
) -> Clues | str:
    """Compare nuisance columns with the label.

    Args:
        bench: of any head.
        columns: of all images of the store, under different names.
        split: name of the test split.
        material: least accuracy, 0 to 1, that is worth a headline.

    Returns:
        The clues; a sentence where images are too few or nothing varies.
    """
    enough = np.array(
        [
            len(np.unique(bench.clusters[bench.pool[bench.y[bench.pool] == k]])) >= PER_CLASS
            for k in range(len(bench.labels))
        ]
    )
    rows, seed = bench.pool[enough[bench.y[bench.pool]]], bench.seed
    reason = _why_not(bench, rows, split)
    if reason:
        return reason
    every = [code(column, rows) for column in columns]
    coded = [one for one in every if one.varies]
    if not coded:
        what = f"none of {len(columns)} columns varies" if columns else "there are no columns"
        return (
            f"{what}, so nothing can be said of shortcuts: files that were all written anew by one "
            "program no longer show where they came from; 'embedkit embed' on the original files "
            "would"
        )
    labels = tuple(name for name, kept in zip(bench.labels, enough, strict=True) if kept)
    y = (np.cumsum(enough) - 1)[bench.y[rows]]
    near, k = bench.clusters[rows], len(labels)
    train, test = np.isin(rows, bench.train), np.isin(rows, bench.test)
    folds = fold_numbers(y, near, seed=seed)
    drawn = relabellings(y, near, draws=DRAWS, seed=seed)
    found = associate(coded, y, labels, drawn, near, folds, seed=seed)
    heads = blindfold(coded, y, drawn, near, folds, train, test, n_classes=k, seed=seed)
    sources = find_sources(coded, y, labels, drawn, near, seed=seed)
    named = {one.column.name: one for one in coded}
    # Of what is tied to the label: each by itself, and all together as the better head sees them.
    tied = [one.name for one in found if one.present and one.set != SETS[-1]]
    causes = _different({name: by_value(named[name], y, folds, k) for name in tied}, y)
    unasked = max(0, len(causes) - ASKED)
    causes = dict(list(causes.items())[:ASKED])
    told = [one for one in sighted(heads) if one.tells(material)]
    together = set(tied)
    if told:
        best = min(told, key=lambda one: one.log_loss(y))
        causes[ALL] = best.probabilities
        together = together or {name for name, one in named.items() if one.column.set in best.sets}
    purest = max(sources, key=lambda one: one.purity.value - one.by_chance, default=None)
    return Clues(
        rows=rows,
        y=y,
        labels=labels,
        clusters=near,
        test=test,
        without=tuple((one.column.name, _sameness(one)) for one in every if not one.varies),
        rare=tuple(name for name in bench.labels if name not in labels),
        associations=found,
        blindfolds=heads,
        sources=sources,
        purest=None if purest is None else named[purest.name],
        unasked=unasked,
        named={name: named[name] for name in causes if name in named},
        causes=causes,
        together=frozenset(together),
    )


def _different(causes: Mapping[str, DoubleArray], y: IntArray) -> dict[str, DoubleArray]:
    """Return causes, best first, one for all that say nearly the same.

    That is the best of them, or the best that cannot be of the subject: where an even border says
    as much as dark outermost pixels, these are dark for the border.
    """
    prior = np.bincount(y, minlength=next(iter(causes.values())).shape[1]) if causes else y
    kept: list[str] = []
    said: list[DoubleArray] = []
    for name, probabilities in causes.items():
        logs = np.log(odds(probabilities) / odds(prior / len(y))).ravel()
        place = next(
            (k for k, one in enumerate(said) if abs(np.corrcoef(logs, one)[0, 1]) >= ALIKE), None
        )
        if place is None:
            kept.append(name)
            said.append(logs)
        elif kept[place] in OF_SUBJECT and name not in OF_SUBJECT:
            kept[place] = name
    return {name: causes[name] for name in kept}


def _why_not(bench: Bench, rows: IntArray, split: str) -> str:
    needed = f"{FEWEST} are needed"
    n = len(np.unique(bench.clusters[bench.pool]))
    if n < FEWEST:
        return f"not enough images (n = {n} independent ones with a label); {needed}"
    for side, name in ((bench.train, "train"), (bench.test, split)):
        if len(np.unique(bench.y[np.intersect1d(rows, side)])) < 2:
            return (
                f"{name} has fewer than two classes with {PER_CLASS} independent images in the "
                "data set"
            )
    n = len(np.unique(bench.clusters[rows]))
    if n < FEWEST:
        of = f"of classes with {PER_CLASS} of them"
        return f"not enough images (n = {n} independent ones {of}); {needed}"
    return ""


def _sameness(one: Coded) -> str:
    if one.names == ("missing",):
        return "no image has it"
    if len(one.names) == 1 and one.names[0] == "another word":
        return f"no value is on {RARE} images"
    if len(one.names) == 1:
        return f"no variation by construction: {one.names[0]} in every image"
    return f"fewer than {RARE} images differ"
