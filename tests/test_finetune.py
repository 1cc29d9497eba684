"""Networks trained on the pictures: what they learn, when they stop, what is frozen, what leaks."""

import csv
import json
import os
import signal

import numpy as np
import pytest
import torch
from embedkit_cli import main
from helpers import saved, scene, tree
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import network, save_weights
from PIL import Image
from safetensors.torch import load_file

from embedkit.audits import audit
from embedkit.errors import BackboneError, InputError, NotEnoughImagesError
from embedkit.finetuning import finetune, training
from embedkit.finetuning import run as finetuning_run
from embedkit.finetuning.alterations import alter
from embedkit.finetuning.division import VALID, cut_off, divide
from embedkit.finetuning.inputs import BATCH, Inputs, batches
from embedkit.finetuning.leaks import as_many_others
from embedkit.finetuning.networks import divided, last_block, published, small
from embedkit.finetuning.pictures import read_pictures
from embedkit.finetuning.training import answer, settled, train_network
from embedkit.heads.training import clusters_in
from embedkit.pipeline import embed
from embedkit.reports import finetunings
from embedkit.store import Store
from embedkit.synthetic import make_faces

QUICK = {"size": 24, "epochs": 4, "patience": 4}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Drawn people, with glasses and beards as columns, nobody on two sides."""
    folder = tmp_path_factory.mktemp("finetune")
    truth = make_faces(folder / "faces", people=100, photographs=3, size=40, seed=3)
    return embed(truth.folder / "faces.csv", folder / "store", backbone="pixels")


def written(folder, rows):
    """Write pictures as (name, seed of the scene, label, split) and a manifest of them."""
    folder.mkdir()
    with (folder / "m.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label", "split"])
        for name, seed, label, split in rows:
            data = saved(Image.fromarray(scene(seed, side=40)), "PNG")
            (folder / name).write_bytes(data)
            writer.writerow([name, label, split])
    return folder / "m.csv"


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    """Pictures with dealt labels; half of valid and test are copies of training pictures."""
    folder = tmp_path_factory.mktemp("leaky")
    label = np.random.default_rng(0).permutation(["x", "y"] * 50)
    rows = [(f"train{n}.png", n, label[n], "train") for n in range(60)]
    rows += [(f"valid{n}.png", n, label[n], "valid") for n in range(30)]
    rows += [(f"copy{n}.png", n, label[n], "test") for n in range(20, 60)]
    rows += [(f"novel{n}.png", n, label[n], "test") for n in range(60, 100)]
    return embed(written(folder / "f", rows), folder / "store", backbone="pixels")


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Forty pictures without relatives or a valid split."""
    folder = tmp_path_factory.mktemp("few")
    rows = [(f"{n}.png", n, "xy"[n % 2], ("train", "test")[n % 4 == 3]) for n in range(40)]
    return embed(written(folder / "f", rows), folder / "store", backbone="pixels")


def test_what_can_be_seen_is_learned(faces):
    made = finetune(faces, label="beard", size=24, epochs=15, patience=15)
    assert made.evaluation.accuracy.low > made.evaluation.majority.value
    assert made.evaluation.n == 90


def test_dealt_labels_are_not_learned(faces, tmp_path):
    """Every alarm of a leak from test into train or validation would be here."""
    items = faces.items
    dealt = np.random.default_rng(1).permutation(["x", "y"] * (len(items) // 2))
    with (tmp_path / "m.csv").open("w") as stream:
        stream.write("file,label,split\n")
        for id_, label, split in zip(items.ids, dealt, items.splits, strict=True):
            stream.write(f"{id_},{label},{split}\n")
    store = embed(tmp_path / "m.csv", tmp_path / "store", root=items.root, backbone="pixels")
    made = finetune(store, size=24, epochs=12, patience=12)
    assert made.evaluation.accuracy.low < 0.5 < made.evaluation.accuracy.high


@pytest.fixture(scope="module")
def remembered(leaky):
    return finetune(
        leaky, size=24, epochs=50, patience=50, augment=False, without_leaks=True, backbone="pixels"
    )


def test_an_audit_of_its_answers_sees_what_it_remembers(leaky, remembered, tmp_path):
    finetunings.write(remembered, tmp_path)
    options = {"checks": ["ledger"], "heads": ("knn",)}
    yours = audit(leaky, predictions=tmp_path / "predictions.csv", **options)["ledger"].yours
    strata = dict(yours.strata)
    assert strata["exact_twins"].n == 40
    assert strata["exact_twins"].low > strata["novel"].high
    assert yours.reported.value == remembered.evaluation.accuracy.value


def test_without_relatives_it_loses_what_they_were_worth(remembered):
    leaks = remembered.leaks
    assert leaks.reason == ""
    assert (leaks.without.n_train, leaks.without.n_valid) == (20, 20)
    assert leaks.without.accuracy.low < 0.5 < leaks.without.accuracy.high
    assert leaks.lost.low > 0
    lost = remembered.evaluation.accuracy.value - leaks.without.accuracy.value
    assert leaks.lost.value == pytest.approx(lost)
    worth = leaks.control.accuracy.value - leaks.without.accuracy.value
    assert leaks.worth.value == pytest.approx(worth)
    assert leaks.mixed  # of a class there are not as many others


def test_without_relatives_there_is_nothing_to_train_again(few, tmp_path):
    made = finetune(few, without_leaks=True, **QUICK)
    assert made.leaks.reason == "no image of train is related to one of test"
    assert "not measured: no image" in finetunings.text(made, tmp_path)
    assert finetunings.document(made, [])["leaks"]["lost"] is None


def test_the_same_seed_gives_the_same_files_on_any_number_of_threads(faces, tmp_path):
    for name, seed, threads in (("a", 0, 1), ("b", 0, 3), ("c", 1, 1)):
        made = finetune(faces, seed=seed, threads=threads, **QUICK)
        finetunings.write(made, tmp_path / name)
    first, second, third = (tree(tmp_path / name) for name in "abc")
    assert set(first) == {
        "model.safetensors", "predictions.csv", "history.csv", "curves.png", "finetune.json"
    }  # fmt: skip
    for name in set(first) - {"finetune.json"}:
        assert first[name] == second[name], name
        assert first[name] != third[name], name
    record = json.loads(first["finetune.json"])
    assert record["schema"] == "embedkit.finetune/1"
    assert np.asarray(Image.open(tmp_path / "a/curves.png").convert("L")).std() > 10


def inputs_of(store, trainee, division, *, augment=False):
    pictures = read_pictures(store, division.every, trainee.preprocessing)
    places = np.split(
        np.arange(len(pictures)), np.cumsum([len(division.train), len(division.valid)])
    )
    return Inputs(pictures, trainee, augment=augment), division.y[division.every], places


def test_the_best_epoch_is_kept_and_the_file_holds_it(faces, tmp_path):
    """Against the weights on disk, scored on the validation images anew."""
    made = finetune(faces, label="glasses", size=24, epochs=30, patience=3)
    history = made.history
    losses = [one.valid_loss for one in history.epochs]
    assert history.kept == 1 + int(np.argmin(losses))
    assert history.stopped == "patience"
    assert len(history.epochs) == history.kept + 3
    finetunings.write(made, tmp_path)
    again = small(2, side=24, seed=9)
    again.whole.load_state_dict(load_file(tmp_path / "model.safetensors"))
    inputs, y, (_, valid, test) = inputs_of(faces, again, made.division)
    p = answer(again, inputs, valid)
    loss = -np.log(p[np.arange(len(valid)), y[valid]]).mean()
    assert loss == pytest.approx(min(losses), abs=1e-6)
    with (tmp_path / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    found = answer(again, inputs, test)
    assert [row["id"] for row in rows] == [faces.items.ids[row] for row in made.division.test]
    shown = np.array([[float(row["p_no"]), float(row["p_yes"])] for row in rows])
    assert np.abs(shown - found).max() < 1e-6
    assert [row["prediction"] for row in rows] == [("no", "yes")[one] for one in shown.argmax(1)]


def test_steps_leave_the_validation_and_test_images_alone(faces):
    """Training on other validation and test pictures takes the same steps."""
    division = divide(faces, "label", seed=0)
    ends = []
    for noise in (False, True):
        trainee = small(2, side=24, seed=0)
        inputs, y, (train, valid, _) = inputs_of(faces, trainee, division)
        if noise:
            inputs._pictures[len(train) :] = 255 - inputs._pictures[len(train) :]
            y[len(train) :] = 1 - y[len(train) :]
        told = []
        options = {"epochs": 2, "patience": 9, "steps": 3, "seed": 0, "tell": told.append}
        train_network(trainee, inputs, y, train, valid, **options)
        ends.append([one.train_loss for one in told])
    assert ends[0] == ends[1]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_cut_for_validation_never_splits_a_cluster_and_leaves_every_class(data):
    n = data.draw(st.integers(1, 60))
    clusters = np.array(data.draw(st.lists(st.integers(0, 30), min_size=n, max_size=n)))
    y = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    held = cut_off(y, clusters, seed=data.draw(st.integers(0, 5)))
    assert not set(clusters[held]) & set(clusters[~held])
    assert set(y[~held]) == set(y)
    for label in np.unique(y):
        assert held[y == label].sum() <= round(VALID * np.sum(y == label))


def test_of_single_images_as_many_are_cut_off_as_asked():
    y = np.repeat([0, 1], [200, 40])
    held = cut_off(y, np.arange(240), seed=0)
    assert [int(held[y == label].sum()) for label in (0, 1)] == [30, 6]


def test_train_is_cut_where_the_data_set_has_no_valid_split(tmp_path, faces):
    items = faces.items
    with (tmp_path / "m.csv").open("w") as stream:
        stream.write("file,label,split,person\n")
        for row, id_ in enumerate(items.ids):
            if items.splits[row] != "valid":
                group, label, split = items.groups[row], items.labels[row], items.splits[row]
                stream.write(f"{id_},{label},{split},{group}\n")
    store = embed(tmp_path / "m.csv", tmp_path / "store", root=items.root, backbone="pixels")
    division = divide(store, "label", seed=0)
    assert division.cut
    clusters = clusters_in(store)
    assert not set(clusters[division.train]) & set(clusters[division.valid])
    assert {store.items.splits[row] for row in division.valid} == {"train"}
    assert {store.items.splits[row] for row in division.test} == {"test"}
    assert not divide(faces, "label", seed=0).cut


@given(st.integers(1, 100), st.integers(0, 3))
def test_batches_have_one_size_and_show_every_image_as_often(n, seed):
    order = batches(n, np.random.default_rng(seed))
    shown = [next(order) for _ in range(min(BATCH, n) * 3)]
    assert {len(one) for one in shown} == {min(BATCH, n)}
    times = np.bincount(np.concatenate(shown), minlength=n)
    assert times.max() - times.min() <= 1


@given(st.data())
def test_as_many_others_are_drawn_of_each_class(data):
    n = data.draw(st.integers(1, 40))
    y = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    removed = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    drawn, mixed = as_many_others(y, removed, np.random.default_rng(0))
    for label in range(3):
        assert drawn[y == label].sum() == removed[y == label].sum()
    if not mixed:
        assert not (drawn & removed).any()


def test_alterations_are_mild_and_those_of_the_seed():
    pictures = torch.from_numpy(np.stack([scene(n, side=40) for n in range(8)]))
    made = alter(pictures, np.random.default_rng(0))
    assert made.shape == pictures.shape
    assert torch.equal(made, alter(pictures, np.random.default_rng(0)))
    assert not torch.equal(made, alter(pictures, np.random.default_rng(1)))
    assert made.min() >= 0
    assert made.max() <= 255
    flat = torch.full((4, 20, 20, 3), 100, dtype=torch.uint8)
    even = alter(flat, np.random.default_rng(0))
    assert even.std(dim=(1, 2, 3)).max() < 1e-3  # nothing but the border is filled in
    assert (even.mean(dim=(1, 2, 3)) - 100).abs().max() > 5


def test_a_training_that_goes_astray_says_so(faces, monkeypatch):
    from embedkit.finetuning import training

    monkeypatch.setattr(training, "RATE", 1e30)
    with pytest.raises(BackboneError, match="the training of small went astray: .* epoch 1"):
        finetune(faces, **QUICK)


# Published networks, with random weights in files of the published shapes.


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return lambda name: save_weights(name, folder)


NETWORKS = {
    "torchvision:squeezenet1_1": "features.12",
    "timm:mobilenetv3_small_050": "blocks.4.2",
}


@pytest.mark.parametrize(("name", "block"), NETWORKS.items())
def test_only_the_last_block_is_trained(faces, weights, name, block):
    file = weights(name)
    before = load_file(file)
    made = finetune(faces, network=name, weights=file, size=48, epochs=1, patience=1)
    trainee = made.trainee
    assert trainee.first == block
    assert 0 < trainee.learned < trainee.parameters
    after = trainee.whole.body.state_dict()
    learned = {id(one) for one in trainee.trained.parameters()}
    parameters = dict(trainee.whole.body.named_parameters())
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    assert changed == {key for key, one in parameters.items() if id(one) in learned}
    assert any(key.startswith(f"{block}.") for key in changed)
    assert not any(one.requires_grad for one in trainee.frozen.parameters())


def test_all_of_it_is_trained_where_that_is_asked_for(faces, weights):
    name = "torchvision:squeezenet1_1"
    file = weights(name)
    made = finetune(faces, network=name, weights=file, unfreeze="all", size=32, epochs=1)
    after, before = made.trainee.whole.body.state_dict(), load_file(file)
    assert not any(torch.equal(after[key], before[key]) for key in after)
    assert made.settings["augmented"]


def test_what_is_remembered_of_the_frozen_part_is_what_it_makes(faces, weights):
    name = "torchvision:squeezenet1_1"
    options = {"side": 48, "unfreeze": "last", "weights": str(weights(name)), "seed": 0}
    trainee = published(name, 2, **options)
    division = divide(faces, "label", seed=0)
    inputs, _, (train, _, _) = inputs_of(faces, trainee, division)
    with settled(0):
        fresh = inputs.show(train[5:9], None)
        size = inputs.remembered
        inputs.remember()
    assert torch.allclose(inputs.show(train[5:9], None), fresh, atol=1e-5)
    assert inputs.maps.numel() * inputs.maps.element_size() == size


@pytest.mark.parametrize(
    ("name", "block"),
    [("torchvision:resnet50", "layer4.2"), ("torchvision:inception_v3", "Mixed_7c")],
)
def test_a_network_is_divided_at_its_last_block(name, block):
    from embedkit.backbones.torchvision_models import cut_classifier

    body = network(name)
    cut_classifier(body)
    assert last_block(body) == block
    frozen, rest = divided(body, block, side=96, name=name)
    own = {id(one) for one in body.get_submodule(block).parameters()}
    assert own <= {id(one) for one in rest.parameters()}
    assert not own & {id(one) for one in frozen.parameters()}


def test_a_network_of_plain_layers_has_its_last_layer_trained():
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 5, 3))
    assert last_block(body) == "2"


class Masked(torch.nn.Module):
    """Hands what it is asked for, or is not, on to its blocks; as transformers do."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 4, 3)
        self.blocks = torch.nn.ModuleList([Block(), Block()])

    def forward(self, x, mask=None):
        x = self.stem(x).mean(dim=(2, 3))
        for block in self.blocks:
            x = block(x, mask=mask)
        return x


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 9), torch.nn.Linear(9, 4)

    def forward(self, x, mask=None):
        return x + self.second(self.first(x).relu())


def test_what_a_network_can_be_given_besides_is_left_out():
    body = Masked()
    assert last_block(body) == "blocks.1"
    frozen, rest = divided(body, "blocks.1", side=16, name="masked")
    assert {id(one) for one in rest.parameters()} == {
        id(one) for one in body.blocks[1].parameters()
    }
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(rest(frozen(x)), body(x))


class Odd(torch.nn.Module):
    """Its way depends on the picture."""

    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.Sequential(torch.nn.Linear(3, 3))

    def forward(self, x):
        return self.blocks(x) if x.sum() > 0 else x


def test_a_network_whose_way_depends_on_the_picture_is_not_divided():
    with pytest.raises(InputError, match="cannot be divided at its last block, blocks.0; .*all"):
        divided(Odd(), "blocks.0", side=8, name="odd")


# The way there: what is told, interruptions, files, mistakes.


def test_the_cost_is_told_before_the_first_epoch(faces):
    said = []
    made = finetune(faces, say=said.append, **QUICK)
    assert "in memory" in said[0]
    assert f"{made.trainee.parameters:,} of {made.trainee.parameters:,} numbers" in said[1]
    assert said[2].startswith("An epoch takes up to")
    assert "at most" in said[2]
    assert [line.split(":")[0] for line in said[3:]] == [f"epoch {n} of 4" for n in range(1, 5)]
    assert said[-1].endswith("at most 0 s left")
    assert made.told > 0


@pytest.fixture
def _as_in_the_program():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_as_in_the_program")
def test_an_interruption_keeps_the_best_epoch_so_far(few):
    def say(line):
        if line.startswith("epoch 3"):
            os.kill(os.getpid(), signal.SIGINT)

    options = {"size": 24, "epochs": 50, "patience": 50, "without_leaks": True}
    made = finetune(few, say=say, **options)
    assert made.history.stopped == "interrupted"
    assert len(made.history.epochs) == 3
    assert made.history.kept == 1 + int(np.argmin([e.valid_loss for e in made.history.epochs]))
    assert made.leaks.reason == "the training was interrupted"
    assert "(interrupted)" in finetunings.text(made, few.path)
    alone = finetune(few, size=24, epochs=3, patience=50)
    assert np.array_equal(made.probabilities, alone.probabilities)


@pytest.mark.usefixtures("_as_in_the_program")
def test_an_interruption_before_the_first_epoch_leaves_nothing(faces):
    def say(line):
        if line.startswith("An epoch takes"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        finetune(faces, say=say, **QUICK)


@pytest.mark.usefixtures("_as_in_the_program")
@pytest.mark.parametrize("late", ["fit", "evaluate", "keep"])
def test_an_interruption_after_the_training_waits_until_the_network_is_kept(few, late, monkeypatch):
    made = []

    def interrupted(real):
        def then(*arguments, **options):
            os.kill(os.getpid(), signal.SIGTERM)
            return real(*arguments, **options)

        return then

    keep = interrupted(made.append) if late == "keep" else made.append
    if late != "keep":
        monkeypatch.setattr(finetuning_run, late, interrupted(getattr(finetuning_run, late)))
    with pytest.raises(KeyboardInterrupt):
        finetune(few, size=16, epochs=1, keep=keep)
    assert made[0].history.stopped == "epochs"


@pytest.mark.usefixtures("_as_in_the_program")
def test_an_interruption_while_the_last_epoch_is_judged_keeps_it(few, monkeypatch):
    real = training._scores

    def scores(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr(training, "_scores", scores)
    made = finetune(few, size=16, epochs=1)
    assert (made.history.stopped, len(made.history.epochs)) == ("interrupted", 1)


@pytest.fixture
def run(capsys):
    def call(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


def test_the_command_writes_a_folder_that_the_audit_reads(run, faces, tmp_path):
    options = ("--size", 24, "--epochs", 2, "--label", "beard")
    status, out, err = run("finetune", faces.path, *options, "-o", tmp_path / "f")
    assert status == 0, err
    assert "What freezing costs: small" in out
    assert "always the commonest class" in out
    assert err.index("An epoch takes up to") < err.index("epoch 1 of 2:")
    answers = tmp_path / "f/predictions.csv"
    command = f"embedkit audit {faces.path} --predictions {answers} -b pixels --label beard"
    assert f"next: {command}\n" in out
    status, out, _ = run("finetune", faces.path, *options, "--json", "-q")
    document = json.loads(out)
    assert document["schema"] == "embedkit.finetune/1"
    assert document["frozen"]["space"] == "pixels"
    assert all(
        path.startswith(f"{faces.path}/heads/beard-small-finetuned/") for path in document["files"]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 8}, "--size is 8; pictures have 16 to 224 pixels a side"),
        ({"size": 300}, "--size is 300"),
        ({"epochs": 0}, "--epochs is 0"),
        ({"patience": 0}, "--patience is 0"),
        ({"unfreeze": "most"}, "--unfreeze is 'most'; allowed are last, all"),
        ({"network": "tiny"}, "no network that can be trained is called 'tiny'; known are small"),
        ({"network": "torchvision:resnet19"}, "torchvision has no classifier called 'resnet19'"),
        ({"label": "hat"}, "no column 'hat'"),
        ({"weights": "w.pth"}, "small starts from random weights"),
        ({"backbone": "clip"}, "holds no space 'clip'"),
    ],
)
def test_a_mistake_is_one_line(faces, options, message):
    with pytest.raises(InputError, match=message):
        finetune(faces, **options)


def test_weights_that_are_not_here_say_how_to_get_them(run, faces):
    status, _, err = run("finetune", faces.path, "--network", "torchvision:resnet18")
    assert status == 3
    assert "'embedkit weights get torchvision:resnet18' fetches them" in err


def test_a_size_that_a_network_cannot_see_names_its_own(faces, weights):
    name = "torchvision:squeezenet1_1"
    with pytest.raises(InputError, match=r"cannot see pictures of 16 x 16 .*--size 224"):
        finetune(faces, network=name, weights=weights(name), size=16)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "x", "train")] * 12 + [("a", "x", "test")], "holds one class only"),
        ([("a", "xy"[n % 2], "train") for n in range(6)] + [("a", "x", "test")], "needs 10 and 1"),
        ([("a", "xy"[n % 2], "test") for n in range(6)], "in the train split"),
        ([("a", "xy"[n % 2], "train") for n in range(20)], "no test or valid split"),
    ],
)
def test_a_data_set_that_cannot_be_learned_from_says_why(tmp_path, rows, message):
    named = [(f"{n}.png", n, label, split) for n, (_, label, split) in enumerate(rows)]
    store = embed(written(tmp_path / "f", named), tmp_path / "store", backbone="pixels")
    with pytest.raises((InputError, NotEnoughImagesError), match=message):
        finetune(store, **QUICK)


def test_a_picture_that_has_changed_is_named(tmp_path):
    rows = [(f"{n}.png", n, "xy"[n % 2], ("train", "test")[n % 4 == 3]) for n in range(40)]
    store = embed(written(tmp_path / "f", rows), tmp_path / "store", backbone="pixels")
    (tmp_path / "f/5.png").write_bytes((tmp_path / "f/6.png").read_bytes())
    with pytest.raises(InputError, match=r"5.png has changed; bring the store up to date"):
        finetune(Store.open(store.path), **QUICK)


def test_more_pictures_than_memory_are_refused_before_they_are_read(faces, monkeypatch):
    from embedkit.finetuning import pictures

    there = {"SC_PHYS_PAGES": 40, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(pictures.os, "sysconf", there.__getitem__)
    with pytest.raises(InputError, match="300 pictures of 24 x 24 pixels; take a smaller --size"):
        finetune(faces, **QUICK)
