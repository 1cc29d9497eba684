"""A head as an ONNX file, for programs that have no embedkit; the backbone is not in it."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import embedkit
from embedkit.errors import EmbedkitError, HeadError, InputError
from embedkit.exports.base import PERSONAL, in_python, quoted
from embedkit.exports.places import new_file, with_suffix
from embedkit.heads import Head
from embedkit.heads.knn import NearestNeighbours
from embedkit.matrices import Matrix
from embedkit.reports.exported import Exported
from embedkit.vectors import FloatArray, unit_rows

ONNX = "onnx"
NEAR = 1e-5  # how far a probability may be from the head's own
PROBES = 256
LARGEST = 2**31 - 1  # bytes of a protobuf message


def export_head(head: Head, path: Path) -> Exported:
    """Write a head as an ONNX file whose answers are the head's own, which is checked.

    Args:
        head: to write.
        path: of the file; it gets the suffix .onnx.

    Raises:
        InputError: the packages onnx and onnxruntime are missing, the head is too large for a
            file of ONNX, or something else is at `path`.
        HeadError: the file would answer otherwise than the head.
        OutputError: it cannot be written.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401 (what it answers is checked further down)
        from onnx import helper

        from embedkit.exports.graphs import IR, OPSET, graph_of
    except ImportError:
        raise InputError(
            "a head is exported with the packages onnx and onnxruntime; pip install "
            "'embedkit[onnx]'"
        ) from None
    path = with_suffix(path, f".{ONNX}")
    dimension = dimension_of(head)
    facts = {
        "embedkit": embedkit.__version__,
        "head": head.kind,
        "label": head.label,
        "labels": list(head.labels),
        "space": head.training.space,
        "backbone": head.training.backbone["name"],
        "contract_sha256": head.training.contract_sha256,
        "dimension": dimension,
    }
    with new_file(path, is_head) as file:
        if held_vectors(head) * dimension * 4 > LARGEST:
            raise InputError(
                f"a file of ONNX holds at most 2 GB, the {held_vectors(head):,} training vectors "
                "of this kNN head are more; train a logistic head"
            )
        graph = graph_of(head.classifier, dimension=dimension, n_classes=len(head.labels))
        model = helper.make_model(
            graph,
            producer_name="embedkit",
            producer_version=embedkit.__version__,
            ir_version=IR,
            opset_imports=[helper.make_opsetid("", OPSET)],
            doc_string=_words(head),
        )
        helper.set_model_props(model, {key: _property(value) for key, value in facts.items()})
        onnx.checker.check_model(model, full_check=True)
        data = model.SerializeToString()
        probes = _probes(head, dimension)
        difference = _difference(head, data, probes)
        file.write_bytes(data)
    notes = [
        f"asked about {len(probes)} vectors, it answers as the head does (probabilities differ by "
        f"{difference:.1g} at most)",
        _words(head),
    ]
    if held_vectors(head):
        notes.append(PERSONAL)
    opens = in_python(
        f"import onnxruntime as o; print(o.InferenceSession({quoted(path)}).get_inputs()[0])"
    )
    holds = f"{head.kind} head of {len(head.labels)} classes"
    return Exported(ONNX, (path,), holds, len(head.training.ids), facts, opens, tuple(notes))


def dimension_of(head: Head) -> int:
    """Return the width of the vectors that a head takes."""
    if isinstance(head.classifier, NearestNeighbours):
        return int(head.classifier.index.vectors.shape[1])
    return int(head.classifier.arrays()["coefficients"].shape[-1])


def held_vectors(head: Head) -> int:
    """Return how many training vectors the head consists of; 0 for any but kNN."""
    one = head.classifier
    return len(one.index.vectors) if isinstance(one, NearestNeighbours) else 0


def is_head(path: Path) -> bool:
    """Say whether a file is a head that an export wrote."""
    with path.open("rb") as stream:
        start = stream.read(64)  # the version of the form, then the producer's name
    return start.startswith(b"\x08") and b"\x12\x08embedkit" in start


def _words(head: Head) -> str:
    return (
        f"This is the head alone: it takes vectors of {head.training.backbone['name']} "
        f"(space {head.training.space}), not pictures."
    )


def _property(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _difference(head: Head, data: bytes, probes: FloatArray) -> float:
    """Return how far the file's probabilities are from the head's at most.

    Raises:
        HeadError: too far.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {session.get_inputs()[0].name: probes})
    difference = float(np.abs(answers - head.classifier.probabilities(probes)).max())
    if not difference <= NEAR:
        raise HeadError(
            f"the file's probabilities would differ from the head's by {difference:.2g}, more than "
            f"{NEAR:.0e}; it was not written"
        )
    return difference


def _probes(head: Head, dimension: int) -> FloatArray:
    """Return training vectors, or drawn ones where the head was trained on none that are there."""
    generator = np.random.default_rng(0)
    vectors: Matrix = unit_rows(generator.normal(size=(PROBES, dimension)))
    if isinstance(head.classifier, NearestNeighbours):
        vectors = head.classifier.index.vectors
    elif head.training.ids:
        with suppress(EmbedkitError):
            vectors = head.training.vectors
    rows = generator.choice(len(vectors), min(PROBES, len(vectors)), replace=False)
    return np.ascontiguousarray(vectors[np.sort(rows)])
