"""What is built and locked: two packages, every dependency with its hash."""

import re
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()


def name_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


def test_the_wheel_holds_exactly_two_packages_and_what_they_need(tmp_path):
    build = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is a tool of ours")
    builder = build.WheelBuilder(str(ROOT))
    (wheel,) = builder.build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"embedkit", "embedkit_cli"}
    assert "embedkit/reports/templates/audit.html" in names
    assert "embedkit/reports/templates/style.css" in names
    assert not any(name.endswith(".pth") for name in names)


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
