"""A classifier of one's own: the mistake that reproduces a figure is named."""

import json

import numpy as np
import pytest
from embedkit_cli import main
from helpers import saved
from onnx_files import mean_colour_classifier
from PIL import Image

from embedkit.audits.classifiers import RIGHT, check_classifier
from embedkit.audits.mistakes import MISTAKES
from embedkit.errors import InputError
from embedkit.pipeline import embed
from embedkit.readers import read_source

pytest.importorskip("onnxruntime")

LABELS = ("red", "green", "blue")
SHARES = {"red": 30, "green": 50, "blue": 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures whose strongest colour is their class, by a wide margin."""
    root = tmp_path_factory.mktemp("colours")
    generator = np.random.default_rng(0)
    for side, times in (("train", 1), ("test", 1)):
        for place, (name, n) in enumerate(SHARES.items()):
            (root / side / name).mkdir(parents=True)
            for number in range(n * times):
                pixels = generator.integers(0, 120, (24, 30, 3), np.uint8)
                pixels[:, :, place] += 100
                data = saved(Image.fromarray(pixels), "PNG")
                (root / side / name / f"{number}.png").write_bytes(data)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network that answers with the strongest colour."""
    path = tmp_path_factory.mktemp("model") / "colours.onnx"
    path.write_bytes(mean_colour_classifier(np.eye(3), np.zeros(3), 16))
    path.with_suffix(".json").write_text(
        json.dumps({"size": [16, 16], "mean": [0.5] * 3, "std": [0.5] * 3})
    )
    return path


@pytest.fixture(scope="module")
def swept(model, folder):
    return check_classifier(model, read_source(folder), LABELS, figures=("1.0", "0.5", "0.75"))


def test_the_swap_of_colours_gives_the_figure_that_was_planted(swept):
    """Red and blue change places, green stays: exactly the share of green is right."""
    assert swept.sweep.right.value == 1
    assert swept.pictures == 100
    as_described, planted, nothing = swept.figures
    assert as_described.holds[0][0] == RIGHT
    assert planted.holds[0][0] == "BGR for RGB"
    assert planted.holds[0][1].value == 0.5
    assert planted.holds[0][1].low < 0.5 < planted.holds[0][1].high
    assert nothing.holds == ()
    assert nothing.nearest[1].value in (0.5, 1.0)


def test_pairs_are_of_mistakes_that_both_change_something(swept):
    names = [one.name for one in swept.sweep.mistakes]
    pairs = [name.split(" + ") for name in names if " + " in name]
    assert ["BGR for RGB", "0-1 and nothing else"] in pairs
    idle = {one.name for one in swept.sweep.idle}
    assert idle & {one.name for one in MISTAKES} == idle
    assert not idle & {part for pair in pairs for part in pair}
    assert len(set(names)) == len(names)


def test_a_store_gives_the_same_answer_as_its_folder(model, folder, swept, tmp_path):
    store = embed(folder, tmp_path / "s", backbone="pixels")
    again = check_classifier(model, store.items, LABELS, figures=("1.0", "0.5", "0.75"))
    assert json.dumps(again.to_dict()) == json.dumps(swept.to_dict())


def test_the_order_of_the_labels_is_that_of_the_outputs(model, folder):
    turned = check_classifier(model, read_source(folder), ("blue", "green", "red"), figures=("1",))
    assert turned.sweep.right.value == 0.5
    assert turned.figures[0].holds[0][0] == "BGR for RGB"


def test_no_more_pictures_are_shown_than_asked_for_and_classes_keep_their_shares(model, folder):
    some = check_classifier(model, read_source(folder), LABELS, pictures=20)
    assert (some.pictures, some.labelled) == (20, 100)
    (bgr,) = (one for one in some.sweep.mistakes if one.name == "BGR for RGB")
    assert bgr.accuracy.value == 0.5


def test_files_that_cannot_be_read_are_counted(model, folder, tmp_path):
    import shutil

    broken = tmp_path / "colours"
    shutil.copytree(folder, broken)
    (broken / "test/red/0.png").write_bytes(b"")
    one = check_classifier(model, read_source(broken), LABELS)
    assert (one.pictures, one.unreadable) == (99, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ("red", "green")}, "has 3 outputs, --labels names 2 classes"),
        ({"labels": ("red", "green", "green")}, "names a class twice"),
        ({"labels": ("red", "green", "bleu")}, "does not name blue"),
        ({"figures": ("71",)}, "--figure is '71'; an accuracy is between 0 and 1"),
        ({"figures": ("0,71",)}, "--figure is '0,71'"),
        ({"figures": ("71/70",)}, "so many right of so many, such as 71/100"),
        ({"figures": ("0/0",)}, "--figure is '0/0'"),
        ({"split": "valid"}, "no picture with a 'label' in the valid split"),
        ({"label": "age"}, "no column 'age'"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(model, folder, options, message):
    labels = options.pop("labels", LABELS)
    with pytest.raises(InputError, match=message):
        check_classifier(model, read_source(folder), labels, **options)


def test_a_model_that_is_missing_or_not_described_is_one_clear_error(model, folder, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        check_classifier(tmp_path / "no.onnx", read_source(folder), LABELS)
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(model.read_bytes())
    with pytest.raises(InputError, match=r"alone\.json does not exist; it has to say"):
        check_classifier(alone, read_source(folder), LABELS)


def test_a_figure_of_few_pictures_leaves_more_open_than_an_exact_one(model, folder):
    """Half right is the swap, exactly; 7 of 10 right may be anything between."""
    one = check_classifier(model, read_source(folder), LABELS, figures=("0.7", "7/10", "70/100"))
    exact, few, many = one.figures
    assert exact.holds == many.holds == ()
    assert "BGR for RGB" in [name for name, _ in few.holds]
    assert few.figure.n == 10
    assert few.figure.low < 0.5 < few.figure.value == 0.7


def test_the_command_names_the_mistake_and_prints_json(model, folder, capsys):
    arguments = [str(model), str(folder), "--labels", "red, green,blue", "--figure", "0.5"]
    assert main(["parity", *arguments]) == 0
    out = capsys.readouterr().out
    assert "50.0% is what you get with BGR for RGB (50.0% [40.4, 59.6])" in out
    assert main(["parity", *arguments, "--figure", "0.77", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "embedkit.parity/1"
    assert document["figures"][0]["reproduced_by"][0]["variant"] == "BGR for RGB"
    assert document["figures"][1]["reproduced_by"] == []
    assert main(["parity", *arguments, "--figure", "0.77"]) == 0
    assert "77.0% is what none of these gives; the nearest is" in capsys.readouterr().out
