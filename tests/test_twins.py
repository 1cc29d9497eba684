"""Near twins: every candidate is met, copies agree on the pixels, look-alikes do not."""

import json

import numpy as np
import pytest
from helpers import saved, scene
from PIL import Image, ImageFilter, ImageOps

from embedkit.audits import Audit, base
from embedkit.audits.base import Verdict
from embedkit.audits.calibration import (
    COPIES,
    FALSE_PAIRS,
    _line,
    _reach,
    calibrate,
    planted_scores,
)
from embedkit.audits.candidates import candidate_pairs, find_candidates
from embedkit.audits.gate import judge
from embedkit.audits.leakage import measure_leakage
from embedkit.audits.ledger import keep_ledger
from embedkit.audits.limits import parse_limits
from embedkit.audits.registration import blank, plane, register
from embedkit.audits.twins import find_twins
from embedkit.images import mirrored_hash
from embedkit.pipeline import embed
from embedkit.reports.page import render
from embedkit.statistics import connected
from embedkit.vectors import unit_rows

SCENES = [scene(seed) for seed in range(20)]


# Candidates.


@pytest.mark.parametrize("rows", [3, 1024])
def test_candidates_are_those_of_brute_force(monkeypatch, rows):
    import embedkit.audits.candidates as module

    monkeypatch.setattr(module, "ROWS", rows)
    monkeypatch.setattr(module, "FEWEST", 1)
    generator = np.random.default_rng(1)
    for _ in range(10):
        n = int(generator.integers(2, 40))
        vectors = unit_rows(generator.normal(size=(n, 6)).astype(np.float32))
        hashes = generator.integers(0, 2**63, n, dtype=np.uint64)
        hashes[generator.integers(0, n, n // 2)] = hashes[0] ^ np.uint64(0b111)
        splits = [str(one) for one in generator.choice(["train", "test"], n)]
        centred = vectors - vectors.mean(axis=0)
        centred /= np.linalg.norm(centred, axis=1, keepdims=True)
        similar = np.round(centred @ centred.T, 5)
        expected = set()
        for a in range(n):
            for b in range(n):
                mirrored = int(mirrored_hash(hashes[[b]])[0])
                bits = min((int(hashes[a]) ^ int(x)).bit_count() for x in (hashes[b], mirrored))
                if a < b and bits <= module.BITS:
                    expected.add((a, b))
            others = sorted((b for b in range(n) if b != a), key=lambda b: (-similar[a, b], b))
            near = others[: module.NEAREST]
            for side in set(splits) if len(set(splits)) > 1 else ():
                near += [b for b in others if splits[b] == side][: module.ACROSS]
            expected |= {(min(a, b), max(a, b)) for b in near}
        found = candidate_pairs(vectors, hashes, splits)
        assert {tuple(pair) for pair in found.tolist()} == expected
        assert found.tolist() == sorted(found.tolist())


def test_a_crowd_of_equal_hashes_is_joined_by_few_pairs(monkeypatch):
    import embedkit.audits.candidates as module

    monkeypatch.setattr(module, "CROWD", 4)
    monkeypatch.setattr(module, "ROWS", 16)
    generator = np.random.default_rng(0)
    vectors = unit_rows(generator.normal(size=(300, 8)).astype(np.float32))
    pairs = candidate_pairs(vectors, np.zeros(300, np.uint64), ["train"] * 300)
    assert len(pairs) < 300 * (4 + 7)
    assert set(connected(300, pairs).tolist()) == {0}


def test_of_many_pictures_hashes_and_alike_vectors_are_complete_and_the_rest_is_measured(
    monkeypatch,
):
    import embedkit.audits.candidates as module

    generator = np.random.default_rng(3)
    n = 1200
    centres = generator.normal(size=(20, 12))
    vectors = centres[generator.integers(20, size=n)] + generator.normal(size=(n, 12))
    vectors[:60] = vectors[100:160] + 0.05 * generator.normal(size=(60, 12))
    vectors = unit_rows(vectors)
    hashes = generator.integers(0, 2**63, n, dtype=np.uint64)
    hashes[200:230] = hashes[300:330] ^ np.uint64(0b1011)
    hashes[400:430] = mirrored_hash(hashes[500:530]) ^ np.uint64(0b1)
    hashes[600:640] = hashes[600]  # a crowd
    splits = [str(one) for one in generator.choice(["train", "test"], n)]
    monkeypatch.setattr(module, "CROWD", 5)
    monkeypatch.setattr(module, "FEWEST", 1)
    whole = find_candidates(vectors, hashes, splits)
    assert whole.nearest is None
    monkeypatch.setattr(module, "ALL_COMPARED", 1000)
    found = find_candidates(vectors, hashes, splits)
    kept, there = ({tuple(pair) for pair in one.pairs.tolist()} for one in (found, whole))
    # All pairs of alike hashes, the same few of the crowd among them.
    bits = module._nearest_hashes(
        np.minimum(
            np.bitwise_count(hashes[:, None] ^ hashes),
            np.bitwise_count(hashes[:, None] ^ mirrored_hash(hashes)),
        )
    )
    assert set(zip(*(side.tolist() for side in bits), strict=True)) <= kept
    centred = vectors - vectors.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    alike = np.argwhere(np.triu(centred @ centred.T >= module.ALIKE_COSINE, 1))
    assert found.alike
    assert {tuple(pair) for pair in alike.tolist()} <= kept
    share = len(kept & there) / len(there)
    assert share > 0.85
    assert abs(found.nearest.value - share) < 0.1
    monkeypatch.setattr(module, "ALIKE_EACH", 0)
    assert not find_candidates(vectors, hashes, splits).alike


def test_a_test_picture_meets_its_copy_in_train_though_other_copies_are_nearer():
    """K = 0 and T = .15 in train, X = .30 in test: a greedy cover drops T and with it the leak."""
    generator = np.random.default_rng(0)
    places = [0.0, 0.15, 0.30]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        far = generator.normal(size=(40, 8)).astype(np.float32)
        near = np.zeros((3, 8), np.float32)
        near[:, 0], near[:, 1] = np.cos(places), np.sin(places)
        vectors = unit_rows(np.concatenate([near[list(order)], far]))
        splits = [("train", "train", "test")[one] for one in order] + ["train"] * 40
        hashes = generator.integers(0, 2**63, 43, dtype=np.uint64)
        pair = sorted((order.index(1), order.index(2)))
        assert pair in candidate_pairs(vectors, hashes, splits).tolist()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_pictures_have_hardly_any_candidates(n):
    vectors = unit_rows(np.eye(4, dtype=np.float32)[:n]) if n else np.empty((0, 4), np.float32)
    assert (
        len(candidate_pairs(vectors, np.arange(n, dtype=np.uint64), [None] * n)) == n * (n - 1) / 2
    )


# Registration.


@pytest.mark.parametrize("change", [kind for kind in COPIES if kind != "caption"])
def test_a_changed_copy_agrees_with_its_original_and_with_nothing_else(change):
    generator = np.random.default_rng(0)
    changed = [
        np.asarray(COPIES[change](Image.fromarray(one), generator).convert("RGB")) for one in SCENES
    ]
    planes = np.stack([plane(one) for one in (*SCENES, *changed)])
    n = len(SCENES)
    own = register(planes, np.stack([np.arange(n), np.arange(n) + n], axis=1))
    other = register(planes, np.stack([np.arange(n), (np.arange(n) + 1) % n + n], axis=1))
    assert np.quantile(own.score, 0.15) > 0.8  # a border of a few pixels is missed now and then
    assert other.score.max() < 0.6
    assert own.mirrored.tolist() == ["mirror" in change] * n


def test_a_registration_does_not_depend_on_the_other_pairs_or_the_order():
    planes = np.stack([plane(one) for one in SCENES])
    pairs = np.array([(a, b) for a in range(8) for b in range(8, 14)])
    every = register(planes, pairs).score
    assert register(planes, pairs[::-1]).score[::-1].tolist() == every.tolist()
    alone = [register(planes, pairs[[place]]).score[0] for place in range(0, len(pairs), 7)]
    assert np.allclose(alone, every[::7], atol=1e-4)
    turned = register(planes, pairs[:, ::-1]).score
    assert np.corrcoef(turned, every)[0, 1] > 0.5


def test_the_number_of_threads_changes_nothing():
    import torch

    planes = np.stack([plane(one) for one in SCENES])
    pairs = np.array([(a, b) for a in range(20) for b in range(a + 1, 20)] * 2)
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(register(planes, pairs).score.tolist())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert made[0] == made[1]


def test_plain_pictures_are_told_from_others():
    flat = np.full((50, 70, 3), 200, np.uint8)
    generator = np.random.default_rng(0)
    grainy = np.clip(flat + generator.normal(0, 4, flat.shape), 0, 255).astype(np.uint8)
    planes = np.stack([plane(one) for one in (flat, grainy, *SCENES)])
    assert blank(planes).tolist() == [True, True] + [False] * len(SCENES)
    assert register(planes, np.array([[0, 1], [0, 2]])).score.tolist() == [0, 0]


# Calibration.


def look_alikes(n, seed=0):
    """Scores of pairs that are no copies, as Fisher's z has them."""
    return np.tanh(np.random.default_rng(seed).normal(0.6, 0.15, n))


def calibrated(scores, seed=0):
    planes = np.stack([plane(one) for one in SCENES])
    return calibrate(scores, planes, np.array([[0, 1]]), SCENES, seed=seed)


def test_among_look_alikes_alone_hardly_a_set_has_a_pair():
    sets = [look_alikes(800, seed) for seed in range(200)]
    hits = sum(bool((one >= _reach(len(one), *_line(one))).any()) for one in sets)
    assert hits <= 30  # 10 expected; the line has its own error


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3])
def test_the_threshold_lies_between_look_alikes_and_copies_however_many_there_are(share):
    generator = np.random.default_rng(1)
    copies = generator.uniform(0.9, 0.98, round(3000 * share))
    found = calibrated(np.concatenate([look_alikes(3000), copies]))
    assert 0.75 < found.threshold < 0.9
    assert found.false_pairs < 0.02 * max(len(copies), 3)
    # Where hashes have to agree too, they do not of crops and borders.
    assert found.found[0] >= (0.6 if found.crowded else 0.85) * found.found[1]
    assert found.decoys[0] == 0


@pytest.mark.parametrize(("middle", "asked"), [(0.4, "never"), (0.6, "low"), (1.2, "always")])
def test_a_second_witness_is_asked_for_as_look_alikes_come_near_to_copies(middle, asked):
    scores = np.tanh(np.random.default_rng(0).normal(middle, 0.15, 3000))
    found = calibrated(scores)
    planted = planted_scores(SCENES, seed=0)
    every = np.concatenate([one for kind, one in planted.items() if kind != "caption"])
    sure = {"never": found.threshold, "low": np.quantile(every, 0.1), "always": np.inf}[asked]
    assert found.sure == pytest.approx(sure)
    assert found.crowded == (asked != "never")
    assert (found.to_dict()["no_witness_from"] is None) == (asked == "always")


def test_where_look_alikes_score_as_copies_do_the_recall_says_so():
    scores = np.tanh(np.random.default_rng(0).normal(1.6, 0.3, 500))
    found = calibrated(scores)
    assert found.threshold > 0.96
    assert found.found[0] < 0.5 * found.found[1]
    assert found.false_pairs <= FALSE_PAIRS


def test_planted_copies_are_the_same_with_the_same_seed():
    one, same, other = (planted_scores(SCENES[:3], seed=seed) for seed in (0, 0, 1))
    assert json.dumps({k: v.tolist() for k, v in one.items()}) == json.dumps(
        {k: v.tolist() for k, v in same.items()}
    )
    assert one["10% cropped"].tolist() != other["10% cropped"].tolist()


# Twins of a store.


def write(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def folder(tmp_path):
    for number, pixels in enumerate(SCENES):
        side = "train" if number % 3 else "test"
        write(
            tmp_path,
            f"{side}/{'ab'[number % 2]}/{number}.png",
            saved(Image.fromarray(pixels), "PNG"),
        )
    return tmp_path


def test_of_a_cluster_one_is_kept_and_the_reason_said(folder, tmp_path_factory):
    large = Image.fromarray(SCENES[4]).resize((200, 200), Image.Resampling.BICUBIC)
    write(folder, "train/a/large.png", saved(large, "PNG"))
    write(folder, "train/a/small.jpg", saved(Image.fromarray(SCENES[4]), "JPEG", quality=40))
    write(folder, "train/b/held.jpg", saved(Image.fromarray(SCENES[3]), "JPEG", quality=60))
    twins = find_twins(embed(folder, tmp_path_factory.mktemp("s") / "s", backbone="mtcnn"))
    kept = {twins.ids[c.keep]: (len(c.rows), c.reason) for c in twins.clusters}
    assert kept == {"train/a/large.png": (3, "the most pixels"), "test/b/3.png": (2, "in test")}
    assert {pair.kind for pair in twins.pairs} == {"near"}
    assert [twins.near[row] == twins.near[twins.clusters[0].keep] for row in twins.clusters[0].rows]


def test_blank_pictures_are_listed_and_near_nothing(folder, tmp_path_factory):
    for number in range(4):
        flat = np.full((90, 90, 3), 250 - number, np.uint8)
        write(folder, f"train/a/flat{number}.png", saved(Image.fromarray(flat), "PNG"))
    twins = find_twins(embed(folder, tmp_path_factory.mktemp("s") / "s", backbone="mtcnn"))
    assert twins.plain == tuple(f"train/a/flat{number}.png" for number in range(4))
    assert twins.pairs == ()


@pytest.mark.parametrize("n", [5, 20])
def test_a_plain_picture_among_few_makes_copies_of_nobody(folder, tmp_path_factory, n):
    for number in range(n, len(SCENES)):
        next(folder.rglob(f"{number}.png")).unlink()
    flat = Image.fromarray(np.full((90, 90, 3), 250, np.uint8))
    write(folder, "train/a/flat.png", saved(flat, "PNG"))
    twins = find_twins(embed(folder, tmp_path_factory.mktemp("s") / "s", backbone="pixels"))
    assert twins.pairs == ()
    found, planted = twins.calibration.found
    assert planted == 8 * n
    assert found >= 0.95 * planted


def test_two_pictures_of_noise_are_no_copies(tmp_path):
    # Nothing tells how alike pictures of such a set are, and a copy agrees as little as strangers.
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
        image = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1))
        write(tmp_path, f"in/train/a/{number}.png", saved(image, "PNG"))
    assert find_twins(embed(tmp_path / "in", tmp_path / "s", backbone="pixels")).pairs == ()


def test_a_picture_that_has_changed_is_not_looked_at(folder, tmp_path_factory):
    write(folder, "train/a/copy.jpg", saved(ImageOps.mirror(Image.fromarray(SCENES[0])), "JPEG"))
    store = embed(folder, tmp_path_factory.mktemp("s") / "s", backbone="pixels")
    write(folder, "train/a/copy.jpg", saved(Image.fromarray(SCENES[5]), "JPEG"))
    twins = find_twins(store)
    assert twins.pairs == ()
    assert twins.unseen == 1


def test_copies_that_could_not_be_looked_for_are_not_absent(folder, tmp_path_factory, monkeypatch):
    store = embed(folder, tmp_path_factory.mktemp("s") / "s", backbone="pixels")
    # As if there were 300 pictures, and not 20.
    monkeypatch.setitem(base.share_verdict.__kwdefaults__, "material", 0.5)

    def judged():
        twins = find_twins(store)
        ledger = keep_ledger(store, twins, None, split="test", heads=("knn",), material=0.9)
        leakage = measure_leakage(store, twins, None, split="test", seed=0)
        return twins, leakage, ledger

    assert [one.verdict for one in judged()] == [Verdict.ABSENT] * 3
    for path in folder.rglob("*.*"):
        path.unlink()
    found = judged()
    assert [one.verdict for one in found] == [Verdict.INCONCLUSIVE] * 3
    assert found[2].heads[0].verdict is Verdict.INCONCLUSIVE
    settings = {"backbone": "pixels", "seed": 0, "label": "label", "material": 90.0}
    result = Audit(store, found, settings)
    for name in ("twins", "leakage", "ledger"):
        limits = parse_limits([f"{name}=0.5"])
        assert "not where they were" in judge(result, limits).judged[0].sentence
        assert judge(result, limits).exit_code == 1
        assert judge(result, limits, allow_not_run=True).exit_code == 0
    text = render(result)
    assert "Copies in train may have been missed." in text
    assert "No test image has copies in train" not in text
    assert all("20 of 20 pictures are not where they were" in one.summary for one in found)
    assert "near_twins" in found[2].heads[0].to_dict()["honest_does_not_cover"]


def test_a_near_pair_across_splits_is_seen_behind_an_exact_copy(folder, tmp_path_factory):
    """The copy in train, of another label too, comes second: a near copy lies in test."""
    picture = Image.fromarray(SCENES[0])
    write(folder, "train/z/same.png", saved(picture, "PNG"))
    write(folder, "test/z/close.jpg", saved(picture, "JPEG", quality=50))
    twins = find_twins(embed(folder, tmp_path_factory.mktemp("s") / "s", backbone="mtcnn"))
    near = {(pair.a, pair.b) for pair in twins.pairs if pair.kind == "near"}
    assert near == {("test/a/0.png", "test/z/close.jpg"), ("test/z/close.jpg", "train/z/same.png")}
    assert len(twins.clusters) == 1


def test_of_exact_copies_that_are_gone_every_one_counts(folder, tmp_path_factory):
    write(folder, "train/a/same.png", saved(Image.fromarray(SCENES[0]), "PNG"))
    store = embed(folder, tmp_path_factory.mktemp("s") / "s", backbone="pixels")
    for path in folder.rglob("*.*"):
        path.unlink()
    assert find_twins(store).unseen == len(SCENES) + 1


def test_columns_are_read_a_few_times_however_many_copies_there_are(tmp_path, monkeypatch):
    for number in range(40):
        write(tmp_path, f"in/train/a/{number}.png", saved(Image.fromarray(SCENES[0]), "PNG"))
    store = embed(tmp_path / "in", tmp_path / "s", backbone="pixels")
    made, read = type(store.items).column, []
    monkeypatch.setattr(
        type(store.items), "column", lambda self, name: read.append(name) or made(self, name)
    )
    twins = find_twins(store)
    assert (len(twins.clusters), len(twins.pairs)) == (1, 39)
    assert len(read) < 20


def test_pictures_that_are_gone_are_not_a_pass(folder, tmp_path_factory):
    write(folder, "train/a/copy.jpg", saved(ImageOps.mirror(Image.fromarray(SCENES[0])), "JPEG"))
    store = embed(folder, tmp_path_factory.mktemp("s") / "s", backbone="mtcnn")
    assert len(find_twins(store).pairs) == 1
    for path in folder.rglob("*.*"):
        path.unlink()
    twins = find_twins(store)
    assert twins.verdict is Verdict.INCONCLUSIVE
    assert twins.unseen == len(SCENES) + 1
    assert "not where they were" in twins.summary
    assert twins.calibration is None


def test_conflicting_labels_of_copies_are_counted(folder, tmp_path_factory):
    write(
        folder, "train/b/x.jpg", saved(Image.fromarray(SCENES[4]), "JPEG", quality=70)
    )  # 4 lies in train/a
    twins = find_twins(embed(folder, tmp_path_factory.mktemp("s") / "s", backbone="mtcnn"))
    (pair,) = twins.pairs
    assert pair.conflicting
    assert twins.details()["pairs_with_conflicting_labels"] == 1
