"""Audits: a store becomes findings, each one figure with its certainty and its evidence."""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from embedkit.audits.base import MATERIAL, Finding, Statement, Verdict, not_run
from embedkit.audits.causes import Cause, read_causes, with_own
from embedkit.audits.clues import Clues, find_clues
from embedkit.audits.cues import read_cues
from embedkit.audits.labels import check_labels
from embedkit.audits.leakage import measure_leakage
from embedkit.audits.ledger import keep_ledger
from embedkit.audits.nuisance import nuisance_columns
from embedkit.audits.parity import check_parity
from embedkit.audits.quality import check_quality
from embedkit.audits.refits import Bench
from embedkit.audits.shortcuts import Shortcuts, find_shortcuts
from embedkit.audits.siblings import Siblings, find_siblings
from embedkit.audits.twins import Twins, find_twins
from embedkit.audits.views import look_at_views
from embedkit.errors import InputError
from embedkit.heads.training import HEADS, held_out_split
from embedkit.pipeline.progress import OnProgress
from embedkit.statistics import Estimate
from embedkit.store import Store
from embedkit.vectors import IntArray

__all__ = ["AUDITS", "Audit", "Finding", "Statement", "Verdict", "audit"]

# In the order of the report. Those without a runner are listed as not run, never left out.
AUDITS = (
    "twins",
    "siblings",
    "leakage",
    "ledger",
    "parity",
    "shortcuts",
    "labels",
    "bias",
    "quality",
)


@dataclass(frozen=True, slots=True)
class Audit:
    """All findings on one store, and what is needed to make them again."""

    store: Store
    findings: tuple[Finding, ...]
    settings: dict[str, Any]

    def __getitem__(self, name: str) -> Finding:
        """Return the finding of one audit."""
        return next(finding for finding in self.findings if finding.name == name)

    def to_dict(self, *, exit_code: int = 0) -> dict[str, Any]:
        """Return the JSON document `embedkit.audit/1`."""
        return {
            "schema": "embedkit.audit/1",
            "exit_code": exit_code,
            "store": {
                "path": str(self.store.path),
                "n": len(self.store.items),
                "unreadable": len(self.store.unreadable),
                "items_sha256": self.store.record.items["sha256"],
                "spaces": dict(self.store.record.spaces),
                "embedkit": self.store.record.embedkit,
            },
            "settings": self.settings,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def audit(
    store: Store,
    *,
    checks: Iterable[str] = (),
    skip: Iterable[str] = (),
    label: str = "label",
    backbone: str | None = None,
    heads: tuple[str, ...] = tuple(HEADS),
    predictions: str | Path | None = None,
    prompts: str | Path | None = None,
    material: float = 100 * MATERIAL,
    ground_truth: bool = True,
    views: bool = False,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Audit:
    """Run every audit that can run, or those named.

    Args:
        store: to audit.
        checks: names of audits; all where left out.
        skip: names of audits to leave out.
        label: column with the class.
        backbone: which space; can be left out where there is only one.
        heads: kinds of heads that the ledger trains.
        predictions: file of a model's own answers for the test images, for the ledger.
        prompts: file of causes of your own that the label may go with, for `shortcuts`.
        material: accuracy points from which an effect is worth a headline.
        ground_truth: whether a label can be wrong at all; if not, `labels` says how far labels
            are shared, and calls none wrong.
        views: whether `shortcuts` looks at changed pictures too, which embeds every picture once
            for each of a dozen views, and keeps the vectors in the store.
        seed: of everything drawn.
        progress: called while views are embedded.

    Raises:
        InputError: no audit, column or space has that name, the points are none, or the prompts
            are not of the form that they should have.
    """
    if not 0 < material < 100:
        raise InputError(f"{material:g} accuracy points are none; material lies between 0 and 100")
    for name in (*checks, *skip):
        if name not in AUDITS:
            near = difflib.get_close_matches(name, AUDITS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"no audit is called {name!r}; known are {', '.join(AUDITS)}{hint}")
    space = store.space(backbone)
    answers = None if predictions is None else Path(predictions)
    causes = with_own(() if prompts is None else read_causes(Path(prompts)))
    run = _Run(
        store,
        label,
        space.name,
        heads,
        seed,
        answers,
        material / 100,
        ground_truth,
        causes,
        views,
        progress,
    )
    wanted = [name for name in AUDITS if name in (tuple(checks) or AUDITS) and name not in skip]
    if not wanted:
        raise InputError("every audit that was asked for is left out again, so nothing would run")
    settings = {"label": label, "backbone": space.name, "heads": list(heads), "seed": seed}
    settings["material"] = material
    settings["ground_truth"] = ground_truth
    settings["views"] = views
    return Audit(store, tuple(run.finding(name) for name in wanted), settings)


def relatives(
    store: Store, *, label: str = "label", backbone: str | None = None, seed: int = 0
) -> tuple[Twins, Siblings | str]:
    """Return the copies and the people of a store, or why those cannot be told apart."""
    twins = find_twins(store, backbone=backbone, label=label, seed=seed)
    return twins, find_siblings(store, twins, split=held_out(store) or "test", seed=seed)


def held_out(store: Store) -> str | None:
    """Return the split to compare with train, labelled or not; None without train or without it."""
    splits = set(store.items.splits)
    side = next((side for side in ("test", "valid") if side in splits), None)
    return side if "train" in splits else None


class _Run:
    """One run over a store: what several audits share is computed once."""

    def __init__(
        self,
        store: Store,
        label: str,
        backbone: str,
        heads: tuple[str, ...],
        seed: int,
        predictions: Path | None,
        material: float,
        ground_truth: bool,
        causes: tuple[Cause, ...],
        views: bool,
        progress: OnProgress | None,
    ) -> None:
        self.store = store
        self.label = label
        self.backbone = backbone
        self.heads = heads
        self.seed = seed
        self.predictions = predictions
        self.material = material
        self.ground_truth = ground_truth
        self.causes = causes
        self.views = views
        self.progress = progress
        self.split = held_out_split(store, label)
        self.held_out = held_out(store)
        self.reported: list[tuple[str, Estimate]] = []  # by the ledger, once it has run
        store.items.label_column(label)  # an unknown column is an error before any work

    @cached_property
    def twins(self) -> Twins:
        """The twins of the store."""
        return find_twins(self.store, backbone=self.backbone, label=self.label, seed=self.seed)

    @cached_property
    def siblings(self) -> Siblings | str:
        """The people of the store, or why they cannot be told apart."""
        if self.held_out is None:
            return "there is no train split, or no test (or valid) split"
        return find_siblings(self.store, self.twins, split=self.held_out, seed=self.seed)

    @cached_property
    def people(self) -> Siblings | None:
        """The people of the store; None where they cannot be told apart."""
        return None if isinstance(self.siblings, str) else self.siblings

    @cached_property
    def kin(self) -> IntArray:
        """Return (n,) which images are related: by person if that is known, else by photograph."""
        return self.twins.near if self.people is None else self.people.identity

    @cached_property
    def bench(self) -> Bench:
        """The first head's; see `unlearnable` before."""
        return Bench(
            self.store,
            self.heads[0],
            [self.kin],
            split=self.split or "",
            label=self.label,
            backbone=self.backbone,
            seed=self.seed,
        )

    @cached_property
    def clues(self) -> Clues | str:
        """What the files say of the class; see `unlearnable` before."""
        columns = nuisance_columns(self.store.items, label=self.label)
        return find_clues(self.bench, columns, split=self.split or "", material=self.material)

    @cached_property
    def unlearnable(self) -> str:
        """Why no head could be trained and tested; empty where one can."""
        sides = zip(self.store.items.label_column(self.label), self.store.items.splits, strict=True)
        train = {given for given, side in sides if side == "train" and given is not None}
        if self.split is None or not train:
            what = "a test (or valid) split" if train else "a train split"
            return f"there is no labelled image in {what}"
        return "" if len(train) > 1 else f"train holds one class only ({min(train)!r})"

    def finding(self, name: str) -> Finding:
        """Run one audit, or say why it cannot run."""
        runners: dict[str, Callable[[], Finding | str]] = {
            "twins": lambda: self.twins,
            "siblings": lambda: self.siblings,
            "leakage": self._leakage,
            "ledger": self._ledger,
            "parity": self._parity,
            "shortcuts": self._shortcuts,
            "labels": self._labels,
            "quality": self._quality,
        }
        runner = runners.get(name)
        made = runner() if runner else "this version of embedkit does not have it yet"
        return not_run(name, made) if isinstance(made, str) else made

    def _leakage(self) -> Finding | str:
        if self.held_out is None:
            return "there is no train split, or no test (or valid) split"
        return measure_leakage(
            self.store, self.twins, self.people, split=self.held_out, seed=self.seed
        )

    def _ledger(self) -> Finding | str:
        if self.split is None or self.unlearnable:
            return self.unlearnable
        made = keep_ledger(
            self.store,
            self.twins,
            self.people,
            None if isinstance(self.clues, str) else self.clues,
            split=self.split,
            label=self.label,
            backbone=self.backbone,
            heads=self.heads,
            predictions=self.predictions,
            material=self.material,
            seed=self.seed,
        )
        self.reported = made.reported()
        return made

    def _parity(self) -> Finding | str:
        if self.split is None or self.unlearnable:
            return self.unlearnable
        return check_parity(
            self.store,
            self.kin,
            split=self.split,
            label=self.label,
            backbone=self.backbone,
            heads=self.heads,
            seed=self.seed,
        )

    def _shortcuts(self) -> Finding | str:
        if self.split is None or self.unlearnable:
            return self.unlearnable
        if isinstance(self.clues, str):
            return self.clues
        ids = self.store.items.ids
        cues = read_cues(self.store, self.causes, backbone=self.backbone)
        found = find_shortcuts(
            self.clues, self.bench, ids, split=self.split, cues=cues, material=self.material
        )
        return self._with_views(found) if self.views else found

    def _with_views(self, found: Shortcuts) -> Finding:
        space = self.store.space(self.backbone)
        views = look_at_views(self.store, self.bench, space, progress=self.progress)
        said = " ".join([found.summary, *views.sentences(self.material)])
        return replace(found, views=views, summary=said)

    def _labels(self) -> Finding | str:
        return check_labels(
            self.store,
            self.twins,
            self.kin,
            label=self.label,
            backbone=self.backbone,
            split=self.split,
            reported=self.reported,
            ground_truth=self.ground_truth,
            material=self.material,
            seed=self.seed,
        )

    def _quality(self) -> Finding:
        return check_quality(
            self.store,
            self.kin,
            label=self.label,
            backbone=self.backbone,
            material=self.material,
            seed=self.seed,
        )
