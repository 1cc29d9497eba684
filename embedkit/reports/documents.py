"""Results as JSON documents; each carries the name of its schema."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedkit.backbones.cards import Card
from embedkit.items import ItemTable, Unreadable
from embedkit.memory import peak_memory
from embedkit.store.augmented import views_in

if TYPE_CHECKING:
    from embedkit.audits.reviews import Reviewed
    from embedkit.backbones.places import Layer
    from embedkit.backbones.weights import Weights
    from embedkit.heads import Evaluation, Head
    from embedkit.heads.comparison import Comparison
    from embedkit.heads.curve import LearningCurve
    from embedkit.heads.faces import Look
    from embedkit.heads.mitigation import Effect
    from embedkit.heads.predict import Panel, Prediction
    from embedkit.heads.tallies import Tally
    from embedkit.neighbours import Hits
    from embedkit.readers.containers import Unpacked
    from embedkit.store import Store
    from embedkit.store.index_files import IndexRecord
    from embedkit.store.index_plans import IndexPlan
    from embedkit.store.store import Space

Document = dict[str, Any]


def unpacked(made: "Unpacked") -> Document:
    """Return what came out of a container."""
    return {
        "schema": "embedkit.unpack/1",
        "folder": str(made.folder),
        "pictures": made.pictures,
        "without_picture": list(made.without),
    }


def data_set(items: ItemTable) -> Document:
    """Return what was understood of a source."""
    return {
        "schema": "embedkit.scan/1",
        "n": len(items),
        "root": str(items.root),
        "layout": items.layout,
        "counts": [
            {"split": split, "label": label, "n": n}
            for split, labels in items.counts().items()
            for label, n in sorted(labels.items(), key=lambda pair: pair[0] or "")
        ],
        "attributes": list(items.attributes),
        "notes": list(items.notes),
        "unreadable": [asdict(one) for one in items.unreadable],
    }


def store(opened: "Store") -> Document:
    """Return what a store holds."""
    return {
        "schema": "embedkit.store/1",
        "path": str(opened.path),
        "source": opened.record.source,
        "n": len(opened.items),
        "unreadable": [asdict(one) for one in opened.unreadable],
        "spaces": [
            {
                "name": space.name,
                "dimension": space.record.dimension,
                "n": space.record.n,
                "contract_sha256": space.contract_sha256,
                "index": (record := space.index_record) and index_found(record),
            }
            for space in opened.spaces.values()
        ],
        "views": [{"name": name, "n": n} for name, n in views_in(opened)],
        "embedkit": opened.record.embedkit,
    }


def composed(command: str, made: "Store", notes: Sequence[str]) -> Document:
    """Return what a store that was made from others holds, and what a user should know of it."""
    return store(made) | {"schema": f"embedkit.{command}/1", "notes": list(notes)}


def index(space: "Space", record: "IndexRecord", plan: "IndexPlan") -> Document:
    """Return which index a space has now, and what was said beforehand that it takes."""
    planned = {name: getattr(plan, name) for name in ("memory", "disk", "seconds")}
    return {
        "schema": "embedkit.index/1",
        "space": str(space.folder),
        "n": plan.n,
        "dimension": plan.dimension,
        **index_found(record),
        "files": [one.file for one in record.files],
        "planned": planned,
    }


def index_found(record: "IndexRecord") -> Document:
    """Return of what type an index is and what it finds."""
    return {
        "type": record.type,
        "asked": record.asked,
        "effort": record.effort,
        "recall": record.recall,
        "measured": record.measured,
    }


def cards(every: Iterable[Card]) -> Document:
    """Return the facts about the backbones."""
    return {"schema": "embedkit.backbones/1", "backbones": [asdict(card) for card in every]}


def training(head: "Head", path: Path, card: Path, effect: "Effect | None" = None) -> Document:
    """Return what was trained, with its metrics, its model card, and what a balance changed."""
    return {
        "schema": "embedkit.train/1",
        "head": str(path),
        "card": str(card),
        **trained(head),
        "effect": effect and effect.to_dict(),
    }


def trained(head: "Head") -> Document:
    """Return what a head is and what it was fitted on."""
    return {
        "kind": head.kind,
        "labels": list(head.labels),
        "label": head.label,
        "space": head.training.space,
        "contract_sha256": head.training.contract_sha256,
        "n_train": len(head.training.ids),
        "n_copies": len(head.training.copies[0]),
        "choice": asdict(head.classifier.choice),
        "metrics": head.metrics or None,
    }


def effects(every: "Sequence[Effect]") -> Document:
    """Return what each way of balancing changes."""
    first = every[0]
    return {
        "schema": "embedkit.mitigate/1",
        "label": first.label,
        "split": first.split,
        "ways": [one.to_dict() for one in every],
    }


def evaluation(scored: "Evaluation", curve: "LearningCurve", figures: Sequence[Path]) -> Document:
    """Return the metrics and the learning curve."""
    return {
        "schema": "embedkit.evaluate/1",
        "metrics": scored.to_dict(),
        "learning_curve": learning_curve(curve)["points"],
        "figures": [str(path) for path in figures],
    }


def predictions(
    panel: "Panel",
    answers: "Sequence[tuple[Prediction | Unreadable, ...]]",
    refused: Sequence[Unreadable],
) -> Document:
    """Return predictions, and what could not be read.

    A picture has the keys of the first head's answer; `also` holds those of the other heads.
    """
    return {
        "schema": "embedkit.predict/1",
        "heads": _heads(panel),
        "predictions": [
            _answer(first)
            | {
                "also": [
                    {"head": name} | _without_source(_answer(one))
                    for name, one in zip(panel.names[1:], others, strict=True)
                ]
            }
            for first, *others in answers
        ],
        "unreadable": [asdict(one) for one in refused],
    }


def look(seen: "Look", panel: "Panel") -> Document:
    """Return the faces of a picture or frame; boxes and landmarks in pixels of it."""
    frame = seen.frame
    height, width = frame.pixels.shape[:2]
    return {
        "schema": "embedkit.look/1",
        "source": frame.source,
        "frame": frame.number,
        "seconds": None if frame.seconds is None else round(frame.seconds, 3),
        "width": width,
        "height": height,
        "faces": [
            {
                "box": [round(side, 2) for side in one.face.box],
                "confidence": round(one.face.confidence, 6),
                "landmarks": [[round(x, 2), round(y, 2)] for x, y in one.face.landmarks],
                "predictions": [
                    {"head": name, "probability": round(answer.probability, 6)}
                    | _without_source(answer.to_dict())
                    for name, answer in zip(panel.names, one.answers, strict=True)
                ],
            }
            for one in seen.sightings or ()
        ],
    }


def faces(
    panel: "Panel", tally: "Tally", looks: Sequence[Document], files: Sequence[Path]
) -> Document:
    """Return what a run over pictures, videos or a camera came to.

    Args:
        panel: the heads.
        tally: of the run.
        looks: the documents of what was looked at, where no file has them.
        files: that were written.
    """
    return {
        "schema": "embedkit.faces/1",
        "heads": _heads(panel),
        "pictures": tally.pictures,
        "frames": tally.frames,
        "looked_at": tally.looked_at,
        "faces": tally.faces,
        "without_face": tally.faceless,
        "seconds": round(tally.seconds, 3),
        "frames_per_second": round(tally.per_second, 3),
        "peak_memory_mib": round(peak_memory(), 1),
        "unreadable": tally.n_unreadable,
        "first_unreadable": [asdict(one) for one in tally.unreadable],
        "looks": list(looks),
        "files": [str(path) for path in files],
    }


def _heads(panel: "Panel") -> list[Document]:
    return [
        {
            "head": name,
            "kind": head.kind,
            "label": head.label,
            "labels": list(head.labels),
            "space": head.training.space,
        }
        for name, head in zip(panel.names, panel.heads, strict=True)
    ]


def _answer(one: "Prediction | Unreadable") -> Document:
    """Return an answer; where a head's space leaves the picture out, the reason and no label."""
    if not isinstance(one, Unreadable):
        return one.to_dict()
    nothing: Document = {"label": None, "probabilities": {}, "neighbours": []}
    return {"source": one.id, **nothing, "reason": one.reason}


def _without_source(answer: Document) -> Document:
    return {key: value for key, value in answer.items() if key != "source"}


def neighbours(query: str, found: "Hits", sheet: Path) -> Document:
    """Return what is nearest to a picture or a text; `index` is null where all were compared."""
    return {
        "schema": "embedkit.search/1",
        "query": query,
        "neighbours": [asdict(one) | {"similarity": round(one.similarity, 6)} for one in found],
        "index": found.by and index_found(found.by),
        "sheet": str(sheet),
    }


def layers(space: str, found: "Sequence[Layer]") -> Document:
    """Return the layers of a backbone that can be looked into."""
    return {
        "schema": "embedkit.layers/1",
        "space": space,
        "layers": [asdict(one) for one in found],
    }


def weights(found: "Sequence[Weights]") -> Document:
    """Return which weights are here, and where from."""
    return {
        "schema": "embedkit.weights/1",
        "weights": [
            {
                "backbone": one.backbone,
                "path": None if one.path is None else str(one.path),
                "sha256": one.sha256 or None,
                "as_published": one.published,
                "digits_checked": one.checked,
                "files": list(one.source.files),
                "from": one.source.place,
                "licence": one.licence,
            }
            for one in found
        ],
    }


def trusted(known: "Sequence[tuple[str, str]]") -> Document:
    """Return the files that stores and heads may name from now on, and their SHA-256."""
    return {
        "schema": "embedkit.trusted/1",
        "files": [{"path": path, "sha256": sha256} for path, sha256 in known],
    }


def learning_curve(curve: "LearningCurve") -> Document:
    """Return the points of a learning curve."""
    return {
        "head": curve.head,
        "split": curve.split,
        "majority": round(curve.majority, 6),
        "points": [
            {"n_train": point.n_train, **point.accuracy.to_dict()} for point in curve.points
        ],
    }


def comparison(result: "Comparison", files: Sequence[Path]) -> Document:
    """Return the rows of a comparison, with the files that were written."""
    return compared(result) | {"files": [str(path) for path in files]}


def compared(result: "Comparison") -> Document:
    """Return the rows of a comparison."""
    return {
        "schema": "embedkit.compare/1",
        "label": result.label,
        "split": result.split,
        "majority": result.majority.to_dict(),
        "rows": [
            {
                "space": one.space,
                "backbone": one.backbone,
                "head": one.head,
                "accuracy": one.accuracy.to_dict(),
                "behind_best": one.behind.to_dict(),
                "p_adjusted": None if one.p != one.p else round(one.p, 6),
                "train_seconds": round(one.train_seconds, 3),
                "image_ms": None if one.image_ms != one.image_ms else round(one.image_ms, 3),
                "bytes_per_image": one.bytes_per_image,
                "ordered": one.ordered and one.ordered.to_dict(),
            }
            for one in result.rows
        ],
    }


def viewer(store: Path, address: str, port: int) -> Document:
    """Return where a store's explorer listens."""
    return {"schema": "embedkit.view/1", "store": str(store), "address": address, "port": port}


def reviews(
    opened: "Store", found: Mapping[str, "Reviewed"], answers: int, file: Path | None
) -> Document:
    """Return how much of what the audit lists is real, by what was ticked."""
    return {
        "schema": "embedkit.reviews/1",
        "store": str(opened.path),
        "file": None if file is None else str(file),
        "answers": answers,
        "findings": [one.to_dict() for one in found.values()],
    }
