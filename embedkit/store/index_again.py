"""Making the index of a space again once it has other vectors, without torch where it is exact."""

from typing import TYPE_CHECKING

from embedkit.errors import InputError
from embedkit.store.index import write_index
from embedkit.store.index_files import read_record
from embedkit.store.index_plans import plan_index

if TYPE_CHECKING:
    from embedkit.store.store import Space


def build_again(space: "Space") -> None:
    """Make the index of a space that has none of its vectors, of the type that was asked for last.

    An exact one where nothing was asked for, or where there is not enough memory or too few rows
    for what was.
    """
    before = read_record(space.folder)
    n, d = space.rows.shape
    if before is not None and before.asked != "flat":
        from embedkit.store.index_build import build_stored_index  # brings torch

        try:
            plan = plan_index(n, d, asked=before.asked, memory=before.memory)
            build_stored_index(space, plan, seed=before.seed)
            return
        except InputError:
            pass
    write_index(space.folder, space.shards(), n, d, space.vectors_sha256)
