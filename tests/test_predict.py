"""One picture alone gives the numbers that it gives in a batch, from wherever it comes."""

import http.server
import io
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedkit import fetch as fetching
from embedkit.backbones import load_backbone
from embedkit.errors import FetchError, InputError, UnreadableImageError
from embedkit.fetch import PrivateAddress, fetch
from embedkit.heads import HEADS, train
from embedkit.items import Unreadable
from embedkit.neighbours import search, search_text
from embedkit.pipeline import embed


@pytest.fixture(scope="module", params=[(h, b) for h in sorted(HEADS) for b in ("mtcnn", "pixels")])
def head(request, planted_store):
    kind, backbone = request.param
    return train(planted_store, head=kind, backbone=backbone)


@pytest.fixture(scope="module")
def some_head(planted_store):
    return train(planted_store, backbone="mtcnn")


@pytest.fixture(scope="module")
def paths(planted_store):
    items = planted_store.items
    return [
        items.path(id_)
        for id_, split in zip(items.ids, items.splits, strict=True)
        if split == "test"
    ][:40]


def as_rows(predictions, labels):
    return np.array([[one.probabilities[label] for label in labels] for one in predictions])


def test_a_picture_alone_gives_the_same_numbers_as_in_a_batch_and_in_the_store(
    head, planted_store, paths
):
    together = as_rows(head.predict(paths), head.labels)
    alone = as_rows([head.predict(path) for path in paths], head.labels)
    backwards = as_rows(head.predict(paths[::-1]), head.labels)[::-1]
    row_of = {planted_store.items.path(id_): row for row, id_ in enumerate(planted_store.items.ids)}
    space = planted_store.space(head.training.space)
    stored = head.probabilities(space, [row_of[path] for path in paths])
    for other in (alone, backwards, stored):
        assert np.abs(together - other).max() < 1e-5


def test_a_path_an_array_bytes_and_a_pillow_image_are_one_picture(head, paths):
    path = paths[0]
    picture = Image.open(path)
    every = [str(path), path, path.read_bytes(), picture, np.asarray(picture.convert("RGB"))]
    rows = as_rows([head.predict(one) for one in every], head.labels)
    assert np.abs(rows - rows[0]).max() < 1e-9


def test_the_evidence_is_the_nearest_training_images_closest_first(head, paths):
    for one in head.predict(paths[:10], k=4):
        assert len(one.neighbours) == 4
        assert all(near.split == "train" for near in one.neighbours)
        assert all(near.label in head.labels for near in one.neighbours)
        similarities = [near.similarity for near in one.neighbours]
        assert similarities == sorted(similarities, reverse=True)


def test_a_planted_copy_is_the_nearest_neighbour(some_head, planted):
    twins = [one for one in planted.twins if one["kind"] == "exact"]
    assert twins
    for twin in twins:
        near = some_head.predict(planted.folder / twin["a"], k=1).neighbours[0]
        assert near.id == twin["b"]
        assert near.similarity == pytest.approx(1)


def test_probabilities_add_up_and_the_label_is_the_likeliest(head, paths):
    for one in head.predict(paths):
        assert sum(one.probabilities.values()) == pytest.approx(1)
        assert one.probability == max(one.probabilities.values())


def test_a_folder_stands_for_all_its_pictures(some_head, planted):
    folder = planted.folder / "test" / "good"
    results = some_head.predict(folder, k=0)
    assert [one.source for one in results] == [str(p) for p in sorted(folder.iterdir())]


def test_one_bad_picture_does_not_stop_the_others(some_head, paths, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    first, bad, last = some_head.predict([paths[0], tmp_path / "bad.jpg", paths[1]], k=0)
    assert isinstance(bad, Unreadable)
    assert bad.reason == "not a picture (text)"
    assert first.source == str(paths[0])
    assert last.probability == pytest.approx(some_head.predict(paths[1], k=0).probability)
    with pytest.raises(UnreadableImageError, match="not a picture"):
        some_head.predict(tmp_path / "bad.jpg")


@pytest.mark.parametrize("what", [None, 3, {"path": "x"}])
def test_what_is_no_picture_is_refused(some_head, what):
    with pytest.raises(InputError, match="is no picture"):
        some_head.predict(what)


def test_an_empty_folder_is_one_clear_line(some_head, tmp_path):
    (answer,) = some_head.predict(tmp_path)
    assert "a folder without images" in answer.reason


# Search.


def test_search_finds_the_copy_first_and_leaves_the_picture_itself_out(planted_store, planted):
    for twin in planted.twins:
        if twin["kind"] == "exact":
            path = planted.folder / twin["a"]
            found = search(planted_store, path, k=5, backbone="mtcnn")
            assert found[0].id == twin["b"]
            assert twin["a"] not in [one.id for one in found]


def test_search_shows_split_label_and_similarity(planted_store, paths):
    found = search(planted_store, paths[0].read_bytes(), k=3, backbone="pixels")
    # Bytes have no name, so the picture itself is found.
    assert found[0].similarity == pytest.approx(1)
    assert {one.split for one in found} <= {"train", "valid", "test"}
    assert {one.label for one in found} <= {"bad", "good"}


# Pictures from the web.


class Handler(http.server.BaseHTTPRequestHandler):
    picture = b""

    def do_GET(self):
        kind = self.path.strip("/").split("?")[0]
        if kind == "picture":
            self.answer(200, self.picture)
        elif kind == "missing":
            self.answer(404, b"")
        elif kind == "page":
            self.answer(200, b"<!doctype html><title>Sign in</title>")
        elif kind == "once":
            self.move("/picture")
        elif kind == "loop":
            self.move("/loop")
        elif kind == "file":
            self.move("file:///etc/passwd")
        elif kind == "large":
            self.send_response(200)
            self.send_header("Content-Length", str(10**9))
            self.end_headers()
        elif kind == "endless":
            self.send_response(200)
            self.end_headers()
            self.pour(b"x" * 65536, 0)
        elif kind == "drip":
            self.send_response(200)
            self.end_headers()
            self.pour(b"x", 0.05)
        elif kind == "slow-headers":
            self.pour(b"H", 0.05)
        elif kind == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "9999")
            self.end_headers()
            self.wfile.write(self.picture[:100])

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def move(self, where):
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def pour(self, piece, pause):
        try:
            for _ in range(2000):
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(pause)
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server(paths):
    Handler.picture = paths[0].read_bytes()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield PrivateAddress(f"http://127.0.0.1:{running.server_port}")
    running.shutdown()
    running.server_close()


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(fetching, "SECONDS", 0.6)
    monkeypatch.setattr(fetching, "MAX_BYTES", 2**20)


@pytest.mark.parametrize("path", ["/picture", "/once", "/picture?size=3"])
def test_a_picture_from_the_web_is_the_same_picture(server, some_head, paths, path):
    here, there = some_head.predict([paths[0], PrivateAddress(server + path)], k=2)
    assert there.probabilities == here.probabilities
    assert there.source == server + path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "status 404"),
        ("/loop", "redirects more than 3 times"),
        ("/file", "only http"),
        ("/large", "at most 1 MiB"),
        ("/endless", "at most 1 MiB"),
        ("/drip", "longer than"),
        ("/slow-headers", "longer than"),
        ("/cut", "stopped after 100 of 9999 bytes"),
    ],
)
def test_a_fetch_that_goes_wrong_ends_soon_with_a_reason(server, short, path, reason):
    started = time.monotonic()
    with pytest.raises(FetchError, match=reason):
        fetch(PrivateAddress(server + path))
    assert time.monotonic() - started < 10


def test_a_web_page_is_no_picture(server, some_head):
    (result,) = some_head.predict([PrivateAddress(server + "/page")])
    assert result.reason == "not a picture (a web page)"


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://",
        "http://[::1",
        "http://127.0.0.1:99999/",
    ],
)
def test_only_http_and_https_are_fetched(address):
    with pytest.raises(FetchError):
        fetch(address)


def test_a_server_that_is_not_there_is_a_reason():
    with pytest.raises(FetchError, match="Connection refused"):
        fetch(PrivateAddress("http://127.0.0.1:9/x.jpg"))


def test_the_fetched_bytes_are_the_servers(server):
    assert Image.open(io.BytesIO(fetch(PrivateAddress(server + "/picture")))).size == (96, 96)


# Texts.


@pytest.fixture(scope="module")
def clip_store(planted, weights_of, tmp_path_factory):
    name = "clip:ViT-B-32/laion2b_s34b_b79k"
    folder = tmp_path_factory.mktemp("clip")
    (folder / "few/a").mkdir(parents=True)
    for place, id_ in enumerate(sorted(planted.kind)[:6]):
        shutil.copy(planted.folder / id_, folder / f"few/a/{place}{Path(id_).suffix}")
    return embed(
        folder / "few", folder / "store", backbone=["clip", "pixels"], weights=weights_of(name)
    )


def test_a_text_finds_the_images_in_the_order_of_their_cosine(clip_store, weights_of):
    name = "clip:ViT-B-32/laion2b_s34b_b79k"
    found = search_text(clip_store, "a person with glasses", k=6)
    vector = load_backbone(name, weights=weights_of(name)).embed_text(["a person with glasses"])[0]
    cosine = clip_store.space("clip").vectors @ vector
    order = np.argsort(-cosine, kind="stable")
    assert [one.id for one in found] == [clip_store.items.ids[row] for row in order]
    assert found[0].similarity == pytest.approx(float(cosine.max()), abs=1e-6)


def test_a_space_that_knows_no_texts_says_what_does(clip_store, planted_store):
    with pytest.raises(InputError, match="knows no texts.*-b clip"):
        search_text(planted_store, "a face", backbone="mtcnn")
    with pytest.raises(InputError, match="knows no texts"):
        search_text(clip_store, "a face", backbone="pixels")


def test_a_space_is_found_by_the_short_name_of_its_backbone(clip_store):
    assert clip_store.space("clip").name == "clip-ViT-B-32-laion2b_s34b_b79k"
    picture = clip_store.items.path(clip_store.items.ids[0])
    assert len(search(clip_store, picture, k=3, backbone="clip")) == 3
