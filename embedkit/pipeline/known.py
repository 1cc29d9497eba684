"""Pictures of a store read again, to embed more of them than their own vectors."""

from embedkit.errors import InputError, UnreadableImageError
from embedkit.files import sha256
from embedkit.images import decode_pixels, read_bytes
from embedkit.store import Store
from embedkit.vectors import Pixels


def known_pixels(store: Store, id_: str, expected: str) -> Pixels:
    """Return the pixels of an image of a store, (h, w, 3) uint8 RGB, upright.

    Args:
        store: that has it.
        id_: of the image.
        expected: SHA-256 of its file when it was embedded.

    Raises:
        InputError: it is gone, or is another file now.
    """
    path = store.items.path(id_)
    try:
        data = read_bytes(path)
        if sha256(data) == expected:
            return decode_pixels(data)
    except UnreadableImageError as error:
        raise InputError(f"{path} cannot be read any more: {error}") from None
    raise InputError(f"{path} has changed; bring the store up to date first")
