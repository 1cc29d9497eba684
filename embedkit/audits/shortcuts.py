"""Shortcuts: can the class be read off the file, and does the head do so?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embedkit.audits.associations import DRAWS
from embedkit.audits.base import ALPHA, MATERIAL, Finding, rounded
from embedkit.audits.blindfolds import Blindfold
from embedkit.audits.clues import Clues
from embedkit.audits.cues import Cues
from embedkit.audits.nuisance import SETS
from embedkit.audits.prompted import Prompts, name_causes
from embedkit.audits.refits import Bench
from embedkit.audits.reliance import Reliance
from embedkit.audits.sources import LeftOut, Source, leave_sources_out
from embedkit.audits.suspicions import judge, sighted, suspected
from embedkit.audits.views import Views
from embedkit.statistics import proportion
from embedkit.vectors import BoolArray

NAMED = 4
SHOWN = 8  # pictures of each kind of evidence


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A test image as evidence.

    Attributes:
        id: of the image.
        label: that it carries.
        value: of the column, in words; empty for several columns.
        right: whether the head answers it rightly.
    """

    id: str
    label: str
    value: str
    right: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"id": self.id, "label": self.label, "value": self.value, "right": self.right}


@dataclass(frozen=True, kw_only=True)
class Shortcuts(Finding):
    """What a file says of the class without a look at its subject, and whether a head uses it.

    Attributes:
        split: the test split.
        head: kind of head that is asked.
        clues: what the files say; too much for the JSON as it is.
        reliances: whether the head on pictures uses what is associated.
        cause: that the evidence is of; empty without any.
        aligned: test images whose class the cause points to, those answered rightly first.
        conflicting: those where it points away from it, those answered wrongly first.
        left_out: accuracy on sources that were not seen, of the column that says most.
        prompted: causes named by prompts; or why none were asked about.
        views: a head on changed pictures; None where that was not asked for.
    """

    split: str
    head: str
    clues: Clues = field(repr=False, compare=False)
    reliances: tuple[Reliance, ...]
    cause: str
    aligned: tuple[Exhibit, ...]
    conflicting: tuple[Exhibit, ...]
    left_out: LeftOut | None
    prompted: Prompts | str
    views: Views | None = None

    def details(self) -> dict[str, Any]:
        """Return every column, head and source."""
        clues = self.clues
        best = max(
            (one.crossed.accuracy for one in sighted(clues.blindfolds)),
            key=lambda accuracy: accuracy.value,
            default=None,
        )
        return {
            "split": self.split,
            "head": self.head,
            "images": len(clues.rows),
            "columns_tested": len(clues.associations),
            "columns_not_asked_about": clues.unasked,
            "permutations": DRAWS,
            "no_variation": [{"column": name, "reason": why} for name, why in clues.without],
            "classes_too_rare": list(clues.rare),
            "columns": [one.to_dict() for one in clues.associations],
            "nuisance_accuracy": None if best is None else rounded(best.value),
            "nuisance_heads": [one.to_dict() for one in clues.blindfolds],
            "does_the_head_use_it": [one.to_dict() for one in self.reliances],
            "evidence": {
                "cause": self.cause or None,
                "points_to_the_class": [one.to_dict() for one in self.aligned],
                "points_away": [one.to_dict() for one in self.conflicting],
            },
            "sources": [one.to_dict() for one in clues.sources],
            "leave_one_source_out": None if self.left_out is None else self.left_out.to_dict(),
            "prompted": None if isinstance(self.prompted, str) else self.prompted.to_dict(),
            "prompted_not_run": self.prompted if isinstance(self.prompted, str) else None,
            "views": None if self.views is None else self.views.to_dict(),
        }


def find_shortcuts(
    clues: Clues,
    bench: Bench,
    ids: Sequence[str],
    *,
    split: str,
    cues: Cues | str = "nobody asked",
    views: Views | None = None,
    material: float = MATERIAL,
) -> Shortcuts:
    """Say which columns tell the class, and ask whether a head follows them.

    What a column and the label have in common may be honest (old photographs are grey, and show
    other people), so it is an association until the head on pictures is found to be right less
    often where the column points elsewhere, on images of the same class that are about as hard.

    Args:
        clues: of the store's files.
        bench: of the head that is asked.
        ids: of all images of the store.
        split: name of the test split.
        cues: what CLIP guesses of the store's images; or why there is none.
        views: what a head sees on changed pictures; None where that was not asked for.
        material: least accuracy, 0 to 1, that is worth a headline.
    """
    reliances = clues.reliances(bench, bench.first)
    right = bench.right(bench.first)[clues.places(bench)]
    left_out = None if clues.purest is None else leave_sources_out(bench, clues.purest)
    judged = judge(
        clues.telling,
        reliances,
        sighted(clues.blindfolds),
        proportion(right, clues.clusters[clues.test], seed=bench.seed),
        unasked=clues.unasked,
        head=bench.kind,
        confirmed=clues.confirmed,
        material=material,
    )
    shown = suspected(reliances, material) or next(iter(reliances), None)
    prompted = cues if isinstance(cues, str) else name_causes(cues, clues, bench)
    rare = ", ".join(clues.rare)
    notes = [
        judged.summary,
        "" if isinstance(prompted, str) else prompted.sentence(bench.kind, material),
        _of_thumbnail(clues.blindfolds, material),
        _of_sources(clues.sources, left_out),
        _of_constant(clues.without),
        f"Classes with too few images to be compared: {rare}." if rare else "",
        f"Causes in words, such as a smile, were not looked for: {prompted}."
        if isinstance(prompted, str)
        else "",
        *([] if views is None else views.sentences(material)),
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
        head=bench.kind,
        clues=clues,
        reliances=reliances,
        cause="" if shown is None else shown.cause,
        aligned=() if shown is None else _exhibits(clues, shown, right, ids, 1),
        conflicting=() if shown is None else _exhibits(clues, shown, right, ids, -1),
        left_out=left_out,
        prompted=prompted,
        views=views,
    )


def _exhibits(
    clues: Clues, shown: Reliance, right: BoolArray, ids: Sequence[str], side: int
) -> tuple[Exhibit, ...]:
    """Return the test images on one side that show most plainly what a head that follows does."""
    leaning = side * shown.leaning
    some = np.flatnonzero(leaning > 0)
    typical = right[some] if side > 0 else ~right[some]
    chosen = some[np.lexsort((some, -np.round(leaning[some], 6), ~typical))][:SHOWN]
    places = np.flatnonzero(clues.test)[chosen]
    column = clues.named.get(shown.cause)
    return tuple(
        Exhibit(
            ids[clues.rows[place]],
            clues.labels[clues.y[place]],
            "" if column is None else column.names[column.codes[place]],
            bool(right[test]),
        )
        for place, test in zip(places, chosen, strict=True)
    )


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
