"""The ledger: what the test accuracy becomes when its causes are taken away one by one."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.audits.base import MATERIAL, Finding, Statement, Verdict
from embedkit.audits.books import Books, levels_of
from embedkit.audits.clues import Clues
from embedkit.audits.controls import PIXELS, check_controls
from embedkit.audits.floor import check_floor
from embedkit.audits.lines import HeadLedger
from embedkit.audits.predictions import Yours, judge
from embedkit.audits.refits import Bench
from embedkit.audits.resplits import Resplits, compare_with_resplits
from embedkit.audits.siblings import Siblings
from embedkit.audits.twins import Twins
from embedkit.engines import Engine
from embedkit.heads.fitting import HEADS
from embedkit.statistics import Estimate, holm
from embedkit.store import Store


@dataclass(frozen=True, kw_only=True)
class Ledger(Finding):
    """The ledgers of all heads on the same test images, and what kind of split gave them."""

    split: str
    heads: tuple[HeadLedger, ...]
    resplits: Resplits
    yours: Yours | None = None

    def reported(self) -> list[tuple[str, Estimate]]:
        """Return the accuracy of each head, and of the user's own model, by name."""
        named = [(f"the {head.head} head", head.reported) for head in self.heads]
        return named + ([] if self.yours is None else [("your model", self.yours.reported)])

    def details(self) -> dict[str, Any]:
        """Return the ledger of each head, and of the user's own model."""
        return {
            "split": self.split,
            "heads": [head.to_dict() for head in self.heads],
            "split_is": self.resplits.to_dict(),
            "predictions": None if self.yours is None else self.yours.to_dict(),
        }


def keep_ledger(
    store: Store,
    twins: Twins,
    siblings: Siblings | None,
    clues: Clues | None = None,
    *,
    split: str,
    label: str = "label",
    backbone: str | None = None,
    heads: tuple[str, ...] = tuple(HEADS),
    predictions: Path | None = None,
    material: float = MATERIAL,
    seed: int = 0,
    engine: Engine | None = None,
) -> Ledger:
    """Train each head with and without the training images that are related to test images.

    At each level every training image that shares a cluster with any test image is left out, the
    head is trained again with the same procedure (its hyper-parameter chosen anew), and scored on
    all of the same test images. Beside it stand heads trained without as many random images of
    each class that are related to nobody: what those lose is the price of fewer images, what the
    purged head loses beyond them is what the relatives were worth.

    Args:
        store: with labels, a train and a test split.
        twins: of that store.
        siblings: of that store; None where nothing tells people apart.
        clues: what its files say of the class; None where that is not known.
        split: the test split.
        label: column with the class.
        backbone: which space.
        heads: kinds of heads.
        predictions: file of answers of a model that embedkit did not train; see `judge`.
        material: least accuracy, 0 to 1, that is worth a headline.
        seed: of folds, draws and bootstraps.
        engine: where refits that do not wait for one another run; None for this process.

    Raises:
        InputError: a split has no labelled image.
        PipelineLeakError: a head learned random labels, and relatives do not explain it, or it
            learned from random vectors.
    """
    levels = levels_of(twins, siblings)
    yours = None
    if predictions is not None:
        yours = judge(
            predictions, store, levels, split=split, label=label, backbone=backbone, seed=seed
        )
    related = [clusters for _, clusters in levels]
    benches = [
        Bench(
            store,
            kind,
            related,
            split=split,
            label=label,
            backbone=backbone,
            seed=seed,
            engine=engine,
        )
        for kind in heads
    ]
    pixels = store.spaces[PIXELS].matrix if PIXELS in store.spaces else None
    ledgers, besides = [], []
    for kind, bench in zip(heads, benches, strict=True):
        books = Books(bench, levels, clues, heads=len(heads), material=material)
        made = books.ledger(pixels, missed=twins.missed)
        check_floor(kind, made.floor)
        check_controls(kind, made.controls)
        ledgers.append(made)
        besides.append(bench if books.extract is None else books.extract.bench)
    adjusted = holm([ledger.p for ledger in ledgers])
    ledgers = [replace(one, adjusted=p) for one, p in zip(ledgers, adjusted, strict=True)]
    verdicts = [ledger.verdict for ledger in ledgers]
    order = (Verdict.PRESENT, Verdict.INCONCLUSIVE, Verdict.ABSENT)
    verdict = next(verdict for verdict in order if verdict in verdicts)
    # The head that loses most is the headline; one that could not be trained again goes before all.
    worst = max(ledgers, key=lambda one: np.nan_to_num(one.lost.value, nan=np.inf))
    return Ledger(
        name="ledger",
        verdict=verdict,
        statement=Statement.CAUSAL if worst.follows is None else Statement.MATCHED,
        missed=twins.missed,
        summary=" ".join(
            [
                *([] if yours is None else [yours.sentence()]),
                *(ledger.sentence(split) for ledger in ledgers),
                *([f"Near copies may have been missed: {twins.missed}."] if twins.missed else []),
            ]
        ),
        estimate=worst.lost,
        points=None if np.isnan(worst.lost.value) else 100 * worst.lost.value,
        detectable=worst.detectable,
        split=split,
        heads=tuple(ledgers),
        # The bench of kNN, if there is one, knows the neighbours already.
        resplits=compare_with_resplits(min(besides, key=lambda b: b.kind != "knn"), split),
        yours=yours,
    )
