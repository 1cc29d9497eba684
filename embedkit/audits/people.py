"""Everybody like one picture: its copies, and other photographs of the same person."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedkit.audits.run import held_out
from embedkit.audits.siblings import find_siblings
from embedkit.audits.twins import find_twins
from embedkit.errors import InputError
from embedkit.store import Store
from embedkit.store.forgetting import with_copies

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Alike:
    """A picture of a cluster, and what ties it to the one that was asked about: `why`, in words."""

    id: str
    why: str


def meant(
    store: Store,
    ids: Sequence[str] = (),
    groups: Sequence[str] = (),
    like: Sequence[str] = (),
    *,
    backbone: str | None = None,
    say: Say = lambda _: None,
) -> list[Alike]:
    """Return the pictures that are meant by ids, groups and likeness, with the reason of each.

    Every picture of the same pixels is meant too; see `with_copies`.

    Raises:
        InputError: there is no such picture or group.
    """
    found = {
        one.id: one.why for id_ in like for one in alike(store, id_, backbone=backbone, say=say)
    }
    grouped = set(with_copies(store, groups=groups))
    every = with_copies(store, [*ids, *found], groups)
    whose = dict(zip(store.items.ids, store.items.groups, strict=True))

    def why(id_: str) -> str:
        if id_ in ids:
            return "named"
        if id_ in found:
            return found[id_]
        return "its group" if id_ in grouped and whose.get(id_) in groups else "the same pixels"

    return [Alike(id_, why(id_)) for id_ in every]


def alike(
    store: Store,
    id_: str,
    *,
    backbone: str | None = None,
    seed: int = 0,
    say: Say = lambda _: None,
) -> list[Alike]:
    """Return the cluster of a picture as the audits of twins and siblings draw it, it included.

    People are told apart by the data set's groups, or else by faces where there is a train split
    and one beside it; see `find_siblings`. What the audits do not see, this does not find.

    Args:
        store: of the picture.
        id_: of the picture.
        backbone: which space; can be left out where there is only one.
        seed: of what is drawn at random.
        say: told why other pictures of the same person were not looked for, if they were not.

    Raises:
        InputError: the store has no such picture.
    """
    ids = store.items.ids
    if id_ not in ids:
        raise InputError(f"--like: the store has no image '{id_}' that was read")
    row = ids.index(id_)
    twins = find_twins(store, backbone=backbone, seed=seed)
    found = {one: "a copy" for one, n in zip(ids, twins.near, strict=True) if n == twins.near[row]}
    groups, split = store.items.groups, held_out(store)
    if groups[row] is not None:
        who = groups[row]
        same = {one: "same group" for one, of in zip(ids, groups, strict=True) if of == who}
        found = same | found
    else:
        people = (
            "the data set has no test split"
            if split is None
            else find_siblings(store, twins, split=split, seed=seed)
        )
        if isinstance(people, str):
            say(f"the same person was not looked for: {people}")
        elif people.source != "faces":
            say(f"the same person was not looked for: the data set names no group of {id_}")
        else:
            faces = people.identity
            same = {one: "same face" for one, n in zip(ids, faces, strict=True) if n == faces[row]}
            found = same | found
    found[id_] = "named"
    return [Alike(one, found[one]) for one in ids if one in found]
