"""The head for ordered classes: one scale, cut at thresholds."""

import numpy as np
import pytest
from scipy import optimize, special
from sklearn.preprocessing import StandardScaler

from embedkit.heads import cumulative
from embedkit.heads.cumulative import fit_cumulative
from embedkit.heads.logistic import fit_logistic
from embedkit.vectors import unit_rows

CUTS = (-3.0, -1.0, 0.5, 2.0)


def ordered(n=900, d=20, seed=0, strength=12.0):
    """Return vectors and classes that a cumulative-logit model made."""
    generator = np.random.default_rng(seed)
    x = unit_rows(generator.normal(size=(n, d)))
    scale = x @ generator.normal(size=d) * strength / np.sqrt(d) * 3
    return x, np.digitize(scale + generator.logistic(size=n), CUTS).astype(np.int64)


def test_its_coefficients_are_those_of_an_optimiser_that_knows_nothing_of_ours():
    x, y = ordered(n=150, d=4)
    ours = fit_cumulative(x, y, np.arange(150), n_classes=5, seed=0, value=1.0)
    scaler = StandardScaler().fit(x.astype(np.float64))
    z = scaler.transform(x)

    def loss(parameters):
        edges = np.concatenate([[-np.inf], np.sort(parameters[:4]), [np.inf]])
        s = z @ parameters[4:]
        p = special.expit(edges[y + 1] - s) - special.expit(edges[y] - s)
        return -np.log(p).sum() + parameters[4:] @ parameters[4:] / 2

    start = np.concatenate([[-2.0, -1.0, 0.0, 1.0], np.zeros(4)])
    best = optimize.minimize(loss, start, method="BFGS")
    edges = np.concatenate([[-np.inf], np.sort(best.x[:4]), [np.inf]])
    below = special.expit(edges - (z @ best.x[4:])[:, None])
    assert np.abs(ours.probabilities(x) - np.diff(below, axis=1)).max() < 2e-3


def test_the_slope_that_the_optimiser_gets_is_the_losss_own(monkeypatch):
    x, y = ordered(n=200)
    caught = {}
    minimize = optimize.minimize

    def spy(loss, start, **options):
        caught["loss"], caught["start"] = loss, start
        return minimize(loss, start, **options)

    monkeypatch.setattr(cumulative.optimize, "minimize", spy)
    fit_cumulative(x, y, np.arange(200), n_classes=5, seed=0, value=0.3)
    loss, generator = caught["loss"], np.random.default_rng(1)
    for _ in range(3):
        at = caught["start"] + generator.normal(size=len(caught["start"])) / 5
        slope = loss(at)[1]
        error = optimize.check_grad(lambda p: loss(p)[0], lambda p: loss(p)[1], at)
        assert error < 1e-5 * np.linalg.norm(slope)


def test_with_two_classes_it_is_logistic_regression():
    x, y = ordered(n=300)
    y = (y > 2).astype(np.int64)
    ours, plain = (
        fit(x, y, np.arange(300), n_classes=2, seed=0, value=0.1).probabilities(x)
        for fit in (fit_cumulative, fit_logistic)
    )
    assert np.abs(ours - plain).max() < 5e-3


def test_probabilities_are_some_for_every_class_and_sum_to_one():
    x, y = ordered(n=300)
    p = fit_cumulative(x, y, np.arange(300), n_classes=5, seed=0).probabilities(1000 * x)
    assert (p >= 0).all()
    assert p.sum(axis=1) == pytest.approx(1.0)


def test_where_classes_lie_on_one_scale_it_beats_the_plain_head():
    x, y = ordered()
    inside, outside = slice(0, 300), slice(300, None)
    error = {}
    for fit in (fit_cumulative, fit_logistic):
        head = fit(x[inside], y[inside], np.arange(300), n_classes=5, seed=0)
        answers = head.probabilities(x[outside]).argmax(axis=1)
        error[fit] = np.abs(answers - y[outside]).mean()
    assert error[fit_cumulative] < error[fit_logistic]


def test_dealt_classes_are_left_at_the_prior():
    x, y = ordered()
    y = np.random.default_rng(3).permutation(y)
    head = fit_cumulative(x, y, np.arange(len(y)), n_classes=5, seed=0)
    prior = np.bincount(y) / len(y)
    assert np.abs(head.probabilities(x) - prior).mean() < 0.03
