"""Bins: a label that is a number becomes a range, and the number stays."""

import numpy as np
import pytest
from helpers import make, make_different

from embedkit.errors import InputError
from embedkit.heads import evaluate, train
from embedkit.pipeline import embed
from embedkit.ranges import ends, even_ranges, in_order
from embedkit.readers import read_source

AGES = (1, 3, 4, 10, 11, 17, 18, 40, 74, 116)


def manifest(folder, values, *, name="age", split=None):
    files = [f"{n}.png" for n in range(len(values))]
    make(folder, *files)
    rows = [f"{file},{value}" for file, value in zip(files, values, strict=True)]
    (folder / "list.csv").write_text("\n".join([f"file,{name}", *rows]) + "\n")
    return folder / "list.csv"


def test_each_number_lies_in_its_range_and_is_kept(tmp_path):
    bins = "11-17,1-3,4-10,18-74"
    items = read_source(manifest(tmp_path, AGES), label="age", bins=bins)
    found = dict(zip(items.column("age"), items.labels, strict=True))
    assert found == {
        1: "1-3", 3: "1-3", 4: "4-10", 10: "4-10", 11: "11-17", 17: "11-17",
        18: "18-74", 40: "18-74", 74: "18-74", 116: None,
    }  # fmt: skip
    assert "age cut into 1-3, 4-10, 11-17, 18-74" in items.notes
    assert any(note.startswith("1 images are in no bin") for note in items.notes)


def test_of_two_ranges_that_share_an_end_the_lower_holds_it(tmp_path):
    values = [0.5, 1.5, 2.5]
    items = read_source(manifest(tmp_path, values), label="age", bins="0-1.5,1.5-2,2+")
    assert items.labels == ["0-1.5", "0-1.5", "2+"]
    assert items.column("age") == values


def test_bins_of_about_as_many_images_each(tmp_path):
    values = np.random.default_rng(0).integers(1, 100, 300).tolist()
    items = read_source(manifest(tmp_path, values), label="age", bins="5")
    counts = items.counts()[None]
    assert len(counts) == 5
    assert all(50 <= n <= 70 for n in counts.values())
    assert in_order(sorted(counts)) is not None
    for value, label in zip(items.column("age"), items.labels, strict=True):
        low, high = ends(label)
        assert low <= value <= high


def test_a_value_that_most_images_have_is_never_divided():
    assert even_ranges([1] * 90 + [2, 3, 4, 5], 4) == ("1-1", "2-5")


def test_a_column_called_label_keeps_its_numbers_under_another_name(tmp_path):
    items = read_source(manifest(tmp_path, AGES, name="label"), label="label", bins="0-17,18+")
    assert set(items.labels) == {"0-17", "18+"}
    assert items.column("label_given") == list(AGES)


@pytest.mark.parametrize("bins", ["", "1-3", "1-5,4-10", "a,b", "3-1,4-5", "1"])
def test_what_are_no_bins_says_what_are(tmp_path, bins):
    with pytest.raises(InputError, match="--bins"):
        read_source(manifest(tmp_path, AGES), label="age", bins=bins)


def test_labels_that_are_no_numbers_are_not_cut(tmp_path):
    with pytest.raises(InputError, match="numbers"):
        read_source(manifest(tmp_path, ["old", "young"]), label="age", bins="2")
    with pytest.raises(InputError, match="--label"):
        read_source(tmp_path / "list.csv", bins="2")


def test_from_utkfaces_names_to_a_head_on_bins_that_a_second_run_knows(tmp_path):
    names = [f"{age}_{age % 2}_{age % 5}_20170116174525{age:03}.jpg" for age in range(1, 61)]
    make_different(tmp_path / "utk", *names)
    store = embed(
        tmp_path / "utk", tmp_path / "store", backbone="pixels", label="age", bins="1-20,21-40,41+"
    )
    assert set(store.items.labels) == {"1-20", "21-40", "41+"}
    found = evaluate(train(store), store)
    assert found.labels == ("1-20", "21-40", "41+")
    assert found.ordered is not None
    make_different(tmp_path / "utk", "7_1_1_20170116174525999.jpg")
    again = embed(tmp_path / "utk", tmp_path / "store", backbone="pixels")
    assert len(again.items) == 61
    assert set(again.items.labels) == {"1-20", "21-40", "41+"}


@pytest.mark.parametrize(
    "values", [[1234567, 2234567, 5234567, 6234567], [0.12345678, 0.3, 7.25, 8.125]]
)
def test_no_value_is_lost_in_the_name_of_a_bin(tmp_path, values):
    items = read_source(manifest(tmp_path, values), label="age", bins="2")
    assert None not in items.labels
    assert len(set(items.labels)) == 2


@pytest.mark.parametrize("value", [-1, "inf", 1e300])
def test_numbers_that_no_bin_can_hold_are_refused(tmp_path, value):
    with pytest.raises(InputError, match="numbers from 0"):
        read_source(manifest(tmp_path, [1, 2, value]), label="age", bins="2")
    with pytest.raises(InputError, match="--bins"):
        read_source(manifest(tmp_path, [1, 2, 3]), label="age", bins="²")
