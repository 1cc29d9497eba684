"""Which indexes this user made on this machine: FAISS reads these, and no others.

FAISS calls its files unfit for strangers' hands, and a checksum that lies beside a file says only
that both come from the same hand. So whoever makes an index leaves a mark outside the store: an
empty file in the user's own folder, named after the hash of `index.json`, which has the hashes of
the rest. A store that came from elsewhere has none, and is searched without its index.
"""

import os
from contextlib import suppress
from pathlib import Path

from embedkit.files import sha256


def remember(record: bytes) -> None:
    """Take note that this user made the index of a record; without a folder for it, do not."""
    with suppress(OSError, RuntimeError):
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / sha256(record)).touch(mode=0o600)


def made_here(record: bytes) -> bool:
    """Say whether this user made the index of a record, on this machine."""
    with suppress(OSError, RuntimeError):
        return (_folder() / sha256(record)).is_file()
    return False


def _folder() -> Path:
    """Return where the marks are.

    Raises:
        RuntimeError: this user has no home.
    """
    given = os.environ.get("XDG_STATE_HOME", "")
    state = Path(given) if os.path.isabs(given) else Path.home() / ".local/state"  # noqa: PTH117
    return state / "embedkit/indexes"
