from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.readers.splits import make_split


def ids(n: int) -> list[str]:
    return [f"{number:04d}.jpg" for number in range(n)]


def test_a_fifth_of_each_class_goes_to_test():
    labels = ["a"] * 100 + ["b"] * 50 + ["c"] * 10
    split = make_split(ids(160), labels, [None] * 160, seed=0)
    share = Counter(label for label, side in zip(labels, split, strict=True) if side == "test")
    assert share == {"a": 20, "b": 10, "c": 2}


def test_every_class_of_two_has_an_image_on_both_sides():
    split = make_split(ids(4), ["a", "a", "b", "b"], [None] * 4, seed=0)
    assert sorted(split[:2]) == sorted(split[2:]) == ["test", "train"]


def test_a_class_of_one_stays_in_train():
    split = make_split(ids(5), ["a"] * 4 + ["b"], [None] * 5, seed=0)
    assert split[4] == "train"


def test_the_seed_decides_and_the_order_does_not():
    names = ids(40)
    labels = ["a", "b"] * 20
    first = dict(zip(names, make_split(names, labels, [None] * 40, seed=1), strict=True))
    turned = make_split(names[::-1], labels[::-1], [None] * 40, seed=1)
    assert dict(zip(names[::-1], turned, strict=True)) == first
    assert dict(zip(names, make_split(names, labels, [None] * 40, seed=2), strict=True)) != first


@settings(max_examples=50)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.integers(0, 5))
def test_a_group_is_never_divided(groups, seed):
    names = [f"p{g}" for g in groups]
    labels = ["a" if g % 2 else "b" for g in groups]
    split = make_split(ids(len(groups)), labels, names, seed=seed)
    sides = {}
    for name, side in zip(names, split, strict=True):
        assert sides.setdefault(name, side) == side


def test_images_keep_their_side_when_others_come():
    before = dict(zip(ids(50), make_split(ids(50), ["a"] * 50, [None] * 50, seed=0), strict=True))
    after = make_split(ids(80), ["a"] * 80, [None] * 80, seed=0, kept=before)
    assert dict(zip(ids(50), after[:50], strict=True)) == before
    assert after.count("test") == 16
