"""The ledger's lines beside their controls: what is planted is found, and nothing else."""

from types import SimpleNamespace

import numpy as np
import pytest

from embedkit.audits import audit
from embedkit.audits.base import Verdict
from embedkit.audits.fits import Answer
from embedkit.audits.ledger import keep_ledger
from embedkit.audits.refits import CONTROLS, Bench
from embedkit.audits.siblings import find_siblings
from embedkit.errors import PipelineLeakError
from embedkit.heads.fitting import HEADS
from embedkit.pipeline import embed
from embedkit.statistics import benjamini_hochberg, clusters_of, holm, upper_limit
from embedkit.vectors import unit_rows

DIMENSION = 24


class Items:
    """Just enough of an item table."""

    def __init__(self, labels, splits, groups, photographs):
        self.labels, self.splits, self.groups = labels, splits, groups
        self.ids = [str(row) for row in range(len(labels))]
        self._columns = {"label": labels, "pixel_sha256": [str(one) for one in photographs]}

    def column(self, name):
        return self._columns[name]

    def label_column(self, name):
        return self._columns[name]

    attributes = ()


class World:
    """A data set of vectors with planted relations: nothing else ties train to test.

    Each person has a place of their own in space and one label that their place says nothing of
    but for `signal`; each photograph lies near its person; copies are all but equal.
    """

    def __init__(self, *, people, siblings, copies, signal, seed):
        generator = np.random.default_rng(seed)
        rows = []
        for person in range(people):
            side = "test" if person % 3 == 0 else "train"
            centre = generator.normal(size=DIMENSION)
            label = int(generator.integers(2))
            centre[0] += signal * (2 * label - 1)
            sides = [side, side]
            if side == "test" and generator.random() < siblings:
                sides.append("train")
            for number, where in enumerate(sides):
                vector = centre + 0.35 * generator.normal(size=DIMENSION)
                photograph = f"{person}-{number}"
                rows.append((vector, label, where, f"p{person}", photograph))
                if where == "test" and generator.random() < copies:
                    near = vector + 1e-3 * generator.normal(size=DIMENSION)
                    rows.append((near, label, "train", f"p{person}", photograph))
        vectors, labels, splits, groups, photographs = zip(*rows, strict=True)
        self.vectors = unit_rows(np.stack(vectors))
        self.items = Items(["ab"[one] for one in labels], list(splits), list(groups), photographs)
        self.path, self.spaces = "world", {}
        self.exact = clusters_of(photographs)
        self.twins = SimpleNamespace(exact=self.exact, near=self.exact, calibration=True, missed="")

    def space(self, _):
        return SimpleNamespace(vectors=self.vectors)

    def ledger(self, *, people=True, **options):
        siblings = find_siblings(self, self.twins, split="test", seed=0) if people else None
        return keep_ledger(self, self.twins, siblings, split="test", **options)


def of(ledger, kind):
    return next(head for head in ledger.heads if head.head == kind)


def test_memory_is_split_among_copies_and_people():
    # No signal: whatever is above chance is memory of copies or of people.
    ledger = World(people=300, siblings=0.5, copies=0.3, signal=0, seed=1).ledger()
    for kind in ("logistic", "knn"):
        head = of(ledger, kind)
        assert [line.cause for line in head.lines] == ["exact_twins", "near_twins", "siblings"]
        assert head.honest.low <= 0.5 <= head.honest.high
        assert sum(line.effect.value for line in head.lines) == pytest.approx(head.total.value)
        assert sum(line.shapley for line in head.lines) == pytest.approx(head.total.value)
    knn = of(ledger, "knn")
    assert knn.verdict is Verdict.PRESENT
    # Half the people and three in ten pictures: either alone is worth less than both together.
    assert knn.lines[0].effect.low > 0
    assert knn.lines[2].effect.low > 0
    assert knn.lines[1].effect.value == 0  # there are no near twins that are not exact
    assert knn.look_up.value > knn.look_up_control


def test_without_relatives_every_line_is_nothing():
    ledger = World(people=200, siblings=0, copies=0, signal=0.8, seed=2).ledger()
    for head in ledger.heads:
        assert head.total.value == 0
        assert head.honest == head.reported
        assert head.verdict is Verdict.ABSENT
        assert head.removed == 0


def test_images_that_teach_the_task_are_no_leak():
    """The price of fewer images must not be counted as memory: that is what the control is for."""
    effects, plain = [], []
    for seed in range(6):
        # A task that is learned from places, people that are as wide as the world: knowing a
        # person says nothing more than knowing the task.
        world = World(people=150, siblings=1.0, copies=0, signal=1.2, seed=seed)
        generator = np.random.default_rng(100 + seed)
        labels = np.array([label == "b" for label in world.items.labels])
        free = generator.normal(size=world.vectors.shape)
        free[:, 0] += 1.2 * (2 * labels - 1)
        world.vectors = unit_rows(free)
        head = of(world.ledger(heads=("logistic",)), "logistic")
        effects.append(head.total.value)
        plain.append(head.reported.value - head.lines[-1].accuracy.value)
        assert head.verdict is not Verdict.PRESENT
    assert abs(np.mean(effects)) < 0.03
    assert np.mean(plain) >= np.mean(effects) - 0.005


def test_a_control_removes_as_many_of_each_class_and_touches_no_relative():
    world = World(people=90, siblings=0.4, copies=0.2, signal=0.5, seed=3)
    bench = Bench(world, "knn", [world.exact], split="test", label="label", backbone=None, seed=0)
    removed = bench.related(world.exact)
    identity = clusters_of(world.items.groups, world.exact)
    clean = ~bench.related(identity)
    seen = []

    def ask(questions):
        seen.extend(one.rows for one in questions)
        return [Answer(np.zeros(len(one.asked), np.int64), 7.0) for one in questions]

    bench.ask = ask
    assert None not in bench.controls([removed], clean)
    assert len(seen) == CONTROLS
    y = bench.y[bench.train]
    for rows in seen:
        gone = ~np.isin(bench.train, rows)
        assert not (gone & ~clean).any()
        assert np.array_equal(np.bincount(y[gone]), np.bincount(y[removed]))
    assert len({rows.tobytes() for rows in seen}) == CONTROLS


def test_where_too_few_are_unrelated_the_control_is_of_all_and_says_so():
    world = World(people=60, siblings=1.0, copies=1.0, signal=0, seed=4)
    # All of train but four images is related to test.
    spare = [row for row, side in enumerate(world.items.splits) if side == "train"]
    related = np.isin(world.exact, world.exact[[s == "test" for s in world.items.splits]])
    keep = [row for row in spare if not related[row]][4:]
    mask = np.ones(len(world.exact), bool)
    mask[keep] = False
    for name in ("labels", "splits", "groups"):
        values = getattr(world.items, name)
        setattr(world.items, name, [v for v, m in zip(values, mask, strict=True) if m])
    world.items.ids = [str(row) for row in range(mask.sum())]
    photographs = [p for p, m in zip(world.items.column("pixel_sha256"), mask, strict=True) if m]
    world.items._columns = {"label": world.items.labels, "pixel_sha256": photographs}
    world.vectors = world.vectors[mask]
    world.exact = clusters_of(photographs)
    world.twins = SimpleNamespace(exact=world.exact, near=world.exact, calibration=True, missed="")
    head = of(world.ledger(people=False, heads=("knn",)), "knn")
    assert head.lines[0].mixed
    assert head.lines[0].control.value > head.lines[0].accuracy.value
    summary = world.ledger(people=False, heads=("knn",)).summary
    assert "related ones are among them, for too few others are left" in summary


def test_controls_of_few_images_choose_their_own_hyper_parameter(monkeypatch):
    asked = []

    def ask(self, questions):
        asked.extend(one.value for one in questions)
        return [Answer(np.zeros(len(one.asked), np.int64), 7.0) for one in questions]

    monkeypatch.setattr(Bench, "ask", ask)
    for people, shared in ((60, False), (400, True)):
        world = World(people=people, siblings=0, copies=0.2, signal=1, seed=3)
        bench = Bench(
            world, "knn", [world.exact], split="test", label="label", backbone=None, seed=0
        )
        removed = bench.related(world.exact)
        asked.clear()
        bench.controls([removed], ~removed)
        assert asked == [None, *([7.0] * 9 if shared else [None] * 9)]


def test_random_labels_show_what_looking_up_is_worth():
    leaking = of(World(people=240, siblings=0, copies=0.8, signal=0, seed=5).ledger(), "knn")
    assert leaking.floor.accuracy.value > leaking.floor.chance + 0.1
    clean = of(World(people=240, siblings=0, copies=0, signal=1, seed=5).ledger(), "knn")
    accuracy, chance = clean.floor.novel
    assert accuracy.low < chance + 0.05


def test_a_pipeline_that_lets_train_see_test_is_stopped(monkeypatch):
    """Clusters that are missed look like a leak of the pipeline, and must not pass in silence."""
    world = World(people=240, siblings=0, copies=1.0, signal=0, seed=6)
    own = np.arange(len(world.vectors))

    real = Bench.ask

    def cheating(self, questions):
        return [
            real(self, [one])[0] if one.y is None else Answer(one.y[one.asked], None)
            for one in questions
        ]

    monkeypatch.setattr(Bench, "ask", cheating)
    world.items.groups = [None] * len(own)
    world.twins = SimpleNamespace(exact=own, near=own, calibration=True, missed="")
    world.items._columns["pixel_sha256"] = [str(row) for row in own]
    with pytest.raises(PipelineLeakError, match="random labels .* no relative in train"):
        world.ledger(people=False, heads=("knn",))


def test_novelty_says_how_single_new_images_do():
    head = of(World(people=300, siblings=0.6, copies=0.3, signal=0.4, seed=7).ledger(), "knn")
    bins = head.novelty.bins
    assert [low for low, _, _ in bins] == sorted(low for low, _, _ in bins)
    assert sum(accuracy.n for _, _, accuracy in bins) == head.reported.n
    assert bins[-1][2].value > bins[0][2].value
    assert head.novelty.novel.n > 0
    assert head.novelty.novel.value < head.reported.value


@pytest.mark.parametrize("kind", list(HEADS))
def test_the_same_seed_gives_the_same_ledger(kind):
    made = [
        World(people=60, siblings=0.5, copies=0.3, signal=0.3, seed=8).ledger(heads=(kind,))
        for _ in range(2)
    ]
    assert made[0].to_dict() == made[1].to_dict()


def test_people_are_found_by_the_group_column(clean, tmp_path):
    import csv

    # The drawn set keeps people apart; two of them are put on both sides here.
    rows = []
    for place, (id_, kind) in enumerate(sorted(clean.kind.items())):
        person = clean.person[id_]
        rows.append((id_, kind, "test" if place % 4 == 0 else "train", person))
    with (clean.folder.parent / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split", "person"])
        writer.writerows([(f"faces/{a}", b, c, d) for a, b, c, d in rows])
    store = embed(
        clean.folder.parent / "labels.csv", tmp_path / "s", backbone="pixels", group="person"
    )
    result = audit(store)
    siblings = result["siblings"]
    train = {person for _, _, side, person in rows if side == "train"}
    expected = sum(side == "test" and person in train for _, _, side, person in rows)
    assert siblings.images == expected
    assert siblings.verdict is Verdict.PRESENT
    assert result["leakage"].estimate.value == pytest.approx(siblings.estimate.value)
    lines = result["ledger"].heads[0].lines
    assert [line.cause for line in lines] == ["exact_twins", "near_twins", "siblings"]
    assert "siblings" not in result["ledger"].heads[0].to_dict()["honest_does_not_cover"]


def test_without_a_group_column_siblings_did_not_run(planted_store):
    finding = audit(planted_store, backbone="pixels", checks=["siblings"])["siblings"]
    assert finding.verdict is Verdict.NOT_RUN
    assert "--group COLUMN" in finding.not_run_reason


def test_heads_are_judged_together_and_lines_among_themselves():
    ledger = World(people=200, siblings=0.5, copies=0.3, signal=0, seed=9).ledger()
    p = [head.p for head in ledger.heads]
    assert [head.adjusted for head in ledger.heads] == holm(p)
    for head in ledger.heads:
        lines = [line.p for line in head.lines]
        assert np.isnan(lines[1])  # no near twin that is not an exact one: no test
        assert [line.adjusted for line in head.lines] == pytest.approx(
            benjamini_hochberg(lines), nan_ok=True
        )


def test_a_head_that_cannot_tell_says_what_it_could_have_found():
    said = 0
    for seed in range(4):
        ledger = World(people=60, siblings=0.3, copies=0, signal=0.5, seed=seed).ledger()
        for head in ledger.heads:
            half = (head.total.high - head.total.low) / 2
            assert head.detectable == pytest.approx(max(1, 100 * half * 2.8016 / 1.95996), rel=1e-4)
            told = f"would find {head.detectable:.1f} points" in ledger.summary
            assert told == (head.verdict is Verdict.INCONCLUSIVE)
            said += told
    assert said
    free = World(people=60, siblings=0, copies=0, signal=0.5, seed=1).ledger()
    assert free.detectable is None


def test_what_is_worth_a_headline_can_be_set():
    world = World(people=300, siblings=0.5, copies=0.3, signal=0, seed=1)
    usual = of(world.ledger(heads=("knn",)), "knn")
    strict = of(world.ledger(heads=("knn",), material=0.9), "knn")
    assert (usual.total, usual.verdict) == (strict.total, Verdict.PRESENT)
    assert strict.verdict is Verdict.ABSENT
    assert strict.detectable == 90


def test_relatives_that_change_no_answer_are_still_not_known_to_be_worth_nothing():
    world = World(people=90, siblings=1.0, copies=0, signal=0, seed=3)
    labels = np.array([label == "b" for label in world.items.labels])
    free = np.random.default_rng(0).normal(size=world.vectors.shape)
    free[:, 0] += 60 * (2 * labels - 1)  # every answer is right, with relatives and without
    world.vectors = unit_rows(free)
    head = of(world.ledger(heads=("logistic",)), "logistic")
    assert head.removed > 0
    assert (head.total.value, head.p) == (0, 1)
    assert head.total.high == pytest.approx(upper_limit(30))
    assert head.detectable > 1
