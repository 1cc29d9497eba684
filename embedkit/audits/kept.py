"""The last audit of a store, kept beside it: what maps, the explorer and a gate look up."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from embedkit.audits.methods import METHODS
from embedkit.files import sha256, write_output
from embedkit.store import Store

if TYPE_CHECKING:
    from embedkit.audits import Audit

FOLDER = "audits"
LONGEST = 150
Document = dict[str, Any]


def keep(result: "Audit") -> Path:
    """Write every finding that was made into the store, and return their folder.

    Each has a file of its own, so an audit of a part takes the place of that part only.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = _folder(result.store, result.settings["label"], result.settings["backbone"])
    stamp = _stamp(result.store, result.settings["backbone"])
    for finding in result.findings:
        document = {
            "schema": "embedkit.finding/1",
            **stamp,
            "settings": result.settings,
            "finding": finding.to_dict(),
        }
        text = json.dumps(document, indent=1, allow_nan=False)
        write_output(folder / f"{finding.name}.json", f"{text}\n".encode())
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
            if not path.is_file():  # a pipe would be waited for
                continue
            document = json.loads(path.read_bytes())
            finding = document["finding"]
            fits = all(document[key] == value for key, value in stamp.items())
            known = isinstance(finding["details"], dict) and "not_run_reason" in finding
            if fits and known and finding["name"] == name:
                found[name] = finding
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


def _folder(store: Store, label: str, space: str) -> Path:
    name = quote(label, safe=" ")
    if len(name) > LONGEST:  # than a file system takes
        name = sha256(label.encode("utf-8", "backslashreplace"))
    return store.path / FOLDER / f"{name}@{space}"


def _stamp(store: Store, space: str) -> dict[str, str]:
    """Return what a finding rests on."""
    return {
        "items_sha256": store.record.items["sha256"],
        "space_sha256": store.record.spaces[space],
    }
