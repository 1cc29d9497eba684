"""Calibration: the most probable class stays, and probabilities come to mean what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from embedkit.heads.calibration import Calibration, calibrate
from embedkit.heads.classifier import Choice
from embedkit.heads.fitting import HEADS
from embedkit.vectors import unit_rows

NOTHING = Choice("none", 1.0, "given", ())


class Fixed:
    """A head that is sure by a given factor of what it should say."""

    choice = NOTHING

    def __init__(self, factor):
        self.factor = factor

    def probabilities(self, vectors):
        odds = np.exp(self.factor * vectors[:, :1].astype(np.float64))
        return np.concatenate([odds, np.ones_like(odds)], axis=1) / (1 + odds)

    def arrays(self):
        return {}


def world(factor, n=4000):
    """Return the calibration of a head whose logits are the true ones times a factor."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(scale=2, size=(n, 3)).astype(np.float32)
    p = 1 / (1 + np.exp(-vectors[:, 0].astype(np.float64)))
    y = (generator.random(n) > p).astype(np.int64)
    return calibrate(
        lambda *_, **__: Fixed(factor),
        vectors,
        y,
        np.arange(n),
        n_classes=2,
        value=1.0,
        seed=0,
    )


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_the_temperature_takes_back_how_much_too_sure_a_head_is(factor):
    found = world(factor)
    assert found.temperature == pytest.approx(factor, rel=0.1)
    assert found.log_loss[1] <= found.log_loss[0]
    assert found.n == 4000


@settings(max_examples=50, deadline=None)
@given(
    arrays.arrays(np.float64, (5, 3), elements=st.floats(0, 1)).filter(
        lambda rows: (rows.sum(axis=1) > 1e-3).all()
    ),
    st.floats(0.1, 10),
)
def test_calibrated_probabilities_are_probabilities_of_the_same_answer(rows, temperature):
    rows = rows / rows.sum(axis=1, keepdims=True)
    made = Calibration(temperature, 1, (0, 0)).apply(rows)
    assert np.allclose(made.sum(axis=1), 1)
    assert (made[rows == 0] == 0).all()
    best = np.arange(5), rows.argmax(axis=1)
    assert np.allclose(made[best], made.max(axis=1))


def test_copies_do_not_make_a_head_look_sure_of_itself():
    """With every image there twice, only folds that keep copies together see through it."""
    generator = np.random.default_rng(1)
    once = generator.normal(size=(150, 8))
    vectors = unit_rows(np.concatenate([once, once + 1e-3 * generator.normal(size=once.shape)]))
    y = np.tile(generator.integers(2, size=150), 2)
    options = {"n_classes": 2, "value": 1.0, "seed": 0}
    apart = calibrate(HEADS["knn"], vectors, y, np.arange(300), **options)
    together = calibrate(HEADS["knn"], vectors, y, np.tile(np.arange(150), 2), **options)
    sure = np.array([[0.9, 0.1]])
    assert apart.apply(sure)[0, 0] > 0.85
    assert together.apply(sure)[0, 0] < 0.6


def test_where_nothing_can_be_left_out_the_probabilities_stay_and_the_reason_is_given():
    vectors = unit_rows(np.eye(4) + 0.1)
    found = calibrate(
        HEADS["knn"],
        vectors,
        np.array([0, 0, 0, 1]),
        np.array([0, 1, 2, 3]),
        n_classes=2,
        value=1.0,
        seed=0,
    )
    assert found.temperature == 1
    assert "nothing could be left out" in found.note
    assert found.to_dict()["log_loss_before"] is None
