"""Forgetting: nothing of a picture is left in a store, whatever cuts it off, nothing returns."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from embedkit_cli import main
from helpers import make_different, noise, saved, tree
from pyarrow import parquet

import embedkit as ek
from embedkit import files
from embedkit.audits.claims import Claim
from embedkit.audits.kept import keep
from embedkit.audits.people import meant
from embedkit.audits.sights import VIEWS
from embedkit.audits.ticks import Answer, tick, ticks
from embedkit.backbones import load_backbone
from embedkit.errors import InputError, StoreError
from embedkit.exports import export
from embedkit.files import write_whole
from embedkit.finetuning import finetune
from embedkit.pipeline.views import make_views
from embedkit.reports import finetunings
from embedkit.store.forgotten import forgotten, lift
from embedkit.store.index_build import index_space
from embedkit.store.index_plans import plan_index
from embedkit.store.schema import SCHEMA, sealed
from embedkit.store.store import Store

NAMES = [
    f"{split}/{c}/{n}.png"
    for split, many in (("train", 24), ("test", 8))
    for c in ("x", "y")
    for n in range(many)
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A store with all that a store can hold: heads, copies, findings, ticks, views."""
    home = tmp_path_factory.mktemp("forget")
    make_different(home / "data", *NAMES)
    (home / "data/train/x/torn.png").write_bytes(b"no picture")
    shutil.copy(home / "data/train/x/3.png", home / "data/test/y/again.png")
    store = ek.embed(
        home / "data", home / "store", backbone="pixels", augment=["flip"], block=20, threads=1
    )
    for kind in ("logistic", "knn"):
        ek.train(store, head=kind).save(store.path / "heads" / kind)
    few = store.items.table.to_pylist()
    assert len(few) == len(NAMES) + 1
    (store.path / "audits/label@pixels").mkdir(parents=True)
    (store.path / "audits/label@pixels/twins.json").write_text(json.dumps({"a": NAMES[0]}))
    ticked = [NAMES[0], NAMES[1]]
    lines = [json.dumps({"ids": [one], "about": ""}) for one in ticked]
    (store.path / "reviews.jsonl").write_text("\n".join(lines) + "\n")
    (store.path / "heads/logistic").mkdir()
    (store.path / "heads/logistic/confusion.png").write_bytes(saved(noise(1), "PNG"))
    view = store.path / "views/pixels@grey"
    view.mkdir(parents=True)
    for path in store.space().folder.glob("augmented*"):
        shutil.copy(path, view / path.name)
    return home


@pytest.fixture
def place(home, tmp_path):
    """A copy of that store, whose data set stays where it is."""
    shutil.copytree(home / "store", tmp_path / "store")
    return tmp_path / "store"


def left_of(store, folder, row):
    """Return where anything of a row of a store is found below a folder: written independently."""
    items = store.items
    id_ = items.ids[row]
    facts = items.table.slice(row, 1).to_pylist()[0]
    raw = {
        "sha256": facts["sha256"].encode(),
        "pixels": facts["pixel_sha256"].encode(),
        "thumbnail": bytes(facts["nuisance"]["thumbnail"]),
        "id": f'"{id_}"'.encode(),
    }
    for name, space in store.spaces.items():
        vector = space.vectors[row]
        start = int(np.flatnonzero(vector)[0])
        raw[f"vector {name}"] = vector[start : start + 8].tobytes()  # 32 bytes
    found = []
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += repr(table := parquet.read_table(path).to_pylist()).replace("'", '"').encode()
            seen = (one["nuisance"] for one in table if "nuisance" in one)
            data += b"".join(bytes(one["thumbnail"]) for one in seen)
        found += [(path.name, what) for what, piece in raw.items() if piece in data]
    return found


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_nothing_is_left_of_what_was_forgotten(home, place, kind, thorough, figure):
    before = Store.open(home / "store")
    draw = random.Random(kind)
    rows = draw.sample(range(len(before.items)), 33 if thorough else 3)
    opened = Store.open(place)
    index_space(opened, opened.space(), plan_index(*opened.space().rows.shape, asked=kind))
    looked = 0
    for row in rows:
        id_ = before.items.ids[row]
        if id_ not in Store.open(place).items.ids:
            continue  # the copy of another one
        assert left_of(before, place, row)  # the search finds what is there
        made = ek.forget(place, [id_])
        assert made.found == {}
        assert not (hits := left_of(before, place, row)), hits
        now = Store.open(place)
        assert now.verify() == []
        assert now.space().index_record.asked == kind
        vectors = before.space().vectors[[row]]
        found = now.space().stored_index.search(vectors, len(now.items)).rows[0]
        assert id_ not in {now.items.ids[one] for one in found if one >= 0}
        looked += 1
    stay = [row for row, id_ in enumerate(before.items.ids) if id_ in set(now.items.ids)]
    assert [before.items.ids[row] for row in stay] == now.items.ids
    assert np.array_equal(before.space().vectors[stay], now.space().vectors)
    assert now.items.table.equals(before.items.table.take(stay))
    figure(
        "G3",
        f"{kind} index: {looked} random pictures forgotten from a store with heads, copies, "
        "views, findings: id, hashes, thumbnail and 32 bytes of the vector found 0 times after",
    )


def test_what_learned_from_it_is_removed_and_named_and_the_rest_stays(home, place):
    head = ek.load_head(place / "heads/logistic.safetensors", store=place)
    export(head, place / "heads/logistic.onnx", to="onnx")
    test = next(id_ for id_ in Store.open(place).items.ids if id_.startswith("test/x"))
    made = ek.forget(place, [test])
    assert made.heads == ()
    assert ek.load_head(place / "heads/knn.safetensors", store=place).training.opened
    assert Store.open(place).space().augmented is not None  # of training images
    made = ek.forget(place, ["train/y/5.png"])
    assert {one.split("/")[1].partition(".")[0] for one in made.heads} == {"knn", "logistic"}
    assert not any((place / "heads").iterdir())
    assert made.removed == ("views", "pixels/augmented*")
    assert not (place / "audits").exists()
    assert len((place / "reviews.jsonl").read_text().splitlines()) == 2
    made = ek.forget(place, [NAMES[0]])
    assert made.removed == ("lines of reviews.jsonl",)
    assert NAMES[1] in (place / "reviews.jsonl").read_text()


def test_it_does_not_come_back_until_it_is_let(home, place, tmp_path):
    said = []
    ek.forget(place, ["train/x/3.png", "train/x/torn.png"])
    gone = {"train/x/3.png", "test/y/again.png"}  # its copy goes with it
    again = ek.embed(home / "data", place, backbone="pixels", say=said.append)
    assert not gone & set(again.items.ids)
    assert again.unreadable == ()
    assert any("3 images were forgotten and are not taken" in one for one in said)
    shutil.copytree(home / "data", tmp_path / "moved")
    (tmp_path / "moved/train/x/3.png").rename(tmp_path / "moved/train/y/other.png")
    other = ek.embed(tmp_path / "moved", tmp_path / "other", backbone="pixels")
    assert "train/y/other.png" in other.items.ids
    notes = []
    both = ek.merge([place, other], tmp_path / "both", say=notes.append)
    assert not {one["sha256"] for one in both.items.table.to_pylist()} & hashes(home, gone)
    assert any("told to forget" in one for one in notes)
    part = ek.subset(both, tmp_path / "part", where="split = 'train'")
    assert forgotten(part) == forgotten(both) == forgotten(again)
    with pytest.raises(InputError, match="begins none of the 3 tombstones"):
        lift(place, "nothing")
    assert len(lift(place, str(home / "data/train/x/3.png"))) == 1
    assert len(lift(place, forgotten(Store.open(place))[0][:12])) == 1
    back = ek.embed(home / "data", place, backbone="pixels")
    assert gone <= set(back.items.ids)


def hashes(home, ids):
    store = Store.open(home / "store")
    return {one["sha256"] for one in store.items.table.to_pylist() if one["id"] in ids}


# Kills itself before the n-th change of a file, then runs again.
CRASH = """
import json, os, shutil, signal, sys
from pathlib import Path
import embedkit as ek
from embedkit import files
from embedkit.store import forgetting
forget = ek.forget
source, place, step, *ids = sys.argv[1:]
def run(n, path):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = n
    def before(real):
        def change(*arguments, **options):
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)
        return change
    changes = "write_durably append_durably rename remove remove_folder sync_folder"
    for name in changes.split():
        setattr(files, name, before(getattr(files, name)))
    made = forget(path, ids)
    os._exit(bool(made.found))
n, kills, half = 0, 0, 0
while True:
    path = Path(place) / str(n)
    shutil.copytree(source, path)
    died = run(n, path)
    if died != -signal.SIGKILL:
        break
    kills += 1
    there = {id_ in ek.Store.open(path).items.ids for id_ in ids}
    half += len(there) > 1
    undone = True in there or forgetting.is_cut_off(path)  # else it died after its last change
    if undone and run(10**9, path):
        sys.exit(f"not finished after a kill before change {n}")
    n += int(step)
print(json.dumps([n, kills, half, died]))
"""


def test_a_kill_at_any_change_of_a_file_is_finished_to_the_same_bytes(
    home, tmp_path, thorough, figure
):
    ids = ["train/x/3.png", "test/x/0.png"]
    run = subprocess.run(
        [sys.executable, "-c", CRASH, home / "store", tmp_path, "1" if thorough else "9", *ids],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    n, kills, half, died = json.loads(run.stdout)
    assert (died, half) == (0, 0)
    assert kills > (40 if thorough else 5)
    whole = tree(tmp_path / str(n))
    whole.pop(".lock")
    for path in tmp_path.iterdir():
        there = tree(path)
        there.pop(".lock")
        assert there == whole, path
    figure("G3", f"{kills} kills at changes of a file: 0 stores half done, all finished alike")


def test_what_was_begun_before_is_not_written_after(home, place):
    """A head, a network, findings, views, an answer: made of the store as it was opened before."""
    before, gone = Store.open(home / "store"), "train/y/4.png"
    opened = Store.open(place)
    head, network = ek.train(opened, head="knn"), finetune(opened, size=16, epochs=1)
    settings = {"label": "label", "backbone": "pixels"}
    told = SimpleNamespace(name="twins", to_dict=lambda: {"name": "twins", "pairs": [gone]})
    audit = SimpleNamespace(store=opened, settings=settings, findings=[told])
    eye, views = load_backbone("pixels"), [one for one in VIEWS if not one.of_face][:1]
    late = [
        lambda: head.save(place / "heads/late"),
        lambda: finetunings.write(network, finetunings.default_folder(network)),
        lambda: keep(audit),
        lambda: make_views(opened, opened.space(), eye, views),
        lambda: tick(opened, Claim("twins", "", (gone,)), Answer.REAL),
    ]
    finetunings.write(network, finetunings.default_folder(network))
    made = ek.forget(place, [gone])
    assert "heads/label-small-finetuned" in made.heads
    assert made.found == {}
    for write in late:
        with pytest.raises(StoreError, match="rests on images that were forgotten .* meanwhile"):
            write()
    assert left_of(before, place, before.items.ids.index(gone)) == []
    assert head.save(place.parent / "elsewhere").exists()  # which is its owner's
    lift(place, "all")
    with pytest.raises(StoreError, match="rests on images that were forgotten .* meanwhile"):
        head.save(place / "heads/late")


def test_until_it_is_finished_nobody_else_writes(home, place):
    code = (
        "import os, sys, embedkit as ek\n"
        "from embedkit.store import forgetting\n"
        "forgetting.search_files = lambda *_: os.kill(os.getpid(), 9)\n"
        "ek.forget(sys.argv[1], ['train/x/7.png'])\n"
    )
    run = subprocess.run([sys.executable, "-c", code, place])
    assert run.returncode == -signal.SIGKILL
    assert "train/x/7.png" not in Store.open(place).items.ids
    for write in (
        lambda: ek.embed(home / "data", place, backbone="pixels"),
        lambda: index_space(*(opened := Store.open(place), opened.space()), plan_index(64, 64)),
        lambda: ek.subset(place, place.parent / "part", where="split = 'train'"),
        lambda: lift(place, "all"),
    ):
        with pytest.raises(StoreError, match="forget .* --yes' finishes it"):
            write()
    assert main(["forget", str(place)]) == 2
    assert main(["forget", str(place), "--yes"]) == 0
    ek.embed(home / "data", place, backbone="pixels")


def test_a_group_and_what_is_like_a_picture(tmp_path):
    make_different(tmp_path / "data", *(f"{n}.png" for n in range(12)))
    (tmp_path / "data/copy.png").write_bytes((tmp_path / "data/0.png").read_bytes())
    rows = [f"{n}.png,{'xy'[n % 2]},p{n % 4}," + ("test" if n % 3 else "train") for n in range(12)]
    table = tmp_path / "data/all.csv"
    table.write_text("\n".join(["path,label,who,split", *rows, "copy.png,x,,train"]))
    store = ek.embed(table, tmp_path / "store", backbone="pixels", group="who")
    expected = [("0.png", "its group"), ("4.png", "its group"), ("8.png", "its group")]
    assert [(one.id, one.why) for one in meant(store, groups=["p0"])] == [
        *expected,
        ("copy.png", "the same pixels"),
    ]
    assert [(one.id, one.why) for one in meant(store, like=["4.png"])] == [
        ("0.png", "same group"),
        ("4.png", "named"),
        ("8.png", "same group"),
        ("copy.png", "the same pixels"),
    ]
    assert [(one.id, one.why) for one in meant(store, like=["copy.png"])] == [
        ("0.png", "a copy"),
        ("copy.png", "named"),
    ]
    with pytest.raises(InputError, match="the store has no group 'p9'"):
        meant(store, groups=["p9"])
    with pytest.raises(InputError, match="no image '44.png'; did you mean '4.png'"):
        meant(store, ["44.png"])
    with pytest.raises(InputError, match="delete the folder instead"):
        ek.forget(store, store.items.ids)


def test_on_the_command_line(home, place, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = tree(place)
    assert main(["forget", "store", "train/x/3.png", "--sheet", "meant.png"]) == 0
    out = capsys.readouterr().out
    assert "2 of 65 images of store would be forgotten" in out
    assert "test/y/again.png  (the same pixels)" in out
    assert "to do it: embedkit forget store train/x/3.png --sheet meant.png --yes" in out
    assert (tmp_path / "meant.png").is_file()
    assert tree(place) == before
    assert main(["forget", "store", "train/x/3.png", "--yes", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["done"], document["left"], document["found"]) == (True, 63, {})
    assert str(home / "data/train/x/3.png") in document["pictures"]
    assert main(["forget", "store", "--list"]) == 0
    assert "tombstones in store: 1" in capsys.readouterr().out
    assert main(["info", "store"]) == 0
    assert "forgotten: 1" in capsys.readouterr().out
    assert main(["forget", "store"]) == 2
    assert main(["forget", "store", "--lift", "all", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["lifted"]) == 1
    # A file that embedkit did not write is not removed, but is named.
    (place / "notes.csv").write_text("id,why\ntrain/x/5.png,blinks\n")
    assert main(["forget", "store", "train/x/5.png", "--yes"]) == 3
    assert "STILL FOUND in notes.csv: id" in capsys.readouterr().out


def test_an_unfinished_store_and_a_damaged_one_are_refused(home, place):
    shard = next((place / "pixels").glob("vectors-*.npy"))
    data = shard.read_bytes()
    shard.write_bytes(data[:-4])
    with pytest.raises(StoreError, match="is damaged"):
        ek.forget(place, ["train/x/3.png"])
    assert not (place / "forgetting.json").exists()


def test_a_folder_that_a_link_leads_to_is_never_changed(home, place, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(place, other)
    before = tree(other)
    for name in ("extra", "audits/deep", "heads/deep"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).symlink_to(other / "pixels")
        for change in (
            lambda: ek.forget(place, ["train/x/3.png"]),
            lambda: ek.embed(home / "data", place, backbone="pixels"),
        ):
            with pytest.raises(StoreError, match="is a link to a folder"):
                change()
        (place / name).unlink()
    assert tree(other) == before
    assert ek.forget(place, ["train/x/3.png"]).found == {}


def test_an_answer_that_is_given_while_others_are_removed_is_kept(place, monkeypatch):
    opened = Store.open(place)
    tick(opened, Claim("twins", "", ("train/x/3.png",)), Answer.REAL)
    other = Claim("twins", "", ("train/x/7.png",))
    giving = Thread(target=tick, args=(opened, other, Answer.UNSURE))
    real = files.write_whole

    def slowly(path, data):
        if path.name == "reviews.jsonl":
            giving.start()
            giving.join(0.2)
        real(path, data)

    monkeypatch.setattr(files, "write_whole", slowly)
    ek.forget(place, ["train/x/3.png"])
    giving.join()
    assert list(ticks(Store.open(place))) == [other]


def test_an_order_that_is_none_is_refused(place):
    write_whole(place / "forgetting.json", sealed({"schema": SCHEMA, "ids": 3}))
    with pytest.raises(StoreError, match="forgetting.json is no record as embedkit writes it"):
        ek.forget(place, [])


def test_whom_it_could_not_look_for_is_said(home, place, capsys):
    assert main(["forget", str(place), "--like", "train/x/3.png", "--json"]) == 0
    said = capsys.readouterr()
    (note,) = json.loads(said.out)["notes"]
    assert note.startswith("the same person was not looked for: ")
    assert note in said.err


def test_the_search_finds_what_was_put_in_its_way(home, place):
    """In a table, which is compressed, in a file of vectors, and in text; and nothing of others."""
    row = (store := Store.open(place)).items.ids.index("train/x/5.png")
    old = store.items.table.slice(row, 1)
    parquet.write_table(old.select(["id"]), place / "ids.parquet")
    parquet.write_table(old.select(["nuisance"]), place / "small.parquet")
    np.save(place / "kept.npy", store.space().vectors[row - 1 : row + 1])
    np.save(place / "other.npy", store.space().vectors[[row - 1]])
    (place / "same.txt").write_text("a train/x/5.png, more/train/x/5.png\n(train/x/5.png.bak)\n")
    (place / "path.txt").write_text(f"{home}/data/train/x/5.png\n")
    made = ek.forget(place, ["train/x/5.png"])
    assert made.found == {
        "ids.parquet": ("id",),
        "small.parquet": ("thumbnail",),
        "kept.npy": ("vector of pixels",),
        "path.txt": ("id",),
    }
