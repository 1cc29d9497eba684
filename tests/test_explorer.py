"""The explorer's server: who is let in, what is answered, and that nothing else ever is."""

import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
from embedkit_cli import main
from explorers import Client
from helpers import noise, saved
from PIL import Image

from embedkit.audits import audit
from embedkit.audits.explain import explain
from embedkit.audits.kept import keep
from embedkit.errors import InputError, UnreadableImageError
from embedkit.explorer import pictures as served_pictures
from embedkit.explorer.doors import HEADERS, WRITING
from embedkit.explorer.serving import open_browser, serve
from embedkit.explorer.states import Watch
from embedkit.images import MAX_BYTES
from embedkit.neighbours import search
from embedkit.pipeline import embed
from embedkit.store import Store

CHECKS = ["twins", "labels", "quality"]
SOAK = 25  # minutes
A_SECOND = 8  # turns


@pytest.fixture(scope="module")
def place(planted_store, tmp_path_factory):
    """A folder with a data set, its audited store, and a secret beside them."""
    folder = tmp_path_factory.mktemp("explored")
    shutil.copytree(planted_store.items.root, folder / "faces")
    (folder / "secret.txt").write_text("the secret outside")
    noise(99).save(folder / "secret.png")
    store = embed(folder / "faces", folder / "store", backbone=["mtcnn", "pixels"])
    keep(audit(store, checks=CHECKS, backbone="mtcnn"))
    return folder


@pytest.fixture(scope="module")
def store(place):
    return Store.open(place / "store")


@pytest.fixture(scope="module")
def served(place):
    with serve(place / "store", backbone="mtcnn") as running:
        yield running


@pytest.fixture
def client(served):
    return Client(served)


@pytest.fixture
def own(place, tmp_path):
    """A running explorer over a copy that a test may change."""
    shutil.copytree(place, tmp_path / "own")
    faces = tmp_path / "own/faces"
    made = embed(faces, tmp_path / "own/store", backbone=["mtcnn", "pixels"])
    keep(audit(made, checks=["twins"], backbone="mtcnn"))
    with serve(tmp_path / "own/store", backbone="mtcnn") as running:
        yield running, faces, made


# ---- who is let in


def test_only_who_knows_the_address_is_let_in(served):
    client = Client(served)
    client.cookie = ""
    assert client.send("GET", "/")[0] == 403
    assert client.send("GET", "/?token=")[0] == 403
    assert client.send("GET", "/?token=x" + served.address[-10:])[0] == 403
    assert client.send("GET", served.address.partition(client.host)[2])[0] == 200


def test_the_cookie_is_no_token_and_no_script_can_read_it(served):
    client = Client(served)
    _, headers, body = client.send("GET", served.address.partition(client.host)[2])
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(headers["set-cookie"].split("; "))
    secret = headers["set-cookie"].partition("=")[2].partition(";")[0]
    assert secret not in served.address
    assert secret.encode() not in body
    assert str(served.port) in headers["set-cookie"].partition("=")[0]  # ports share cookies


def test_the_address_that_a_browser_is_started_with_works_once(served):
    client = Client(served)
    ticket = served.ticket.partition(client.host)[2]
    client.cookie = ""
    assert ticket != served.address.partition(client.host)[2]
    assert client.send("GET", ticket)[0] == 200
    assert client.send("GET", ticket)[0] == 403


def test_nothing_is_answered_without_the_cookie(client, figure):
    paths = ["/", "/files/explorer.js", "/files/map.css"]
    names = (
        "pictures",
        "rows",
        "some?rows=0",
        "map",
        "picture/0",
        "facts/0",
        "near/0",
        "text?text=a",
    )
    names += ("card/0", "clusters/copies", "finding/twins", "reviews.csv")
    paths += [client.at + name for name in names]
    wrong = ("", client.cookie + "x", client.cookie[:-1], "=;;=\x7f", client.cookie.upper())
    for path in paths:
        for cookie in wrong:
            client.cookie, kept = cookie, client.cookie
            status, _, body = client.send("GET", path)
            client.cookie = kept
            assert status == 403, (path, cookie)
            assert b"embedkit view" in body
    figure("H1", f"{len(paths)} addresses x {len(wrong)} cookies that are not its own: 0 answered")


HOSTS = [
    "evil.example",
    "127.0.0.1",
    "localhost:1",
    "",
    "127.0.0.1.evil.example:{port}",
    "[::1]:{port}",
    "evil.example:{port}",
    "localhost.:{port}",
    "LOCALHOST.evil.example:{port}",
    "127.0.0.1:{port}.evil.example",
    "127.0.0.1:{port}@evil.example",
    "evil.example#127.0.0.1:{port}",
    "127.1:{port}",
    "2130706433:{port}",
    "0x7f.1:{port}",
    "0.0.0.0:{port}",
    "127.0.0.2:{port}",
    "rebinding.evil.example",
    "localhost",
    "[::ffff:127.0.0.1]:{port}",
]


@pytest.mark.parametrize("host", HOSTS)
def test_another_host_is_refused(client, host, figure):
    """A name that an attacker's server resolves to 127.0.0.1 is no way in."""
    for path in ("/", client.at + "pictures"):
        status, _, body = client.send("GET", path, headers={"Host": host.format(port=client.port)})
        assert status == 421
        assert b"picture" not in body
    figure("H2", f"{len(HOSTS)} other names of a host: 0 answered")


def test_the_machine_goes_by_localhost_too(client):
    status, _, _ = client.send("GET", "/", headers={"Host": f"localhost:{client.port}"})
    assert status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this machine
    ],
)
def test_other_pages_are_refused_though_the_browser_has_the_cookie(client, headers):
    for method in ("GET", "POST"):
        sent = headers | {WRITING: client.start["writing"]}
        assert client.send(method, client.at + "pictures", headers=sent)[0] == 403


def test_what_writes_must_come_from_the_page(client, place, figure):
    before = tree_of(place)
    body = json.dumps({"answer": "real"})
    secrets = ({}, {WRITING: ""}, {WRITING: client.cookie}, {WRITING: "é"})
    methods = ("POST", "PUT", "DELETE", "PATCH", "OPTIONS")
    for secret in secrets:
        for method in methods:
            path = client.at + "tick/twins/0"
            assert client.send(method, path, body, secret)[0] == 403
    assert tree_of(place) == before
    figure("H2", f"{len(secrets) * len(methods)} writes without the page's secret: 0 written")


def tree_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_every_answer_is_sealed(client):
    tried = [
        client.send("GET", "/"),
        client.send("GET", client.at + "pictures"),
        client.send("GET", client.at + "picture/0"),
        client.send("GET", "/nothing"),
        client.send("GET", "/", headers={"Host": "evil"}),
        client.send("POST", client.at + "like", b"x"),
        client.send("TRACE", "/"),
    ]
    for _, headers, _ in tried:
        for name, value in HEADERS.items():
            assert headers[name.lower()] == value
        assert not any(name.startswith("access-control") for name in headers)
        assert "server" not in headers
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


# ---- pictures


def test_a_picture_is_made_anew_without_its_metadata(client, store):
    for row in (0, 7):
        for size, most in (("", 160), ("?size=large", 1024)):
            status, headers, body = client.send("GET", f"{client.at}picture/{row}{size}")
            assert (status, headers["content-type"]) == (200, "image/jpeg")
            with Image.open(io.BytesIO(body)) as image:
                assert max(image.size) == min(96, most)
                assert not image.getexif()
                given = Image.open(store.items.path(store.items.ids[row])).convert("RGB")
                assert np.abs(np.asarray(image, float) - np.asarray(given, float)).mean() < 8


@pytest.mark.parametrize(
    "row", ["160000", "-1", "1e3", "0x1", "٣", "9" * 5000, "..", "%2e%2e", "a.png"]
)
def test_a_picture_is_asked_for_by_its_number_only(client, row):
    assert client.send("GET", f"{client.at}picture/{quote(row, safe='%.')}")[0] == 404


def test_a_picture_that_is_not_the_one_embedded_is_not_sent(own, tmp_path):
    running, faces, made = own
    client = Client(running)
    gone, damaged, replaced, linked = (made.items.path(made.items.ids[row]) for row in range(4))
    secret = faces.parent / "secret.png"
    gone.unlink()
    damaged.write_bytes(damaged.read_bytes()[:200])
    replaced.write_bytes(secret.read_bytes())
    linked.unlink()
    linked.symlink_to(secret)
    for row in range(4):
        status, headers, body = client.send("GET", f"{client.at}picture/{row}")
        assert (status, headers["content-type"]) == (404, "image/svg+xml")
        assert b"no picture" in body
    assert client.send("GET", f"{client.at}picture/4")[0] == 200


@pytest.mark.parametrize(
    "id_", ["../secret.png", "a/../../secret.png", "/etc/hostname", "\\x2e./secret.png"]
)
def test_a_store_that_names_files_elsewhere_gets_none_of_them(place, id_):
    """Even one whose hashes fit: a store may come from somebody else."""
    from embedkit.files import sha256_of_file

    state = Watch(place / "store", label="label", backbone="mtcnn").newest()
    state.__dict__["ids"] = [id_]
    state.__dict__["hashes"] = [sha256_of_file(place / "secret.png")]
    with pytest.raises(UnreadableImageError, match="outside"):
        served_pictures.picture(state, 0, served_pictures.SMALL)


# Ways up and out, as they are written in lists of such requests.
_UP = ("..", "../..", "../../..", "....//..", "..;", "..\\..", ".", "./.", "..././", "..//..")
_GOALS = ("secret.txt", "secret.png", "etc/passwd", "etc/hostname", "store/store.json")
WAYS = (
    *(f"{up}/{goal}" for up in _UP for goal in _GOALS),
    *("/etc/passwd", "//etc/passwd", "file:///etc/passwd", "C:\\secret.txt", "secret.txt\0.png"),
    *("~/secret.txt", "$HOME/secret.txt", "states.py", "explorer.html", "/proc/self/environ"),
)
BEFORE = ("/", "/files/", "//", "/at/", "/static/../", "{at}", "{at}picture/", "{at}facts/")


def encoded(way, kind):
    if kind == "plain":
        return quote(way, safe="/.;\\:~$")
    once = "".join(f"%{byte:02x}" for byte in way.encode())
    return once if kind == "percent" else once.replace("%", "%25")


@pytest.mark.parametrize("kind", ["plain", "percent", "percent twice"])
def test_no_way_leads_out(client, place, kind, thorough, figure):
    secrets = (b"secret outside", b"root:", (place / "secret.png").read_bytes()[40:80])
    befores = BEFORE if thorough else BEFORE[-3:]
    for way in WAYS:
        for before in befores:
            path = before.format(at=client.at) + encoded(way, kind)
            status, _, body = client.send("GET", path)
            assert status in (400, 403, 404, 409), path
            assert not any(secret in body for secret in secrets), path
    figure("H3", f"{len(WAYS)} ways out, {kind}, below {len(befores)} paths: 0 bytes from outside")


# ---- answers


def test_pictures_are_filtered_as_a_list_would_be(client, store):
    splits, labels, ids = store.items.splits, store.items.labels, store.items.ids
    label = labels[0]
    wanted = [row for row, one in enumerate(splits) if one == "test" and labels[row] == label]
    assert client.get("rows", split="test", label=label) == (200, {"rows": wanted})
    part = ids[5][-9:-3].upper()
    _, found = client.get("rows", text=part)
    assert found["rows"] == [row for row, id_ in enumerate(ids) if part.lower() in id_.lower()]
    _, page = client.get("pictures", offset=100)
    assert page["total"] == len(ids)
    assert [one["id"] for one in page["pictures"]] == ids[100:160]
    assert page["pictures"][0] == {
        "row": 100,
        "id": ids[100],
        "label": labels[100],
        "split": splits[100],
    }
    assert client.get("pictures", attribute="nothing")[0] == 422
    assert client.get("pictures", finding="nothing")[0] == 422
    assert client.get("rows", split="")[1]["rows"] == []


def test_what_a_finding_names_can_be_looked_at(client, store):
    start = next(one for one in client.start["findings"] if one["name"] == "twins")
    _, found = client.get("finding/twins")
    _, rows = client.get("rows", finding="twins")
    named = {one["row"] for entry in found["entries"] for one in entry["pictures"]}
    assert start["named"] == len(rows["rows"])
    assert named == set(rows["rows"][: len(named)]) or named <= set(rows["rows"])
    row = rows["rows"][0]
    _, facts = client.get(f"facts/{row}")
    assert {one["finding"] for one in facts["findings"]} >= {"twins"}
    assert facts["clusters"]["copies"][0]["row"] != row
    _, clusters = client.get("clusters/copies")
    sizes = [one["size"] for one in clusters["clusters"]]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) >= 2
    assert client.get("clusters/nothing")[0] == 422


def test_groups_of_the_data_set_are_clusters(tmp_path):
    faces = tmp_path / "faces"
    table = ["file,label,split,who"]
    faces.mkdir()
    for number in range(12):
        noise(number).save(faces / f"{number}.png")
        table.append(f"{number}.png,{'ab'[number % 2]},train,{number // 5}")
    (faces / "table.csv").write_text("\n".join(table) + "\n")
    embed(faces / "table.csv", tmp_path / "store", backbone=["pixels"], group="who")
    with serve(tmp_path / "store") as running:
        client = Client(running)
        assert client.start["clusters"] == {"people": 3}
        _, found = client.get("clusters/people")
        assert [one["size"] for one in found["clusters"]] == [5, 5, 2]
        assert [one["row"] for one in found["clusters"][0]["pictures"]] == [0, 1, 2, 3, 4]
        _, facts = client.get("facts/11")
        assert [one["row"] for one in facts["clusters"]["people"]] == [10]


def test_people_are_told_apart_by_faces_where_nothing_else_does(place, store, monkeypatch):
    n = len(store.items)
    told = [SimpleNamespace(identity=np.minimum(np.arange(n) // 2, n // 2 - 3)), "nobody is seen"]
    monkeypatch.setattr("embedkit.explorer.states.face_space", lambda _: True)
    monkeypatch.setattr("embedkit.explorer.benches.find_siblings", lambda *_, **__: told.pop())
    with serve(place / "store", backbone="mtcnn") as running:
        client = Client(running)
        assert client.start["clusters"]["people"] is None
        status, found = client.wait_for("clusters/people")
        assert (status, found["error"]) == (422, "nobody is seen")
        status, found = client.wait_for("clusters/people")
    assert status == 200
    assert [one["size"] for one in found["clusters"]][:2] == [n - 2 * (n // 2 - 3), 2]
    assert found["total"] == n // 2 - 2


def test_neighbours_are_those_of_a_search(client, store):
    path = store.items.path(store.items.ids[3])
    _, near = client.get("near/3")
    expected = search(store, path, k=24, backbone="mtcnn")
    assert [one["id"] for one in near["pictures"]] == [one.id for one in expected]

    status, like = client.post("like", path.read_bytes())
    assert status == 200
    assert like["pictures"][0]["id"] == store.items.ids[3]
    assert like["pictures"][0]["similarity"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("body", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_what_is_no_picture_is_said_so(client, body):
    status, document = client.post("like", body)
    assert status == 422
    assert "cannot be read" in document["error"]


def test_a_body_that_is_too_long_is_refused_unread(client):
    headers = {WRITING: client.start["writing"], "Content-Length": str(MAX_BYTES + 1)}
    with socket.create_connection(("127.0.0.1", client.port)) as raw:
        lines = [
            f"POST {client.at}like HTTP/1.1",
            f"Host: {client.host}",
            f"Cookie: {client.cookie}",
        ]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        raw.sendall("\r\n".join([*lines, "", "x"]).encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_texts_need_a_space_that_knows_them(client):
    assert client.start["texts"] == []
    status, document = client.get("text", text="a face")
    assert status == 422
    assert "-b clip" in document["error"]
    assert client.get("text", text="  ")[0] == 422


@pytest.mark.slow
def test_a_card_is_the_one_that_explain_gives(client, store):
    row = store.items.splits.index("test")
    status, found = client.wait_for(f"card/{row}")
    assert status == 200
    card = explain(store, store.items.ids[row], backbone="mtcnn")
    assert found["card"] == json.loads(json.dumps(card.to_dict()))
    assert card.sentence in found["text"]


@pytest.mark.slow
def test_the_map_has_a_point_for_every_picture(client, store):
    status, found = client.wait_for("map")
    assert status == 200
    assert found["data"]["ids"] == store.items.ids
    assert found["rows"] == list(range(len(store.items)))
    assert found["data"]["sprites"] is None


def test_a_tick_is_there_for_the_next_viewer_and_in_the_list(own):
    running, _, made = own
    client = Client(running)
    _, before = client.get("finding/twins")
    status, said = client.tick("twins", 0, "real")
    assert status == 200
    assert said["reviewed"]["real"] == 1
    client.tick("twins", 1, "not real")
    with serve(made.path, backbone="mtcnn") as other:
        second = Client(other)
        _, found = second.get("finding/twins")
        assert [one["answer"] for one in found["entries"][:3]] == ["real", "not real", None]
        assert second.tick("twins", 1, None)[0] == 200
    keep(audit(Store.open(made.path), checks=["twins"], backbone="mtcnn"))
    client = Client(running)
    _, found = client.get("finding/twins")
    assert [one["answer"] for one in found["entries"][:2]] == ["real", None]
    assert found["reviewed"]["listed"] == before["total"]
    _, headers, body = client.send("GET", client.at + "reviews.csv")
    assert "attachment" in headers["content-disposition"]
    assert [row["answer"] for row in csv.DictReader(io.StringIO(body.decode()))] == ["real"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"answer": 1}', b'{"answer": "yes"}', b"[" * 3000, b"\xff", b"null"],
)
def test_a_tick_that_is_none_changes_nothing(client, place, body):
    before = tree_of(place)
    status, document = client.post("tick/twins/0", body)
    assert status == 422
    assert "'not real'" in document["error"]
    assert client.post("tick/twins/999999", b'{"answer": "real"}')[0] == 404
    assert client.post("tick/nothing/0", b'{"answer": "real"}')[0] == 404
    assert tree_of(place) == before


def test_the_random_sample_comes_in_its_order(client):
    _, whole = client.get("finding/twins")
    _, sample = client.get("finding/twins", sample="yes")
    assert sample["total"] == min(30, whole["total"])
    numbers = [one["number"] for one in sample["entries"]]
    assert numbers != sorted(numbers)
    _, near = client.get("finding/twins", kind="near copies")
    assert dict(map(tuple, near["kinds"]))["near copies"] == near["total"]


# ---- a store that changes


def test_a_page_of_an_earlier_store_is_told_to_load_again(own):
    running, _, made = own
    old = Client(running)
    keep(audit(made, checks=["twins"], backbone="mtcnn"))
    for path in ("pictures", "picture/0", "near/0", "finding/twins", "map", "card/0"):
        status, document = old.get(path)
        assert status == 409
        assert document["changed"]
        assert "load it again" in document["error"]
    assert old.tick("twins", 0, "real")[0] == 409
    new = Client(running)
    assert new.start["stamp"] != old.start["stamp"]
    assert new.get("pictures")[0] == 200
    assert old.get("pictures")[0] == 409


def test_a_store_that_goes_away_is_said_to_be_gone(own):
    running, _, made = own
    client = Client(running)
    moved = made.path.with_name("moved")
    made.path.rename(moved)
    status, _, body = client.send("GET", "/")
    assert status == 409
    assert b"does not exist" in body
    assert client.get("pictures")[0] == 409
    moved.rename(made.path)
    assert client.get("pictures")[0] == 200


def test_a_damaged_finding_is_named_and_the_rest_is_shown(own):
    running, _, made = own
    (path,) = made.path.glob("audits/*/twins.json")
    document = json.loads(path.read_text())
    unsealed = {name: value for name, value in document.items() if name != "seal"}
    for whole, damage in (
        (document, {"summary": "other words"}),  # the checksum is not theirs
        (unsealed, {"details": {"pairs": [{}]}}),
        (unsealed, {"verdict": 3}),
        (unsealed, {"summary": None}),
    ):
        path.write_text(json.dumps(whole | {"finding": whole["finding"] | damage}))
        client = Client(running)
        assert client.start["damaged"] == ["twins"]
        assert client.get("pictures")[0] == 200
        assert client.get("finding/twins")[0] == 422


def test_without_an_audit_everything_else_is_there(place, tmp_path):
    shutil.copytree(place / "store", tmp_path / "store", ignore=shutil.ignore_patterns("audits"))
    with serve(tmp_path / "store", backbone="mtcnn") as running:
        client = Client(running)
        assert client.start["findings"] == []
        assert client.get("pictures")[0] == client.get("near/0")[0] == 200
        assert client.get("finding/twins")[0] == 422


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"backbone": "vgg16"}, "no space"),
        ({"backbone": None}, "several spaces"),
        ({"label": "nothing"}, "no column"),
        ({"label": "sha256"}, "is no label"),
    ],
)
def test_what_cannot_be_shown_is_refused_at_once(place, wrong, why):
    with (
        pytest.raises(InputError, match=why),
        serve(place / "store", **{"backbone": "mtcnn"} | wrong),
    ):
        pass


def test_a_port_that_is_taken_is_said(place, served):
    with (
        pytest.raises(InputError, match=rf"port {served.port} .* cannot be listened on"),
        serve(place / "store", backbone="mtcnn", port=served.port),
    ):
        pass


def test_nothing_but_loopback_is_listened_on(served):
    with Path("/proc/net/tcp").open() as table:
        listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
    port = f"{served.port:04X}"
    assert [one for one in listening if one.endswith(f":{port}")] == [f"0100007F:{port}"]


def test_without_a_screen_no_browser_is_opened(served, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not open_browser(served)
    monkeypatch.setenv("DISPLAY", ":0")
    assert open_browser(served)
    assert opened == [served.ticket]


# ---- whatever is sent


PLACES = (
    "pictures", "rows", "some", "map", "picture/ODD", "facts/ODD", "near/ODD", "like", "text",
    "card/ODD", "clusters/ODD", "finding/ODD", "tick/ODD/ODD", "reviews.csv",
)  # fmt: skip


def odd_requests(client, n, seed):
    """Yield requests that are nearly right, or not at all."""
    draw = np.random.default_rng(seed)

    def one(*values):
        return values[draw.integers(len(values))]

    names = ("pictures", "rows", "some", "map", "picture", "facts", "near", "like", "text", "tick")
    names += (
        "clusters",
        "finding",
        "reviews.csv",
        "",
        "..",
        "%2e%2e",
        "\\",
        "%",
        "é".encode().hex(),
    )
    parts = ("0", "1", "159", "160", "-1", "twins", "labels", "nothing", "copies", "people", "%00")
    parts += (
        "9" * 400,
        "0.5",
        "NaN",
        "..%2f..%2fsecret.txt",
        "%ff%fe",
        "a" * 900,
        "٣",
        "",
        "%F0%9F%98%80",
    )
    queries = ("split", "label", "attribute", "value", "finding", "text", "offset", "rows", "size")
    queries += ("sample", "kind", "token", "x")
    for _ in range(n):
        path = one("/", client.at, client.at, client.at, "/files/", "/at/", "//", "/at/0/")
        path += "/".join(
            str(one(*parts)) if step else one(*names) for step in range(draw.integers(4))
        )
        if draw.random() < 0.6:  # an address that there is, with something odd in it
            path = client.at + re.sub("ODD", lambda _: one(*parts), one(*PLACES))
        asked = [f"{one(*queries)}={one(*parts, 'test', 'yes')}" for _ in range(draw.integers(4))]
        path += one("", "?") + one("&", ";").join(asked)
        headers = {}
        if draw.random() < 0.8:
            headers[WRITING] = client.start["writing"]
        if draw.random() < 0.2:
            name = one(
                "Cookie",
                "Host",
                "Origin",
                "Content-Type",
                "Range",
                "If-None-Match",
                "X-Forwarded-For",
            )
            headers[name] = one("", "x" * 3000, "a=b; c", "\xff\xfe", '"', "127.0.0.1", "bytes=0-")
        body = one(
            None, b"", b'{"answer": null}', b'{"answer": "x"}', b"{" * 90, PNG[:40], b"\xff" * 999
        )
        method = one(
            "GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "FOO"
        )
        yield method, path.encode("ascii", "replace").decode().replace(" ", ""), body, headers


PNG = saved(noise(1), "PNG")
ANSWERS = {200, 202, 400, 403, 404, 405, 409, 413, 421, 422}


@pytest.mark.slow
def test_no_request_brings_the_server_down_or_a_file_out(client, place, thorough, figure):
    seen, n = Counter(), 10_000 if thorough else 400
    secrets = ((place / "secret.txt").read_bytes(), (place / "secret.png").read_bytes()[40:80])
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    for method, path, body, headers in odd_requests(client, n, seed=0):
        status, answered, sent = client.send(method, path, body, headers)
        assert status in ANSWERS, (method, path, body, headers)
        assert not any(secret in sent for secret in secrets)
        assert "content-security-policy" in answered or status == 400
        seen[status] += 1
    assert seen.keys() >= ({200, 403, 404, 405, 422} if thorough else {200, 403, 404})
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    assert client.get("pictures")[0] == 200
    every = ", ".join(f"{times} x {status}" for status, times in sorted(seen.items()))
    figure("H3", f"{n} fuzzed requests: 0 files from outside, 0 changed, 0 status 500 ({every})")


def test_what_is_no_http_ends_the_connection_only(client):
    draw = np.random.default_rng(1)
    head = f"GET {client.at}pictures HTTP/1.1\r\nHost: {client.host}\r\nCookie: {client.cookie}\r\n"
    broken = [draw.bytes(200) for _ in range(50)]
    broken += [head.encode()[: int(cut)] for cut in draw.integers(1, len(head), 30)]
    broken += [
        head.encode() + end for end in (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"X" * 99999)
    ]
    broken += [head.encode() + b"Host: evil\r\n\r\n", head.replace("1.1", "9.9").encode() + b"\r\n"]
    for data in broken:
        with socket.create_connection(("127.0.0.1", client.port), timeout=5) as raw:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            try:
                answer = raw.recv(200)
            except ConnectionError:
                continue
            assert not answer or re.match(rb"HTTP/1.1 4\d\d", answer), data[:80]
    assert client.get("pictures")[0] == 200


@pytest.mark.slow
def test_memory_does_not_grow_with_requests(client):
    def rounds(n):
        for row in range(n):
            client.get("pictures", offset=row % 100)
            client.send("GET", f"{client.at}picture/{row % 20}")
            client.get(f"near/{row % 20}")
            client.get("finding/twins")
            client.send("GET", "/")
            if row % 10 == 0:
                client.post("like", PNG)

    rounds(20)
    tracemalloc.start()
    try:
        rounds(20)
        first = tracemalloc.get_traced_memory()[0]
        rounds(60)
        assert tracemalloc.get_traced_memory()[0] - first < 300_000
    finally:
        tracemalloc.stop()


# ---- the commands


@dataclass(frozen=True)
class Held:
    """What a process holds, as the kernel counts it: MiB of memory, open files, threads."""

    memory: float
    files: int
    threads: int

    def __str__(self):
        return f"{self.memory:.0f} MiB, {self.files} open files, {self.threads} threads"


def held(pid):
    of = Path(f"/proc/{pid}")
    pages = int((of / "statm").read_text().split()[1])
    counts = [len(list((of / name).iterdir())) for name in ("fd", "task")]
    return Held(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, *counts)


def asked(client, turn):
    """Ask what a page asks in one turn, seldom also what costs much; return the requests."""
    n = client.get("pictures", offset=turn % 100)[1]["total"]
    sent = [client.send("GET", f"{client.at}picture/{turn % n}"), client.get(f"near/{turn % n}")]
    sent += [client.get("finding/twins"), client.send("GET", "/")]
    if turn % 20 == 1:
        sent += [client.post("like", PNG), client.tick("twins", 0, ("real", None)[turn % 40 > 1])]
    if turn % 200 == 0:
        sent += [client.wait_for(f"card/{turn % n}"), client.wait_for("map")]
    assert {one[0] for one in sent} == {200}
    return 1 + len(sent)


def test_the_command_answers_for_long_and_ends_on_interrupt(place, tmp_path, thorough, figure):
    store = shutil.copytree(place / "store", tmp_path / "store")
    minutes, warm, turns = (SOAK, 400, 10**9) if thorough else (1, 10, 20)
    command = [sys.executable, "-m", "embedkit_cli", "view", str(store), "-b", "mtcnn"]
    process = subprocess.Popen(
        [*command, "--no-browser", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job, and all that it starts, ignores SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        every = iter(process.stdout.readline, "")
        lines = list(takewhile(lambda line: line != "}\n", every))
        document = json.loads("".join([*lines, "}"]))
        assert document["schema"] == "embedkit.view/1"
        client = Client(SimpleNamespace(**document))
        for turn in range(not thorough, warm):  # until all is there that is made once
            asked(client, turn)
        first, requests, start = held(process.pid), 0, time.monotonic()
        for turn in range(warm + 1, warm + turns):
            requests += asked(client, turn)
            passed = time.monotonic() - start
            if passed > 60 * minutes:
                break
            time.sleep(max(0, (turn - warm) / A_SECOND - passed) if thorough else 0)
        last = held(process.pid)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()  # or a test that fails here would wait for it
    assert process.returncode == 0
    assert out == ""
    assert "Ctrl-C" in err
    assert "Traceback" not in err
    assert last.memory - first.memory < 16
    assert last.files <= first.files + 2  # connections that are being closed
    assert last.threads <= first.threads
    figure("J5", f"{requests} requests in {passed / 60:.0f} minutes: {first} before, {last} after")


def test_the_command_says_in_one_line_what_is_wrong(place, served, capsys):
    store = str(place / "store")
    wrong = (
        ([store, "-b", "mtcnn", "--port", str(served.port)], "cannot be listened on"),
        ([store], "several spaces"),
        ([str(place / "nothing")], "does not exist"),
        ([store, "-b", "mtcnn", "--label", "nothing"], "no column"),
    )
    for arguments, why in wrong:
        assert main(["view", "--no-browser", *arguments]) == 2
        err = capsys.readouterr().err
        assert why in err
        assert err.count("\n") == 1
    assert main(["view", store, "--port", "70000"]) == 2
    capsys.readouterr()


def test_answers_are_listed_by_a_command(own, tmp_path, capsys):
    running, _, made = own
    store, file = str(made.path), tmp_path / "list.csv"
    assert main(["reviews", store, "-b", "mtcnn"]) == 0
    assert "Nobody has looked" in capsys.readouterr().out
    Client(running).tick("twins", 0, "real")
    assert main(["reviews", store, "-b", "mtcnn", "-o", str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "embedkit.reviews/1"
    found = {one["finding"]: one for one in document["findings"]}
    assert (found["twins"]["real"], found["twins"]["precision"]["n"]) == (1, 1)
    with file.open(newline="") as stream:
        assert [row["answer"] for row in csv.DictReader(stream)] == ["real"]
    assert main(["reviews", store, "-b", "pixels"]) == 0
    assert "1 further answer " in capsys.readouterr().out
    assert main(["reviews", store]) == 2
