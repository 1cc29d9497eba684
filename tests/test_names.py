"""Whatever a file is called: the commands find it, show it on one harmless line, and lose none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from every_name import whole_way
from helpers import noise
from hostile import called

from embedkit.items import name_of_path

SCRIPT = Path(__file__).with_name("every_name.py")
LOCALES = {
    "UTF-8": {"LC_ALL": "C.UTF-8"},
    "C": {"LC_ALL": "C"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
# A name of bytes that are no UTF-8, a line end and a mark-up, as of a folder to work in.
ODD = os.fsdecode(b"-w\xe9\n<b>")


@pytest.mark.slow
def test_every_name_goes_through_every_command(tmp_path, monkeypatch, thorough, figure):
    (tmp_path / ODD).mkdir()
    if not thorough:
        monkeypatch.chdir(tmp_path / ODD)
        figure("C7", f"a stream of ASCII: {whole_way(longer=False, encoding='ascii')}")
        return
    for name, locale in LOCALES.items():
        place = tmp_path / ODD / name
        place.mkdir()
        done = subprocess.run(
            [sys.executable, SCRIPT, "whole"],
            cwd=place,
            env=os.environ | locale,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        figure("C7", f"{name}: {done.stdout.strip()}")


def test_ids_do_not_depend_on_the_locale(tmp_path):
    code = (
        "import os; from embedkit.items import id_of_path, path_of_id\n"
        "for name in sorted(os.listdir('.'), key=os.fsencode):\n"
        "    assert os.path.lexists(path_of_id(id_of_path(name)))\n"
        "    print(ascii(id_of_path(name)))"
    )
    for name in ("\u00e9t\u00e9", "\U0001f600", "\u202egnp", os.fsdecode(b"\xe9"), "a\\b\n"):
        (tmp_path / name).touch()
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=os.environ | locale,
            capture_output=True,
            check=True,
        ).stdout
        for locale in LOCALES.values()
    }
    (only,) = said
    assert len(only.splitlines()) == 5


def test_what_a_stream_cannot_say_is_written_as_its_number(tmp_path):
    (tmp_path / "\u00e9").mkdir()
    noise(0).save(tmp_path / "\u00e9/\U0001f600.png")
    status, out, _ = called("scan", tmp_path, encoding="ascii")
    assert status == 0
    assert r"\xe9" in out
    status, _, err = called("info", tmp_path / "\u00e9\udcff", encoding="ascii")
    assert status == 2
    assert err.count("\n") == 1


def test_a_name_that_is_no_unicode_is_json_that_every_parser_takes(tmp_path):
    """Half of a pair is none; the text that looks like one, and a whole pair, stay."""
    name = os.fsdecode(b"\xe9") + "\\udce9\U0001f480"
    status, out, _ = called("info", tmp_path / name, "--json")
    assert status == 2
    said = json.loads(out)["error"]
    said.encode()
    assert "\\xe9\\udce9\U0001f480" in said


def test_what_is_left_out_is_named_on_one_line(tmp_path):
    noise(0).save(tmp_path / "a.png")
    (tmp_path / "x\nError: forged\x1b[2J.txt").write_text("no picture")
    (tmp_path / "loop\n").symlink_to("loop\n")
    (tmp_path / "again\n").symlink_to(".")
    _, out, _ = called("scan", tmp_path)
    assert "x\\x0aError: forged\\x1b[2J.txt" in out
    assert "again\\x0a is a link" in out
    assert not any(line.startswith(("Error", " is a link")) for line in out.splitlines())


@pytest.mark.parametrize("name", ["a\\b", "a b", "\u00e9", "-o", "https://x.example/a%0a.png"])
def test_a_harmless_name_stays_as_it_is(name):
    assert name_of_path(name) == name


def test_a_name_of_a_manifest_that_no_file_can_have_is_one_line(tmp_path):
    table = tmp_path / "t.jsonl"
    table.write_text('{"path": "a\\ud800.png", "label": "x"}\n')
    status, _, err = called("scan", table)
    assert status == 2
    assert err.count("\n") == 1
