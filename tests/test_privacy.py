"""What a store says of people stays with its owner, goes nowhere, and finds nobody from outside."""

import base64
import io
import os
import re
import stat
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from embedkit_cli import main
from embedkit_cli.app import app
from helpers import make_different
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import embedkit as ek
from embedkit.errors import InputError
from embedkit.explorer.benches import Bench
from embedkit.explorer.pictures import SMALL, picture
from embedkit.explorer.states import Watch
from embedkit.reports.outputs import write_report
from embedkit.reports.pictures import Pictures
from embedkit.reports.sheets import chosen_sheet, search_sheet


def names(many=6):
    return [f"{s}/{c}/{n}.png" for s in ("train", "test") for c in "xy" for n in range(many)]


def test_a_store_is_its_owners_alone_whatever_the_umask(tmp_path, figure):
    make_different(tmp_path / "data", *names())
    tmp_path.chmod(0o755)
    before = os.umask(0)
    try:
        store = ek.embed(
            tmp_path / "data", tmp_path / "new/store", backbone="pixels", augment=["flip"]
        )
        ek.train(store).save(store.path / "heads/deep/mine")
        ek.forget(store, ["train/x/1.png"])
        ek.subset(store.path, tmp_path / "part", where="split = 'train'")
    finally:
        os.umask(before)
    seen = 0
    for top in (store.path, tmp_path / "part"):
        for path in (top, *top.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path
            seen += 1
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o777  # is no part of the store
    figure("G6", f"umask 000: {seen} of {seen} files and folders of two stores 0600 and 0700")


@pytest.fixture(scope="module")
def people(tmp_path_factory, weights_of):
    """A store in a space of a network that tells people apart, a head on it, and an outsider."""
    home = tmp_path_factory.mktemp("people")
    make_different(home / "data", *names(3))
    make_different(home / "outside", "a.png")
    name = "facenet:vggface2"
    store = ek.embed(
        home / "data",
        home / "store",
        backbone=[name, "pixels"],
        weights=weights_of(name),
        align="none",
        threads=1,
    )
    space = next(one for one in store.spaces if one != "pixels")
    heads = [ek.train(store, head=kind, backbone=space) for kind in ("knn", "logistic")]
    return home, store, space, heads


def test_nobody_from_outside_is_looked_for_where_people_are_told_apart(people, figure):
    home, store, space, heads = people
    outsider = home / "outside/a.png"
    bench = Bench(SimpleNamespace(store=store, space=store.space(space), label="label"))
    refused = {
        "search": lambda: ek.search(store, outsider, backbone=space),
        "view": lambda: bench.like(outsider.read_bytes()),
        "explain": lambda: ek.explain(store, outsider, backbone=space),
    }
    for ask in refused.values():
        with pytest.raises(InputError, match="does not look for people from outside the data set"):
            ask()
    for command in ("search", "explain"):
        assert main([command, str(store.path), str(outsider), "-b", space]) == 2
    # A head says which class it is, and shows nobody who looks alike.
    answers = [head.predict(outsider) for head in heads]
    assert [one.label in heads[0].labels for one in answers] == [True, True]
    assert [len(one.neighbours) for one in answers] == [0, 0]
    # A picture of the store may be asked about, also under another name; so may other spaces.
    inside = home / "data/train/x/0.png"
    assert len(ek.search(store, inside, k=3, backbone=space)) == 3
    assert len(ek.search(store, inside.read_bytes(), k=3, backbone=space)) == 3
    assert len(ek.search(store, outsider, k=3, backbone="pixels")) == 3
    n = len(refused) + 2
    shown = sum(len(one.neighbours) for one in answers)
    figure(
        "G2", f"{n} of {n} ways refuse an outsider; {len(answers)} heads show {shown} neighbours"
    )


@pytest.mark.parametrize("kind", ["knn", "logistic"])
def test_a_head_whose_classes_are_people_answers_for_nobody_from_outside(
    people, tmp_path, weights_of, kind
):
    home, _, _, _ = people
    table = tmp_path / "people.csv"
    rows = [f"{path.relative_to(home / 'data')},{path.parent.name},train,{path.parent.name}"
            for path in sorted((home / "data").rglob("*.png"))]  # fmt: skip
    table.write_text("\n".join(["path,label,split,person", *rows]))
    name = "facenet:vggface2"
    store = ek.embed(
        table,
        tmp_path / "store",
        root=home / "data",
        group="person",
        backbone=name,
        weights=weights_of(name),
        align="none",
        threads=1,
    )
    head = ek.train(store, head=kind)
    with pytest.raises(InputError, match="the classes of this head are people"):
        head.predict(home / "outside/a.png")


FORBIDDEN = (
    "identif",
    "recogni",
    "who",
    "person",
    "race",
    "gender",
    "sex",
    "age",
    "emotion",
    "mood",
)


def test_no_command_or_option_offers_to_say_who_or_what_somebody_is():
    names = []
    commands = dict(typer.main.get_command(app).commands)
    while commands:
        name, command = commands.popitem()
        commands |= {
            f"{name} {one}": made for one, made in getattr(command, "commands", {}).items()
        }
        options = [word for one in command.params for word in (*one.opts, *one.secondary_opts)]
        names += [(name, part) for word in (name, *options) for part in re.split(r"[- ]+", word)]
    assert len(names) > 200
    assert not [one for one in names if one[1].lower().startswith(FORBIDDEN)]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A store of noise, in which nothing is even until it is blurred; no face is known."""
    home = tmp_path_factory.mktemp("noisy")
    make_different(home / "data", *names())
    return home, ek.embed(home / "data", home / "store", backbone="pixels", threads=1)


def test_faces_are_blurred_wherever_pictures_are_shown(noisy, tmp_path, figure, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home, store = noisy
    inside = str(home / "data/test/x/1.png")
    shown = {}
    for blur in (False, True):
        option = ["--blur-faces"] if blur else []
        for command in (
            ["search", store.path, inside, "--sheet", f"search {blur}.png"],
            ["explain", store.path, inside, "-o", f"card {blur}.png"],
            ["explain", store.path, inside, "--occlusion", f"covered {blur}.png"],
            ["forget", store.path, "test/x/1.png", "--sheet", f"forget {blur}.png"],
        ):
            assert main([str(word) for word in [*command, *option]]) == 0
            name = command[-1].split()[0]
            shown[name, blur] = levels(Image.open(command[-1]))
        ek.export(store, f"projector {blur}", to="projector", blur_faces=blur)
        shown["projector", blur] = levels(Image.open(f"projector {blur}/sprite.png"))
        state = Watch(store.path, label="label", backbone=None, blur_faces=blur).newest()
        shown["view", blur] = levels(Image.open(io.BytesIO(picture(state, 0, SMALL))))
    for name in {name for name, _ in shown}:
        assert shown[name, True] < 0.7 * shown[name, False], (name, shown)
    assert main(["explain", str(store.path), inside, "--layers", "x", "--blur-faces"]) == 2
    figure("G5", f"{len(shown) // 2} outputs with pictures: all blurred with --blur-faces")


def levels(image):
    """Return how much neighbouring pixels differ, which a mosaic takes away."""
    grey = np.asarray(image.convert("L"), np.float64)
    return float(np.abs(np.diff(grey, axis=1)).mean())


MARKS = {
    "EXIF": b"mark-in-exif",
    "a comment": b"mark-in-comment",
    "XMP": b"mark-in-xmp",
    "a profile": b"mark-in-profile",
    "a text": b"mark-in-text",
}


def marked(path):
    """Write a picture whose file says everything that a file can say besides its pixels."""
    seed = sum(map(ord, str(path)))
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x010E] = MARKS["EXIF"].decode()
    exif.get_ifd(0x8825)[1] = "N"
    text = PngInfo()
    text.add_text("Comment", MARKS["a text"].decode())
    more = {"pnginfo": text} if path.suffix == ".png" else {"comment": MARKS["a comment"]}
    image.save(path, exif=exif, icc_profile=MARKS["a profile"], xmp=MARKS["XMP"], **more)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_what_a_file_says_of_itself_is_in_no_picture_that_is_shown(suffix, tmp_path, figure):
    for split in ("train", "test"):
        for c in "xy":
            (tmp_path / "data" / split / c).mkdir(parents=True)
            for n in range(3):
                marked(tmp_path / "data" / split / c / f"{n}{suffix}")
    source = tmp_path / f"data/test/x/0{suffix}"
    assert any(mark in source.read_bytes() for mark in MARKS.values())
    store = ek.embed(tmp_path / "data", tmp_path / "store", backbone="pixels", threads=1)
    sheet = search_sheet(store, source, ek.search(store, source, k=3), tmp_path / "search.png")
    chosen = chosen_sheet(store, [(f"test/x/0{suffix}", "named")], tmp_path / "chosen.png")
    ek.export(store, tmp_path / "projector", to="projector")
    state = Watch(store.path, label="label", backbone=None).newest()
    pages = {
        "search": sheet.read_bytes(),
        "forget": chosen.read_bytes(),
        "projector": (tmp_path / "projector/sprite.png").read_bytes(),
        "view": picture(state, 0, SMALL),
        "page": base64.b64decode(Pictures(store.items).uri(f"test/x/0{suffix}").split(",")[1]),
    }
    for page, data in pages.items():
        seen = Image.open(io.BytesIO(data))
        assert not any(mark in data for mark in MARKS.values()), page
        assert not seen.getexif(), page
        assert all(name.startswith("jfif") for name in seen.info), page
    figure("G4", f"{len(MARKS)} marks and a place in {suffix} x {len(pages)} outputs: 0 left")


def test_what_is_handed_on_names_no_folder_and_no_machine(planted_audit, tmp_path, figure):
    store = planted_audit.store
    written = [
        write_report(planted_audit, tmp_path / f"report{suffix}") for suffix in (".html", ".md")
    ]
    chosen = [store.items.ids[0], "named"]
    written.append(chosen_sheet(store, [tuple(chosen)], tmp_path / "sheet.png"))
    machine = os.uname().nodename
    home = [str(tmp_path), str(store.path), str(store.items.root)]
    home += [machine] if len(machine) > 5 else []  # a shorter name may stand in any picture
    for path in written:
        data = path.read_bytes()
        assert not [one for one in home if one.encode() in data], path
    figure("G5", f"{len(written)} files that are handed on: 0 with a folder or the machine's name")
