"""The sentence of a card, case by case."""

import pytest

from embedkit.audits.cards import Card, Evidence, Relative, Without
from embedkit.heads.calibration import Calibration
from embedkit.store import Neighbour

NO_NETWORK = "no face network"


def sentence(
    *,
    label="a",
    answer="a",
    split="test",
    near="aaabb",
    relatives=(),
    without="a",
    unknown="",
    missed="",
    reason="",
):
    """Return what a card says of an image; relatives are (relation, label) in train."""
    card = Card(
        id="x.jpg",
        split=split,
        label=label,
        known=True,
        head="knn",
        space="pixels",
        answer=answer,
        probability=0.8,
        stated=0.9,
        probabilities={"a": 0.8, "b": 0.2},
        calibration=Calibration(1.0, 10, (0.5, 0.5)),
        neighbours=tuple(
            Evidence(Neighbour(f"{place}.jpg", one, "train", 0.9), None, 0.9, 0.5)
            for place, one in enumerate(near)
        ),
        relatives=tuple(
            Relative(f"r{place}.jpg", one, "train", relation)
            for place, (relation, one) in enumerate(relatives)
        ),
        people_unknown=unknown,
        missed=missed,
        without=Without(len(relatives), None if reason else without, 0.7, reason),
        entry=None,
    )
    return card.sentence


COPY, CLOSE, MATE = ("exact_twin", "a"), ("near_twin", "a"), ("sibling", "a")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({}, "Right, and nobody related to it is in train."),
        ({"unknown": NO_NETWORK}, "Right, and no copy of it is in train."),
        (
            {"unknown": NO_NETWORK, "missed": "no picture is there any more"},
            "Right, and no copy of it was seen in train.",
        ),
        (
            {"relatives": [COPY]},
            "Right, but the same photograph is in train; without it the answer is the same.",
        ),
        (
            {"relatives": [COPY, MATE], "without": "b"},
            "Right, but the same photograph is in train; without it the answer would be 'b'.",
        ),
        (
            {"relatives": [CLOSE]},
            "Right, but a near copy of it is in train; without it the answer is the same.",
        ),
        (
            {"relatives": [MATE], "without": "b"},
            "Right, but another photograph of the same person is in train; without it the answer "
            "would be 'b'.",
        ),
        (
            {"answer": "b", "relatives": [MATE], "without": "b"},
            "Wrong (its label is 'a'), although another photograph of the same person is in "
            "train; without it the answer is the same.",
        ),
        (
            {"answer": "b", "relatives": [("exact_twin", "b")]},
            "Wrong (its label is 'a'), and its copy in train carries the label 'b': one of the two "
            "labels is wrong. Without that the answer would be 'a', which is right.",
        ),
        (
            {"relatives": [CLOSE, ("near_twin", "b")], "without": "b"},
            "Right, although its near copy in train carries the label 'b': one of the two labels "
            "is wrong. Without that the answer would be 'b', which is wrong.",
        ),
        # A person may well have photographs of both classes.
        (
            {"relatives": [("sibling", "b")]},
            "Right, but another photograph of the same person is in train; without it the answer "
            "is the same.",
        ),
        (
            {"answer": "b", "near": "bbbba"},
            "Wrong (its label is 'a'); 4 of the 5 nearest training images are of another class.",
        ),
        (
            {"answer": "b", "near": "aaabb"},
            "Wrong (its label is 'a'), although 3 of the 5 nearest training images carry that "
            "label.",
        ),
        (
            {"label": None, "relatives": [COPY], "without": "b"},
            "Answered 'a' (no label says whether that is right), and the same photograph is in "
            "train; without it the answer would be 'b'.",
        ),
        (
            {"label": None, "unknown": NO_NETWORK},
            "Answered 'a' (no label says whether that is right); no copy of it is in train.",
        ),
        (
            {"relatives": [COPY], "reason": "no image of a is left"},
            "Right, but the same photograph is in train; what it is worth cannot be measured: no "
            "image of a is left.",
        ),
        (
            {"split": "train"},
            "A training image, so the head has seen its label. Without it the answer is still "
            "'a', which is right.",
        ),
        (
            {"split": "train", "relatives": [COPY], "without": "b"},
            "A training image, so the head has seen its label. Without it and its relatives the "
            "answer would be 'b', which is wrong.",
        ),
        (
            {"split": "train", "reason": "no image of a is left"},
            "A training image, so the head has seen its label. Without it the head cannot be "
            "trained: no image of a is left.",
        ),
    ],
)
def test_a_card_sums_itself_up(case, said):
    assert sentence(**case) == said
