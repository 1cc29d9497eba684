"""Damage to the files of a store, and what a process says of it.

Started as a program, it damages a copy of a store once for each seed, says in a line of JSON what
was noticed, and mends it; whoever reads the lines sees where it dies.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from helpers import tree

from embedkit.audits.kept import kept
from embedkit.audits.ticks import FILE as REVIEWS
from embedkit.audits.ticks import ticks
from embedkit.errors import EmbedkitError
from embedkit.files import sha256
from embedkit.heads import load_head
from embedkit.store import Store
from embedkit.store.augmented import read_augmented
from embedkit.wholeness import faults_of

KINDS = (
    "bit",
    "byte",
    "cut",
    "append",
    "zeros",
    "sectors",
    "delete",
    "duplicate",
    "exchange",
    "stale",
    "foreign",
    "folder",
    "link",
    "pipe",
)
SECTOR = 512
SECONDS = 120  # after which a process that hangs is ended


def alone(name: str) -> bool:
    """Say whether a file stands for itself, so that nothing misses it or minds its name."""
    parts = Path(name).parts
    head = parts[0] == "heads" and len(parts) == 2
    return name == REVIEWS or parts[0] == "audits" or head


def changed(data: bytes, kind: str, generator: np.random.Generator) -> bytes:
    """Return bytes with one damage."""
    place = int(generator.integers(len(data)))
    match kind:
        case "bit":
            new = bytes([data[place] ^ 1 << int(generator.integers(8))])
            return data[:place] + new + data[place + 1 :]
        case "byte":
            return data[:place] + bytes([int(generator.integers(256))]) + data[place + 1 :]
        case "cut":
            return data[:place]
        case "append":
            return data + generator.bytes(int(generator.integers(1, 300)))
        case "zeros":
            return data[:place] + bytes(len(data[place : place + SECTOR])) + data[place + SECTOR :]
        case _:
            parts = [data[at : at + SECTOR] for at in range(0, len(data), SECTOR)]
            one, other = generator.integers(len(parts), size=2)
            parts[one], parts[other] = parts[other], parts[one]
            return b"".join(parts)


class Damage:
    """One damage to a store.

    Attributes:
        kind: one of `KINDS`.
        names: of the files that are damaged, relative to the store.
        visible: whether anything is left that tells of it.
    """

    def __init__(self, root: Path, whole: dict[str, bytes], old: dict[str, bytes], seed: int):
        self._root, self._whole = root, whole
        generator = np.random.default_rng(seed)
        self.kind = str(generator.choice(KINDS))
        every = sorted(name for name, data in whole.items() if data and name != ".lock")
        name = str(generator.choice(every))
        self.names, self.visible = [name], True
        path = root / name
        match self.kind:
            case "delete":
                path.unlink()
                self.visible = not alone(name)
            case "duplicate":
                self.names = [f"{name}.copy" if seed % 2 else _beside(name)]
                (root / self.names[0]).write_bytes(whole[name])
                # Two heads or shards of copies of other names are no damage.
                self.visible = seed % 2 == 1 or not alone(name)
            case "exchange":
                other = str(generator.choice(every))
                self.names.append(other)
                path.write_bytes(whole[other])
                (root / other).write_bytes(whole[name])
                heads = all(one.startswith("heads/") and alone(one) for one in self.names)
                self.visible = whole[name] != whole[other] and not heads
            case "stale":
                name = str(generator.choice(sorted(old.keys() - {".lock"})))
                self.names = [name]
                (root / name).write_bytes(old[name])
                self.visible = old[name] != whole.get(name) and not alone(name)
                # A chunk that is whole may be of a run that is to go on.
                self.visible &= name in whole or "/augmented-" not in name
            case "foreign":
                folder = str(Path(name).parent)
                self.names = [f"{folder}/{generator.choice(['x.bin', 'index-9.faiss', 'a.json'])}"]
                (root / self.names[0]).write_bytes(generator.bytes(50))
            case "folder":
                path.unlink()
                path.mkdir()
            case "link":
                path.unlink()
                target = root.parent / "elsewhere"
                target.write_bytes(whole[name])
                path.symlink_to(target if seed % 2 else "/dev/zero")
            case "pipe":
                path.unlink()
                os.mkfifo(path)
            case kind:
                new = changed(whole[name], kind, generator)
                path.write_bytes(new)
                self.visible = new != whole[name]
                # A line of answers that is gone as a whole leaves no trace.
                if name == REVIEWS and whole[name].startswith(new) and new.endswith(b"}\n"):
                    self.visible = False

    def mend(self) -> None:
        """Make the store what it was."""
        for name in self.names:
            path = self._root / name
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
            if name in self._whole:
                path.write_bytes(self._whole[name])


def _beside(name: str) -> str:
    path = Path(name)
    return str(path.with_name(f"{path.stem}-2{path.suffix}"))


def uses(store: Store, names: list[str]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what commands do with a store, one thing at a time; of heads those that are named."""
    items = store.items
    yield "items", lambda: [items.ids, items.labels, items.splits, items.column("pixel_sha256")]
    for name, space in store.spaces.items():
        yield f"vectors {name}", lambda space=space: sha256(space.vectors.tobytes())
        yield (
            f"search {name}",
            lambda space=space: space.stored_index.search(space.vectors[:6], 3).rows.tolist(),
        )
        yield f"augmented {name}", lambda space=space: _copies(space.augmented)
        for folder in sorted((store.path / "views").glob(f"{name}@*")):
            yield (
                f"view {folder.name}",
                lambda space=space, folder=folder: _copies(
                    read_augmented(folder, space.contract_sha256)
                ),
            )
        yield f"kept {name}", lambda name=name: kept(store, backbone=name)
    yield "ticks", lambda: {str(claim): str(one) for claim, one in ticks(store).items()}
    for name in names:
        if name.endswith(".safetensors") and Path(name).parent.name == "heads":
            yield f"head {name}", lambda name=name: _answers(store, store.path / name)


def _copies(copies: Any) -> Any:
    return None if copies is None else [copies.ids, sha256(copies.vectors.tobytes())]


def _answers(store: Store, path: Path) -> Any:
    head = load_head(path)
    rows = np.arange(len(store.items))
    return head.probabilities(store.space(head.training.space), rows).round(9).tolist()


def seen(path: Path, names: list[str]) -> dict[str, Any]:
    """Return the result of everything that is done with a store; of what is refused, why."""
    try:
        store = Store.open(path)
    except EmbedkitError as error:
        return {"open": {"refused": str(error)}}
    found = {}
    for what, do in uses(store, names):
        try:
            found[what] = {"result": json.loads(json.dumps(do()))}
        except EmbedkitError as error:
            found[what] = {"refused": str(error)}
    for what, one in found.items():
        note = store.spaces[what.split()[1]].index_note if what.startswith("search") else ""
        if note:
            one["note"] = note
    return found


def deep(path: Path) -> list[str]:
    """Return what `info --deep` says."""
    try:
        return faults_of(Store.open(path))
    except EmbedkitError as error:
        return [str(error)]


def silent(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return what came out otherwise without a word.

    A finding or an answer that is left out is not another one.
    """
    other = []
    for what, one in found.items():
        if "result" not in one:
            continue
        was, now = expected[what]["result"], one["result"]
        if what.startswith(("kept", "ticks")):
            fits = all(was.get(name) == value for name, value in now.items())
        else:
            fits = now == was or now is None
        if not fits and "note" not in one:
            other.append(what)
    return other


def report(
    root: Path,
    whole: dict[str, bytes],
    old: dict[str, bytes],
    seed: int,
    expected: dict[str, Any],
) -> dict[str, Any]:
    """Damage a store, look at it, mend it, and return what was noticed."""
    damage = Damage(root, whole, old, seed)
    names = [name for name in damage.names if name in whole]
    said: dict[str, Any] = {"seed": seed, "kind": damage.kind, "names": damage.names}
    said["visible"] = damage.visible
    try:
        faults = deep(root)
        said["found"] = bool(faults)
        said["named"] = any(_names(one, root / name) for one in faults for name in damage.names)
        said["faults"] = faults[:3]
        said["lines"] = all("\n" not in one for one in faults)
        found = seen(root, names)
        said["used"] = any("refused" in one or "note" in one for one in found.values())
    except Exception as error:  # noqa: BLE001 (what is looked for)
        said["escaped"] = f"{type(error).__name__}: {error}"
        found = {}
    damage.mend()
    said["silent"] = silent(expected, found)
    return said


def _names(fault: str, path: Path) -> bool:
    """Say whether a line names a file, in full or by its folder and its name in it."""
    return str(path) in fault or (str(path.parent) in fault and path.name in fault)


def main() -> None:
    """Damage the store of the first argument with the seeds from the third up to the fourth."""
    source, older, first, last = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:5])
    root = Path(sys.argv[5]) / "store"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(source, root)
    whole, old = tree(root), tree(older)
    expected = seen(root, sorted(whole))
    for seed in range(first, last):
        signal.alarm(SECONDS)  # no handler: it ends the process
        print(json.dumps(report(root, whole, old, seed, expected)), flush=True)


if __name__ == "__main__":
    main()
