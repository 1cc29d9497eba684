"""The card of a head: what it was made from, how it does and for whom, and what it is not for.

Source of the sections: M. Mitchell et al., "Model cards for model reporting", FAT* 2019.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from embedkit.audits import audit
from embedkit.audits.groups import Grouping, attributes_of, find_groups, smallest
from embedkit.audits.ledger import Ledger
from embedkit.audits.lines import HeadLedger
from embedkit.errors import InputError
from embedkit.files import write_output
from embedkit.heads import HEADS, Evaluation, Head
from embedkit.heads.mitigation import Effect
from embedkit.heads.saving import head_file
from embedkit.heads.training import clusters_in
from embedkit.pipeline.progress import OnProgress
from embedkit.ranges import in_order
from embedkit.reports.cards import CAUSES
from embedkit.reports.mitigations import effect as effect_text
from embedkit.reports.text import share, training
from embedkit.statistics import Estimate, proportion
from embedkit.store import Store
from embedkit.vectors import IntArray

SUFFIX = ".md"
TITLE = "# Model card: "
MOST = 40  # rows of a table
FEW = 30  # images, below which a class's figures say little
STATED = (
    "A label is what an annotator or a source said of a picture. It is no property of a person, "
    "and an answer of this head is a guess of what that annotator would have said."
)
INTENDED = (
    "Finding out what frozen embeddings know of this label, comparing data sets and splits, and "
    "looking for pictures worth a second look."
)
NOT_FOR = (
    "decisions about people, such as identification, hiring, credit, policing, medicine or access; "
    "pictures of another source, camera or preparation than the training set, of which nothing "
    "below speaks."
)


def write_model_card(
    head: Head,
    path: Path,
    *,
    evaluation: Evaluation | None,
    effect: Effect | None = None,
    ledger: Ledger | str = "",
    seed: int = 0,
) -> Path:
    """Write a head's card beside its file and return the path.

    Args:
        head: trained.
        path: of its file.
        evaluation: on held-out images; None where there are none.
        effect: of its balance; None for a plain head.
        ledger: of its kind, or why there is none.
        seed: of the bootstraps.

    Raises:
        OutputError: it cannot be written.
    """
    store = head.training.opened
    sections = [
        f"{TITLE}{_plain(head.label)}, {_plain(path.stem)}",
        _lines("What it is", [training(head), _network(head, store), STATED]),
        _lines("What it is for", [INTENDED, f"Not for: {NOT_FOR}"]),
        _data(head, store),
        _metrics(head, evaluation),
        *([] if evaluation is None else _groups(head, store, evaluation, seed)),
        *([] if effect is None else [_lines("What such training changed", [_fenced(effect)])]),
        _ledger(head, ledger),
        _lines("Limits", list(_limits(store, evaluation, ledger))),
        _lines("Made with", [", ".join(f"{name} {v}" for name, v in head.made_with.items())]),
    ]
    text = "\n\n".join(sections) + "\n"
    return write_output(path.with_suffix(SUFFIX), text.encode())


def check_card(path: Path) -> None:
    """Refuse a place for a head whose card would take the place of somebody's own file.

    Args:
        path: of the head's file, as `Head.save` takes it.

    Raises:
        InputError: a file is there that is no card.
    """
    card = head_file(path).with_suffix(SUFFIX)
    if card.exists() and not (card.is_file() and card.read_bytes().startswith(TITLE.encode())):
        raise InputError(
            f"the model card of {path.name} would take the place of {card}, which is none; give "
            "the head another name with -o"
        )


def ledger_of(
    head: Head,
    *,
    seed: int = 0,
    engine: str = "local",
    ray_address: str | None = None,
    progress: OnProgress | None = None,
) -> Ledger | str:
    """Keep the ledger of a head's kind on its store; or say why there is none.

    Args:
        head: trained on the train split.
        seed: of everything drawn.
        engine: where heads are trained again; see `audit`.
        ray_address: of the cluster; Ray is started on this machine where left out.
        progress: called while it is kept.

    Raises:
        InputError: there is no such engine.
        WorkerError: its processes end again and again.
    """
    if head.kind not in HEADS:
        return f"the ledger trains {' and '.join(HEADS)} heads again, and no {head.kind} head"
    if not head.balance.plain:
        return "the ledger trains plain heads again, and none with a balance"
    if head.training.augmented:
        return "the ledger trains heads on the images alone, and none on altered copies"
    found = audit(
        head.training.opened,
        checks=("ledger",),
        label=head.label,
        backbone=head.training.space,
        heads=(head.kind,),
        seed=seed,
        engine=engine,
        ray_address=ray_address,
        progress=progress,
    )["ledger"]
    return found if isinstance(found, Ledger) else found.not_run_reason or found.summary


def _network(head: Head, store: Store) -> str:
    made_with = store.spaces[head.training.space].record.made_with
    licence = made_with.get("licence", "was not recorded; see 'embedkit backbones'")
    return f"It reads vectors of {_plain(head.training.backbone['name'])}. Licence: {licence}."


def _data(head: Head, store: Store) -> str:
    items = store.items
    source = store.record.source
    made_by = {
        "embedkit": "embedkit, at random",
        "merge": "whoever made those of the stores that were merged",
    }.get(source["split"]["made_by"], "the data set's author")
    people = {group for group in items.groups if group is not None}
    facts = [
        f"{len(items)} images in {_plain(str(source['given']))} ({_plain(str(source['layout']))}); "
        f"{len(store.unreadable)} more could not be read.",
        f"The split was made by {made_by}.",
        f"{len(people)} groups, such as people or videos, are named."
        if people
        else "Nothing names the person or video of a picture.",
    ]
    if head.label not in items.rows.column_names:
        return _lines("Data", [*facts, "No image is labelled; the classes come from prompts."])
    counted = Counter(zip(items.label_column(head.label), items.splits, strict=True))
    sides = [side for side in ("train", "valid", "test") if side in items.splits]
    names = in_order(head.labels) or head.labels
    rows = [["", *sides]]
    rows += [[name, *(str(counted[name, side]) for side in sides)] for name in names[:MOST]]
    rows.append(["all", *(str(sum(counted[n, side] for n in names)) for side in sides)])
    return f"{_lines('Data', facts)}\n\n{_table(rows)}" + _more(names)


def _metrics(head: Head, evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return _lines(
            "How it does", ["Not measured: there is no test or valid split with this label."]
        )
    rows = [["", "value"]]
    rows += [
        ["accuracy", share(evaluation.accuracy)],
        ["balanced accuracy", share(evaluation.balanced_accuracy)],
        ["macro F1", share(evaluation.macro_f1)],
        ["always the commonest class", share(evaluation.majority)],
    ]
    if evaluation.ordered is not None:
        rows.append(["at most one class off", share(evaluation.ordered.within_one)])
    classes = [["class", "images", "precision", "recall"]]
    classes += [
        [one.label, str(one.support), share(one.precision), share(one.recall)]
        for one in evaluation.classes[:MOST]
    ]
    said = f"On {evaluation.n} {evaluation.split} images; 95% intervals in brackets."
    return f"{_lines('How it does', [said])}\n\n{_table(rows)}\n\n{_table(classes)}" + _more(
        evaluation.classes
    )


def _groups(head: Head, store: Store, evaluation: Evaluation, seed: int) -> list[str]:
    row_of = {id_: row for row, id_ in enumerate(store.items.ids)}
    rows = np.array([row_of[id_] for id_ in evaluation.ids], np.int64)
    clusters = clusters_in(store)[rows]
    attributes, without = attributes_of(store.items, label=head.label)
    least = smallest(evaluation.accuracy.value)
    found, few = find_groups(attributes, rows, clusters, least=least)
    blocks = ["## How it does by group"]
    blocks += [
        _table(_by_group(one, evaluation, clusters, seed))
        for one in found
        if len(one.attributes) == 1
    ]
    alone = {name for name, _ in without} | {one.name for one in attributes}
    missing = [f"{name}: {why}" for name, why in (*without, *few) if name in alone]
    if len(blocks) == 1:
        blocks.append("No groups can be compared.")
    if missing:
        blocks.append("Not compared: " + _plain("; ".join(missing)) + ".")
    return ["\n\n".join(blocks)]


def _by_group(
    one: Grouping, evaluation: Evaluation, clusters: IntArray, seed: int
) -> list[list[str]]:
    rows = [[one.name, "images", "accuracy"]]
    for place, name in enumerate(one.groups):
        own = one.members == place
        accuracy: Estimate = proportion(evaluation.right[own], clusters[own], seed=seed)
        rows.append([name, str(accuracy.n), share(accuracy)])
    return rows


def _ledger(head: Head, ledger: Ledger | str) -> str:
    if isinstance(ledger, str):
        return _lines("How much of it is real", [f"Not known: {ledger}."])
    own: HeadLedger = next(one for one in ledger.heads if one.head == head.kind)
    rows = [["", "points"]]
    for line in own.lines:
        measured = "not measured" if line.reason else _points(line.effect)
        rows.append([CAUSES[line.cause], measured])
    if own.shortcut is not None:
        taken = "" if own.shortcut.counted else " (not taken off)"
        rows.append([CAUSES["shortcuts"], _points(own.shortcut.effect) + taken])
    rows += [["reported", share(own.reported)], ["honest", share(own.honest)]]
    said = [own.sentence(ledger.split), *own.notes()]
    return f"{_lines('How much of it is real', said)}\n\n{_table(rows)}"


def _limits(store: Store, evaluation: Evaluation | None, ledger: Ledger | str) -> Iterable[str]:
    if evaluation is not None and evaluation.accuracy.low <= evaluation.majority.value:
        yield (
            "It is not shown to answer better than the commonest class does: the interval of its "
            "accuracy reaches down to it."
        )
    if isinstance(ledger, str):
        yield "How much of the accuracy comes from copies and people on both sides is not known."
    if all(group is None for group in store.items.groups):
        yield "Whether one person is on both sides of the split is not known from the data set."
    if evaluation is not None and evaluation.n_clusters < evaluation.n:
        yield (
            f"The {evaluation.n} images are {evaluation.n_clusters} groups of related ones, so "
            "they count as fewer than they are."
        )
    if evaluation is not None and min(one.support for one in evaluation.classes) < FEW:
        rare = ", ".join(_plain(one.label) for one in evaluation.classes if one.support < FEW)
        yield f"Fewer than {FEW} {evaluation.split} images: {rare}."
    yield "Groups that no column names were not compared; a gap there would not be seen."


def _lines(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n\n".join(line for line in lines if line)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ["| " + " | ".join([_plain(row[0]), *row[1:]]) + " |" for row in rows]
    rule = "| --- " + "| ---: " * (len(rows[0]) - 1) + "|"
    return "\n".join([head, rule, *body])


def _more(rows: Sequence[object]) -> str:
    return f"\n\n{len(rows) - MOST} more classes are left out." if len(rows) > MOST else ""


def _plain(text: str) -> str:
    """Return a name of the user's as text that makes no Markdown."""
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _fenced(effect: Effect) -> str:
    return f"```\n{effect_text(effect)}\n```"


def _points(effect: Estimate) -> str:
    return f"{100 * effect.value:.1f} [{100 * effect.low:.1f}, {100 * effect.high:.1f}]"
