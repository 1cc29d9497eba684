"""Write a small store as this version of embedkit does, for every later one to open.

    python tests/golden/make.py tests/golden/store-3-0.1.0.tar.xz

The pictures in it are noise. A file that is there already is never written again: it is what an
old version wrote. `tests/test_golden.py` opens each one.
"""

import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import embedkit as ek
from embedkit.audits.claims import Claim
from embedkit.audits.kept import keep
from embedkit.audits.ticks import Answer, tick
from embedkit.pipeline.augment import augment
from embedkit.store import Store
from embedkit.store.index_build import index_space
from embedkit.store.index_plans import plan_index

NAMES = [f"{split}/{c}/{n}.png" for split in ("train", "test") for c in ("a", "b") for n in (0, 1)]


def draw(folder: Path) -> Path:
    """Write the pictures, each of 8 x 8 pixels."""
    for seed, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


def make(root: Path) -> Store:
    """Make a store with an index, altered copies, two heads, a finding and an answer."""
    store = ek.embed(draw(root / "faces"), root / "store", backbone="pixels", block=5)
    space = store.space("pixels")
    index_space(store, space, plan_index(*space.rows.shape, asked="ivf"))
    augment(store, ["pixels"], ["flip"], 1)
    store = Store.open(root / "store")
    for head in ("logistic", "knn"):
        ek.train(store, head=head).save(store.path / "heads" / head)
    keep(ek.audit(store, checks=["quality"]))
    tick(store, Claim("quality", "dark", (NAMES[0],)), Answer.NOT_REAL)
    return store


def told(store: Store) -> dict:
    """Return what every later version has to find in it."""
    space = store.space("pixels")
    near = space.index.search(space.vectors, 3)
    copies = space.augmented
    heads = {}
    for path in sorted((store.path / "heads").glob("*.safetensors")):
        head = ek.load_head(path)
        heads[path.name] = head.probabilities(space, range(len(store.items))).tolist()
    return {
        "ids": list(store.items.ids),
        "labels": list(store.items.labels),
        "splits": list(store.items.splits),
        "pixels": [str(one) for one in store.items.column("pixel_sha256")],
        "vectors": [float(one) for one in space.vectors.astype(np.float64).sum(axis=1)],
        "near": near.rows.tolist(),
        "similarities": near.similarities.tolist(),
        "copies": [list(copies.ids), len(copies.vectors)],
        "heads": heads,
    }


def main() -> None:
    """Write the store and what is in it into one archive."""
    to = Path(sys.argv[1])
    if to.exists():
        raise SystemExit(f"{to} is there already, and stays as its version wrote it")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        known = json.dumps(told(make(root))).encode()
        with tarfile.open(to, "w:xz") as packed:
            for name in ("faces", "store"):
                packed.add(root / name, name, filter=nobody)
            entry = tarfile.TarInfo("told.json")
            entry.size = len(known)
            packed.addfile(entry, io.BytesIO(known))


def nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out the lock, and who made a file and when."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return None if entry.name.endswith(".lock") else entry


if __name__ == "__main__":
    main()
