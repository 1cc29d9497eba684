"""Answers: what the page is told when it asks; everything is found in one state."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from embedkit.audits.claims import SAMPLE, random_order
from embedkit.audits.reviews import NOUNS, review_of
from embedkit.audits.ticks import Answer, ticks
from embedkit.errors import InputError
from embedkit.explorer.lists import Cluster
from embedkit.explorer.states import PEOPLE, State
from embedkit.neighbours import text_spaces
from embedkit.store import Neighbour

PAGE = 60  # pictures, or clusters, that are sent at once
Document = dict[str, Any]


def start(state: State) -> Document:
    """Return what the page needs before it asks for anything."""
    given = ticks(state.store)
    return {
        "stamp": state.stamp,
        "name": state.store.name,
        "store": str(state.store.path),
        "n": len(state.ids),
        "unreadable": len(state.store.unreadable),
        "label": state.label,
        "space": state.space.name,
        "texts": text_spaces(state.store),
        "labels": _values(state.labels),
        "splits": _values(state.splits),
        "attributes": {name: _values(values) for name, values in state.attributes.items()},
        "clusters": {
            # How many people there are by their faces is known once they are looked for.
            **({PEOPLE: None} if state.by_faces else {}),
            **{kind: len(found) for kind, found in state.clusters.items()},
        },
        "findings": [
            {
                "name": name,
                "verdict": finding["verdict"],
                "summary": finding["summary"],
                "named": len(named(state, name)),
                "reviewed": review_of(state.claims[name], given).to_dict()
                if name in state.claims
                else None,
            }
            for name, finding in state.findings.items()
        ],
        "damaged": list(state.damaged),
        "answers": [one.value for one in Answer],
        "sample": SAMPLE,
        "page": PAGE,
    }


def named(state: State, name: str) -> list[int]:
    """Return the rows of all pictures that a finding names, in the order of the audit."""
    listed = (id_ for one in state.lists.get(name, ()) for id_ in one.ids)
    ids = dict.fromkeys((*listed, *state.mentions.get(name, ())))
    return [state.rows[id_] for id_ in ids if id_ in state.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What pictures have to pass; None lets all pass.

    Attributes:
        split: that they belong to; empty for those in none.
        label: that they carry; empty for those without.
        attribute: that `value` is of.
        value: that they have; empty for those without.
        finding: that names them; they come in its order.
        text: that their id holds, in any case of letters: its beginning or its end, say.
    """

    split: str | None = None
    label: str | None = None
    attribute: str | None = None
    value: str | None = None
    finding: str | None = None
    text: str = ""


def passing(state: State, asked: Filters) -> list[int]:
    """Return the rows of the pictures that pass every filter.

    Raises:
        InputError: there is no such attribute or finding.
    """
    rows = list(range(len(state.ids)))
    if asked.finding is not None:
        if asked.finding not in state.findings:
            raise InputError(f"no finding is called {asked.finding!r}")
        rows = named(state, asked.finding)
    columns = [(state.splits, asked.split), (state.labels, asked.label)]
    if asked.attribute is not None:
        if asked.attribute not in state.attributes:
            raise InputError(f"there is no attribute {asked.attribute!r} to filter by")
        columns.append((state.attributes[asked.attribute], asked.value))
    for column, wanted in columns:
        if wanted is not None:
            rows = [row for row in rows if column[row] == (wanted or None)]
    part = asked.text.lower()
    return [row for row in rows if part in state.ids[row].lower()] if part else rows


def pictures(state: State, rows: Sequence[int], *, offset: int) -> Document:
    """Return a page of pictures."""
    shown = rows[offset : offset + PAGE]
    return {"total": len(rows), "pictures": [state.shown(row) for row in shown]}


def picture_facts(state: State, row: int) -> Document:
    """Return all that is known of one picture without any work."""
    items, id_ = state.store.items, state.ids[row]
    size = f"{items.column('width')[row]} × {items.column('height')[row]}"
    facts = {"size": size, "format": items.column("format")[row]}
    facts |= {"group": items.groups[row]} if items.groups[row] is not None else {}
    for name in items.attributes:
        value = items.rows.column(name)[row].as_py()
        facts |= {} if value is None else {name: str(value)}
    said = [
        {"finding": name, "words": one.words, "number": number}
        for name, lists in state.lists.items()
        for number, one in enumerate(lists)
        if id_ in one.ids
    ]
    said += [
        {"finding": name, "words": those[id_], "number": None}
        for name, those in state.mentions.items()
        if id_ in those
    ]
    return {
        **state.shown(row),
        "facts": facts,
        "findings": said,
        "clusters": {
            kind: [_shown(state, other) for other in cluster.ids if other != id_][:PAGE]
            for kind, clusters in state.clusters.items()
            for cluster in clusters
            if id_ in cluster.ids
        },
    }


def neighbours(state: State, found: list[Neighbour]) -> Document:
    """Return pictures with their similarities."""
    return {
        "pictures": [
            state.shown(state.rows[one.id]) | {"similarity": round(one.similarity, 4)}
            for one in found
        ]
    }


def finding_list(
    state: State, name: str, *, kind: str | None, sample: bool, offset: int
) -> Document:
    """Return what a finding lists, with the answers given so far, a page of it.

    Args:
        state: to look in.
        name: of the finding.
        kind: to narrow the list down to; None for all.
        sample: whether to return the random sample in its order in place of the list.
        offset: entries to leave out at the start.

    Raises:
        InputError: there is no such finding, or it lists nothing.
    """
    if name not in state.claims:
        raise InputError(f"no finding that lists something is called {name!r}")
    claims, lists, given = state.claims[name], state.lists[name], ticks(state.store)
    numbers = random_order(claims)[:SAMPLE] if sample else list(range(len(claims)))
    if kind is not None:
        numbers = [number for number in numbers if lists[number].kind == kind]
    return {
        "name": name,
        "noun": NOUNS[name],
        "total": len(numbers),
        "kinds": _values([one.kind for one in lists]),
        "reviewed": review_of(claims, given).to_dict(),
        "entries": [
            {
                "number": number,
                "words": lists[number].words,
                "pictures": [_shown(state, id_) for id_ in lists[number].ids],
                "answer": given[claims[number]].answer.value if claims[number] in given else None,
            }
            for number in numbers[offset : offset + PAGE]
        ],
    }


def cluster_list(state: State, found: Sequence[Cluster], *, offset: int) -> Document:
    """Return clusters of pictures that belong together, a page of them."""
    return {
        "total": len(found),
        "clusters": [
            {
                "words": one.words,
                "size": len(one.ids),
                "pictures": [_shown(state, id_) for id_ in one.ids[:PAGE]],
            }
            for one in found[offset : offset + PAGE]
        ],
    }


def _shown(state: State, id_: str) -> Document:
    """Return a picture by its id; one that the store does not hold has no row."""
    row = state.rows.get(id_)
    return (
        {"row": None, "id": id_, "label": None, "split": None} if row is None else state.shown(row)
    )


def _values(column: Iterable[str | None]) -> list[tuple[str, int]]:
    """Return the values of a column with their counts, the empty one last, as an empty text."""
    counts = Counter(column)
    without = counts.pop(None, 0)
    found = sorted((value, n) for value, n in counts.items() if value is not None)
    return [*found, ("", without)] if without else found
