"""Results as plain text for the terminal."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from embedkit.backbones.cards import Card
from embedkit.items import ItemTable, Unreadable
from embedkit.memory import peak_memory
from embedkit.ranges import in_order
from embedkit.store import Store
from embedkit.store.augmented import views_in
from embedkit.store.forgetting import is_cut_off
from embedkit.store.forgotten import forgotten
from embedkit.store.index_files import IndexRecord
from embedkit.store.index_plans import IndexPlan, said
from embedkit.store.store import Space

if TYPE_CHECKING:  # these bring torch and scikit-learn
    from embedkit.backbones.weights import Weights
    from embedkit.heads import Evaluation, Head
    from embedkit.heads.comparison import Comparison
    from embedkit.heads.curve import LearningCurve
    from embedkit.heads.faces import Look
    from embedkit.heads.predict import Panel, Prediction
    from embedkit.heads.tallies import Tally
    from embedkit.neighbours import Hits
    from embedkit.readers.containers import Unpacked
    from embedkit.statistics import Estimate


def table(rows: Sequence[Sequence[str]], *, indent: str = "  ") -> str:
    """Align rows in columns; the first column to the left, the others to the right.

    A line break in a name of the user's is shown as a space.
    """
    rows = [[" ".join(cell.splitlines()) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def unpacked(made: "Unpacked") -> str:
    """Say what came out of a container."""
    lines = [f"{made.pictures} pictures, and a table of what is known of them, in {made.folder}"]
    if made.without:
        shown = ", ".join(made.without[:5]) + (", ..." if made.without[5:] else "")
        lines.append(f"  {len(made.without)} rows hold none that can be read: {shown}")
    return "\n".join(lines)


def data_set(items: ItemTable) -> str:
    """Say how a source was read: images of each class and split."""
    counts = items.counts()
    names = sorted({label for split in counts.values() for label in split if label is not None})
    missing = [None] if any(None in split for split in counts.values()) else []
    labels = [*missing, *(in_order(names) or names)]
    shown = labels[:30]
    header = ["", *(split or "(no split)" for split in counts), "all"]
    rows = [header]
    for label in shown:
        numbers = [split[label] for split in counts.values()]
        rows.append(
            [label if label is not None else "(no label)", *map(str, numbers), str(sum(numbers))]
        )
    if len(labels) > len(shown):
        rest = [sum(split[label] for label in labels[30:]) for split in counts.values()]
        rows.append([f"({len(labels) - 30} more classes)", *map(str, rest), str(sum(rest))])
    if len(labels) > 1:
        totals = [split.total() for split in counts.values()]
        rows.append(["all", *map(str, totals), str(sum(totals))])
    lines = [f"{len(items)} images: {items.layout}", table(rows)]
    if items.attributes:
        lines.append(f"  attributes: {', '.join(items.attributes)}")
    lines += [f"  note: {note}" for note in items.notes]
    return "\n".join(lines)


def training(head: "Head") -> str:
    """Say what was fitted and how its hyper-parameter was chosen."""
    choice = head.classifier.choice
    images = f"{len(head.training.ids)} training images, " if head.training.ids else ""
    if head.training.augmented:
        images += f"{len(head.training.copies[0])} altered copies of them, "
    how = "" if head.balance.plain else f", {head.balance.name}"
    if head.balance.by:
        how += f" by {head.balance.by}"
    lines = [
        f"{head.kind} head on {head.training.space}, {images}"
        f"{len(head.labels)} classes{how}; {choice.name} = {choice.value:.3g} by {choice.criterion}"
    ]
    if choice.note:
        lines.append(f"  note: {choice.note}")
    return "\n".join(lines)


def classification_report(evaluation: "Evaluation") -> str:
    """Return all metrics with their intervals, class by class."""
    rows = [["", "precision", "recall", "f1", "images"]]
    rows += [
        [
            one.label,
            share(one.precision),
            share(one.recall),
            share(one.f1),
            str(one.support),
        ]
        for one in evaluation.classes
    ]
    scale = f"by chance alone up to {evaluation.calibration_error_by_chance:.3f}"
    figures = [
        ["accuracy", share(evaluation.accuracy), ""],
        ["balanced accuracy", share(evaluation.balanced_accuracy), ""],
        ["macro F1", share(evaluation.macro_f1), ""],
        ["ROC AUC", _plain(evaluation.roc_auc), ""],
        ["log-loss (nats)", _plain(evaluation.log_loss), ""],
        ["calibration error", _plain(evaluation.calibration_error), scale],
        ["always the commonest class", share(evaluation.majority), ""],
    ]
    if evaluation.ordered is not None:
        by = evaluation.ordered
        constant = f"always the same answer {by.constant:.2f} at best"
        figures += [
            ["mean error, in classes", _plain(by.error), constant],
            ["at most one class off", share(by.within_one), ""],
            ["quadratic kappa", _plain(by.kappa), ""],
        ]
    groups = (
        f" in {evaluation.n_clusters} groups of related images"
        if evaluation.n_clusters < evaluation.n
        else ""
    )
    return "\n".join(
        [
            f"{evaluation.n} {evaluation.split} images{groups}; 95% intervals in brackets",
            table(rows),
            "",
            "\n".join(
                f"  {name:<27} {value}{'  (' + note + ')' if note else ''}"
                for name, value, note in figures
            ),
        ]
    )


def prediction(panel: "Panel", answers: "tuple[Prediction | Unreadable, ...]") -> str:
    """Return what each head says of a picture, with its probabilities and evidence."""
    if len(answers) == 1:
        return f"{_source(answers[0])}: {_answer(answers[0])}"
    lines = (f"  {name}: {_answer(one)}" for name, one in zip(panel.names, answers, strict=True))
    return "\n".join([f"{_source(answers[0])}:", *lines])


def look(seen: "Look", panel: "Panel") -> str:
    """Return the faces of a picture or frame, largest first, and what each head says of each."""
    frame = seen.frame
    where = frame.source
    if frame.number is not None:
        where += f", frame {frame.number} at {frame.seconds or 0:.2f} s"
    faces = seen.sightings or ()
    if not faces:
        return f"{where}: no face found"
    lines = [f"{where}: {_counted(len(faces), 'face')}"]
    for one in faces:
        left, top, right, bottom = (round(side) for side in one.face.box)
        said = "; ".join(
            f"{name}: {answer.label} {answer.probability:.1%}"
            for name, answer in zip(panel.names, one.answers, strict=True)
        )
        lines.append(f"  {left},{top} to {right},{bottom}  {said}")
    return "\n".join(lines)


def tally(run: "Tally") -> str:
    """Return what a run over pictures, videos or a camera came to, in one line."""
    parts = []
    if run.pictures:
        parts.append(_counted(run.pictures, "picture"))
    if run.frames:
        parts.append(f"{_counted(run.frames, 'frame')}, {run.looked_at} of them looked at")
    parts.append(_counted(run.faces, "face"))
    if run.faceless:
        parts.append(f"{run.faceless} without a face")
    if run.n_unreadable:
        parts.append(f"{run.n_unreadable} could not be read")
    return f"{'; '.join(parts)}; {run.per_second:.1f} a second, peak memory {peak_memory():.0f} MiB"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def _source(answer: "Prediction | Unreadable") -> str:
    return answer.id if isinstance(answer, Unreadable) else answer.source


def _answer(one: "Prediction | Unreadable") -> str:
    if isinstance(one, Unreadable):
        return f"left out: {one.reason}"
    others = sorted(one.probabilities.items(), key=lambda pair: -pair[1])[1:4]
    rest = ", ".join(f"{label} {p:.1%}" for label, p in others)
    lines = [f"{one.label} {one.probability:.1%}" + (f"  ({rest})" if rest else "")]
    lines += [f"  {near.similarity:.3f}  {near.label}  {near.id}" for near in one.neighbours]
    return "\n".join(lines)


def neighbours(found: "Hits") -> str:
    """Return neighbours as a table, closest first, and by what index they were found."""
    rows = [["similarity", "split", "label", "image"]]
    rows += [[f"{one.similarity:.4f}", one.split or "-", one.label or "-", one.id] for one in found]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]
    return "\n".join([*lines, *filter(None, [searched(found.by)])])


def searched(record: IndexRecord | None) -> str:
    """Say that a search may have missed some of the nearest; nothing where it compared all."""
    if record is None:
        return ""
    return (
        f"Approximate, so some nearer ones may be missing: {found(record)}; 'embedkit index "
        "--type flat' leaves none out."
    )


def share(estimate: "Estimate") -> str:
    """Return a share and its interval in per cent; a dash where it is not known."""
    if estimate.value != estimate.value:
        return "-"
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{100 * estimate.value:.1f}% [{low:.1f}, {high:.1f}]"


def difference(estimate: "Estimate") -> str:
    """Return a difference of two accuracies in points, with its interval."""
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{100 * estimate.value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _plain(estimate: "Estimate") -> str:
    return "-" if estimate.value != estimate.value else f"{estimate:.3f}"


def p_value(value: float) -> str:
    """Write a p-value with three decimals."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def unreadable(store: Store) -> str:
    """Say how many images could not be read, and why the first ones."""
    kinds = Counter(one.kind for one in store.unreadable)
    found = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items(), key=lambda k: (-k[1], k)))
    lines = [
        f"{len(store.unreadable)} images could not be read: {found} (all in unreadable.parquet)"
    ]
    # A line that a name begins would be a command to some who read a log.
    lines += [f"  {' '.join(one.id.splitlines())}: {one.reason}" for one in store.unreadable[:5]]
    if len(store.unreadable) > 5:
        lines.append(f"  and {len(store.unreadable) - 5} more")
    return "\n".join(lines)


def store(opened: Store) -> str:
    """Say in a line what a store holds."""
    spaces = ", ".join(f"{one.name} ({one.record.dimension})" for one in opened.spaces.values())
    return f"{opened.path}: {len(opened.items)} images in {spaces}"


def store_in_full(opened: Store, *, deep: bool) -> str:
    """Say what a store holds and what was checked."""
    source = opened.record.source
    split = source["split"]
    made = "as in the data set"
    if split["made_by"] == "embedkit":
        made = f"made by embedkit, {split['test_share']:.0%} test, seed {split['seed']}"
    elif split["made_by"] == "merge":
        made = "as in each of the stores that were merged"
    lines = [
        store(opened),
        f"  source: {source['path']}",
        f"  split: {made}",
        data_set(opened.items),
        f"  unreadable: {len(opened.unreadable)}",
    ]
    for space in opened.spaces.values():
        index = f", index {found(record)}" if (record := space.index_record) else ", no index"
        index += "" if not deep else ", index whole" if space.has_index() else ", no valid index"
        lines.append(
            f"  space {space.name}: {space.record.n} x {space.record.dimension}, contract "
            f"{space.contract_sha256[:12]}{index}"
        )
    if buried := forgotten(opened):
        lines.append(f"  forgotten: {len(buried)} ('embedkit forget {opened.path} --list')")
    if is_cut_off(opened.path):
        lines.append(
            f"  A FORGETTING WAS CUT OFF: 'embedkit forget {opened.path} --yes' finishes it"
        )
    lines += [f"  view {name}: {n} pictures changed" for name, n in views_in(opened)]
    lines.append(
        "  every file was checked" if deep else "  records were checked; --deep checks vectors too"
    )
    return "\n".join(lines)


def index_plan(plan: IndexPlan) -> str:
    """Say what making an index will take, before it is made."""
    return (
        f"{plan.type} index of {plan.n} x {plan.dimension}: at most {said(plan.memory)} of memory "
        f"({said(plan.budget)} allowed), {said(plan.disk)} on disk in {some(plan.files)}, about "
        f"{max(1, round(plan.seconds))} s on one core"
    )


def index(space: Space, record: IndexRecord, plan: IndexPlan) -> str:
    """Say which index a space has now."""
    return f"{space.folder}: index {found(record)}, {said(plan.disk)} in {some(len(record.files))}"


def some(files: int) -> str:
    """Say how many files there are."""
    return f"{files} file{'s' * (files != 1)}"


def found(record: IndexRecord) -> str:
    """Say of what type an index is and what it finds."""
    if record.recall is None or record.measured is None:
        return f"{record.type}, exact"
    looked = "rows held" if record.type == "hnsw" else "lists looked through"
    return (
        f"{record.type}, {record.effort} {looked}, finds {record.recall:.1%} of the "
        f"{record.measured['k']} nearest of {record.measured['rows']} rows, scored exactly"
    )


def cards(every: Iterable[Card]) -> str:
    """List the backbones."""
    return "\n".join(
        f"{card.name}\n  {card.network}\n"
        f"  {f'{card.dimension} numbers; ' if card.dimension else ''}weights: {card.weights}\n"
        f"  licence: {card.licence}\n  limits: {card.limits}"
        for card in every
    )


def learning_curve(curve: "LearningCurve") -> str:
    """Return the accuracy by number of training images."""
    rows = [["training images", "accuracy"]]
    rows += [[str(point.n_train), share(point.accuracy)] for point in curve.points]
    return table(rows)


def weights(found: "Sequence[Weights]") -> str:
    """Return a line for each backbone's weights."""
    return "\n".join(
        f"{one.backbone}\n  "
        + (
            f"{one.path}\n  sha256 {one.sha256}, {_checked(one)}"
            if one.path
            else f"not on this machine; {one.source.files[0]} from {one.source.place}"
        )
        + f"\n  licence: {one.licence}"
        for one in found
    )


def _checked(one: "Weights") -> str:
    if one.published is None:
        return "CHECKSUM UNKNOWN: none is published to compare with"
    if not one.published:
        return "NOT as published"
    return "as published" + ("" if one.checked == 64 else f" ({one.checked} of 64 digits known)")


def comparison(result: "Comparison") -> str:
    """Return the table of a comparison."""
    ordered = result.rows[0].ordered is not None
    rows = [["", "accuracy", "behind the best", "p", "ms/image", "bytes/image", "train s"]]
    rows[0] += ["mean error, classes", "kappa"] if ordered else []
    for place, one in enumerate(result.rows):
        low, high = 100 * one.behind.low, 100 * one.behind.high
        behind = f"{100 * one.behind.value:.1f} points [{low:.1f}, {high:.1f}]" if place else "best"
        rows.append(
            [
                f"{one.space} {one.head}",
                share(one.accuracy),
                behind,
                p_value(one.p) if place else "",
                "-" if one.image_ms != one.image_ms else f"{one.image_ms:.1f}",
                str(one.bytes_per_image),
                f"{one.train_seconds:.1f}",
            ]
        )
        if one.ordered is not None:
            rows[-1] += [f"{one.ordered.error.value:.2f}", f"{one.ordered.kappa.value:.3f}"]
    n = result.rows[0].accuracy.n
    return (
        f"{result.label} on {n} {result.split} images; always the commonest class "
        f"{share(result.majority)}\n{table(rows)}\n"
        "p: McNemar's exact test against the best, adjusted by Holm; ms/image on this machine, now"
    )
