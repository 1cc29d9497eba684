"""Evening out training images: weights, subsets, the worst group, and what each changes."""

import json

import numpy as np
import pytest
from embedkit_cli import main

from embedkit.errors import InputError, NotEnoughImagesError
from embedkit.heads import load_head
from embedkit.heads.balance import DRAWS, FEWEST, Balance, check_groups
from embedkit.heads.curve import learning_curve
from embedkit.heads.emphasis import Emphasis
from embedkit.heads.fitting import Rows, fit_rows
from embedkit.heads.knn import fit_knn
from embedkit.heads.logistic import fit_logistic
from embedkit.heads.mitigation import effect_of, mitigate
from embedkit.heads.training import evaluate, fit
from embedkit.vectors import unit_rows


def drawn(n=600, seed=0, rare=0.1):
    """Return vectors, classes and groups: the group's dimension is easy, the class's is not.

    In nine of ten images the group goes with the class, so a plain head leans on it.
    """
    generator = np.random.default_rng(seed)
    y = np.arange(n) % 2
    groups = np.where(generator.random(n) < rare, 1 - y, y)
    x = generator.normal(size=(n, 12))
    x[:, 0] += 1.2 * (2 * y - 1)
    x[:, 1] += 2.5 * (2 * groups - 1)
    return unit_rows(x), y.astype(np.int64), groups.astype(np.int64)


def rows_of(x, y, groups):
    return Rows(x, y, np.arange(len(y)), groups, np.arange(len(y)), len(y))


def worst(classifier, seed=9):
    """Return the least accuracy over classes and groups on many fresh images."""
    x, y, groups = drawn(4000, seed=seed, rare=0.5)
    right = classifier.probabilities(x).argmax(axis=1) == y
    return min(right[(y == a) & (groups == b)].mean() for a in (0, 1) for b in (0, 1))


@pytest.mark.parametrize("over", ["classes", "groups"])
def test_weights_let_every_kind_count_the_same(over):
    _, y, groups = drawn()
    y[:50], groups[:7] = 0, -1
    weights = Balance(over, "" if over == "classes" else "tone").emphasis(y, groups).weights
    kinds = y if over == "classes" else np.where(groups >= 0, 2 * groups + y, -1)
    sums = [weights[kinds == one].sum() for one in np.unique(kinds) if one >= 0]
    assert sums == pytest.approx([sums[0]] * len(sums))
    assert weights.mean() == pytest.approx(1.0)
    assert (weights[kinds == -1] == 1).all()


@pytest.mark.parametrize("fit_", [fit_logistic, fit_knn])
def test_a_weight_of_two_is_the_image_twice(fit_):
    x, y, _ = drawn(120)
    twice = np.random.default_rng(1).random(120) < 0.3
    weights = np.where(twice, 2.0, 1.0)
    value = 0.05 if fit_ is fit_logistic else 120
    clusters = np.arange(120)
    one = fit_(
        x, y, clusters, n_classes=2, seed=0, value=value, emphasis=Emphasis(weights=weights)
    ).probabilities(x)
    every = np.concatenate([np.arange(120), np.flatnonzero(twice)])
    two = fit_(x[every], y[every], clusters[every], n_classes=2, seed=0, value=len(every))
    if fit_ is fit_logistic:
        # Both are standardised by their own rows, which differ a little.
        two = fit_(x[every], y[every], clusters[every], n_classes=2, seed=0, value=value)
        assert np.abs(one - two.probabilities(x)).max() < 0.02
    else:  # one more vote of the prior stands beside 120 neighbours, or beside all of them
        votes = (one * 121 - np.bincount(y, weights) / weights.sum()) / 120
        prior = np.bincount(y[every]) / len(every)
        others = (two.probabilities(x) * (len(every) + 1) - prior) / len(every)
        assert votes == pytest.approx(others)


@pytest.mark.parametrize("over", ["groups", "subset"])
def test_evened_out_a_head_leans_less_on_what_goes_with_the_class(over):
    rows = rows_of(*drawn())
    plain = fit_rows("logistic", rows, balance=Balance(), n_classes=2, seed=0)
    even = fit_rows("logistic", rows, balance=Balance(over, "tone"), n_classes=2, seed=0)
    assert worst(even) > worst(plain) + 0.1


def test_where_groups_say_nothing_evening_out_changes_little():
    x, y, groups = drawn(rare=0.5)
    rows = rows_of(x, y, groups)
    plain, even = (
        worst(fit_rows("logistic", rows, balance=one, n_classes=2, seed=0))
        for one in (Balance(), Balance("groups", "tone"))
    )
    assert even == pytest.approx(plain, abs=0.04)


def test_a_subset_holds_as_many_of_each_class_in_each_group():
    _, y, groups = drawn(200)
    groups[:20] = -1
    every = Balance("subset", "tone").subsets(y, groups, seed=0)
    assert len(every) == DRAWS
    fewest = np.bincount((2 * groups + y)[groups >= 0]).min()
    for one in every:
        assert (np.bincount(2 * groups[one] + y[one]) == fewest).all()
        assert (np.diff(one) > 0).all()
    assert len({tuple(one) for one in every}) == DRAWS


def test_copies_of_an_image_go_into_a_subset_with_it():
    x, y, groups = drawn(100)
    origin = np.concatenate([np.arange(100), [5, 7, 7]])
    rows = Rows(x[origin], y[origin], origin, groups[origin], origin, 100)
    part = rows.of(np.array([2, 7, 9]))
    assert part.originals == 3
    assert part.origin.tolist() == [0, 1, 2, 1, 1]
    assert (part.vectors == x[[2, 7, 9, 7, 7]]).all()


def test_too_few_images_of_a_class_and_group_are_no_subset():
    _, y, groups = drawn(200, rare=0.0)
    with pytest.raises(NotEnoughImagesError, match="some group of tone has 0 training images"):
        Balance("subset", "tone").subsets(y, groups, seed=0)


def test_the_worst_groups_loss_decides_and_images_of_no_group_are_not_asked():
    losses = np.array([0.1, 0.3, 0.5, 0.7, 9.0])
    groups = np.array([0, 0, 1, 1, -1])
    assert Emphasis(groups=groups).loss(losses) == pytest.approx(0.6)
    assert Emphasis().loss(losses) == pytest.approx(losses.mean())
    assert Emphasis(weights=np.array([1, 1, 0, 0, 0])).loss(losses) == pytest.approx(0.2)


def test_a_group_of_few_images_decides_nothing():
    _, y, groups = drawn(200)
    groups[: FEWEST - 1] = 2
    asked = Balance(by="tone", select="worst-group").emphasis(y, groups)
    assert asked.kinds() == [0, 1]
    with pytest.raises(NotEnoughImagesError, match="fewer than two groups of tone"):
        check_groups("tone", "label", np.array([0, 0, 0, 0, 0, 1, -1, -1, -1, -1]))
    check_groups("tone", "label", np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]))


@pytest.mark.parametrize("kind", ["logistic", "knn"])
def test_a_choice_by_the_worst_group_is_the_best_of_those_tried_for_it(kind, stripes):
    made = fit(stripes, head=kind, balance=Balance(by="tone", select="worst-group"))
    choice = made.classifier.choice
    assert "of the worst group" in choice.criterion
    best = (min if kind == "logistic" else max)(one for _, one in choice.tried)
    assert dict(choice.tried)[choice.value] == best


@pytest.mark.parametrize("balance", [("classes", ""), ("groups", "tone"), ("subset", "tone")])
@pytest.mark.parametrize("kind", ["logistic", "knn"])
def test_a_saved_head_is_the_head_that_was_balanced(kind, balance, stripes, tmp_path):
    if (kind, balance[0]) == ("knn", "subset"):
        with pytest.raises(InputError, match="no coefficients to average"):
            fit(stripes, head=kind, balance=Balance(*balance))
        return
    head = fit(stripes, head=kind, balance=Balance(*balance))
    again = load_head(head.save(tmp_path / "head"))
    space = stripes.space()
    every = np.arange(len(stripes.items))
    assert again.balance == head.balance
    assert again.probabilities(space, every) == pytest.approx(head.probabilities(space, every))
    curve = learning_curve(again)
    assert curve.points[-1].accuracy.value == evaluate(again).accuracy.value


def test_mitigate_shows_every_way_on_the_same_images_and_what_it_gives_and_costs(stripes):
    effects = {one.balance.name: one for one in mitigate(stripes, by="tone")}
    assert list(effects) == [
        "balance classes",
        "balance groups",
        "balance subset",
        "select worst-group",
    ]
    plain = evaluate(fit(stripes), stripes)
    even = evaluate(fit(stripes, balance=Balance("groups", "tone")), stripes)
    accuracy, recall, least, gap = effects["balance groups"].wholes
    assert accuracy.before.value == plain.accuracy.value
    assert accuracy.after.value == even.accuracy.value
    assert recall.after.value == pytest.approx(even.balanced_accuracy.value)
    # Groups are dealt evenly in test: leaning on them costs.
    assert even.log_loss.value < plain.log_loss.value
    groups = effects["balance groups"].groups
    assert least.before.value == min(one.before.value for one in groups)
    assert least.after.value == min(one.after.value for one in groups)
    assert gap.after.value == pytest.approx(abs(groups[0].after.value - groups[1].after.value))
    for part in (accuracy, recall, least, gap, *groups, *effects["balance groups"].classes):
        assert part.change.value == pytest.approx(part.after.value - part.before.value)
        assert part.change.low <= part.change.value <= part.change.high


def test_a_way_that_cannot_be_tried_says_so_beside_the_others(stripes, capsys):
    effects = {one.balance.name: one for one in mitigate(stripes, by="tone", head="knn")}
    assert "no coefficients" in effects["balance subset"].note
    assert effects["balance groups"].wholes
    assert main(["mitigate", str(stripes.path), "--by", "tone", "--head", "knn"]) == 0
    assert "balance subset: not run: a kNN head has no coefficients" in capsys.readouterr().out


def test_train_shows_what_a_balance_changed_and_names_its_file_after_it(stripes, capsys):
    assert main(["train", str(stripes.path), "--balance", "groups", "--by", "tone", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["head"].endswith("label-pixels-logistic-groups-tone.safetensors")
    assert [one["part"] for one in made["effect"]["groups"]] == ["dark", "light"]
    assert made["effect"]["wholes"][0]["after"]["value"] == made["metrics"]["accuracy"]["value"]
    assert main(["train", str(stripes.path), "--balance", "classes"]) == 0
    out = capsys.readouterr().out
    assert "2 classes, balance classes; C =" in out
    assert "not shown" not in out
    assert "change, points" in out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--balance", "class"], "balance is 'class'; allowed are classes, groups, subset"),
        (["--select", "best"], "select is 'best'; allowed are mean, worst-group"),
        (["--balance", "groups"], "needs a column with the groups"),
        (["--by", "tone"], "--by tone names groups, but nothing is evened out"),
        (["--balance", "groups", "--by", "race"], "race"),
        (["--select", "worst-group", "--by", "few"], "fewer than two groups of few"),
        (["--balance", "groups", "--by", "few"], "fewer than two groups of few"),
        (["--balance", "groups", "--by", "label"], "--by label is the label itself"),
        (["--head", "cumulative"], "have no order; a cumulative head needs three or more ranges"),
    ],
)
def test_a_balance_that_cannot_be_is_one_clear_line(given, said, stripes, capsys):
    assert main(["train", str(stripes.path), *given]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert not captured.out


def test_mitigate_shows_every_group_and_says_which_are_too_small(stripes, capsys):
    assert main(["mitigate", str(stripes.path), "--by", "tone"]) == 0
    out = capsys.readouterr().out
    effect = mitigate(stripes, by="tone")[1]
    for part in (*effect.classes, *effect.groups):
        change = f"{100 * part.change.value:+.1f} ["
        assert any(line.split()[:1] == [part.name] and change in line for line in out.splitlines())
    assert "too few images" not in out
    plain, changed = fit(stripes), fit(stripes, balance=Balance("groups", "tone"))
    shown = effect_of(changed, plain, by="odd")
    assert shown.small == ("rare",)
    assert all(one.name != "rare" for one in shown.groups)
