"""What the tests share: a small drawn data set, a store of it, the real data where it is."""

import ctypes
import gc
import ipaddress
import json
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from helpers import striped

from embedkit.audits import Audit, audit, calibration, registration, twins
from embedkit.pipeline import embed
from embedkit.store import Store
from embedkit.synthetic import Faults, Truth, make_faces
from embedkit.vectors import IntArray

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
Figure = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the promises of docs/reliability.md be tested at full length."""
    parser.addoption("--thorough", action="store_true", help="long versions of tests that have one")
    parser.addoption("--figures", type=Path, help="file that promises' figures are appended to")


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether a test that has a short and a long version is to run the long one."""
    return bool(request.config.getoption("--thorough"))


@pytest.fixture
def figure(request: pytest.FixtureRequest, thorough: bool) -> Figure:
    """Return what keeps the figure that a row of docs/reliability.md reached, where it is asked.

    Called at the end of a test with the row (`A1`) and what was counted, in words.
    """

    def keep(row: str, counted: str) -> None:
        place = request.config.getoption("--figures")
        if place is not None:
            kept = {
                "row": row,
                "test": request.node.nodeid.partition("[")[0],
                "thorough": thorough,
                "counted": counted,
            }
            with place.open("a", encoding="utf-8") as file:
                file.write(json.dumps(kept) + "\n")

    return keep


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves the machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            assert ipaddress.ip_address(address[0]).is_loopback, f"a test connects to {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own variables out."""
    for name in list(os.environ):
        if name.startswith("EMBEDKIT_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the developer's own downloads and marks out: what embedkit takes depends on them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf/hub"))


@pytest.fixture(scope="session", autouse=True)
def _heard() -> None:
    """Hear Ctrl-C, which a shell's background job, as CI may be, ignores: tests send it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _memory_given_back() -> Iterator[None]:
    """Give back what networks took before other tests begin; glibc would keep gigabytes."""
    yield
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Write without waiting: only a machine that loses its power could tell, and none does here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remember which networks were named beside the tests' files, not in the developer's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _remembered_registrations() -> Iterator[None]:
    """Lay no picture onto another twice: dozens of audits look at the same pairs.

    `test_twins.py` shows that a pair's score does not depend on the others.
    """
    known: dict[bytes, tuple[float, bool]] = {}

    def remembered(planes: registration.Planes, pairs: IntArray) -> registration.Registered:
        keys = [sha256(planes[pair].tobytes()).digest() for pair in pairs]
        new = [place for place, key in enumerate(keys) if key not in known]
        made = registration.register(planes, pairs[new])
        known.update(
            (keys[place], (score, mirrored))
            for place, score, mirrored in zip(new, made.score, made.mirrored, strict=True)
        )
        found = [known[key] for key in keys]
        return registration.Registered(
            np.array([score for score, _ in found], np.float64),
            np.array([mirrored for _, mirrored in found], bool),
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twins, "register", remembered)
        patch.setattr(calibration, "register", remembered)
        yield


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """A drawn data set with copies across splits and unreadable files."""
    faults = Faults(exact_twins=0.1, near_twins=0.3, unreadable=3)
    return make_faces(
        tmp_path_factory.mktemp("planted") / "faces",
        people=40,
        photographs=4,
        size=96,
        seed=5,
        faults=faults,
    )


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """A drawn data set without faults."""
    folder = tmp_path_factory.mktemp("clean") / "faces"
    return make_faces(folder, people=40, photographs=4, size=96, seed=6)


@pytest.fixture(scope="session")
def planted_store(planted: Truth, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The planted data set, embedded with both backbones."""
    return embed(
        planted.folder, tmp_path_factory.mktemp("stores") / "planted", backbone=["mtcnn", "pixels"]
    )


@pytest.fixture(scope="session")
def clean_store(clean: Truth, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The clean data set, embedded with both backbones."""
    return embed(
        clean.folder, tmp_path_factory.mktemp("stores") / "clean", backbone=["mtcnn", "pixels"]
    )


@pytest.fixture(scope="session")
def planted_audit(planted_store: Store) -> Audit:
    """All audits of the planted data set, once for all tests that only look at them."""
    return audit(planted_store, backbone="mtcnn")


@pytest.fixture(scope="session")
def clean_audit(clean_store: Store) -> Audit:
    """All audits of the clean data set."""
    return audit(clean_store, backbone="mtcnn")


@pytest.fixture(scope="session")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Pictures whose class is a faint stripe and goes with how light they are, in train."""
    folder = tmp_path_factory.mktemp("striped")
    return embed(striped(folder), folder / "store", backbone=["pixels"])


@pytest.fixture
def store_copy(planted_store: Store, tmp_path: Path) -> Path:
    """A copy of the planted store that a test may damage, without what other tests' audits kept."""
    kept = shutil.ignore_patterns("audits", "reviews.jsonl")
    return Path(shutil.copytree(planted_store.path, tmp_path / "store", ignore=kept))


@pytest.fixture(scope="session")
def data() -> Path:
    """The real data sets; tests that need them skip where they are absent."""
    if not DATA.is_dir():
        pytest.skip(f"the real data sets are not at {DATA}")
    return DATA


@pytest.fixture(scope="module")
def chromium():
    """Return a headless browser; tests that need it skip where there is none.

    Not for the whole session: while it runs, asyncio cannot be used in the same thread.
    """
    from browsers import open_chromium

    with open_chromium() as browser:
        yield browser


@pytest.fixture
def tab(chromium):
    """Return a page in a new, empty profile; the test fails if its console says anything."""
    with chromium.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        yield page
        assert said == []


@pytest.fixture(scope="session")
def weights_of(tmp_path_factory: pytest.TempPathFactory):
    """Give the file of random weights of a backbone, None for one that needs none."""
    from networks import LARGER, RANDOM, save_weights

    folder = tmp_path_factory.mktemp("weights")
    return lambda name: save_weights(name, folder) if name in RANDOM | LARGER else None


@pytest.fixture(scope="session")
def face_stores(tmp_path_factory, weights_of):
    """Cropped faces in a space that sees whole pictures, portraits in one that sees faces."""
    from clips import LABEL, SEEDS, portrait
    from networks import SQUEEZENET
    from PIL import Image

    from embedkit.backbones.faces import cut_out, face_finder

    root = tmp_path_factory.mktemp("people")
    rows = {kind: ["path,label,who,split"] for kind in ("crops", "portraits")}
    generator = np.random.default_rng(0)
    for seed in SEEDS:
        whole = portrait(seed)
        (face,) = face_finder().find(whole)
        for turn in range(4):
            for kind, picture in (("crops", cut_out(whole, face)), ("portraits", whole)):
                light = generator.uniform(0.9, 1.1)
                grain = generator.normal(0, 3, picture.shape)
                shown = np.clip(picture * light + grain, 0, 255).astype(np.uint8)
                path = root / kind / f"{seed}-{turn}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(shown).save(path)
                split = "test" if turn == 3 else "train"
                rows[kind].append(f"{kind}/{path.name},{LABEL[seed]},p{seed},{split}")
    for kind, lines in rows.items():
        (root / f"{kind}.csv").write_text("\n".join(lines))
    aligned = {"weights": weights_of(SQUEEZENET), "align": "mtcnn", "precision": "fp32"}
    return {
        "crops": embed(root / "crops.csv", root / "of crops", backbone="mtcnn"),
        "portraits": embed(
            root / "portraits.csv", root / "of portraits", backbone=SQUEEZENET, **aligned
        ),
    }


@pytest.fixture(scope="session")
def face_heads(face_stores, tmp_path_factory):
    """Three heads in two spaces: label and person on crops, label on faces that are found."""
    from embedkit.heads import train

    folder = tmp_path_factory.mktemp("heads")
    fitted = [
        train(face_stores["crops"], head="knn"),
        train(face_stores["crops"], head="logistic", label="who"),
        train(face_stores["portraits"], head="knn"),
    ]
    names = ("mood", "person", "aligned")
    return [one.save(folder / name) for one, name in zip(fitted, names, strict=True)]


@pytest.fixture(scope="session")
def panel(face_heads):
    """Return the three heads, ready to judge."""
    from embedkit.heads import load_head
    from embedkit.heads.predict import panel_of

    return panel_of([load_head(path) for path in face_heads], face_heads)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Three people in 24 frames, where `moving` has them."""
    from clips import PEOPLE, moving, scene, write_clip

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, [scene(where) for where in moving(24, PEOPLE)])
