"""Nuisances: what a file and its pixels say is what was done to them."""

import io

import helpers
import numpy as np
import pytest
from helpers import noise, saved
from PIL import Image, ImageEnhance, ImageFilter, ImageOps, PngImagePlugin

from embedkit.audits.nuisance import SETS, name_patterns, name_tokens, nuisance_columns
from embedkit.images import decode
from embedkit.nuisance import glance, nuisances, read_header
from embedkit.pipeline import embed

SIDE = 120


def scene(seed=0, side=SIDE):
    return Image.fromarray(helpers.scene(seed, side))


def of(data):
    return nuisances([seen(data)])[0]


def seen(data):
    picture = decode(data)
    return glance(picture.header, picture.image, picture.pixels)


def png(image, **options):
    return saved(image, "PNG", **options)


@pytest.mark.parametrize("quality", [1, 10, 30, 50, 51, 75, 90, 95, 100])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_the_settings_of_a_jpeg_file_are_read(quality, subsampling):
    found = of(saved(scene(), "JPEG", quality=quality, subsampling=subsampling))
    assert (found["jpeg_quality"], found["subsampling"]) == (quality, subsampling)
    assert found["progressive"] is False


def test_equal_tables_have_one_name_and_others_another():
    files = [saved(scene(n), "JPEG", quality=q) for n in (0, 1) for q in (80, 81)]
    names = [of(file)["jpeg_tables"] for file in files]
    assert names[0] == names[2] != names[1] == names[3]
    assert of(saved(scene(), "JPEG", progressive=True))["progressive"] is True


def test_what_has_no_header_says_nothing():
    found = of(png(scene()))
    keys = ("jpeg_quality", "jpeg_tables", "subsampling", "progressive", "camera", "software")
    assert [found[key] for key in keys] == [None] * 6
    assert found["exif"] is False


def test_camera_program_and_profile_are_read():
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131] = "Maker\0 ", "Model  7", "Program 1.0"
    found = of(saved(scene(), "JPEG", exif=exif, icc_profile=b"a profile"))
    assert (found["exif"], found["camera"], found["software"]) == (
        True,
        "Maker Model 7",
        "Program 1.0",
    )
    assert len(found["profile"]) == 12
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "x" * 500)
    assert of(png(scene(), pnginfo=info))["software"] == "x" * 64


def test_odd_exif_data_are_no_error():
    exif = Image.Exif()
    exif[0x010F] = 7
    assert of(saved(scene(), "JPEG", exif=exif))["exif"] is True


@pytest.mark.parametrize(
    ("change", "column", "sign"),
    [
        (lambda image: ImageEnhance.Brightness(image).enhance(1.1), "brightness", 1),
        (lambda image: ImageEnhance.Contrast(image).enhance(0.7), "contrast", -1),
        (lambda image: ImageEnhance.Color(image).enhance(0.5), "saturation", -1),
        (lambda image: image.filter(ImageFilter.GaussianBlur(1)), "sharpness", -1),
        (lambda image: ImageEnhance.Brightness(image).enhance(0.1), "dark", 1),
        (lambda image: image.point(lambda v: 255), "bright", 1),
    ],
)
def test_a_change_moves_its_column(change, column, sign):
    before, after = of(png(scene()))[column], of(png(change(scene())))[column]
    assert sign * (after - before) > 0


@pytest.mark.parametrize("sigma", [2.0, 5.0, 10.0])
def test_noise_is_its_standard_deviation(sigma):
    smooth = np.asarray(scene().filter(ImageFilter.GaussianBlur(6)), float).clip(40, 215)
    noise = np.random.default_rng(1).normal(0, sigma, (SIDE, SIDE, 1))
    found = of(png(Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))))["noise"]
    assert found == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("colour", ["white", "black", (90, 20, 160)])
def test_a_border_has_its_width_and_colour(colour):
    image = ImageOps.expand(scene(), (3, 5, 7, 0), colour)
    found = of(png(image))
    sides = [found[f"border_{side}"] for side in ("left", "top", "right", "bottom")]
    assert sides == [3, 5, 7, 0]
    whole = of(png(ImageOps.expand(scene(), 4, colour)))
    expected = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    assert [whole[f"ring_{name}"] for name in ("red", "green", "blue")] == list(expected)
    assert whole["ring_spread"] == 0
    assert of(saved(image, "JPEG", quality=90))["border_top"] in (3, 4, 5)


def test_blocks_show_where_the_file_was_encoded_and_where_a_crop_moved_them():
    once = Image.open(io.BytesIO(saved(scene(side=200), "JPEG", quality=30))).convert("RGB")
    never, own, cut = (of(png(one)) for one in (scene(side=200), once, once.crop((3, 5, 200, 200))))
    assert own["blocks"] > 1.2 > never["blocks"]
    assert cut["blocks_elsewhere"] > 1.2 > own["blocks_elsewhere"]


def test_a_symmetric_picture_is_its_mirror_image():
    half = np.asarray(scene())
    both = np.concatenate([half, half[:, ::-1]], axis=1)
    assert of(png(Image.fromarray(both)))["symmetry"] == pytest.approx(1, abs=0.01)
    assert of(png(scene()))["symmetry"] < 0.9


def test_the_thumbnail_is_the_picture_made_small():
    image = scene(side=128)
    found = np.array(of(png(image))["thumbnail"]).reshape(8, 8, 3)
    small = np.asarray(image.resize((8, 8), Image.Resampling.BOX), float)
    assert np.abs(found - small).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (8, 8), (5000, 2)])
@pytest.mark.parametrize("value", [0, 255])
def test_tiny_and_plain_pictures_have_all_of_them(size, value):
    found = of(png(Image.new("RGB", size, (value,) * 3)))
    numbers = [v for v in found.values() if isinstance(v, float)]
    assert np.isfinite(numbers).all()
    assert found["brightness"] == value


def test_they_are_in_the_store_and_stay_when_a_backbone_is_added(tmp_path):
    for number in range(4):
        path = tmp_path / f"faces/{'ab'[number % 2]}/{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(scene(number), "JPEG", quality=60 + number))
    store = embed(tmp_path / "faces", tmp_path / "store", backbone="pixels")
    first = store.items.column("nuisance")
    assert sorted(one["jpeg_quality"] for one in first) == [60, 61, 62, 63]
    again = embed(tmp_path / "faces", tmp_path / "store", backbone="mtcnn")
    assert again.items.column("nuisance") == first


def test_columns_are_named_and_of_every_image(planted_store):
    columns = nuisance_columns(planted_store.items)
    assert {column.set for column in columns} == set(SETS)
    assert len({column.name for column in columns}) == len(columns)
    assert {len(column.values) for column in columns} == {len(planted_store.items)}
    by_name = {column.name: column.values for column in columns}
    read = planted_store.items.column("nuisance")
    assert by_name["brightness"].tolist() == [one["brightness"] for one in read]
    assert set(by_name["progressive JPEG"]) <= {"yes", "no", None}
    width, height = (np.array(planted_store.items.column(x)) for x in ("width", "height"))
    assert by_name["aspect ratio"].tolist() == (width / height).tolist()
    last = np.array([one["thumbnail"][-1] for one in read])
    assert by_name["blue of the thumbnail, row 8 of 8, column 8"].tolist() == last.tolist()


def test_a_face_that_nobody_looked_for_has_no_place(planted_store):
    by_name = {column.name: column.values for column in nuisance_columns(planted_store.items)}
    assert np.isnan(by_name["tilt of the face"]).all()


@pytest.mark.parametrize(
    ("id_", "labels", "pattern"),
    [
        ("train/happy/img_0042.jpg", {"happy"}, "img_#"),
        ("happy/Happy-3 (2).png", {"happy", "sad"}, "label-# (#)"),
        ("a/abc12.jpg", {"a"}, "abc#"),
        ("x/unhappy7.jpg", {"happy", "unhappy"}, "label#"),
        ("f/f_00072.jpg", {"f", "m"}, "label_#"),
        ("f/form f2 f.jpg", {"f", "m"}, "form label# label"),
        ("x/Long-Hair_3.jpg", {"long hair"}, "label_#"),
        ("x/long_hair3.jpg", {"long hair", "long"}, "label#"),
        ("12.jpg", set(), "#"),
    ],
)
def test_a_file_name_loses_figures_folders_and_labels(id_, labels, pattern):
    assert name_patterns([id_], labels) == (pattern,)


def test_words_of_file_names_are_columns_where_some_names_have_them():
    found = name_tokens(["x#_studio_label", "q#_street_label", "zz#_street_label"])
    assert [one.name for one in found] == [
        "'street' in the file name",
        "'studio' in the file name",
        "'zz' in the file name",
    ]
    assert found[0].values == ("no", "yes", "yes")


def test_size_make_and_border_are_words_too(tmp_path):
    framed = ImageOps.expand(noise(1, 40), 4, (200, 0, 0))
    boxed = ImageOps.expand(noise(2, 40), (0, 6), (0, 0, 0))
    for name, image in (("a", framed), ("b", boxed), ("c", noise(3, 48))):
        path = tmp_path / f"faces/x/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    store = embed(tmp_path / "faces", tmp_path / "store", backbone="pixels")
    by_name = {column.name: column.values for column in nuisance_columns(store.items)}
    assert by_name["size in pixels"] == ("48 x 48", "40 x 52", "48 x 48")
    assert by_name["make of the file"] == by_name["size in pixels"]  # no tables, no program
    assert by_name["sides with a border"] == ("all", "top and bottom", "none")
    assert by_name["colour of an even border"] == ("red 192 green 0 blue 0", None, None)
    assert by_name["bytes"].tolist() == store.items.column("bytes")


def test_what_a_tiff_file_says_of_its_pixels_is_no_exif(tmp_path):
    plain, noted = tmp_path / "plain.tif", tmp_path / "noted.tif"
    image = noise(4, 20)
    image.save(plain)
    image.save(noted, tiffinfo={271: "Canon"})
    for path, exif in ((plain, False), (noted, True)):
        with Image.open(path) as opened:
            assert read_header(opened).exif is exif


def test_no_picture_s_nuisances_depend_on_its_neighbours():
    sizes = [(1, 1), (2, 9), (40, 40), (129, 128), (300, 200), (40, 40), (7, 400)]
    pictures = [
        seen(png(Image.fromarray(helpers.scene(n, max(size))).crop((0, 0, *size))))
        for n, size in enumerate(sizes * 4)
    ]
    assert nuisances(pictures) == [nuisances([one])[0] for one in pictures]
    assert nuisances([]) == []
