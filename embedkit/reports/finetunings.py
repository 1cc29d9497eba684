"""A finetuned network as text, as JSON and as a folder of files."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import embedkit
from embedkit.cells import csv_text, guarded
from embedkit.files import sha256, write_output
from embedkit.finetuning import Finetuned
from embedkit.finetuning.leaks import Leaks
from embedkit.finetuning.networks import weights_bytes
from embedkit.finetuning.training import INTERRUPTED
from embedkit.finetuning.work import duration
from embedkit.reports.figures import figure_bytes, training_curves
from embedkit.reports.text import classification_report, difference, share
from embedkit.store.forgotten import take_back_if_forgotten
from embedkit.store.schema import HEADS, sealed

MODEL, ANSWERS, CURVES, HISTORY = (
    "model.safetensors",
    "predictions.csv",
    "curves.png",
    "history.csv",
)
RECORD = "finetune.json"
PACKAGES = ("torch", "torchvision", "timm")


def default_folder(result: Finetuned) -> Path:
    """Return where a network is written when nobody says: in its store, beside the heads."""
    what = f"{result.label}-{result.trainee.name}-finetuned"
    return result.store / HEADS / re.sub(r"[^A-Za-z0-9._-]+", "-", what)


def write(result: Finetuned, folder: Path) -> list[Path]:
    """Write a network, its answers and its curves into a folder; files of an earlier one give way.

    Its record names the images that it learned from, so that it goes where one is forgotten.

    Everything is made before the first file is written. The record, `finetune.json`, comes last and
    has the SHA-256 of the others: what does not fit it is of another run.

    Raises:
        OutputError: a file cannot be written.
        StoreError: an image was forgotten from the store since it was opened.
    """
    made = {
        MODEL: weights_bytes(result.trainee),
        ANSWERS: _answers(result),
        HISTORY: _history(result),
        CURVES: figure_bytes(training_curves(result), "png"),
    }
    record = document(result, []) | {
        "preprocessing": result.trainee.preprocessing.to_dict(),
        "weights_sha256": result.trainee.weights_sha256,
        "made_with": {"embedkit": embedkit.__version__}
        | {name: metadata.version(name) for name in PACKAGES},
        "training_ids": list(result.learned),
        "files": {name: sha256(data) for name, data in made.items()},
    }
    files = [
        write_output(folder / name, data)
        for name, data in (made | {RECORD: sealed(record)}).items()
    ]
    take_back_if_forgotten(files, result.store, (*result.learned, *result.evaluation.ids))
    return files


def _answers(result: Finetuned) -> bytes:
    """Return the answers to the test images in the form that `audit --predictions` reads."""
    labels, ids = result.division.labels, result.evaluation.ids
    rows = [
        [id_, labels[int(p.argmax())], *(f"{one:.9g}" for one in p)]
        for id_, p in zip(ids, result.probabilities, strict=True)
    ]
    return _csv(["id", "prediction", *(f"p_{label}" for label in labels)], rows)


def _history(result: Finetuned) -> bytes:
    """Return the epochs without how long they took: the same seed gives the same file."""
    names = ["epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "kept"]
    rows = [
        [
            str(one.number),
            *(f"{x:.9g}" for x in (one.train_loss, one.train_accuracy)),
            *(f"{x:.9g}" for x in (one.valid_loss, one.valid_accuracy)),
            "yes" if one.number == result.history.kept else "",
        ]
        for one in result.history.epochs
    ]
    return _csv(names, rows)


def _csv(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    written = csv_text([*map(guarded, row)] for row in (names, *rows))
    return written.encode("utf-8", "surrogateescape")


def document(result: Finetuned, files: Sequence[Path]) -> dict[str, Any]:
    """Return it as a JSON document, with the files that were written."""
    return trained(result) | {"files": [str(path) for path in files]}


def trained(result: Finetuned) -> dict[str, Any]:
    """Return it as a JSON document."""
    division, history, frozen = result.division, result.history, result.frozen
    return {
        "schema": "embedkit.finetune/1",
        "store": str(result.store),
        "label": result.label,
        "labels": list(division.labels),
        **result.settings,
        "parameters": result.trainee.parameters,
        "trained_parameters": result.trainee.learned,
        "first_trained": result.trainee.first or None,
        "n_train": len(division.train),
        "n_valid": len(division.valid),
        "valid_is_cut_off_train": division.cut,
        "epochs_done": [asdict(one) for one in history.epochs],
        "kept_epoch": history.kept,
        "stopped": history.stopped,
        "metrics": result.evaluation.to_dict(),
        "frozen": {
            "space": frozen.space,
            "head": frozen.head,
            "accuracy": frozen.accuracy.to_dict(),
            "difference": frozen.difference.to_dict(),
        },
        "leaks": None if result.leaks is None else _leaks(result.leaks),
        "seconds_told_at_most": round(result.told, 3),
        "seconds": round(result.seconds, 3),
    }


def _leaks(leaks: Leaks) -> dict[str, Any]:
    made: dict[str, Any] = {
        "causes": list(leaks.causes),
        "mixed": leaks.mixed,
        "reason": leaks.reason or None,
    }
    for name, one in (("without_relatives", leaks.without), ("control", leaks.control)):
        made[name] = None if one is None else asdict(one) | {"accuracy": one.accuracy.to_dict()}
    for name, figure in (("lost", leaks.lost), ("worth", leaks.worth)):
        made[name] = None if figure is None else figure.to_dict()
    return made


def text(result: Finetuned, folder: Path) -> str:
    """Say how it did, what freezing costs, what leaking gains, and how to go on."""
    history, frozen, name = result.history, result.frozen, result.trainee.name
    why = {
        "patience": "the validation loss fell no further",
        "epochs": "all were done",
        INTERRUPTED: "interrupted",
    }[history.stopped]
    lines = [
        f"{name} on {len(result.division.train)} training images, epoch {history.kept} of "
        f"{len(history.epochs)} kept ({why}); it took {duration(result.seconds)} of the "
        f"{duration(result.told)} told",
        classification_report(result.evaluation),
        "",
        f"What freezing costs: {name} {share(result.evaluation.accuracy)}, {frozen.head} on frozen "
        f"{frozen.space} {share(frozen.accuracy)}; {difference(frozen.difference)} points for "
        f"{name}",
    ]
    if result.leaks is not None:
        lines.append(f"What leaking gains: {_leaks_text(result.leaks, result)}")
    lines.append("Intervals are over test images, of these networks: another seed trains others.")
    command = ["embedkit", "audit", str(result.store), "--predictions", str(folder / ANSWERS)]
    command += ["-b", frozen.space]
    command += [] if result.label == "label" else ["--label", result.label]
    return "\n".join([*lines, f"next: {shlex.join(command)}"])


def _leaks_text(leaks: Leaks, result: Finetuned) -> str:
    without, control, lost, worth = leaks.without, leaks.control, leaks.lost, leaks.worth
    if without is None or control is None or lost is None or worth is None:
        return f"not measured: {leaks.reason}"
    gone = len(result.division.train) - without.n_train
    kind = "copies and people" if "siblings" in leaks.causes else "copies"
    mixed = "; some of these are related, for a class has too few others" if leaks.mixed else ""
    return (
        f"trained for as many steps without the {gone} training images that are related to test "
        f"images ({kind}) {share(without.accuracy)}, {difference(lost)} points less for all; "
        f"without as many random others {share(control.accuracy)}{mixed}. The relatives are worth "
        f"{difference(worth)} points beyond their number"
    )
