"""A pipe, a device or a folder in the place of a file: refused in one line, not waited for."""

import os
import shutil
import signal
from contextlib import contextmanager

import pytest
from embedkit_cli import main
from helpers import make_different

import embedkit as ek

WAIT = 60  # seconds; nothing here takes five
OTHERS = ("pipe", "device", "endless", "folder")
NAMES = [f"{split}/{c}/{n}.png" for split in ("train", "test") for c in "ab" for n in range(4)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with pictures, their store and a head."""
    root = tmp_path_factory.mktemp("plain")
    store = ek.embed(make_different(root / "faces", *NAMES), root / "store", backbone="pixels")
    ek.train(store, head="logistic").save(root / "head.safetensors")
    return root


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of it that is the working folder."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


# What a command is given, and the file among it that is none.
ENTRIES = {
    "settings": ("embedkit.toml", "info store"),
    "table csv": ("t.csv", "scan t.csv"),
    "table tsv": ("t.tsv", "embed t.tsv -o new"),
    "table jsonl": ("t.jsonl", "scan t.jsonl"),
    "table parquet": ("t.parquet", "scan t.parquet"),
    "shard": ("t.tar", "scan t.tar"),
    "metadata csv": ("faces/metadata.csv", "scan faces"),
    "metadata jsonl": ("faces/metadata.jsonl", "scan faces"),
    "metadata parquet": ("faces/metadata.parquet", "scan faces"),
    "packed csv": ("t.csv", "unpack t.csv out"),
    "packed tar": ("t.tar", "unpack t.tar out"),
    "packed parquet": ("t.parquet", "unpack t.parquet out"),
    "head": ("head.safetensors", "predict head.safetensors faces/test/a/0.png"),
    "head's store": ("store/store.json", "evaluate head.safetensors --store store"),
    "network": ("n.onnx", "embed faces -b onnx:n.onnx -o new"),
    "trusted": ("n.onnx", "weights trust n.onnx"),
    "trusted weights": ("w.pth", "weights trust w.pth"),
    "weights": ("w.pth", "embed faces -b vgg16 --weights w.pth -o new"),
    "prompts": ("p.txt", "train store --head zeroshot --prompts p.txt"),
    "causes": ("p.txt", "audit store --check quality --prompts p.txt"),
    "predictions": ("p.csv", "audit store --check ledger --predictions p.csv"),
    "guessed": ("g.csv", "audit store --check bias --guessed tone=g.csv"),
    "baseline": ("b.json", "audit store --check quality --baseline b.json"),
    "journal": ("store/journal.jsonl", "embed faces -b pixels -o store"),
    "forgetting": ("store/forgetting.json", "forget store train/a/0.png --yes"),
}
# A folder of that name is something to read.
FOLDERS = {name for name in ENTRIES if name.startswith(("metadata", "packed"))} | {
    "table parquet",
    "shard",
    "weights",
}

SLOW = {"weights", "causes", "predictions"}  # what they have to load or train before they read it


@contextmanager
def ended_if_it_hangs():
    def late(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(WAIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def put(path, other):
    path.unlink(missing_ok=True)
    if other == "pipe":
        os.mkfifo(path)
    elif other == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/null" if other == "device" else "/dev/zero")


def test_what_is_no_file_is_refused_in_one_line(here, capsys, thorough, figure):
    refused, tried = 0, [one for one in ENTRIES if thorough or one not in SLOW]
    for entry in tried:
        name, command = ENTRIES[entry]
        path = here / name
        whole = path.read_bytes() if path.exists() else None
        for other in OTHERS:
            if other == "folder" and entry in FOLDERS:
                continue
            put(path, other)
            with ended_if_it_hangs():
                status = main(command.split())
            said = capsys.readouterr().err
            assert status in (2, 3), (entry, other, said)
            shown = (path.name, str(path.resolve()))  # a link is one of the two
            assert any(one in said.splitlines()[-1] for one in shown), (entry, other, said)
            assert "Traceback" not in said
            path.rmdir() if other == "folder" else path.unlink()
            refused += 1
        if whole is not None:
            path.write_bytes(whole)
    figure(
        "C6",
        f"a pipe, a device and a folder in the place of each of {len(tried)} files that commands "
        f"are given: {refused} of {refused} refused in one line, 0 waited for",
    )


def test_the_description_of_a_network_is_not_waited_for(here, capsys):
    (here / "n.onnx").write_bytes(b"x")
    for other in OTHERS:
        put(here / "n.json", other)
        with ended_if_it_hangs():
            assert main(["embed", "faces", "-b", "onnx:n.onnx", "-o", "new"]) == 2
        assert "n.json cannot be read" in capsys.readouterr().err
        (here / "n.json").rmdir() if other == "folder" else (here / "n.json").unlink()
