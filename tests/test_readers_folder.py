from pathlib import Path

import pytest
from helpers import PNG, counts, make, make_different

from embedkit.errors import InputError, LayoutError
from embedkit.readers import read_source


def grid(*levels: list[str]) -> list[str]:
    paths = [""]
    for names in levels:
        paths = [f"{path}{name}/" for path in paths for name in names]
    return [f"{path}{number}.png" for path in paths for number in (1, 2)]


def test_split_folders_with_class_folders(tmp_path):
    items = read_source(make(tmp_path, *grid(["train", "test"], ["bad", "good"])))
    assert counts(items) == {"train": {"bad": 2, "good": 2}, "test": {"bad": 2, "good": 2}}


def test_class_folders_with_split_folders(tmp_path):
    items = read_source(make(tmp_path, *grid(["bad", "good"], ["train", "test"])))
    assert counts(items) == {"train": {"bad": 2, "good": 2}, "test": {"bad": 2, "good": 2}}


def test_class_folders_alone_have_no_split(tmp_path):
    items = read_source(make(tmp_path, *grid(["bad", "good"])))
    assert counts(items) == {None: {"bad": 2, "good": 2}}


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("valid", "valid"),
        ("VAL", "valid"),
        ("Validation", "valid"),
        ("test", "test"),
        ("TESTING", "test"),
    ],
)
def test_split_words_are_known_in_any_case(tmp_path, word, split):
    items = read_source(make(tmp_path, *grid([word, "train"], ["a", "b"])))
    assert split in counts(items)


def test_folders_below_the_class_belong_to_it(tmp_path):
    names = ["train/good/2019/jan/a.png", "train/bad/b.png", "test/good/x/c.png", "test/bad/d.png"]
    items = read_source(make(tmp_path, *names))
    assert counts(items) == {"train": {"bad": 1, "good": 1}, "test": {"bad": 1, "good": 1}}


def test_outer_folders_that_hold_everything_are_passed_through(tmp_path):
    names = [f"archive/faces/{name}" for name in grid(["Train", "Test"], ["bad", "good"])]
    items = read_source(make(tmp_path, *names))
    assert counts(items)["train"] == {"bad": 2, "good": 2}
    assert any("archive/faces" in note for note in items.notes)
    assert items.ids[0].startswith("archive/faces/")


def test_one_split_folder_is_a_split_and_not_a_wrapping(tmp_path):
    items = read_source(make(tmp_path, *grid(["train"], ["bad", "good"])))
    assert counts(items) == {"train": {"bad": 2, "good": 2}}


def test_split_folders_without_classes_have_no_labels(tmp_path):
    items = read_source(make(tmp_path, *grid(["train", "test"])))
    assert counts(items) == {"train": {None: 2}, "test": {None: 2}}


def test_a_flat_folder_has_neither_labels_nor_splits(tmp_path):
    assert counts(read_source(make(tmp_path, "a.png", "b.png"))) == {None: {None: 2}}


def test_a_test_split_without_classes_is_unlabelled(tmp_path):
    items = read_source(make(tmp_path, *grid(["train"], ["bad", "good"]), "test/1.png"))
    assert counts(items) == {"train": {"bad": 2, "good": 2}, "test": {None: 1}}
    assert any("no label" in note for note in items.notes)


def test_a_class_called_train_is_a_question_and_not_a_guess(tmp_path):
    make(tmp_path, *grid(["car", "plane", "train"], ["day", "night"]))
    with pytest.raises(LayoutError) as caught:
        read_source(tmp_path)
    assert "--layout class " in str(caught.value)
    assert "--layout split/class" in str(caught.value)
    assert "3 classes: car, plane, train" in str(caught.value)
    items = read_source(tmp_path, layout="class")
    assert counts(items) == {None: {"car": 4, "plane": 4, "train": 4}}


def test_a_class_called_train_with_splits_below_is_clear(tmp_path):
    items = read_source(make(tmp_path, *grid(["car", "train"], ["train", "test"])))
    assert counts(items) == {"train": {"car": 2, "train": 2}, "test": {"car": 2, "train": 2}}


def test_split_words_on_both_levels_are_a_question(tmp_path):
    make(tmp_path, *grid(["train", "test"], ["train", "test"]))
    with pytest.raises(LayoutError, match="2 ways"):
        read_source(tmp_path)


def test_splits_for_some_classes_only_are_a_question(tmp_path):
    make(tmp_path, *grid(["good"], ["train", "test"]), *grid(["bad"], ["raw"]))
    with pytest.raises(LayoutError):
        read_source(tmp_path)


def test_splits_in_the_middle_with_the_same_classes_below_are_a_question(tmp_path):
    make(tmp_path, *grid(["part1", "part2"], ["train", "test"], ["bad", "good"]))
    with pytest.raises(LayoutError, match=r"\*/split/class"):
        read_source(tmp_path)
    items = read_source(tmp_path, layout="*/split/class")
    assert counts(items) == {"train": {"bad": 4, "good": 4}, "test": {"bad": 4, "good": 4}}


def test_the_layouts_that_a_question_offers_answer_it(tmp_path):
    make(tmp_path, *(f"zip/{name}" for name in grid(["car", "train"], ["day", "night"])))
    with pytest.raises(LayoutError) as caught:
        read_source(tmp_path)
    offered = [line.split()[1] for line in str(caught.value).splitlines()[1:]]
    assert len(offered) == 2
    for layout in offered:
        assert len(read_source(tmp_path, layout=layout)) == 8


@pytest.mark.parametrize("layout", ["classes", "split/split", "class/", "split-class"])
def test_a_layout_that_is_none_says_what_one_is(tmp_path, layout):
    with pytest.raises(LayoutError, match="split/class"):
        read_source(make(tmp_path, "a/1.png"), layout=layout)


def test_folders_of_people_are_groups_where_the_layout_says_so(tmp_path):
    files = ["train/good/ann/1.png", "train/good/bob/1.png", "test/bad/eve/1.png"]
    items = read_source(make(tmp_path, *files), layout="split/class/group")
    found = dict(zip(items.ids, items.groups, strict=True))
    assert found == {file: file.split("/")[2] for file in files}
    assert set(items.labels) == {"good", "bad"}
    people = read_source(make(tmp_path / "lfw", "Ann_A/1.png", "Bob/1.png"), layout="group")
    assert people.groups == ["Ann_A", "Bob"]
    assert people.labels == people.splits == [None, None]
    assert "people" in people.layout


def test_classes_that_differ_only_in_case_are_pointed_out(tmp_path):
    items = read_source(make(tmp_path, "train/Good/1.png", "test/good/1.png", "test/bad/1.png"))
    assert any("'Good' and 'good'" in note for note in items.notes)


def test_suffixes_count_in_any_case_and_content_where_they_say_nothing(tmp_path):
    names = ["a/1.PNG", "a/2.JpEg", "b/3", "b/4.dat", "b/5.png.bak"]
    assert len(read_source(make(tmp_path, *names))) == 5


def test_same_stems_in_several_folders_are_different_images(tmp_path):
    names = ["a/x.jpg", "b/x.jpg", "a/x.JPG", "a/x.png"]
    make(tmp_path, *names)
    (tmp_path / "a" / "x.txt").write_text("no picture")
    assert sorted(read_source(tmp_path).ids) == sorted(names)


def test_litter_is_left_out_and_said(tmp_path):
    make(tmp_path, "a/1.png", "b/2.png", "a/.hidden.png", "__MACOSX/a/1.png", ".git/x.png")
    make(tmp_path, "a/._1.png")
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "desktop.ini").write_bytes(b"x")
    (tmp_path / "README.md").write_text("x")
    items = read_source(tmp_path)
    assert items.ids == ["a/1.png", "b/2.png"]
    assert any("README.md" in note for note in items.notes)


def test_a_broken_picture_is_an_image_all_the_same(tmp_path):
    make(tmp_path, "a/1.png")
    (tmp_path / "a" / "2.jpg").write_text("no picture")
    assert read_source(tmp_path).ids == ["a/1.png", "a/2.jpg"]


def test_a_loop_of_links_ends_and_nothing_is_read_twice(tmp_path):
    make(tmp_path, "good/1.png", "bad/2.png")
    (tmp_path / "good" / "loop").symlink_to("..")
    (tmp_path / "bad" / "to_good").symlink_to("../good")
    items = read_source(tmp_path)
    assert items.ids == ["bad/2.png", "good/1.png"]
    assert any("good/loop is a link" in note for note in items.notes)


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path):
    make(tmp_path / "pool", "1.png", "2.png")
    make(tmp_path / "faces", "good/3.png")
    (tmp_path / "faces" / "bad").symlink_to("../pool")
    assert counts(read_source(tmp_path / "faces")) == {None: {"bad": 2, "good": 1}}


def test_a_link_to_a_file_is_an_image_of_its_own(tmp_path):
    make(tmp_path, "train/a/1.png", "train/b/2.png", "test/b/3.png")
    (tmp_path / "test" / "a").mkdir()
    (tmp_path / "test" / "a" / "1.png").symlink_to("../../train/a/1.png")
    assert "test/a/1.png" in read_source(tmp_path).ids  # a leak that must be found, not hidden


def test_the_order_is_the_same_whatever_the_file_system_says(tmp_path):
    make(tmp_path, *(f"{c}/{n}.png" for c in "ba" for n in (10, 9, 1)))
    assert read_source(tmp_path).ids == sorted(read_source(tmp_path).ids)


def test_a_name_that_is_no_unicode_is_read_and_found_again(tmp_path):
    (tmp_path / "a").mkdir()
    raw = bytes(tmp_path / "a") + b"/caf\xe9.png"
    Path(raw.decode("utf-8", "surrogateescape")).write_bytes(PNG)
    items = read_source(tmp_path)
    assert items.ids == ["a/caf\\xe9.png"]
    assert items.path(items.ids[0]).read_bytes() == PNG


@pytest.mark.parametrize("what", ["missing", "empty", "no image"])
def test_a_folder_without_images_is_one_clear_line(tmp_path, what):
    root = tmp_path / "faces"
    if what != "missing":
        root.mkdir()
    if what == "no image":
        (root / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="does not exist|holds no image") as caught:
        read_source(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["label", "split", "group"])
def test_a_column_option_without_a_table_is_an_error(tmp_path, option):
    with pytest.raises(InputError, match=f"--{option}"):
        read_source(make(tmp_path, "a/1.png"), **{option: "x"})


def test_a_link_to_itself_is_listed_and_stops_nothing(tmp_path):
    make(tmp_path, "train/a/1.png", "train/b/1.png")
    (tmp_path / "train/a/self.png").symlink_to("self.png")
    (tmp_path / "train/loop").symlink_to("loop")
    items = read_source(tmp_path)
    assert {"train/a/1.png", "train/b/1.png"} <= set(items.ids)


def test_a_store_inside_the_source_is_no_class(tmp_path):
    make(tmp_path, "a/1.png", "b/1.png", "indexes/set/heads/confusion.png")
    (tmp_path / "indexes/set/store.json").write_text("{}")
    items = read_source(tmp_path)
    assert items.ids == ["a/1.png", "b/1.png"]
    assert any("indexes/set is a store" in note for note in items.notes)


# UTKFace's file names.


def utkface(tmp_path, *others):
    names = [f"{age}_{age % 2}_{age % 5}_20170116174525{age:03}.jpg" for age in range(1, 31)]
    return make(tmp_path, *(f"part1/{name}" for name in (*names, *others)))


def test_age_gender_and_race_are_read_from_utkfaces_names(tmp_path):
    items = read_source(utkface(tmp_path))
    assert items.labels == [None] * 30
    assert items.attributes == ("age", "gender", "race")
    for id_, *rest in zip(items.ids, *(items.column(n) for n in items.attributes), strict=True):
        age, gender, race = map(int, Path(id_).name.split("_")[:3])
        words = ("male", "female")[gender], ("white", "black", "asian", "indian", "other")[race]
        assert rest == [age, *words]
    assert "UTKFace" in items.layout


def test_a_column_of_utkfaces_names_can_be_the_label(tmp_path):
    items = read_source(utkface(tmp_path), label="gender")
    assert set(items.labels) == {"male", "female"}
    assert items.attributes == ("age", "race")
    assert read_source(tmp_path, label="age").labels[0].isdigit()
    with pytest.raises(InputError, match="age, gender, race"):
        read_source(tmp_path, label="smile")


def test_malformed_names_are_kept_and_listed(tmp_path):
    odd = "61_1_20170109150557335.jpg"
    items = read_source(utkface(tmp_path, odd))
    assert len(items) == 31
    row = items.ids.index(f"part1/{odd}")
    assert [items.column(name)[row] for name in items.attributes] == [None] * 3
    assert any(odd in note and "1 file names" in note for note in items.notes)


def test_other_names_are_not_taken_for_utkfaces(tmp_path):
    items = read_source(make(tmp_path, *(f"a/{n}_1.jpg" for n in range(9)), "b/1_1_1_20170109.jpg"))
    assert set(items.labels) == {"a", "b"}
    assert items.attributes == ()


def test_folders_around_utkfaces_names_are_classes_only_if_the_layout_says_so(tmp_path):
    names = [f"{age}_{age % 2}_1_20170116174525{age:03}.jpg" for age in range(1, 21)]
    make(tmp_path, *(f"{'mf'[place % 2]}/{name}" for place, name in enumerate(names)))
    items = read_source(tmp_path)
    assert set(items.labels) == {None}
    assert any("--layout class" in note for note in items.notes)
    assert set(read_source(tmp_path, layout="class").labels) == {"m", "f"}


def test_the_two_tables_that_fairface_brings_are_joined(tmp_path):
    make_different(tmp_path, "train/1.jpg", "train/2.jpg", "val/1.jpg")
    head = "file,age,gender,race,service_test\n"
    train = "train/1.jpg,50-59,Male,East Asian,True\ntrain/2.jpg,30-39,Female,Indian,False\n"
    (tmp_path / "fairface_label_train.csv").write_text(head + train)
    (tmp_path / "fairface_label_val.csv").write_text(head + "val/1.jpg,3-9,Male,Black,False\n")
    items = read_source(tmp_path, label="race")
    assert items.splits == ["train", "train", "valid"]
    assert items.labels == ["East Asian", "Indian", "Black"]
    assert items.label_column("age") == ["50-59", "30-39", "3-9"]
    assert items.attributes == ("age", "gender", "service_test")
