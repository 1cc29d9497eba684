"""The report: one HTML page that opens anywhere, loads nothing and runs nothing."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

import embedkit
from embedkit.audits import Audit, Finding, Verdict
from embedkit.audits.census import take_census
from embedkit.audits.headlines import Cause, most_telling
from embedkit.audits.methods import METHODS
from embedkit.audits.quality import Flagged
from embedkit.audits.twins import Pair
from embedkit.reports.pages import asset, fill
from embedkit.reports.pictures import Pictures
from embedkit.reports.text import difference, p_value, share
from embedkit.reports.views import shown_views
from embedkit.reports.waterfalls import WIDTH, points, waterfall

MOST_PAIRS = 24
MOST_COLUMNS = 10
MOST_GROUPINGS = 8
MOST_LABELS = 50
MOST_IDS = 1000
MARKS = {
    Verdict.PRESENT: ("!", "present"),
    Verdict.ABSENT: ("✓", "absent"),
    Verdict.INCONCLUSIVE: ("?", "inconclusive"),
    Verdict.NOT_RUN: ("–", "not run"),
}
# Where on the page each audit has its section, if it has one.
SECTIONS = {
    "twins": "copies",
    "siblings": "people",
    "leakage": "copies",
    "ledger": "ledger",
    "parity": "alone",
    "shortcuts": "files",
    "labels": "labels",
    "bias": "groups",
    "quality": "quality",
}
IN_POINTS = ("ledger", "shortcuts", "bias")
Kind = TypeVar("Kind")


def render(
    result: Audit, *, command: str = "", blur_faces: bool = False, images: bool = True
) -> str:
    """Return the page for an audit.

    Args:
        result: of `audit`.
        command: that made it, to be shown under "Reproduction".
        blur_faces: whether faces are made unrecognisable; where it is not known where they are,
            whole pictures are.
        images: whether pictures are shown at all.
    """
    pictures = Pictures(result.store.items, blur_faces=blur_faces, hidden=not images)
    by_name = {one.name: one for one in result.findings if one.verdict is not Verdict.NOT_RUN}
    twins = by_name.get("twins")
    found: dict[str, Any] = {name: by_name.get(name) for name in METHODS}
    return fill(
        "audit.html",
        style=asset("style.css"),
        name=result.store.name,
        headline=result.headline,
        ran=list(by_name.values()),
        not_run=[one for one in result.findings if one.verdict is Verdict.NOT_RUN],
        **found,
        views=shown_views(result, pictures),
        data=take_census(result.store, label=result.settings["label"]),
        unreadable=result.store.unreadable,
        reviews=result.reviews,
        reproduction=_reproduction(result, command),
        to_drop=_to_drop(getattr(twins, "pairs", ())),
        pictures=pictures,
        marks=MARKS,
        methods=METHODS,
        sections={name: SECTIONS[name] for name in by_name if _has_section(name, by_name)},
        most=MOST_PAIRS,
        most_columns=MOST_COLUMNS,
        most_groupings=MOST_GROUPINGS,
        most_labels=MOST_LABELS,
        most_ids=MOST_IDS,
        bar=WIDTH,
        waterfall=waterfall,
        most_telling=most_telling,
        varied=_varied,
        parted=parted,
        cut=_cut,
        size=size,
        written=written,
        share=share,
        p_value=p_value,
        difference=difference,
    )


def _has_section(name: str, found: dict[str, Finding]) -> bool:
    """Say whether there is anything to show of an audit."""
    lists = {"twins": "pairs", "leakage": "pairs", "siblings": "pairs", "labels": "images"}
    holder = found.get("twins" if name == "leakage" else name)
    return name not in lists or bool(getattr(holder, lists[name], ()))


def parted(summary: str) -> tuple[str, str]:
    """Part a summary after its first sentence; the second part may be empty."""
    first, *rest = re.split(r"(?<=[.]) (?=[A-Z])", summary, maxsplit=1)
    return first, rest[0] if rest else ""


def _cut(every: Sequence[Kind], shown: Sequence[Kind], order: str) -> str:
    """Say that not all of a list is shown, and in which order."""
    if len(shown) == len(every):
        return f", {order}" if order else ""
    first = f"; the first {len(shown)} are shown" + (f", {order}" if order else "")
    return f"{first}; 'embedkit audit --json' lists them all"


def size(cause: Cause) -> str:
    """Write how large a cause is."""
    if cause.of.startswith("accuracy"):
        return f"{points(cause.effect)}{cause.of.removeprefix('accuracy')}"
    return f"{share(cause.effect)} of {cause.of}"


def written(finding: Finding) -> str:
    """Write a finding's figure with its interval."""
    if finding.estimate is None:
        return ""
    in_points = finding.name in IN_POINTS and finding.points is not None
    return (points if in_points else share)(finding.estimate)


def _varied(flagged: Sequence[Flagged]) -> list[Flagged]:
    """Order pictures for show: the first of each defect, then the second of each."""
    seen: Counter[str] = Counter()
    ranks = []
    for one in flagged:
        ranks.append(seen[one.faults[0].check])
        seen[one.faults[0].check] += 1
    order = sorted(range(len(flagged)), key=ranks.__getitem__)
    return [flagged[place] for place in order if flagged[place].readable]


def _to_drop(pairs: Sequence[Pair]) -> list[str]:
    """List the training images that are copies of images in another split."""
    drop = set()
    for pair in pairs:
        if pair.across_splits and "train" in pair.splits:
            drop.add(pair.a if pair.splits[0] == "train" else pair.b)
    return sorted(drop)


def _reproduction(result: Audit, command: str) -> list[tuple[str, str]]:
    space = result.store.spaces[result.settings["backbone"]].record
    facts = [
        ("command", command),
        ("embedkit", embedkit.__version__),
        *((name.replace("_", " "), _setting(value)) for name, value in result.settings.items()),
        ("network", space.contract["network"]),
        ("space", space.contract_sha256),
        ("items", result.store.record.items["sha256"]),
        ("made with", ", ".join(f"{name} {v}" for name, v in sorted(space.made_with.items()) if v)),
    ]
    return [(name, value) for name, value in facts if value]


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else f"{value}"
