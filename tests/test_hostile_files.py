"""Files that were made to be run: given wherever embedkit opens one, none of them ever is."""

import bz2
import gzip
import io
import lzma
import marshal
import os
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from embedkit_cli import main
from helpers import make_different
from onnx_files import mean_colour_classifier

import embedkit as ek
from embedkit.backbones import load_backbone
from embedkit.backbones.clip import _load
from embedkit.backbones.weights import read_state
from embedkit.errors import EmbedkitError
from embedkit.heads import load_head
from embedkit.neighbours import search
from embedkit.readers import read_source
from embedkit.store import Store

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*", "ignore:.*TorchScript.*")


class Evil:
    """What makes the marker when it is unpickled."""

    def __init__(self, marker: Path, how: str = "open") -> None:
        self.marker, self.how = str(marker), how

    def __reduce__(self):
        return {
            "open": (open, (self.marker, "w")),
            "system": (os.system, (f"touch {self.marker}",)),
            "eval": (eval, (f"open({self.marker!r}, 'w')",)),
            "exec": (exec, (f"open({self.marker!r}, 'w')",)),
            "mkdir": (os.mkdir, (self.marker,)),
            "torch": (torch.save, ([1], self.marker)),
        }[self.how]


class Script(torch.nn.Module):
    def __init__(self, marker: Path) -> None:
        super().__init__()
        self.marker = str(marker)

    def forward(self, x):
        torch.save(x, self.marker)
        return x.flatten(1)


def archive(members: dict[str, bytes], compressed: bool = False) -> bytes:
    stream = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", kind) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return stream.getvalue()


def saved(writer: Callable[..., object], *arguments: object, **options: object) -> bytes:
    stream = io.BytesIO()
    writer(*arguments, stream, **options)
    return stream.getvalue()


def hostile(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Yield files, each with a name, that make the marker or bring a reader down if they can."""
    for protocol in range(6):
        yield f"pickle of protocol {protocol}", pickle.dumps(Evil(marker), protocol)
    for how in ("system", "eval", "exec", "mkdir", "torch"):
        yield f"pickle that calls {how}", pickle.dumps(Evil(marker, how))
    plain = pickle.dumps(Evil(marker))
    yield "pickle in a list", pickle.dumps([1, {"a": Evil(marker)}])
    yield "pickle that was cut", pickle.dumps([Evil(marker), 1])[:-3]
    yield "torch zip", saved(torch.save, {"w": Evil(marker)})
    yield "torch zip, state_dict", saved(torch.save, {"state_dict": {"w": Evil(marker)}})
    yield (
        "torch, before zip",
        saved(torch.save, {"w": Evil(marker)}, _use_new_zipfile_serialization=False),
    )
    for name in ("../../evil", "/tmp/evil", "..\\..\\evil", "x/../../evil"):
        members = {"a/data.pkl": plain, "a/version": b"3", name: b"evil"}
        yield f"torch zip with {name}", archive(members)
    yield "torch zip, packed", archive({"a/data.pkl": plain, "a/version": b"3"}, compressed=True)
    yield (
        "torch zip with code",
        archive({"a/data.pkl": plain, "a/version": b"3", "a/code/x.py": b"open('x')"}),
    )
    yield "joblib", saved(joblib.dump, {"coef": Evil(marker)})
    for kind in ("zlib", "gzip", "bz2", "xz"):
        yield f"joblib, {kind}", saved(joblib.dump, Evil(marker), compress=(kind, 3))
    yield "joblib, zlib, and bytes after it", zlib.compress(plain) + b"x" * 300
    for name, pack in (("gzip", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        yield f"pickle in {name}", pack(plain)
    objects = np.array([Evil(marker), None], dtype=object)
    yield "npy of objects", saved(lambda a, f: np.save(f, a), objects)
    yield "npz of objects", saved(lambda a, f: np.savez(f, a=a), objects)
    yield (
        "npy that claims 2^60 rows",
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,), }"),
    )
    yield "npy with a call in its header", npy_header(f"open({str(marker)!r}, 'w')")
    yield "marshal", marshal.dumps(compile(f"open({str(marker)!r}, 'w')", "x", "exec"))
    script = io.BytesIO()
    torch.jit.save(torch.jit.script(Script(marker)), script)
    yield "TorchScript that saves", script.getvalue()
    network = mean_colour_classifier(np.eye(3), np.zeros(3), 8)
    yield "ONNX of an operator of its own", network.replace(b"Gemm", b"Evil")
    yield "ONNX, cut", network[:-40]
    for depth in (1_000, 100_000):
        yield f"JSON {depth} lists deep", b"[" * depth
        yield f"JSON {depth} objects deep", b'{"schema":' * depth + b"1" + b"}" * depth
    yield "JSON of one huge number", b'{"schema": ' + b"9" * 100_000 + b"}"
    yield "JSON of infinities", b'{"schema": Infinity, "seal": NaN}'
    yield "JSON of one name a million times", b'{"a": [' + b'{"a": 1},' * 300_000 + b"1]}"
    deep = b'{"__metadata__": {"embedkit": "' + b"[" * 50_000 + b'"}}'
    yield "safetensors, deep", len(deep).to_bytes(8, "little") + deep
    yield "safetensors, endless header", b"\xff" * 8 + b"{}"
    bad = b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}'
    yield "safetensors, more than there is", len(bad).to_bytes(8, "little") + bad + b"1234"
    yield "TOML, deep", b"a = " + b"[" * 50_000
    yield "YAML that calls", f"!!python/object/apply:os.mkdir ['{marker}']".encode()
    yield "Python", f"open({str(marker)!r}, 'w')".encode()
    yield "shell", f"#!/bin/sh\ntouch {marker}\n".encode()
    yield "program in a zip", archive({"__main__.py": f"open({str(marker)!r}, 'w')".encode()})
    yield "library", b"\x7fELF\x02\x01\x01" + bytes(200)
    yield "template", b"{{ ''.__class__.__mro__[1].__subclasses__() }}"
    yield "nothing", b""


def npy_header(text: str) -> bytes:
    data = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    names = [f"{split}/{c}/{n}.png" for split in ("train", "test") for c in "ab" for n in range(4)]
    return make_different(tmp_path_factory.mktemp("few") / "faces", *names)


@pytest.fixture(scope="module")
def store(source):
    return ek.embed(source, source.parent / "store", backbone="pixels")


ENTRIES = ("weights", "network", "head", "store", "settings", "table")


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES)
def test_no_file_that_was_made_to_be_run_is(
    entry, source, store, tmp_path, monkeypatch, capsys, thorough, figure
):
    marker = tmp_path / "ran"
    files = dict(hostile(marker))
    shutil.rmtree(marker, ignore_errors=True)  # some are made by running them once
    marker.unlink(missing_ok=True)
    assert len(files) >= 50
    before = {path for path in tmp_path.parent.rglob("*") if "evil" in path.name}
    given = 0
    for name, content in files.items():
        for attempt in attempts(entry, content, source, store, tmp_path, monkeypatch, thorough):
            given += 1
            try:
                attempt()
            except EmbedkitError as error:
                assert len(str(error)) < 1500, name
            assert not marker.exists(), name
    assert {path for path in tmp_path.parent.rglob("*") if "evil" in path.name} == before
    assert not Path("/tmp/evil").exists()
    figure("D3", f"{len(files)} hostile files, {given} times given as {entry}: 0 run")


def attempts(entry, content, source, store, folder, monkeypatch, thorough):
    """Return what opens a file of these bytes as one thing or another."""
    if entry == "weights":
        for suffix in ("pt", "pth", "bin", "pkl", "joblib", "npy", "safetensors"):
            if thorough or suffix in ("pth", "safetensors"):
                file = written(folder / f"w.{suffix}", content)
                yield lambda file=file: read_state(file)
                yield lambda file=file: _load(torch.nn.Linear(2, 2), file, "a model of open_clip")
        if thorough:
            yield lambda: load_backbone("torchvision:squeezenet1_1", weights=folder / "w.pkl")
    elif entry == "network":
        (folder / "net.json").write_text('{"size": [8, 8], "mean": 0, "std": 1}')
        for kind in ("torchscript", "onnx"):
            file = written(folder / f"net.{kind}", content)
            yield lambda kind=kind, file=file: load_backbone(f"{kind}:{file}")
        file = written(folder / "described.json", content)
        shutil.copy(folder / "net.onnx", folder / "described.onnx")
        yield lambda: load_backbone(f"onnx:{folder / 'described.onnx'}")
    elif entry == "head":
        file = written(folder / "head.safetensors", content)
        yield lambda: load_head(file)
    elif entry == "store":
        place = folder / "store"
        names = sorted(str(one.relative_to(store.path)) for one in store.path.rglob("*.*"))
        for name in names if thorough else [one for one in names if "lock" not in one][:4]:
            if not (store.path / name).is_file():
                continue
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(store.path, place)
            written(place / name, content)
            yield lambda: use(place, source)
    elif entry == "settings":
        written(folder / "embedkit.toml", content)
        monkeypatch.chdir(folder)
        yield lambda: main(["info", str(store.path)])
    else:
        for suffix in ("csv", "json", "jsonl", "parquet", "pkl", "tar"):
            file = written(folder / f"table.{suffix}", content)
            yield lambda file=file: read_source(file)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def use(place: Path, source: Path) -> None:
    opened = Store.open(place)
    opened.verify()
    search(opened, source / "train/a/0.png", k=2)


def test_a_matrix_in_columns_comes_back_as_it_was_saved(store, tmp_path):
    """Safetensors 0.8 writes memory as it lies: a Fortran-ordered one would be scrambled."""
    from dataclasses import replace

    from safetensors import numpy as safetensors

    square = np.arange(9, dtype=np.float32).reshape(3, 3)
    scrambled = safetensors.load(safetensors.save({"a": np.asfortranarray(square)}))["a"]
    head = ek.train(store, head="logistic")
    classifier = head.classifier
    turned = replace(classifier, coefficients=np.asfortranarray(classifier.coefficients))
    again = load_head(replace(head, classifier=turned).save(tmp_path / "head")).classifier
    assert np.array_equal(again.coefficients, classifier.coefficients)
    # If this fails, safetensors has learned it, and the copies in heads/saving.py can go.
    assert not np.array_equal(scrambled, square)
