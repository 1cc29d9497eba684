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


def check_unit_rows(rows: npt.NDArray[Any], dimension: int) -> FloatArray:
    """Return `rows` as float32 if each is a finite unit row of width `dimension`.

    FAISS checks the shape with asserts and accepts NaN, so embedkit checks before each call.

    Raises:
        EmbedkitError: wrong shape, a value that is not finite, or a length other than 1.
    """
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise EmbedkitError(f"vectors of shape {rows.shape} were given, (n, {dimension}) expected")
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    bad = ~(np.abs(lengths - 1) <= UNIT_TOLERANCE)  # NaN compares false, so it is bad
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise EmbedkitError(
            f"row {row} of {len(rows)} vectors has length {lengths[row]:.4g}, 1 expected"
        )
    return np.ascontiguousarray(rows, dtype=np.float32)
