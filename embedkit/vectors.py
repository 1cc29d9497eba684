"""Vectors: the array types that the packages pass around, and what a unit row is."""

from typing import Any

import numpy as np
import numpy.typing as npt

from embedkit.errors import EmbedkitError

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]

UNIT_TOLERANCE = 1e-4
TIE_DECIMALS = 7  # of a cosine; those that agree in them are a tie


def unit_rows(rows: npt.NDArray[Any]) -> FloatArray:
    """Scale each row to length 1.

    Args:
        rows: (n, d), any float type.

    Returns:
        (n, d) float32, unit rows.

    Raises:
        EmbedkitError: a row holds NaN or infinity, or is all zero.
    """
    wide = np.asarray(rows, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    bad = ~np.isfinite(lengths) | (lengths == 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise EmbedkitError(
            f"row {row} of {len(wide)} vectors has length {lengths[row]}, so it has no direction; "
            "the network that made it returned zeros, NaN or infinity"
        )
    return np.ascontiguousarray(wide / lengths[:, None], dtype=np.float32)


def check_unit_rows(rows: Any, dimension: int | None = None) -> FloatArray:
    """Return `rows` as float32 if each is a finite unit row of width `dimension`, or of any.

    FAISS checks the shape with asserts and accepts NaN, so embedkit checks before each call.

    Raises:
        EmbedkitError: as `check_rows`, or a length other than 1.
    """
    check_rows(rows, dimension)
    with np.errstate(over="ignore"):
        # In double precision, without a copy of all rows in it.
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64, casting="same_kind"))
    bad = ~(np.abs(lengths - 1) <= UNIT_TOLERANCE)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise EmbedkitError(
            f"row {row} of {len(rows)} vectors has length {lengths[row]:.4g}, 1 expected"
        )
    return np.ascontiguousarray(rows, dtype=np.float32)


def check_rows(rows: Any, dimension: int | None = None) -> None:
    """Refuse what are no finite rows of width `dimension`, or of any; of any float type.

    Raises:
        EmbedkitError: another shape or type, or a value that is not finite.
    """
    if not isinstance(rows, np.ndarray) or isinstance(rows, np.ma.MaskedArray):
        raise EmbedkitError(f"a {type(rows).__name__} was given, an array of numpy expected")
    if rows.dtype.kind != "f":
        raise EmbedkitError(f"vectors of type {rows.dtype} were given, float32 expected")
    if rows.ndim != 2 or rows.shape[1] != (dimension or rows.shape[1]):
        wanted = dimension or "d"
        raise EmbedkitError(f"vectors of shape {rows.shape} were given, (n, {wanted}) expected")
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise EmbedkitError(f"row {row} of {len(rows)} vectors holds NaN or infinity")
