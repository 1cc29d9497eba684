"""Lists: what findings name, in words for the page."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from embedkit.audits.kept import Document

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """What the page shows of one thing that a finding lists.

    Attributes:
        ids: of the pictures to look at, in the order of the audit.
        words: what the audit says of them.
        kind: what a list can be narrowed down to.
    """

    ids: tuple[str, ...]
    words: str
    kind: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """Pictures that belong together, and why."""

    ids: tuple[str, ...]
    words: str


def listed(finding: Document) -> tuple[Listed, ...]:
    """Return what a finding lists, in the order of `claims_of`; () for one that lists nothing.

    Raises:
        KeyError, TypeError, ValueError: it is none that embedkit wrote.
    """
    lists: dict[str, tuple[str, Callable[[Entry], Listed]]] = {
        "twins": ("pairs", _pair),
        "siblings": ("pairs", _people),
        "labels": ("issues", _issue),
        "quality": ("flagged", _flagged),
    }
    if finding["name"] not in lists or not finding["details"]:
        return ()
    key, shown = lists[finding["name"]]
    return tuple(shown(one) for one in finding["details"][key])


def _pair(one: Entry) -> Listed:
    kind = {"exact": "exact copies", "near": "near copies"}[one["kind"]]
    words = f"{kind}, agreement {float(one['score']):.2f}"
    first, second = one["splits"]
    if one["across_splits"]:
        words += f"; one in {first or 'no split'}, one in {second or 'no split'}"
    labels = one["labels"]
    if None not in labels and labels[0] != labels[1]:
        words += f"; labels differ: {labels[0]!r} and {labels[1]!r}"
    return Listed((str(one["a"]), str(one["b"])), words, kind)


def _people(one: Entry) -> Listed:
    ids = (str(one["image"]), str(one["in_train"]))
    return Listed(ids, "said to show one person; the second is in train", "one person")


def _issue(one: Entry) -> Listed:
    words = f"labelled {one['given']!r}, {one['suggested']!r} suggested: {one['reason']}"
    other = [] if one["other"] is None else [str(one["other"])]
    return Listed((str(one["id"]), *other), words, "by a copy" if other else "by the pictures")


def _flagged(one: Entry) -> Listed:
    faults = one["faults"]
    words = "; ".join(f"{fault['check']} ({fault['words']})" for fault in faults)
    return Listed((str(one["id"]),), words, str(faults[0]["check"]))


def mentioned(finding: Document) -> dict[str, str]:
    """Return the pictures that a finding names besides what it lists, and what it says of each.

    Raises:
        KeyError, TypeError: it is none that embedkit wrote.
    """
    details = finding["details"]
    if not details:
        return {}
    if finding["name"] == "shortcuts":
        evidence = details["evidence"]
        cause = evidence["cause"]
        return {
            str(one["id"]): f"{cause} points {way} its class"
            for key, way in (("points_to_the_class", "to"), ("points_away", "away from"))
            for one in evidence[key]
        }
    if finding["name"] == "parity":
        flips = [one for one in details["flips_by_picture"] if one["flips"]]
        return {
            str(one["id"]): f"mild changes flip its answer {one['flips']} times" for one in flips
        }
    return {}


def twin_clusters(finding: Document) -> tuple[Cluster, ...]:
    """Return the clusters of copies that the finding `twins` names, the largest first.

    Raises:
        KeyError, TypeError: it is none that embedkit wrote.
    """
    found = [
        Cluster(tuple(map(str, one["images"])), f"keep {one['keep']}: {one['reason']}")
        for one in (finding["details"] or {"clusters": ()})["clusters"]
    ]
    return tuple(sorted(found, key=lambda one: -len(one.ids)))


def people(groups: list[str | None], ids: list[str]) -> tuple[Cluster, ...]:
    """Return the pictures of each group of the data set that has several, the largest first."""
    members: dict[str, list[str]] = {}
    for group, id_ in zip(groups, ids, strict=True):
        if group is not None:
            members.setdefault(group, []).append(id_)
    found = [
        Cluster(tuple(those), f"group {group}")
        for group, those in members.items()
        if len(those) > 1
    ]
    return tuple(sorted(found, key=lambda one: (-len(one.ids), one.words)))
