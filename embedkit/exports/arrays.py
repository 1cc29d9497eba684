"""NumPy's file format: one array of all vectors, and a table that says what its rows are.

The folder is what `autofaiss build_index --embeddings FOLDER` takes.
"""

from pathlib import Path

import numpy as np
from pyarrow import csv

from embedkit.exports.base import Subject, Written, in_python, quoted
from embedkit.exports.columns import text_columns

VECTORS, ITEMS = "vectors.npy", "items.csv"


def write_arrays(subject: Subject, folder: Path, name: str) -> Written:
    """Write `vectors.npy`, (n, d) float32, and `items.csv` with as many rows.

    Args:
        subject: to write.
        folder: to write to.
        name: that the folder will have.
    """
    shape = (subject.space.record.n, subject.space.record.dimension)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with (folder / VECTORS).open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for _, vectors in subject.vectors():
            stream.write(np.ascontiguousarray(vectors, "<f4").data)
    with (folder / ITEMS).open("wb") as stream:
        csv.write_csv(text_columns(subject.known), stream)
    where = Path(name) / VECTORS
    return Written(opens=in_python(f"import numpy; print(numpy.load({quoted(where)}).shape)"))
