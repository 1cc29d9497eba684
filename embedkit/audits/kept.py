"""The last audit of a store, kept beside it: what maps, the explorer and a gate look up."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from embedkit.audits.methods import METHODS
from embedkit.errors import StoreError
from embedkit.files import read_plain, sha256, write_output
from embedkit.store import Store
from embedkit.store.forgotten import take_back_if_forgotten
from embedkit.store.schema import as_sealed, sealed, unsealed

if TYPE_CHECKING:
    from embedkit.audits import Audit

FOLDER = "audits"
SCHEMA = "embedkit.finding/1"
# Of a document as it was kept before it had a checksum.
UNSEALED = {"schema", "items_sha256", "space_sha256", "settings", "finding"}
LONGEST = 150
Document = dict[str, Any]


def keep(result: "Audit") -> Path:
    """Write every finding that was made into the store, and return their folder.

    Each has a file of its own, so an audit of a part takes the place of that part only.

    Raises:
        OutputError: a file cannot be written.
        StoreError: an image was forgotten while the audit ran; the findings are gone again.
    """
    written = []
    folder = _folder(result.store, result.settings["label"], result.settings["backbone"])
    stamp = _stamp(result.store, result.settings["backbone"])
    for finding in result.findings:
        document = {
            "schema": SCHEMA,
            **stamp,
            "settings": result.settings,
            "finding": finding.to_dict(),
        }
        json.dumps(document, allow_nan=False)  # NaN is no JSON
        data = sealed(document, sort=False)
        written.append(write_output(folder / f"{finding.name}.json", data))
    take_back_if_forgotten(written, result.store.path, result.store.items.ids)
    return folder


def kept(store: Store, *, label: str = "label", backbone: str | None = None) -> dict[str, Document]:
    """Return the findings that fit the store as it is now, as JSON by name of audit.

    Those of an earlier state of the items or vectors, and files that are damaged, are left out.
    """
    space = store.space(backbone).name
    folder, stamp = _folder(store, label, space), _stamp(store, space)
    found = {}
    for name in METHODS:
        path = folder / f"{name}.json"
        try:
            document = _document(read_plain(path), path)
            finding = document["finding"]
            fits = all(document[key] == value for key, value in stamp.items())
            known = isinstance(finding["details"], dict) and "not_run_reason" in finding
            if fits and known and finding["name"] == name:
                found[name] = finding
        except (OSError, StoreError, KeyError, TypeError):
            continue
    return found


def damaged(store: Store, *, label: str = "label", backbone: str | None = None) -> list[str]:
    """Return the names of the findings whose files are damaged, which `kept` leaves out."""
    folder = _folder(store, label, store.space(backbone).name)
    paths = {name: folder / f"{name}.json" for name in METHODS}
    return [name for name, path in paths.items() if path.exists() and kept_faults(path)]


def kept_faults(path: Path) -> list[str]:
    """Check the file of one finding, of whatever state of the store; [] if it is whole."""
    again = "'embedkit audit' makes it anew"
    try:
        data = read_plain(path)
        document = _document(data, path)
        settings = document["settings"]
        here = document["finding"]["name"], _folder_name(settings["label"], settings["backbone"])
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}; {again}"]
    except StoreError as error:
        return [f"{error}; {again}"]
    except (KeyError, TypeError, AttributeError):
        return [f"{path} is no finding of an audit; {again}"]
    if here != (path.stem, path.parent.name):
        return [f"{path} is another file than its name says; {again}"]
    if "seal" in document and not as_sealed(data, unsealed(data, path, SCHEMA)):
        return [f"{path} has other bytes than embedkit wrote; {again}"]
    return []


def _document(data: bytes, path: Path) -> Document:
    """Return what a file holds; one of an earlier embedkit has no checksum.

    Raises:
        StoreError: it is damaged.
    """
    try:
        document: Document = json.loads(data)
        old = document.keys() == UNSEALED
    except (ValueError, AttributeError, RecursionError):
        raise StoreError(f"{path} is damaged: it is no record of embedkit") from None
    return document if old else unsealed(data, path, SCHEMA) | {"seal": document.get("seal")}


def _folder(store: Store, label: str, space: str) -> Path:
    return store.path / FOLDER / _folder_name(label, space)


def _folder_name(label: str, space: str) -> str:
    name = quote(label, safe=" ")
    if len(name) > LONGEST:  # than a file system takes
        name = sha256(label.encode("utf-8", "backslashreplace"))
    return f"{name}@{space}"


def _stamp(store: Store, space: str) -> dict[str, str]:
    """Return what a finding rests on."""
    return {
        "items_sha256": store.record.items["sha256"],
        "space_sha256": store.record.spaces[space],
    }
