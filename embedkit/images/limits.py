"""Limits of what is decoded, and the few words that say why there are no pixels."""

from embedkit.decoders import DIED, TOO_MUCH
from embedkit.errors import InputError, UnreadableImageError

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
EMPTY = "empty file (0 bytes)"
TOO_MANY = "too many pixels"
CHANGED = "changed while it was being read"
# What may be otherwise the next time, of the same file: on another machine, or with other limits.
PASSING = (TOO_MANY, TOO_MUCH, DIED, CHANGED)


def check_max_pixels(most: int | None) -> None:
    """Refuse a limit that is none.

    Raises:
        InputError: with what is allowed.
    """
    if most is not None and not 1 <= most <= MAX_PIXELS:
        raise InputError(f"--max-pixels is {most}; from 1 to {MAX_PIXELS} are allowed")


def check_size(size: tuple[int, int], most: int) -> None:
    """Refuse a picture of too many pixels.

    Args:
        size: width and height.
        most: pixels.

    Raises:
        UnreadableImageError: with the size and the limit.
    """
    width, height = size
    if width * height > most:
        raise UnreadableImageError(
            f"{TOO_MANY} ({width} x {height}, at most {million(most)} are read)"
        )


def million(pixels: int) -> str:
    """Say a number of pixels in millions."""
    return f"{pixels / 10**6:g} million"


def unprepared(error: Exception) -> str:
    """Say why a picture that was decoded has no place before a network, in one short line."""
    first = str(error).split("\n", 1)[0].strip()
    if isinstance(error, MemoryError) or "can't allocate memory" in first:
        return TOO_MUCH
    return f"cannot be prepared ({type(error).__name__}: {first[:120]})"


def plain(error: Exception) -> str:
    """Say in one short line what a library's exception means, without paths or addresses."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = str(error).split("\n", 1)[0].strip()
    if "cannot identify" in first or not first:
        return "damaged: the picture's header cannot be read"
    return f"damaged: {first[:120]}"
