"""Tar files: their members in order, and one of them by its name."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from embedkit.errors import UnreadableImageError
from embedkit.remote import is_url, read_range
from embedkit.shards.kept import Kept, key_of, open_shard

KEPT = 64  # tar files whose members' places are known at a time; about 200 bytes a member
PACKERS = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}
# What a damaged or hostile header makes tarfile raise.
DAMAGE = (OSError, EOFError, tarfile.TarError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar file.

    Attributes:
        name: of it, as it is written there.
        start: of its bytes in the tar file.
        size: of it, in bytes.
        odd: what it is where it is no regular file, "" where it is one.
    """

    name: str
    start: int
    size: int
    odd: str = ""

    @property
    def path(self) -> PurePosixPath:
        """Return its name without what means nothing, as `./`."""
        return PurePosixPath(self.name)


def members(shard: Path) -> Iterator[tuple[Member, BinaryIO]]:
    """Read the headers of a tar file from its begin to its end; folders are left out.

    Yields:
        A member, and the tar file, in which the reader may move about.

    Raises:
        OSError, TarError and others in `DAMAGE`: it is not there, no tar file, or damaged.
        FetchError: it could not be fetched this time.
    """
    with open_shard(shard) as stream:
        packer = PACKERS.get(stream.read(2))
        if packer is not None:
            raise tarfile.ReadError(f"it is compressed by {packer}; decompress it first")
        stream.seek(0)
        with tarfile.open(fileobj=stream, mode="r:") as opened:
            before = -1
            while (one := opened.next()) is not None:
                if one.size < 0 or opened.offset <= before:  # would be read for ever
                    raise tarfile.ReadError(f"damaged header at byte {one.offset}")
                before = opened.offset
                opened.members = []  # type: ignore[attr-defined]  # else it keeps all of them
                if not one.isdir():
                    yield Member(one.name, one.offset_data, one.size, _odd(one)), stream
            # tarfile takes a header that it cannot read for the end.
            stream.seek(opened.offset)
            if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError(f"damaged header at byte {opened.offset}")


def _odd(one: tarfile.TarInfo) -> str:
    if one.issym() or one.islnk():
        return "a link in a tar file, which is not followed"
    if one.issparse():
        return "a file with holes in a tar file, which is not read"
    return "" if one.isreg() else "not a regular file"


def read_name(shard: Path, name: str, most: int) -> bytes:
    """Read the member of a tar file that has a name, at most so many bytes.

    Raises:
        UnreadableImageError: there is none, or the tar file is damaged.
        FetchError: it could not be fetched this time.
    """
    try:
        start, size = _PLACES.get(key_of(shard), _places)[name]
    except KeyError:
        raise UnreadableImageError(f"not in {shard.name}") from None
    except DAMAGE as error:
        raise UnreadableImageError(f"{shard.name} cannot be read: {_plain(error)}") from None
    return read_at(shard, start, size, most)


def read_at(shard: Path, start: int, size: int, most: int) -> bytes:
    """Read a member of a tar file by its place there, at most so many bytes.

    Raises:
        UnreadableImageError: the tar file cannot be read.
        FetchError: it could not be fetched this time.
    """
    size = min(size, most)
    try:
        if is_url(shard):
            return read_range(shard, start, start + size)
        with open_shard(shard) as stream:
            stream.seek(start)
            return stream.read(size)
    except OSError as error:
        raise UnreadableImageError(f"{shard.name} cannot be read: {_plain(error)}") from None


_PLACES: Kept[dict[str, tuple[int, int]]] = Kept(KEPT)


def _places(shard: Path) -> dict[str, tuple[int, int]]:
    return {str(one.path): (one.start, one.size) for one, _ in members(shard) if not one.odd}


def _plain(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).split("\n", 1)[0]
