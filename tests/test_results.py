"""Every result: a table, a figure, JSON and HTML, the same way everywhere and only when asked."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from helpers import noise, saved
from matplotlib.figure import Figure
from test_reports import HOSTILE, parsed

import embedkit
from embedkit.audits import audit
from embedkit.audits.base import not_run
from embedkit.audits.classifiers import Classifier
from embedkit.audits.explain import explain
from embedkit.audits.gate import judge
from embedkit.audits.limits import parse_limits
from embedkit.audits.remedies import Advices, advise, plan_split
from embedkit.audits.selftest import Row, Selftest
from embedkit.audits.suspects import Suspect
from embedkit.exports import export
from embedkit.finetuning import finetune
from embedkit.heads import evaluate, train
from embedkit.heads.comparison import compare
from embedkit.heads.curve import learning_curve
from embedkit.heads.mitigation import Effects, mitigate
from embedkit.heads.predict import Predictions
from embedkit.items import Unreadable
from embedkit.maps import map_of
from embedkit.neighbours import Hits, search
from embedkit.pipeline import embed
from embedkit.reports import notebooks
from embedkit.reports.figures import figure_bytes
from embedkit.reports.kinds import KINDS
from embedkit.results import Result
from embedkit.statistics import wilson
from embedkit.store.forgetting import Forgotten
from embedkit.synthetic import Faults, make_faces


def everything(store, stripes):
    """One result of every kind, by name, each with at least one row."""
    checks = ["twins", "leakage", "ledger", "labels", "quality"]
    planted = audit(store, checks=checks, heads=("knn",))
    striped = audit(stripes, checks=["siblings", "parity", "shortcuts", "bias"], heads=("knn",))
    suspect = Suspect(store.items.ids[0], "a", "train", "b", 0.25, ("head",), "it says so")
    findings = {one.name: one for one in (*planted.findings, *striped.findings)}
    findings["labels"] = replace(findings["labels"], images=(suspect,))
    head, first = train(store), store.items.ids[0]
    twins, picture = findings["twins"], store.items.path(first)
    effects = mitigate(stripes, by="side")
    row = Row("mirrored", 5, 4, wilson(4, 5), 0, wilson(4, 4))
    return {
        "audit": planted,
        "gate": judge(planted, parse_limits(["leakage=0", "siblings=0"])),
        **findings,
        "not run": not_run("bias", "nothing to compare"),
        "evaluation": evaluate(head, store),
        "learning curve": learning_curve(head),
        "comparison": compare(store),
        "card": explain(store, first, head="knn"),
        "effect": effects[0],
        "effects": effects,
        "finetuned": finetune(stripes, epochs=1, size=16),
        "prediction": head.predict(picture),
        "predictions": head.predict([picture, "nowhere.jpg"]),
        "hits": search(store, picture),
        "selftest": Selftest(
            *("pixels", 200, 100, (row,), row, row.recall, (), "no face network", "one class", 0)
        ),
        "classifier": Classifier(
            *(Path("mine.onnx"), "test", 24, 24, 0, ("down", "across")),
            striped["parity"].sweep,
            (),
        ),
        "split plan": plan_split(store, twins, None),
        "advice": advise(store, twins, None, planted["quality"]),
        "items": store.items,
        "store": store,
        "head": head,
        "map": map_of(store),
        "export": export(store, store.path.parent / "npy", to="npy"),
        "forgotten": Forgotten((first,), (), 3, (), (), 9, 0, 0, 5, 4096, {"heads/x": (first,)}),
    }


NAMES = [
    *("audit", "gate", "twins", "leakage", "ledger", "labels", "quality", "siblings", "parity"),
    *("shortcuts", "bias", "not run", "evaluation", "learning curve", "comparison", "card"),
    *("effect", "effects", "finetuned", "prediction", "predictions", "hits", "selftest"),
    *("classifier", "split plan", "advice", "items", "store", "head", "map", "export"),
    "forgotten",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory, stripes):
    folder = tmp_path_factory.mktemp("results")
    faults = Faults(exact_twins=0.1, near_twins=0.1, unreadable=3)
    drawn = make_faces(folder / "f", people=36, photographs=3, size=48, seed=5, faults=faults)
    return everything(embed(drawn.folder, folder / "store", backbone="pixels"), stripes)


def test_every_kind_of_result_is_looked_at_here(results):
    assert list(results) == NAMES
    looked_at = {next(one for one in type(r).__mro__ if one in KINDS) for r in results.values()}
    missing = {one.__name__ for one in set(KINDS) - looked_at}
    assert missing <= {"Siblings"}  # nothing says who is on a drawn picture


@pytest.mark.parametrize("name", NAMES)
def test_a_table_has_its_rows_and_survives_parquet(results, name, tmp_path):
    frame = results[name].frame()
    assert len(frame)
    assert frame.columns.is_unique
    assert set(map(str, frame.dtypes)) <= {"str", "Int64", "float64", "boolean"}
    frame.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), frame)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_can_be_drawn_and_saved(results, name):
    figure = results[name].plot()
    assert isinstance(figure, Figure)
    assert figure_bytes(figure, "png").startswith(b"\x89PNG")
    axes = figure.axes[0]
    assert len(axes.lines or axes.patches or axes.images or axes.texts or axes.collections)


@pytest.mark.parametrize("name", NAMES)
def test_json_is_json(results, name):
    document = results[name].to_dict()
    assert set(json.loads(json.dumps(document, allow_nan=False))) == set(document) != set()


@pytest.mark.parametrize("name", NAMES)
def test_html_is_small_whole_and_without_colours_of_its_own(results, name):
    page = results[name]._repr_html_()
    checker = parsed(page)
    assert len(page) < 20_000
    assert not {"script", "style", "link", "img"} & set(checker.elements)
    styles = " ".join(value for _, key, value in checker.attributes if key == "style")
    assert "#" not in styles
    assert "rgb" not in styles
    rows = checker.elements.count("tr") - 1
    assert rows == min(len(results[name].frame()), notebooks.ROWS)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_a_result_says_is_shown_as_text(results, name, monkeypatch):
    rows_of, kind_of = notebooks.rows_of, notebooks.kind_of
    evil = "<img src=x onerror=alert(1)></td><script>\"'; {{ 7*7 }}"

    def poisoned(result):
        columns, rows = rows_of(result)
        columns = {f"{column}<b>": type_ for column, type_ in columns.items()}
        return columns, [[evil if isinstance(cell, str) else cell for cell in row] for row in rows]

    monkeypatch.setattr(notebooks, "rows_of", poisoned)
    monkeypatch.setattr(
        notebooks,
        "kind_of",
        lambda result: replace(kind_of(result), title=lambda _: evil, sentence=lambda _: evil),
    )
    checker = parsed(results[name]._repr_html_())
    assert not {"img", "script", "b<b>"} & set(checker.elements)
    assert checker.elements.count("b") == 1
    assert evil in "".join(checker.text)


def test_hostile_files_and_classes_go_through_all_four(tmp_path):
    for place, name in enumerate(HOSTILE):
        for side, label in (("train", "<b>bold</b>"), ("test", "<b>bold</b>"), ("train", "$b_")):
            folder = tmp_path / "f" / side / label.replace("/", "\u2215")
            folder.mkdir(parents=True, exist_ok=True)
            seed = place if label != "$b_" else 100 + place
            (folder / name).write_bytes(saved(noise(seed, 24), "PNG"))
    (tmp_path / "f/train/$b_/<i>broken.png").write_bytes(b"")
    store = embed(tmp_path / "f", tmp_path / "s<u>", backbone="pixels")
    result = audit(store, checks=["twins", "quality"])
    picture = store.items.path(store.items.ids[0])
    head = train(store, backbone="pixels")
    found = [result, *result.findings, store, store.items, head, search(store, picture)]
    found += [head.predict([picture]), advise(store, result["twins"], None, result["quality"])]
    for one in found:
        elements = set(parsed(one._repr_html_()).elements)
        assert not {"img", "script", "i", "u", "svg"} & elements
        one.frame().to_parquet(tmp_path / "t.parquet")
        assert figure_bytes(one.plot(), "svg").count(b"<script") == 0
        json.dumps(one.to_dict(), allow_nan=False)
    assert "<i>broken.png" in "".join(parsed(result["quality"]._repr_html_()).text)


def test_columns_and_types_are_the_same_without_a_row(results):
    empty = {
        "hits": Hits(),
        "predictions": Predictions(),
        "advice": Advices(),
        "effects": Effects(),
        "twins": replace(results["twins"], pairs=()),
        "labels": replace(results["labels"], images=()),
        "quality": replace(results["quality"], flagged=()),
    }
    for name, one in empty.items():
        frame = one.frame()
        assert len(frame) == 0
        assert frame.dtypes.to_dict() == results[name].frame().dtypes.to_dict(), name
        assert "<tr>" not in one._repr_html_()
        figure_bytes(one.plot(), "png")


def test_a_table_says_what_the_result_does(results):
    twins, evaluation = results["twins"], results["evaluation"]
    frame = twins.frame()
    assert list(zip(frame["a"], frame["b"], strict=True)) == [(p.a, p.b) for p in twins.pairs]
    table = evaluation.frame().set_index("label")
    one = evaluation.classes[1]
    assert table.loc[one.label, "recall_low"] == pytest.approx(one.recall.low, abs=1e-6)
    assert table.loc[one.label, "support"] == one.support
    lines = results["ledger"].frame().query("head == 'knn'").set_index("line")
    (head,) = [one for one in results["ledger"].heads if one.head == "knn"]
    assert lines.loc["honest", "share"] == pytest.approx(head.honest.value, abs=1e-6)
    assert lines.index[0] == "reported"
    reasons = results["predictions"].frame()["reason"]
    assert reasons.isna().tolist() == [True, False]


def test_lists_are_lists_as_before(results):
    hits, effects, answers = results["hits"], results["effects"], results["predictions"]
    assert isinstance(hits, list)
    assert hits == list(hits)
    assert hits[0] is next(iter(hits))
    assert isinstance(effects, tuple)
    assert isinstance(answers[1], Unreadable)
    assert repr(hits) == repr(list(hits))


def test_every_answer_of_the_python_interface_is_a_result(results):
    answers = {
        "Store": "store",
        "audit": "audit",
        "compare": "comparison",
        "embed": "store",
        "evaluate": "evaluation",
        "export": "export",
        "explain": "card",
        "forget": "forgotten",
        "load_head": "head",
        "map_of": "map",
        "merge": "store",
        "read_source": "items",
        "search": "hits",
        "search_text": "hits",
        "subset": "store",
        "train": "head",
    }
    assert sorted(answers) == sorted(embedkit.__all__)
    assert all(isinstance(results[name], Result) for name in answers.values())


def test_nothing_that_shows_is_loaded_before_it_is_asked_for():
    code = (
        "import sys\n"
        "from embedkit.heads.metrics import Evaluation\n"
        "from embedkit.neighbours import Hits\n"
        "assert not {'jinja2', 'matplotlib', 'embedkit.reports'} & set(sys.modules)\n"
        "Hits()._repr_html_()\n"
        "assert 'embedkit.reports.plots' not in sys.modules\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
