"""Pages and figures: well formed, harmless whatever files are called, looked at in a browser."""

import html.parser
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browsers import hindrances
from helpers import noise, saved
from PIL import Image

from embedkit.audits import audit
from embedkit.audits.claims import claims_of
from embedkit.audits.ticks import Answer, tick
from embedkit.errors import InputError
from embedkit.heads import evaluate, train
from embedkit.heads.curve import learning_curve
from embedkit.neighbours import search
from embedkit.pipeline import embed
from embedkit.reports import text
from embedkit.reports.audits import findings
from embedkit.reports.figures import write_figures
from embedkit.reports.markdown import markdown, plain
from embedkit.reports.outputs import write_report
from embedkit.reports.page import MOST_PAIRS, render
from embedkit.reports.pictures import Pictures, load_pixels, mosaic, pixels_uri
from embedkit.reports.sheets import search_sheet
from embedkit.store import Store

VOID = {"meta", "img", "br", "rect", "path", "line", "link", "input", "hr"}


class Checker(html.parser.HTMLParser):
    """Collects elements and attributes and notices tags that do not match."""

    def __init__(self):
        super().__init__()
        self.open, self.elements, self.attributes, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def result(planted_audit):
    return planted_audit


@pytest.fixture(scope="module")
def page(result):
    return render(result, command="embedkit audit faces")


def test_the_page_is_well_formed_and_says_the_figures(page, result):
    words = " ".join(" ".join(parsed(page).text).split())
    head = result["ledger"].heads[0]
    assert f"Reported accuracy (logistic head): {head.reported.value:.1%}" in words
    assert f"Without copies in train: {head.honest.value:.1%}" in words
    for finding in result.findings:
        assert finding.name in words
    assert "That is no pass" in words


def test_the_page_loads_nothing_and_runs_nothing(page):
    checker = parsed(page)
    assert "script" not in checker.elements
    for _, name, value in checker.attributes:
        assert not name.startswith("on")
        assert name != "style"  # the policy would refuse it
        if name in ("src", "href"):
            assert value.startswith(("data:image/jpeg;base64,", "#"))
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_each_picture_is_shown_with_text_for_those_who_cannot_see_it(page, result):
    checker = parsed(page)
    pairs, suspects = len(result["twins"].pairs), len(result["labels"].images)
    flagged = sum(one.readable for one in result["quality"].flagged)
    shown = 2 * min(MOST_PAIRS, pairs) + min(MOST_PAIRS, suspects) + min(MOST_PAIRS, flagged)
    shown += sum(len(one.evidence) for one in result.headline.causes)
    shown += len(result["shortcuts"].aligned) + len(result["shortcuts"].conflicting)
    assert pairs
    assert suspects
    assert checker.elements.count("img") == shown
    alts = [value for tag, name, value in checker.attributes if (tag, name) == ("img", "alt")]
    assert len(alts) == shown
    assert all(alts)


def test_the_same_audit_gives_the_same_page(page, result):
    assert render(result, command="embedkit audit faces") == page


def test_a_picture_that_is_gone_leaves_a_gap_and_not_an_error(store_copy, tmp_path):
    store = Store.open(store_copy)
    store.items = replace(store.items, root=tmp_path / "nowhere")
    page = render(audit(store, backbone="mtcnn", checks=["twins"]))
    assert "no picture" in page
    assert "<img" not in page


HOSTILE = [
    "<img src=x onerror=alert(1)>.png",
    "\"';--.png",
    "&lt;script&gt;.png",
    "\u202egnp.exe.png",
    "{{ 7*7 }}.png",
    "x\ny.png",
    "'><svg onload=alert(1)>.png",
    "@someone #1 https:evil `x` | y.png",
]


def test_hostile_names_are_only_text(tmp_path):
    for place, name in enumerate(HOSTILE):
        for side, label in (("train", "<b>bold</b>"), ("test", "<b>bold</b>"), ("train", "b")):
            folder = tmp_path / "f" / side / label.replace("/", "\u2215")
            folder.mkdir(parents=True, exist_ok=True)
            seed = place if label != "b" else 100 + place
            (folder / name).write_bytes(saved(noise(seed, 24), "PNG"))
    (tmp_path / "f/train/b/<i>broken.png").write_bytes(b"")
    store = embed(tmp_path / "f", tmp_path / "s<u>", backbone="pixels")
    result = audit(store)
    assert len(result["twins"].pairs) == len(HOSTILE)
    checker = parsed(render(result, command="embedkit <x>"))
    assert not {"b", "i", "svg onload", "u", "script", "x"} & (set(checker.elements) - {"b"})
    assert not any(name.startswith("on") for _, name, _ in checker.attributes)
    shown = "".join(checker.text)
    assert "<img src=x onerror=alert(1)>.png" in shown
    assert "{{ 7*7 }}.png" in shown
    assert "<i>broken.png" in shown
    said = markdown(result, command="embedkit <x> `y`")
    assert "<img" not in said
    assert "@someone" not in said
    assert "`y`" not in said
    head = train(store)
    for name in HOSTILE:
        one = head.predict(tmp_path / "f" / "test" / "<b>bold<\u2215b>" / name)
        assert one.label in head.labels


def test_an_audit_without_a_ledger_still_makes_a_page(tmp_path):
    for n in range(5):
        path = tmp_path / "f" / f"{n}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(saved(noise(n), "PNG"))
    page = render(audit(embed(tmp_path / "f", tmp_path / "s", backbone="pixels")))
    assert "No accuracy to explain yet" in page
    parsed(page)


def test_no_metadata_of_a_picture_gets_into_a_page(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "SECRET-DESCRIPTION"
    exif.get_ifd(0x8825)[1] = "N"
    path = tmp_path / "x.jpg"
    path.write_bytes(saved(noise(0), "JPEG", exif=exif, comment=b"SECRET-COMMENT"))
    import base64

    data = base64.b64decode(pixels_uri(load_pixels(path)).split(",")[1])
    assert b"SECRET" not in data
    assert b"Exif" not in data


def test_figures_are_written_in_both_formats_and_are_the_same_twice(planted_store, tmp_path):
    head = train(planted_store, backbone="mtcnn")
    evaluation, curve = evaluate(head), learning_curve(head)
    for folder in ("a", "b"):
        paths = write_figures(evaluation, curve, tmp_path / folder, ["png", "svg"])
    assert [p.name for p in paths] == [
        "confusion.png",
        "confusion.svg",
        "learning_curve.png",
        "learning_curve.svg",
    ]
    for path in paths:
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()
    assert np.asarray(Image.open(tmp_path / "a/confusion.png").convert("L")).std() > 10
    svg = (tmp_path / "a/confusion.svg").read_text()
    for label in head.labels:
        assert label in svg


def test_a_class_name_with_dollars_is_no_formula(planted_store, tmp_path):
    head = train(planted_store, backbone="mtcnn")
    evaluation = replace(evaluate(head), labels=("$a_{", "b$"))
    paths = write_figures(evaluation, learning_curve(head), tmp_path, ["svg"])
    assert "$a_{" in paths[0].read_text()


def test_a_contact_sheet_shows_the_picture_and_its_neighbours(planted_store, planted, tmp_path):
    path = planted.folder / planted.twins[0]["a"]
    found = search(planted_store, path, k=7, backbone="mtcnn")
    sheet = Image.open(search_sheet(planted_store, str(path), found, tmp_path / "sheet.png"))
    assert sheet.width > sheet.height > 160  # two rows of up to six
    assert np.asarray(sheet.convert("L")).std() > 20


def test_terminal_lines_are_no_wider_than_they_need_to_be(planted_store, result):
    report = text.classification_report(evaluate(train(planted_store, backbone="mtcnn")))
    assert max(map(len, report.splitlines())) <= 100
    assert all(line == line.rstrip() for line in report.splitlines())
    every = findings(result).splitlines()
    beside = [line.strip() for line in every if line.startswith(" ")]
    assert beside[0] == result["ledger"].resplits.sentence
    assert [line.split(":")[0] for line in beside[1:]] == ["logistic", "knn"]
    lines = [line for line in every if not line.startswith(" ")]
    # Seven answers, and a line for each reason why something did not run.
    assert [line.split()[0] for line in lines[7:]] == ["--", "--"]
    assert re.match(r"-- not run\s+siblings", lines[7])
    assert re.match(r"-- not run\s+bias", lines[8])


def test_the_first_screen_names_the_largest_causes_with_evidence_and_a_next_step(result):
    first = result.headline
    head = result["ledger"].heads[0]
    assert (first.reported, first.honest) == (head.reported, head.honest)
    assert first.without == "copies in train"
    assert 0 < len(first.causes) <= 3
    of_accuracy = [one for one in first.causes if one.of == "accuracy"]
    assert of_accuracy == list(first.causes[: len(of_accuracy)])  # before all others
    assert of_accuracy[0].effect in [line.effect for line in head.lines]
    pairs = {(pair.a, pair.b) for pair in result["twins"].pairs if pair.across_splits}
    assert tuple(id_ for id_, _ in of_accuracy[0].evidence) in pairs
    assert all(one.step and one.certainty for one in first.causes)


def test_nothing_planted_has_no_cause_of_the_accuracy(clean_store):
    result = audit(clean_store, backbone="mtcnn", checks=["twins", "ledger"])
    assert [one for one in result.headline.causes if one.of == "accuracy"] == []
    assert "No test image has copies in train" in result.headline.title


def test_people_on_both_sides_are_shown_in_pairs(tmp_path):
    rows = ["path,label,split,who"]
    for who in range(12):
        for turn, split in enumerate(("train", "train", "test")):
            name = f"{who}-{turn}.png"
            (tmp_path / name).write_bytes(saved(noise(10 * who + turn), "PNG"))
            rows.append(f"{name},{'ab'[who % 2]},{split},{who}")
    (tmp_path / "people.csv").write_text("\n".join(rows))
    store = embed(tmp_path / "people.csv", tmp_path / "s", backbone="pixels", group="who")
    result = audit(store, checks=["siblings"])
    assert result["siblings"].pairs == tuple((f"{n}-2.png", f"{n}-0.png") for n in range(12))
    page = parsed(render(result))
    assert page.elements.count("img") == 24
    assert "The same people on both sides" in "".join(page.text)
    assert result.reviews == {}
    claims = claims_of(result["siblings"].to_dict())
    for claim, answer in zip(claims, [Answer.REAL, Answer.REAL, Answer.NOT_REAL], strict=False):
        tick(store, claim, answer)
    assert (result.reviews["siblings"].real, result.reviews["siblings"].not_real) == (2, 1)
    said = "".join(parsed(render(result)).text)
    assert "3 of 12 listed pairs were looked at: 2 real, 1 not real, 0 unsure." in said
    assert "were not drawn at random" in said


def test_no_face_can_be_told_on_a_blurred_page(result, page, planted_store):
    blurred = render(result, command="embedkit audit faces", blur_faces=True)
    shown = re.findall(r'src="(data:[^"]+)"', blurred)
    assert len(shown) == page.count("<img")
    assert not set(shown) & set(re.findall(r'src="(data:[^"]+)"', page))
    id_ = planted_store.items.ids[0]
    seen = Pictures(planted_store.items, blur_faces=True).pixels(id_)
    # No face was looked for, so nothing of the picture is left but a few squares.
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) <= 36
    hidden = parsed(render(result, images=False))
    assert "img" not in hidden.elements
    assert id_.split("/")[0] in "".join(hidden.text)


def test_only_the_face_is_blurred_where_one_is_known():
    pixels = np.asarray(noise(0, 100))
    changed = mosaic(pixels, (40, 40, 60, 60))
    same = (changed == pixels).all(axis=2)
    assert not same[40:60, 40:60].any()
    assert same[:30].all()
    assert same[:, 70:].all()
    beside = mosaic(pixels, (200, 200, 240, 240))
    assert len(np.unique(beside.reshape(-1, 3), axis=0)) <= 36


def test_markdown_says_the_same_and_nothing_of_it_is_read_as_more(result):
    said = markdown(result, command="embedkit audit faces")
    head = result["ledger"].heads[0]
    assert f"{head.reported.value:.1%}" in said.splitlines()[0]
    rows = [line for line in said.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(result.findings)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)
    assert plain("a|b\n*c* <i>") == "a\\|b \\*c\\* &lt;i&gt;"
    assert plain("@me #12 http://x a: b") == "@<!-- -->me #<!-- -->12 http:<!-- -->//x a: b"
    assert plain("www.x.org $x$ GH-12") == "www<!-- -->.x.org $<!-- -->x$ GH<!-- -->-12"
    assert plain("0123456789abcdef") == "012345<!-- -->6789ab<!-- -->cdef"
    assert plain("99 of 12345, added") == "99 of 12345, added"


def test_a_report_is_written_as_its_name_says(result, tmp_path):
    for name in ("a.html", "a.md", "a.json"):
        write_report(result, tmp_path / name)
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "a.md").read_text().startswith("## Reported accuracy")
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads(json.dumps(result.to_dict()))
    with pytest.raises(InputError, match=r"no report is written as 'a.pdf'; its end says how"):
        write_report(result, tmp_path / "a.pdf")
    with pytest.raises(InputError, match="is a store; write the report to another folder"):
        write_report(result, result.store.path / "store.json")


@pytest.mark.browser
def test_every_link_of_the_page_leads_somewhere_and_all_is_reached_by_keyboard(page, tab, tmp_path):
    (tmp_path / "report.html").write_text(page)
    tab.goto(f"file://{tmp_path / 'report.html'}")
    targets = tab.eval_on_selector_all("a", "all => all.map(a => a.getAttribute('href'))")
    assert len(targets) > 5
    assert all(tab.locator(target).count() == 1 for target in set(targets))
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "To the answers"
    box = tab.locator(".skip").bounding_box()
    assert box["x"] >= 0  # it shows itself once it is reached
    tab.locator("summary").first.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("details").first.get_attribute("open") is not None


def test_another_picture_under_the_name_of_one_is_not_shown(store_copy, planted, tmp_path):
    folder = Path(shutil.copytree(planted.folder, tmp_path / "faces"))
    store = Store.open(store_copy)
    items = replace(store.items, root=folder)
    id_ = items.ids[0]
    assert Pictures(items).pixels(id_) is not None
    (folder / id_).write_bytes(saved(noise(1), "PNG"))
    assert Pictures(items).pixels(id_) is None
    assert Pictures(items, blur_faces=True).uri(id_) is None
    assert Pictures(items).pixels("../elsewhere.png") is None


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1200, 1600), (390, 844)])
def test_a_browser_shows_the_page_without_an_error(page, tab, tmp_path, size, scheme):
    (tmp_path / "report.html").write_text(page)
    tab.set_viewport_size({"width": size[0], "height": size[1]})
    tab.emulate_media(color_scheme=scheme)
    tab.goto(f"file://{tmp_path / 'report.html'}")
    assert tab.evaluate("document.documentElement.scrollWidth") == size[0]  # nothing sticks out
    assert hindrances(tab) == []


def test_a_line_break_in_a_name_breaks_no_table():
    rows = [["class", "images"], ["one\nother\r\nthird", "12"], ["", "3"]]
    assert text.table(rows).splitlines() == [
        "  class            images",
        "  one other third      12",
        "                        3",
    ]
