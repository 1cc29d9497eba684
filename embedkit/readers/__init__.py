"""Readers: a data set on disk becomes an `ItemTable`."""

from pathlib import Path

from embedkit.errors import InputError
from embedkit.items import ItemTable
from embedkit.readers.bins import cut_label
from embedkit.readers.containers import unpack
from embedkit.readers.folder import read_folder
from embedkit.readers.manifest import MANIFEST_SUFFIXES, holds_pictures, read_manifest
from embedkit.readers.samples import readable
from embedkit.readers.sharded import read_shards
from embedkit.remote import is_url, url_is_file, url_of
from embedkit.shards import is_shard
from embedkit.shards.tables import open_table
from embedkit.trust import trust

__all__ = ["read_source", "unpack"]


def read_source(
    source: str | Path,
    *,
    layout: str | None = None,
    root: Path | None = None,
    label: str | None = None,
    split: str | None = None,
    group: str | None = None,
    bins: str | None = None,
) -> ItemTable:
    """Read a data set: a folder of images, with or without metadata files, or a manifest.

    Args:
        source: folder of images, or of tar or Parquet files with images, or one such file, or the
            URL of one of these; or a csv, tsv, jsonl or parquet file that names images.
        layout: which folder level means what, e.g. `split/class`; worked out where left out.
        root: folder, or its URL, that a manifest's paths are relative to; its own folder where
            left out.
        label: column of the manifest or metadata files with the class; found by its usual names
            where left out.
        split: column with the split, likewise.
        group: column with the person, video or patient, likewise.
        bins: ranges that the label, a number, is cut into; see `cut_label`.

    Raises:
        InputError: nothing is there, or it holds no image.
        LayoutError: the folder can be read in several ways.
    """
    for one in (Path(source), root):
        if one is not None and is_url(one):
            trust(url_of(one))
    if bins is not None:
        if label is None:
            raise InputError("--bins cuts the column that --label names")
        plain = read_source(source, layout=layout, root=root, label=label, split=split, group=group)
        return cut_label(plain, bins, name=label)
    source = Path(source)
    if not source.exists() and not is_url(source):
        raise InputError(f"{source} does not exist")
    if is_shard(source) and _holds_pictures(source):
        if root is not None or layout is not None:
            option = "--layout" if root is None else "--root"
            raise InputError(f"{option} has no meaning for {source}, which holds pictures itself")
        return read_shards(source.parent, [source.name], label=label, split=split, group=group)
    if source.is_dir() or is_url(source):
        if root is not None:
            raise InputError(f"--root belongs to a manifest, but {source} is a folder")
        return read_folder(source, layout=layout, label=label, split=split, group=group)
    if source.suffix.lower() not in MANIFEST_SUFFIXES:
        raise InputError(
            f"{source} is a file; a data set is a folder or one of "
            f"{', '.join(sorted(MANIFEST_SUFFIXES))}"
        )
    if layout is not None:
        raise InputError("--layout is for folders; a manifest's columns say what is what")
    return read_manifest(source, root=root, label=label, split=split, group=group)


def _holds_pictures(shard: Path) -> bool:
    """Return whether a file called as a shard is one, not a folder or a table that names files."""
    if is_url(shard):
        return url_is_file(shard)
    if shard.is_dir():
        return False
    if shard.suffix.lower() == ".tar":
        return True
    with readable(shard), open_table(shard) as opened:
        return holds_pictures(opened.schema_arrow)
