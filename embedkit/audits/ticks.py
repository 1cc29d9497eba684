"""Ticks: what people say of the things that audits list, kept in the store.

A tick is a line of `reviews.jsonl`; the last line about a thing counts. It belongs to what was
shown: where a picture's pixels, a label or a flaw are others by now, it is not counted.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum

from embedkit.audits.claims import Claim
from embedkit.cells import csv_text, guarded
from embedkit.errors import OutputError
from embedkit.files import append_durably, sync_folder
from embedkit.store import Store

FILE = "reviews.jsonl"
SCHEMA = "embedkit.review/1"


class Answer(StrEnum):
    """What somebody who has looked says."""

    REAL = "real"
    NOT_REAL = "not real"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Tick:
    """An answer, and when it was given (UTC, ISO 8601)."""

    answer: Answer
    when: str


def tick(store: Store, claim: Claim, answer: Answer | None) -> None:
    """Keep an answer, or take it back with None; on disk when this returns.

    Several viewers may do so at once: each adds a line in one write.

    Raises:
        OutputError: it cannot be written.
    """
    path = store.path / FILE
    record = {
        "schema": SCHEMA,
        **asdict(claim),
        "pixels": [_pixels(store).get(id_) for id_ in claim.ids],
        "answer": None if answer is None else answer.value,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # The line break in front keeps a line that a crash tore off from taking this one with it.
    line = f"\n{json.dumps(record, allow_nan=False)}\n".encode()
    try:
        new = not path.exists()
        append_durably(path, line)
        if new:
            sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None


def ticks(store: Store) -> dict[Claim, Tick]:
    """Return every answer that holds, in the order of first being given.

    Lines that are damaged are passed over, and so are those about pictures that are not in the
    store any more, or have other pixels.
    """
    try:
        lines = (store.path / FILE).read_bytes().splitlines()
    except OSError:
        return {}
    pixels, found = _pixels(store), dict[Claim, Tick]()
    for line in lines:
        try:
            record = json.loads(line)
            claim = Claim(record["finding"], record["about"], tuple(record["ids"]))
            words = (claim.finding, claim.about, *claim.ids, *record["pixels"])
            if not claim.ids or not all(isinstance(one, str) for one in words):
                continue
            seen, answer, when = record["pixels"], record["answer"], str(record["when"])
            if seen != [pixels.get(id_) for id_ in claim.ids] or record["schema"] != SCHEMA:
                continue
            if answer is None:
                found.pop(claim, None)
            else:
                found[claim] = Tick(Answer(answer), when)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


def reviews_csv(given: dict[Claim, Tick]) -> bytes:
    """Return answers as CSV, sorted by finding and ids.

    Columns: finding, about, id, other (the second picture of a pair), answer, when.
    """
    rows = [["finding", "about", "id", "other", "answer", "when"]]
    for claim, one in sorted(given.items(), key=lambda pair: _sorting(pair[0])):
        first, *rest = claim.ids
        other = rest[0] if rest else ""
        cells = (claim.finding, claim.about, first, other, one.answer.value, one.when)
        rows.append([*map(guarded, cells)])
    return csv_text(rows).encode("utf-8", "backslashreplace")


def _sorting(claim: Claim) -> tuple[str, tuple[str, ...], str]:
    return claim.finding, claim.ids, claim.about


def _pixels(store: Store) -> dict[str, str]:
    """Return the hash of each picture's pixels by its id."""
    hashes = map(str, store.items.column("pixel_sha256"))
    return dict(zip(store.items.ids, hashes, strict=True))
