"""Parity: do pictures looked at alone get the answers that they got in the batch?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.agreement import TOLERANCE, Agreement, agreement
from embedkit.audits.base import Finding, Verdict, not_run
from embedkit.audits.changes import MILD
from embedkit.audits.mistakes import MISTAKES
from embedkit.audits.pictures import read_again
from embedkit.audits.samples import Sample, pick
from embedkit.audits.sweeps import Sweep, sweep
from embedkit.backbones import embed_prepared
from embedkit.errors import EmbedkitError, UnreadableImageError
from embedkit.heads import Head
from embedkit.heads.predict import backbone_of, embed_input
from embedkit.heads.training import fit, labelled_rows
from embedkit.inputs import read_input
from embedkit.statistics import Estimate, proportion, upper_limit
from embedkit.store import Store
from embedkit.vectors import BoolArray, FloatArray, IntArray

SAMPLE = 192  # pictures at most
LEAST = 32  # pictures that a sweep is made of, however small the data set
ALONE = 16  # pictures looked at alone; each costs a whole batch
# Pictures, before "no difference" is an answer: another preparation or another network moves the
# probabilities of nearly all of them, and of so few one in ten would be seen 19 times in 20.
FEWEST = 30
PASSES = 2  # pictures that a sweep may show to the network, for each picture in the store
NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Parity(Finding):
    """Whether the batch path and the single-image path agree, and what mistakes would cost.

    Attributes:
        split: of the pictures.
        pictures: how many were looked at.
        alone: how many of them alone.
        gone: pictures that were to be looked at, and are not there any more or have changed.
        agreements: of each head.
        head: kind of head that the sweep is of.
        sweep: mistakes and mild changes; they demonstrate, and do not decide the verdict.
    """

    split: str
    pictures: int
    alone: int
    gone: int
    agreements: tuple[Agreement, ...]
    head: str
    sweep: Sweep

    def details(self) -> dict[str, Any]:
        """Return the agreement and the sweep."""
        return {
            "split": self.split,
            "pictures": self.pictures,
            "alone": self.alone,
            "gone": self.gone,
            "tolerance": TOLERANCE,
            "agreement": [one.to_dict() for one in self.agreements],
            "head": self.head,
            **self.sweep.to_dict(),
        }


def check_parity(
    store: Store,
    clusters: IntArray,
    *,
    split: str,
    label: str = "label",
    backbone: str | None = None,
    heads: Sequence[str] = ("logistic",),
    seed: int = 0,
) -> Finding:
    """Answer test pictures from the store, in a batch and alone; then prepared wrongly on purpose.

    Args:
        store: with labels, a train and a test split.
        clusters: (n,) images that are related.
        split: the test split.
        label: column with the class.
        backbone: which space.
        heads: kinds of heads, trained as `train` does; the sweep is of the first.
        seed: of the sample, folds and bootstraps.

    Returns:
        A `Parity`; a finding that did not run where the pictures or the weights are not here.

    Raises:
        InputError: a split has no labelled image.
    """
    space = store.space(backbone)
    trained = [fit(store, head=kind, label=label, backbone=space.name, seed=seed) for kind in heads]
    head = trained[0]
    try:
        eye = backbone_of(head.training)
    except EmbedkitError as error:
        return not_run("parity", f"the backbone of {space.name} cannot be loaded: {error}")
    rows, gone = _sample(store, label=label, split=split, seed=seed)
    if not rows:
        return not_run(
            "parity",
            f"none of the {len(gone)} {split} pictures is at {store.items.root} as it was "
            f"({gone[0]}); 'embedkit embed' brings the store up to date with where they are now",
        )
    given = store.items.label_column(label)
    ids = tuple(store.items.ids[row] for row in rows)
    sample = Sample(
        ids,
        tuple(store.items.path(id_) for id_ in ids),
        np.array([_number(head.labels, given[row]) for row in rows], np.int64),
        clusters[rows],
    )
    again = embed_prepared(eye, [eye.prepare(read_input(path)) for path in sample.paths])
    alone = np.concatenate([embed_input(eye, path) for path in sample.paths[:ALONE]])
    agreements = tuple(agreement(one, space.vectors[rows], again, alone, ids) for one in trained)
    swept = sweep(
        eye,
        sample,
        MISTAKES,
        head.labels,
        read=lambda network, inputs: network.embed(inputs),
        answer=lambda vectors: _answers(head, vectors),
        seed=seed,
    )
    differing = {id_ for one in agreements for id_ in one.differing}
    marked = np.array([id_ in differing for id_ in ids])
    estimate, verdict = _judged(marked, sample.clusters, swept, seed=seed)
    made_with = space.record.made_with
    return Parity(
        name="parity",
        verdict=verdict,
        summary=" ".join(
            [
                _agreement_sentence(agreements, estimate, split, differing, made_with),
                *_sweep_sentences(swept, head.kind),
            ]
        ),
        estimate=estimate,
        detectable=None if verdict is Verdict.PRESENT else 100 * estimate.high,
        split=split,
        pictures=len(ids),
        alone=len(alone),
        gone=len(gone),
        agreements=agreements,
        head=head.kind,
        sweep=swept,
    )


def _sample(store: Store, *, label: str, split: str, seed: int) -> tuple[list[int], list[str]]:
    """Return rows of test pictures that are as they were, and why others are not."""
    every = labelled_rows(store, label, split)
    given, hashes = store.items.label_column(label), store.items.column("sha256")
    budget = PASSES * len(store.items) // (len(MISTAKES) + len(MILD))

    def check(place: int) -> str:
        row = every[place]
        try:
            read_again(store.items.path(store.items.ids[row]), hashes[row])
        except UnreadableImageError as error:
            return f"{store.items.ids[row]}: {error}"
        return ""

    most = min(SAMPLE, max(LEAST, budget))
    places, gone = pick([given[row] for row in every], check, most, seed=seed)
    return [int(every[place]) for place in places], gone


def _number(labels: Sequence[str], name: str | None) -> int:
    return labels.index(name) if name in labels else -1


def _answers(head: Head, vectors: FloatArray) -> IntArray:
    return np.asarray(head.classifier.probabilities(vectors).argmax(axis=1), np.int64)


def _judged(
    marked: BoolArray, clusters: IntArray, swept: Sweep, *, seed: int
) -> tuple[Estimate, Verdict]:
    """Estimate the share of pictures that differ; the control of the sweep counts as one."""
    control = any(one.flipped.value > 0 for one in swept.mild if one.control)
    if marked.any():
        return proportion(marked, clusters, seed=seed), Verdict.PRESENT
    estimate = Estimate(0.0, 0.0, upper_limit(len(np.unique(clusters))), len(marked))
    if control:
        return estimate, Verdict.PRESENT
    return estimate, Verdict.ABSENT if len(marked) >= FEWEST else Verdict.INCONCLUSIVE


def _agreement_sentence(
    agreements: Sequence[Agreement],
    estimate: Estimate,
    split: str,
    differing: set[str],
    made_with: dict[str, str],
) -> str:
    n, largest = estimate.n, max(one.difference for one in agreements)
    if not differing:
        by = (
            f"probabilities differ by {largest:.1g} at most"
            if largest
            else "no probability differs"
        )
        return (
            f"{n} {split} pictures read again, in a batch and {min(n, ALONE)} of them alone, get "
            f"the answers that they have in the store; {by} (at most {estimate.high:.1%} of all "
            "could get another and not be seen here)."
        )
    where = made_with.get("device", "cpu")
    made = f"; the store was made on {where}" if where != "cpu" else ""
    return (
        f"{len(differing)} of {n} {split} pictures get another answer, or a probability that "
        f"differs by up to {largest:.2g}, when they are read again than in the store: "
        f"{', '.join(sorted(differing)[:NAMED])}{made}."
    )


def _sweep_sentences(swept: Sweep, head: str) -> list[str]:
    said = []
    if swept.mistakes:
        worst = ", ".join(
            f"{one.accuracy.value:.1%} with {one.name}" for one in swept.mistakes[:NAMED]
        )
        said.append(
            f"What mistakes would look like ({head} head, {swept.right.value:.1%} on these "
            f"pictures): {worst}."
        )
    mild = max(swept.mild, key=lambda one: one.flipped.value)
    said.append(
        f"Mild changes flip up to {mild.flipped.value:.1%} [{100 * mild.flipped.low:.1f}, "
        f"{100 * mild.flipped.high:.1f}] of the answers ({mild.name})."
        if mild.flipped.value
        else "Mild changes flip no answer."
    )
    return said
