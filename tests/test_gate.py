"""The gate: limits on every figure, known findings left out, and what other programs read."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from embedkit_cli import main
from helpers import make_different, noise, saved
from PIL import Image

from embedkit.audits import audit
from embedkit.audits.base import Verdict, not_run, share_verdict
from embedkit.audits.baselines import baseline_of, read_baseline, write_baseline
from embedkit.audits.gate import Gate, Judged, Outcome, judge
from embedkit.audits.limits import End, parse_limits
from embedkit.audits.paths import figures_of, part_of
from embedkit.errors import InputError
from embedkit.pipeline import embed
from embedkit.reports import gates
from embedkit.reports.gates import github, junit

CHECKS = ["twins", "siblings", "leakage", "ledger", "labels", "quality"]
SCHEMA = json.loads((Path(__file__).parents[1] / "docs/audit.schema.json").read_text())


@pytest.fixture(scope="module")
def result(planted_store):
    return audit(planted_store, backbone="pixels", checks=CHECKS, heads=("knn",))


@pytest.fixture(scope="module")
def figures(result):
    return figures_of(result)


def outcomes(result, *limits, **options):
    return [one.outcome.value for one in judge(result, parse_limits(limits), **options).judged]


# Names.


def numbers(node):
    """Every number of a JSON document that no list of pictures holds, by brute force."""
    if isinstance(node, dict):
        return [one for value in node.values() for one in numbers(value)]
    if isinstance(node, list):
        of_pictures = any(
            isinstance(one, dict) and {"id", "a", "images"} & set(one) for one in node
        )
        return [] if of_pictures else [one for value in node for one in numbers(value)]
    return [node] if isinstance(node, int | float) and not isinstance(node, bool) else []


@pytest.mark.parametrize("name", ["twins", "leakage", "ledger", "labels", "quality"])
def test_every_number_of_the_json_can_be_limited(result, figures, name):
    document = result[name].to_dict()
    if name == "ledger":  # bins have no names
        for head in document["details"]["heads"]:
            head["novelty"]["bins"] = []
    own = [one for one in figures.values() if one.audit == name]
    named = [part for one in own for part in (one.value, one.low, one.high) if part is not None]
    missing = [
        one
        for one in numbers(document)
        if round(one, 6) not in {round(p, 6) for p in named if p == p}
    ]
    assert missing == []
    intervals = json.dumps(document).count('"low": ') - json.dumps(document).count('"low": null')
    assert sum(one.low is not None for one in own) == intervals


def test_a_path_leads_to_what_the_json_has_there(result, figures):
    ledger, quality = result["ledger"].to_dict()["details"], result["quality"].to_dict()["details"]
    (head,) = [one for one in ledger["heads"] if one["head"] == "knn"]
    honest = figures["ledger.knn.honest"]
    assert [honest.value, honest.low, honest.high] == [
        head["honest"][key] for key in ("value", "low", "high")
    ]
    (line,) = [one for one in head["lines"] if one["cause"] == "near_twins"]
    assert figures["ledger.knn.lines.near_twins.p"].value == line["p"]
    (check,) = [one for one in quality["checks"] if one["check"] == "unreadable"]
    assert figures["quality.checks.unreadable.failing"].value == check["failing"] == 2
    assert figures["twins.pairs"].value == len(result["twins"].pairs)
    assert figures["twins.pairs"].whole
    assert part_of(figures, "leakage.high").value == figures["leakage"].high
    assert part_of(figures, "leakage.value").low is None
    assert part_of(figures, "leakage.hight") is None


def test_names_that_two_entries_share_are_only_counted(result):
    twice = replace(result["ledger"], heads=(result["ledger"].heads[0],) * 2)
    names = figures_of(replace(result, findings=(twice,)))
    assert "ledger.knn.honest" not in names
    assert "ledger.total" not in names


NONE = [
    *("leakage", "leakage=", "leakage=many", "leak=0.1", "leakage=5", "twins=nan", "twins=-1%"),
    *("leakage<1", "leakage==1", "=1", "leakage=inf", "leakage.=%"),
]


@pytest.mark.parametrize("text", NONE)
def test_a_limit_that_is_none_is_an_error_before_anything_runs(text):
    with pytest.raises(InputError, match="--limit"):
        parse_limits([text])


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("leak=1%", "did you mean 'leakage'"),
        ("ledger.knn.honst=1%", "did you mean 'ledger.knn.honest'"),
        ("ledger.honest>=0.5", "did you mean 'ledger.knn.honest'"),
        ("quality.blurred.failing=0", "'quality.checks.blurred.failing'"),
        ("twins.frobs=0", "--limits' lists all"),
        ("ledger.knn.honest>=80", "ledger.knn.honest=80%"),
        ("twins.pairs=3%", "a count; leave the % out"),
        ("ledger.points=3%", "in accuracy points; leave the % out"),
        ("ledger.knn.honest", "in quotes"),
    ],
)
def test_a_wrong_name_or_number_is_an_error_that_shows_the_way(result, text, hint):
    with pytest.raises(InputError) as caught:
        judge(result, parse_limits([text]))
    assert hint in str(caught.value)


# Limits.


def test_a_limit_is_a_share_or_in_per_cent_and_its_own_value_passes(result):
    value = result["leakage"].estimate.value
    assert outcomes(result, f"leakage={value!r}", "twins<=99.9%") == ["holds"] * 2
    assert parse_limits(["leakage=0.7%"])[0].bound == 7 / 1000
    assert outcomes(result, f"leakage={value - 1e-9!r}") == ["exceeded"]
    assert outcomes(result, f"leakage>={value!r}", f"leakage>={value + 1e-9!r}") == [
        "holds",
        "exceeded",
    ]


def test_a_name_may_hold_the_signs_that_a_limit_is_made_of():
    (one,) = parse_limits(["quality.checks.blurred.classes.a=b>=c.failing<=2"])
    assert (one.name, one.bound) == ("quality.checks.blurred.classes.a=b>=c.failing", 2)
    assert not one.at_least


def test_either_end_of_an_interval_can_be_compared(result, figures):
    leakage = figures["leakage"]
    between = [(leakage.value + leakage.high) / 2, (leakage.value + leakage.low) / 2]
    for bound, expected in zip(between, (["holds", "exceeded"], ["exceeded"] * 2), strict=True):
        limit = f"leakage={bound!r}"
        assert outcomes(result, limit) + outcomes(result, limit, end=End.HIGH) == expected
        assert outcomes(result, f"leakage.high={bound!r}", end=End.LOW) == expected[1:]
    assert outcomes(result, f"leakage={between[1]!r}", end=End.LOW) == ["holds"]


def test_a_figure_without_an_interval_is_never_compared_by_its_value_instead(result):
    with pytest.raises(InputError, match="has no interval"):
        judge(result, parse_limits(["twins.pairs=0"]), end=End.HIGH)


@pytest.mark.parametrize(
    "limit",
    ["siblings=1", "siblings.n=0", "bias=1", "ledger.predictions.low=1"],
)
def test_what_could_not_be_judged_fails_unless_allowed(result, limit):
    assert outcomes(result, limit) == ["not_judged"]
    assert outcomes(result, limit, allow_not_run=True) == ["allowed"]
    assert judge(result, parse_limits([limit])).exit_code == 1
    assert judge(result, parse_limits([limit]), allow_not_run=True).exit_code == 0


def test_a_figure_that_is_not_a_number_keeps_to_no_limit(result):
    unknown = replace(result["leakage"].estimate, value=math.nan, low=0.0, high=1.0)
    there = replace(result, findings=(replace(result["leakage"], estimate=unknown),))
    for end in End:
        assert outcomes(there, "leakage=1", "leakage>=0", end=end) == ["not_judged"] * 2


def test_what_may_have_been_missed_fails_unless_allowed(result):
    doubtful = replace(result["leakage"], verdict=Verdict.INCONCLUSIVE, missed="no picture")
    there = replace(result, findings=(doubtful,))
    assert outcomes(there, "leakage=1", "leakage.n=9999") == ["not_judged"] * 2
    assert outcomes(there, "leakage=1", "leakage=0", allow_not_run=True) == ["holds", "exceeded"]


# Baselines.


@pytest.fixture
def faces(tmp_path):
    """Twelve pictures, one of train in test too, and a broken file."""
    names = [
        f"{side}/{label}/{n}.png" for side in ("train", "test") for label in "xy" for n in range(3)
    ]
    make_different(tmp_path / "f", *names)
    shutil.copy(tmp_path / "f/train/x/0.png", tmp_path / "f/test/x/copy.png")
    (tmp_path / "f/train/y/broken.png").write_bytes(b"")
    return tmp_path / "f"


def audited(folder):
    store = embed(folder, folder.parent / "store", backbone="pixels")
    return audit(store, checks=["twins", "leakage", "quality"])


ALL = ["twins.pairs=0", "twins=0", "leakage=0", "leakage.with_twin_in_train=0", "quality=0"]
ALL += ["quality.flagged=0", "quality.checks.unreadable.failing=0", "twins.clusters=0"]


def test_what_is_known_does_not_count_and_what_is_new_does(faces, tmp_path):
    before = audited(faces)
    assert set(outcomes(before, *ALL)) == {"exceeded"}
    baseline = write_baseline(before, tmp_path / "known.json")
    assert read_baseline(tmp_path / "known.json") == baseline
    assert set(outcomes(before, *ALL, baseline=baseline)) == {"holds"}

    shutil.copy(faces / "train/y/1.png", faces / "test/y/copy.png")  # a second copy
    (faces / "train/y/empty.png").write_bytes(b"")
    (faces / "train/y/broken.png").unlink()
    after = audited(faces)
    found = judge(after, parse_limits(ALL), baseline=baseline)
    assert {one.outcome for one in found.judged} == {Outcome.EXCEEDED}
    assert found.remainder.to_dict() == {
        "known": {"twins": 1, "quality": 0},
        "new": {
            "twins": [["test/y/copy.png", "train/y/1.png"]],
            "quality": [["train/y/empty.png", "unreadable"]],
        },
        "gone": {"twins": [], "quality": [["train/y/broken.png", "unreadable"]]},
    }
    now = found.remainder.figures
    assert now["twins.pairs"].value == now["twins.exact_pairs"].value == 1
    assert now["leakage"].value == pytest.approx(1 / 8)
    assert now["twins"].value == pytest.approx(2 / 14)
    assert now["quality"].value == pytest.approx(1 / 15)


def test_the_interval_is_that_of_the_images_which_are_left(faces):
    result = audited(faces)
    shutil.copy(faces / "train/y/1.png", faces / "test/y/copy.png")
    after = audited(faces)
    left = judge(after, (), baseline=baseline_of(result)).remainder.figures["twins"]
    twins = after["twins"]
    new = [id_ in ("train/y/1.png", "test/y/copy.png") for id_ in twins.ids]
    import numpy as np

    expected, _ = share_verdict(np.array(new), twins.near, seed=0)
    assert (left.value, left.low, left.high) == (expected.value, expected.low, expected.high)


def test_a_third_copy_is_new_and_its_photograph_is_not(faces):
    known = baseline_of(audited(faces))
    shutil.copy(faces / "train/x/0.png", faces / "test/x/again.png")
    after = audited(faces)
    assert len(after["twins"].pairs) == 3
    counted = judge(after, (), baseline=known).remainder.figures
    assert counted["twins.pairs"].value == 2  # with either of the known ones
    assert counted["twins"].value == pytest.approx(1 / 14)
    assert counted["leakage.with_twin_in_train"].value == 1


def test_a_known_pair_that_changes_sides_or_pictures_counts_again(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 3), ("d", 4), ("e", 5), ("g", 6)):
        path = tmp_path / f"f/{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(saved(noise(seed), "PNG"))

    def seen(b):
        rows = ["path,label,split", "f/a.png,x,train", f"f/b.png,x,{b}", "f/c.png,y,train"]
        rows += ["f/d.png,y,test", "f/e.png,x,test", "f/g.png,y,train"]
        (tmp_path / "faces.csv").write_text("\n".join(rows))
        store = embed(tmp_path / "faces.csv", tmp_path / "store", backbone="pixels")
        return audit(store, checks=["twins", "leakage"])

    known = baseline_of(seen("train"))
    assert outcomes(seen("train"), "twins.pairs=0", "leakage=0", baseline=known) == ["holds"] * 2
    moved = judge(seen("test"), parse_limits(["twins.pairs=0", "leakage=0"]), baseline=known)
    assert {one.outcome for one in moved.judged} == {Outcome.EXCEEDED}
    assert moved.remainder.to_dict()["gone"] == {"twins": []}
    for name in "ab":
        Image.new("RGB", (48, 48), "teal").save(tmp_path / f"f/{name}.png")
    changed = judge(seen("train"), parse_limits(["twins.pairs=0"]), baseline=known)
    assert changed.exit_code == 1


def test_what_no_list_names_is_left_as_it_is_and_that_is_said(result):
    baseline = baseline_of(result)
    limits = parse_limits(["ledger=1", "labels=1", "labels.issues=0", "twins.high=1"])
    found = judge(result, limits, baseline=baseline)
    assert [bool(one.note) for one in found.judged] == [True, True, False, False]
    assert "takes nothing off it" in found.judged[0].note
    assert found.remainder.figures.keys() >= {"labels.issues", "twins"}
    assert "ledger" not in found.remainder.figures
    people = replace(result["leakage"], related=result["leakage"].near)
    findings = [people if one.name == "leakage" else one for one in result.findings]
    with_people = judge(replace(result, findings=tuple(findings)), (), baseline=baseline)
    assert "leakage" not in with_people.remainder.figures
    assert with_people.remainder.figures["leakage.with_twin_in_train"].value == 0


def test_a_baseline_of_something_else_is_an_error(result, clean_store, tmp_path):
    path = tmp_path / "known.json"
    write_baseline(result, path)
    other = audit(clean_store, backbone="pixels", checks=["leakage"])
    with pytest.raises(InputError, match="of another data set"):
        judge(other, (), baseline=read_baseline(path))
    with pytest.raises(InputError, match="labels of 'label', not of 'group'"):
        read_baseline(path).check(result.store, "group")
    whole = json.loads(path.read_text())
    broken = [
        {key: value for key, value in whole.items() if key != missing}
        for missing in ("label", "sketch", "known", "images")
    ]
    broken += [whole | {"known": {"twins": [["a"]]}}, whole | {"known": {"twins": {"a": 1}}}]
    broken += [whole | {"images": {}}, whole | {"known": {"twins": [[1, 2]]}}, whole | {"label": 1}]
    for document in broken:
        path.write_text(json.dumps(document))
        with pytest.raises(InputError, match="damaged"):
            read_baseline(path)
    for text, message in (
        ("{", "no JSON"),
        (json.dumps(result.to_dict()), "no baseline.*--write-baseline"),
        ("[]", "no baseline"),
        (json.dumps(whole | {"schema": "embedkit.baseline/2"}), "no baseline"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_baseline(path)
    with pytest.raises(InputError, match="No such file"):
        read_baseline(tmp_path / "none.json")


def test_the_same_audit_writes_the_same_baseline(result, tmp_path):
    texts = []
    for name in ("a.json", "b.json"):
        write_baseline(result, tmp_path / name)
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]
    assert str(result.store.path).encode() not in texts[0]


# What continuous integration reads.

HOSTILE = "a%b: c,d\r\n::error::x ##[error]y \x1b[31m <&\"'> \ud800 \ufffe \U0001f600"


@pytest.fixture
def hostile(result):
    findings = [
        replace(result["twins"], summary=HOSTILE),
        not_run("siblings", HOSTILE),
        replace(result["quality"], summary=HOSTILE),
    ]
    made = replace(result, findings=tuple(findings))
    limits = parse_limits([f"twins.{HOSTILE}=1", "twins=1", "twins=0"])
    judged = [
        Judged(limits[0], Outcome.EXCEEDED, HOSTILE),
        Judged(limits[0], Outcome.ALLOWED, HOSTILE),
        *judge(made, limits[1:]).judged,
    ]
    return made, Gate(tuple(judged), judge(made, (), baseline=baseline_of(result)).remainder)


COMMAND = re.compile(r"::(error|warning|notice) title=([^:,\r\n]*)::([^\r\n]*)")


def test_github_is_told_what_failed_and_nothing_else_is_a_command(hostile):
    lines = github(*hostile).splitlines()
    started = [line for line in lines if line.lstrip().startswith("::") or "##[" in line]
    parsed = [COMMAND.fullmatch(line) for line in started]
    assert all(parsed)
    kinds = [one[1] for one in parsed]
    assert kinds == ["error", "warning", "notice", "error", "warning", "notice"]

    def read(text):  # as the runner does
        for sign, code in ((":", "%3A"), (",", "%2C"), ("\n", "%0A"), ("\r", "%0D"), ("%", "%25")):
            text = text.replace(code, sign)
        return text

    assert read(parsed[0][2]) == f"embedkit: twins.{HOSTILE}"
    assert read(parsed[0][3]) == f"{HOSTILE}."


# The rules of the Jenkins xUnit plugin's junit-10.xsd for what is written here.
COUNTS = {"name", "tests", "failures", "errors"}
RULES = {
    "testsuites": (set(), COUNTS, {"testsuite"}),
    "testsuite": (COUNTS, COUNTS | {"skipped"}, {"testcase", "system-out"}),
    "testcase": ({"name"}, {"name", "classname"}, {"failure", "skipped", "system-out"}),
    "failure": (set(), {"type", "message"}, set()),
    "skipped": (set(), {"type", "message"}, set()),
    "system-out": (set(), set(), set()),
}


def check_junit(text):
    root = ET.fromstring(text)
    assert root.tag == "testsuites"
    for node in root.iter():
        required, allowed, children = RULES[node.tag]
        assert required <= set(node.attrib) <= allowed, node.tag
        assert {child.tag for child in node} <= children
    (suite,) = root
    cases = suite.findall("testcase")
    for owner in (root, suite):
        assert int(owner.get("tests")) == len(cases)
        assert int(owner.get("failures")) == len(suite.findall("testcase/failure"))
    assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped"))
    assert all(len(case) <= 1 for case in cases)
    return cases


def test_junit_has_a_case_for_each_limit_and_each_audit_without_one(hostile):
    cases = check_junit(junit(*hostile))
    assert [child.tag for case in cases for child in case] == [
        *("failure", "skipped", "system-out", "failure"),  # limits
        *("skipped", "system-out"),  # siblings, quality
    ]
    message = cases[0].find("failure").get("message")
    assert message.startswith("a%b: c,d")
    assert "\\x1b[31m <&\"'> \\ud800 \\ufffe \U0001f600" in message
    assert cases[4].get("classname") == "embedkit.siblings"


@pytest.mark.parametrize("form", ["github", "junit", "text"])
def test_the_same_gate_gives_the_same_text(hostile, form):
    assert gates.form_of(form)(*hostile) == gates.form_of(form)(*hostile)


# The command line.


@pytest.fixture
def run(capsys, planted_store):
    def call(*arguments):
        capsys.readouterr()
        checks = ["--check", "twins", "--check", "leakage", "--check", "siblings"]
        given = ["audit", planted_store.path, "-b", "pixels", *checks, *arguments]
        status = main([str(one) for one in given])
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


def test_the_program_ends_as_its_gate_says_in_every_form(run, tmp_path):
    limits = ["--limit", "leakage=0.9", "--limit", "twins.pairs=0"]
    for form in ("github", "junit"):
        status, out, err = run(*limits, "--format", form)
        assert status == 1
        assert "Limit exceeded: twins.pairs is" in err
        assert "leakage is" not in err
        if form == "junit":
            assert len(check_junit(out)) == 3
        else:
            assert re.search(r"^::error title=embedkit%3A twins.pairs::twins.pairs is", out, re.M)
    known = tmp_path / "known.json"
    assert run("--write-baseline", known)[0] == 0
    status, out, err = run(*limits, "--baseline", known, "--json")
    document = json.loads(out)
    jsonschema.validate(document, SCHEMA)
    assert status == document["exit_code"] == 0
    assert [one["outcome"] for one in document["limits"]] == ["holds"] * 2
    assert document["baseline"]["new"] == {"twins": []}
    assert "Baseline: twins:" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "junit", "--json"], "take one"),
        (["--format", "xml"], "known are text, github, junit"),
        (["--limit-on", "high"], "known are value, ci-low, ci-high"),
        (["--limit", "leakage.frob=1"], "no figure is called 'leakage.frob'"),
        (["--baseline", "nowhere.json"], "--write-baseline makes it"),
    ],
)
def test_what_is_asked_wrongly_is_status_2(run, arguments, message):
    status, out, err = run(*arguments)
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    if "--json" not in arguments:
        assert out == ""


def test_all_figures_are_listed_with_their_values(run):
    status, out, _ = run("--limits")
    assert status == 0
    assert re.search(r"^ *twins\.pairs +\d+ *$", out, re.M)
    assert re.search(r"^ *leakage +0\.\d+ +0\.\d+ to 0\.\d+$", out, re.M)
    document = json.loads(run("--limits", "--json")[1])
    assert document["schema"] == "embedkit.limits/1"
    for one in document["figures"]:
        if one["value"] is not None and not one["name"].startswith("siblings"):
            assert parse_limits([f"{one['name']}={min(one['value'], 1)}"])


@pytest.mark.parametrize("text", ["leakage.low=5", "leakage.high=5", "leakage.value=2"])
def test_a_limit_that_no_share_can_exceed_is_refused(result, text):
    with pytest.raises(InputError, match="is a share"):
        judge(result, parse_limits([text]))
