"""Audits: a store becomes findings, each one figure with its certainty and its evidence."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.audits.base import MATERIAL, Finding, Statement, Verdict
from embedkit.audits.bias import TOLERANCE
from embedkit.audits.causes import read_causes, with_own
from embedkit.audits.census import take_census
from embedkit.audits.guesses import read_guesses
from embedkit.audits.headlines import Headline, headline
from embedkit.audits.labels import are_true
from embedkit.audits.reviews import Reviewed, reviews_of
from embedkit.audits.run import Run, relatives
from embedkit.audits.ticks import ticks
from embedkit.engines import choose_engine
from embedkit.errors import InputError
from embedkit.heads.fitting import HEADS
from embedkit.pipeline.progress import OnProgress, Progress
from embedkit.results import Result
from embedkit.store import Store

__all__ = ["AUDITS", "Audit", "Finding", "Statement", "Verdict", "audit", "relatives"]

# In the order of the report.
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


@dataclass(frozen=True, slots=True, repr=False)
class Audit(Result):
    """All findings on one store, and what is needed to make them again."""

    store: Store
    findings: tuple[Finding, ...]
    settings: dict[str, Any]

    def __getitem__(self, name: str) -> Finding:
        """Return the finding of one audit.

        Raises:
            KeyError: it was not asked for.
        """
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"{name}; there are {', '.join(one.name for one in self.findings)}")

    def __repr__(self) -> str:
        """Say what was found, an audit a line."""
        lines = [f"{one.name}: {one.verdict.value}" for one in self.findings]
        return "\n".join([f"Audit of {self.store.path}", self.headline.title, *lines])

    @property
    def headline(self) -> Headline:
        """What to say first."""
        return headline(self.findings)

    @property
    def reviews(self) -> dict[str, Reviewed]:
        """What somebody who looked at the lists of these findings said of them, by name."""
        found = {one.name: one.to_dict() for one in self.findings}
        every = reviews_of(found, ticks(self.store), label=self.settings["label"])
        return {name: one for name, one in every.items() if one.looked_at}

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
            "data": take_census(self.store, label=self.settings["label"]).to_dict(),
            "settings": self.settings,
            "headline": self.headline.to_dict(),
            "findings": [finding.to_dict() for finding in self.findings],
            "reviews": [one.to_dict() for one in self.reviews.values()],
        }


def audit(
    store: Store | str | Path,
    *,
    checks: Iterable[str] = (),
    skip: Iterable[str] = (),
    label: str = "label",
    backbone: str | None = None,
    heads: tuple[str, ...] = tuple(HEADS),
    predictions: str | Path | None = None,
    prompts: str | Path | None = None,
    material: float = 100 * MATERIAL,
    tolerance: float = 100 * TOLERANCE,
    ground_truth: bool = True,
    views: bool = False,
    guessed: Iterable[str] = (),
    seed: int = 0,
    engine: str = "local",
    ray_address: str | None = None,
    progress: OnProgress | None = None,
) -> Audit:
    """Run every audit that can run, or those named.

    Args:
        store: to audit, or its folder.
        checks: names of audits; all where left out.
        skip: names of audits to leave out.
        label: column with the class.
        backbone: which space; can be left out where there is only one.
        heads: kinds of heads that the ledger trains.
        predictions: file of a model's own answers for the test images, for the ledger.
        prompts: file of causes of your own that the label may go with, for `shortcuts`.
        material: accuracy points from which an effect is worth a headline.
        tolerance: accuracy points that two groups may differ by and count as alike, for `bias`.
        ground_truth: whether a label can be wrong at all; if not, or if the data set's column
            `ground_truth` says so, `labels` says how far labels are shared, and calls none wrong.
        views: whether `shortcuts` looks at changed pictures too, which embeds every picture once
            for each of a dozen views, and keeps the vectors in the store.
        guessed: attributes for `bias` that nobody gave; see `read_guesses`.
        seed: of everything drawn.
        engine: one of `engines.ENGINES`; the findings are the same.
        ray_address: of the cluster; Ray is started on this machine where left out.
        progress: called before each audit, and while views are embedded.

    Raises:
        InputError: no audit, column, space or engine has that name, the points are none, the
            prompts or guesses are not of the form that they should have, or Ray is not there.
        WorkerError: the engine's processes end again and again.
    """
    if isinstance(store, str | Path):
        store = Store.open(store)
    if not 0 < material < 100:
        raise InputError(f"{material:g} accuracy points are none; material lies between 0 and 100")
    if not 0 < tolerance < 100:
        raise InputError(
            f"{tolerance:g} accuracy points are none; a tolerance lies between 0 and 100"
        )
    for name in (*checks, *skip):
        if name not in AUDITS:
            near = difflib.get_close_matches(name, AUDITS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"no audit is called {name!r}; known are {', '.join(AUDITS)}{hint}")
    space = store.space(backbone)
    answers = None if predictions is None else Path(predictions)
    causes = with_own(() if prompts is None else read_causes(Path(prompts)))
    guessed = tuple(guessed)
    truth = ground_truth and are_true(store.items, label)
    guesses = read_guesses(store.items, guessed, label=label)
    wanted = [name for name in AUDITS if name in (tuple(checks) or AUDITS) and name not in skip]
    if not wanted:
        raise InputError("every audit that was asked for is left out again, so nothing would run")
    settings = {"label": label, "backbone": space.name, "heads": list(heads), "seed": seed}
    settings["material"] = material
    settings["tolerance"] = tolerance
    settings["ground_truth"] = truth
    settings["views"] = views
    settings["guessed"] = list(guessed)
    found = []
    with choose_engine(engine, address=ray_address) as where:
        run = Run(
            store=store,
            label=label,
            backbone=space.name,
            heads=heads,
            predictions=answers,
            causes=causes,
            material=material / 100,
            tolerance=tolerance / 100,
            ground_truth=truth,
            guesses=guesses,
            views=views,
            seed=seed,
            engine=where,
            progress=progress,
        )
        for place, name in enumerate(wanted):
            if progress is not None:
                progress(Progress(f"auditing: {name}", place, len(wanted), 0, 0, unit="audits"))
            found.append(run.finding(name))
    return Audit(store, tuple(found), settings)
