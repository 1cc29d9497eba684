"""Parity: do pictures looked at alone get the answers that they got in the batch?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import Finding, Verdict, not_run, rounded
from embedkit.audits.changes import MILD
from embedkit.audits.mistakes import MISTAKES
from embedkit.audits.sweeps import Sample, Sweep, sweep
from embedkit.backbones import Backbone, embed_prepared
from embedkit.errors import EmbedkitError, UnreadableImageError
from embedkit.files import sha256
from embedkit.heads import Head
from embedkit.heads.predict import backbone_of, embed_input
from embedkit.heads.training import fit, labelled_rows
from embedkit.images import read_bytes
from embedkit.inputs import read_input
from embedkit.statistics import Estimate, proportion, upper_limit
from embedkit.store import Store
from embedkit.vectors import BoolArray, FloatArray, IntArray

TOLERANCE = 1e-4  # of a probability
SAMPLE = 192  # pictures at most
LEAST = 32  # pictures that a sweep is made of, however small the data set
ALONE = 32  # pictures looked at alone; each costs a whole batch
FEWEST = 30  # pictures, before "no difference" is an answer
PASSES = 2  # pictures that a sweep may show to the network, for each picture in the store
NAMED = 3


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well one head agrees with itself.

    Attributes:
        head: its kind.
        difference: the largest of a probability between any two paths.
        flipped: pictures with another answer on some path.
        differing: ids of pictures with another answer, or a difference above `TOLERANCE`.
    """

    head: str
    difference: float
    flipped: int
    differing: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "head": self.head,
            "largest_difference": rounded(self.difference),
            "flipped": self.flipped,
            "differing": list(self.differing),
        }


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
    rows, gone, reason = _sample(store, eye, label=label, split=split, seed=seed)
    if not rows:
        return not_run(
            "parity",
            f"none of the {gone} {split} pictures is at {store.items.root} as it was ({reason}); "
            "'embedkit embed' brings the store up to date with where they are now",
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
    agreements = tuple(_agreement(one, (space.vectors[rows], again, alone), ids) for one in trained)
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
                _agreement_sentence(agreements, len(ids), split, differing, made_with),
                *_sweep_sentences(swept, head.kind),
            ]
        ),
        estimate=estimate,
        split=split,
        pictures=len(ids),
        alone=len(alone),
        gone=gone,
        agreements=agreements,
        head=head.kind,
        sweep=swept,
    )


def stratified(labels: Sequence[str | None], *, seed: int) -> IntArray:
    """Return an order of images of which every beginning has the classes in proportion."""
    generator = np.random.default_rng(seed)
    keys = np.empty(len(labels))
    names = np.array([name or "" for name in labels])
    for name in np.unique(names):
        own = np.flatnonzero(names == name)
        keys[generator.permutation(own)] = (np.arange(len(own)) + 0.5) / len(own)
    return np.argsort(keys, kind="stable")


def _sample(
    store: Store, eye: Backbone, *, label: str, split: str, seed: int
) -> tuple[list[int], int, str]:
    """Return rows of test pictures that are as they were, how many are not, and why the first."""
    every = labelled_rows(store, label, split)
    given, hashes = store.items.label_column(label), store.items.column("sha256")
    budget = PASSES * len(store.items) // (len(MISTAKES) + len(MILD))
    most = min(SAMPLE, max(LEAST, budget))
    rows: list[int] = []
    gone, first = 0, ""
    for place in stratified([given[row] for row in every], seed=seed):
        row = int(every[place])
        try:
            data = read_bytes(store.items.path(store.items.ids[row]))
            reason = "" if sha256(data) == hashes[row] else "it has changed"
        except UnreadableImageError as error:
            reason = str(error)
        if reason:
            gone, first = gone + 1, first or f"{store.items.ids[row]}: {reason}"
        else:
            rows.append(row)
        if len(rows) == most:
            break
    return sorted(rows), gone, first


def _number(labels: Sequence[str], name: str | None) -> int:
    return labels.index(name) if name in labels else -1


def _answers(head: Head, vectors: FloatArray) -> IntArray:
    return np.asarray(head.classifier.probabilities(vectors).argmax(axis=1), np.int64)


def _agreement(
    head: Head, paths: tuple[FloatArray, FloatArray, FloatArray], ids: Sequence[str]
) -> Agreement:
    """Compare a head's answers by the store's vectors, by a batch, and alone."""
    stored, again, alone = (head.classifier.probabilities(vectors) for vectors in paths)
    n = len(alone)
    apart = np.abs(again - stored).max(axis=1)
    apart[:n] = np.maximum(apart[:n], np.abs(alone - stored[:n]).max(axis=1))
    apart[:n] = np.maximum(apart[:n], np.abs(alone - again[:n]).max(axis=1))
    first, second, third = (one.argmax(axis=1) for one in (stored, again, alone))
    flipped = first != second
    flipped[:n] |= (third != first[:n]) | (third != second[:n])
    differing = flipped | (apart > TOLERANCE)
    return Agreement(
        head.kind,
        float(apart.max()),
        int(flipped.sum()),
        tuple(id_ for id_, marked in zip(ids, differing, strict=True) if marked),
    )


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
    n: int,
    split: str,
    differing: set[str],
    made_with: dict[str, str],
) -> str:
    largest = max(one.difference for one in agreements)
    if not differing:
        alone = "alone" if n <= ALONE else f"alone ({ALONE} of them)"
        return (
            f"{n} {split} pictures read again, in a batch and {alone}, get the answers that they "
            f"have in the store; probabilities differ by {largest:.1g} at most."
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
    mild = max((one for one in swept.mild), key=lambda one: one.flipped.value)
    said.append(
        f"Mild changes flip up to {mild.flipped.value:.1%} [{100 * mild.flipped.low:.1f}, "
        f"{100 * mild.flipped.high:.1f}] of the answers ({mild.name})."
        if mild.flipped.value
        else "Mild changes flip no answer."
    )
    return said
