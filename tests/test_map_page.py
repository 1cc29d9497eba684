"""Maps as files: a page that is touched in a browser, and figures."""

import base64
import csv
import hashlib
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from browsers import hindrances
from embedkit_cli.app import main
from helpers import make_different
from jsonschema import validate
from PIL import Image

from embedkit.errors import InputError
from embedkit.maps import map_of
from embedkit.maps.columns import Column, Columns
from embedkit.pipeline import embed
from embedkit.reports.map_data import map_data
from embedkit.reports.map_figure import map_figure
from embedkit.reports.map_files import check_file, map_text, write_map
from embedkit.reports.map_page import render_map
from embedkit.reports.sprites import sprites
from embedkit.store import Store

NAMES = (
    "<img src=x onerror=alert(1)>.png",
    "\"';--.png",
    "\u202ecod.png",
    "two\nlines.png",
    "<!--<script>alert(2)<&.png",
    "=cmd|' !A0.png",
    "$x^2$ {{7*7}}.png",
    "plain.png",
)
LABELS = ("=1+1", 'two\nlines, "quoted"', "</script><script>alert(3)</script>", "\u202eright")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A map of pictures with names and labels as bad as they get, on a square grid of places."""
    root = tmp_path_factory.mktemp("hostile")
    folder = make_different(root / "all", *(f"{c}/{name}" for c in "ab" for name in NAMES))
    store = embed(folder, root / "store", backbone="pixels")
    (root / "new").mkdir()
    new = root / "new" / "<b>new.png"
    Image.fromarray(np.full((20, 40, 3), 90, np.uint8)).save(new)
    whole = map_of(store, add=[new])
    n = len(whole.rows)
    y, x = np.divmod(np.arange(n), 4)
    columns = (
        Column("label", "data set", tuple(LABELS[row % 4] for row in range(n)), "<i>note</i>"),
        Column("many", "data set", tuple(f"class {row}" for row in range(n))),
        Column("age", "data set", np.where(np.arange(n) == 3, np.nan, np.arange(n) / 3.0)),
        *whole.columns.columns[1:],
    )
    return replace(
        whole,
        places=np.stack([x, y], axis=1).astype(np.float32),
        columns=Columns(columns, ((0, 1), (2, 7)), whole.columns.missing),
    )


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    """The page of it, as a file."""
    return write_map(made, tmp_path_factory.mktemp("page") / "map.html")


def test_every_script_and_style_has_its_hash_and_nothing_else_may_run(page):
    text = page.read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1].replace("&#39;", "'")
    for tag, kind in (("style", "style-src"), ("script", "script-src")):
        bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(b.encode()).digest()).decode() for b in bodies]
        (named,) = re.findall(rf"{kind} ([^;]+)", policy)
        assert [f"'sha256-{one}'" for one in digests] == named.split()
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<[^>]+\son\w+=", re.sub(r"<script.*?</script>", "", text, flags=re.S))
    assert not re.search(r'(src|href)="', text)


def test_names_cannot_leave_the_data(page):
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    assert not set(data[1]) & set("<>&\u2028\u2029")
    assert json.loads(data[1])["columns"][0]["values"].count(LABELS[2]) == 1


def test_the_data_is_what_the_map_holds(made):
    data = map_data(made, sprites=None)
    places = np.frombuffer(base64.b64decode(data["xy"]), "<f4").reshape(-1, 2)
    assert data["n"] == len(places) == len(data["ids"]) == len(made.places) + 1
    assert places[:-1].tolist() == made.places.tolist()
    assert places[-1].tolist() == made.added[0].place.tolist()
    by_name = {one["name"]: one for one in data["columns"]}
    codes = np.frombuffer(base64.b64decode(by_name["label"]["codes"]), "<i4")
    names = by_name["label"]["values"]
    assert [names[code] for code in codes[:-1]] == list(made.columns["label"].values)
    assert codes[-1] == -1  # nothing is known of a new picture
    ages = np.frombuffer(base64.b64decode(by_name["age"]["values"]), "<f4")
    assert np.isnan(ages[[3, -1]]).all()
    assert by_name["many"]["colours"].count(-1) == len(made.places) - len(data["palette"])
    pairs = np.frombuffer(base64.b64decode(data["pairs"]), "<i4")
    assert pairs.tolist() == [0, 1, 2, 7]


def test_a_tile_is_the_whole_picture_in_its_place():
    colours = [(250, 10, 10), (10, 250, 10), (10, 10, 250)]
    pixels = [np.full((30, 60, 3), one, np.uint8) for one in colours]
    made = sprites(lambda point: pixels[point] if point < 3 else None, [2, 0, 4], 5)
    tiles = np.frombuffer(base64.b64decode(made["tiles"]), "<i4")
    assert tiles.tolist() == [1, -1, 0, -1, -1]
    address, data = made["sheets"][0].split(",", 1)
    assert address == "data:image/webp;base64"
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), int)
    side = made["side"]
    for point, place in ((2, 0), (0, 1)):
        middle = sheet[side // 2, place * side + side // 2]
        assert abs(middle - colours[point]).max() < 30
        assert abs(sheet[2, place * side + side // 2] - 128).max() < 30  # above a wide picture
    assert sprites(lambda point: None, [0, 1], 2) is None


def test_beyond_so_many_points_pictures_of_some_are_shown_and_said(made, monkeypatch):
    monkeypatch.setattr("embedkit.reports.map_page.MOST", 5)
    text = render_map(made)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    tiles = np.frombuffer(base64.b64decode(data["sprites"]["tiles"]), "<i4")
    assert (tiles >= 0).sum() == 5
    assert tiles[-1] >= 0  # new pictures first
    assert "All 17 points are here; pictures of 5, drawn at random." in text
    assert "drawn at random" not in render_map(made, images=False)
    assert "made without pictures" in render_map(made, images=False)


def test_pictures_that_are_gone_are_counted_and_a_map_of_nothing_known_is_drawn(made, tmp_path):
    items = replace(made.store.items, root=tmp_path)
    gone = Store(made.store.path, made.store.record, items, (), made.store.spaces)
    moved = replace(made, store=gone, columns=Columns((), (), ()), colour_by="")
    assert "16 of the pictures cannot be read where they were" in render_map(moved)
    assert "cannot be read" not in render_map(made)
    alone = replace(moved, added=())
    data = json.loads(re.search(r'id="data">(.*?)</script>', render_map(alone))[1])
    assert (data["sprites"], data["columns"], data["colour_by"]) == (None, [], "")
    assert [one.get_text() for one in map_figure(alone).axes[0].get_legend().get_texts()] == [
        "pictures (16)"
    ]
    assert "Coloured" not in map_text(alone)


@pytest.mark.browser
def test_a_map_of_nothing_known_works(made, tab, tmp_path):
    bare = replace(made, columns=Columns((), (), ()), colour_by="")
    tab.goto(write_map(bare, tmp_path / "map.html", images=False).as_uri())
    tab.get_by_role("button", name="Select what is in view").click()
    assert tab.get_by_role("status").inner_text() == "17 of 17 shown, 17 selected"
    box = tab.locator(".em-canvas").bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_files_are_the_same_bytes_twice_and_other_endings_are_refused(made, tmp_path):
    for name in ("a.png", "a.svg", "a.html"):
        first, again = (write_map(made, tmp_path / side / name).read_bytes() for side in "xy")
        assert first == again
    with pytest.raises(InputError, match=r"'map.pdf'; it can end in .html, .png or .svg"):
        check_file(tmp_path / "map.pdf")
    with pytest.raises(InputError, match="is for a page"):
        check_file(tmp_path / "map.png", images=False)


@pytest.mark.parametrize("column", ["label", "many", "age"])
def test_a_figure_has_its_legend_beside_and_its_honesty_below(made, column):
    figure = map_figure(replace(made, colour_by=column))
    axes = figure.axes[0]
    figure.draw_without_rendering()
    box = axes.get_window_extent()
    legend = axes.get_legend().get_window_extent()
    assert legend.x0 >= box.x1
    assert legend.x1 <= figure.bbox.x1
    entries = [one.get_text() for one in axes.get_legend().get_texts()]
    assert "new pictures (1)" in entries
    if column == "many":
        assert entries[7] == "9 more values (9)"
    if column == "age":
        assert entries[0] == "no value (1)"
    drawn = sum(len(one.get_offsets()) for one in axes.collections)
    assert drawn == len(made.places)
    said = "\n".join(one.get_text() for one in figure.texts)
    assert "trustworthiness" in said
    assert "With another seed" in said


# ---- in a browser ---------------------------------------------------------------------------


def at(tab, i):
    """Return where the page draws a point, in pixels of the window."""
    return tab.evaluate(
        """i => { const box = map.canvas.getBoundingClientRect(), [x, y] = map._at(i);
                  return [box.x + x, box.y + y]; }""",
        i,
    )


@pytest.fixture
def shown(tab, page):
    """The page in the browser, its map within reach of the test."""
    text = page.read_text()
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[0]
    reachable = script.replace("new EmbedMap", "window.map = new EmbedMap")
    old, new = (
        base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()
        for one in (script, reachable)
    )
    escaped = old.replace("+", "&#43;")
    assert old in text or escaped in text
    copy = page.with_name("reachable.html")
    copy.write_text(text.replace(script, reachable).replace(old, new))
    tab.goto(copy.as_uri())
    tab.wait_for_function("map.scale > 0 && map.sheets.every(one => one.complete)")
    return tab


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_nobody_is_hindered_and_the_console_is_silent(page, tab, size, scheme):
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": size[0], "height": size[1]})
    tab.goto(page.as_uri())
    tab.get_by_role("button", name="Select what is in view").click()
    assert tab.get_by_role("status").inner_text() == "17 of 17 shown, 17 selected"
    assert hindrances(tab) == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate("document.querySelectorAll('img').length") == 0


@pytest.mark.browser
def test_the_pointer_shows_a_picture_with_its_facts(shown, made):
    shown.mouse.move(*at(shown, 6))
    tip = shown.locator(".em-tip")
    assert tip.is_visible()
    said = tip.inner_text()
    assert made.ids[6] in said
    assert said.count("\n") > 4
    values = """one => new Set(
      one.getContext("2d").getImageData(0, 0, one.width, one.height).data).size"""
    assert tip.locator("canvas").evaluate(values) > 20
    box = shown.locator(".em-canvas").bounding_box()
    shown.mouse.move(box["x"] + 3, box["y"] + 3)
    assert not tip.is_visible()


@pytest.mark.browser
def test_a_click_opens_a_card_and_a_new_picture_says_what_is_nearest(shown, made):
    shown.mouse.click(*at(shown, 16))
    card = shown.locator(".em-card")
    assert "new picture; nearest is" in card.inner_text()
    assert made.added[0].name in card.inner_text()
    shown.get_by_role("button", name="Close").click()
    assert not card.is_visible()


@pytest.mark.browser
def test_a_lasso_selects_and_the_list_is_saved_as_csv(shown, made):
    shown.get_by_role("button", name="Lasso").click()
    corners = [at(shown, i) for i in (0, 3, 7, 4)]
    middle = np.mean(corners, axis=0)
    wide = [[a + np.sign(a - b) * 25 for a, b in zip(one, middle, strict=True)] for one in corners]
    shown.mouse.move(*wide[0])
    shown.mouse.down()
    for corner in [*wide[1:], wide[0]]:
        shown.mouse.move(*corner, steps=5)
    shown.mouse.up()
    inside = shown.evaluate("map.selection")
    assert {i for i in inside if i < 16} == set(range(8))
    assert shown.get_by_role("status").inner_text().endswith(f"{len(inside)} selected")
    assert shown.get_by_role("listitem").count() >= len(inside)
    with shown.expect_download() as waited:
        shown.get_by_role("button", name="Save as CSV").click()
    text = waited.value.path().read_bytes().decode()
    rows = list(csv.reader(io.StringIO(text)))
    names = [one.name for one in made.columns.columns]
    assert rows[0] == ["id", *names]
    for i, row in zip(inside, rows[1:], strict=True):
        if i == 16:
            continue
        assert row[0].removeprefix("'") == made.ids[i]
        label = made.columns["label"].values[i]
        assert row[1] == ("'=1+1" if label == "=1+1" else label)
        age = made.columns["age"].values[i]
        assert row[3] == "" if np.isnan(age) else float(row[3]) == pytest.approx(age, abs=1e-5)
    assert not any(cell[:1] in "=+-@\t\r" and cell for row in rows for cell in row)


@pytest.mark.browser
def test_shift_and_drag_selects_a_rectangle_and_escape_clears(shown):
    (x, y), (right, bottom) = at(shown, 12), at(shown, 1)
    shown.keyboard.down("Shift")
    shown.mouse.move(x - 15, y - 15)
    shown.mouse.down()
    shown.mouse.move(right + 15, bottom + 15, steps=4)
    shown.mouse.up()
    shown.keyboard.up("Shift")
    picked = set(shown.evaluate("map.selection"))
    assert picked - {16} == {0, 1, 4, 5, 8, 9, 12, 13}
    shown.locator(".em-canvas").press("Escape")
    assert shown.evaluate("map.selection") == []


@pytest.mark.browser
def test_legend_text_and_colours_narrow_the_map(shown, made):
    status = shown.get_by_role("status")
    entry = shown.locator(".em-key button", has_text="=1+1")
    entry.click()
    assert entry.get_attribute("aria-pressed") == "false"
    assert status.inner_text() == "13 of 17 shown"
    shown.get_by_label("Find").fill("ALERT(2)")
    n = sum("alert(2)" in one for one in made.ids)
    n -= sum(
        "alert(2)" in one and made.columns["label"].values[i] == "=1+1"
        for i, one in enumerate(made.ids)
    )
    assert status.inner_text() == f"{n} of 17 shown"
    shown.get_by_label("Find").fill("")
    shown.get_by_label("Colour by").select_option("many")
    assert status.inner_text() == "17 of 17 shown"
    assert "9 more values share one grey" in shown.locator(".em-key").inner_text()
    shown.get_by_role("button", name="None").click()
    assert status.inner_text() == "0 of 17 shown"
    shown.get_by_label("Colour by").select_option("age")
    assert shown.locator(".em-ends").inner_text().split() == ["0", "5"]
    assert "no value" in shown.locator(".em-key").inner_text()


@pytest.mark.browser
def test_names_and_labels_are_text(shown, made):
    shown.get_by_role("button", name="Select what is in view").click()
    listed = shown.locator(".em-item span").all_inner_texts()
    assert any(NAMES[0] in one for one in listed)
    assert LABELS[2] in shown.locator(".em-key").inner_text()
    assert "<i>note</i>" in shown.locator(".em-key").inner_text()
    assert shown.evaluate("document.querySelectorAll('img, b.x, #map script').length") == 0


@pytest.mark.browser
def test_keys_move_zoom_and_select(shown):
    canvas = shown.locator(".em-canvas")
    state = "[map.left, map.top, map.scale]"
    left, top, scale = shown.evaluate(state)
    canvas.press("ArrowRight")
    canvas.press("ArrowDown")
    assert shown.evaluate(state) == [left - 60, top - 60, scale]
    canvas.press("0")
    assert shown.evaluate(state) == [left, top, scale]
    canvas.press("+")
    assert shown.evaluate("map.scale") == pytest.approx(1.3 * scale)
    for _ in range(12):
        canvas.press("+")
    canvas.press("s")
    assert len(shown.evaluate("map.selection")) < 17
    canvas.press("l")
    pressed = shown.get_by_role("button", name="Lasso").get_attribute("aria-pressed")
    assert pressed == "true"


@pytest.mark.browser
def test_a_wheel_keeps_what_is_under_the_pointer_and_two_fingers_zoom(shown):
    before = at(shown, 5)
    shown.mouse.move(*before)
    shown.mouse.wheel(0, -300)
    shown.wait_for_function("map.scale > map.whole")
    assert at(shown, 5) == pytest.approx(before, abs=1)
    scale = shown.evaluate("map.scale")
    shown.evaluate(
        """() => { const box = map.canvas.getBoundingClientRect();
          map.canvas.setPointerCapture = () => {};
          const send = (type, id, x, y) => map.canvas.dispatchEvent(new PointerEvent(type, {
            pointerId: id, pointerType: "touch", clientX: box.x + x, clientY: box.y + y }));
          send("pointerdown", 11, 200, 200); send("pointerdown", 12, 300, 200);
          send("pointermove", 12, 400, 200);
          send("pointerup", 11, 200, 200); send("pointerup", 12, 400, 200); }"""
    )
    assert shown.evaluate("map.scale") == pytest.approx(2 * scale)
    assert shown.evaluate("map.selection") == []


@pytest.mark.browser
def test_copies_are_joined_by_lines_and_what_is_missing_is_said(shown, made):
    (ax, ay), (bx, by) = at(shown, 0), at(shown, 1)
    part = {"x": (ax + bx) / 2 - 3, "y": (ay + by) / 2 - 3, "width": 6, "height": 6}
    shown.evaluate("map._draw()")
    joined = shown.screenshot(clip=part)
    shown.get_by_label("Join copies (2 pairs)").uncheck()
    shown.evaluate("map._draw()")
    assert shown.screenshot(clip=part) != joined
    assert made.columns.missing[-1] in shown.locator(".em-missing").inner_text()


@pytest.mark.browser
def test_hooks_are_called_and_the_explorers_methods_work(shown):
    shown.evaluate(
        """() => { window.heard = [];
          map.hooks = { hover: i => heard.push(["hover", i]), click: i => heard.push(["click", i]),
                        select: some => heard.push(["select", some]), picture: i => null }; }"""
    )
    shown.mouse.move(*at(shown, 9))
    shown.mouse.click(*at(shown, 9))
    shown.evaluate("map.select([1, 2])")
    assert shown.evaluate("heard") == [["hover", 9], ["click", 9], ["select", [1, 2]]]
    shown.evaluate("map.only([4, 5, 6])")
    assert shown.get_by_role("status").inner_text() == "3 of 17 shown, 2 selected"
    shown.evaluate("map.only(null)")
    shown.evaluate("map.mark([3])")
    shown.evaluate("map.setPairs([[4, 5]])")
    assert shown.get_by_text("Join copies (1 pair)").is_visible()
    shown.evaluate(
        """map.setColumn({name: "ticked", group: "review", note: "", kind: "category",
          values: ["real"], codes: btoa(String.fromCharCode(...new Uint8Array(
            Int32Array.from({length: 17}, (_, i) => i < 3 ? 0 : -1).buffer))), colours: [2]})"""
    )
    shown.get_by_label("Colour by").select_option("ticked")
    assert shown.locator(".em-key button").all_inner_texts()[2:] == ["real\n3", "no value\n13"]
    shown.evaluate(
        """map.setColumn({name: "ticked", group: "review", note: "", kind: "category",
          values: Array.from({length: 203}, (_, i) => `value ${i}`), codes: btoa("\\0".repeat(68)),
          colours: Array(203).fill(-1)})"""
    )
    assert shown.locator(".em-key .em-entry").count() == 200
    assert "3 more values are not listed" in shown.locator(".em-key").inner_text()
    shown.evaluate("map.show(2)")
    assert shown.locator(".em-card").is_visible()


# ---- the command ------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "required": [
        "schema",
        "store",
        "n",
        "images",
        "settings",
        "honesty",
        "columns",
        "pairs",
        "missing",
        "added",
        "path",
    ],
    "properties": {
        "schema": {"const": "embedkit.map/1"},
        "honesty": {
            "required": ["trustworthiness", "neighbours_kept", "label_of_neighbours", "over_seeds"],
        },
        "columns": {"items": {"required": ["name", "group", "kind"]}},
    },
}


def test_the_command_writes_a_map_and_says_what_it_is_worth(clean_store, tmp_path, capsys):
    path = tmp_path / "map.svg"
    command = ["map", str(clean_store.path), "-b", "pixels", "-o", str(path), "-q"]
    assert main([*command, "--colour-by", "split", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    validate(document, SCHEMA)
    assert document["path"] == str(path)
    assert document["settings"]["colour_by"] == "split"
    assert path.read_text().count("coloured by split") == 1
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "trustworthiness" in out
    assert f"wrote {path}" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "map.pdf"], "it can end in .html, .png or .svg"),
        (["-o", "map.png", "--no-images"], "is for a page"),
        (["--colour-by", "labels"], "did you mean 'label'"),
        (["--label", "nothing"], "there is no column 'nothing'"),
        (["--add", "gone.png"], "no picture can be added: gone.png"),
        (["-k", "1"], "greater than or equal to 2"),
    ],
)
def test_bad_requests_are_one_line_and_status_2(
    clean_store, capsys, monkeypatch, tmp_path, options, said
):
    monkeypatch.chdir(tmp_path)
    assert main(["map", str(clean_store.path), "-b", "pixels", "-q", *options]) == 2
    assert said in " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().err).split())
    assert list(tmp_path.iterdir()) == []
