"""Heads as ONNX files: the same answers in ONNX Runtime, and what the file says of itself."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from onnx_files import mean_colour_classifier

import embedkit as ek
from embedkit.errors import HeadError, InputError
from embedkit.exports import heads
from embedkit.heads.balance import Balance
from embedkit.heads.cumulative import fit_cumulative
from embedkit.heads.knn import fit_knn
from embedkit.heads.training import fit
from embedkit.vectors import unit_rows

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

NEAR = 1e-5


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def answers(path, vectors):
    (found,) = session(path).run(["probabilities"], {"embedding": vectors})
    return found


def ordered_head(store):
    """Return a cumulative head of four classes that go with the vectors."""
    vectors = store.space("pixels").vectors
    generator = np.random.default_rng(0)
    scale = vectors @ generator.normal(size=vectors.shape[1])
    y = np.searchsorted(np.quantile(scale, [0.2, 0.5, 0.9]), scale).astype(np.int64)
    own = fit_cumulative(vectors, y, np.arange(len(y)), n_classes=4, seed=0, value=1.0)
    plain = fit(store, backbone="pixels")
    return replace(plain, kind="cumulative", labels=("1-3", "4-10", "11-20", "21+"), classifier=own)


HEADS = {
    "logistic": lambda store: fit(store, backbone="pixels"),
    "knn": lambda store: fit(store, head="knn", backbone="pixels"),
    "evened-out knn": lambda store: fit(
        store, head="knn", backbone="pixels", balance=Balance("classes")
    ),
    "cumulative": ordered_head,
    "zeroshot": lambda store: replace(fit(store, backbone="pixels"), kind="zeroshot"),
    "of another space": lambda store: fit(store, backbone="mtcnn"),
}


@pytest.fixture(scope="module", params=HEADS)
def exported(request, planted_store, tmp_path_factory):
    """Return a head and the file that it was exported to."""
    head = HEADS[request.param](planted_store)
    made = ek.export(head, tmp_path_factory.mktemp("onnx") / "head", to="onnx")
    return head, made


def test_the_file_answers_as_the_head_does(exported, planted_store):
    head, made = exported
    vectors = planted_store.space(head.training.space).vectors
    expected = head.classifier.probabilities(vectors)
    found = answers(made.paths[0], vectors)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < NEAR
    assert np.abs(found.sum(axis=1) - 1).max() < NEAR
    one = np.concatenate([answers(made.paths[0], vectors[row : row + 1]) for row in range(20)])
    assert np.abs(one - expected[:20]).max() < NEAR


def test_vectors_of_any_length_get_the_answer_of_their_direction(exported, planted_store):
    head, made = exported
    vectors = planted_store.space(head.training.space).vectors[:50]
    lengths = np.random.default_rng(0).uniform(0.01, 100, (50, 1)).astype(np.float32)
    expected = head.classifier.probabilities(vectors)
    assert np.abs(answers(made.paths[0], vectors * lengths) - expected).max() < 2 * NEAR
    assert np.isnan(answers(made.paths[0], np.zeros_like(vectors[:1]))).all()


def test_a_second_runtime_reads_it_the_same_way(exported, planted_store):
    """OpenVINO knows no float64; a kNN head weighs by 1 - cosine, of which float32 leaves less."""
    openvino = pytest.importorskip("openvino")
    head, made = exported
    vectors = planted_store.space(head.training.space).vectors
    options = {"INFERENCE_PRECISION_HINT": "f32"}  # it would take bfloat16 where there is AMX
    compiled = openvino.compile_model(str(made.paths[0]), "CPU", options)
    difference = np.abs(compiled(vectors)[0] - head.classifier.probabilities(vectors)).max()
    assert difference < (1e-3 if head.kind == "knn" else 1e-5)


def test_the_file_is_whole_and_says_what_it_takes_and_gives(exported):
    head, made = exported
    model = onnx.load(made.paths[0])
    onnx.checker.check_model(model, full_check=True)
    assert model.producer_name == "embedkit"
    assert model.ir_version <= 8
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
    (given,), (answered,) = (
        session(made.paths[0]).get_inputs(),
        session(made.paths[0]).get_outputs(),
    )
    width = heads.dimension_of(head)
    assert (given.name, given.type, given.shape) == ("embedding", "tensor(float)", ["batch", width])
    assert answered.shape == ["batch", len(head.labels)]
    facts = session(made.paths[0]).get_modelmeta().custom_metadata_map
    assert json.loads(facts["labels"]) == list(head.labels)
    assert facts["contract_sha256"] == head.training.contract_sha256
    assert facts["head"] == head.kind
    assert made.facts["labels"] == list(head.labels)


def test_only_a_head_that_consists_of_training_vectors_is_called_personal(exported):
    head, made = exported
    assert any("tell people apart" in note for note in made.notes) == (head.kind == "knn")
    assert any("not pictures" in note for note in made.notes)


def test_ties_are_told_as_the_index_tells_them(planted_store, tmp_path):
    """Copies of one vector with different labels, at the edge of the k nearest."""
    head = fit(planted_store, head="knn", backbone="pixels")
    generator = np.random.default_rng(0)
    some = unit_rows(generator.normal(size=(6, 12)))
    vectors = some[generator.integers(0, 6, 60)]
    y = generator.integers(0, 2, 60).astype(np.int64)
    for k in (1, 4, 7, 60, 200):
        own = fit_knn(vectors, y, np.arange(60), n_classes=2, seed=0, value=k)
        made = ek.export(replace(head, classifier=own), tmp_path / f"{k}", to="onnx")
        expected = own.probabilities(vectors)
        assert np.abs(answers(made.paths[0], vectors) - expected).max() < NEAR


def test_an_onnx_backbone_and_its_head_can_be_chained(planted, tmp_path):
    """What the file of the backbone gives goes into the file of the head as it is."""
    generator = np.random.default_rng(3)
    weights, bias = generator.normal(size=(3, 6)), generator.normal(size=6)
    (tmp_path / "net.onnx").write_bytes(mean_colour_classifier(weights, bias, 8))
    (tmp_path / "net.json").write_text(
        json.dumps({"size": [8, 8], "mean": [0, 0, 0], "std": [1, 1, 1]})
    )
    store = ek.embed(planted.folder, tmp_path / "store", backbone=f"onnx:{tmp_path / 'net.onnx'}")
    head = fit(store)
    made = ek.export(head, tmp_path / "head", to="onnx")
    pictures = generator.random((5, 3, 8, 8)).astype(np.float32)
    (raw,) = session(tmp_path / "net.onnx").run(None, {"x": pictures})
    expected = head.classifier.probabilities(unit_rows(raw))
    assert np.abs(answers(made.paths[0], raw) - expected).max() < NEAR


def test_a_file_that_would_answer_otherwise_is_not_written(planted_store, tmp_path, monkeypatch):
    from embedkit.exports import graphs

    head = fit(planted_store, backbone="pixels")
    graph_of = graphs.graph_of

    def other(classifier, **sizes):
        return graph_of(
            replace(classifier, intercepts=classifier.intercepts * 2 + np.arange(2)), **sizes
        )

    monkeypatch.setattr(graphs, "graph_of", other)
    with pytest.raises(HeadError, match="would differ from the head's by"):
        ek.export(head, tmp_path / "head", to="onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_head_too_large_for_a_file_of_onnx_is_refused(planted_store, tmp_path, monkeypatch):
    monkeypatch.setattr(heads, "LARGEST", 1000)
    with pytest.raises(InputError, match="at most 2 GB.*train a logistic head"):
        ek.export(fit(planted_store, head="knn", backbone="pixels"), tmp_path / "h", to="onnx")
    ek.export(fit(planted_store, backbone="pixels"), tmp_path / "h", to="onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_names_the_extra(planted_store, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "embedkit.exports.graphs", raising=False)
    with pytest.raises(InputError, match=r"pip install 'embedkit\[onnx\]'"):
        ek.export(fit(planted_store, backbone="pixels"), tmp_path / "h", to="onnx")


def test_a_head_whose_store_is_gone_can_still_be_exported(store_copy, tmp_path):
    path = fit(ek.Store.open(store_copy), backbone="pixels").save(tmp_path / "head")
    shutil.move(store_copy, tmp_path / "elsewhere")
    made = ek.export(path, tmp_path / "head", to="onnx")
    assert made.paths == (tmp_path / "head.onnx",)
