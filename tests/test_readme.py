"""The README is the manual: its Python runs, its help is the program's, its links lead to files."""

import re
import shutil
from pathlib import Path

import pytest
from embedkit_cli.app import main
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()
MANUAL = (ROOT / "docs/commands.md").read_text()
HELP = re.compile(r"<!-- help: (.+?) -->\n```\n(.*?)```", re.DOTALL)


def test_the_python_of_the_manual_runs_from_top_to_bottom(planted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(planted.folder, "faces")
    Image.open(planted.folder / next(iter(planted.kind))).save("x.jpg")
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert "train/" in capsys.readouterr().out


@pytest.mark.parametrize(("command", "shown"), HELP.findall(MANUAL))
def test_the_help_in_the_manual_is_the_programs(command, shown, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    main([*command.split()[1:], "--help"])
    assert shown == capsys.readouterr().out


def test_the_manual_shows_help():
    assert len(HELP.findall(MANUAL)) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_page_of_figures_names_a_script_that_is_there(page):
    made_by = re.search(r"Made by `python ((?:benchmarks|\.ci)/\w+\.py)[^`]*`", page.read_text())
    if made_by is None:
        assert not re.search(r"\|\s*\d", page.read_text()), "figures without their script"
    else:
        assert (ROOT / made_by[1]).is_file()


def test_the_demonstration_in_the_manual_names_the_lines_that_it_prints():
    """Its figures are those of docs/demo.md; here only that the lines have not been renamed."""
    from embedkit.audits import AUDITS

    shown = re.search(r"<!-- demo -->\n```\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    for name in AUDITS:
        assert re.search(rf"\b{name}\b", shown[1])
    assert "Report: demo/report.html" in shown[1]
