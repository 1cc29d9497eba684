"""On real pictures; skipped where ../shared/data is absent."""

import csv

import numpy as np
import pytest
from helpers import counts

from embedkit.audits import audit
from embedkit.audits.twins import find_twins
from embedkit.heads import evaluate, train
from embedkit.pipeline import embed
from embedkit.readers import read_source

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def stores(data, tmp_path_factory):
    """Embed a data set when a test first asks for it."""
    made = {}

    def store(source, **options):
        key = (source, *options.items())
        if key not in made:
            folder = tmp_path_factory.mktemp("real") / "store"
            made[key] = embed(data / source, folder, backbone="mtcnn", **options)
        return made[key]

    return store


@pytest.mark.parametrize(
    ("source", "n", "classes", "splits"),
    [
        ("fer2013", 3171, 7, {"train": 2100, "valid": 536, "test": 535}),
        ("att_faces", 400, 40, {None: 400}),
        ("anime_faces", 240, 4, {None: 240}),
        ("cifar10_duplicates", 5000, 10, {"train": 4000, "test": 1000}),
        ("lfw_deepfunneled", 1659, 495, {None: 1659}),
    ],
)
def test_real_folders_are_understood(data, source, n, classes, splits):
    items = read_source(data / source)
    assert len(items) == n
    assert len(set(items.labels)) == classes
    assert {split: sum(labels.values()) for split, labels in counts(items).items()} == splits


def test_real_manifests_are_understood(data):
    items = read_source(data / "utkface/labels.csv", label="gender")
    assert len(items) == 2169
    assert set(items.labels) == {"female", "male"}
    assert set(items.attributes) == {"age", "age_group", "race"}
    lfw = read_source(data / "lfw_deepfunneled/labels.csv", label="gender")
    assert len(set(lfw.groups)) == 495


def test_every_real_picture_can_be_read(stores):
    for source in ("fer2013", "att_faces", "anime_faces"):
        assert stores(source).unreadable == ()


# What the first probe of O-Net reached (48 x 48, fourth convolution flattened, three folds); the
# read-out that embedkit takes must do clearly better on one test split of the same pictures.
@pytest.mark.parametrize(
    ("source", "options", "probe"),
    [
        ("utkface/labels.csv", {"label": "gender"}, 0.79),
        ("fer2013", {}, 0.43),
        ("anime_faces", {}, 0.86),
    ],
)
def test_the_logistic_head_does_better_than_the_first_probe(stores, source, options, probe):
    evaluation = evaluate(train(stores(source, **options)))
    assert evaluation.accuracy.value > probe
    assert evaluation.accuracy.low > evaluation.majority.high


def test_an_identity_is_never_on_both_sides_of_a_split_that_embedkit_makes(stores):
    items = stores("lfw_deepfunneled/labels.csv", label="gender").items
    side = {}
    for person, split in zip(items.groups, items.splits, strict=True):
        assert side.setdefault(person, split) == split


def test_copies_that_people_judged_are_found(data, stores):
    """Barz and Denzler's pairs; the full figures, with peers, belong to the calibrated audit."""
    twins = find_twins(stores("cifar10_duplicates"))
    found = {frozenset((pair.a, pair.b)) for pair in twins.pairs}
    rows = csv.DictReader((data / "cifar10_duplicates/duplicates.csv").read_text().splitlines())
    judged = [frozenset((r["test_file"], r["train_file"])) for r in rows if r["kind"] == "near"]
    assert len(judged) == 249
    assert sum(pair in found for pair in judged) / 249 >= 0.95


def test_copies_across_the_split_of_fer2013_carry_accuracy(stores):
    result = audit(stores("fer2013"), checks=["leakage", "ledger"], heads=("knn",))
    assert result["leakage"].estimate.low > 0.05
    (knn,) = result["ledger"].heads
    assert knn.total.low > 0


def test_random_labels_on_real_pictures_score_at_chance(stores):
    """The control: shuffled labels, copies kept together; nothing can be learned."""
    from embedkit.heads import HEADS

    store = stores("anime_faces")
    generator = np.random.default_rng(0)
    vectors = store.space().vectors
    rates = []
    for draw in range(10):
        y = generator.integers(0, 2, len(vectors))
        part = generator.permutation(len(vectors))
        inside, outside = part[:160], part[160:]
        fitted = HEADS["logistic"](vectors[inside], y[inside], inside, n_classes=2, seed=draw)
        rates.append(np.mean(fitted.probabilities(vectors[outside]).argmax(axis=1) == y[outside]))
    assert abs(np.mean(rates) - 0.5) < 0.06  # 800 answers: standard error 0.018


def test_people_in_a_clip_are_found_again_with_their_names(data, tmp_path):
    """Photographs that the head has not seen, four people a frame, in a space of aligned faces."""
    import json
    import shutil

    from clips import write_clip
    from PIL import Image

    from embedkit.heads.faces import look_at_faces
    from embedkit.heads.predict import panel_of
    from embedkit.videos.frames import read_frames

    shutil.copy(data / "models/mobilefacenet_128.onnx", tmp_path / "face.onnx")
    onto = [[30.3, 51.7], [65.5, 51.5], [48.0, 71.7], [33.5, 92.4], [62.7, 92.2]]
    (tmp_path / "face.json").write_text(
        json.dumps({"size": [112, 96], "resize": "squash", "channels": "RGB", "range": 255,
                    "mean": 127.5, "std": 128, "landmarks": onto})
    )  # fmt: skip
    with (data / "lfw_deepfunneled/labels.csv").open() as file:
        photographs = {}
        for row in csv.DictReader(file):
            path = data / "lfw_deepfunneled" / row["file"]
            photographs.setdefault(row["identity"], []).append(path)
    people = sorted(name for name, paths in photographs.items() if len(paths) >= 5)[:4]
    lines = ["path,label,split"]
    lines += [f"{path},{name},train" for name in people for path in photographs[name][:3]]
    (tmp_path / "known.csv").write_text("\n".join(lines))
    options = {"backbone": f"onnx:{tmp_path / 'face.onnx'}", "align": "mtcnn", "precision": "fp32"}
    store = embed(tmp_path / "known.csv", tmp_path / "store", root="/", **options)
    frames = []
    for place in (3, 4):
        sides = [Image.open(photographs[name][place]).convert("RGB") for name in people]
        frames += [np.concatenate([np.asarray(one) for one in sides], axis=1)] * 4
    clip = write_clip(tmp_path / "clip.mp4", frames)
    looks = list(look_at_faces(panel_of([train(store, head="knn")]), read_frames([clip])))
    assert len(looks) == 8
    for look in looks:
        said = {}
        for one in reversed(look.sightings):  # the largest face of each photograph is its person's
            middle = (one.face.box[0] + one.face.box[2]) / 2
            said[int(middle // 250)] = one.answers[0].label
        assert said == dict(enumerate(people))
