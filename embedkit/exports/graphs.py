"""A head's arithmetic as an ONNX graph: vectors in, probabilities out, all of it in float64."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from embedkit.heads.classifier import Classifier
from embedkit.heads.cumulative import Cumulative
from embedkit.heads.knn import NEAREST, NearestNeighbours, class_frequencies
from embedkit.heads.logistic import Logistic
from embedkit.vectors import TIE_DECIMALS

INPUT, OUTPUT = "embedding", "probabilities"
IR, OPSET = 8, 17  # what ONNX Runtime has read since 1.13, of 2022


def graph_of(classifier: Classifier, *, dimension: int, n_classes: int) -> onnx.GraphProto:
    """Return a classifier as a graph.

    `embedding` (batch, d) float32 of any length becomes unit rows, `probabilities` is (batch, k)
    float32. A row of zeros has no direction and gives NaN.

    Args:
        classifier: of a head.
        dimension: d.
        n_classes: k.
    """
    made = _Graph()
    unit = _unit_rows(made)
    if isinstance(classifier, Logistic):
        answer = _logistic(made, unit, classifier)
    elif isinstance(classifier, Cumulative):
        answer = _cumulative(made, unit, classifier)
    elif isinstance(classifier, NearestNeighbours):
        answer = _nearest(made, unit, classifier)
    else:
        raise TypeError(f"{type(classifier).__name__} has no graph")
    made.add("Cast", [answer], to=TensorProto.FLOAT, output=OUTPUT)
    return helper.make_graph(
        made.nodes,
        "head",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", dimension])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", n_classes])],
        made.constants,
    )


class _Graph:
    """Nodes and constants, each named by its number."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float64) -> str:
        """Add a constant and return its name."""
        name = f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(np.asarray(values, dtype))
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def _unit_rows(made: _Graph) -> str:
    wide = made.add("Cast", [INPUT], to=TensorProto.DOUBLE)
    squares = made.add("Mul", [wide, wide])
    total = made.add("ReduceSum", [squares, made.constant([1], np.int64)], keepdims=1)
    return made.add("Div", [wide, made.add("Sqrt", [total])])


def _logistic(made: _Graph, unit: str, head: Logistic) -> str:
    logits = made.add("MatMul", [unit, made.constant(head.coefficients.T)])
    logits = made.add("Add", [logits, made.constant(head.intercepts)])
    return made.add("Softmax", [logits], axis=1)


def _cumulative(made: _Graph, unit: str, head: Cumulative) -> str:
    """Return differences of P(class j or lower), which rises from 0 to 1."""
    scale = made.add("MatMul", [unit, made.constant(head.coefficients[:, None])])
    below = made.add("Sigmoid", [made.add("Sub", [made.constant(head.thresholds[None]), scale])])
    ends = [
        made.add("Pad", [below, made.constant(sides, np.int64), made.constant(value)])
        for sides, value in (([0, 0, 0, 1], 1.0), ([0, 1, 0, 0], 0.0))
    ]
    return made.add("Sub", ends)


def _nearest(made: _Graph, unit: str, head: NearestNeighbours) -> str:
    """Return the votes of the k nearest training vectors; see `heads.knn.vote`."""
    vectors = head.index.vectors[:]
    k = min(int(head.choice.value), len(vectors))
    every = made.add("Cast", [made.constant(vectors.T, np.float32)], to=TensorProto.DOUBLE)
    cosine = made.add("MatMul", [unit, every])
    # Ties are told as the store's index tells them: equal decimals, and then the smaller row.
    ranks = made.add("Round", [made.add("Mul", [cosine, made.constant(10.0**TIE_DECIMALS)])])
    rows = "rows"
    made.nodes.append(
        helper.make_node("TopK", [ranks, made.constant([k], np.int64)], ["ranks", rows], axis=1)
    )
    cosine = made.add("GatherElements", [cosine, rows], axis=1)
    apart = made.add("Sub", [made.constant(1.0), cosine])
    weight = made.add("Reciprocal", [made.add("Max", [apart, made.constant(NEAREST)])])
    if head.weights is not None:
        weight = made.add("Mul", [weight, made.add("Gather", [made.constant(head.weights), rows])])
    last = made.constant([2], np.int64)
    named = made.add("Gather", [made.constant(head.y, np.int64), rows])
    named = made.add("Unsqueeze", [named, last])
    classes = made.constant(np.arange(head.n_classes)[None, None], np.int64)
    hits = made.add("Cast", [made.add("Equal", [named, classes])], to=TensorProto.DOUBLE)
    votes = made.add("Mul", [hits, made.add("Unsqueeze", [weight, last])])
    first = made.constant([1], np.int64)
    votes = made.add("ReduceSum", [votes, first], keepdims=0)
    total = made.add("ReduceSum", [votes, first], keepdims=1)
    prior = made.constant(class_frequencies(head.y, head.n_classes, head.weights)[None])
    share = made.add("Div", [votes, total])
    anyone = made.add("Equal", [total, made.constant(0.0)])
    share = made.add("Where", [anyone, prior, share])
    counted = made.add("Add", [made.add("Mul", [share, made.constant(float(k))]), prior])
    return made.add("Div", [counted, made.constant(float(k + 1))])
