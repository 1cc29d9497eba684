"""The pages: every command that they show is run, or says why not, and has the options named."""

import re
import shlex
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import typer
from embedkit_cli.app import app, main
from helpers import make_different
from pyarrow import parquet

import embedkit.demo

ROOT = Path(__file__).resolve().parents[1]
PEOPLE = 16  # of the demonstration, which has 100
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# A code block, its language, and the comment before it if it says why it is not run.
BLOCK = re.compile(
    r"(?:<!-- (not run: [^>]+|help: [^>]+|demo|output) -->\n)?^```(\w*)\n(.*?)^```", re.M | re.S
)
# Pages that scripts make show the commands by which their figures were made, on real data.
MADE = {page for page in PAGES if "Made by `python benchmarks/" in page.read_text()}
ON_THE_DEMO = [
    page
    for page in PAGES
    if page not in MADE and page.name != "data.md" and "\n```sh\n" in page.read_text()
]


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return [
        (note or "", language, body) for note, language, body in BLOCK.findall(page.read_text())
    ]


def commands(body: str) -> list[list[str]]:
    joined = body.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if re.match(r"\s*(\w+=\S+ )?embedkit ", line)]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("page", [p for p in PAGES if p not in MADE], ids=lambda page: page.name)
def test_every_block_with_a_command_is_run_or_says_why_not(page):
    for note, language, body in blocks(page):
        if commands(body):
            assert language == "sh" or note, f"neither run nor explained: {body}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_shown_has_the_options_that_are_named(page):
    """Also those of help, which no page runs."""
    program = typer.main.get_command(app)
    for _, _, body in blocks(page):
        for words in commands(body):
            name, *arguments = [word for word in words if "=" not in word or word[0] == "-"][1:]
            if name in ("[OPTIONS]", "--help") or "…" in words or "..." in words:
                continue
            assert name in program.commands, f"{page.name}: no command is called {name}"
            command = program.commands[name]
            while hasattr(command, "commands") and arguments:
                command, arguments = command.commands[arguments[0]], arguments[1:]
            known = {option for one in command.params for option in one.opts + one.secondary_opts}
            for word in arguments:
                if re.match(r"--?[a-z]", word):
                    option = word.partition("=")[0]
                    assert option in known | {"--help", "-h"}, f"{page.name}: {name} {option}"


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory) -> Path:
    """The demonstration, smaller, and what the pages take for granted beside it."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(embedkit.demo, "PEOPLE", PEOPLE)
        assert main(["demo", "demo", "--quiet"]) == 0
    faces = folder / "demo/faces"
    tests = sorted(path for path in faces.glob("test/*/*") if path.suffix in (".jpg", ".png"))
    shutil.copy(tests[0], folder / "new.jpg")
    rows = [f"{path.relative_to(faces)},{path.parent.name}" for path in tests]
    (folder / "mine.csv").write_text("\n".join(["id,prediction", *rows]))
    return folder


def run_blocks(page: Path, *, numbers: list[int] | None = None) -> None:
    shown = [body for _, language, body in blocks(page) if language == "sh"]
    for place, body in enumerate(shown):
        for words in commands(body) if numbers is None or place in numbers else []:
            with pytest.MonkeyPatch.context() as patch:
                while "=" in words[0]:
                    patch.setenv(*words.pop(0).split("=", 1))
                assert main(words[1:]) == 0, f"{page.name}: {shlex.join(words)}"


@pytest.mark.slow
@pytest.mark.parametrize("page", ON_THE_DEMO, ids=lambda page: page.name)
def test_what_a_page_shows_can_be_done(page, demonstration, tmp_path, monkeypatch):
    shutil.copytree(demonstration, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(embedkit.demo, "PEOPLE", PEOPLE)
    run_blocks(page)


def a_folder_by_class() -> None:
    make_different(
        Path("faces"),
        *(f"{c}/{s}/{n}.png" for c in "ab" for s in ("train", "test") for n in range(4)),
    )
    make_different(Path("lfw"), *(f"{who}/{n}.png" for who in "abcdef" for n in range(3)))


def a_manifest() -> None:
    names = [f"{n}.png" for n in range(12)]
    make_different(Path("faces/images"), *names)
    rows = [f"{name},{'fm'[n % 2]},p{n // 2}" for n, name in enumerate(names)]
    Path("faces/labels.csv").write_text("\n".join(["path,gender,identity", *rows]))


def names_that_speak() -> None:
    ages = (1, 3, 5, 9, 12, 17, 20, 30, 40, 50, 60, 70)
    make_different(
        Path("utkface"), *(f"{a}_{a % 2}_0_20170109{n:09}.jpg" for n, a in enumerate(ages))
    )


def shards() -> None:
    names = [f"{n}.png" for n in range(12)]
    make_different(Path("files"), *names)
    Path("shards").mkdir()
    with tarfile.open("shards/train-00000.tar", "w") as shard:
        for n, name in enumerate(names):
            Path(f"files/{n}.cls").write_text("ab"[n % 2])
            shard.add(f"files/{name}", name)
            shard.add(f"files/{n}.cls", f"{n}.cls")
    pictures = [Path("files", name).read_bytes() for name in names]
    table = pa.table({"image": pictures, "label": ["a", "b"] * 6})
    parquet.write_table(table, "train-00000-of-00002.parquet")


def a_table_of_pixels() -> None:
    generator = np.random.default_rng(0)
    rows = ["emotion,pixels,Usage"]
    for n in range(12):
        pixels = " ".join(map(str, generator.integers(0, 256, 48 * 48)))
        rows.append(f"{n % 3},{pixels},{'PublicTest' if n % 4 == 0 else 'Training'}")
    Path("fer2013.csv").write_text("\n".join(rows))


@pytest.mark.parametrize(
    "prepare", [a_folder_by_class, a_manifest, names_that_speak, shards, a_table_of_pixels]
)
def test_every_way_to_read_a_data_set_works_as_it_is_shown(prepare, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare()
    every = (a_folder_by_class, a_manifest, names_that_speak, shards, a_table_of_pixels)
    run_blocks(ROOT / "docs/data.md", numbers=[every.index(prepare)])
    assert len([1 for _, language, _ in blocks(ROOT / "docs/data.md") if language == "sh"]) == len(
        every
    )


def test_a_page_that_is_not_true_is_found():
    """The checks above see what they are for."""
    assert commands("x\nembedkit audit a  # why\n") == [["embedkit", "audit", "a"]]
    assert commands("A=1 embedkit scan b") == [["A=1", "embedkit", "scan", "b"]]
    text = "<!-- not run: x -->\n```\nembedkit a\n```\n\n```sh\nembedkit b\n```\n"
    assert [(one[0], one[1]) for one in BLOCK.findall(text)] == [("not run: x", ""), ("", "sh")]
