"""Kinds: of every result, what it is called, what it says, and the columns of its table."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from embedkit.audits import Audit, Finding
from embedkit.audits.bias import Bias
from embedkit.audits.cards import Card
from embedkit.audits.classifiers import Classifier
from embedkit.audits.gate import Gate
from embedkit.audits.labels import Labels
from embedkit.audits.leakage import Leakage
from embedkit.audits.ledger import Ledger
from embedkit.audits.parity import Parity
from embedkit.audits.quality import Quality
from embedkit.audits.remedies import Advices, SplitPlan
from embedkit.audits.selftest import Selftest
from embedkit.audits.shortcuts import Shortcuts
from embedkit.audits.siblings import Siblings
from embedkit.audits.twins import Twins
from embedkit.finetuning import Finetuned
from embedkit.heads import Evaluation, Head
from embedkit.heads.comparison import Comparison
from embedkit.heads.curve import LearningCurve
from embedkit.heads.mitigation import Effect, Effects
from embedkit.heads.predict import Prediction, Predictions
from embedkit.items import ItemTable, Unreadable
from embedkit.maps import Map
from embedkit.neighbours import Hits
from embedkit.reports.entries import (
    ESTIMATE,
    Entry,
    answers,
    counts,
    faults,
    groups,
    images,
    ledger_lines,
    of_finding,
    pairs,
    parts,
    planned,
    training_images,
)
from embedkit.reports.exported import Exported
from embedkit.reports.text import searched, share
from embedkit.store import Store
from embedkit.store.forgetting import Forgotten


@dataclass(frozen=True, slots=True)
class Kind:
    """How results of one type are shown.

    Attributes:
        columns: of the table, `name:type` each; the types are str, int, float, bool and estimate.
        entries: the rows, as the JSON has them.
        title: what the result is, in a few words.
        sentence: what it says.
        by: columns that name a row in a figure.
        drawn: column that is drawn; empty for how many rows have the same name.
    """

    columns: str
    entries: Callable[[Any], Iterable[Entry]]
    title: Callable[[Any], str]
    sentence: Callable[[Any], str]
    by: tuple[str, ...]
    drawn: str = ""


def kind_of(result: object) -> Kind:
    """Return the kind of a result: of its type, or of the nearest one above."""
    return next(KINDS[one] for one in type(result).__mro__ if one in KINDS)


def rows_of(result: object) -> tuple[dict[str, str], list[list[Any]]]:
    """Return the columns of a result, with their types, and its rows."""
    kind = kind_of(result)
    asked = [text.rsplit(":", 1) for text in kind.columns.split()]
    if isinstance(result, ItemTable | Store):
        items = result.items if isinstance(result, Store) else result
        asked += [[name, "str"] for name in items.attributes if name not in dict(asked)]
    columns: dict[str, str] = {}
    for name, type_ in asked:
        if type_ == "estimate":
            columns |= dict.fromkeys((name, f"{name}_low", f"{name}_high"), "float")
        else:
            columns[name] = type_
    rows = [
        list(chain.from_iterable(_cells(entry.get(name), type_) for name, type_ in asked))
        for entry in kind.entries(result)
    ]
    return columns, rows


def _cells(value: Any, type_: str) -> list[Any]:
    if type_ != "estimate":
        return [value]
    return [None if value is None else value[key] for key in ESTIMATE]


FIGURE = "name:str verdict:str summary:str figure:estimate n:int points:float statement:str"
COUNTS = "what:str images:int of:int"
PARTS = "balance:str over:str part:str n:int before:estimate after:estimate change:estimate"
MISTAKES = "mistake:str accuracy:estimate difference:estimate flipped:estimate p_adjusted:float"
NEAR = "id:str label:str split:str similarity:float"
ITEMS = "id:str label:str split:str group:str"


def _of_finding(
    columns: str, entries: Callable[[Any], Iterable[Entry]], by: tuple[str, ...], drawn: str = ""
) -> Kind:
    return Kind(columns, entries, _verdict, lambda one: one.summary, by, drawn)


def _accuracy(head: Head) -> str:
    known = head.metrics.get("accuracy")
    if known is None:
        return "It was not evaluated: there is no test split."
    return f"{known['value']:.1%} [{known['low']:.1%}, {known['high']:.1%}] on {head.metrics['n']}."


def _verdict(one: Finding) -> str:
    return f"{one.name}: {one.verdict.value}"


def _no_words(_: object) -> str:
    return ""


KINDS: dict[type, Kind] = {
    Audit: Kind(
        FIGURE,
        lambda one: map(of_finding, one.findings),
        lambda one: "Audit",
        lambda one: f"{len(one.store.items)} images, labels of {one.settings['label']!r}.",
        ("name",),
        "figure",
    ),
    Finding: _of_finding(FIGURE, lambda one: [of_finding(one)], ("name",), "figure"),
    Twins: _of_finding(
        "a:str b:str kind:str score:float across_splits:bool split_a:str split_b:str label_a:str "
        "label_b:str",
        pairs,
        ("kind", "split_a", "split_b"),
    ),
    Siblings: _of_finding(COUNTS, counts, ("what",), "images"),
    Leakage: _of_finding(COUNTS, counts, ("what",), "images"),
    Ledger: _of_finding(
        "head:str line:str share:estimate removed_from_train:int p_adjusted:float",
        ledger_lines,
        ("head", "line"),
        "share",
    ),
    Parity: _of_finding(MISTAKES, lambda one: one.details()["mistakes"], ("mistake",), "accuracy"),
    Shortcuts: _of_finding(
        "column:str set:str accuracy:float above_majority:estimate p_adjusted:float present:bool",
        lambda one: one.details()["columns"],
        ("column",),
        "above_majority",
    ),
    Labels: _of_finding(
        "id:str given:str suggested:str split:str score:float reason:str",
        lambda one: one.details()["issues"],
        ("given", "suggested"),
    ),
    Bias: _of_finding(
        "attributes:str group:str n:int accuracy:estimate",
        groups,
        ("attributes", "group"),
        "accuracy",
    ),
    Quality: _of_finding(
        "id:str label:str split:str check:str value:float threshold:float words:str",
        faults,
        ("check",),
    ),
    Gate: Kind(
        "limit:str outcome:str sentence:str",
        lambda one: one.to_dict()["limits"],
        lambda one: f"{'Closed' if one.exit_code else 'Open'}: {len(one.judged)} limits",
        _no_words,
        ("outcome",),
    ),
    Evaluation: Kind(
        "label:str support:int predicted:int precision:estimate recall:estimate f1:estimate",
        lambda one: one.to_dict()["classes"],
        lambda one: f"Evaluation on {one.n} {one.split} images",
        lambda one: f"Accuracy {share(one.accuracy)}; the commonest class {share(one.majority)}.",
        ("label",),
        "recall",
    ),
    Comparison: Kind(
        "space:str head:str accuracy:estimate behind_best:estimate p_adjusted:float "
        "train_seconds:float image_ms:float bytes_per_image:int",
        lambda one: one.to_dict()["rows"],
        lambda one: f"Comparison on {one.split}",
        lambda one: (
            f"The best is {one.rows[0].head} on {one.rows[0].space}: {share(one.rows[0].accuracy)}."
        ),
        ("space", "head"),
        "accuracy",
    ),
    LearningCurve: Kind(
        "n_train:int accuracy:estimate",
        lambda one: [{"accuracy": point, **point} for point in one.to_dict()["points"]],
        lambda one: f"Learning curve of {one.head} on {one.split}",
        lambda one: f"The commonest class: {one.majority:.1%}.",
        ("n_train",),
        "accuracy",
    ),
    Card: Kind(
        "id:str label:str similarity:float relation:str",
        lambda one: one.to_dict()["neighbours"],
        lambda one: str(one.id),
        lambda one: one.sentence,
        ("id", "label"),
        "similarity",
    ),
    Effect: Kind(
        PARTS,
        lambda one: parts([one]),
        lambda one: one.balance.name,
        lambda one: one.note,
        ("over", "part"),
        "change",
    ),
    Effects: Kind(
        PARTS,
        parts,
        lambda one: f"{len(one)} ways of balancing",
        _no_words,
        ("balance", "over", "part"),
        "change",
    ),
    Finetuned: Kind(
        "number:int train_loss:float train_accuracy:float valid_loss:float valid_accuracy:float",
        lambda one: map(asdict, one.history.epochs),
        lambda one: f"{one.trainee.name}, trained on the pictures",
        lambda one: (
            f"Accuracy {share(one.evaluation.accuracy)}; a frozen {one.frozen.head} head "
            f"{share(one.frozen.accuracy)}. Epoch {one.history.kept} was kept."
        ),
        ("number",),
        "valid_accuracy",
    ),
    Prediction: Kind(
        "label:str probability:float",
        lambda one: [{"label": k, "probability": p} for k, p in one.probabilities.items()],
        lambda one: one.source,
        lambda one: f"{one.label}, {one.probability:.1%}",
        ("label",),
        "probability",
    ),
    Predictions: Kind(
        "source:str label:str probability:float reason:str",
        answers,
        lambda one: f"{len(one)} predictions",
        lambda one: f"{sum(isinstance(answer, Unreadable) for answer in one)} could not be read.",
        ("label",),
    ),
    Hits: Kind(
        NEAR,
        lambda one: map(asdict, one),
        lambda one: f"{len(one)} nearest",
        lambda one: searched(one.by),
        ("id", "label"),
        "similarity",
    ),
    Selftest: Kind(
        "kind:str planted:int found:int recall:estimate false_alarms:int precision:estimate",
        lambda one: one.to_dict()["copies"],
        lambda one: "Self-test",
        lambda one: f"A shadow of {one.sample} of {one.n} images, in {one.space}.",
        ("kind",),
        "recall",
    ),
    Classifier: Kind(
        MISTAKES,
        lambda one: one.to_dict()["mistakes"],
        lambda one: one.model.name,
        lambda one: f"{one.pictures} of {one.labelled} pictures were shown to it.",
        ("mistake",),
        "accuracy",
    ),
    SplitPlan: Kind(
        "split:str label:str images:int",
        planned,
        lambda one: "Split",
        lambda one: f"{one.clusters} clusters, the largest of {one.largest} images.",
        ("split", "label"),
        "images",
    ),
    Advices: Kind(
        "action:str id:str reason:str other:str",
        lambda one: map(asdict, one),
        lambda one: f"{len({advice.id for advice in one})} images to see to",
        _no_words,
        ("action",),
    ),
    Map: Kind(
        "id:str x:float y:float",
        lambda one: [
            {"id": id_, "x": float(x), "y": float(y)}
            for id_, (x, y) in zip(one.ids, one.places, strict=True)
        ],
        lambda one: one.title,
        lambda one: f"{one.method} This map is {one.honesty.verdict}.",
        ("id",),
        "x",
    ),
    Exported: Kind(
        "file:str bytes:int",
        lambda one: [{"file": str(path), "bytes": path.stat().st_size} for path in one.paths],
        lambda one: f"Export for {one.kind}",
        lambda one: one.text,
        ("file",),
        "bytes",
    ),
    Forgotten: Kind(
        "id:str found:int",
        lambda one: [
            {"id": id_, "found": sum(id_ in what for what in one.found.values())} for id_ in one.ids
        ],
        lambda one: f"{len(one.ids)} images forgotten",
        lambda one: (
            f"{one.left} are left; {one.files} files were searched for {one.traces} traces, "
            f"{len(one.found) or 'none'} of them with one."
        ),
        ("id",),
        "found",
    ),
    ItemTable: Kind(
        ITEMS,
        images,
        lambda one: f"{len(one)} images",
        lambda one: " ".join([f"Read as {one.layout}." if one.layout else "", *one.notes]).strip(),
        ("split", "label"),
    ),
    Store: Kind(
        ITEMS,
        images,
        lambda one: f"Store {one.path.name}",
        lambda one: (
            f"{len(one.items)} images in {', '.join(one.spaces)}; "
            f"{len(one.unreadable)} could not be read."
        ),
        ("split", "label"),
    ),
    Head: Kind(
        "label:str images:int",
        training_images,
        lambda one: f"{one.kind} head for {one.label!r}",
        _accuracy,
        ("label",),
        "images",
    ),
}
