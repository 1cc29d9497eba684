"""Suspicions: what may be of the subject is an association until pictures made alike confirm it."""

from dataclasses import replace

import pytest
from test_shortcuts import World

from embedkit.audits.base import Statement, Verdict
from embedkit.audits.books import Books
from embedkit.audits.clues import find_clues
from embedkit.audits.nuisance import OF_SUBJECT, Column, nuisance_columns
from embedkit.audits.shortcuts import find_shortcuts
from embedkit.audits.suspicions import ALL
from embedkit.audits.views import Views
from embedkit.pipeline import embed
from embedkit.synthetic import make_faces


def asked(name, confirmed, *, of="header"):
    """Return finding and ledger of a planted column that a head follows, under some name."""
    world = World(n=1500, strength=0.6, seed=1)
    column = Column(name, of, 60.0 + 30 * world.high + world.generator.integers(0, 5, 1500))
    bench = world.bench()
    clues = replace(find_clues(bench, [column], split="test"), confirmed=confirmed)
    found = find_shortcuts(clues, bench, world.items.ids, split="test")
    books = Books(bench, [("near_twins", world.clusters)], clues)
    return found, books.ledger(None, missed="")


@pytest.mark.parametrize("confirmed", [None, False])
def test_what_may_be_of_the_subject_is_an_association_and_not_taken_off(confirmed):
    found, ledger = asked("brightness", confirmed, of="colour")
    assert (found.verdict, found.statement) == (Verdict.INCONCLUSIVE, Statement.ASSOCIATION)
    assert found.summary.startswith("brightness is tied to the class")
    assert "an association" in found.summary
    assert ("--views" in found.summary) == (confirmed is None)
    assert found.estimate.low > 0.1
    assert found.cause == "brightness"  # evidence of it is shown all the same
    line = ledger.shortcut
    assert (line.column, line.verdict, line.counted) == ("brightness", Verdict.INCONCLUSIVE, False)
    assert line.reason
    assert line.effect.low > 0.1
    assert ledger.honest.value == pytest.approx(ledger.reported.value)
    reliance = found.reliances[0].to_dict()
    assert reliance["may_be_of_the_subject"] is True


def test_pictures_made_alike_confirm_it():
    found, ledger = asked("brightness", True, of="colour")
    assert (found.verdict, found.statement) == (Verdict.PRESENT, Statement.MATCHED)
    assert ledger.shortcut.counted
    assert ledger.honest.value < ledger.reported.value - 0.1
    assert found.reliances[0].to_dict()["may_be_of_the_subject"] is False


def test_a_column_that_marks_a_whole_class_is_present_and_said_to_be_followed_where_it_is():
    world = World(n=3000, strength=0.93, signal=1.0, seed=1)
    column = Column("brightness", "colour", 60.0 + 30 * world.high)
    found = world.find([column])
    assert (found.verdict, found.statement) == (Verdict.PRESENT, Statement.ASSOCIATION)
    assert found.reliances[0].shown()
    assert "head follows it" in found.summary
    assert "neither shown" not in found.summary
    assert "marks a whole class" in found.summary


def test_views_that_did_not_run_neither_confirm_nor_refute():
    assert Views("mtcnn", "logistic", reason="the backbone cannot be loaded").confirm() is None
    assert Views("mtcnn", "logistic").confirm() is None


def test_what_no_subject_can_be_needs_nobody_to_confirm_it():
    plain, ledger = asked("JPEG quality", None)
    refuted, _ = asked("JPEG quality", False)
    assert plain.verdict is refuted.verdict is Verdict.PRESENT
    assert plain.summary == refuted.summary
    assert ledger.shortcut.counted


def test_a_border_stands_for_the_dark_pixels_that_it_makes():
    world = World(n=1500, strength=0.6, seed=1)
    dark = Column("red of the outermost pixels", "border", 200.0 - 190 * world.high)
    now_and_then = world.generator.random(1500) < 0.02  # the border is not found everywhere
    width = Column("width of the top border", "border", 3.0 * (world.high & ~now_and_then))
    found = world.find([width, dark])
    assert found.clues.associations[0].name == dark.name
    assert found.verdict is Verdict.PRESENT
    assert found.cause == width.name
    assert world.find([dark]).verdict is Verdict.INCONCLUSIVE


def test_all_columns_together_are_of_the_subject_if_one_of_them_is():
    world = World(n=2400, strength=0.8, seed=12)
    a = world.generator.integers(2, size=2400)
    bench = world.bench()
    for name, may in (("a", False), ("contrast", True)):
        columns = [Column(name, "header", 1.0 * a), Column("b", "header", 1.0 * (a ^ world.high))]
        clues = find_clues(bench, columns, split="test")
        one = next(r for r in clues.reliances(bench, bench.first) if r.cause == ALL)
        assert one.shown()
        assert one.of_subject is may


def test_columns_that_may_be_of_the_subject_exist(tmp_path):
    make_faces(tmp_path / "faces", people=12, photographs=1, size=32, seed=0)
    store = embed(tmp_path / "faces", tmp_path / "store", backbone="pixels")
    assert {one.name for one in nuisance_columns(store.items)} >= OF_SUBJECT
