"""The same pictures give the same bytes, in whatever surroundings a process is started."""

import hashlib
import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedkit.synthetic import Faults, make_faces

MAKER = Path(__file__).with_name("every_output.py")
FEW = 64  # open files

# What differs from run to run: the first run has the first of each, the second the last.
SURROUNDINGS = {
    "hash seed": ("0", "1", "4294967295"),
    "threads": (1, 2),
    "locale": ("C.UTF-8", "C"),
    "zone": ("UTC", "Asia/Kathmandu", "Pacific/Kiritimati"),
    "umask": (0o022, 0o027, 0o077),
    "asserts": ([], ["-O"]),
    "open files": (1024, FEW),
    "home": (None, "/proc/nowhere"),  # which not even root can make
    "working folder": (None, "/proc"),
}


def surroundings(number: int) -> dict[str, object]:
    """Those of the n-th run; from the third on they are drawn."""
    if number < 2:
        return {name: values[-number] for name, values in SURROUNDINGS.items()}
    drawn = random.Random(number)
    return {name: drawn.choice(values) for name, values in SURROUNDINGS.items()}


def outputs(drawn: Path, folder: Path, number: int, backbone: str) -> dict[str, str]:
    """Make everything of a copy of the drawn pictures; return each file's SHA-256."""
    around = surroundings(number)
    shutil.rmtree(folder, ignore_errors=True)
    files = sorted(path for path in drawn.rglob("*") if path.is_file())
    random.Random(number).shuffle(files)
    for file in files:
        copy = folder / "faces" / file.relative_to(drawn)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    changed = {
        "PYTHONHASHSEED": around["hash seed"],
        "LC_ALL": around["locale"],
        "TZ": around["zone"],
        "OMP_NUM_THREADS": str(around["threads"]),
        "HOME": around["home"] or str(folder.parent),
    }
    done = subprocess.run(
        [sys.executable, *around["asserts"], MAKER, folder, backbone, str(around["threads"])],
        cwd=around["working folder"] or folder,
        env=os.environ | changed,
        umask=around["umask"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (around["open files"],) * 2),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (around, done.stderr[-2000:])
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "faces" not in path.relative_to(folder).parts[0]
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A few faces with copies across splits and an unreadable file."""
    folder = tmp_path_factory.mktemp("drawn") / "faces"
    faults = Faults(exact_twins=0.1, near_twins=0.3, unreadable=1)
    make_faces(folder, people=14, photographs=3, size=48, seed=5, faults=faults)
    return folder


@pytest.mark.slow
def test_every_output_is_the_same_bytes_in_all_surroundings(drawn, tmp_path, thorough, figure):
    runs = 8 if thorough else 2
    backbone = "mtcnn" if thorough else "pixels"
    every = [outputs(drawn, tmp_path / "work", number, backbone) for number in range(runs)]
    assert {name.partition("/")[0] for name in every[0]} >= {
        "arrays", "atlas.parquet", "audit.json", "card.png", "clean.csv", "head.onnx",
        "head.safetensors", "knn.safetensors", "page.html", "page.md", "projector",
        "rows.parquet", "sheet.png", "split.csv", "store",
    }  # fmt: skip
    differ = [name for name in every[0] if len({one.get(name) for one in every}) > 1]
    assert differ == []
    assert all(one.keys() == every[0].keys() for one in every)
    assert ("map.html" in every[0]) == thorough
    counted = (
        f"{len(every[0])} files (store, heads, audit as JSON and page, card, sheet, split, list, "
        f"exports{', map' * thorough}; {backbone}) made by {runs} processes of other "
        f"{', '.join(SURROUNDINGS)} and order of files: 1 SHA-256 each"
    )
    figure("E6", counted)
    figure("J3", f"under python -O, {FEW} open files, no home, in /proc: the same; {counted}")
    if thorough:
        figure("E5", counted)
