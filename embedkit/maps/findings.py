"""What a kept audit says of single images, as columns."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from embedkit.store import Store

Values = tuple[str | None, ...]
AUDIT_FIRST = "run 'embedkit audit' first, its findings are kept in the store"
# What a map could show of each audit.
SHOWN = {
    "twins": "copies of one photograph",
    "labels": "doubted labels",
    "quality": "defects of pictures",
}


NO_COPY, NO_DOUBT, NO_DEFECT = "no copy found", "not doubted", "no defect found"


@dataclass(frozen=True, slots=True)
class AuditColumn:
    """One thing that an audit says of images.

    Attributes:
        name: of the column.
        values: (n,) words, None where nothing is known.
        note: what must be known to read it; may be empty.
        usual: the value of images that nothing is to be said of; may be empty.
    """

    name: str
    values: Values
    note: str = ""
    usual: str = ""


@dataclass(frozen=True, slots=True)
class AuditColumns:
    """What is known of single images from an audit.

    Attributes:
        columns: of those that have been kept.
        pairs: rows of two copies of one photograph.
        missing: what is not known, and why.
    """

    columns: tuple[AuditColumn, ...]
    pairs: tuple[tuple[int, int], ...]
    missing: tuple[str, ...]


def audit_columns(store: Store, findings: dict[str, Any], label: str) -> AuditColumns:
    """Turn findings into columns.

    Args:
        store: whose images they are about.
        findings: by name, as `kept` returns them.
        label: the column that they are about.
    """
    row_of = {id_: row for row, id_ in enumerate(store.items.ids)}
    made: list[AuditColumn] = []
    pairs: tuple[tuple[int, int], ...] = ()
    missing = []
    unknown = ", ".join(what for name, what in SHOWN.items() if name not in findings)
    if unknown:
        missing.append(f"{unknown}: no audit of {label!r} was kept; {AUDIT_FIRST}")
    for name, what in SHOWN.items():
        if name not in findings:
            continue
        try:
            reason = findings[name]["not_run_reason"]
            if reason is not None:
                missing.append(f"{what}: {reason}")
                continue
            details = findings[name]["details"]
            if name == "twins":
                pairs = tuple((row_of[one["a"]], row_of[one["b"]]) for one in details["pairs"])
                copies = _copies(details["pairs"], row_of)
                made.append(AuditColumn("copies", copies, usual=NO_COPY))
            elif name == "labels":
                made += _labels(details["issues"], row_of)
            else:
                quality = _quality(details["flagged"], row_of)
                made.append(AuditColumn("quality", quality, usual=NO_DEFECT))
        except (KeyError, IndexError, TypeError, AttributeError):
            missing.append(f"{what}: the kept finding is damaged; 'embedkit audit' makes it anew")
    people = _people(store)
    if people is None:
        missing.append(
            "people on both sides of the split: the data set names no group (--group of 'embedkit "
            "embed' does)"
        )
    else:
        made.append(AuditColumn("splits of the group", people, "The data set's own groups."))
    return AuditColumns(tuple(made), pairs, tuple(missing))


def _copies(pairs: list[dict[str, Any]], row_of: dict[str, int]) -> Values:
    """Return the gravest thing that the pairs of each image say of it."""
    said = (
        NO_COPY,
        "near copy, same split",
        "exact copy, same split",
        "near copy in another split",
        "exact copy in another split",
    )
    worst = [0] * len(row_of)
    for one in pairs:
        rank = 1 + (one["kind"] == "exact") + 2 * one["across_splits"]
        for side in ("a", "b"):
            row = row_of[one[side]]
            worst[row] = max(worst[row], rank)
    return tuple(said[rank] for rank in worst)


def _labels(issues: list[dict[str, Any]], row_of: dict[str, int]) -> list[AuditColumn]:
    doubted = [NO_DOUBT] * len(row_of)
    suggested: list[str | None] = [None] * len(row_of)
    for one in issues:
        doubted[row_of[one["id"]]] = "doubted"
        suggested[row_of[one["id"]]] = one["suggested"]
    note = f"{len(issues)} labels are listed to be looked at; whether one is wrong, a person says."
    made = [AuditColumn("label check", tuple(doubted), note, NO_DOUBT)]
    if issues:
        made.append(AuditColumn("suggested label", tuple(suggested), note))
    return made


def _quality(flagged: list[dict[str, Any]], row_of: dict[str, int]) -> Values:
    """Return the first defect of each image, the one that spoils it most surely."""
    faults = [NO_DEFECT] * len(row_of)
    for one in flagged:
        if one["id"] in row_of:  # files that could not be read are flagged too, and are no items
            faults[row_of[one["id"]]] = one["faults"][0]["check"]
    return tuple(faults)


def _people(store: Store) -> Values | None:
    """Return the splits that each image's group is in; None where no group is named."""
    groups, splits = store.items.groups, store.items.splits
    sides: dict[str, set[str]] = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        if group is not None:
            sides[group].add(split or "no split")
    if not sides:
        return None
    return tuple(None if one is None else " and ".join(sorted(sides[one])) for one in groups)
