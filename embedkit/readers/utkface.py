"""UTKFace: age, gender and race are in each file's name, `age_gender_race_date.jpg`."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import pyarrow as pa

from embedkit.errors import InputError
from embedkit.items import id_of_path
from embedkit.readers.manifest import ManifestColumns

GENDERS = ("male", "female")
RACES = ("white", "black", "asian", "indian", "other")
MOST = 0.9  # of the names have to be such for the others to be called malformed
SHOWN = 3
_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_\d{8,}")


def read_names(paths: Sequence[str], *, label: str | None = None) -> ManifestColumns | None:
    """Return what the names say of each image; None where they are other names.

    Columns are `age` (whole years), `gender` and `race` (words), by the data set's own page
    (Z. Zhang, Y. Song and H. Qi, "Age progression/regression by conditional adversarial
    autoencoder", CVPR 2017). Some of its files lack a part of the name: such an image is kept, with
    nothing known of it, and pointed out.

    Args:
        paths: of n images.
        label: which column is the class; none where left out.

    Raises:
        InputError: there is no such column.
    """
    found = [_NAME.match(PurePosixPath(path).name) for path in paths]
    malformed = [path for path, match in zip(paths, found, strict=True) if match is None]
    if len(paths) - len(malformed) < MOST * len(paths):
        return None
    parts = [None if one is None else one.groups() for one in found]
    columns = {
        "age": pa.array([None if one is None else int(one[0]) for one in parts], pa.int64()),
        "gender": pa.array([None if one is None else GENDERS[int(one[1])] for one in parts]),
        "race": pa.array([None if one is None else RACES[int(one[2])] for one in parts]),
    }
    if label is not None and label not in columns:
        raise InputError(
            f"the file names have no {label!r}; as UTKFace has them, they say {', '.join(columns)}"
        )
    given = None if label is None else columns.pop(label).to_pylist()
    notes = []
    if malformed:
        shown = ", ".join(malformed[:SHOWN]) + (", ..." if malformed[SHOWN:] else "")
        notes.append(
            f"{len(malformed)} file names are not age_gender_race_date, so nothing is known of "
            f"those images: {shown}"
        )
    return ManifestColumns(
        ids=[id_of_path(path) for path in paths],
        labels=None if given is None else [None if one is None else str(one) for one in given],
        splits=None,
        groups=None,
        attributes=pa.table(columns),
        missing=(),
        mapping="age, gender and race in the file names, as UTKFace has them",
        notes=tuple(notes),
    )
