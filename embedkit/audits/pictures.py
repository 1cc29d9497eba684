"""Pictures read again: a file counts only while it is what was embedded."""

from pathlib import Path

from embedkit.errors import UnreadableImageError
from embedkit.files import sha256
from embedkit.images import read_bytes


def read_again(path: Path, expected: object) -> bytes:
    """Read the file of an image of a store.

    Args:
        path: of it.
        expected: its SHA-256 when it was embedded.

    Raises:
        UnreadableImageError: it is gone, or is another file now.
    """
    data = read_bytes(path)
    if sha256(data) != expected:
        raise UnreadableImageError("it has changed since it was embedded")
    return data
