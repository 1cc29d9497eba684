"""Heads on disk: one safetensors file whose header says what it is; nothing in it can run.

The arrays are contiguous (safetensors 0.8 scrambles others without a word) and each one's SHA-256
stands in the header, which carries its own checksum; a file is read back before it gets its name.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from embedkit.errors import HeadError, InputError, StoreError
from embedkit.files import read_plain, sha256, write_output
from embedkit.heads.balance import Balance
from embedkit.heads.classifier import Choice, Classifier
from embedkit.heads.cumulative import Cumulative
from embedkit.heads.fitting import CUMULATIVE
from embedkit.heads.head import Head, Training
from embedkit.heads.knn import ALL_COMPARED, NearestNeighbours, voters_of
from embedkit.heads.logistic import Logistic
from embedkit.heads.records import KNN, Arrays, makes_sense, training_ids
from embedkit.store.forgotten import take_back_if_forgotten
from embedkit.store.schema import SCHEMA, sealed, unsealed

SUFFIX = ".safetensors"


def save_head(head: Head, path: Path) -> Path:
    """Write a head to `path` (with the suffix .safetensors) and return the path.

    The path of its store is kept relative to the file where the file lies inside the store, so
    that the two can be moved together.

    Raises:
        OutputError: the file cannot be written.
        StoreError: it lies in the store, and a training image was forgotten there meanwhile.
    """
    path = head_file(path)
    ids = json.dumps(head.training.ids).encode()
    arrays = {
        **head.classifier.arrays(),
        "training_ids": np.frombuffer(ids, np.uint8),
        "training_classes": head.training.y.astype(np.int64),
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    choice = head.classifier.choice
    record = {
        "schema": SCHEMA,
        "kind": head.kind,
        "labels": list(head.labels),
        "label": head.label,
        "store": _store_path(head.training.store, path.parent),
        "space": head.training.space,
        "contract_sha256": head.training.contract_sha256,
        "backbone": head.training.backbone,
        "training_sha256": head.training.sha256,
        "augmented": head.training.augmented,
        "choice": {
            "name": choice.name,
            "value": choice.value,
            "criterion": choice.criterion,
            "tried": choice.tried,
            "note": choice.note,
        },
        "balance": asdict(head.balance),
        "metrics": head.metrics,
        "made_with": head.made_with,
        "arrays": {name: sha256(array.tobytes()) for name, array in arrays.items()},
    }
    data = safetensors.save(arrays, {"embedkit": sealed(record, indent=None).decode()})
    _record_and_arrays(data, path)  # what was written is what will be read
    write_output(path, data)
    take_back_if_forgotten([path], head.training.store, head.training.ids)
    return path


def head_file(path: Path) -> Path:
    """Return the file that a head is saved to under a name, with or without its suffix."""
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def load_head(path: str | Path, *, store: str | Path | None = None) -> Head:
    """Read a head that `Head.save` wrote.

    Args:
        path: of the file.
        store: where its store is now, if it has moved.

    Raises:
        InputError: there is no such file.
        HeadError: the file is damaged or no head, or a kNN head's store has changed.
        StoreError: a kNN head's store is missing; its vectors are the head.
    """
    path = Path(path)
    try:
        data = read_plain(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"{path} is no head: {error.strerror}") from None
    except OSError as error:
        raise HeadError(f"{path} cannot be read: {error.strerror}") from None
    record, arrays = _record_and_arrays(data, path)
    try:
        training = Training(
            store=Path(store) if store is not None else path.parent / record["store"],
            space=record["space"],
            contract_sha256=record["contract_sha256"],
            backbone=record["backbone"],
            ids=training_ids(
                json.loads(arrays["training_ids"].tobytes()), len(arrays["training_classes"])
            ),
            y=arrays["training_classes"],
            sha256=record["training_sha256"],
            label=record["label"],
            augmented=record["augmented"],
        )
        tried = tuple((value, figure) for value, figure in record["choice"]["tried"])
        choice = Choice(**record["choice"] | {"tried": tried})
        labels = tuple(record["labels"])
        classifier: Classifier
        if record["kind"] == CUMULATIVE:
            classifier = Cumulative(arrays["coefficients"], arrays["thresholds"], choice)
        elif record["kind"] != KNN:
            classifier = Logistic(arrays["coefficients"], arrays["intercepts"], choice)
        else:
            vectors, origin = training.copies
            every = training.vectors
            if len(origin):
                every = np.concatenate([every[:], vectors])
            alone = every is training.vectors and len(every) <= ALL_COMPARED
            classifier = NearestNeighbours(
                training.index if alone else voters_of(every),
                np.concatenate([training.y, training.y[origin]]),
                len(labels),
                choice,
                arrays.get("weights"),
            )
        return Head(
            kind=record["kind"],
            labels=labels,
            label=record["label"],
            classifier=classifier,
            training=training,
            metrics=record["metrics"],
            made_with=record["made_with"],
            balance=Balance(**record.get("balance", {})),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise HeadError(f"{path} is no head of this embedkit: {error}") from None


def head_faults(path: Path) -> list[str]:
    """Check a head's file without its store and return what is wrong with it; [] if it is whole."""
    try:
        _record_and_arrays(read_plain(path), path)
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}"]
    except HeadError as error:
        return [str(error)]
    return []


def _record_and_arrays(data: bytes, path: Path) -> tuple[dict[str, Any], Arrays]:
    """Return a head file's record and arrays once every checksum fits."""
    try:
        arrays = safetensors.load(data)
        length = int.from_bytes(data[:8], "little")
        text = json.loads(data[8 : 8 + length])["__metadata__"]["embedkit"]
        record = unsealed(text.encode(), path)
        fits = {name: sha256(array.tobytes()) for name, array in arrays.items()} == record["arrays"]
        sense = fits and makes_sense(record, arrays)
    except StoreError as error:
        raise HeadError(str(error)) from None
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise HeadError(f"{path} is damaged, or no head of embedkit") from None
    if not fits:
        raise HeadError(f"{path} is damaged: its checksum does not fit")
    if not sense:
        raise HeadError(f"{path} is damaged: what is in it does not go together; train it again")
    return record, arrays


def _store_path(store: Path, folder: Path) -> str:
    store, folder = store.resolve(), folder.resolve()
    inside = folder.is_relative_to(store)
    return os.path.relpath(store, folder) if inside else str(store)
