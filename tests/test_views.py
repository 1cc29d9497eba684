"""Views: each picture shows what its name says, vectors are made once, and plants come out."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from embedkit_cli import main
from helpers import make_different, scene, tree
from PIL import Image, ImageOps

from embedkit.audits import audit
from embedkit.audits.base import Statement
from embedkit.audits.looks import WITHOUT
from embedkit.audits.makes import Make
from embedkit.audits.refits import Bench
from embedkit.audits.sights import (
    CENTRE,
    GREY,
    LEVEL,
    QUALITY,
    SPREAD,
    VIEWS,
    common_side,
    neutral_views,
)
from embedkit.audits.swaps import Plan, judge_swaps
from embedkit.audits.views import Views, look_at_views
from embedkit.backbones import embed_pictures, load_again
from embedkit.engines import LocalEngine
from embedkit.errors import UnreadableImageError
from embedkit.images import decode, decode_pixels, encoding, read_bytes
from embedkit.pipeline import embed
from embedkit.pipeline.seen import Sight, View
from embedkit.pipeline.views import FACES, make_views, read_view, view_folder
from embedkit.reports.page import render
from embedkit.store import Store
from embedkit.store.augmented import VIEWS as FOLDER
from embedkit.store.augmented import views_in
from embedkit.synthetic import make_faces

SCHEMA = json.loads((Path(__file__).parents[1] / "docs/audit.schema.json").read_text())
SIDE = 120
BOX = (40.0, 30.0, 80.0, 90.0)  # left, top, right, bottom
SHA = "0123456789abcdef" * 4


def shown(name, sight=None, store=None):
    """Return what is seen of a picture in a view."""
    sight = sight or Sight(scene(3, SIDE), BOX, SHA)
    views = VIEWS if store is None else neutral_views(store)
    return next(view for view in views if view.name == name).change(sight)


@pytest.fixture
def sight():
    return Sight(scene(3, SIDE), BOX, SHA)


# What is seen.


def test_no_change_touches_the_picture_and_all_give_pictures(sight, clean_store):
    before = sight.pixels.copy()
    for view in (*VIEWS, *neutral_views(clean_store)):
        made = view.change(sight)
        assert made.dtype == np.uint8
        assert made.ndim == 3
        assert made.shape[2] == 3
        assert not np.array_equal(made, before)
        assert np.array_equal(view.change(sight), made)
    assert np.array_equal(sight.pixels, before)


def test_a_picture_of_one_pixel_has_every_view(clean_store):
    tiny = Sight(np.full((1, 1, 3), 9, np.uint8), (-2.0, -2.0, 5.0, 5.0), SHA)
    for view in (*VIEWS, *neutral_views(clean_store)):
        assert min(view.change(tiny).shape[:2]) >= 1


def test_where_the_face_is_removed_all_is_grey_and_nothing_else_is(sight):
    made = shown("face removed", sight)
    assert (made[30:90, 40:80] == GREY).all()
    assert np.array_equal(made[:, :36], sight.pixels[:, :36])  # the box and a tenth of it
    assert np.array_equal(made[96:], sight.pixels[96:])


def test_the_face_alone_is_its_box(sight):
    assert np.array_equal(shown("face alone", sight), sight.pixels[30:90, 40:80])


def test_a_face_that_reaches_beyond_the_picture_is_cut_there(sight):
    over = replace(sight, box=(90.0, -20.0, 200.0, 50.0))
    assert np.array_equal(shown("face alone", over), sight.pixels[:50, 90:])


def test_the_border_alone_is_as_it_was_and_grey_inside(sight):
    made = shown("border alone", sight)
    for edge in (np.s_[:10], np.s_[-10:], np.s_[:, :10], np.s_[:, -10:]):
        assert np.array_equal(made[edge], sight.pixels[edge])
    assert (made[10:-10, 10:-10] == GREY).all()


def test_the_centre_is_blanked_and_the_rest_is_not(sight):
    made = shown("centre blanked", sight)
    changed = (made != sight.pixels).any(axis=2)
    assert (made[24:96, 24:96] == GREY).all()
    assert not changed[:24].any()
    assert not changed[:, 96:].any()
    assert changed.mean() == pytest.approx(CENTRE**2, abs=0.01)


def test_a_blurred_picture_keeps_its_colours_and_loses_its_detail(sight):
    made = shown("blurred", sight).astype(float)
    assert made.mean(axis=(0, 1)) == pytest.approx(sight.pixels.mean(axis=(0, 1)), abs=2)
    assert (
        np.abs(np.diff(made, axis=0)).mean()
        < 0.5 * np.abs(np.diff(sight.pixels.astype(float), axis=0)).mean()
    )


def test_a_grey_picture_has_one_channel_three_times(sight):
    made = shown("grey", sight)
    assert (made[:, :, 0] == made[:, :, 1]).all()
    assert (made[:, :, 1] == made[:, :, 2]).all()
    assert made.std() > 10


def test_edges_are_where_the_picture_changes_and_know_no_brightness():
    step = np.full((60, 60, 3), 40, np.uint8)
    step[:, 30:] = 120
    drawn = shown("edges", Sight(step, None, SHA))
    assert drawn[:, 29:31].min() > 200
    assert drawn[:, :24].max() == drawn[:, 36:].max() == 0
    assert np.array_equal(shown("edges", Sight(step + 50, None, SHA)), drawn)


def test_shuffled_patches_are_the_same_pixels_in_another_order_for_each_picture(sight):
    made = shown("shuffled patches", sight)

    def patches(pixels):
        cut = pixels.reshape(4, 30, 4, 30, 3).swapaxes(1, 2).reshape(16, -1)
        return sorted(map(bytes, cut))

    assert patches(made) == patches(sight.pixels)
    other = shown("shuffled patches", replace(sight, sha256="f" * 64))
    assert not np.array_equal(other, made)


def test_written_anew_all_pictures_have_one_size_and_one_encoder(clean_store):
    side = common_side(clean_store)
    for pixels in (scene(1, 100), scene(2, 300)[:200]):
        made = shown("re-encoded", Sight(pixels, None, SHA), clean_store)
        assert made.shape == (side, side, 3)
        stream = io.BytesIO()
        again = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
        again.save(stream, "JPEG", quality=QUALITY)
        assert np.array_equal(made, decode_pixels(stream.getvalue()))


def test_the_common_size_is_below_that_of_nearly_all_pictures(clean_store):
    side = common_side(clean_store)
    assert side % 8 == 0
    assert side < min(clean_store.items.column("width")) == 96


def test_an_equalised_picture_has_the_mean_and_spread_of_all(sight, clean_store):
    for pixels in (sight.pixels, sight.pixels // 3 + 20):
        made = shown("tone equalised", replace(sight, pixels=pixels), clean_store).astype(float)
        assert made.mean(axis=(0, 1)) == pytest.approx(LEVEL, abs=2)
        assert made.std(axis=(0, 1)) == pytest.approx(SPREAD, abs=3)
    flat = np.full((9, 9, 3), 7, np.uint8)
    assert (shown("tone equalised", Sight(flat, None, SHA), clean_store) == LEVEL).all()


def test_a_fixed_crop_has_no_border(sight, clean_store):
    made = shown("fixed crop", sight, clean_store)
    assert np.array_equal(made, sight.pixels[12:-12, 12:-12])


def test_the_background_is_filled_outside_the_face_only(sight, clean_store):
    made = shown("background filled", sight, clean_store)
    assert np.array_equal(made[50:70, 45:75], sight.pixels[50:70, 45:75])
    filled = (made == GREY).all(axis=2)
    assert filled[:20].all()
    assert filled[:, :34].all()
    assert filled[:, 86:].all()
    assert filled[27, 37]  # the corner of the box lies outside the ellipse


def test_a_picture_is_made_as_files_of_a_class_are(sight):
    stream = io.BytesIO()
    Image.fromarray(scene(8, 64)).save(stream, "JPEG", quality=31, subsampling="4:4:4")
    found = encoding(stream.getvalue())
    assert found.subsampling == 0
    assert len(found.tables) == 2
    made = Make(50, 40, "hash", 31, found).change(sight)
    expected = io.BytesIO()
    small = Image.fromarray(sight.pixels).resize((50, 40), Image.Resampling.BICUBIC)
    small.save(expected, "JPEG", quality=31, subsampling="4:4:4")
    assert np.array_equal(made, decode_pixels(expected.getvalue()))
    with pytest.raises(UnreadableImageError):
        encoding(b"no picture")


# What is kept.


@pytest.fixture
def few(tmp_path):
    """A store of a few pictures."""
    names = [
        f"{side}/{label}/{n}.jpg" for side in ("train", "test") for label in "ab" for n in "12"
    ]
    make_different(tmp_path / "set", *names)
    return embed(tmp_path / "set", tmp_path / "store", backbone=["mtcnn", "pixels"])


PLAIN = tuple(view for view in VIEWS if not view.of_face)


def eye_of(store, name="mtcnn"):
    space = store.space(name)
    record = space.record
    return space, load_again(
        **record.backbone, contract_sha256=space.contract_sha256, where=str(space.folder)
    )


def test_a_view_is_the_changed_picture_prepared_as_all_are(few):
    for name in ("mtcnn", "pixels"):
        space, eye = eye_of(few, name)
        make_views(few, space, eye, PLAIN)
        for view in PLAIN:
            kept = read_view(few, space, view.name)
            assert kept.ids == tuple(few.items.ids)
            for row, id_ in enumerate(few.items.ids):
                picture = decode(read_bytes(few.items.path(id_)))
                sight = Sight(picture.pixels, None, picture.facts.sha256)
                (expected,) = embed_pictures(eye, [view.change(sight)])
                assert np.array_equal(kept.vectors[row], expected)


def test_views_are_no_spaces_and_are_listed(few, capsys):
    space, eye = eye_of(few)
    make_views(few, space, eye, PLAIN)
    opened = Store.open(few.path)
    assert list(opened.spaces) == ["mtcnn", "pixels"]
    assert opened.verify() == []
    assert ("mtcnn@shuffled-patches", 8) in views_in(opened)
    assert len(views_in(opened)) == len(PLAIN)
    assert main(["info", str(few.path)]) == 0
    assert "view mtcnn@grey: 8 pictures changed" in capsys.readouterr().out
    assert main(["info", str(few.path), "--json"]) == 0
    assert {"name": "mtcnn@grey", "n": 8} in json.loads(capsys.readouterr().out)["views"]


class Counted:
    """A backbone that counts the pictures that it embeds."""

    def __init__(self, eye):
        self.eye, self.card, self.seen = eye, eye.card, 0
        self.weights_sha256 = eye.weights_sha256

    def prepare(self, pixels):
        return self.eye.prepare(pixels)

    def embed(self, inputs):
        self.seen += len(inputs)
        return self.eye.embed(inputs)


def test_what_is_kept_is_not_embedded_again(few):
    space, eye = eye_of(few)
    counted = Counted(eye)
    make_views(few, space, counted, PLAIN[:2])
    assert counted.seen == 2 * len(few.items)
    before = tree(few.path)
    make_views(few, space, counted, PLAIN[:2])
    assert counted.seen == 2 * len(few.items)
    assert tree(few.path) == before
    make_views(few, space, counted, PLAIN[:3])
    assert counted.seen == 3 * len(few.items)
    changed = [replace(PLAIN[0], how="otherwise"), *PLAIN[1:3]]
    make_views(few, space, counted, changed)
    assert counted.seen == 4 * len(few.items)


def test_a_damaged_view_is_made_anew(few):
    space, eye = eye_of(few)
    make_views(few, space, eye, PLAIN[:1])
    before = tree(few.path)
    (chunk,) = view_folder(few, space, PLAIN[0].name).glob("*.npy")
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    assert views_in(few) == []
    make_views(few, space, eye, PLAIN[:1])
    assert tree(few.path) == before


def test_an_interrupted_view_looks_like_none_and_is_finished_later(few, monkeypatch):
    space, eye = eye_of(few)
    monkeypatch.setattr("embedkit.pipeline.views.CHUNK", 3)

    def stop(now):
        if now.safe >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_views(few, space, eye, PLAIN[:2], progress=stop)
    assert views_in(few) == []
    assert read_view(few, space, PLAIN[0].name) is None
    counted = Counted(eye)
    make_views(few, space, counted, PLAIN[:2])
    assert counted.seen == 2 * (len(few.items) - 3)
    interrupted = tree(few.path / FOLDER)
    shutil.rmtree(few.path / FOLDER)
    make_views(few, space, eye, PLAIN[:2], engine=LocalEngine(1))
    assert tree(few.path / FOLDER) == interrupted


def test_a_view_of_some_pictures_holds_those(few):
    space, eye = eye_of(few)
    some = frozenset(few.items.ids[1:3])
    make_views(few, space, eye, [replace(PLAIN[0], name="some", only=some)])
    assert read_view(few, space, "some").ids == tuple(few.items.ids[1:3])


# Faces.


def test_faces_are_looked_for_once_and_pictures_without_are_left_out(clean_store, tmp_path):
    store = Store.open(shutil.copytree(clean_store.path, tmp_path / "store"))
    space, eye = eye_of(store, "pixels")
    told = []
    removed = VIEWS[:1]
    faces = make_views(store, space, eye, removed, progress=lambda now: told.append(now.stage))
    with_face = [id_ for id_, face in zip(store.items.ids, faces, strict=True) if face]
    assert 0 < len(with_face) < len(store.items)
    assert read_view(store, space, "face removed").ids == tuple(with_face)
    assert "looking for faces" in told
    told.clear()
    again = make_views(store, space, eye, VIEWS[:2], progress=lambda now: told.append(now.stage))
    assert again == faces
    assert "looking for faces" not in told
    assert list((store.path / FOLDER / FACES).iterdir())


def test_a_network_that_sees_faces_gets_the_crop_of_the_unchanged_picture(
    clean, tmp_path, weights_of
):
    network = "torchvision:squeezenet1_1"
    folder = shutil.copytree(clean.folder / "test", tmp_path / "set" / "test")
    shutil.copytree(folder, tmp_path / "set" / "train")
    for path in sorted((tmp_path / "set").rglob("*.*"))[8:]:
        path.unlink()
    options = {"backbone": network, "weights": weights_of(network), "align": "mtcnn"}
    store = embed(tmp_path / "set", tmp_path / "store", precision="fp32", **options)
    space, eye = eye_of(store, network)
    seen, whole, doubled = (
        View("seen", "", lambda sight: sight.pixels),
        View("whole", "", lambda sight: sight.pixels, whole=True),
        View("doubled", "", lambda s: s.pixels.repeat(2, axis=0).repeat(2, axis=1), whole=True),
    )
    make_views(store, space, eye, [seen, whole, doubled])
    assert any(store.items.column("faces"))
    assert not (store.path / FOLDER / FACES).exists()
    for view in (seen, whole):
        assert np.array_equal(read_view(store, space, view.name).vectors, space.vectors)
    cosines = (read_view(store, space, "doubled").vectors * space.vectors).sum(axis=1)
    assert cosines.min() > 0.99


# What a head makes of them.


def planted(folder, file, *, seed=4):
    """Drawn people whose labels are drawn too; a file is written as its label says."""
    make_faces(folder / "drawn", people=40, photographs=4, size=96, seed=seed)
    generator = np.random.default_rng(seed)
    for number, path in enumerate(sorted((folder / "drawn").rglob("*/*/*.*"))):
        y, coin = (int(one) for one in generator.integers(2, size=2))
        side = "test" if generator.random() < 0.5 else "train"
        made, quality = file(Image.fromarray(decode(path.read_bytes()).pixels), y, coin)
        target = folder / "set" / side / "ab"[y] / f"{number:03}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        made.save(target, quality=quality)
    return embed(folder / "set", folder / "store", backbone="mtcnn")


def bench_of(store, **options):
    settings = {"split": "test", "label": "label", "backbone": None, "seed": 0} | options
    return Bench(store, "logistic", [], **settings)


def views_of(store):
    return look_at_views(store, bench_of(store), store.space())


def bordered(image, y, _):
    inside = image.crop((3, 3, image.width - 3, image.height - 3))
    return (ImageOps.expand(inside, 3, "black") if y else image), 90


@pytest.fixture(scope="module")
def border(tmp_path_factory):
    store = planted(tmp_path_factory.mktemp("border"), bordered)
    return store, views_of(store)


@pytest.fixture(scope="module")
def quality(tmp_path_factory):
    store = planted(tmp_path_factory.mktemp("quality"), lambda image, y, _: (image, (5, 95)[y]))
    return store, views_of(store)


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    store = planted(tmp_path_factory.mktemp("nothing"), lambda image, _, c: (image, (5, 95)[c]))
    return store, views_of(store)


def looks(views):
    return {one.name: one for one in views.looks}


def test_a_planted_border_is_told_without_the_face_and_not_from_it(border):
    found = looks(border[1])
    for name in ("border alone", "centre blanked", "face removed"):
        assert found[name].tells(), name
        assert found[name].accuracy.value > 0.85
    for name in ("face alone", "fixed crop", "background filled", "all alike"):
        assert not found[name].tells(), name
        assert found[name].costs(), name
    said = " ".join(border[1].sentences())
    assert "On the border alone a head still reaches" in said
    assert "the class can be told from the border." in said


def test_figures_fit_each_other(border, nothing):
    for _, views in (border, nothing):
        assert len(views.looks) == 13
        for one in views.looks:
            for estimate in (one.accuracy, one.plain, one.difference, one.majority, one.above):
                assert estimate.low <= estimate.value <= estimate.high
                assert estimate.n == one.accuracy.n
            lost = one.accuracy.value - one.plain.value
            assert one.difference.value == pytest.approx(lost)
            assert one.above.value == pytest.approx(one.accuracy.value - one.majority.value)
            assert 0 <= one.p <= 1
            assert 0 <= one.p_above <= 1
        faces = [one for one in views.looks if one.name in ("face removed", "face alone")]
        assert len({one.accuracy.n for one in faces}) == 1
        assert faces[0].accuracy.n < looks(views)["grey"].accuracy.n


def test_files_that_are_made_alike_are_not_swapped(border):
    assert len(border[1].swaps) == 2
    assert all(
        "both are usually made alike: JPEG of quality 90" in s.reason for s in border[1].swaps
    )


def test_a_planted_quality_flips_answers_when_files_are_swapped(quality):
    swaps = quality[1].swaps
    assert {(one.given, one.to) for one in swaps} == {("a", "b"), ("b", "a")}
    (coarse,) = (one for one in swaps if one.given == "a")
    assert "JPEG of quality 5, 96 x 96 pixels" in coarse.makes[0]
    # A file that was coarse once stays so: only this way round can a make be given.
    assert coarse.difference.value > 0.5
    assert coarse.difference.low > 0.3
    assert coarse.p < 0.05
    assert coarse.own.value < 0.3
    assert coarse.flipped.value >= coarse.difference.value
    assert "come from the file alone" in coarse.sentence()


def test_where_nothing_is_planted_nothing_is_told(nothing):
    assert not any(one.tells() for one in nothing[1].looks)
    assert "not shown to tell the class" in " ".join(nothing[1].sentences())


def test_where_nothing_is_planted_no_swap_counts(nothing):
    """So coarse a file moves the answers of any head one way, which is no shortcut."""
    store, _ = nothing
    quality = np.array([one["jpeg_quality"] for one in store.items.column("nuisance")])
    views = []
    for wanted in (5, 95):
        row = int(np.flatnonzero(quality == wanted)[0])
        data = read_bytes(store.items.path(store.items.ids[row]))
        make = Make(96, 96, str(wanted), wanted, encoding(data))
        views.append(View(f"made-{wanted}", "", make.change, whole=True))
    space, eye = eye_of(store)
    make_views(store, space, eye, views)
    made = []
    for seed in range(4):
        bench = bench_of(store, seed=seed)
        bench.y = np.random.default_rng(seed).integers(2, size=len(store.items))
        plans = [
            Plan(
                given,
                1 - given,
                bench.test[bench.y[bench.test] == 1 - given],
                (make, make),
                (views[given], views[1 - given]),
            )
            for given in (0, 1)
        ]
        made += judge_swaps(store, bench, space, plans)
    assert all(one.p > 0.05 for one in made)
    assert np.mean([one.difference.value for one in made]) == pytest.approx(0, abs=0.1)
    assert sum(one.difference.low <= 0 <= one.difference.high for one in made) >= 6
    assert "no more than heads on permuted labels show" in made[0].sentence()


def test_the_same_pictures_give_the_same_figures(quality):
    store, first = quality
    shutil.rmtree(store.path / FOLDER)
    assert json.dumps(views_of(store).to_dict()) == json.dumps(first.to_dict())


# What does not run.


def test_without_faces_views_of_faces_are_not_run(tmp_path):
    labels = ("a", "b")
    names = [f"{s}/{y}/{n}.png" for s in ("train", "test") for y in labels for n in range(20)]
    make_different(tmp_path / "set", *names)
    store = embed(tmp_path / "set", tmp_path / "store", backbone="pixels")
    views = look_at_views(store, bench_of(store), store.space())
    for one in views.looks:
        of_face = one.name in ("face removed", "face alone", "background filled")
        assert bool(one.reason) == of_face
        if of_face:
            assert "face was found" in one.reason
            assert one.to_dict()["accuracy"] is None
    assert "With the face removed: not run (no face was found" in " ".join(views.sentences())
    assert all("no JPEG, 48 x 48 pixels" in one.reason for one in views.swaps)


def test_where_test_is_small_no_view_is_judged(few):
    views = look_at_views(few, bench_of(few, backbone="pixels"), few.space("pixels"))
    assert all("not enough images" in one.reason for one in views.looks if one.name == "grey")
    assert all(one.reason for one in views.looks)


def test_where_pictures_are_gone_views_are_not_run(few):
    few.items.path(few.items.ids[0]).unlink()
    views = look_at_views(few, bench_of(few, backbone="pixels"), few.space("pixels"))
    assert "cannot be read any more" in views.reason or "No such file" in views.reason
    (said,) = views.sentences()
    assert said.startswith("Views were not run: ")
    assert views_in(few) == []
    assert views.to_dict()["looks"] == []


def test_each_headline_has_its_words():
    names = {view.name for view in VIEWS}
    assert set(WITHOUT) <= names
    assert Views("space", "logistic").sentences() == []


# The audit.


def test_views_are_looked_at_when_asked_for_and_are_on_the_page(border, tmp_path, capsys):
    store, views = border
    without = audit(store, checks=["shortcuts"])
    plain = without["shortcuts"]
    assert plain.views is None
    assert plain.details()["views"] is None
    page = tmp_path / "page.html"
    command = ["audit", str(store.path), "--check", "shortcuts", "--views", "--json"]
    assert main([*command, "--report", str(page)]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, SCHEMA)
    assert document["settings"]["views"] is True
    (finding,) = document["findings"]
    assert [one["view"] for one in finding["details"]["views"]["looks"]] == [
        one.name for one in views.looks
    ]
    assert "On the border alone a head still reaches" in finding["summary"]
    assert {o["statement"] for o in finding["details"]["views"]["looks"]} == {Statement.CAUSAL}
    html = page.read_text()
    assert "What is left when a part is taken away" in html
    assert html.count('<img class="small" src="data:image/jpeg') == len(views.looks)
    assert "What is left" not in render(without)
