import json
import shutil

import numpy as np
import pytest
from helpers import noise, saved
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from embedkit.errors import HeadError, InputError, NotEnoughImagesError, SpaceMismatchError
from embedkit.heads import HEADS, evaluate, load_head, train
from embedkit.heads.classifier import fold_numbers
from embedkit.heads.curve import learning_curve
from embedkit.heads.knn import fit_knn, vote
from embedkit.heads.logistic import fit_logistic
from embedkit.heads.metrics import _calibration_error, score
from embedkit.pipeline import embed
from embedkit.store import Store
from embedkit.synthetic import make_faces
from embedkit.vectors import unit_rows


def blobs(n=120, d=12, k=3, seed=0, spread=1.2):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(k, d))
    y = np.arange(n) % k
    return unit_rows(centres[y] + spread * generator.normal(size=(n, d)) + 2), y.astype(np.int64)


# Logistic regression.


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("d", [12, 300])
def test_logistic_is_scikit_learns_on_standardised_vectors(k, d):
    x, y = blobs(d=d, k=k)
    ours = fit_logistic(x, y, np.arange(len(y)), n_classes=k, seed=0, value=0.01)
    scaler = StandardScaler().fit(x.astype(np.float64))
    theirs = LogisticRegression(C=0.01, max_iter=1000, tol=1e-8)
    theirs.fit(scaler.transform(x), y)
    expected = theirs.predict_proba(scaler.transform(x))
    assert np.abs(ours.probabilities(x) - expected).max() < 2e-3


@pytest.mark.parametrize(("n", "d", "rank"), [(3000, 1500, 3), (8000, 512, 2), (300, 12, 1)])
def test_dimensions_that_repeat_one_another_are_no_obstacle(n, d, rank):
    generator = np.random.default_rng(0)
    few = generator.normal(size=(n, rank))
    x = unit_rows(few @ generator.normal(size=(rank, d)))
    y = (few[:, 0] > 0).astype(np.int64)
    fitted = fit_logistic(x, y, np.arange(n), n_classes=2, seed=0, value=10.0)
    assert np.mean(fitted.probabilities(x).argmax(axis=1) == y) > 0.99


def test_c_is_the_one_with_the_least_loss_of_those_tried():
    x, y = blobs()
    choice = fit_logistic(x, y, np.arange(len(y)), n_classes=3, seed=0).choice
    assert choice.value == min(choice.tried, key=lambda pair: pair[1])[0]
    assert len(choice.tried) >= 3


def test_c_is_chosen_without_looking_across_clusters():
    # Random labels, each image there five times: only look-up can be right.
    generator = np.random.default_rng(0)
    x = np.repeat(unit_rows(generator.normal(size=(40, 30))), 5, axis=0)
    y = np.repeat(generator.integers(0, 2, 40), 5)
    clusters = np.repeat(np.arange(40), 5)
    together = fit_logistic(x, y, clusters, n_classes=2, seed=0).choice
    apart = fit_logistic(x, y, np.arange(200), n_classes=2, seed=0).choice
    assert min(loss for _, loss in together.tried) > 0.6
    assert min(loss for _, loss in apart.tried) < 0.4


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_folds_never_split_a_cluster(data):
    n = data.draw(st.integers(4, 60))
    clusters = np.array(data.draw(st.lists(st.integers(0, 15), min_size=n, max_size=n)))
    y = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    folds = fold_numbers(y, clusters, seed=0)
    for cluster in np.unique(clusters):
        assert len(np.unique(folds[clusters == cluster])) == 1


@pytest.mark.parametrize("fit", [fit_logistic, fit_knn])
def test_a_class_of_one_image_is_handled(fit):
    x, y = blobs(n=21, k=2)
    y[:] = 0
    y[3] = 1
    fitted = fit(x, y, np.arange(21), n_classes=2, seed=0)
    assert fitted.probabilities(x).shape == (21, 2)
    if fit is fit_logistic:
        assert "only one image" in fitted.choice.note


def test_a_class_in_one_fold_only_does_not_stop_the_choice():
    x, y = blobs(n=40, k=2)
    clusters = np.arange(40)
    y[:] = 0
    y[:6] = 1
    clusters[:5] = 0  # five of the six images of class 1 are one cluster
    fitted = fit_logistic(x, y, clusters, n_classes=2, seed=0)
    assert np.isfinite([loss for _, loss in fitted.choice.tried]).all()


# kNN.


@pytest.mark.parametrize("k", [1, 5, 15])
def test_votes_are_scikit_learns_distance_weighted_ones(k):
    x, y = blobs(n=150)
    fitted = fit_knn(x[:100], y[:100], np.arange(100), n_classes=3, seed=0, value=k)
    theirs = KNeighborsClassifier(k, weights="distance", metric="cosine", algorithm="brute")
    theirs.fit(x[:100].astype(np.float64), y[:100])
    share = theirs.predict_proba(x[100:].astype(np.float64))
    prior = np.bincount(y[:100]) / 100
    expected = (k * share + prior) / (k + 1)  # one more neighbour votes the class frequencies
    assert np.abs(fitted.probabilities(x[100:]) - expected).max() < 1e-4


def test_a_copy_in_train_decides_alone():
    x, y = blobs(n=60)
    fitted = fit_knn(x, y, np.arange(60), n_classes=3, seed=0, value=5)
    assert (fitted.probabilities(x).argmax(axis=1) == y).all()


def test_k_is_chosen_by_brute_force_leaving_out_whole_clusters():
    x, y = blobs(n=60, spread=2.0)
    clusters = np.arange(60) // 3
    choice = fit_knn(x, y, clusters, n_classes=3, seed=0).choice
    prior = np.bincount(y) / 60
    similarity = x.astype(np.float64) @ x.astype(np.float64).T
    similarity[clusters[:, None] == clusters] = -np.inf
    for k, accuracy in choice.tried:
        rows = np.argsort(-similarity, axis=1, kind="stable")[:, : int(k)]
        kept = np.take_along_axis(similarity, rows, axis=1)
        rows = np.where(np.isinf(kept), -1, rows)
        answers = vote(rows, np.clip(kept, -1, 1), y, prior).argmax(axis=1)
        assert accuracy == pytest.approx(np.mean(answers == y))
    best = max(accuracy for _, accuracy in choice.tried)
    assert choice.value == max(k for k, accuracy in choice.tried if accuracy == best)


def test_no_class_is_ever_impossible():
    x, y = blobs(n=30)
    for fit in HEADS.values():
        fitted = fit(x, y, np.arange(30), n_classes=3, seed=0)
        probabilities = fitted.probabilities(x)
        assert probabilities.min() > 0
        assert np.allclose(probabilities.sum(axis=1), 1)


# Random labels: nothing can be learned, so nothing may be found.


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_random_labels_score_at_chance(kind):
    generator = np.random.default_rng(0)
    x = unit_rows(generator.normal(size=(600, 40)))
    rates = []
    for draw in range(5):
        y = generator.integers(0, 2, 600)
        fitted = HEADS[kind](x[:400], y[:400], np.arange(400), n_classes=2, seed=draw)
        rates.append(np.mean(fitted.probabilities(x[400:]).argmax(axis=1) == y[400:]))
    assert abs(np.mean(rates) - 0.5) < 0.05  # 1,000 answers: standard error 0.016


# Metrics.


def scored(probabilities, y, labels=("a", "b", "c"), clusters=None):
    n = len(y)
    return score(
        probabilities,
        [labels[k] for k in y],
        labels=labels[: probabilities.shape[1]],
        majority="a",
        clusters=np.arange(n) if clusters is None else clusters,
        ids=[str(i) for i in range(n)],
        split="test",
        seed=0,
    )


@pytest.mark.parametrize("k", [2, 3])
def test_metrics_are_scikit_learns(k):
    generator = np.random.default_rng(k)
    y = generator.integers(0, k, 200)
    raw = generator.random((200, k)) + 0.7 * np.eye(k)[y]
    raw = np.round(raw, 1)  # ties in the scores
    p = raw / raw.sum(axis=1, keepdims=True)
    ours = scored(p, y, labels=("a", "b", "c")[:k])
    answers = p.argmax(axis=1)
    assert ours.accuracy.value == pytest.approx(metrics.accuracy_score(y, answers))
    assert ours.balanced_accuracy.value == pytest.approx(
        metrics.balanced_accuracy_score(y, answers)
    )
    assert ours.macro_f1.value == pytest.approx(metrics.f1_score(y, answers, average="macro"))
    assert ours.log_loss.value == pytest.approx(metrics.log_loss(y, p))
    auc = (
        metrics.roc_auc_score(y, p[:, 1])
        if k == 2
        else metrics.roc_auc_score(y, p, multi_class="ovr", average="macro")
    )
    assert ours.roc_auc.value == pytest.approx(auc)
    assert np.array_equal(ours.confusion, metrics.confusion_matrix(y, answers))
    report = metrics.classification_report(y, answers, output_dict=True)
    for place, one in enumerate(ours.classes):
        theirs = report[str(place)]
        assert one.precision.value == pytest.approx(theirs["precision"])
        assert one.recall.value == pytest.approx(theirs["recall"])
        assert one.f1.value == pytest.approx(theirs["f1-score"])
        assert one.support == theirs["support"]


def test_the_calibration_error_is_the_mean_gap_of_a_calibration_curve():
    generator = np.random.default_rng(3)
    confidence = generator.uniform(0.5, 1, 400)
    p = np.column_stack([1 - confidence, confidence])
    y = (generator.random(400) < confidence**2).astype(int)
    true, predicted = calibration_curve(y, confidence, n_bins=10, strategy="quantile")
    assert scored(p, y, ("a", "b")).calibration_error.value == pytest.approx(
        np.abs(true - predicted).mean(), abs=1e-9
    )


def test_a_calibrated_head_is_seldom_called_miscalibrated():
    generator = np.random.default_rng(4)
    flagged = 0
    for _ in range(100):
        confidence = generator.uniform(0.5, 1, 150)
        y = (generator.random(150) < confidence).astype(int)
        one = scored(np.column_stack([1 - confidence, confidence]), y, ("a", "b"))
        flagged += one.calibration_error.value > one.calibration_error_by_chance
    assert flagged <= 12  # 5 expected; more than 12 has a chance below 0.1%


def test_every_figure_lies_in_its_own_interval():
    generator = np.random.default_rng(5)
    for n in (3, 10, 80):
        y = generator.integers(0, 3, n)
        p = generator.dirichlet(np.ones(3), n)
        ours = scored(p, y)
        every = [ours.accuracy, ours.balanced_accuracy, ours.macro_f1, ours.log_loss, ours.roc_auc]
        every += [ours.calibration_error, ours.majority]
        every += [e for one in ours.classes for e in (one.precision, one.recall, one.f1)]
        for estimate in every:
            assert np.isnan(estimate.value) or estimate.low <= estimate.value <= estimate.high


def test_a_label_that_the_head_does_not_know_is_an_error_of_the_head():
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    ours = scored(p, np.array([0, 1, 2]))
    assert ours.labels == ("a", "b", "c")
    assert ours.accuracy.value == pytest.approx(2 / 3)
    assert ours.confusion[2].tolist() == [1, 0, 0]
    assert np.isfinite(ours.log_loss.value)


def test_images_of_one_cluster_widen_the_interval():
    generator = np.random.default_rng(6)
    y = np.repeat(generator.integers(0, 2, 30), 6)
    wrong = np.repeat(generator.random(30) < 0.3, 6)
    p = np.eye(2)[np.where(wrong, 1 - y, y)] * 0.8 + 0.1
    alone = scored(p, y, ("a", "b"))
    grouped = scored(p, y, ("a", "b"), clusters=np.repeat(np.arange(30), 6))
    assert grouped.n_clusters == 30
    width = [e.high - e.low for e in (alone.accuracy, grouped.accuracy)]
    assert width[1] > 1.8 * width[0]


# Training on stores.


@pytest.mark.parametrize("kind", sorted(HEADS))
@pytest.mark.parametrize("backbone", ["mtcnn", "pixels"])
def test_a_saved_head_gives_the_same_bits(planted_store, tmp_path, kind, backbone):
    head = train(planted_store, head=kind, backbone=backbone)
    loaded = load_head(head.save(tmp_path / "head"))
    space = planted_store.space(backbone)
    rows = np.arange(len(planted_store.items))
    assert np.array_equal(head.probabilities(space, rows), loaded.probabilities(space, rows))
    assert loaded.labels == ("bad", "good")
    assert loaded.metrics == json.loads(json.dumps(head.metrics))
    assert loaded.classifier.choice == head.classifier.choice
    assert loaded.training.ids == head.training.ids
    assert evaluate(loaded).accuracy == evaluate(head).accuracy


def test_metrics_of_the_test_split_are_kept_with_the_head(planted_store):
    head = train(planted_store, backbone="mtcnn")
    assert head.metrics["split"] == "test"
    assert head.metrics["accuracy"]["value"] == pytest.approx(
        evaluate(head).accuracy.value, abs=1e-6
    )


def test_a_head_refuses_vectors_of_another_space(planted_store):
    head = train(planted_store, backbone="mtcnn")
    with pytest.raises(SpaceMismatchError, match="mtcnn.*pixels.*cannot be compared"):
        head.probabilities(planted_store.space("pixels"), [0])


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_damage_to_a_saved_head_is_found(planted_store, tmp_path, kind):
    path = train(planted_store, head=kind, backbone="pixels").save(tmp_path / "head")
    data = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(data)
        # Half of the places in the first kilobytes, where the header is.
        place = generator.integers(3000 if generator.random() < 0.5 else len(data))
        damaged[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(bytes(damaged))
        with pytest.raises(HeadError):
            load_head(path)
    for cut in (0, 7, 8, 100, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(HeadError):
            load_head(path)
    path.write_bytes(data)
    load_head(path)


def test_what_is_no_head_is_said_to_be_none(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        load_head(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(HeadError, match="no head"):
        load_head(tmp_path / "x.safetensors")


def test_a_head_and_its_store_can_be_moved_together(store_copy, tmp_path):
    head = train(Store.open(store_copy), head="knn", backbone="pixels")
    path = head.save(store_copy / "heads" / "one")
    moved = shutil.move(store_copy, tmp_path / "elsewhere")
    loaded = load_head(tmp_path / "elsewhere/heads" / path.name)
    assert loaded.training.opened.path.resolve() == (tmp_path / "elsewhere").resolve()
    assert moved


def test_a_head_whose_store_is_gone_says_what_helps(store_copy, tmp_path):
    store = Store.open(store_copy)
    logistic = train(store, backbone="pixels").save(tmp_path / "logistic")
    knn = train(store, head="knn", backbone="pixels").save(tmp_path / "knn")
    shutil.move(store_copy, tmp_path / "elsewhere")
    with pytest.raises(HeadError, match="--store"):
        load_head(knn)
    with pytest.raises(HeadError, match="-k 0"):
        load_head(logistic).predict(np.zeros((9, 9), np.uint8))
    assert load_head(logistic).predict(np.zeros((9, 9), np.uint8), k=0).neighbours == ()
    assert load_head(knn, store=tmp_path / "elsewhere").kind == "knn"


def test_a_head_notices_that_its_training_images_have_changed(tmp_path):
    truth = make_faces(tmp_path / "faces", people=12, photographs=2, size=48)
    store = embed(truth.folder, tmp_path / "store", backbone="pixels")
    path = train(store, head="knn").save(tmp_path / "head")
    (truth.folder / train(store).training.ids[0]).unlink()
    embed(truth.folder, tmp_path / "store", backbone="pixels")
    with pytest.raises(HeadError, match="train again"):
        load_head(path)


def test_any_column_can_be_the_label(planted, tmp_path):
    store = embed(planted.folder / "faces.csv", tmp_path / "store", backbone="pixels")
    head = train(store, label="glasses")
    assert head.labels == ("no", "yes")
    assert evaluate(head).n == 48


def test_one_class_only_is_one_clear_line(tmp_path):
    truth = make_faces(tmp_path / "faces", people=12, photographs=2, size=48)
    shutil.rmtree(truth.folder / "train/good")
    store = embed(truth.folder, tmp_path / "store", backbone="pixels")
    with pytest.raises(NotEnoughImagesError, match="one class only \\('bad', .* images\\)"):
        train(store)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "forest"}, "known are logistic, knn"),
        ({"label": "mood"}, "known are id, label"),
        ({"split": "training"}, "splits with one: test"),
        ({"backbone": None}, "several spaces"),
    ],
)
def test_a_wrong_request_says_what_there_is(planted_store, options, message):
    with pytest.raises(InputError, match=message):
        train(planted_store, **{"backbone": "pixels"} | options)


def test_the_learning_curve_ends_at_the_heads_own_accuracy(planted_store):
    for kind in HEADS:
        head = train(planted_store, head=kind, backbone="mtcnn")
        curve = learning_curve(head)
        assert [p.n_train for p in curve.points] == sorted(p.n_train for p in curve.points)
        assert curve.points[-1].n_train == len(head.training.ids)
        assert curve.points[-1].accuracy.value == pytest.approx(evaluate(head).accuracy.value)


def test_the_same_seed_gives_the_same_head_file(planted_store, tmp_path):
    for kind in HEADS:
        a, b = (
            train(planted_store, head=kind, backbone="mtcnn").save(tmp_path / name)
            for name in ("a", "b")
        )
        assert a.read_bytes() == b.read_bytes()


def test_a_head_is_not_scored_on_what_it_was_trained_on_under_another_name(tmp_path):
    for n in range(30):
        (tmp_path / "f").mkdir(exist_ok=True)
        (tmp_path / f"f/{n}.png").write_bytes(saved(noise(n), "PNG"))

    def manifest(sides):
        rows = [f"{n}.png,{'ab'[n % 2]},{sides[n % 3 > 0]}" for n in range(30)]
        (tmp_path / "f/m.csv").write_text("file,label,split\n" + "\n".join(rows))
        return embed(tmp_path / "f/m.csv", tmp_path / "s", backbone="pixels")

    head = train(manifest(("train", "test")), head="knn")
    path = head.save(tmp_path / "head")
    manifest(("test", "train"))
    with pytest.raises(HeadError, match="labels or splits"):
        evaluate(load_head(path))


def test_the_calibration_error_does_not_depend_on_the_order_of_ties():
    right = np.arange(200) < 100
    confidence = np.full(200, 0.5)
    shuffled = np.random.default_rng(0).permutation(right)
    one = np.ones((1, 200))
    assert _calibration_error(one, confidence, right) == pytest.approx(0)
    assert _calibration_error(one, confidence, shuffled) == pytest.approx(0)
