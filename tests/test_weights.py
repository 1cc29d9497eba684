"""Weights: looked for, checked, fetched; what is not whole or not theirs is refused in one line."""

import contextlib
import hashlib
import http.server
import io
import json
import os
import pickle
import re
import signal
import threading
import time
import urllib.error

import pytest
import torch
from embedkit_cli import main
from networks import network
from safetensors.torch import save_file

from embedkit.backbones import choose_backbone, find_card, load_backbone
from embedkit.backbones.cards import Options
from embedkit.backbones.download import download, get_weights
from embedkit.backbones.torchvision_models import cut_classifier
from embedkit.backbones.weights import (
    STRONGEST,
    Source,
    check,
    find,
    licence_of,
    needed,
    read_state,
    source_of,
)
from embedkit.errors import BackboneError, InputError, WeightsError

SMALL = "torchvision:squeezenet1_1"
FILE = "squeezenet1_1-b8a52dc0.pth"


@pytest.fixture(scope="module")
def state():
    return network(SMALL).state_dict()


def test_missing_weights_say_which_where_from_where_to_and_what_works_meanwhile(tmp_path):
    with pytest.raises(WeightsError) as caught:
        load_backbone(SMALL)
    message = str(caught.value)
    for part in (FILE, "https://download.pytorch.org", f"weights get {SMALL}", "--weights"):
        assert part in message
    assert str(tmp_path / "torch/hub/checkpoints") in message
    assert "mtcnn" in message
    assert "\n" not in message


@pytest.mark.parametrize("form", ["pth", "safetensors", "wrapped", "module."])
def test_weights_are_read_in_every_form_that_people_keep_them_in(form, state, tmp_path):
    file = tmp_path / f"w.{'safetensors' if form == 'safetensors' else 'pth'}"
    if form == "safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, file)
    elif form == "module.":
        torch.save({f"module.{key}": value for key, value in state.items()}, file)
    else:
        torch.save({"state_dict": state} if form == "wrapped" else state, file)
    assert load_backbone(SMALL, weights=file).card.dimension == 512


def test_a_folder_of_weights_is_searched_by_the_published_name(state, tmp_path, monkeypatch):
    torch.save(state, tmp_path / FILE)
    by_option = load_backbone(SMALL, weights=tmp_path)
    monkeypatch.setenv("EMBEDKIT_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="is not the file that was published"):
        load_backbone(SMALL)  # found; random weights have not the published checksum
    assert by_option.weights_sha256


def test_half_a_download_is_never_taken_for_the_whole(state, tmp_path):
    file = tmp_path / "torch/hub/checkpoints" / FILE
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="half a download"):
        load_backbone(SMALL)
    with pytest.raises(WeightsError, match="damaged"):
        load_backbone(SMALL, weights=file)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"another network than torchvision.*missing, e\.g\."):
        load_backbone(SMALL, weights=tmp_path / "w.pth")


def test_weights_that_are_not_finite_are_refused(state, tmp_path):
    broken = {key: value.clone() for key, value in state.items()}
    broken["features.0.weight"][0] = float("nan")
    torch.save(broken, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"features\.0\.weight holds values that are not finite"):
        load_backbone(SMALL, weights=tmp_path / "w.pth")


@pytest.mark.parametrize("how", ["replaced", "written to", "removed"])
def test_weights_that_change_between_check_and_load_are_refused(
    state, tmp_path, monkeypatch, how, figure
):
    """Their libraries read them by name: another file may have got that name meanwhile."""
    path, other = tmp_path / "w.pth", tmp_path / "other.pth"
    torch.save(state, path)
    torch.save({key: value + 1 for key, value in state.items()}, other)

    def swapped(given):
        if how == "replaced":
            other.replace(given)
        elif how == "written to":
            given.write_bytes(other.read_bytes())
        loaded = read_state(given)
        if how == "removed":
            given.unlink()
        return loaded

    monkeypatch.setattr("embedkit.backbones.torchvision_models.read_state", swapped)
    with pytest.raises(WeightsError, match=r"w\.pth (changed while|cannot be read)"):
        load_backbone(SMALL, weights=path)
    figure("D1", f"weights {how} between their check and their load: refused")


def test_nothing_that_is_in_a_file_of_weights_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "w.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError, match="damaged|more than weights"):
        read_state(tmp_path / "w.pth")
    torch.save({"state_dict": Evil()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="more than weights"):
        read_state(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


def test_what_is_named_and_not_there_is_an_error(tmp_path):
    source = Source(files=("w.pth",), url="https://example.org/w.pth", cache=str(tmp_path))
    with pytest.raises(InputError, match="are not there"):
        find(source, tmp_path / "nowhere")
    with pytest.raises(InputError, match=re.escape("holds none of w.pth")):
        find(source, tmp_path)
    missing = pytest.raises(WeightsError, match="are not on this machine")
    with missing, needed(source, Options(), "mine"):
        pass


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet51", "no classifier called 'resnet51'"),
        ("timm:resnet51", "timm has no network called"),
        ("clip:ViT-B-32/nonsense", "no weights 'nonsense' of ViT-B-32; there are openai"),
        ("clip:ViT-Z/openai", "no model called 'ViT-Z'"),
        ("clip:ViT-B-32", "no backbone is called 'clip:ViT-B-32'"),
        ("facenet:lfw", "no backbone is called 'facenet:lfw'"),
        ("torchscript:missing.pt", "missing.pt does not exist"),
        ("onnx:missing.onnx", "missing.onnx does not exist"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(name, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load_backbone(name)


def test_names_become_folders_that_every_system_can_hold():
    assert find_card("clip").space == "clip-ViT-B-32-laion2b_s34b_b79k"
    assert find_card("facenet").name == "facenet:vggface2"
    assert find_card("onnx:/some/where/Face net.onnx").space == "onnx-Face-net"
    assert find_card("vgg16:pooled").space == "vgg16-pooled"


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("vgg19", "classifier.6"),
        ("resnet18", "fc"),
        ("squeezenet1_0", "classifier.1"),
        ("efficientnet_b0", "classifier.1"),
        ("mobilenet_v3_small", "classifier.3"),
        ("densenet121", "classifier"),
        ("shufflenet_v2_x0_5", "fc"),
    ],
)
def test_the_layer_that_is_cut_off_is_the_one_with_an_output_a_class(name, layer):
    import torchvision

    with torch.device("meta"):
        net = torchvision.models.get_model(name, weights=None)
    assert cut_classifier(net) == layer
    assert not any(
        1000 in (getattr(one, "out_features", 0), getattr(one, "out_channels", 0))
        for one in net.modules()
    )


# The user's own network.


class Small(torch.nn.Module):
    def __init__(self, outputs: int = 6, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, outputs, 3, stride=4)
        self.drop = torch.nn.Dropout(dropout)

    def forward(self, x):
        return self.drop(self.conv(x)).mean(dim=(2, 3))


def script(module, path):
    torch.jit.script(module).save(str(path))
    path.with_suffix(".json").write_text('{"size": [32, 24], "mean": 0.5, "std": 0.5}')
    return f"torchscript:{path}"


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_a_torchscript_file_is_used_in_eval_mode_whatever_it_says(tmp_path):
    import numpy as np

    backbone = load_backbone(script(Small().train(), tmp_path / "net.pt"))
    inputs = np.random.default_rng(0).integers(0, 255, (3, 32, 24, 3), dtype=np.uint8)
    assert backbone.card.dimension == 6
    assert np.array_equal(backbone.embed(inputs), backbone.embed(inputs))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_a_network_that_returns_the_wrong_shape_is_refused(tmp_path):
    with pytest.raises(BackboneError, match=r"returned \(2, 3, 32, 24\) for 2 pictures"):
        load_backbone(script(torch.nn.Identity(), tmp_path / "net.pt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "one JSON object"),
        ('{"sise": 3}', "has a key 'sise'; known are size"),
        ('{"resize": "crop"}', "has resize 'crop'; allowed are shortest, longest, squash"),
        ('{"mean": [1, 2]}', "need 3 numbers"),
        ('{"std": 0}', "must be positive"),
        ('{"size": "big"}', "cannot be understood"),
    ],
)
def test_a_description_that_cannot_be_meant_is_one_line(tmp_path, text, message):
    (tmp_path / "net.pt").write_bytes(b"x")
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        load_backbone(f"torchscript:{tmp_path / 'net.pt'}")


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_a_file_that_is_no_network_is_one_line(tmp_path, kind):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    (tmp_path / "net.pt").write_bytes(b"no network")
    (tmp_path / "net.json").write_text("{}")
    with pytest.raises(WeightsError, match="damaged, or no"):
        load_backbone(f"{kind}:{tmp_path / 'net.pt'}")


# Fetching, from a server on this machine.


@pytest.fixture
def server():
    """A server whose answer each test sets: the bytes, how many of them to send, how slowly."""
    answer = {"body": b"", "length": None, "pause": 0.0}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(answer["length"] or len(answer["body"])))
            self.end_headers()
            time.sleep(answer["pause"])
            self.wfile.write(answer["body"])

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield answer, f"http://127.0.0.1:{running.server_port}/w.pth"
    running.shutdown()
    running.server_close()


def published(url, body, folder):
    known = hashlib.sha256(body).hexdigest()[:8]
    return Source(files=("w.pth",), url=url, cache=str(folder), sha256=known)


def test_a_download_arrives_whole_and_can_be_loaded(server, state, tmp_path):
    answer, url = server
    stream = io.BytesIO()
    torch.save(state, stream)
    answer["body"] = stream.getvalue()
    source = published(url, answer["body"], tmp_path / "cache")
    path = download(source, tmp_path / "cache/w.pth")
    with needed(source, Options(), "mine") as held:
        assert held.path == path
    assert load_backbone(SMALL, weights=path).card.dimension == 512
    assert [one.name for one in path.parent.iterdir()] == ["w.pth"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"length": 5000}, "stopped after|cannot be fetched"),
        ({"body": b"another file"}, "another file than was published"),
        ({"pause": 1.0}, "cannot be fetched: .*timed out"),
    ],
)
def test_what_is_cut_off_wrong_or_stalled_leaves_no_file(
    server, tmp_path, monkeypatch, fault, message
):
    answer, url = server
    answer["body"] = b"the weights" * 100
    source = published(url, answer["body"], tmp_path / "cache")
    answer |= fault
    monkeypatch.setattr("embedkit.backbones.download.SECONDS", 0.3)
    with pytest.raises(WeightsError, match=message):
        download(source, tmp_path / "cache/w.pth")
    assert list((tmp_path / "cache").iterdir()) == []


class Odd(http.server.BaseHTTPRequestHandler):
    """A server that does each thing that servers do wrong, by the path that is asked for."""

    body = b"the weights" * 50_000

    def do_GET(self):
        kind = self.path.strip("/")
        if kind == "404":
            self.send_error(404)
        elif kind in ("loop", "elsewhere", "ftp", "file"):
            places = {"loop": "/loop", "elsewhere": "/whole"}
            odd = {"ftp": "ftp://127.0.0.1/w.pth", "file": "file:///etc/passwd"}
            self.send_response(302)
            self.send_header("Location", (places | odd)[kind])
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_response(200)
            if kind not in ("no-length", "endless", "slow"):
                length = 10**12 if kind == "lying" else len(self.body)
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.pour(kind)

    def pour(self, kind):
        page = b"<!doctype html><title>Sign in</title>".ljust(len(self.body))
        flipped = bytes([self.body[0] ^ 1]) + self.body[1:]
        cut = self.body[:-100_000]
        sent = {"page": page, "one-bit": flipped, "cut": cut}.get(kind, self.body)
        sent = bytes(2**22) if kind == "endless" else sent
        with contextlib.suppress(OSError):
            for start in range(0, len(sent), 50_000):
                self.wfile.write(sent[start : start + 50_000])
                time.sleep({"slow": 0.2, "throttled": 0.02}.get(kind, 0))

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def odd():
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


FAULTS = ("404", "loop", "ftp", "file", "page", "one-bit", "cut", "endless", "lying", "slow")


@pytest.mark.parametrize("digits", [64, 8])
def test_nothing_that_a_server_does_wrong_leaves_a_file(odd, tmp_path, monkeypatch, digits, figure):
    monkeypatch.setattr("embedkit.backbones.download.LARGEST", 2**20)
    known = hashlib.sha256(Odd.body).hexdigest()[:digits]
    cache = tmp_path / "cache"
    for fault in FAULTS:
        most = 1.0 if fault == "slow" else 60.0
        monkeypatch.setattr("embedkit.backbones.download.LONGEST", most)
        source = Source(("w.pth",), url=f"{odd}/{fault}", cache=str(cache), sha256=known)
        with pytest.raises(WeightsError) as caught:
            download(source, cache / "w.pth")
        assert "\n" not in str(caught.value)
        assert list(cache.iterdir()) == [], fault
    monkeypatch.setattr("embedkit.backbones.download.LONGEST", 60.0)
    for right in ("whole", "no-length", "elsewhere"):
        source = Source(("w.pth",), url=f"{odd}/{right}", cache=str(cache), sha256=known)
        assert download(source, cache / "w.pth").read_bytes() == Odd.body
    figure("D1", f"{len(FAULTS)} faults of a server, {digits} digits known: 0 files kept")


def test_a_download_leaves_https_for_nothing_else():
    from urllib.request import Request

    from embedkit.backbones.download import _Redirects

    asked = Request("https://example.org/")
    for place in ("http://example.org/w.pth", "ftp://example.org/w.pth", "file:///w.pth"):
        with pytest.raises(urllib.error.URLError, match="not https"):
            _Redirects().redirect_request(asked, None, 302, "", {}, place)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_killed_download_leaves_nothing_under_the_name_and_the_next_one_is_whole(
    odd, tmp_path, thorough, figure
):
    known = hashlib.sha256(Odd.body).hexdigest()
    source = Source(("w.pth",), url=f"{odd}/throttled", cache=str(tmp_path), sha256=known)
    kills, hit = 40 if thorough else 6, 0
    for number in range(kills):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                download(source, tmp_path / "w.pth")
            os._exit(0)
        until = time.monotonic() + 5
        while not list(tmp_path.glob(".*.part")) and time.monotonic() < until:
            time.sleep(0.002)  # a slow machine takes its time to begin
        time.sleep(0.2 * number / kills)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        names = [one.name for one in tmp_path.iterdir()]
        hit += any(name.endswith(".part") for name in names)
        if "w.pth" in names:  # the kill came too late
            assert (tmp_path / "w.pth").read_bytes() == Odd.body
            (tmp_path / "w.pth").unlink()
        for left in tmp_path.iterdir():
            os.utime(left, (0, 0))
    assert download(source, tmp_path / "w.pth").read_bytes() == Odd.body
    assert [one.name for one in tmp_path.iterdir()] == ["w.pth"]
    assert hit >= kills // 3
    figure("D1", f"{kills} downloads killed, {hit} in their middle: 0 files that are not whole")


def test_no_checksum_is_said_loudly(server, tmp_path, monkeypatch, capsys):
    answer, url = server
    answer["body"] = b"weights of unknown make"
    source = Source(files=("w.pth",), url=url, cache=str(tmp_path))
    monkeypatch.setattr("embedkit.backbones.download.source_of", lambda _: source)
    monkeypatch.setattr("embedkit.backbones.weights.source_of", lambda _: source)
    assert main(["weights", "get", "facenet:casia-webface"]) == 0
    said = capsys.readouterr()
    assert "CHECKSUM UNKNOWN" in said.err
    assert "; licence: MIT (facenet-pytorch); weights: the face set's terms" in said.err
    assert "CHECKSUM UNKNOWN" in said.out


def test_what_is_known_of_a_checksum_is_compared_and_told(tmp_path):
    assert [len(source_of(find_card(name)).sha256) for name in ("vgg16", "facenet")] == [64, 64]
    assert len(source_of(find_card(SMALL)).sha256) == 8
    assert source_of(find_card("facenet:casia-webface")).sha256 == ""
    # The hub's cache calls a large file by its SHA-256: half of one is found.
    digest = hashlib.sha256(b"whole").hexdigest()
    (tmp_path / digest).write_bytes(b"half")
    (tmp_path / "open_clip_model.safetensors").symlink_to(digest)
    source = Source(files=("open_clip_model.safetensors",), hub="laion/x")
    with pytest.raises(WeightsError, match="half a download"):
        check(source, tmp_path / "open_clip_model.safetensors")
    (tmp_path / digest).write_bytes(b"whole")
    assert check(source, tmp_path / "open_clip_model.safetensors") == digest


def test_no_server_at_all_is_one_line_that_names_the_place_for_the_file(tmp_path):
    source = Source(files=("w.pth",), url="http://127.0.0.1:9/w.pth", cache=str(tmp_path))
    with pytest.raises(WeightsError, match=r"cannot be fetched: .*put the file at .*w\.pth"):
        download(source, tmp_path / "w.pth")


def test_without_network_the_hub_says_what_to_fetch_elsewhere(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"open_clip_model\.safetensors elsewhere"):
        get_weights("clip")


def test_weights_are_listed_with_where_they_come_from(capsys):
    assert main(["weights", "list", "--json"]) == 0
    listed = {one["backbone"]: one for one in json.loads(capsys.readouterr().out)["weights"]}
    assert listed["vgg16"]["files"] == ["vgg16-397923af.pth"]
    assert listed["vgg16"]["path"] is None
    assert main(["weights", "get", "mtcnn"]) == 2
    assert "no weights to be fetched" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("vgg16", "BSD-3-Clause (torchvision); ImageNet's terms for the weights"),
        ("timm:resnet50", "Apache-2.0 (timm); weights: apache-2.0 (as timm says)"),
        ("timm:vit_base_patch16_clip_224.metaclip_400m", "weights: cc-by-nc-4.0 (as timm says)"),
        ("timm:dla60_res2net", "weights: see https://huggingface.co/timm/dla60_res2net.in1k"),
        ("clip:ViT-B-32/laion2b_s34b_b79k", "MIT (open_clip); weights: see https://hugg"),
    ],
)
def test_a_licence_is_the_one_that_the_library_knows_or_where_it_stands(name, licence, figure):
    assert licence in licence_of(find_card(name), source_of(find_card(name)))
    figure("G7", "weights of timm: the licence of its own table; of open_clip: where it stands")


def test_the_licence_of_its_weights_goes_with_a_network(weights_of):
    name = "timm:mobilenetv3_small_050"
    card = load_backbone(name, weights=weights_of(name)).card
    assert card.licence == "Apache-2.0 (timm); weights: apache-2.0 (as timm says)"


def test_auto_takes_the_strongest_that_is_here(state, tmp_path, monkeypatch):
    assert choose_backbone() == "mtcnn"
    kept = tmp_path / "torch/hub/checkpoints/vgg16-397923af.pth"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"x")
    assert choose_backbone() == "vgg16"
    (tmp_path / "given").mkdir()
    (tmp_path / "given/open_clip_model.safetensors").write_bytes(b"x")
    monkeypatch.setenv("EMBEDKIT_WEIGHTS", str(tmp_path / "given"))
    assert choose_backbone() == "clip"


def test_auto_looks_for_the_files_that_the_backbones_load():
    for name, source in STRONGEST:
        assert source() == source_of(find_card(name))
