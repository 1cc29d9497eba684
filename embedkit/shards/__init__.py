"""Shards: tar and Parquet files that hold many pictures, and one picture of them by its path.

The path of such a picture goes through the file: `faces/0.tar/anna/17.jpg` is the member
`anna/17.jpg` of a tar file, `train-0.parquet/000017` the picture in the 17th row.
"""

from pathlib import Path

from embedkit.remote import is_url, url_is_file
from embedkit.shards import tables, tars

SUFFIXES = (".tar", ".parquet")


def is_shard(path: str | Path) -> bool:
    """Return whether a file of this name may hold pictures."""
    return Path(path).suffix.lower() in SUFFIXES


def shard_above(path: Path) -> Path | None:
    """Return the shard that a path leads into; None where it leads into none."""
    is_file = url_is_file if is_url(path) else Path.is_file
    return next((one for one in path.parents if is_shard(one) and is_file(one)), None)


def read_member(shard: Path, path: Path, most: int) -> bytes:
    """Read one picture of a shard, at most so many bytes.

    A tar file's headers are read once a process, a row group of a Parquet file up to the row.

    Args:
        shard: that the path leads into.
        path: of the picture.
        most: bytes.

    Raises:
        UnreadableImageError: there is no such picture, or the shard is damaged.
        FetchError: it lies behind a URL that does not answer as it should.
    """
    name = str(path.relative_to(shard))
    if shard.suffix.lower() == ".tar":
        return tars.read_name(shard, name, most)
    return tables.read_name(shard, name, most)
