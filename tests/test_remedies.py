"""The way out: a split that nothing crosses, and lists with reasons."""

import csv
import io
from collections import Counter

import numpy as np
import pytest
from embedkit_cli import main
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.audits import audit, relatives
from embedkit.audits.base import Verdict
from embedkit.audits.quality import check_quality
from embedkit.audits.remedies import _place, advise, plan_split, split_manifest
from embedkit.errors import InputError
from embedkit.pipeline import embed


@pytest.fixture(scope="module")
def known(planted_store):
    twins, people = relatives(planted_store, backbone="mtcnn")
    assert "names no group" in people
    return twins, None


def test_no_cluster_is_on_two_sides_and_the_shares_are_as_asked(planted_store, known):
    plan = plan_split(planted_store, *known, test=0.3, valid=0.1)
    sides = {}
    for cluster, side in zip(known[0].near.tolist(), plan.sides, strict=True):
        assert sides.setdefault(cluster, side) == side
    n = len(plan.sides)
    for side, share in (("train", 0.6), ("valid", 0.1), ("test", 0.3)):
        assert plan.sides.count(side) / n == pytest.approx(share, abs=0.02)
    labels = planted_store.items.labels
    for label, total in Counter(labels).items():
        for side, share in (("train", 0.6), ("valid", 0.1), ("test", 0.3)):
            assert plan.counts[side][label] / total == pytest.approx(share, abs=0.03)


def test_the_gap_is_closed_in_the_new_split(planted_store, known, tmp_path):
    plan = plan_split(planted_store, *known, test=0.3)
    (tmp_path / "split.csv").write_bytes(split_manifest(planted_store, plan))
    clean = embed(
        tmp_path / "split.csv",
        tmp_path / "clean",
        root=planted_store.items.root,
        backbone="mtcnn",
    )
    assert dict(zip(clean.items.ids, clean.items.splits, strict=True)) == dict(
        zip(planted_store.items.ids, plan.sides, strict=True)
    )
    before = audit(planted_store, backbone="mtcnn", checks=["leakage"])
    after = audit(clean, checks=["leakage", "ledger"])
    assert before["leakage"].verdict is Verdict.PRESENT
    assert after["leakage"].estimate.value == 0
    for head in after["ledger"].heads:
        assert head.total.value == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=80), st.integers(0, 3))
def test_every_cluster_is_placed_once_whatever_the_sizes(sizes, seed):
    generator = np.random.default_rng(seed)
    content = np.zeros((len(sizes), 3))
    content[:, 0] = sizes
    content[:, 1] = generator.binomial(sizes, 0.4)
    content[:, 2] = content[:, 0] - content[:, 1]
    names = [str(one) for one in range(len(sizes))]
    placed = _place(content, [0.7, 0.3], names, seed)
    assert set(placed.tolist()) <= {0, 1}
    # Off by no more than the largest cluster.
    assert abs(content[placed == 1, 0].sum() - 0.3 * sum(sizes)) <= max(sizes)


def test_the_seed_decides(planted_store, known):
    one, same, other = (plan_split(planted_store, *known, seed=s).sides for s in (0, 0, 1))
    assert one == same != other


@pytest.mark.parametrize(("test", "valid"), [(0, 0), (1, 0), (0.7, 0.3), (-0.1, 0), (0.2, 1)])
def test_shares_that_leave_nothing_are_refused(planted_store, known, test, valid):
    with pytest.raises(InputError, match="leave nothing for train"):
        plan_split(planted_store, *known, test=test, valid=valid)


def test_every_planted_fault_has_its_advice(planted_store, planted, known):
    quality = check_quality(planted_store, known[0].near, backbone="mtcnn")
    advice = advise(planted_store, *known, quality)
    dropped = {one.id for one in advice if one.action == "drop"}
    assert dropped == {t["b"] for t in planted.twins if t["kind"] == "exact"}
    looked = {one.id for one in advice if one.action == "look"}
    near = {t["b"] for t in planted.twins if t["kind"] == "near"}
    assert len(looked & near) >= 0.85 * len(near)
    assert {one.id for one in advice if one.action == "mend"} == set(planted.unreadable)
    assert all(one.reason for one in advice)


def test_of_copies_on_one_side_the_larger_is_kept(tmp_path):
    from helpers import noise, saved

    for n in range(4):
        for side in ("train", "test"):
            path = tmp_path / f"f/{side}/{'ab'[n % 2]}/{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(saved(noise(n + 10 * (side == "test")), "PNG"))
    (tmp_path / "f/train/b/other.bmp").write_bytes(saved(noise(0), "BMP"))
    (tmp_path / "f/train/a/test-copy.png").write_bytes(saved(noise(13), "PNG"))
    store = embed(tmp_path / "f", tmp_path / "s", backbone="pixels")
    twins, _ = relatives(store)
    advice = advise(store, twins, None, check_quality(store, twins.near))
    drops = {one.id: one for one in advice if one.action == "drop"}
    small, large = sorted(
        ("train/a/0.png", "train/b/other.bmp"),
        key=lambda id_: (tmp_path / "f" / id_).stat().st_size,
    )
    assert (drops[small].other, drops[small].reason) == (
        large,
        "an exact copy of the one to keep (the least compressed)",
    )
    assert large not in drops
    assert "the one to keep (in test)" in drops["train/a/test-copy.png"].reason
    assert {one.id for one in advice if one.action == "relabel"} == {
        "train/a/0.png",
        "train/b/other.bmp",
        "train/a/test-copy.png",
        "test/b/3.png",
    }


def test_the_commands_write_files_that_can_be_used(planted_store, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(planted_store.path)
    assert main(["split", path, "-b", "mtcnn", "-o", "new.csv", "--test", "0.25"]) == 0
    out = capsys.readouterr().out
    assert "none on two sides" in out
    assert "embedkit embed new.csv --root" in out
    assert "-b mtcnn -b pixels -o" in out
    assert "for only copies are known: nothing says who is on a picture" in out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "new.csv").read_text())))
    assert len(rows) == len(planted_store.items)
    assert set(rows[0]) >= {"path", "label", "split"}
    assert main(["clean", path, "-b", "mtcnn", "--json"]) == 0
    assert '"embedkit.clean/1"' in capsys.readouterr().out
    listed = list(csv.DictReader(io.StringIO((tmp_path / "clean.csv").read_text())))
    assert {row["action"] for row in listed} >= {"drop", "look", "mend"}
