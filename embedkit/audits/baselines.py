"""Baselines: findings that are known already, so that a gate can ask for no new ones."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.audits import Audit
from embedkit.audits.labels import Labels
from embedkit.audits.quality import Quality
from embedkit.audits.twins import Pair, Twins
from embedkit.errors import InputError
from embedkit.files import read_plain, sha256, write_output
from embedkit.store import Store

SCHEMA = "embedkit.baseline/1"
SKETCH = 64  # pictures by which a data set is known again
GONE = "not readable"

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The findings of an earlier audit that are lists of images.

    Attributes:
        label: column with the class.
        sketch: the smallest hashes of the pictures; two data sets share as large a part of theirs
            as of their pictures, on average (A. Broder, "On the resemblance and containment of
            documents", 1997).
        images: what each image in a finding was: a hash of its pixels, split and label.
        known: by audit: `twins` pairs of ids, `labels` id and label, `quality` id and check.
    """

    label: str
    sketch: tuple[str, ...]
    images: dict[str, str]
    known: dict[str, frozenset[Key]]

    def check(self, store: Store, label: str) -> None:
        """Refuse a store that it was not written for.

        Raises:
            InputError: it was written for another column, or for other pictures.
        """
        if label != self.label:
            raise InputError(
                f"the baseline was written for the labels of {self.label!r}, not of {label!r}; "
                "--write-baseline writes one for these"
            )
        if not set(self.sketch) & set(store.items.column("pixel_sha256")):
            raise InputError(
                f"the baseline is of another data set: none of the {len(self.sketch)} pictures "
                f"that it is told by is in {store.path}; --write-baseline writes one anew"
            )

    def unchanged(self, store: Store, label: str) -> set[str]:
        """Return the ids of its images that are still what they were."""
        now = fingerprints(store, label, self.images)
        return {id_ for id_, was in self.images.items() if now.get(id_) == was}

    def to_dict(self) -> dict[str, Any]:
        """Return the document `embedkit.baseline/1`."""
        return {
            "schema": SCHEMA,
            "label": self.label,
            "known": {name: sorted(map(list, keys)) for name, keys in sorted(self.known.items())},
            "images": dict(sorted(self.images.items())),
            "sketch": list(self.sketch),
        }


def listed(result: Audit) -> dict[str, frozenset[Key]]:
    """Return what an audit lists, image by image, of the audits that ran and list any."""
    keys: dict[str, Iterable[Key]] = {}
    for one in result.findings:
        if isinstance(one, Twins):
            keys["twins"] = [pair_key(pair) for pair in one.pairs]
        elif isinstance(one, Labels):
            keys["labels"] = [(suspect.id, suspect.label) for suspect in one.images]
        elif isinstance(one, Quality):
            keys["quality"] = [
                (flagged.id, fault.check) for flagged in one.flagged for fault in flagged.faults
            ]
    return {name: frozenset(some) for name, some in keys.items()}


def pair_key(pair: Pair) -> Key:
    """Return the ids of a pair, whichever comes first in a store."""
    return (min(pair.a, pair.b), max(pair.a, pair.b))


def baseline_of(result: Audit) -> Baseline:
    """Return everything that an audit lists as a baseline."""
    label, known = result.settings["label"], listed(result)
    hashes = sorted({str(one) for one in result.store.items.column("pixel_sha256")})
    ids = {id_ for name, keys in known.items() for key in keys for id_ in images_in(name, key)}
    images = fingerprints(result.store, label, ids)
    return Baseline(label, tuple(hashes[:SKETCH]), images, known)


def write_baseline(result: Audit, path: Path) -> Baseline:
    """Write what an audit lists, for `read_baseline`, and return it.

    Raises:
        OutputError: the file cannot be written.
    """
    made = baseline_of(result)
    write_output(path, (json.dumps(made.to_dict(), indent=1) + "\n").encode())
    return made


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        InputError: there is none, or it is damaged or something else.
    """
    try:
        document = json.loads(read_plain(path))
    except OSError as error:
        raise InputError(
            f"--baseline {path}: {error.strerror}; --write-baseline makes it"
        ) from None
    except (ValueError, RecursionError):
        raise InputError(f"--baseline {path} is damaged: no JSON") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"--baseline {path} is no baseline (schema {schema!r}, not {SCHEMA!r}); "
            "'embedkit audit STORE --write-baseline FILE' makes one"
        )
    made = _read(document)
    if made is None:
        raise InputError(f"--baseline {path} is damaged; --write-baseline writes it anew")
    return made


def _read(document: dict[str, Any]) -> Baseline | None:
    """Return a baseline from its document; None if that is damaged."""
    label, sketch = document.get("label"), document.get("sketch")
    images, known = document.get("images"), document.get("known")
    if not (isinstance(label, str) and isinstance(sketch, list)):
        return None
    if not (isinstance(images, dict) and isinstance(known, dict)):
        return None
    keys = [(name, key) for name, some in known.items() if isinstance(some, list) for key in some]
    if not all(isinstance(some, list) for some in known.values()) or not all(
        isinstance(key, list) and len(key) == 2 and all(isinstance(one, str) for one in key)
        for _, key in keys
    ):
        return None
    named = {id_ for name, key in keys for id_ in images_in(name, tuple(key))}
    if not named <= set(images) or not all(isinstance(one, str) for one in sketch):
        return None
    every = {name: frozenset(tuple(key) for key in some) for name, some in known.items()}
    return Baseline(label, tuple(sketch), images, every)


def images_in(name: str, key: Key) -> Key:
    """Return the ids of the images that a listed finding is about."""
    return key if name == "twins" else key[:1]


def fingerprints(store: Store, label: str, ids: Iterable[str]) -> dict[str, str]:
    """Return, of images, a hash of what a finding about them rests on: pixels, split and label.

    A file that could not be taken has no pixels; one that is not there is left out.
    """
    items = store.items
    pixels = items.column("pixel_sha256")
    facts = zip(pixels, items.splits, items.label_column(label), strict=True)
    every = dict(zip(items.ids, facts, strict=True))
    found = {one.id: GONE for one in store.unreadable}
    wanted = {id_: every[id_] for id_ in ids if id_ in every}
    made = {id_: sha256(json.dumps(fact).encode()) for id_, fact in wanted.items()}
    return {id_: found[id_] for id_ in ids if id_ in found} | made
