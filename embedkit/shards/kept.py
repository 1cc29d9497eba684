"""What was learned of a shard, kept for the next picture of it."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Generic, TypeAlias, TypeVar

from embedkit.files import open_plain
from embedkit.remote import is_url, open_url

Value = TypeVar("Value")
Key: TypeAlias = tuple[Path, int, int]


class Kept(Generic[Value]):
    """The few values that were used last, shared by all threads of a process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key, make: Callable[[Path], Value]) -> Value:
        """Return the value of a shard; others wait while it is made."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make(key[0])
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
            return self._values[key]


def key_of(shard: Path) -> Key:
    """Return what a shard is known by: another file of its name is another shard.

    Behind a URL it is the name alone, for to ask would be a request a picture.

    Raises:
        OSError: it is not there.
    """
    if is_url(shard):
        return shard, 0, 0
    status = shard.stat()
    return shard, status.st_size, status.st_mtime_ns


def open_shard(shard: Path) -> BinaryIO:
    """Open a shard, here or behind a URL.

    Raises:
        OSError: it is not there, or may not be read.
        FetchError: it could not be fetched this time.
    """
    if is_url(shard):
        return open_url(shard)
    return open_plain(shard)
