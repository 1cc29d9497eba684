"""No network without being asked: the demonstration and every reading command, watched.

The commands run in a process of their own without a network (`unshare -n`, where that is allowed)
and under an audit hook, which every Python process that it starts has too: a connection, a name
looked up or a datagram that anything tries, a library's telemetry included, is written down.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WATCH = """
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
                 "socket.sendmsg", "urllib.Request"):
        where = arguments[1] if event == "socket.connect" else arguments[0]
        family = getattr(arguments[0], "family", None)
        if family == 1:  # a socket in the file system
            return
        with open(os.environ["TRIED"], "a") as tried:
            tried.write(f"{event} {where!r} by {sys.argv}\\n")
sys.addaudithook(watch)
"""

RUN = """
import shutil, sys
from pathlib import Path
import embedkit.demo
from embedkit_cli.app import main
embedkit.demo.PEOPLE = int(sys.argv[1])
store = "demo/store"
first = [["demo", "demo", "--quiet"]]
if sys.argv[2] != "all":  # most of the demonstration's time goes into audits
    from embedkit.synthetic import make_faces
    make_faces(Path("demo/faces"), people=16, faults=embedkit.demo.FAULTS, seed=0)
    first = [["embed", "demo/faces", "-o", "demo/store", "-b", "mtcnn"]]
commands = [
    *first,
    ["info", store, "--deep"],
    ["scan", "demo/faces"],
    ["backbones"],
    ["search", store, "demo/faces/new.jpg", "-k", "3"],
    ["train", store],
]
if sys.argv[2] == "all":
    head = f"{store}/heads/label-mtcnn-logistic.safetensors"
    commands += [
        ["weights", "list"],
        ["audit", store],
        ["report", store, "-o", "r.html"],
        ["explain", store, "ID", "-o", "card.png"],
        ["map", store, "-o", "map.html"],
        ["evaluate", head],
        ["predict", head, "demo/faces/new.jpg"],
        ["compare", store, "-o", "compared"],
        ["selftest", store],
        ["clean", store, "-o", "clean.csv"],
        ["split", store, "-o", "split.csv"],
        ["subset", store, "--where", "split = 'train'", "-o", "part"],
        ["merge", store, "part", "-o", "both"],
        ["export", store, "--to", "parquet", "-o", "out.parquet"],
        ["export", store, "--to", "projector", "-o", "projector"],
        ["index", store],
        ["reviews", store],
    ]
commands.append(["forget", store, "ID", "--yes"])
done = 0
for words in commands:
    if "ID" in words:
        from embedkit.store import Store
        picture = next(id_ for id_ in Store.open(store).items.ids if id_.startswith("test/"))
        words = [picture if word == "ID" else word for word in words]
    status = main(words)
    done += 1
    if status not in (0, 1):
        sys.exit(f"{words}: {status}")
    if words[0] in ("demo", "embed"):
        shutil.copy(next(Path("demo/faces").glob("test/*/*.jpg")), "demo/faces/new.jpg")
print(done)
"""


def no_network() -> list[str]:
    """Return what starts a process without a network; nothing where that is not allowed."""
    words = ["unshare", "-rn"]
    try:
        allowed = subprocess.run([*words, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    return words if allowed else []


@pytest.mark.slow
def test_nothing_asks_the_network(tmp_path, thorough, figure):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(WATCH)
    path = os.pathsep.join([str(tmp_path / "site"), *sys.path])
    environment = os.environ | {"PYTHONPATH": path, "TRIED": str(tmp_path / "tried")}
    command = [sys.executable, "-c", RUN, "16", "all" if thorough else "few"]
    without = no_network()
    run = subprocess.run(
        [*without, *command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr + run.stdout[-500:]
    tried = (tmp_path / "tried").read_text() if (tmp_path / "tried").exists() else ""
    assert not tried
    n = int(run.stdout.split()[-1])
    how = "unshare -n and an audit hook" if without else "an audit hook alone"
    figure("D2", f"{n} commands under {how}: 0 tried the network")


def test_the_watch_sees_what_it_is_to_see(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "TRIED": str(tmp_path / "tried")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert "socket.connect ('127.0.0.1', 9)" in (tmp_path / "tried").read_text()


QUIET = {
    "import embedkit": "import embedkit",
    "embedkit --help": "from embedkit_cli.app import main; main(['--help'])",
}


def calls_of(code: str, folder: Path) -> list[str]:
    """Return a process's system calls that open something or have to do with a network."""
    trace = folder / "trace"
    command = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=network,open,openat,openat2,creat"]
    # -P: the working folder is no place to look for modules; -B: none is compiled.
    run = subprocess.run(
        [*command, sys.executable, "-PB", "-c", code], cwd=folder, capture_output=True, text=True
    )
    if run.returncode and "ptrace" in run.stderr.lower():
        pytest.skip("strace may not look at processes here")
    assert run.returncode == 0, run.stderr
    return [line.partition(" ")[2].strip() for line in trace.read_text().splitlines()]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_to_import_it_or_ask_for_help_opens_nothing_but_modules(tmp_path, figure):
    usual = set(calls_of("pass", tmp_path))
    here = [sys.prefix, sys.base_prefix, *filter(None, sys.path)]
    for named, code in QUIET.items():
        calls = calls_of(code, tmp_path)
        opened = [call for call in calls if call.startswith("open")]
        assert len(opened) > len(usual)
        assert opened == calls  # no socket, no name looked up
        for call in opened:
            path, flags = re.match(r'open\w*\((?:\w+, )?"(.*?)", (\w[\w|]*)', call).groups()
            assert not re.search("WRONLY|RDWR|CREAT", flags), call
            library = path == "/etc/ld.so.cache" or ".so" in path.rpartition("/")[2]
            module = any(Path(path).is_relative_to(one) for one in here)
            settings = Path(path).name == "openssl.cnf"  # which some builds of OpenSSL look for
            assert call in usual or library or module or settings or "ENOENT" in call, call
        said = f"{named}: {len(opened)} files tried, each a module or a library"
        figure("I6", f"{said}; 0 written, 0 sockets")
