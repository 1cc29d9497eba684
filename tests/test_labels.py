"""Labels: swapped ones are found, none where none was swapped, no relative has a say."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
from helpers import noise, saved

from embedkit.audits import audit
from embedkit.audits import labels as module
from embedkit.audits.base import Verdict
from embedkit.audits.ceiling import Ceiling
from embedkit.audits.labels import SWAPPED, are_true, check_labels
from embedkit.audits.noise import estimate_noise
from embedkit.audits.opinions import Panel
from embedkit.audits.suspects import least_wrong
from embedkit.audits.twins import Pair
from embedkit.errors import InputError
from embedkit.items import ItemTable
from embedkit.pipeline import embed
from embedkit.reports.audits import findings
from embedkit.reports.page import render
from embedkit.statistics import Estimate
from embedkit.synthetic import Faults, make_faces
from embedkit.vectors import unit_rows

DIMENSION = 16


class World:
    """Images of classes that lie apart, in families of relatives, some labels swapped.

    Args:
        rate: share of the labels that are swapped to any other class.
        apart: distance of the classes, in spreads of a class.
        shares: of the classes.
        family: images of each cluster of relatives.
        shared: whether a family's labels are swapped all together.
    """

    path, spaces = "world", {}

    def __init__(
        self, rate, *, n=400, apart=4.0, shares=(0.4, 0.3, 0.3), family=1, shared=False, seed=0
    ):
        generator = np.random.default_rng(seed)
        families = np.arange(n) // family
        truth = generator.choice(len(shares), n, p=shares)[families]
        places = apart * np.eye(DIMENSION)[: len(shares)]
        self.vectors = unit_rows(places[truth] + generator.normal(size=(n, DIMENSION)))
        y = truth.copy()
        if shared:
            chosen = generator.choice(families.max() + 1, round(rate * n / family), replace=False)
            step = generator.integers(1, len(shares), families.max() + 1)
            hit = np.isin(families, chosen)
            y[hit] = (y + step[families])[hit] % len(shares)
        else:
            hit = np.zeros(n, bool)
            hit[generator.choice(n, round(rate * n), replace=False)] = True
            y[hit] = (y[hit] + generator.integers(1, len(shares), hit.sum())) % len(shares)
        self.truth, self.y, self.related = truth, y, families
        self.swapped = {str(row) for row in np.flatnonzero(hit)}
        self.twins = SimpleNamespace(pairs=(), near=families, missed="")
        self.name(["abcdefg"[one] for one in y])

    def name(self, labels, groups=None):
        """Give every image a label, None for none."""
        n = len(labels)
        columns = {"label": labels, "pixel_sha256": [str(row) for row in range(n)]}
        self.items = SimpleNamespace(
            ids=[str(row) for row in range(n)],
            labels=labels,
            splits=["test" if row % 4 == 0 else "train" for row in range(n)],
            groups=groups or [None] * n,
            column=columns.__getitem__,
            label_column=columns.__getitem__,
        )

    def space(self, _):
        return SimpleNamespace(vectors=self.vectors)

    def check(self, **options):
        return check_labels(self, self.twins, self.related, split="test", **options)


@pytest.fixture(scope="module")
def swapped():
    world = World(0.1, seed=1)
    return world, world.check()


def test_swapped_labels_are_found_and_their_own_class_is_suggested(swapped):
    world, finding = swapped
    assert finding.verdict is Verdict.PRESENT
    assert finding.estimate.low <= 0.1 <= finding.estimate.high
    assert finding.points == pytest.approx(100 * finding.estimate.value)
    listed = [one.id for one in finding.images]
    assert len(set(listed)) == len(listed)
    assert len(world.swapped & set(listed)) >= 0.85 * len(world.swapped)
    assert len(set(listed) - world.swapped) <= 0.15 * len(listed)
    for one in finding.images:
        row = int(one.id)
        assert one.label == world.items.labels[row]
        if one.id in world.swapped:
            assert one.suggested == "abc"[world.truth[row]]
        assert repr(one.suggested) in one.reason
        assert set(one.by) & {"neighbours", "confident learning"}
    assert "wrong" in finding.summary


def test_the_list_begins_with_the_surest(swapped):
    _, finding = swapped
    own = finding.case.own()
    places = [int(one.id) for one in finding.images]  # every image is judged, in order
    assert list(own[places]) == sorted(own[places])


def test_with_nothing_swapped_the_rate_is_near_nothing_and_hardly_any_is_listed():
    for seed in range(4):
        finding = World(0, seed=seed).check()
        assert finding.verdict is not Verdict.PRESENT
        assert finding.estimate.low == 0
        assert finding.estimate.value < 0.01
        assert len(finding.images) <= 4


def test_classes_that_lie_over_one_another_are_hard_and_not_wrong():
    # Half of the answers are wrong, and not one label.
    finding = World(0, apart=1.0, n=600, seed=3).check()
    assert finding.agreement.value < 0.75
    assert finding.confident > 60  # confident learning alone takes hard pictures for wrong labels
    assert finding.estimate.low == 0
    assert finding.verdict is not Verdict.PRESENT


def test_a_rate_is_present_only_if_all_of_its_interval_is_material(swapped):
    world, found = swapped
    strict = world.check(material=(found.estimate.low + found.estimate.value) / 2)
    assert strict.estimate == found.estimate
    assert strict.verdict is Verdict.INCONCLUSIVE
    assert strict.detectable > found.points
    assert "may be wrong" in strict.summary
    assert world.check(material=found.estimate.low / 2).verdict is Verdict.PRESENT


def test_where_nobody_knows_who_is_on_a_picture_that_is_said(swapped):
    world, found = swapped
    told = world.check(people=False)
    assert "Who is on a picture is not known" in told.summary
    assert "Who is on a picture" not in found.summary
    assert told.estimate == found.estimate


def test_where_pictures_say_nothing_of_the_labels_nothing_is_told():
    finding = World(0.05, apart=0.0, n=300, seed=3).check()
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.estimate.low == 0
    assert finding.estimate.high > 0.2
    assert finding.detectable > 5


def test_what_is_not_seen_of_swapped_labels_is_in_the_upper_limit_and_never_absent(monkeypatch):
    world = World(0, seed=3)
    sure = world.check(material=0.03)
    assert sure.verdict is Verdict.ABSENT
    assert sure.seen == pytest.approx(SWAPPED, abs=0.015)
    monkeypatch.setattr(module, "_seen", lambda *_: 0.01)
    finding = world.check(material=0.03)
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "1.0% was seen" in finding.missed
    allowed = max(0.0, SWAPPED - sure.seen)
    assert finding.estimate.high == pytest.approx(sure.estimate.high - allowed + SWAPPED - 0.01)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.0, 0.03, 0.1])
def test_the_interval_holds_the_planted_rate(rate):
    held = []
    for seed in range(12):
        world = World(rate, n=300, apart=3.0, seed=100 + seed)
        panel = Panel(world.vectors, world.y, world.related, n_classes=3, seed=0)
        made = estimate_noise(panel.head, world.y, world.related, seed=0, draws=200).rate
        held.append(made.low <= rate <= made.high)
    assert sum(held) >= 10


def test_a_rare_class_is_not_taken_for_a_mistake():
    world = World(0.04, shares=(0.93, 0.04, 0.03), n=800, seed=5)
    finding = world.check()
    assert finding.estimate.low <= 0.04 <= finding.estimate.high
    own = Counter(world.items.labels[int(one.id)] for one in finding.images)
    rare = [row for row in range(800) if world.truth[row] and str(row) not in world.swapped]
    accused = {int(one.id) for one in finding.images} & set(rare)
    assert len(accused) <= 0.2 * len(rare)
    assert own


def test_no_head_and_no_neighbour_has_seen_a_relative():
    world = World(0.1, n=400, family=4, seed=2)
    panel = Panel(world.vectors, world.y, world.related, n_classes=3, seed=0)
    for family in np.unique(world.related):
        assert len(set(panel.folds[world.related == family])) == 1
    voters = panel.voters()
    assert (voters.rows >= 0).all()
    assert not (world.related[voters.rows] == world.related[:, None]).any()


def test_relatives_with_the_same_wrong_label_do_not_hide_one_another():
    world = World(0.1, n=400, family=4, shared=True, seed=2)
    near = world.vectors[world.related * 4]  # all but copies of the first of the family
    world.vectors = unit_rows(near + 1e-3 * np.random.default_rng(0).normal(size=near.shape))
    listed = {one.id for one in world.check().images}
    assert len(listed & world.swapped) >= 0.8 * len(world.swapped)


def test_groups_of_the_data_set_are_kept_together_too():
    world = World(0.1, n=400, seed=2)
    world.name(world.items.labels, groups=[str(row // 5) for row in range(400)])
    rows = world.check().case.voters.rows
    assert not (rows // 5 == np.arange(400)[:, None] // 5).any()


def test_the_same_seed_gives_the_same_json(swapped):
    world, finding = swapped
    assert json.dumps(world.check().to_dict()) == json.dumps(finding.to_dict())


def test_without_ground_truth_nothing_is_called_wrong(swapped):
    world, _ = swapped
    finding = world.check(ground_truth=False)
    text = json.dumps([finding.summary, [one.to_dict() for one in finding.images]]).lower()
    assert "none is called wrong" in text
    assert "wrong" not in text.replace("none is called wrong", "")
    assert "error" not in text
    assert "mistake" not in text
    assert finding.ceiling is None
    assert finding.seen is None
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert 0.85 < finding.agreement.value < 0.95
    # What neither shares is what is listed.
    assert round(finding.estimate.value * 400) == len(finding.images) > 30


def pair(world, a, b, kind="exact"):
    labels = world.items.labels
    return Pair(str(a), str(b), kind, 1.0, ("train", "train"), (labels[a], labels[b]))


def test_copies_with_different_labels_come_first_and_are_certain(swapped):
    world, _ = swapped
    world = World(0, seed=7)
    names = list(world.items.labels)
    a, b = next(
        (a, b) for a in range(400) for b in range(400) if names[a] == "a" and names[b] == "b"
    )
    world.vectors[b] = world.vectors[a]  # the same photograph, an "a", filed as "b"
    world.related = world.related.copy()
    world.related[b] = a
    world.twins = SimpleNamespace(pairs=(pair(world, a, b),), near=world.related, missed="")
    finding = world.check()
    assert finding.verdict is Verdict.PRESENT
    assert finding.certain == 1
    assert finding.estimate.low >= 1 / 400
    first, second = finding.images[:2]
    assert (first.id, first.suggested, first.by, first.other) == (str(b), "a", ("copy",), str(a))
    assert second.id == str(a)
    assert "one of the two labels is wrong" in first.reason
    told = world.check(ground_truth=False)
    assert told.verdict is Verdict.PRESENT
    assert "wrong" not in told.images[0].reason


def test_the_least_number_of_wrong_labels_spares_the_commonest_of_each_cluster():
    world = World(0, seed=7)
    names = ["a", "a", "b", "b", "c", None, "a"]
    world.name(names + world.items.labels[7:])
    near = np.array([0, 0, 0, 3, 3, 3, 6])
    pairs = [pair(world, 0, 2), pair(world, 3, 4)]
    assert least_wrong(pairs, near, names) == 2
    assert least_wrong([pair(world, 0, 1)], np.array([0, 0]), names[:2]) == 0


def test_an_accuracy_above_the_noise_ceiling_is_said_to_have_learned_wrong_labels():
    top = Estimate(0.9, 0.87, 0.93, 200)

    def told(value, low, high):
        return Ceiling("test", top, (("it", Estimate(value, low, high, 200)),))

    sure, chance, below = told(0.99, 0.97, 1), told(0.92, 0.88, 0.95), told(0.85, 0.8, 0.9)
    assert [one.to_dict()["reported"][0]["above"] for one in (sure, chance, below)] == [
        True,
        None,
        False,
    ]
    assert "train and test share" in sure.sentence()
    assert "chance" in chance.sentence()
    assert "not above" in below.sentence()
    assert Ceiling("test", top, ()).sentence().endswith("on test.")


def test_copies_that_share_wrong_labels_lift_an_accuracy_above_the_ceiling():
    # Each photograph is in train and in test, with the same label, wrong or not.
    world = World(0.2, n=600, family=2, shared=True, apart=6.0, seed=4)
    world.vectors = world.vectors[world.related * 2]
    world.items.splits = ["train", "test"] * 300
    by_heart = Estimate(1.0, 0.987, 1.0, 300)
    ceiling = world.check(reported=[("a head that looks up", by_heart)]).ceiling
    assert ceiling.accuracy.low <= 0.8 <= ceiling.accuracy.high
    assert ceiling.above(by_heart)


def test_what_cannot_be_judged_says_why():
    world = World(0)
    world.name([None] * 400)
    assert "no image has a label" in world.check()
    world.name(["a"] * 400)
    assert "one class only ('a')" in world.check()
    world.name(["a"] * 396 + ["b"] * 4)
    assert "fewer than two classes" in world.check()
    world.name(["a", "b"] * 20 + [None] * 360)
    assert "n = 40" in world.check()
    # A class of one person is a class of one cluster, however many images it has.
    world.name(["a"] * 200 + ["b"] * 200)
    world.related = np.arange(400) // 200
    assert "fewer than two classes" in world.check()


def test_a_class_of_too_few_images_is_left_out_and_named():
    world = World(0)
    world.name([*world.items.labels[:397], "rare", "rare", None])
    finding = world.check()
    assert finding.left_out == ("rare",)
    assert "'rare'" in finding.summary
    assert finding.estimate.n == 397


def test_cleanlab_works_in_this_process(swapped, monkeypatch):
    """It would start others by itself, each of which reads this package anew."""
    import multiprocessing

    def refuse(*_, **__):
        raise AssertionError("a pool was started")

    monkeypatch.setattr(multiprocessing, "Pool", refuse)
    _, finding = swapped
    case = finding.case
    assert module._confident(case.y, case.head).sum() == finding.confident


# Pictures.


@pytest.fixture(scope="module")
def schema():
    path = Path(__file__).resolve().parents[1] / "docs/audit.schema.json"
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Faces of which one in ten is filed under the other label."""
    folder = tmp_path_factory.mktemp("labels")
    faults = Faults(wrong_labels=0.1)
    truth = make_faces(folder / "faces", people=120, photographs=2, size=96, seed=8, faults=faults)
    return truth, embed(truth.folder, folder / "store", backbone="mtcnn")


def test_the_audit_lists_labels_in_text_json_and_on_the_page(drawn, schema):
    truth, store = drawn
    result = audit(store, checks=["ledger", "labels"])
    finding = result["labels"]
    document = json.loads(json.dumps(result.to_dict()))
    jsonschema.validate(document, schema)
    assert document["settings"]["ground_truth"] is True
    assert f"labels: {finding.summary}" in findings(result)
    ceiling = document["findings"][1]["details"]["ceiling"]
    assert [one["model"] for one in ceiling["reported"]] == [
        "the logistic head",
        "the knn head",
    ]
    assert finding.estimate.low <= len(truth.wrong_labels) / len(truth.kind) + 0.02
    page = render(result)
    assert ("Labels to look at" in page) == bool(finding.images)
    told = audit(store, checks=["labels"], ground_truth=False)
    assert told.settings["ground_truth"] is False
    jsonschema.validate(json.loads(json.dumps(told.to_dict())), schema)
    assert "Labels to look at" in render(told)
    assert told["labels"].images


@pytest.mark.parametrize(
    ("said", "true"),
    [
        ([None, None], True),
        (["yes", "1"], True),
        (["no", "yes"], False),
        ([None, "False"], False),
        ([False, True], False),
        ([0, 1], False),
    ],
)
def test_a_manifest_can_say_that_its_labels_are_opinions(said, true):
    columns = {"id": ["a", "b", "c"], "label": ["x", "y", None], "ground_truth": [*said, None]}
    items = ItemTable(Path("f"), pa.table(columns))
    assert are_true(items, "label") is true
    assert are_true(ItemTable(Path("f"), items.rows.drop(["ground_truth"])), "label")
    # Of an image without a label it says nothing.
    unlabelled = items.with_column("label", [None, None, None])
    assert are_true(unlabelled, "label")


def test_a_copy_with_another_label_is_on_the_page(tmp_path, schema):
    for n in range(60):
        path = tmp_path / f"f/{'ab'[n % 2]}/{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(noise(n), "PNG"))
    (tmp_path / "f/b/copy.png").write_bytes((tmp_path / "f/a/0.png").read_bytes())
    result = audit(embed(tmp_path / "f", tmp_path / "s", backbone="pixels"), checks=["labels"])
    jsonschema.validate(json.loads(json.dumps(result.to_dict())), schema)
    finding = result["labels"]
    assert finding.verdict is Verdict.PRESENT
    assert {one.id for one in finding.images[:2]} == {"a/0.png", "b/copy.png"}
    page = render(result)
    assert "Labels to look at" in page
    assert "of it is labelled" in page


def test_an_unknown_label_column_is_an_error_before_any_work(drawn):
    with pytest.raises(InputError, match="column"):
        audit(drawn[1], checks=["labels"], label="nothing")
