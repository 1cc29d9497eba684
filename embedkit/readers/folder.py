"""Image folders: which level of folders is the split, which the class."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from embedkit.errors import InputError, LayoutError
from embedkit.items import ItemTable, id_of_path, item_table
from embedkit.readers.manifest import MANIFEST_SUFFIXES, read_columns
from embedkit.readers.metadata import METADATA_NAMES, join_metadata
from embedkit.readers.sharded import read_shards
from embedkit.readers.splits import canonical_split, is_split_word
from embedkit.readers.utkface import read_names
from embedkit.readers.walk import walk
from embedkit.shards import is_shard

WORDS = {
    "split/class": "split folders with class folders in them",
    "class/split": "class folders with split folders in them",
    "class": "class folders, no split",
    "split": "split folders, no labels",
    "group": "folders of people, no labels, no split",
    "*": "one folder, no labels, no split",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What one layout would make of a folder; each list has an entry an image."""

    layout: str
    labels: list[str | None]
    splits: list[str | None]
    groups: list[str | None]

    def __str__(self) -> str:
        """Return the reading as a line of the message that offers a choice."""
        splits = Counter(split for split in self.splits if split is not None)
        classes = sorted({label for label in self.labels if label is not None})
        found = [f"{name} {count}" for name, count in splits.items()] or [f"{len(self.splits)}"]
        shown = ", ".join(classes[:6]) + (", …" if len(classes) > 6 else "")
        return f"  --layout {self.layout:<14} {', '.join(found)} images; " + (
            f"{len(classes)} classes: {shown}" if classes else "no classes"
        )


def read_folder(
    root: Path,
    *,
    layout: str | None = None,
    label: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> ItemTable:
    """Read a folder of images in any layout that data sets come in, or of shards.

    File names that say age, gender and race, as UTKFace's do, are read as such a table would be.
    Metadata files by the Hugging Face convention (`metadata.csv`, `.jsonl` or `.parquet` with a
    column `file_name`, in any folder) are joined, and so are FairFace's two csv files: a label or
    split there goes before the folders'.

    Args:
        root: the folder.
        layout: what each level of folders means, outermost first: `split`, `class`, `group` (a
            person's folder) or `*` (nothing), joined by '/'. Levels below the last belong to it.
            Worked out where left out.
        label: column of the metadata with the class.
        split: column of the metadata with the split.
        group: column of the metadata with the person, video or patient.

    Raises:
        InputError: there is no image below the folder, or a named column.
        LayoutError: there are several readings, or `layout` is no layout.
    """
    found = walk(root)
    if not found.images:
        shards = [one for one in found.other if is_shard(one)]
        if shards:
            if layout is not None:
                name = id_of_path(shards[0])
                raise InputError(f"--layout is for folders of images, but {root} holds {name}")
            return read_shards(root, shards, label=label, split=split, group=group)
        raise InputError(
            f"{root} holds no image"
            + (
                f" ({len(found.other)} other files, e.g. {id_of_path(found.other[0])})"
                if found.other
                else ""
            )
        )
    metadata = [
        read_columns(root / path, root, (root / path).parent, label=label, split=split, group=group)
        for path in found.other
        if _is_metadata(path)
    ]
    names = None if metadata or split or group else read_names(found.images, label=label)
    if names is not None:
        metadata = [names]
    if not metadata:
        for option, value in {"--label": label, "--split": split, "--group": group}.items():
            if value is not None:
                raise InputError(f"{option} names a metadata column, but {root} has no metadata")
    folders = [tuple(path.split("/")[:-1]) for path in found.images]
    reading, notes = _choose(
        root,
        folders,
        layout,
        labels_known=names is not None or any(m.labels is not None for m in metadata),
        splits_known=any(m.splits is not None for m in metadata),
    )
    if names is not None and layout is None and len({one[:1] for one in folders}) > 1:
        notes.append("folders are not taken for classes here; --layout class takes them so")
    unread = [path for path in found.other if not _is_metadata(path)]
    items = item_table(
        root,
        [id_of_path(path) for path in found.images],
        labels=reading.labels,
        splits=reading.splits,
        groups=reading.groups,
        layout=WORDS.get(reading.layout, f"layout {reading.layout}"),
        notes=(*found.notes, *notes, *_remarks(reading, unread)),
    )
    return join_metadata(items, metadata) if metadata else items


def _is_metadata(path: str) -> bool:
    return path.rsplit("/", 1)[-1].lower() in METADATA_NAMES


def _choose(
    root: Path,
    folders: list[tuple[str, ...]],
    layout: str | None,
    *,
    labels_known: bool,
    splits_known: bool,
) -> tuple[Reading, list[str]]:
    """Return the one reading that fits, and what to say about it."""
    if layout is not None:
        return _read(folders, _checked(layout)), []
    depth = _wrapping(folders)
    inner = [parts[depth:] for parts in folders]
    names = _possible(inner)
    if labels_known:
        names = [name.replace("split/class", "split").replace("class", "*") for name in names]
    if splits_known:
        names = [name.replace("split", "*") for name in names]
    readings = [_read(inner, name) for name in dict.fromkeys(names)]
    if len(readings) > 1:
        prefix = "*/" * depth
        lines = [str(replace(r, layout=prefix + r.layout)) for r in readings]
        raise LayoutError(
            f"{root} can be read in {len(readings)} ways; choose one:\n" + "\n".join(lines)
        )
    outside = id_of_path("/".join(folders[0][:depth]))
    return readings[0], [f"read from inside {outside}/"] if depth else []


def _wrapping(folders: list[tuple[str, ...]]) -> int:
    """Count the outer folders that hold everything and mean nothing, as zips often have."""
    depth = 0
    while True:
        names = {parts[depth : depth + 1] for parts in folders}
        deeper = all(len(parts) > depth + 1 for parts in folders)
        if len(names) > 1 or not deeper or is_split_word(folders[0][depth]):
            return depth
        depth += 1


def _possible(folders: list[tuple[str, ...]]) -> list[str]:
    """Name the layouts that a folder could have, the likeliest first."""
    outer = {parts[0] for parts in folders if parts}
    inner = {parts[1] for parts in folders if len(parts) > 1}
    outer_split = [is_split_word(name) for name in outer]
    inner_split = [is_split_word(name) for name in inner]
    if not outer:
        return ["*"]
    if all(outer_split):
        if not inner:
            return ["split"]
        return ["split/class", "class/split"] if all(inner_split) else ["split/class"]
    in_every = all(len(parts) > 1 for parts in folders if parts)
    if inner and all(inner_split) and in_every:
        third: dict[str, set[str]] = {}
        for parts in folders:
            if len(parts) > 2:
                third.setdefault(parts[2], set()).add(parts[0])
        shared = any(len(tops) > 1 for tops in third.values())
        return ["class/split", "*/split/class"] if shared else ["class/split"]
    if any(outer_split):
        return ["class", "split/class"] if inner else ["class", "split"]
    return ["class", "class/split"] if any(inner_split) else ["class"]


def _read(folders: list[tuple[str, ...]], layout: str) -> Reading:
    levels = {name: place for place, name in enumerate(layout.split("/")) if name != "*"}

    def level(parts: tuple[str, ...], name: str) -> str | None:
        place = levels.get(name)
        return parts[place] if place is not None and place < len(parts) else None

    def names(of: str) -> list[str | None]:
        given = [level(parts, of) for parts in folders]
        return [None if name is None else id_of_path(name) for name in given]

    splits = [None if split is None else canonical_split(split) for split in names("split")]
    return Reading(layout, names("class"), splits, names("group"))


def _checked(layout: str) -> str:
    names = layout.split("/")
    meant = [name for name in names if name != "*"]
    if not set(names) <= {"split", "class", "group", "*"} or len(set(meant)) != len(meant):
        raise LayoutError(
            f"--layout {layout!r} is no layout; it joins 'split', 'class', 'group' and '*' by '/', "
            "outermost folder first, e.g. split/class, */split/class or group"
        )
    return layout


def _remarks(reading: Reading, other: list[str]) -> list[str]:
    notes = []
    classes = {label for label in reading.labels if label is not None}
    unlabelled = sum(label is None for label in reading.labels)
    if classes and unlabelled:
        notes.append(f"{unlabelled} images lie outside the class folders and have no label")
    folded = Counter(label.lower() for label in classes)
    for name in sorted(name for name, times in folded.items() if times > 1):
        spellings = sorted(label for label in classes if label.lower() == name)
        notes.append(f"classes {' and '.join(map(repr, spellings))} differ only in case")
    tables = [path for path in other if Path(path).suffix.lower() in MANIFEST_SUFFIXES]
    if tables:
        name = id_of_path(tables[0])
        notes.append(f"{name} was not read; if it lists the images, give it as the source")
    if other:
        shown = ", ".join(map(id_of_path, other[:3])) + (", …" if len(other) > 3 else "")
        notes.append(f"{len(other)} other files left out: {shown}")
    return notes
