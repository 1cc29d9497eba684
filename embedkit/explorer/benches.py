"""Benches: the work behind a page that needs networks or heads, each made once and kept."""

import threading
from functools import cached_property
from typing import Any

from embedkit.audits.explain import Desk, open_desk
from embedkit.audits.recalled import recall_twins
from embedkit.audits.run import held_out
from embedkit.audits.siblings import find_siblings
from embedkit.audits.twins import Twins, find_twins
from embedkit.errors import InputError
from embedkit.explorer.jobs import Tell
from embedkit.explorer.lists import Cluster
from embedkit.explorer.states import State
from embedkit.maps import map_of
from embedkit.neighbours import Searcher, text_space, text_spaces
from embedkit.reports.cards import card_text
from embedkit.reports.map_data import map_data
from embedkit.store import Neighbour

NEAREST = 24


class Bench:
    """What one state has needed so far.

    Searches may come from several threads; cards and maps come from one, that of the jobs.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self._network = threading.Lock()

    def near(self, row: int) -> list[Neighbour]:
        """Return the nearest pictures of one of the store.

        Raises:
            StoreError: the vectors are damaged or gone.
        """
        return self._searcher.row(row, NEAREST)

    def like(self, data: bytes) -> list[Neighbour]:
        """Return the pictures nearest to one that is given as the bytes of a file.

        Raises:
            InputError: it is no picture.
            EmbedkitError: the network cannot be loaded.
        """
        with self._network:
            return self._searcher.picture(data, NEAREST)

    def text(self, prompt: str) -> list[Neighbour]:
        """Return the pictures that fit a text best.

        Raises:
            InputError: no space of the store knows texts.
            EmbedkitError: the network cannot be loaded.
        """
        with self._network:
            return self._teller.text(prompt, NEAREST)

    def card(self, row: int) -> dict[str, Any]:
        """Return the verdict card of a picture.

        Without a kept audit the first takes as long as finding all copies.

        Raises:
            InputError: the column is no label.
            NotEnoughImagesError: train holds one class only.
        """
        card = self._desk.card(row)
        return {"text": card_text(card), "card": card.to_dict()}

    def people(self) -> tuple[Cluster, ...]:
        """Return the pictures of each person whom a face network tells apart, the most first.

        Raises:
            InputError: it tells nobody apart.
        """
        store = self.state.store
        found = find_siblings(store, self._twins, split=held_out(store) or "test", seed=0)
        if isinstance(found, str):
            raise InputError(found)
        rows: dict[int, list[int]] = {}
        for row, person in enumerate(found.identity.tolist()):
            rows.setdefault(person, []).append(row)
        ids = self.state.ids
        clusters = [
            Cluster(tuple(ids[row] for row in those), "one person, by the faces")
            for those in rows.values()
            if len(those) > 1
        ]
        return tuple(sorted(clusters, key=lambda one: -len(one.ids)))

    def map(self, tell: Tell) -> dict[str, Any]:
        """Return the map as `map.js` is given it, and what is said beside it.

        Raises:
            NotEnoughImagesError: there are too few pictures.
            StoreError: the vectors are damaged or gone.
        """
        state = self.state
        made = map_of(
            state.store,
            label=state.label,
            backbone=state.space.name,
            progress=lambda now: tell(now.stage.removeprefix("map: ")),
        )
        return {
            "data": map_data(made, sprites=None),
            "rows": made.rows.tolist(),
            "title": made.title,
            "method": made.method,
            "honesty": made.honesty.sentences(len(made.rows)),
        }

    @cached_property
    def _searcher(self) -> Searcher:
        return Searcher(self.state.store, backbone=self.state.space.name, label=self.state.label)

    @cached_property
    def _teller(self) -> Searcher:
        store, own = self.state.store, self.state.space.name
        able = text_spaces(store)
        # Where none knows texts, our own says so.
        name = able[0] if able and own not in able else own
        return Searcher(store, backbone=text_space(store, name).name, label=self.state.label)

    @cached_property
    def _desk(self) -> Desk:
        if not self.state.store.items.splits.count("train"):
            raise InputError("the store has no train split, so there is no head to ask")
        state = self.state
        return open_desk(
            state.store, label=state.label, backbone=state.space.name, twins=self._twins
        )

    @cached_property
    def _twins(self) -> Twins:
        state = self.state
        found = state.findings.get("twins")
        if found is not None and found["details"]:
            return recall_twins(state.store, found)
        return find_twins(state.store, backbone=state.space.name, label=state.label)
