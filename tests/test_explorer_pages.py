"""The explorer as people meet it: opened, searched, filtered, ticked, in a real browser."""

import csv
import re

import pytest
from browsers import hindrances
from helpers import noise, saved
from playwright.sync_api import expect

from embedkit.audits import audit
from embedkit.audits.kept import keep
from embedkit.audits.ticks import FILE, ticks
from embedkit.explorer.serving import serve
from embedkit.pipeline import embed
from embedkit.store import Store

pytestmark = pytest.mark.browser

HOSTILE = [
    "<img src=x onerror=alert(1)>.jpg",
    "\"';--.png",
    "\u202egnp.exe.png",
    "</script><script>alert(2)<!--.png",
    "line\nbreak.png",
    "{{ 7*7 }}${alert(3)}.png",
    "'onclick='alert(4).png",
    "=cmd|'.png",
]
LABELS = ["<b onmouseover=alert(5)>x", "&amp; שלום"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Pictures with hostile names and labels; each is in train and, copied, in test."""
    folder = tmp_path_factory.mktemp("hostile")
    seed = 0
    for label in LABELS:
        for name in [*HOSTILE, *(f"{n}.png" for n in range(8))]:
            for split in ("train", "test"):
                path = folder / "faces" / split / label / name
                path.parent.mkdir(parents=True, exist_ok=True)
                copied = name in HOSTILE[:5]
                seed += split == "train" or not copied
                kind = "PNG" if name.endswith("png") else "JPEG"
                path.write_bytes(saved(noise(seed), kind))
    made = embed(folder / "faces", folder / "store", backbone=["pixels"])
    keep(audit(made, checks=["twins", "labels", "quality"]))
    return made


@pytest.fixture(scope="module")
def served(store):
    with serve(store.path) as running:
        yield running


@pytest.fixture
def page(tab, served, store):
    """The first page, with no answer given before."""
    (store.path / FILE).unlink(missing_ok=True)
    tab.goto(served.address)
    tab.wait_for_selector("h2")
    return tab


@pytest.fixture
def refused(chromium):
    """A page that is refused something, which Chromium prints; it may print nothing else."""
    with chromium.new_context() as context:
        page, said = context.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        yield page
        assert said
        assert all(one.startswith("Failed to load resource") for one in said)


def go(page, where):
    page.evaluate("where => { location.hash = where; }", where)


def text(page, selector):
    return page.locator(selector).inner_text()


def test_the_first_page_says_what_was_found(page, store):
    assert text(page, "h2") == "Findings"
    assert "token" not in page.url
    said = text(page, ".findings")
    for words in ("present", "Copies of one photograph", "Judge 10 pairs", "Nobody has looked"):
        assert words in said
    page.reload()
    page.wait_for_selector(".findings")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_every_view_is_for_everybody(page, store, width, scheme):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    views = ("findings", "pictures", "pictures?finding=twins", "clusters", "review/twins")
    for view in (*views, "review/twins/sample", "picture/3", "like", "selected"):
        go(page, view)
        page.wait_for_load_state("networkidle")
        assert hindrances(page) == [], view
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view


def test_hostile_names_and_labels_are_text(page, store):
    go(page, "pictures")
    page.click("text=Show more")
    expect(page.locator(".tile")).to_have_count(64)
    shown = text(page, ".grid")
    for id_ in store.items.ids:
        assert id_ in shown
    for row, id_ in enumerate(store.items.ids):
        if any(name[:8] in id_ for name in HOSTILE[:3]):
            go(page, f"picture/{row}")
            expect(page.locator("h2")).to_have_text(id_)
    go(page, "review/labels")
    page.wait_for_selector(".queue")
    assert page.locator("main [onmouseover], main script, main [onerror]").count() == 0


def test_pictures_are_found_by_a_part_of_their_id(page, store):
    page.fill("#words", "train/")
    page.click("#search button:not([type])")
    page.wait_for_selector("main p:has-text('32 pictures')")
    page.fill("#words", "3.PNG")
    page.keyboard.press("Enter")
    page.wait_for_selector("main p:has-text('4 pictures')")
    page.fill("#words", "nothing of the kind")
    page.keyboard.press("Enter")
    page.wait_for_selector("main p:has-text('0 pictures')")


def test_filters_narrow_the_list_and_go_into_the_address(page, store):
    go(page, "pictures")
    page.wait_for_selector("main p:has-text('64 pictures')")
    page.get_by_label("Split", exact=True).select_option("test")
    page.wait_for_selector("main p:has-text('32 pictures')")
    page.get_by_label("Label", exact=True).select_option(LABELS[0])
    page.wait_for_selector("main p:has-text('16 pictures')")
    page.get_by_label("Named by", exact=True).select_option("twins")
    page.wait_for_selector("main p:has-text('5 pictures')")
    page.reload()
    page.wait_for_selector("main p:has-text('5 pictures')")
    page.click("text=Clear filters")
    page.wait_for_selector("main p:has-text('64 pictures')")
    page.click("text=Show more")
    expect(page.locator(".tile")).to_have_count(64)


def test_a_picture_is_searched_for_and_its_copy_comes_first(page, store):
    path = store.items.path(store.items.ids[0])
    page.set_input_files("#upload", path)
    page.wait_for_selector(".asked")
    page.wait_for_selector(".tile")
    assert store.items.ids[0] in text(page, ".tile >> nth=0")
    assert "similarity 1.000" in text(page, ".tile >> nth=0")


def test_what_is_no_picture_is_said(refused, served):
    refused.goto(served.address)
    no_picture = {"name": "x.png", "mimeType": "image/png", "buffer": b"no"}
    refused.set_input_files("#upload", no_picture)
    refused.wait_for_selector("#trouble:not([hidden])")
    assert "cannot be read" in text(refused, "#trouble")


def test_a_picture_that_is_dropped_is_searched_for(page, store):
    picture = store.items.path(store.items.ids[5]).read_bytes()
    page.evaluate(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
            dispatchEvent(new DragEvent("drop", {dataTransfer: data, cancelable: true}));
        }""",
        list(picture),
    )
    page.wait_for_selector(".asked")
    page.wait_for_selector(".tile >> nth=0")
    assert store.items.ids[5] in text(page, ".grid")


def test_searching_by_text_says_what_it_needs(page):
    page.select_option("#how", "text")
    assert page.locator("#words").is_disabled()
    assert "-b clip" in text(page, "#said")
    page.select_option("#how", "id")
    assert page.locator("#words").is_enabled()


def test_ticks_are_given_by_keys_and_survive_a_new_audit(page, served, store):
    page.click("text=Judge 10 pairs")
    page.wait_for_selector(".ticks")
    assert "1 of 10" in text(page, ".judge")
    page.keyboard.press("1")
    page.wait_for_selector("text=2 of 10:")
    page.keyboard.press("2")
    page.wait_for_selector("text=3 of 10:")
    page.keyboard.press("3")
    page.wait_for_selector("text=4 of 10:")
    page.keyboard.press("k")
    page.wait_for_selector("text=3 of 10:")
    assert page.locator(".ticks .unsure").get_attribute("aria-pressed") == "true"
    page.keyboard.press("j")
    page.wait_for_selector("text=4 of 10:")
    assert "3 of 10 listed pairs were looked at: 1 real, 1 not real, 1 unsure" in text(
        page, ".lead"
    )
    page.keyboard.press("k")
    page.wait_for_selector("text=3 of 10:")
    page.keyboard.press("0")
    page.wait_for_selector("text=2 of 10 listed pairs were looked at")
    assert [one.answer.value for one in ticks(store).values()] == ["real", "not real"]

    keep(audit(Store.open(store.path), checks=["twins", "labels", "quality"]))
    page.goto(served.address)
    page.wait_for_selector("text=2 of 10 listed pairs were looked at")
    page.click("text=Judge 10 pairs")
    page.wait_for_selector("text=3 of 10:")  # the first that nobody has looked at
    states = page.locator(".queue .state").all_inner_texts()
    assert states[:3] == ["real", "not real", ""]


def test_a_random_sample_is_judged_and_speaks_for_the_list(page, store):
    twins = page.locator(".findings li", has_text="Copies of one photograph")
    assert twins.get_by_text("Judge 10 pairs").count() == 1
    assert twins.get_by_text("random sample").count() == 0  # the list is shorter than one
    go(page, "review/twins/sample")
    page.wait_for_selector(".ticks")
    for n in range(1, 11):
        page.keyboard.press("1")
        page.wait_for_selector(f"text={n} of 10 listed pairs were looked at")
    assert "100% [72%, 100%] of those told are real" in text(page, "main .lead[role=status]")


def test_the_answers_are_exported(page, store, tmp_path):
    go(page, "review/twins")
    page.wait_for_selector(".ticks")
    page.keyboard.press("1")
    page.wait_for_selector("text=1 of 10 listed")
    with page.expect_download() as download:
        page.click("text=Export all answers")
    download.value.save_as(tmp_path / "reviews.csv")
    with (tmp_path / "reviews.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["answer"] == "real"
    assert {row["id"], row["other"]} <= set(store.items.ids)


def test_a_picture_leads_to_its_neighbours_and_back(page, store):
    go(page, "pictures?finding=twins")
    page.click(".tile >> nth=1")
    page.wait_for_selector(".one")
    assert "2 of 20" in text(page, ".bar")
    page.wait_for_selector("h3:has-text('Nearest pictures') + .grid .tile")
    assert "Copies of it (1)" in text(page, ".one")
    page.keyboard.press("j")
    page.wait_for_selector("text=3 of 20")
    page.keyboard.press("k")
    page.wait_for_selector("text=2 of 20")
    page.click("a:has-text('twins')")
    page.wait_for_selector(".ticks")
    page.go_back()
    page.wait_for_selector(".one")


def test_a_card_says_what_an_answer_rests_on(page, store):
    go(page, f"picture/{store.items.splits.index('test')}")
    page.click("text=Show its verdict card")
    page.wait_for_selector("pre", timeout=120_000)
    assert re.match(r"(Right|Wrong)", text(page, ".sentence"))
    assert "nearest in train" in text(page, "pre")
    assert hindrances(page) == []


def test_the_map_shows_filters_and_hands_over_a_selection(page, store):
    go(page, "map")
    page.wait_for_selector(".em-canvas", timeout=120_000)
    assert "64 of 64" in text(page, ".em-status") or "64" in text(page, ".em-status")
    assert hindrances(page) == []
    page.get_by_label("Split", exact=True).select_option("test")
    expect(page.locator(".em-status")).to_contain_text("32")
    page.click("text=Select what is in view")
    page.click("text=Look at the 32 selected pictures")
    expect(page.locator(".tile")).to_have_count(32)
    go(page, "map/0")
    page.click("text=Open this picture")
    page.wait_for_selector(".one")
    assert text(page, "h2") == store.items.ids[0]


def test_a_store_that_has_changed_is_loaded_again(refused, served, store):
    refused.goto(served.address)
    refused.wait_for_selector("h2")
    keep(audit(Store.open(store.path), checks=["twins", "labels", "quality"]))
    go(refused, "clusters")
    refused.wait_for_selector("#trouble:not([hidden])")
    assert "load it again" in text(refused, "#trouble")
    refused.click("text=Load again")
    refused.wait_for_selector(".cluster")


def test_a_picture_that_is_gone_leaves_a_placeholder(refused, served, store):
    path = store.items.path(store.items.ids[2])
    moved = path.rename(path.with_name("moved"))
    try:
        refused.goto(served.address)
        go(refused, "picture/2")
        refused.wait_for_selector(".one img")
        expect(refused.locator(".one img").first).to_have_js_property("naturalWidth", 160)
        assert hindrances(refused) == []
    finally:
        moved.rename(path)


def test_a_server_that_has_ended_is_said_to_have(refused, store):
    with serve(store.path) as running:
        refused.goto(running.address)
        refused.wait_for_selector("h2")
    go(refused, "pictures")
    refused.wait_for_selector("text=The server does not answer")
