"""What evening out classes and groups changes, as plain text."""

from collections.abc import Sequence

from embedkit.heads.mitigation import Effect, Part
from embedkit.reports.text import table
from embedkit.statistics import Estimate

NAMED = 12  # classes and groups that a line lists


def effect(one: Effect) -> str:
    """Say what one way of balancing changes, for all images and for each class and group."""
    blocks: list[tuple[str, Sequence[Part]]] = [(one.balance.name, one.wholes)]
    blocks += [("class", one.classes)] + ([(one.balance.by, one.groups)] if one.groups else [])
    lines = []
    for title, members in blocks:
        if not members:
            continue
        rows = [[title, "images", "plain", "so trained", "change, points"]]
        rows += [
            [
                part.name,
                str(part.n),
                f"{part.before.value:.1%}",
                f"{part.after.value:.1%}",
                _points(part.change),
            ]
            for part in members
        ]
        lines.append(table(rows))
    return "\n".join([*lines, *_small(one)])


def effects(every: Sequence[Effect]) -> str:
    """Return what each way of balancing changes, a line each."""
    known = [one for one in every if not one.note]
    rows = [["", *(part.name for part in one.wholes)] for one in known[:1]]
    rows += [["plain", *(f"{part.before.value:.1%}" for part in one.wholes)] for one in known[:1]]
    rows += [[one.balance.name, *(_points(part.change) for part in one.wholes)] for one in known]
    lines = [table(rows)]
    lines += [f"  {one.balance.name}: not run: {one.note}" for one in every if one.note]
    if known:
        titles = ("class", known[-1].balance.by)
        lines += [
            _by_part(title, parts, known)
            for title, parts in zip(titles, ("classes", "groups"), strict=True)
            if getattr(known[0], parts)
        ]
        lines += _small(known[0])
        lines.append(
            f"Changes in points on the same {known[0].wholes[0].n} {known[0].split} images, with "
            "95% intervals; the worst group is that of each head. The best of several ways "
            "looks better than it is: choose on other images than you report."
        )
    return "\n".join(lines)


def _by_part(title: str, parts: str, known: Sequence[Effect]) -> str:
    """Return what each way changes for each class or group, a column a way."""
    rows = [[title, "images", "plain", *(one.balance.name for one in known)]]
    for place, part in enumerate(getattr(known[0], parts)):
        changes = (_points(getattr(one, parts)[place].change) for one in known)
        rows.append([part.name, str(part.n), f"{part.before.value:.1%}", *changes])
    return table(rows)


def _small(one: Effect) -> list[str]:
    named = ", ".join(one.small[:NAMED]) + (", ..." if len(one.small) > NAMED else "")
    return [f"  not shown, for they have too few images: {named}"] if one.small else []


def _points(change: Estimate) -> str:
    value, low, high = (100 * x for x in (change.value, change.low, change.high))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
