"""The parity audit: silent where both paths agree, naming the pictures where they do not."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from embedkit.audits import audit
from embedkit.audits.base import Verdict
from embedkit.audits.changes import MILD
from embedkit.audits.mistakes import MISTAKES
from embedkit.audits.parity import ALONE, LEAST, PASSES, check_parity
from embedkit.audits.samples import stratified
from embedkit.audits.twins import find_twins
from embedkit.backbones.mtcnn import Mtcnn
from embedkit.backbones.pixels import PixelStatistics
from embedkit.pipeline import embed
from embedkit.reports.audits import findings
from embedkit.reports.page import render
from embedkit.synthetic import make_faces
from embedkit.vectors import unit_rows


def parity(store, backbone, **options):
    twins = find_twins(store, backbone=backbone)
    return check_parity(store, twins.near, split="test", backbone=backbone, **options)


@pytest.fixture(scope="module")
def found(clean_store):
    return {name: parity(clean_store, name) for name in ("mtcnn", "pixels")}


@pytest.mark.parametrize("backbone", ["mtcnn", "pixels"])
def test_embedkit_agrees_with_itself(found, backbone):
    one = found[backbone]
    assert one.verdict is Verdict.ABSENT
    assert one.pictures == one.estimate.n == LEAST
    assert one.estimate.value == 0 < one.estimate.high
    assert one.agreements[0].difference <= 1e-6
    assert one.agreements[0].differing == ()
    assert "get the answers that they have in the store" in one.summary


def test_every_mistake_has_a_figure_or_a_reason_and_decides_nothing(found):
    for one in found.values():
        swept = one.sweep
        assert {m.name for m in (*swept.mistakes, *swept.idle)} == {m.name for m in MISTAKES}
        assert len(swept.mistakes) + len(swept.idle) == len(MISTAKES)
        assert len(swept.mistakes) >= 12
        assert all(m.reason for m in swept.idle)
        assert {"EXIF ignored", "black behind transparency"} <= {m.name for m in swept.idle}
        assert one.verdict is Verdict.ABSENT
    # Some cost a great deal, and still the verdict is about embedkit alone.
    assert found["mtcnn"].sweep.mistakes[0].difference.high < 0


def test_figures_fit_each_other(found):
    for one in found.values():
        swept = one.sweep
        for m in swept.mistakes:
            for estimate in (m.accuracy, m.difference, m.flipped, m.cosine):
                assert estimate.low <= estimate.value <= estimate.high
                assert estimate.n == one.pictures
            lost = m.accuracy.value - swept.right.value
            assert m.difference.value == pytest.approx(lost)
            assert m.flipped.value >= abs(lost) - 1e-9
            assert 0 <= m.p <= 1
        costs = [m.difference.value for m in swept.mistakes]
        assert costs == sorted(costs)


def test_a_mirrored_picture_is_the_same_to_mtcnn(found):
    (mirrored,) = (m for m in found["mtcnn"].sweep.mistakes if m.name == "mirrored")
    assert mirrored.flipped.value == 0
    assert mirrored.cosine.value == pytest.approx(1, abs=1e-6)


def test_mild_changes_are_counted_by_class_and_by_picture(found):
    for one in found.values():
        mild = one.sweep.mild
        assert [m.name for m in mild] == [m.name for m in MILD]
        assert mild[0].control
        assert mild[0].flipped.value == 0
        for m in mild:
            n = round(m.flipped.value * one.pictures)
            assert sum(k for _, _, k in m.classes) == n  # two classes: all pairs are listed
            assert all(a != b for a, b, _ in m.classes)
        total = sum(round(m.flipped.value * one.pictures) for m in mild)
        assert sum(n for _, n in one.sweep.unstable) == total
        flips = [n for _, n in one.sweep.unstable]
        assert flips == sorted(flips, reverse=True)


def test_a_single_path_of_its_own_is_present_and_names_the_pictures(clean_store, monkeypatch):
    embed_rows = PixelStatistics.embed

    def otherwise(self, inputs):
        return embed_rows(self, inputs[:, ::-1] if len(inputs) == 1 else inputs)

    monkeypatch.setattr(PixelStatistics, "embed", otherwise)
    one = parity(clean_store, "pixels", heads=("logistic", "knn"))
    assert one.verdict is Verdict.PRESENT
    assert [made.head for made in one.agreements] == ["logistic", "knn"]
    assert one.agreements[0].difference > 0.01
    assert 0.9 * ALONE < len(one.agreements[0].differing) <= ALONE
    assert one.estimate.value == pytest.approx(len(one.agreements[0].differing) / one.pictures)
    assert one.agreements[0].differing[0] in one.summary


def test_a_store_that_was_prepared_otherwise_is_present(clean_store, found, monkeypatch):
    prepare = Mtcnn.prepare
    monkeypatch.setattr(Mtcnn, "prepare", lambda self, pixels: prepare(self, pixels[:, :, ::-1]))
    one = parity(clean_store, "mtcnn")
    assert one.verdict is Verdict.PRESENT
    assert one.agreements[0].flipped > 0
    # Twice swapped is what the store was made from.
    (mended,) = (m for m in one.sweep.mistakes if m.name == "BGR for RGB")
    assert mended.accuracy == found["mtcnn"].sweep.right
    (swapped,) = (m for m in found["mtcnn"].sweep.mistakes if m.name == "BGR for RGB")
    assert one.sweep.right == swapped.accuracy


@pytest.mark.parametrize(("slip", "verdict"), [(1e-9, Verdict.ABSENT), (3e-3, Verdict.PRESENT)])
def test_rounding_is_no_difference_and_more_is_one(clean_store, monkeypatch, slip, verdict):
    embed_rows = PixelStatistics.embed

    def otherwise(self, inputs):
        rows = embed_rows(self, inputs).astype(np.float64)
        if len(rows) == 1:
            rows[:, 100:140] += slip
        return unit_rows(rows)

    monkeypatch.setattr(PixelStatistics, "embed", otherwise)
    assert parity(clean_store, "pixels").verdict is verdict


def test_a_control_that_flips_is_present(clean_store, monkeypatch):
    import embedkit.audits.sweeps as module
    from embedkit.audits.changes import MildChange

    broken = MildChange("saved as PNG (control)", lambda pixels: pixels[::-1], control=True)
    monkeypatch.setattr(module, "MILD", (broken, *MILD[1:]))
    one = parity(clean_store, "pixels")
    assert one.sweep.mild[0].flipped.value > 0
    assert one.verdict is Verdict.PRESENT


def test_the_same_seed_gives_the_same_bytes_and_another_another_sample(clean_store, found):
    again = parity(clean_store, "pixels")
    assert json.dumps(again.to_dict()) == json.dumps(found["pixels"].to_dict())
    other = parity(clean_store, "pixels", seed=1)
    assert json.dumps(other.to_dict()) != json.dumps(found["pixels"].to_dict())


def copied(clean, tmp_path):
    folder = tmp_path / "faces"
    shutil.copytree(clean.folder, folder)
    return folder, embed(folder, tmp_path / "store", backbone="pixels")


def test_without_the_pictures_it_did_not_run_and_says_what_would_help(clean, tmp_path):
    folder, store = copied(clean, tmp_path)
    shutil.rmtree(folder)
    one = audit(store, checks=["parity"])["parity"]
    assert one.verdict is Verdict.NOT_RUN
    assert "No such file" in one.not_run_reason
    assert "'embedkit embed'" in one.not_run_reason


def test_pictures_that_have_changed_are_left_out_and_counted(clean, tmp_path):
    folder, store = copied(clean, tmp_path)
    test = [
        id_ for id_, side in zip(store.items.ids, store.items.splits, strict=True) if side == "test"
    ]
    for id_ in test[3:]:
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / id_)
    one = audit(store, checks=["parity"])["parity"]
    assert one.pictures == 3
    assert one.gone == len(test) - 3
    assert one.verdict is Verdict.INCONCLUSIVE  # three pictures say little


def test_without_its_weights_it_did_not_run(clean_store, monkeypatch):
    from embedkit.backbones import load_again
    from embedkit.errors import WeightsError

    load_again.cache_clear()

    def gone(self, card, options):
        raise WeightsError("the weights are not on this machine")

    monkeypatch.setattr(PixelStatistics, "__init__", gone)
    one = audit(clean_store, checks=["parity"], backbone="pixels")["parity"]
    assert one.verdict is Verdict.NOT_RUN
    assert "not on this machine" in one.not_run_reason


def test_a_larger_data_set_has_a_larger_sample(tmp_path):
    truth = make_faces(tmp_path / "f", people=250, photographs=4, size=32, seed=2)
    store = embed(truth.folder, tmp_path / "s", backbone="pixels")
    one = audit(store, checks=["parity"])["parity"]
    assert LEAST < one.pictures <= PASSES * len(store.items) // (len(MISTAKES) + len(MILD))


def test_any_beginning_of_a_stratified_order_has_the_classes_in_proportion():
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    order = stratified(labels, seed=3)
    assert sorted(order) == list(range(100))
    for n in range(1, 101):
        counts = Counter(labels[place] for place in order[:n])
        for name, share in (("a", 0.6), ("b", 0.3), ("c", 0.1)):
            assert abs(counts[name] - share * n) < 1.01
    assert not np.array_equal(order, stratified(labels, seed=4))


class Colours(torch.nn.Module):
    """Coarse colours: 4 x 4 fields of three channels."""

    def forward(self, x):
        return torch.nn.functional.adaptive_avg_pool2d(x, 4).flatten(1) + 0.1


@pytest.fixture(scope="module")
def torchscript(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "colours.pt"
    torch.jit.script(Colours()).save(str(path))
    path.with_suffix(".json").write_text(
        '{"size": [32, 32], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}'
    )
    return path


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"align": "mtcnn"}])
def test_a_network_of_ones_own_agrees_in_bf16_and_with_faces_cut_out(
    clean, torchscript, tmp_path, options
):
    store = embed(clean.folder, tmp_path / "s", backbone=f"torchscript:{torchscript}", **options)
    one = parity(store, None)
    assert one.verdict is Verdict.ABSENT
    done = {m.name for m in one.sweep.mistakes}
    assert "0-255 for 0-1" in done
    assert ("no face cut out" in done) == ("align" in options)
    reasons = {m.name: m.reason for m in one.sweep.idle}
    assert reasons["normalised as for ImageNet"] == "that is what the network takes"


def test_the_page_and_the_terminal_show_it(clean_store):
    result = audit(clean_store, backbone="pixels")
    assert "ok absent        parity: " in findings(result)
    page = render(result)
    swept = result["parity"].sweep
    assert "A picture alone, and prepared wrongly" in page
    for m in (*swept.mistakes, *swept.idle, *swept.mild):
        assert m.name in page
