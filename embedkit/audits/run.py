"""One run of the audits over a store: what several of them share is computed once."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from embedkit.audits.base import Finding, not_run
from embedkit.audits.bias import check_bias
from embedkit.audits.causes import Cause
from embedkit.audits.clues import Clues, find_clues
from embedkit.audits.cues import read_cues
from embedkit.audits.guesses import Guess
from embedkit.audits.labels import check_labels
from embedkit.audits.leakage import measure_leakage
from embedkit.audits.ledger import keep_ledger
from embedkit.audits.nuisance import nuisance_columns
from embedkit.audits.parity import check_parity
from embedkit.audits.quality import check_quality
from embedkit.audits.refits import Bench
from embedkit.audits.shortcuts import find_shortcuts
from embedkit.audits.siblings import Siblings, find_siblings
from embedkit.audits.twins import Twins, find_twins
from embedkit.audits.views import Views, look_at_views
from embedkit.engines import Engine
from embedkit.files import check_place
from embedkit.heads.training import held_out_split
from embedkit.pipeline.progress import OnProgress
from embedkit.statistics import Estimate
from embedkit.store import Store
from embedkit.store.schema import LOCK
from embedkit.vectors import IntArray


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


@dataclass(kw_only=True)
class Run:
    """A run; see `audit` for what it is asked.

    Attributes:
        backbone: name of the space.
        material: least accuracy, 0 to 1, that is worth a headline.
        tolerance: largest gap between two groups, 0 to 1, that counts as none.
        causes: in words, that the label may go with.
        guesses: of attributes.
        engine: where work runs that can be divided.
        reported: accuracies by the ledger, once it has run.
    """

    store: Store
    label: str
    backbone: str
    heads: tuple[str, ...]
    predictions: Path | None
    causes: tuple[Cause, ...]
    material: float
    tolerance: float
    ground_truth: bool
    guesses: tuple[Guess, ...]
    views: bool
    seed: int
    engine: Engine
    progress: OnProgress | None
    reported: list[tuple[str, Estimate]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Refuse an unknown column, and views of a store that cannot hold them, before any work."""
        self.store.items.label_column(self.label)
        if self.views:
            check_place(self.store.path / LOCK)

    @cached_property
    def split(self) -> str | None:
        """The split that heads are scored on; None without a labelled one."""
        return held_out_split(self.store, self.label)

    @cached_property
    def held_out(self) -> str | None:
        """The split to compare with train, labelled or not."""
        return held_out(self.store)

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
            engine=self.engine,
        )

    @cached_property
    def clues(self) -> Clues | str:
        """What the files say of the class; see `unlearnable` before."""
        columns = nuisance_columns(self.store.items, label=self.label)
        found = find_clues(self.bench, columns, split=self.split or "", material=self.material)
        if isinstance(found, str) or self.seen is None:
            return found
        return replace(found, confirmed=self.seen.confirm(self.material))

    @cached_property
    def seen(self) -> Views | None:
        """What a head sees on changed pictures; None where that was not asked for."""
        if not self.views:
            return None
        space = self.store.space(self.backbone)
        return look_at_views(self.store, self.bench, space, progress=self.progress)

    @cached_property
    def unlearnable(self) -> str:
        """Why no head could be trained and tested; empty where one can."""
        sides = zip(self.store.items.label_column(self.label), self.store.items.splits, strict=True)
        train = {given for given, side in sides if side == "train" and given is not None}
        if self.split is None or not train:
            what = "a test (or valid) split" if train else "a train split"
            return f"there is no labelled image in {what}; 'embedkit split' makes a split"
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
            "bias": self._bias,
            "quality": self._quality,
        }
        made = runners[name]()
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
            engine=self.engine,
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
        return find_shortcuts(
            self.clues,
            self.bench,
            ids,
            split=self.split,
            cues=cues,
            views=self.seen,
            material=self.material,
        )

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
            people=self.people is not None,
            material=self.material,
            seed=self.seed,
        )

    def _bias(self) -> Finding | str:
        if self.split is None or self.unlearnable:
            return self.unlearnable
        return check_bias(
            self.bench,
            self.store.items,
            split=self.split,
            label=self.label,
            material=self.material,
            tolerance=self.tolerance,
            guesses=self.guesses,
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
