"""Metadata files inside an image folder: Hugging Face's, and those that FairFace brings."""

import pyarrow as pa

from embedkit.errors import InputError
from embedkit.items import ItemTable, item_table
from embedkit.readers.manifest import ManifestColumns

ROW = "row of the item table"  # no column of a file is called so
METADATA_NAMES = frozenset(
    {
        *("metadata.csv", "metadata.jsonl", "metadata.parquet"),
        # K. Karkkainen and J. Joo, "FairFace", WACV 2021: file, age, gender, race, service_test.
        *("fairface_label_train.csv", "fairface_label_val.csv"),
    }
)


def join_metadata(items: ItemTable, tables: list[ManifestColumns]) -> ItemTable:
    """Join metadata tables to the images of a folder.

    Where a table has a label (split, group) column, it alone says what an image's label is; an
    image that no row names then has none.

    Raises:
        InputError: two tables name one image.
    """
    row_of = {id_: row for row, id_ in enumerate(items.ids)}
    columns: dict[str, list[str | None]] = {
        "label": items.labels,
        "split": items.splits,
        "group": items.groups,
    }
    for name in columns:
        if any(_column(table, name) is not None for table in tables):
            columns[name] = [None] * len(items)
    named: set[str] = set()
    attributes: list[pa.Table] = []
    for table in tables:
        if again := named & set(table.ids):
            raise InputError(f"two metadata files name {min(again)}")
        named |= set(table.ids)
        rows = [row_of.get(id_, -1) for id_ in table.ids]
        for name, values in columns.items():
            for row, value in zip(rows, _column(table, name) or (), strict=False):
                if row >= 0:
                    values[row] = value
        attributes.append(table.attributes.append_column(ROW, pa.array(rows, pa.int64())))
    joined = pa.concat_tables(_alike(attributes), promote_options="permissive")
    place = {row: index for index, row in enumerate(joined.column(ROW).to_pylist())}
    order = pa.array([place.get(row) for row in range(len(items))], pa.int64())
    unnamed = len(items) - len(named & row_of.keys())
    notes = [note for table in tables for note in table.notes]
    if unnamed:
        notes.append(f"{unnamed} images are in no metadata file")
    names = [set(table.attributes.column_names) for table in tables]
    some = sorted(set.union(*names) - set.intersection(*names))
    if some:
        notes.append(f"not every metadata file has a column {', '.join(some)}")
    return item_table(
        items.root,
        items.ids,
        labels=columns["label"],
        splits=columns["split"],
        groups=columns["group"],
        attributes=joined.drop_columns([ROW]).take(order),
        layout=f"{items.layout}; metadata: {tables[0].mapping}",
        notes=(*items.notes, *notes),
        unreadable=tuple(missing for table in tables for missing in table.missing),
    )


def _alike(tables: list[pa.Table]) -> list[pa.Table]:
    """Return the tables with a column that is text in one of them as text in all."""
    text = {field.name for table in tables for field in table.schema if field.type == pa.string()}
    for number, table in enumerate(tables):
        for place, field in enumerate(table.schema):
            if field.name in text and field.type != pa.string():
                cells = [None if cell is None else str(cell) for cell in table[place].to_pylist()]
                table = table.set_column(place, field.name, pa.array(cells, pa.string()))
        tables[number] = table
    return tables


def _column(table: ManifestColumns, name: str) -> list[str | None] | None:
    return {"label": table.labels, "split": table.splits, "group": table.groups}[name]
