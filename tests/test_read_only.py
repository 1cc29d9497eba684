"""A store that nobody may write, with its pictures: what reads works, the rest says so at once."""

import json
import os
import subprocess

import pytest
from explorers import Client
from helpers import tree
from hostile import called

from embedkit.explorer.serving import serve
from embedkit.store import Store
from embedkit.synthetic import Faults, make_faces

# OUT is a folder elsewhere, ID an image, PICTURE its file.
READING = """
info STORE --deep
search STORE PICTURE --sheet OUT/sheet.png
predict HEAD PICTURE
evaluate HEAD --figures OUT/figures
explain STORE ID -o OUT/card.png
audit STORE --check quality --report OUT/audit.html
reviews STORE -o OUT/reviews.csv
export STORE --to npy -o OUT/npy
export HEAD --to onnx -o OUT/head.onnx
subset STORE --where split='test' -o OUT/subset
train STORE --head knn -o OUT/knn.safetensors
forget STORE ID
forget STORE --list
""".strip().splitlines()
LONGER = """
report STORE -o OUT/report.html -o OUT/report.md -o OUT/report.json
map STORE -o OUT/map.html
map STORE -o OUT/map.png
compare STORE -o OUT/compared
split STORE -o OUT/split.csv
clean STORE -o OUT/clean.csv
export STORE --to parquet -o OUT/rows.parquet
export STORE --to atlas -o OUT/atlas.parquet
export STORE --to projector -o OUT/projector
export STORE --to fiftyone -o OUT/fiftyone
selftest STORE --sample 100
""".strip().splitlines()
WRITING = """
embed FACES -o STORE
index STORE
train STORE
evaluate HEAD
finetune STORE
forget STORE ID --yes
audit STORE --check shortcuts --views
audit STORE --check quality --report STORE/../a.html
audit STORE --check quality --write-baseline STORE/../known.json
report STORE -o STORE/../r.html
map STORE -o STORE/../m.html
split STORE -o STORE/../split.csv
clean STORE -o STORE/../clean.csv
search STORE PICTURE --sheet STORE/../sheet.png
export STORE --to npy -o STORE/../npy
""".strip().splitlines()


@pytest.fixture(scope="module")
def read_only(tmp_path_factory):
    """Return a folder with a store, its pictures and a head, mounted so that nobody may write."""
    place = tmp_path_factory.mktemp("read-only") / "disk"
    make_faces(
        place / "faces", people=24, photographs=4, size=32, seed=5, faults=Faults(exact_twins=0.1)
    )
    for command in (
        ("embed", place / "faces", "-b", "pixels", "-o", place / "store"),
        ("train", place / "store", "-o", place / "head.safetensors"),
        ("audit", place / "store", "--check", "twins"),
    ):
        assert called(*command)[0] == 0
    bound = ["mount", "--bind", place, place]
    if os.geteuid() != 0 or subprocess.run(bound, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def run(read_only, tmp_path):
    """Run a line of the lists above."""
    store = Store.open(read_only / "store")
    id_ = store.items.ids[0]
    words = {
        "STORE": store.path,
        "HEAD": read_only / "head.safetensors",
        "PICTURE": store.items.path(id_),
        "FACES": store.items.root,
        "OUT": tmp_path,
    }

    def run(line):
        for word, path in words.items():
            line = line.replace(word, str(path))
        return called(*(id_ if word == "ID" else word for word in line.split(" ")))

    return run


@pytest.mark.slow
def test_what_reads_works_where_nobody_may_write(read_only, run, thorough, figure):
    before = tree(read_only)
    lines = READING + LONGER * thorough
    for line in lines:
        status, _, err = run(line)
        assert status == 0, (line, err)
    with serve(read_only / "store") as served:
        client = Client(served)
        for path in ("pictures", "picture/0", "near/0", "finding/twins"):
            assert client.send("GET", client.at + path)[0] == 200
        if thorough:
            assert client.wait_for("card/0")[0] == client.wait_for("map")[0] == 200
        status, said = client.tick("twins", 0, "real")
        assert client.get("pictures")[0] == 200
    assert status == 409
    assert "cannot be written: Read-only file system" in said["error"]
    assert tree(read_only) == before
    figure("A10", f"{len(lines)} reading commands and view on a read-only mount: all end well")


@pytest.mark.slow
def test_what_writes_says_so_in_one_line_before_the_work(read_only, run, figure):
    before = tree(read_only)
    for line in WRITING:
        status, out, err = run(line)
        assert status == 3, (line, out, err)
        assert "cannot be written: Read-only file system" in err.splitlines()[-1], line
        assert out == ""
    assert tree(read_only) == before
    figure("A10", f"{len(WRITING)} writing commands on a read-only mount: one line, status 3")


def test_findings_that_cannot_be_kept_are_still_shown(run):
    status, out, err = run("audit STORE --check quality --json")
    assert status == 0
    assert json.loads(out)["findings"]
    assert "not kept in the store for map and view: " in err
