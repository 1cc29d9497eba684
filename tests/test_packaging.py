"""What is built and locked: two packages, every dependency with its hash."""

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()


# Of what is locked: none reaches beyond the files that it is of.
LICENCES = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause",
    "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0",
    "Zlib",
}  # fmt: skip
NVIDIA = "LicenseRef-NVIDIA-Proprietary"


def wheel_in(folder: Path) -> Path:
    build = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is a tool of ours")
    (wheel,) = build.WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return Path(wheel)


@pytest.fixture(scope="module")
def made():
    """The script that makes docs/licences.md and the SBOM, as a module."""
    spec = importlib.util.spec_from_file_location("components", ROOT / ".ci/components.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["components"] = module
    spec.loader.exec_module(module)
    return module


def name_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


def test_the_wheel_holds_exactly_two_packages_and_what_they_need(tmp_path):
    names = zipfile.ZipFile(wheel_in(tmp_path)).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"embedkit", "embedkit_cli"}
    assert "embedkit/reports/templates/audit.html" in names
    assert "embedkit/reports/templates/style.css" in names
    assert not any(name.endswith(".pth") for name in names)


def test_the_wheel_is_the_same_bytes_whenever_it_is_built(tmp_path, monkeypatch, figure):
    built = []
    for clock, zone in ((1.6e9, "UTC"), (1.7e9, "Pacific/Kiritimati")):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        built.append(hashlib.sha256(wheel_in(tmp_path / str(clock)).read_bytes()).hexdigest())
    assert len(set(built)) == 1
    figure("I5", f"the wheel built {len(built)} times, three years apart: 1 SHA-256, no .pth in it")


def test_a_file_with_another_hash_than_the_locks_is_not_installed(tmp_path, figure):
    wheel = wheel_in(tmp_path)
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    wrong = format(int(right, 16) ^ 1, "064x")
    told = {}
    for value in (right, wrong):
        lock = tmp_path / "lock.txt"
        lock.write_text(f"embedkit @ {wheel.as_uri()} --hash=sha256:{value}\n")
        command = (
            f"-m pip install --isolated --dry-run --no-index --no-deps --require-hashes -r {lock}"
        )
        told[value] = subprocess.run(
            [sys.executable, *command.split(), "--ignore-installed"], capture_output=True, text=True
        )
    assert told[right].returncode == 0, told[right].stderr
    assert told[wrong].returncode != 0
    assert "DO NOT MATCH THE HASHES" in told[wrong].stderr
    figure("I1", "one bit of a hash changed: pip refuses the file, and takes it with the right one")


def test_every_job_installs_from_the_lock_by_its_hashes():
    line = next(one for one in (ROOT / "Makefile").read_text().splitlines() if "-r req" in one)
    assert "--require-hashes --no-deps -r requirements.lock" in line


def test_no_file_of_a_package_that_users_get_runs_at_every_start_of_python(made):
    from importlib import metadata

    users = made.needed(PROJECT["project"]["dependencies"])
    starts = {
        name
        for name in users
        for file in metadata.files(name) or []
        if file.suffix == ".pth" and file.parent == Path()
    }
    assert starts <= {"setuptools"}  # its distutils-precedence.pth; torch asks for it


def test_the_page_of_licences_is_of_this_lock(made):
    assert (ROOT / "docs/licences.md").read_text() == made.page()


def test_no_licence_reaches_beyond_its_package(made, figure):
    every = made.components()
    for one in every:
        kinds = set(re.split(r" AND | OR ", one.licence))
        assert kinds <= LICENCES or (kinds == {NVIDIA} and re.match("nvidia-|cuda-", one.name)), one
    proprietary = sum(one.licence == NVIDIA for one in every)
    assert not any(one.licence == NVIDIA for one in every if one.use == made.EXTRA)
    figure(
        "I1",
        f"{len(every)} locked packages: each with hashes and a licence, none under the GPL or "
        f"AGPL, {proprietary} NVIDIA's own, which PyTorch for Linux brings along",
    )


def test_the_bill_of_materials_lists_the_lock_with_its_hashes(made):
    document = made.sbom()
    assert document == json.loads(json.dumps(document))
    libraries = [one for one in document["components"] if one["type"] == "library"]
    locked = re.findall(r"^([a-z0-9._-]+)==(\S+)", LOCK, re.MULTILINE)
    assert [(one["name"], one["version"]) for one in libraries] == locked
    hashes = [
        value["content"]
        for one in libraries
        for reference in one["externalReferences"]
        for value in reference["hashes"]
    ]
    assert hashes == re.findall(r"--hash=sha256:([0-9a-f]{64})", LOCK)
    assert len({one["bom-ref"] for one in document["components"]}) == len(document["components"])
    scopes = {one["name"]: one["scope"] for one in libraries}
    assert (scopes["torch"], scopes["ray"], scopes["mypy"]) == ("required", "optional", "excluded")


def test_a_package_without_a_licence_is_named(made, monkeypatch):
    monkeypatch.delitem(made.READ, "cuda-toolkit")
    monkeypatch.setattr(made.metadata, "metadata", lambda _: __import__("email").message.Message())
    with pytest.raises(LookupError, match="cuda-toolkit names no licence"):
        made.licence_of("cuda-toolkit")


@pytest.mark.parametrize(
    ("name", "floor"),
    [("pillow", (13,)), ("torch", (2, 11)), ("faiss-cpu", (1, 15)), ("ray", (2, 52))],
)
def test_no_version_with_known_holes_is_allowed(name, floor):
    project = PROJECT["project"]
    every = [project["dependencies"], *project["optional-dependencies"].values()]
    (line,) = (one for each in every for one in each if name_of(one) == name)
    lowest = tuple(map(int, re.search(r">=([\d.]+)", line)[1].split(".")))
    assert lowest >= floor
    assert not re.search(r"^opencv", LOCK, re.MULTILINE)


def test_the_lock_pins_every_dependency_with_hashes():
    pinned = {name_of(line) for line in LOCK.splitlines() if re.match(r"[a-z]", line)}
    wanted = {name_of(one) for one in PROJECT["project"]["dependencies"]}
    wanted |= {name_of(one) for one in PROJECT["dependency-groups"]["dev"]}
    assert wanted <= pinned
    blocks = re.split(r"\n(?=[a-z])", LOCK.strip())
    for block in blocks:
        assert re.match(r"[a-z0-9._-]+==\S+", block), block
        assert "--hash=sha256:" in block, block


def test_the_lock_is_for_every_system_and_from_the_package_index_alone():
    assert "sys_platform == 'win32'" in LOCK
    assert "sys_platform == 'linux'" in LOCK
    assert "://" not in LOCK


def test_facenet_pytorch_is_the_version_that_lives_with_todays_torch():
    assert re.search(r"^facenet-pytorch==2\.5\.\d", LOCK, re.MULTILINE)


def test_the_changelog_knows_this_version():
    import embedkit

    assert f"## [{embedkit.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
