"""The report: one HTML page that opens anywhere, loads nothing and runs nothing."""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

import embedkit
from embedkit.audits import Audit, Finding, Verdict
from embedkit.audits.bias import Bias
from embedkit.audits.labels import Labels
from embedkit.audits.ledger import Ledger
from embedkit.audits.lines import HeadLedger
from embedkit.audits.parity import Parity
from embedkit.audits.quality import Flagged, Quality
from embedkit.audits.shortcuts import Exhibit, Shortcuts
from embedkit.audits.twins import Pair, Twins
from embedkit.reports.pictures import data_uri
from embedkit.reports.text import difference, p_value, share
from embedkit.reports.views import shown_views
from embedkit.statistics import Estimate

MOST_PAIRS = 24
MOST_COLUMNS = 10
MOST_GROUPINGS = 8
BAR = 560  # width of the waterfall's scale, in the drawing's units
CAUSES = {
    "exact_twins": "exact copies in train",
    "near_twins": "near copies in train",
    "siblings": "same people in train",
}
MARKS = {
    Verdict.PRESENT: ("!", "present"),
    Verdict.ABSENT: ("✓", "absent"),
    Verdict.INCONCLUSIVE: ("?", "inconclusive"),
    Verdict.NOT_RUN: ("–", "not run"),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of the waterfall; positions are in the drawing's units."""

    label: str
    value: str
    kind: str
    x: float
    width: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ShownPair:
    """A pair of pictures side by side; a picture that cannot be read is None."""

    pair: Pair
    first: str | None
    second: str | None


def render(result: Audit, *, command: str = "") -> str:
    """Return the page for an audit.

    Args:
        result: of `audit`.
        command: that made it, to be shown under "Reproduction".
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates = resources.files("embedkit.reports") / "templates"
    style = (templates / "style.css").read_text(encoding="utf-8")
    template = environment.from_string((templates / "audit.html").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    ran = [one for one in result.findings if one.verdict != Verdict.NOT_RUN]
    ledger = next((one for one in result.findings if isinstance(one, Ledger)), None)
    twins = next((one for one in result.findings if isinstance(one, Twins)), None)
    parity = next((one for one in result.findings if isinstance(one, Parity)), None)
    labels = next((one for one in result.findings if isinstance(one, Labels)), None)
    quality = next((one for one in result.findings if isinstance(one, Quality)), None)
    flagged = _varied(quality.flagged) if quality else []
    bias = next((one for one in result.findings if isinstance(one, Bias)), None)
    suspects = labels.images if labels else ()
    shortcuts = next((one for one in result.findings if isinstance(one, Shortcuts)), None)
    pairs = _most_telling(twins.pairs) if twins else []
    return template.render(
        style=style,
        style_hash=f"sha256-{digest}",
        name=result.store.items.root.name,
        headline=_headline(ledger, ran),
        findings=[(one, *MARKS[one.verdict], *_parted(one.summary)) for one in ran],
        not_run=[one for one in result.findings if one.verdict == Verdict.NOT_RUN],
        ledger=ledger,
        waterfalls=[(one, _waterfall(one)) for one in ledger.heads] if ledger else [],
        bar=BAR,
        parity=parity,
        views=shown_views(result),
        share=share,
        p_value=p_value,
        difference=difference,
        pairs=[_shown(result, pair) for pair in pairs[:MOST_PAIRS]],
        n_pairs=len(twins.pairs) if twins else 0,
        suspects=[
            (one, data_uri(result.store.items.path(one.id))) for one in suspects[:MOST_PAIRS]
        ],
        n_suspects=len(suspects),
        bias=bias,
        most_groupings=MOST_GROUPINGS,
        quality=quality,
        flagged=[(one, data_uri(result.store.items.path(one.id))) for one in flagged[:MOST_PAIRS]],
        n_flagged=len(flagged),
        shortcuts=shortcuts,
        most_columns=MOST_COLUMNS,
        exhibits=_exhibits(result, shortcuts) if shortcuts else [],
        to_drop=_to_drop(twins.pairs) if twins else [],
        data=_data_card(result),
        unreadable=result.store.unreadable,
        reproduction=_reproduction(result, command),
    )


def _parted(summary: str) -> tuple[str, str]:
    """Part a summary after its first sentence; the second part may be empty."""
    first, *rest = re.split(r"(?<=[.]) (?=[A-Z])", summary, maxsplit=1)
    return first, rest[0] if rest else ""


def _headline(ledger: Ledger | None, ran: Sequence[Finding]) -> dict[str, str]:
    """Return the page's first sentence and the one after it."""
    if ledger is None:
        return {
            "title": "No accuracy to explain yet",
            "text": "There is no ledger below, because no head could be trained and scored; the "
            "list of what did not run says why.",
        }
    first = ledger.heads[0]
    reported = f"Reported accuracy ({first.head} head): {first.reported.value:.1%}."
    people = any(line.cause == "siblings" for line in first.lines)
    kin = "relatives" if people else "copies"
    if first.reason:
        return {
            "title": f"{reported} What {kin} are worth in it cannot be measured.",
            "text": f"Train shares pictures or people with test, and {first.reason}, so no head "
            "could be trained without them. The test says nothing about new pictures.",
        }
    gone = [f"{kin} in train"] if first.removed else []
    gone += [] if first.follows is None else [f"following {first.follows.column}"]
    title = f"{reported} No test image has {kin} in train."
    if gone:
        title = f"{reported} Without {' and without '.join(gone)}: {first.honest.value:.1%}."
    elif first.missed:
        title = f"{reported} {kin.capitalize()} in train may have been missed."
    text = {
        Verdict.PRESENT: f"Part of the reported accuracy comes from test images whose {kin} the "
        "classifier has been trained on.",
        Verdict.ABSENT: f"The {kin} of test images in train carry no accuracy worth mentioning.",
        Verdict.INCONCLUSIVE: f"Whether {kin} of test images in train carry accuracy cannot be "
        + (f"told: {first.missed}." if first.missed else "told from this many test images."),
        Verdict.NOT_RUN: "",
    }[first.of_relatives]
    if first.follows is not None:
        text += (
            f" The classifier follows {first.follows.column}: where that points to another class, "
            "it is wrong more often."
        )
    looked = any(one.name == "shortcuts" for one in ran)
    missing = [] if people else ["the same person on both sides"]
    missing += [] if looked else ["shortcuts"]
    rest = f": {' and '.join(missing)} may be in it still" if missing else ""
    takes = f" The second figure takes {' and '.join(gone)} away and nothing else;" if gone else ""
    start = " for" if gone else " For"
    return {
        "title": title,
        "text": f"{text}{takes}{start} pictures of somebody new, taken elsewhere, expect less"
        f"{rest}.",
    }


def _exhibits(
    result: Audit, shortcuts: Shortcuts
) -> list[tuple[str, list[tuple[Exhibit, str | None]]]]:
    """Return two rows of pictures, each with what it shows."""
    cause = shortcuts.cause
    kinds = (
        (f"Where {cause} points to the class on the label", shortcuts.aligned),
        (f"Where {cause} points away from it", shortcuts.conflicting),
    )
    path = result.store.items.path
    return [(words, [(one, data_uri(path(one.id))) for one in row]) for words, row in kinds if row]


def _waterfall(ledger: HeadLedger) -> list[Bar]:
    bars = [_bar("reported", ledger.reported, "total")]
    level, gone = ledger.reported.value, 0
    for line in ledger.lines:
        name = f"− {CAUSES[line.cause]} ({line.removed - gone} removed)"
        gone = line.removed
        if line.reason:
            bars.append(Bar(name, f"not measured: {line.reason}", "loss", 0, 0, 0, 0))
            continue
        bars.append(_step(name, line.effect, level))
        level -= line.effect.value
    if ledger.follows is not None:
        bars.append(_step(f"− following {ledger.follows.column}", ledger.follows.effect, level))
    if np.isnan(ledger.honest.value):
        return bars
    return [*bars, _bar("what is left", ledger.honest, "total")]


def _step(label: str, effect: Estimate, level: float) -> Bar:
    """Return the bar of what is taken off from some level."""
    return Bar(
        label,
        _points(effect),
        "loss" if effect.value >= 0 else "gain",
        BAR * min(level, level - effect.value),
        BAR * abs(effect.value),
        BAR * max(0.0, level - effect.high),
        BAR * min(1.0, level - effect.low),
    )


def _bar(label: str, estimate: Estimate, kind: str) -> Bar:
    return Bar(
        label,
        share(estimate),
        kind,
        0,
        BAR * estimate.value,
        BAR * estimate.low,
        BAR * estimate.high,
    )


def _points(effect: Estimate) -> str:
    return f"{100 * effect.value:.1f} points [{100 * effect.low:.1f}, {100 * effect.high:.1f}]"


def _most_telling(pairs: tuple[Pair, ...]) -> list[Pair]:
    """Order pairs for show: across splits first, then those with conflicting labels."""
    return sorted(pairs, key=lambda pair: (not pair.across_splits, not pair.conflicting))


def _shown(result: Audit, pair: Pair) -> ShownPair:
    items = result.store.items
    return ShownPair(pair, data_uri(items.path(pair.a)), data_uri(items.path(pair.b)))


def _varied(flagged: Sequence[Flagged]) -> list[Flagged]:
    """Order pictures for show: the first of each defect, then the second of each."""
    seen: Counter[str] = Counter()
    ranks = []
    for one in flagged:
        ranks.append(seen[one.faults[0].check])
        seen[one.faults[0].check] += 1
    order = sorted(range(len(flagged)), key=ranks.__getitem__)
    return [flagged[place] for place in order if flagged[place].readable]


def _to_drop(pairs: tuple[Pair, ...]) -> list[str]:
    """List the training images that are copies of images in another split."""
    drop = set()
    for pair in pairs:
        if pair.across_splits and "train" in pair.splits:
            drop.add(pair.a if pair.splits[0] == "train" else pair.b)
    return sorted(drop)


def _data_card(result: Audit) -> dict[str, Any]:
    counts = result.store.items.counts()
    labels = sorted({label for split in counts.values() for label in split}, key=lambda x: x or "")
    return {
        "layout": result.store.items.layout,
        "splits": [split or "no split" for split in counts],
        "rows": [
            (
                label if label is not None else "no label",
                [split[label] for split in counts.values()],
            )
            for label in labels[:50]
        ],
        "more": max(0, len(labels) - 50),
        "n": len(result.store.items),
        "made": result.store.record.source["split"],
    }


def _reproduction(result: Audit, command: str) -> list[tuple[str, str]]:
    space = result.store.spaces[result.settings["backbone"]].record
    facts = [
        ("command", command),
        ("embedkit", embedkit.__version__),
        ("seed", str(result.settings["seed"])),
        ("label column", result.settings["label"]),
        ("material", f"{result.settings['material']:g} accuracy points"),
        ("backbone", f"{space.name}: {space.contract['network']}"),
        ("space", space.contract_sha256),
        ("items", result.store.record.items["sha256"]),
        ("made with", ", ".join(f"{name} {v}" for name, v in sorted(space.made_with.items()))),
    ]
    return [(name, value) for name, value in facts if value]
