"""The fields of a FiftyOne data set, as its `metadata.json` describes them."""

import re
from typing import Any

import pyarrow as pa

from embedkit.exports.base import Subject

METADATA = "metadata.json"
VERSION = "1.0.0"  # of the layout; later ones read it and bring it up to date themselves
TRUTH, SUGGESTED, EMBEDDING = "ground_truth", "suggested_label", "embedding"
# Fields that FiftyOne has of its own, or that are written for every data set.
TAKEN = frozenset(
    (
        *("id", "filepath", "tags", "metadata", "created_at", "last_modified_at"),
        *("media_type", "media_reference", TRUTH, SUGGESTED, EMBEDDING),
    )
)
# What another field already says, or FiftyOne's `metadata` does.
LEFT_OUT = frozenset(("id", "path", "label_suggested", "width", "height", "bytes"))
_FIELD = "fiftyone.core.fields."
_STRING, _INT, _FLOAT, _BOOL = "StringField", "IntField", "FloatField", "BooleanField"
_VECTOR, _DATE, _ID, _LIST = "VectorField", "DateTimeField", "ObjectIdField", "ListField"

Document = dict[str, Any]


def fields_of(table: pa.Table, label: str) -> dict[str, str]:
    """Return FiftyOne's name of each column that becomes a field."""
    names: dict[str, str] = {}
    for column in table.column_names:
        if column in LEFT_OUT or column == label:
            continue
        plain = re.sub(r"[^\w]", "_", column).lstrip("_") or "column"
        while plain in TAKEN or plain in names.values():
            plain += "_"
        names[column] = plain
    return names


def describe(subject: Subject, table: pa.Table, fields: dict[str, str]) -> Document:
    """Return `metadata.json`.

    Args:
        subject: to describe.
        table: of what is known of the images.
        fields: FiftyOne's name of each column that is a field.
    """
    classes = sorted({str(one) for one in table.column(subject.known.label).to_pylist() if one})
    return {
        "name": subject.store.path.resolve().name,
        "version": VERSION,
        "media_type": "image",
        "persistent": False,
        "tags": ["embedkit"],
        "info": subject.facts(),
        "app_config": {},
        "classes": {TRUTH: classes},
        "group_media_types": {},
        "sample_fields": [*_own_fields(), *_column_fields(table, fields)],
    }


def _own_fields() -> list[Document]:
    metadata = [
        _field("size_bytes", _INT),
        _field("mime_type", _STRING),
        _field("width", _INT),
        _field("height", _INT),
        _field("num_channels", _INT),
    ]
    label = [
        _field("id", _ID, db_field="_id"),
        _field("tags", _LIST, subfield=_FIELD + _STRING),
        _field("label", _STRING),
        _field("confidence", _FLOAT),
        _field("logits", _VECTOR),
    ]
    kind = "fiftyone.core.labels.Classification"
    return [
        _field("id", _ID, db_field="_id"),
        _field("_media_type", _STRING),
        _field("_rand", _FLOAT),
        _field("_dataset_id", _ID),
        _field("created_at", _DATE, read_only=True),
        _field("last_modified_at", _DATE, read_only=True),
        _field("filepath", _STRING),
        _field("tags", _LIST, subfield=_FIELD + _STRING),
        _embedded("metadata", "fiftyone.core.metadata.ImageMetadata", metadata),
        _embedded(TRUTH, kind, label),
        _embedded(SUGGESTED, kind, label),
        _field(EMBEDDING, _VECTOR),
    ]


def _column_fields(table: pa.Table, fields: dict[str, str]) -> list[Document]:
    def kind(type_: pa.DataType) -> str:
        if pa.types.is_boolean(type_):
            return _BOOL
        if pa.types.is_integer(type_):
            return _INT
        return _FLOAT if pa.types.is_floating(type_) else _STRING

    return [_field(own, kind(table.schema.field(column).type)) for column, own in fields.items()]


def _embedded(name: str, kind: str, fields: list[Document]) -> Document:
    return _field(name, "EmbeddedDocumentField", embedded_doc_type=kind, fields=fields)


def _field(name: str, kind: str, **more: object) -> Document:
    """Return FiftyOne's description of a field."""
    return {
        "name": name,
        "ftype": _FIELD + kind,
        "embedded_doc_type": None,
        "subfield": None,
        "fields": [],
        "db_field": name,
        "description": None,
        "info": None,
        "read_only": False,
        **more,
    }
