"""Ticks: what people say of the things that audits list, kept in the store.

A tick is a line of `reviews.jsonl`; the last line about a thing counts. It belongs to what was
shown: where a picture's pixels, a label or a flaw are others by now, it is not counted.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from embedkit.audits.claims import Claim
from embedkit.cells import csv_text, guarded
from embedkit.errors import OutputError, StoreError
from embedkit.files import alone, append_durably, read_plain, sync_folder
from embedkit.store import Store
from embedkit.store.forgotten import check_since
from embedkit.store.schema import as_sealed, sealed, unsealed

FILE = "reviews.jsonl"
SCHEMA = "embedkit.review/1"
# Of a line as it was written before lines had checksums.
UNSEALED = {"schema", "finding", "about", "ids", "pixels", "answer", "when"}


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
        StoreError: a picture of it was forgotten since the store was opened.
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
    line = b"\n" + sealed(record, indent=None)
    try:
        with alone(store.path):  # forgetting writes the file anew
            check_since(store.path, claim.ids, "this answer")
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
        lines = read_plain(store.path / FILE).split(b"\n")
    except OSError:
        return {}
    pixels, found = _pixels(store), dict[Claim, Tick]()
    for line in lines:
        try:
            record = _record(line)
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
        except (StoreError, ValueError, KeyError, TypeError):
            continue
    return found


def ticks_faults(path: Path) -> list[str]:
    """Check every line of a file of answers and return what is wrong; [] if it is whole.

    A line that is gone as a whole leaves no trace.
    """
    try:
        lines = read_plain(path).split(b"\n")
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}"]
    faults = []
    for number, line in enumerate(lines, 1):
        try:
            record = _record(line) if line else {}
        except StoreError:
            record = None
        unlike = record and "seal" in record and not as_sealed(line + b"\n", _unsealed(line))
        if record is None or unlike:
            faults.append(f"{path} is damaged in line {number}: this answer is not counted")
    # Every answer is written with an empty line before it and a line break after it.
    if len(lines) < 2 or any(lines[::2]) or not all(lines[1::2]):
        faults = faults or [f"{path} is cut off, or something was added to it"]
    return faults


def _record(line: bytes) -> dict[str, Any]:
    """Return what a line holds.

    Raises:
        StoreError: it is damaged.
    """
    try:
        record: dict[str, Any] = json.loads(line)
        old = record.keys() == UNSEALED
    except (ValueError, AttributeError, RecursionError):
        raise StoreError(f"{FILE} is damaged") from None
    return record if old else _unsealed(line) | {"seal": record.get("seal")}


def _unsealed(line: bytes) -> dict[str, Any]:
    return unsealed(line, Path(FILE), SCHEMA)


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
