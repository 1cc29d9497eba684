"""Pictures of every bad kind: each is embedded or named with its reason, and none ends a run."""

import collections
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from embedkit_cli.app import main
from helpers import noise, saved, tree
from pictures import FUZZED, KINDS, MAGIC, chunk, directories, made, mutated, png
from PIL import Image

from embedkit import decoders, images
from embedkit.backbones.pixels import PixelStatistics
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.decoders import Decoders
from embedkit.errors import InputError, UnreadableImageError
from embedkit.images import decode, decoding, read_bytes, strict_pillow
from embedkit.images.pictures import DECODERS
from embedkit.inputs import read_inputs
from embedkit.items import Unreadable, path_of_id
from embedkit.pipeline import embed
from embedkit.store import Store
from embedkit.workers import Room

CLOCK = os.sysconf("SC_CLK_TCK")


def kind_of(reason: str) -> str:
    """Return the constant words of a reason."""
    return Unreadable("", reason).kind


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK


def most_memory_of(pid: int) -> float:
    """Return the MiB that a process had at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def outcome(data: bytes) -> str:
    """Return why a file has no pixels, nothing if it has some."""
    try:
        with strict_pillow():
            assert decode(data).pixels.dtype == np.uint8
    except UnreadableImageError as error:
        return str(error)
    return ""


@contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """Let this process take so many bytes more than it has, and no others."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
@pytest.mark.parametrize("channels", ["RGB", "BGR", "L"])
def test_a_narrow_strip_is_cut_before_it_is_enlarged(interpolation, channels, monkeypatch):
    """Cut first or last: the same pixels, up to rounding; and only strips are cut first."""
    generator = np.random.default_rng(0)
    n = 1 if channels == "L" else 3
    taken = Preprocessing(
        size=(48, 64), to=60, interpolation=interpolation, channels=channels,
        mean=(0.0,) * n, std=(1.0,) * n,
    )  # fmt: skip
    for height, width in ((1, 4000), (4000, 1), (3, 2001), (2001, 3), (40, 90), (90, 40)):
        pixels = generator.integers(0, 256, (height, width, 3), np.uint8)
        pixels = np.sort(pixels, axis=int(width > height))  # smooth
        last = taken.prepare(pixels).astype(int)
        with monkeypatch.context() as patch:
            patch.setattr("embedkit.backbones.preprocessing.MOST_PIXELS", 1)
            first = taken.prepare(pixels).astype(int)
            fast = taken.prepare_fast(pixels).astype(int)
        assert first.shape == last.shape == (48, 64, n)
        # Where a point lies on the edge of two pixels, the nearest may be either.
        differing = (np.abs(first - last) > 2).mean()
        assert differing <= (0.2 if interpolation == "nearest" else 0)
        assert np.array_equal(first, fast)


@pytest.mark.parametrize("shape", [(1, 16000), (16000, 1), (1, 64000), (64000, 1), (2, 65000)])
def test_a_narrow_strip_takes_no_gigabytes(shape):
    """A PNG of 16,000 x 1 pixels has 129 bytes; enlarged whole, it had 2.4 GB and more."""
    pixels = np.full((*shape, 3), 90, np.uint8)
    pixels[: max(1, shape[0] // 2), : max(1, shape[1] // 2)] = 200
    with limited_memory(2**29):
        for taken in (Preprocessing(), Preprocessing(to=256, interpolation="bicubic")):
            prepared = taken.prepare(pixels)
            assert prepared.shape == (224, 224, 3)
            assert np.ptp(prepared) >= 100  # the edge in the middle
            assert np.array_equal(prepared, taken.prepare_fast(pixels))


@pytest.fixture
def slow() -> Iterator[Decoders]:
    """Decoders that do what they are told; one second of CPU time is too long for them."""
    those = Decoders("slow_decoder", "serve_slowly")
    yield those
    those.close()


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        ("loop", f"takes too long ({decoders.SECONDS} s of processor time)"),
        ("wait", "takes too long (2 s)"),
        ("crash", "ends its decoder (SIGSEGV)"),
        ("grow", "ends its decoder (status 1)"),
    ],
)
def test_what_hangs_or_crashes_ends_a_decoder_and_not_the_run(do, reason, slow, monkeypatch, capfd):
    assert slow.ask({"do": "talk"}, b"abc") == ({"done": "talk"}, b"cba")
    if do == "wait":
        monkeypatch.setattr(decoders, "PATIENCE", 2)
    with pytest.raises(UnreadableImageError) as caught:
        slow.ask({"do": do}, b"")
    assert str(caught.value) == reason
    assert slow.processes() == []
    assert slow.ask({"do": "nothing"}, bytes(2**20) + b"x")[1][:2] == b"x\0"
    assert capfd.readouterr() == ("", "")


def test_a_decoder_ends_with_the_process_that_started_it():
    code = (
        "import io, os\n"
        "from PIL import Image\n"
        "from embedkit.images.pictures import DECODERS, decode\n"
        "stream = io.BytesIO()\n"
        "Image.new('RGB', (9, 9)).save(stream, 'TIFF')\n"
        "decode(stream.getvalue())\n"
        "print(*DECODERS.processes(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL
    (pid,) = map(int, ended.stdout.split())
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text():
            break
        time.sleep(0.1)
    else:
        pytest.fail("the decoder is still there")


def test_nothing_of_a_users_script_is_run_again_in_a_decoder(tmp_path):
    """As `multiprocessing` would, and end in a storm of processes without a main guard."""
    script = tmp_path / "script.py"
    script.write_text(
        "import io\n"
        "from PIL import Image\n"
        "from embedkit.images import decode\n"
        "print('once')\n"
        "stream = io.BytesIO()\n"
        "Image.new('RGB', (9, 9)).save(stream, 'TIFF')\n"
        "print(decode(stream.getvalue()).facts.format)\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert ended.stdout == "once\nTIFF\n"
    assert ended.stderr == ""


# A process begins with the peak of the one that started it: a small one starts it here.
MEASURED = """
import json, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], file)
sys.exit(status)
"""


def test_every_kind_of_file_is_embedded_or_named(tmp_path, thorough, figure):
    """Through the command, as a user has it, beside what no picture can be."""
    each = 3000 // len(KINDS) + 1 if thorough else 2
    folder = tmp_path / "faces"
    expected = {}
    for kind, (_, good) in KINDS.items():
        for number in range(each):
            # The suffix says nothing, as so often.
            name = f"{'ab'[number % 2]}/{kind}-{number}.{('jpg', 'png', 'tif')[number % 3]}"
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(made(kind, number))
            expected[name] = good
    for name, good in odd_files(folder / "a"):
        expected[f"a/{name}"] = good
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "usage")]
    command += [sys.executable, "-m", "embedkit_cli", "embed", str(folder), "-b", "pixels"]
    command += ["-o", str(tmp_path / "store"), "--json"]
    began = time.monotonic()
    with (tmp_path / "out").open("wb") as out, (tmp_path / "stderr").open("wb") as talk:
        run = subprocess.run(command, stdout=out, stderr=talk)
    said = (tmp_path / "stderr").read_text()
    assert run.returncode == 0, said
    cpu, peak = json.loads((tmp_path / "usage").read_text())
    store = Store.open(tmp_path / "store")
    reasons = {one.id: one.reason for one in store.unreadable}
    seen = dict.fromkeys(store.items.ids, True) | dict.fromkeys(reasons, False)
    assert len(store.items) + len(reasons) == len(expected)
    for id_, good in seen.items():
        assert expected[path_of_id(id_)] in (good, None), f"{id_}: {reasons.get(id_)}"
    assert json.loads((tmp_path / "out").read_text())["n"] == len(store.items)
    kinds = {kind_of(reason) for reason in reasons.values()}
    assert len(kinds) <= 20
    assert not any(character.isdigit() for kind in kinds for character in kind)
    assert f"{sum(one.kind == 'not a picture' for one in store.unreadable)} not a picture" in said
    # What libtiff has to say is no line of ours; nothing in a name commands a terminal.
    assert "TIFF" not in said
    assert "Warning" not in said
    assert "\x1b" not in said
    assert peak < 2048
    figure(
        "C1",
        f"{len(expected)} files of {len(KINDS)} kinds: {len(store.items)} embedded, {len(reasons)} "
        f"named with one of {len(kinds)} reasons, 0 ended the run; {peak:.0f} MiB at most, "
        f"{cpu:.0f} s of CPU time, "
        f"{time.monotonic() - began:.0f} s",
    )
    others = [one for one in reasons if Path(one).name.partition("-")[0] in MAGIC]
    figure("C3", f"{len(others)} files of {len(MAGIC)} other formats, called .jpg: none decoded")
    odd = len(expected) - each * len(KINDS)
    figure("C6", f"{odd} odd files and names: each embedded or named, none waited for")
    figure("C7", f"{odd} odd files and names, through the store and the command's stderr")


def odd_files(folder: Path) -> Iterator[tuple[str, bool]]:
    """Make what is no regular file, what has an odd name, and say which can be read."""
    good = saved(noise(0), "PNG")
    os.mkfifo(folder / "pipe.jpg")
    yield "pipe.jpg", False
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path is short
        try:
            listening.bind("socket.jpg")
        finally:
            os.chdir(here)
    yield "socket.jpg", False
    (folder / "nowhere.jpg").symlink_to("gone")
    yield "nowhere.jpg", False
    (folder / "device.jpg").symlink_to("/dev/zero")
    yield "device.jpg", False
    (folder / "loop.jpg").symlink_to("loop.jpg")
    yield "loop.jpg", False
    with (folder / "sparse.jpg").open("wb") as file:
        file.truncate(8 * 2**30)
    yield "sparse.jpg", False
    names = (
        *("new\nline", "escape\x1b[31m", "\u202egpj", "e\u0301", "\u00e9", "=1+1", "-rf", "<b>"),
        *("%2e%2e", "\N{GRINNING FACE}", os.fsdecode(b"not-utf8-\xff"), "n" * 250),
    )
    for place, name in enumerate(names):
        (folder / f"{name}.png").write_bytes(good if place % 2 else good[:100])
        yield f"{name}.png", bool(place % 2)


def test_no_damaged_file_does_more_than_become_pixels_or_a_reason(thorough, figure):
    n = 20_000 if thorough else 1_000
    generator = np.random.default_rng(9)
    seeds = [made(kind, number) for kind in FUZZED for number in range(4)]
    DECODERS.close()
    counted, kinds = collections.Counter(), collections.Counter()
    slowest = 0.0
    for _ in range(n):
        data = mutated(seeds[generator.integers(len(seeds))], generator)
        pids = DECODERS.processes()
        began = time.process_time() + sum(map(cpu_of, pids))
        reason = outcome(data)
        if pids == DECODERS.processes():  # else one was started, or has ended
            slowest = max(slowest, time.process_time() + sum(map(cpu_of, pids)) - began)
        counted["named" if reason else "decoded"] += 1
        kinds[kind_of(reason)] += 1
    assert min(counted.values()) > n / 20
    assert len(kinds) <= 20
    peak = max([0.0, *map(most_memory_of, DECODERS.processes())])
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ended = {kind: n for kind, n in kinds.items() if kind.startswith(("takes", "ends"))}
    figure(
        "C1",
        f"{n} mutants of {len(FUZZED)} kinds (JPEG, PNG, WebP, GIF, TIFF, BMP): "
        f"{counted['decoded']} decoded, {counted['named']} named with one of {len(kinds) - 1} "
        f"reasons, 0 other errors; at most {1000 * slowest:.0f} ms of CPU time a file, "
        f"{peak:.0f} MiB in a decoder, {here:.0f} MiB in the process of the test; over a limit: "
        f"{ended or 'none'}",
    )
    figure("C2", f"{n} mutants: 0 deaths of the process, {kinds['ends its decoder']} of a decoder")


PIXELS = chunk(b"IDAT", zlib.compress(bytes(2 * 8)))
BOMBS = {
    "png": png(30_000, 30_000, chunk(b"IDAT", zlib.compress(bytes(10**8)))),
    "png of lies": png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", b"x")),
    "png text": png(8, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**8))), PIXELS),
    "png profile": png(8, 8, chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(10**8))), PIXELS),
    "png words": png(8, 8, chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(10**8))), PIXELS),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";",
    "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 0, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
    "ppm": b"P6\n60000 60000\n255\n" + bytes(100),
    "ppm text": b"P3\n60000 60000\n255\n" + b"1 " * 100,
    "webp": b"RIFF\x30\0\0\0WEBPVP8L\x20\0\0\0\x2f" + b"\xff" * 40,
    "jpeg 2000": b"\xff\x4f\xff\x51\0\x2f\0\0" + struct.pack(">IIIIIIII", 60_000, 60_000, *[0] * 6),
    "tiff": b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIIHHII", 256, 4, 1, 10**6, 257, 4, 1, 10**6),
    "directories": directories(500_000),
}


def test_bombs_are_refused_before_they_go_off(figure):
    outcome(saved(noise(0), "TIFF"))
    pids = [os.getpid(), *DECODERS.processes()]
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the most so far is what there is now
    before = [most_memory_of(pid) for pid in pids]
    reasons = {name: outcome(data) for name, data in BOMBS.items()}
    grown = [most_memory_of(pid) - first for pid, first in zip(pids, before, strict=True)]
    assert all(reasons.values()), reasons
    assert DECODERS.processes() == pids[1:]
    assert max(grown) < 50
    figure("C4", f"{len(BOMBS)} bombs refused; {max(grown):.0f} MiB more at most")


def test_a_jpeg_of_too_many_scans_is_named(thorough, figure):
    """Each scan is a pass over all pixels, and takes a few bytes."""
    data = saved(Image.new("RGB", (2048, 2048), (9, 99, 199)), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    DECODERS.close()
    assert outcome(data) == ""
    assert DECODERS.processes() == []
    n = 30_000 if thorough else 20
    began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    reason = outcome(data[:-2] + scan * n + data[-2:])
    if thorough:
        assert reason == f"takes too long ({decoders.SECONDS} s of processor time)"
        took = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began
        figure(
            "C1", f"a JPEG of {n} scans ({len(scan) * n / 2**20:.1f} MiB): named after {took:.0f} s"
        )
    else:
        assert reason == ""
        assert len(DECODERS.processes()) == 1


@pytest.mark.parametrize("kind", ["plain PPM", "BMP of runs"])
def test_what_python_would_take_long_over_is_decoded_outside(kind):
    numbers = b" ".join(b"%d" % value for value in range(48))
    runs = struct.pack(
        "<2sIIIIiiHHIIiiII", b"BM", 1084, 0, 1078, 40, 4, 1, 1, 8, 1, 6, 0, 0, 256, 0
    )
    data = {
        "plain PPM": b"P3 4 4 255\n# a comment\n" + numbers,
        "BMP of runs": runs + bytes(range(256)) * 4 + b"\4\7\0\0\0\1",
    }[kind]
    DECODERS.close()
    assert outcome(data) == ""
    assert len(DECODERS.processes()) == 1


def test_a_decoder_runs_nothing_of_the_folder_that_one_works_in(tmp_path, monkeypatch):
    for name in ("json", "os", "struct", "numpy"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\n")
    monkeypatch.chdir(tmp_path)
    DECODERS.close()
    assert outcome(saved(noise(0), "TIFF")) == ""
    assert len(DECODERS.processes()) == 1
    assert not (tmp_path / "ran").exists()


def test_killed_decoders_cost_no_picture_and_change_no_byte(
    tmp_path, thorough, figure, monkeypatch
):
    n = 110 if thorough else 12
    for number in range(n):
        path = tmp_path / "faces" / "ab"[number % 2] / f"{number:03}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(noise(number, 64), "TIFF"))
    quiet = embed(tmp_path / "faces", tmp_path / "quiet", backbone="pixels")
    generator = np.random.default_rng(0)
    ask, told, killed = decoders._Decoder.ask, set(), []

    def disturbed(self, question, data):
        killing = None
        if data not in told and generator.random() < 0.6:
            told.add(data)
            after = generator.uniform(0, 0.004)

            def kill() -> None:
                if self._process.poll() is None:
                    killed.append(self.pid)
                    self._process.kill()

            killing = threading.Timer(after, kill)
            killing.start()
        try:
            return ask(self, question, data)
        finally:
            if killing:
                killing.join()

    monkeypatch.setattr(decoders._Decoder, "ask", disturbed)
    store = embed(tmp_path / "faces", tmp_path / "disturbed", backbone="pixels")
    assert len(killed) >= (50 if thorough else 3)
    assert store.unreadable == ()
    assert tree(store.path) == tree(quiet.path)
    figure("J1", f"{len(killed)} decoders killed over {n} pictures: 0 pictures lost, same bytes")
    figure(
        "C2", f"{len(killed)} decoders killed: the run went on, {len(store.items)} of {n} embedded"
    )


def test_a_picture_that_always_ends_its_decoder_is_named_and_the_others_are_embedded(
    tmp_path, monkeypatch
):
    folder = tmp_path / "faces"
    for number in range(6):
        path = folder / "ab"[number % 2] / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(noise(number), "TIFF"))
    bad = (folder / "a/2.tif").read_bytes()
    ask = decoders._Decoder.ask

    def deadly(self, question, data):
        if data == bad:
            self._process.kill()
        return ask(self, question, data)

    with monkeypatch.context() as patch:
        patch.setattr(decoders._Decoder, "ask", deadly)
        store = embed(folder, tmp_path / "store", backbone="pixels")
    assert [(one.id, one.reason) for one in store.unreadable] == [
        ("a/2.tif", "ends its decoder (SIGKILL)")
    ]
    assert len(store.items) == 5
    # It may have been the machine: the next run tries it again.
    assert embed(folder, tmp_path / "store", backbone="pixels").unreadable == ()


def test_long_chains_of_directories_are_refused_at_once():
    began = time.process_time()
    assert outcome(directories(10_000)) == ""
    assert outcome(directories(200_000)) == "too many frames (at most 10000 are counted)"
    loop = bytearray(directories(3))
    loop[-4:] = (8).to_bytes(4, "little")
    assert outcome(bytes(loop)) in ("", "too many frames (at most 10000 are counted)")
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "takes too much memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "takes too much memory"),
        (ValueError("odd\nsecond"), "cannot be prepared (ValueError: odd)"),
    ],
)
def test_what_one_picture_does_to_a_network_is_its_own_reason(error, reason, tmp_path, monkeypatch):
    for number in range(4):
        path = tmp_path / "faces" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(noise(number, 40 + number), "PNG"))
    prepare = PixelStatistics.prepare

    def failing(self, pixels):
        if len(pixels) == 42:
            raise error
        return prepare(self, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(PixelStatistics, "prepare", failing)
        store = embed(tmp_path / "faces", tmp_path / "store", backbone="pixels")
    assert [(one.id, one.reason) for one in store.unreadable] == [("a/2.png", reason)]
    assert len(store.items) == 3


def test_max_pixels_leaves_larger_pictures_out_until_it_is_raised(tmp_path):
    folder = tmp_path / "faces"
    for number, side in enumerate((10, 11, 20, 30)):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(noise(number, side), "PNG"))
    store = embed(folder, tmp_path / "store", backbone="pixels", max_pixels=400)
    reason = "too many pixels (30 x 30, at most 0.0004 million are read)"
    assert [(one.id, one.reason) for one in store.unreadable] == [("b/3.png", reason)]
    # What the store holds stays, though it would not be taken now, and gets further vectors.
    store = embed(folder, tmp_path / "store", backbone=["pixels", "mtcnn"], max_pixels=100)
    assert len(store.items) == 3
    assert embed(folder, tmp_path / "store", backbone="pixels").unreadable == ()
    for wrong in (0, -1, images.MAX_PIXELS + 1):
        with pytest.raises(InputError, match="--max-pixels"):
            embed(folder, tmp_path / "store", backbone="pixels", max_pixels=wrong)


def test_max_pixels_of_pictures_that_are_asked_about(tmp_path, capsys):
    path = tmp_path / "x.png"
    path.write_bytes(saved(noise(0, 30), "PNG"))
    for given in (path, path.read_bytes()):
        ((_, pixels),) = read_inputs([given], max_pixels=899)
        assert isinstance(pixels, Unreadable)
        assert pixels.kind == images.TOO_MANY
        ((_, pixels),) = read_inputs([given], max_pixels=900)
        assert pixels.shape == (30, 30, 3)
    for command in (["embed", str(tmp_path)], ["predict", "gone.safetensors", str(path)]):
        assert main([*command, "--max-pixels", "0"]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == "Error: --max-pixels is 0; from 1 to 64000000 are allowed"


def test_large_floats_take_less_than_twenty_bytes_a_pixel():
    """All at once they took 37; a decoder has 2 GiB."""
    side = 3000
    data = saved(Image.new("F", (side, side), 0.5), "TIFF", compression="tiff_lzw")
    DECODERS.close()
    assert outcome(saved(noise(0), "TIFF")) == ""
    (pid,) = DECODERS.processes()
    before = most_memory_of(pid)
    assert outcome(data) == ""
    assert DECODERS.processes() == [pid]
    assert (most_memory_of(pid) - before) * 2**20 / side**2 < 20


def test_many_large_pictures_are_not_decoded_all_at_once(monkeypatch):
    data = saved(noise(0, 100), "PNG")
    monkeypatch.setattr(decoding, "ROOM", Room(25_000))
    turn, now, most = decoding.rgb_image, [], []

    def watched(image, **options):
        now.append(image.width * image.height)
        most.append(sum(now))
        time.sleep(0.02)
        now.pop()
        return turn(image, **options)

    monkeypatch.setattr(decoding, "rgb_image", watched)
    with ThreadPoolExecutor(8) as pool:
        assert len({one.facts.pixel_sha256 for one in pool.map(decode, [data] * 24)}) == 1
    assert max(most) == 20_000
    monkeypatch.setattr(decoding, "ROOM", Room(5))  # less than one takes: one at a time
    assert decode(data).facts.width == 100


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, thorough, figure):
    """The hash and the pixels are of one state of the file, or there are none."""
    path = tmp_path / "x.bmp"
    states = [saved(Image.new("RGB", (700, 700), colour), "BMP") for colour in ("red", "blue")]
    path.write_bytes(states[0])
    stop = threading.Event()

    def rewrite() -> None:
        with path.open("r+b") as file:
            while not stop.is_set():
                for state in states:
                    file.seek(0)
                    file.write(state)
                    file.flush()

    rewriter = threading.Thread(target=rewrite)
    rewriter.start()
    outcomes = collections.Counter()
    try:
        for _ in range(500 if thorough else 60):
            try:
                data = read_bytes(path)
                outcomes["mixed" if data not in states else "whole"] += 1
            except UnreadableImageError as error:
                outcomes[str(error)] += 1
    finally:
        stop.set()
        rewriter.join()
    assert outcomes[images.CHANGED] > 0
    assert set(outcomes) <= {"whole", "mixed", images.CHANGED}
    total = outcomes.total()
    figure(
        "C8",
        f"{total} reads of a file that is rewritten in place: {outcomes[images.CHANGED]} refused "
        f"as changed, {outcomes['whole']} whole, {outcomes['mixed']} of two states",
    )
