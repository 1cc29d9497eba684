"""ONNX files written by hand: the few messages of its protobuf schema that a small network needs.

Source of the field numbers: onnx.proto of the ONNX project, IR version 8.
"""

import numpy as np

FLOAT = 1


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _number(number << 3) + _number(value)
    data = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | 2) + _number(len(data)) + data


def _node(kind: str, inputs: list[str], output: str) -> bytes:
    names = b"".join(_field(1, name) for name in inputs)
    return _field(1, names + _field(2, output) + _field(4, kind))


def _constant(name: str, values: np.ndarray) -> bytes:
    shape = b"".join(_field(1, side) for side in values.shape)
    raw = values.astype("<f4").tobytes()
    return _field(5, shape + _field(2, FLOAT) + _field(8, name) + _field(9, raw))


def _value(number: int, name: str, shape: list[int | str]) -> bytes:
    sides = b"".join(
        _field(1, _field(1, side) if isinstance(side, int) else _field(2, side)) for side in shape
    )
    return _field(
        number, _field(1, name) + _field(2, _field(1, _field(1, FLOAT) + _field(2, sides)))
    )


def mean_colour_classifier(weights: np.ndarray, bias: np.ndarray, side: int) -> bytes:
    """Return a network: each channel's mean, (n, 3), times `weights` (3, k), plus `bias` (k,)."""
    graph = (
        _node("GlobalAveragePool", ["x"], "pooled")
        + _node("Flatten", ["pooled"], "means")
        + _node("Gemm", ["means", "w", "b"], "y")
        + _field(2, "graph")
        + _constant("w", weights)
        + _constant("b", bias)
        + _value(11, "x", ["n", 3, side, side])
        + _value(12, "y", ["n", len(bias)])
    )
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))
