"""States: a store and its kept audit as they were when a page was loaded, and whether they are."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from embedkit.audits import AUDITS, Verdict
from embedkit.audits.claims import Claim, claims_of
from embedkit.audits.faces import face_space
from embedkit.audits.kept import FOLDER, Document, damaged, kept
from embedkit.errors import EmbedkitError, InputError
from embedkit.explorer.lists import (
    Cluster,
    Listed,
    listed,
    mentioned,
    people,
    twin_clusters,
)
from embedkit.files import sha256
from embedkit.reports.pictures import Pictures
from embedkit.store import Space, Store
from embedkit.store.schema import STORE

COPIES, PEOPLE = "copies", "people"
MOST_VALUES = 60  # of an attribute that pictures can be filtered by
Mark = tuple[tuple[str, int, int, int], ...]


class ChangedError(EmbedkitError):
    """The store or its audit is another one than that which a page was made from."""


@dataclass(frozen=True)
class State:
    """All that a page and its requests rest on.

    Attributes:
        store: that is looked at.
        space: whose vectors say what is near.
        label: column with the class.
        findings: as `kept` returns them, those that are damaged left out.
        claims: of each finding that lists something.
        lists: the same in words.
        mentions: what a finding says of each further picture that it names.
        clusters: of pictures that belong together, by what makes them so.
        damaged: names of the findings that were left out.
        stamp: that names this state in addresses.
        blur_faces: whether faces in pictures are made unrecognisable.
    """

    store: Store
    space: Space
    label: str
    findings: dict[str, Document]
    claims: dict[str, tuple[Claim, ...]]
    lists: dict[str, tuple[Listed, ...]]
    mentions: dict[str, dict[str, str]]
    clusters: dict[str, tuple[Cluster, ...]]
    damaged: tuple[str, ...]
    stamp: str
    blur_faces: bool = False

    @cached_property
    def pictures(self) -> Pictures:
        """What is known of where faces are."""
        return Pictures(self.store.items)

    @cached_property
    def ids(self) -> list[str]:
        """Of all pictures, by row."""
        return self.store.items.ids

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each picture by its id."""
        return {id_: row for row, id_ in enumerate(self.ids)}

    @cached_property
    def labels(self) -> list[str | None]:
        """Label of each picture."""
        return self.store.items.label_column(self.label)

    @cached_property
    def splits(self) -> list[str | None]:
        """Split of each picture."""
        return self.store.items.splits

    @cached_property
    def hashes(self) -> list[str]:
        """SHA-256 of each picture's file when it was embedded."""
        return list(map(str, self.store.items.column("sha256")))

    @cached_property
    def attributes(self) -> dict[str, list[str | None]]:
        """Attributes of few enough values to choose from, as text."""
        found = {}
        for name in ("label", "group", *self.store.items.attributes):
            values = self.store.items.label_column(name) if name != self.label else []
            if 1 < len({one for one in values if one is not None}) <= MOST_VALUES:
                found[name] = values
        return found

    @cached_property
    def by_faces(self) -> bool:
        """Whether nothing but a face network can tell who is on a picture."""
        known = any(group is not None for group in self.store.items.groups)
        return not known and face_space(self.store) is not None

    def shown(self, row: int) -> dict[str, Any]:
        """Return what a page says below a picture."""
        return {
            "row": row,
            "id": self.ids[row],
            "label": self.labels[row],
            "split": self.splits[row],
        }


class Watch:
    """The state that new pages are made from; safe to use from several threads."""

    def __init__(
        self, path: Path, *, label: str, backbone: str | None, blur_faces: bool = False
    ) -> None:
        self._path, self._label, self._backbone = path, label, backbone
        self._blur = blur_faces
        self._lock = threading.Lock()
        self._mark: Mark = ()
        self._state = self._opened()

    def newest(self) -> State:
        """Return the state as it is now on disk; the store is opened again where it has changed.

        Raises:
            EmbedkitError: there is no whole store any more, or not with this column and space.
        """
        with self._lock:
            if self._mark != self._marked():
                self._state = self._opened()
            return self._state

    def current(self, stamp: str) -> State:
        """Return the state that a page was made from.

        Raises:
            ChangedError: it is not that on disk any more.
        """
        with self._lock:
            if stamp != self._state.stamp or self._mark != self._marked():
                raise ChangedError(
                    "the store or its audit has changed since this page was loaded; load it again"
                )
            return self._state

    def _opened(self) -> State:
        # The mark first: what changes while the store is being opened is then seen as a change.
        mark = self._marked()
        store = Store.open(self._path)
        space = store.space(self._backbone)
        store.items.label_column(self._label)
        findings, unsound = {}, damaged(store, label=self._label, backbone=space.name)
        claims, lists = dict[str, tuple[Claim, ...]](), dict[str, tuple[Listed, ...]]()
        mentions = dict[str, dict[str, str]]()
        clusters = {PEOPLE: people(store.items.groups, store.items.ids)}
        for name, finding in kept(store, label=self._label, backbone=space.name).items():
            try:
                _check(name, finding)
                claimed, shown = claims_of(finding, label=self._label), listed(finding)
                mentions[name] = mentioned(finding)
                if name == "twins":
                    clusters[COPIES] = twin_clusters(finding)
            except (InputError, KeyError, TypeError, ValueError, AttributeError):
                unsound.append(name)
                continue
            findings[name] = finding
            if claimed:
                claims[name], lists[name] = claimed, shown
        stamp = sha256(repr((store.record, mark)).encode())[:12]
        self._mark = mark
        return State(
            store=store,
            space=space,
            label=self._label,
            findings={name: findings[name] for name in AUDITS if name in findings},
            claims=claims,
            lists=lists,
            mentions=mentions,
            clusters={kind: found for kind, found in clusters.items() if found},
            damaged=tuple(unsound),
            stamp=stamp,
            blur_faces=self._blur,
        )

    def _marked(self) -> Mark:
        """Return what changes on disk whenever the store or a kept finding is written."""
        return tuple(self._marks())

    def _marks(self) -> Iterator[tuple[str, int, int, int]]:
        kept_files = sorted((self._path / FOLDER).glob("*/*.json"))
        for path in (self._path / STORE, *kept_files):
            try:
                status = path.stat()
            except OSError:
                continue
            yield str(path), status.st_mtime_ns, status.st_size, status.st_ino


def _check(name: str, finding: Document) -> None:
    """Refuse a finding that lacks what every finding has.

    Raises:
        ValueError: it does.
    """
    if finding["name"] != name or finding["verdict"] not in set(Verdict):
        raise ValueError(name)
    if not isinstance(finding["summary"], str) or not isinstance(finding["details"], dict):
        raise TypeError(name)
