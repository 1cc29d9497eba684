"""The same pictures give the same bytes, in whatever surroundings a process is started."""

import hashlib
import os
import random
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedkit.synthetic import Faults, make_faces

MAKER = Path(__file__).with_name("every_output.py")
FEW = 64  # open files
BLOCK = 20  # images
# What other blocks change: the vectors' files, and what names these by their hashes.
OF_BLOCKS = r"(store/(pixels|mtcnn)/.*|store/store\.json|store/audits/.*|audit\.json|rows\.parquet)"

# What differs from run to run: the first run has the first of each, the second the last. Neither
# is optimised: every package would be compiled anew for it.
SURROUNDINGS = {
    "hash seed": ("0", "1", "4294967295"),
    "threads": (1, 2),
    "locale": ("C.UTF-8", "C"),
    "zone": ("UTC", "Asia/Kathmandu", "Pacific/Kiritimati"),
    "umask": (0o022, 0o027, 0o077),
    "asserts": ([], ["-O"], []),
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


def outputs(
    drawn: Path, folder: Path, number: int, backbone: str, block: int = BLOCK
) -> dict[str, str]:
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
    given = (folder, backbone, str(around["threads"]), str(block))
    done = subprocess.run(
        [sys.executable, *around["asserts"], MAKER, *given],
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


def draw(folder: Path, *, many: bool) -> Path:
    """Draw faces with copies across splits and an unreadable file; many are enough for an audit."""
    people, photographs = (40, 4) if many else (12, 2)
    faults = Faults(exact_twins=0.1, near_twins=0.3, unreadable=1)
    make_faces(folder, people=people, photographs=photographs, size=48, seed=5, faults=faults)
    return folder


@pytest.mark.slow
def test_every_output_is_the_same_bytes_in_all_surroundings(tmp_path, thorough, figure):
    runs = 8 if thorough else 2
    drawn = draw(tmp_path / "drawn", many=thorough)
    backbone = "mtcnn" if thorough else "pixels"
    every = [outputs(drawn, tmp_path / "work", number, backbone) for number in range(runs)]
    assert {name.partition("/")[0] for name in every[0]} >= {
        "arrays", "audit.json", "card.png", "clean.csv", "head.onnx", "head.safetensors",
        "knn.safetensors", "page.html", "page.md", "projector", "rows.parquet", "sheet.png",
        "split.csv", "store",
    }  # fmt: skip
    differ = [name for name in every[0] if len({one.get(name) for one in every}) > 1]
    assert differ == []
    assert all(one.keys() == every[0].keys() for one in every)
    assert {"map.html", "atlas.parquet"} <= every[0].keys() or not thorough
    counted = (
        f"{len(every[0])} files (store, heads, audit as JSON and page, card, sheet, split, list, "
        f"exports{', map' * thorough}; {backbone}) made by {runs} processes of other "
        f"{', '.join(SURROUNDINGS)} and order of files: 1 SHA-256 each"
    )
    figure("E6", counted)
    if thorough:
        assert any(surroundings(number)["asserts"] for number in range(runs))
        figure("E5", counted)
        figure("E7", counted)
        figure("J3", f"under python -O, {FEW} open files, no home, in /proc: the same; {counted}")
        other = outputs(drawn, tmp_path / "work", 0, backbone, block=7)
        differing = {name for name in every[0] if other.get(name) != every[0][name]}
        assert all(re.fullmatch(OF_BLOCKS, name) for name in differing)
        figure(
            "E6",
            f"committed in blocks of 7 pictures, not {BLOCK}: the same but for {len(differing)} "
            "files, which hold the blocks or name them by their hashes",
        )
