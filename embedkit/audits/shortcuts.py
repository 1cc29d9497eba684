"""Shortcuts: can the class be read off the file, and does the head do so?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedkit.audits.associations import (
    DRAWS,
    Association,
    associate,
    by_value,
)
from embedkit.audits.base import ALPHA, MATERIAL, Finding, not_run
from embedkit.audits.blindfolds import Blindfold, blindfold
from embedkit.audits.columns import RARE, Coded, code
from embedkit.audits.cues import Cues
from embedkit.audits.nuisance import SETS, Column
from embedkit.audits.prompted import Prompts, name_causes
from embedkit.audits.refits import Bench
from embedkit.audits.relabellings import relabellings
from embedkit.audits.reliance import Reliance, hardness, measure_reliance
from embedkit.audits.sources import LeftOut, Source, find_sources, leave_sources_out
from embedkit.audits.suspicions import ALL, judge, sighted
from embedkit.heads.classifier import fold_numbers
from embedkit.statistics import holm, proportion
from embedkit.store import Store
from embedkit.vectors import BoolArray, DoubleArray, IntArray

FEWEST = 100  # clusters of labelled images
PER_CLASS = 10  # clusters, for a class to be compared with others
CAUSES = 3  # columns of which it is asked whether the head uses them
NAMED = 4


@dataclass(frozen=True, kw_only=True)
class Shortcuts(Finding):
    """What a file says of the class without a look at its subject, and whether a head uses it.

    Attributes:
        split: the test split.
        head: kind of head that is asked.
        images: labelled images that were compared.
        without: (column, why) of those that hardly vary, of which nothing can be said.
        rare_classes: with too few images to be compared.
        associations: of every other column, what tells the class best first.
        blindfolds: heads on nuisances, in nested sets.
        reliances: whether the head on pictures uses what is associated.
        sources: columns that divide the files into sources.
        left_out: accuracy on sources that were not seen, of the column that says most.
        prompted: causes named by prompts; or why none were asked about.
    """

    split: str
    head: str
    images: int
    without: tuple[tuple[str, str], ...]
    rare_classes: tuple[str, ...]
    associations: tuple[Association, ...]
    blindfolds: tuple[Blindfold, ...]
    reliances: tuple[Reliance, ...]
    sources: tuple[Source, ...]
    left_out: LeftOut | None
    prompted: Prompts | str

    def details(self) -> dict[str, Any]:
        """Return every column, head and source."""
        return {
            "split": self.split,
            "head": self.head,
            "images": self.images,
            "columns_tested": len(self.associations),
            "permutations": DRAWS,
            "no_variation": [{"column": name, "reason": why} for name, why in self.without],
            "classes_too_rare": list(self.rare_classes),
            "associations": [one.to_dict() for one in self.associations],
            "nuisance_heads": [one.to_dict() for one in self.blindfolds],
            "does_the_head_use_it": [one.to_dict() for one in self.reliances],
            "sources": [one.to_dict() for one in self.sources],
            "leave_one_source_out": None if self.left_out is None else self.left_out.to_dict(),
            "prompted": None if isinstance(self.prompted, str) else self.prompted.to_dict(),
            "prompted_not_run": self.prompted if isinstance(self.prompted, str) else None,
        }


def find_shortcuts(
    store: Store,
    columns: Sequence[Column],
    clusters: IntArray,
    *,
    split: str,
    label: str = "label",
    backbone: str | None = None,
    head: str = "logistic",
    cues: Cues | str = "nobody asked",
    material: float = MATERIAL,
    seed: int = 0,
) -> Finding:
    """Look for columns that tell the class, and ask whether the head follows them.

    What a column and the label have in common may be honest (old photographs are grey, and show
    other people), so it is an association until the head on pictures is found to be right less
    often where the column points elsewhere, on images of the same class that are about as hard.

    Args:
        store: with labels, a train and a test split.
        columns: of all its images, under different names.
        clusters: (n,) images that are related.
        split: the test split.
        label: column with the class.
        backbone: which space.
        head: kind of head that is asked.
        cues: what CLIP guesses of the images, or why there is none.
        material: least accuracy, 0 to 1, that is worth a headline.
        seed: of everything drawn.

    Returns:
        A `Shortcuts`; a finding that did not run where images are too few or nothing varies.

    Raises:
        InputError: a split has no labelled image.
    """
    bench = Bench(store, head, [clusters], split=split, label=label, backbone=backbone, seed=seed)
    enough = np.array(
        [
            len(np.unique(bench.clusters[bench.pool[bench.y[bench.pool] == k]])) >= PER_CLASS
            for k in range(len(bench.labels))
        ]
    )
    rows = bench.pool[enough[bench.y[bench.pool]]]
    reason = _why_not(bench, rows, enough, split)
    if reason:
        return not_run("shortcuts", reason)
    every = [code(column, rows) for column in columns]
    coded = [one for one in every if one.varies]
    without = tuple((one.column.name, _sameness(one)) for one in every if not one.varies)
    if not coded:
        what = f"none of {len(columns)} columns varies" if columns else "there are no columns"
        return not_run(
            "shortcuts",
            f"{what}, so nothing can be said of shortcuts: files that were all written anew by one "
            "program no longer show where they came from; 'embedkit embed' on the original files "
            "would",
        )
    labels = [name for name, kept in zip(bench.labels, enough, strict=True) if kept]
    rare = tuple(name for name in bench.labels if name not in labels)
    y = (np.cumsum(enough) - 1)[bench.y[rows]]
    near, k = bench.clusters[rows], len(labels)
    train, test = np.isin(rows, bench.train), np.isin(rows, bench.test)
    folds = fold_numbers(y, near, seed=seed)
    drawn = relabellings(y, near, draws=DRAWS, seed=seed)
    found = associate(coded, y, labels, drawn, near, folds, seed=seed)
    heads = blindfold(coded, y, drawn, near, folds, train, test, n_classes=k, seed=seed)
    sources = find_sources(coded, y, labels, drawn, near, seed=seed)
    left_out = None
    if sources:
        best = max(sources, key=lambda one: one.purity.value - one.by_chance)
        left_out = leave_sources_out(bench, next(o for o in coded if o.column.name == best.name))
    # Of what is tied to the label: each by itself, and all together as the better head sees them.
    causes = {
        one.name: by_value(next(o for o in coded if o.column.name == one.name), y, folds, k)
        for one in [o for o in found if o.present and o.set != SETS[-1]][:CAUSES]
    }
    told = [one for one in sighted(heads) if one.tells(material)]
    if told:
        causes[ALL] = min(told, key=lambda one: one.log_loss(y)).probabilities
    of_test = np.searchsorted(bench.test, rows[test])
    right = bench.right(bench.first)[of_test]
    strata = hardness(y[test], bench.nearest[of_test])
    prior = np.bincount(y) / len(y)

    def follows(name: str, p: DoubleArray) -> Reliance:
        return measure_reliance(name, p[test], prior, y[test], right, strata, near[test], seed=seed)

    asked = [follows(name, p) for name, p in causes.items()]
    adjusted = holm([one.p for one in asked])
    reliances = tuple(replace(one, adjusted=p) for one, p in zip(asked, adjusted, strict=True))
    telling = tuple(one for one in found if one.present and one.set != SETS[-1])
    judged = judge(
        telling,
        reliances,
        sighted(heads),
        bool(told),
        proportion(right, near[test], seed=seed),
        head=head,
        material=material,
    )
    prompted = (
        cues
        if isinstance(cues, str)
        else name_causes(cues, rows, y, labels, drawn, near, folds, follows, seed=seed)
    )
    notes = [
        judged.summary,
        f"Causes in words, such as a smile, were not looked for: {prompted}."
        if isinstance(prompted, str)
        else prompted.sentence(head, material),
        _of_thumbnail(heads, material),
        _of_sources(sources, left_out),
        _of_constant(without),
        f"Classes with too few images to be compared: {', '.join(rare)}." if rare else "",
    ]
    return Shortcuts(
        name="shortcuts",
        verdict=judged.verdict,
        statement=judged.statement,
        summary=" ".join(note for note in notes if note),
        estimate=judged.estimate,
        points=judged.points,
        detectable=judged.detectable,
        split=split,
        head=head,
        images=len(rows),
        without=without,
        rare_classes=rare,
        associations=found,
        blindfolds=heads,
        reliances=reliances,
        sources=sources,
        left_out=left_out,
        prompted=prompted,
    )


def _why_not(bench: Bench, rows: IntArray, enough: BoolArray, split: str) -> str:
    n = len(np.unique(bench.clusters[rows]))
    if n < FEWEST:
        return f"not enough images (n = {n} independent ones with a label); {FEWEST} are needed"
    for side, name in ((bench.train, "train"), (bench.test, split)):
        if len(np.unique(bench.y[np.intersect1d(rows, side)])) < 2:
            return (
                f"{name} has fewer than two classes with {PER_CLASS} independent images in the "
                "data set"
            )
    return "" if enough.sum() > 1 else f"no two classes have {PER_CLASS} independent images"


def _sameness(one: Coded) -> str:
    if one.names == ("missing",):
        return "no image has it"
    if len(one.names) == 1 and one.names[0] == "another word":
        return f"no value is on {RARE} images"
    if len(one.names) == 1:
        return f"no variation by construction: {one.names[0]} in every image"
    return f"fewer than {RARE} images differ"


def _of_thumbnail(heads: Sequence[Blindfold], material: float) -> str:
    last = [one for one in heads if one.sets[-1] == SETS[-1]]
    best = max(last, key=lambda one: one.crossed.accuracy.value, default=None)
    if best is None or not best.tells(material):
        return ""
    score = best.crossed
    return (
        f"With a thumbnail, such a head reaches {score.accuracy.value:.1%} (commonest class "
        f"{score.majority.value:.1%}); a thumbnail may show the subject too."
    )


def _of_sources(sources: Sequence[Source], left_out: LeftOut | None) -> str:
    pure = [one for one in sources if one.adjusted < ALPHA]
    if not pure:
        return ""
    best = max(pure, key=lambda one: one.purity.value - one.by_chance)
    text = (
        f"Files divide into {best.n_values} sources by {best.name}: {best.purity.value:.1%} have "
        f"the commonest class of their source, {best.by_chance:.1%} would by chance."
    )
    if left_out is None or left_out.name != best.name or left_out.reason:
        return text
    return (
        f"{text} On sources that the head never saw it reaches {left_out.unseen.value:.1%}, "
        f"{left_out.seen.value:.1%} where it saw as many images of all."
    )


def _of_constant(without: Sequence[tuple[str, str]]) -> str:
    if not without:
        return ""
    names = ", ".join(name for name, _ in without[:NAMED])
    more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
    do = "column does" if len(without) == 1 else "columns do"
    return (
        f"{len(without)} {do} not vary ({names}{more}): of that nothing can be said, not that it "
        "is no shortcut."
    )
