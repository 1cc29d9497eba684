"""Peaks of maps: where in the picture the largest value lies."""

import numpy as np

from embedkit.vectors import DoubleArray

Box = tuple[float, float, float, float]


def peak_box(values: DoubleArray, height: float, width: float) -> Box:
    """Return the cells that hold the largest value, as one rectangle.

    Args:
        values: (rows, columns); cells of equal value beside each other belong together.
        height: of a cell, in pixels.
        width: of it.

    Returns:
        Left, top, right, bottom in pixels; of several places, the first.
    """
    row, column = (int(n) for n in np.unravel_index(int(values.argmax()), values.shape))
    bottom, right = row + 1, column + 1
    while bottom < values.shape[0] and values[bottom, column] == values[row, column]:
        bottom += 1
    while right < values.shape[1] and values[row, right] == values[row, column]:
        right += 1
    return column * width, row * height, right * width, bottom * height


def middle(box: Box) -> tuple[float, float]:
    """Return x and y of the middle of a box."""
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2
