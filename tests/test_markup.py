"""Whatever a data set calls things, it is text: in the report, the map, the cards, the explorer."""

import html.parser
import re

import pytest
from embedkit_cli import main
from explorers import Client
from helpers import noise, saved

import embedkit as ek
from embedkit.audits import audit
from embedkit.audits.explain import explain
from embedkit.explorer.serving import serve
from embedkit.maps import map_of
from embedkit.reports.map_page import render_map
from embedkit.reports.markdown import markdown
from embedkit.reports.page import render

STRINGS = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img/src=x/onerror=alert(1)>",
    "<IMG SRC=JaVaScRiPt:alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg/onload=alert(1)//",
    "<math><mtext></mtext></math>",
    "<body onload=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "<form action=javascript:alert(1)><button>x",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)>",
    "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<style>@import '//evil.example';</style>",
    "<!--<script>alert(1)",
    "--><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    "` onmouseover=`alert(1)",
    "javascript:alert(1)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)",
    "\\u003cscript\\u003ealert(1)",
    "{{ 7*7 }}{% include 'x' %}",
    "${7*7}#{7*7}<%= 7*7 %>",
    "\u2028<script>alert(1)</script>\u2029\u202e",
)
EXTRA = 'shop <i onclick="x">'  # a column's name


class Shape(html.parser.HTMLParser):
    """The elements and attributes of a page, and what its links lead to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.add((tag, ""))
        for name, value in attrs:
            self.found.add((tag, name))
            if name in ("href", "src", "action", "data"):
                self.links.append(value or "")


def named(folder, strings):
    """Make a store whose files, classes, groups, columns and values are called as given."""
    rows = ["path,label,split,group," + quoted(EXTRA if strings else "shop")]
    for place in range(40):
        text = strings[place] if strings else f"name {place}"
        label = strings[place % 2 + 4] if strings else f"class {place % 2}"
        for split in ("train", "test"):
            name = f"{split}/{place} {text}.png".replace("\0", "")
            name = name.replace("</", "<\u2215") if "</" in text else name
            path = folder / "pictures" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not strings:
                path = folder / "pictures" / f"{split}/{place}.png"
            seed = place if place < 4 else place + 100 * (split == "test")  # the first are copies
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(saved(noise(seed, 24), "PNG"))
            given = [str(path.relative_to(folder / "pictures")), label, split, text, text]
            rows.append(",".join(map(quoted, given)))
    table = folder / "table.csv"
    table.write_text("\n".join(rows), encoding="utf-8")
    return ek.embed(table, folder / "store", backbone="pixels", root=folder / "pictures")


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A store with hostile names, and one with plain ones that is otherwise the same."""
    return [
        named(tmp_path_factory.mktemp(kind), strings)
        for kind, strings in (("hostile", STRINGS), ("plain", ()))
    ]


def pages(store):
    """Return every page that embedkit makes of a store, by its name."""
    found = audit(store, checks=["twins"])
    card = explain(store, store.items.ids[0])
    with serve(store.path) as running:
        client = Client(running)
        _, _, explorer = client.send("GET", "/")
    return {
        "report": render(found, command="embedkit audit"),
        "map": render_map(map_of(store, colour_by="group", neighbours=5)),
        "explorer": explorer.decode(),
        "card in a notebook": card._repr_html_(),
        "findings in a notebook": "".join(one._repr_html_() for one in found.findings),
    }, markdown(found, command="embedkit audit")


@pytest.mark.slow
def test_no_name_becomes_an_element_or_an_attribute(stores, figure):
    (hostile, said), (plain, _) = (pages(store) for store in stores)
    fields = ("file", "class", "group", "column", "value")
    for name, page in hostile.items():
        shape, usual = Shape(page), Shape(plain[name])
        assert shape.found <= usual.found, (name, shape.found - usual.found)
        assert not any(attribute.startswith("on") for _, attribute in shape.found), name
        assert not any(re.match(r"\s*javascript:|//", link, re.I) for link in shape.links), name
        for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.S):
            assert not set(data) & set("<>\u2028\u2029"), name
    assert "<script" not in said
    assert "<img" not in said
    figure(
        "H4",
        f"{len(STRINGS)} strings as {', '.join(fields)} on {len(hostile)} kinds of page: 0 new "
        "elements, 0 new attributes, 0 links that run",
    )


def test_a_models_card_holds_no_markup_of_a_data_sets(stores, tmp_path, capsys):
    assert main(["train", str(stores[0].path), "-o", str(tmp_path / "head")]) == 0
    (card,) = tmp_path.glob("*.md")
    said = card.read_text()
    assert "alert" in said  # the names of the classes are there
    assert not re.search(r"(?<!\\)<(script|img|svg|iframe|a|style)\b", said)
