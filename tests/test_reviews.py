"""Ticks: kept with what they are about, counted only as long as that holds."""

import csv
import io
import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.audits import audit, candidates
from embedkit.audits.claims import Claim, claims_of, random_order
from embedkit.audits.kept import keep, kept
from embedkit.audits.recalled import recall_twins
from embedkit.audits.reviews import LEAST, review_of, reviewed
from embedkit.audits.ticks import FILE, Answer, Tick, reviews_csv, tick, ticks
from embedkit.errors import InputError, OutputError
from embedkit.statistics import wilson
from embedkit.store import Store

REAL, NOT_REAL, UNSURE = Answer


@pytest.fixture
def store(store_copy):
    """A store whose audit found the planted copies."""
    opened = Store.open(store_copy)
    keep(audit(opened, checks=["twins"], backbone="mtcnn"))
    return opened


def listed(store):
    return claims_of(kept(store, backbone="mtcnn")["twins"])


def test_answers_are_there_after_a_new_audit(store):
    claims = listed(store)
    tick(store, claims[0], REAL)
    tick(store, claims[1], NOT_REAL)
    again = Store.open(store.path)
    keep(audit(again, checks=["twins"], backbone="mtcnn"))
    assert {claim: one.answer for claim, one in ticks(again).items()} == {
        claims[0]: REAL,
        claims[1]: NOT_REAL,
    }
    found = reviewed(again, backbone="mtcnn")["twins"]
    assert (found.listed, found.real, found.not_real) == (len(claims), 1, 1)


def test_the_last_answer_counts_and_can_be_taken_back(store):
    one, other = listed(store)[:2]
    for answer in (REAL, NOT_REAL, UNSURE):
        tick(store, one, answer)
    tick(store, other, REAL)
    assert ticks(store)[one].answer is UNSURE
    tick(store, one, None)
    assert list(ticks(store)) == [other]


def test_a_torn_line_takes_no_other_with_it(store):
    one, other = listed(store)[:2]
    tick(store, one, REAL)
    with (store.path / FILE).open("ab") as file:
        file.write(b'{"schema": "embedkit.review/1", "finding": "tw')
    tick(store, other, REAL)
    assert list(ticks(store)) == [one, other]


@pytest.mark.parametrize(
    "line", [b"7", b"[]", b"null", b"\xff\xfe", b'{"finding": []}', b"[" * 5000, b'{"ids": 3}']
)
def test_a_line_that_is_none_is_passed_over(store, line):
    tick(store, listed(store)[0], REAL)
    with (store.path / FILE).open("ab") as file:
        file.write(line + b"\n")
    assert len(ticks(store)) == 1


def test_an_answer_about_another_picture_is_not_counted(store):
    tick(store, listed(store)[0], REAL)
    path = store.path / FILE
    record = json.loads(path.read_bytes())
    del record["seal"]  # as lines were before they had one
    record["pixels"][0] = "0" * 64
    path.write_text(json.dumps(record) + "\n")
    assert ticks(store) == {}


def test_a_doubt_about_one_label_is_none_about_another():
    issue = {"id": "a.png", "given": "cat", "suggested": "dog"}
    finding = {"name": "labels", "details": {"issues": [issue]}}
    relabelled = {"name": "labels", "details": {"issues": [issue | {"given": "dog"}]}}
    seen = {
        claims_of(finding),
        claims_of(finding, label="other"),
        claims_of(relabelled),
    }
    assert len(seen) == 3


def test_a_pair_is_the_same_in_either_order():
    def pair(a, b):
        return claims_of({"name": "twins", "details": {"pairs": [{"a": a, "b": b}]}})

    assert pair("x", "y") == pair("y", "x")


@pytest.mark.parametrize("details", [{"pairs": [{}]}, {"pairs": 3}, {"pairs": [3]}, {"else": 1}])
def test_a_damaged_finding_is_named(details):
    with pytest.raises(InputError, match="'twins' is damaged"):
        claims_of({"name": "twins", "details": details})


def test_a_file_that_cannot_be_written_is_said(store):
    (store.path / FILE).mkdir()
    with pytest.raises(OutputError, match=r"reviews.jsonl cannot be written"):
        tick(store, listed(store)[0], REAL)


def test_answers_given_at_once_are_all_kept(store):
    claims = listed(store)
    assert len(claims) > 10
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda claim: tick(store, claim, REAL), claims))
    assert set(ticks(store)) == set(claims)


CLAIMS = [Claim("twins", "", (f"{n}.png", f"{n}b.png")) for n in range(200)]
NOW = "2026-01-01T00:00:00+00:00"


@given(st.lists(st.sampled_from([REAL, NOT_REAL, UNSURE, None]), min_size=1, max_size=60))
def test_precision_is_that_of_what_was_told(answers):
    claims = CLAIMS[: len(answers)]
    found = review_of(
        claims, {c: Tick(a, NOW) for c, a in zip(claims, answers, strict=True) if a is not None}
    )
    real, told = answers.count(REAL), answers.count(REAL) + answers.count(NOT_REAL)
    assert found.looked_at == told + answers.count(UNSURE)
    assert found.precision.n == told
    if told:
        assert found.precision == wilson(real, told)
    else:
        assert math.isnan(found.precision.value)
        assert "%" not in found.sentence
    assert found.complete == (None not in answers)


def test_only_a_sample_without_gaps_speaks_for_the_list():
    order = random_order(CLAIMS)
    picked = {CLAIMS[place]: Tick(REAL, NOW) for place in range(40) if place != order[0]}
    by_hand = review_of(CLAIMS, picked)
    assert by_hand.sampled == 0
    assert "no estimate for the rest" in by_hand.sentence

    drawn = {CLAIMS[place]: Tick(REAL, NOW) for place in order[:LEAST]}
    drawn[CLAIMS[order[3]]] = Tick(NOT_REAL, NOW)
    sampled = review_of(CLAIMS, drawn | picked)
    assert sampled.sampled >= LEAST
    assert sampled.sample == wilson(sampled.sampled - 1, sampled.sampled)
    assert "an estimate for the whole list" in sampled.sentence

    few = review_of(CLAIMS, {CLAIMS[place]: Tick(REAL, NOW) for place in order[: LEAST - 1]})
    assert "no estimate for the rest" in few.sentence


def test_the_random_order_is_the_same_for_everybody_and_stays_when_others_leave():
    order = [CLAIMS[place] for place in random_order(CLAIMS)]
    reversed_ = CLAIMS[::-1]
    assert [reversed_[place] for place in random_order(reversed_)] == order
    fewer = CLAIMS[::3]
    left = [fewer[place] for place in random_order(fewer)]
    assert left == [one for one in order if one in set(fewer)]
    assert order != CLAIMS


def test_the_random_order_goes_with_nothing():
    """The places of the first thirty in the list are those of a random draw."""
    places = random_order(CLAIMS)[:30]
    assert 60 < sum(places) / 30 < 140
    assert min(places) < 20
    assert max(places) > 180


def test_the_list_reads_back(store):
    claims = listed(store)
    tick(store, claims[0], REAL)
    tick(store, claims[1], UNSURE)
    rows = list(csv.DictReader(io.StringIO(reviews_csv(ticks(store)).decode())))
    assert {(row["id"], row["other"]) for row in rows} == {claims[0].ids, claims[1].ids}
    assert {row["answer"] for row in rows} == {"real", "unsure"}


def test_without_an_audit_there_is_nothing_to_count(store_copy):
    assert reviewed(Store.open(store_copy), backbone="mtcnn") == {}


@pytest.mark.parametrize("compared", [50_000, 10])
def test_kept_twins_are_recalled_as_they_were_found(store, compared, monkeypatch):
    monkeypatch.setattr(candidates, "ALL_COMPARED", compared)
    made = audit(store, checks=["twins"], backbone="mtcnn")
    keep(made)
    found = made["twins"]
    recalled = recall_twins(store, kept(store, backbone="mtcnn")["twins"])
    assert recalled.to_dict() == found.to_dict()
    looked = recalled.details()["candidates"]
    assert looked["all_compared"] == (compared == 50_000)
    assert looked["every_alike_pair"]
    if compared == 10:
        nearest = looked["nearest"]
        assert nearest["recall"] == pytest.approx(nearest["found"] / nearest["of"], abs=1e-6)
        assert f"{nearest['recall']:.1%} of the nearest of {nearest['rows']}" in found.summary
    assert np.array_equal(recalled.exact, found.exact)
    assert np.array_equal(recalled.near, found.near)
    assert recalled.clusters == found.clusters


def test_a_damaged_finding_is_not_recalled(store):
    finding = kept(store, backbone="mtcnn")["twins"]
    finding["details"]["pairs"][0]["a"] = "nothing.png"
    with pytest.raises(InputError, match="is damaged"):
        recall_twins(store, finding)


@pytest.mark.parametrize("change", [{"ids": []}, {"ids": [3]}, {"about": 5}, {"pixels": [None]}])
def test_a_line_of_other_kinds_is_passed_over_everywhere(store, change):
    claim = listed(store)[0]
    tick(store, claim, Answer.REAL)
    path = store.path / FILE
    record = json.loads(path.read_text().splitlines()[-1])
    del record["seal"]  # as lines were before they had one
    path.write_text(json.dumps(record | change))
    assert ticks(store) == {}
    assert reviews_csv(ticks(store)).count(b"\n") == 1
    path.unlink()
