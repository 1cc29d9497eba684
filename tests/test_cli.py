"""The command line as its users meet it: output, exit status, settings, errors of one line."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from embedkit_cli import main
from helpers import make, make_different, saved, tree
from PIL import Image

from embedkit import files

COMMANDS = (
    "demo",
    "scan",
    "unpack",
    "embed",
    "info",
    "backbones",
    "train",
    "evaluate",
    "compare",
    "mitigate",
    "predict",
    "finetune",
    "index",
    "search",
    "audit",
    "explain",
    "map",
    "selftest",
    "parity",
    "split",
    "clean",
    "merge",
    "subset",
    "forget",
    "export",
    "view",
    "reviews",
)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the program in an empty folder; returns status, stdout, stderr."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


@pytest.fixture
def faces(tmp_path):
    names = [
        f"{s}/{c}/{n}.png"
        for s, many in (("train", 8), ("test", 4))
        for c in ("x", "y")
        for n in range(many)
    ]
    return make_different(tmp_path / "faces", *names)


def document(out: str) -> dict:
    one = json.loads(out)
    assert one["schema"].startswith("embedkit.")
    return one


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_in_an_example(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    above_options = out[: out.index("Options:")]
    lines = above_options.splitlines()
    assert not any("\\b" in line for line in lines)
    examples = [line for line in lines if line.startswith("      ") and "embedkit " in line]
    assert examples


def test_without_a_command_the_help_is_shown(run):
    status, out, err = run()
    assert status == 2
    assert "embed" in out + err


def test_the_version_is_shown(run):
    import embedkit

    assert run("--version")[:2] == (0, f"embedkit {embedkit.__version__}\n")


def test_the_whole_way_from_a_folder_to_an_answer(run, planted, tmp_path):
    status, out, err = run("scan", planted.folder)
    assert status == 0
    assert "split folders with class folders in them" in out

    status, out, err = run("embed", planted.folder, "-b", "pixels", "-o", "store")
    assert status == 0
    assert "store: " in out
    assert "3 images could not be read" in err
    assert "split folders with class folders in them" in err  # before the work began

    status, out, _ = run("info", "store", "--deep")
    assert status == 0
    assert "every file was checked" in out

    status, out, _ = run("train", "store")
    assert status == 0
    assert "precision" in out
    head = "store/heads/label-pixels-logistic.safetensors"
    assert f"saved as {head}" in out

    status, out, _ = run("evaluate", head)
    assert status == 0
    assert "training images" in out
    for name in ("confusion.png", "confusion.svg", "learning_curve.png", "learning_curve.svg"):
        assert (tmp_path / "here/store/heads/label-pixels-logistic" / name).is_file()

    picture = planted.folder / planted.twins[0]["a"]
    status, out, _ = run("predict", head, picture, "-k", "2")
    assert status == 0
    assert str(picture) in out
    assert len(out.splitlines()) == 3

    status, out, _ = run("search", "store", picture, "-k", "3", "--sheet", "sheet.png")
    assert status == 0
    assert planted.twins[0]["b"] in out
    assert (tmp_path / "here/sheet.png").is_file()

    status, out, _ = run("audit", "store", "--report", "out/report.html", "--material", "99")
    assert status == 0
    assert "!! present" in out
    assert "ok absent        ledger" in out  # no head loses 99 points
    assert "(causal for this head)" in out
    assert "-- not run" in out
    assert (tmp_path / "here/out/report.html").is_file()


def test_json_is_one_object_and_nothing_else(run, planted, tmp_path):
    status, out, _ = run("embed", planted.folder, "-b", "pixels", "-o", "store", "--json")
    assert (status, document(out)["n"]) == (0, len(planted.person))
    assert document(run("scan", planted.folder, "--json")[1])["layout"]
    assert document(run("info", "store", "--json")[1])["spaces"][0]["name"] == "pixels"
    assert document(run("backbones", "--json")[1])["backbones"]
    trained = document(run("train", "store", "--head", "knn", "--json")[1])
    assert trained["metrics"]["accuracy"]["n"] == 48
    head = trained["head"]
    assert len(document(run("evaluate", head, "--json")[1])["figures"]) == 4
    picture = planted.folder / planted.twins[0]["a"]
    predicted = document(run("predict", head, picture, planted.folder, "--json")[1])
    assert len(predicted["predictions"]) == len(planted.person) + 1
    assert len(predicted["unreadable"]) == 3
    assert sum(predicted["predictions"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert len(document(run("search", "store", picture, "--json")[1])["neighbours"]) == 10
    audited = document(run("audit", "store", "--json")[1])
    assert (audited["schema"], audited["exit_code"]) == ("embedkit.audit/1", 0)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["scan", "nowhere"], 2, "does not exist"),
        (["embed", "{faces}", "-b", "mtcn"], 2, "did you mean 'mtcnn'"),
        (["embed", "{faces}", "--max-errors", "many"], 2, "neither a number"),
        (["embed", "{faces}", "--layout", "x"], 2, "is no layout"),
        (["info", "nowhere"], 2, "'embedkit embed' makes a store"),
        (["train", "{faces}"], 2, "is no store"),
        (["evaluate", "nowhere"], 2, "No such file"),
        (["predict", "nowhere", "x.jpg"], 2, "No such file"),
        (["audit", "{faces}", "--limit", "leak"], 2, "--limit leak"),
        (["audit", "{faces}", "--check", "twin"], 2, "did you mean 'twins'"),
        (["parity", "no.onnx", "{faces}", "--labels", "x,y"], 2, "no.onnx does not exist"),
        (["frobnicate"], 2, "No such command"),
        (["embed"], 2, "Missing argument"),
        (["embed", "{faces}", "--frob"], 2, "No such option"),
    ],
)
def test_an_error_is_one_line_with_a_status_and_json_has_it_too(
    run, faces, arguments, status, message
):
    arguments = [argument.format(faces=faces) for argument in arguments]
    got, out, err = run(*arguments)
    assert got == status
    assert out == ""
    errors = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in err
    got, out, _ = run(*arguments, "--json")
    one = document(out)
    assert (got, one["exit_code"]) == (status, status)
    assert message in one["error"]


def test_a_question_about_the_layout_shows_its_answers(run, tmp_path):
    make(tmp_path / "f", *(f"{a}/{b}/1.png" for a in ("car", "train") for b in ("x", "y")))
    status, _, err = run("scan", tmp_path / "f")
    assert status == 2
    assert "--layout class" in err
    assert "--layout split/class" in err
    assert run("scan", tmp_path / "f", "--layout", "class")[0] == 0


def test_a_mistake_of_embedkit_is_no_gate(run, monkeypatch):
    import embedkit.readers

    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(embedkit.readers, "read_source", broken)
    status, out, err = run("scan", "x", "--json")
    assert status == 3
    assert "Traceback" in err
    assert document(out)["exit_code"] == 3


@pytest.mark.parametrize(
    ("limit", "status"), [("leakage=0.99", 0), ("leakage=0.01", 1), ("siblings=1", 1)]
)
def test_status_1_is_a_limits_and_nothing_elses(run, planted_store, limit, status):
    checks = ("--check", "leakage", "--check", "siblings")
    given = ("audit", planted_store.path, "-b", "pixels", *checks, "--json", "--limit", limit)
    got, out, err = run(*given)
    assert got == document(out)["exit_code"] == status
    assert ("Limit exceeded" in err) == bool(status)


def test_a_limit_that_could_not_be_judged_can_be_let_through(run, planted_store):
    arguments = ["audit", planted_store.path, "-b", "pixels", "--check", "siblings"]
    arguments += ["--limit", "siblings=1"]
    assert run(*arguments, "--allow-not-run")[0] == 0


def test_an_audit_of_a_source_embeds_it_first(run, planted, tmp_path):
    assert run("audit", planted.folder, "--check", "twins")[0] == 0
    assert (tmp_path / "here/indexes/faces/store.json").is_file()


def test_too_many_unreadable_images_end_with_status_3(run, faces):
    (faces / "train/x/bad.jpg").write_bytes(b"")
    arguments = ["embed", faces, "-b", "pixels", "-o", "store"]
    assert run(*arguments)[0] == 0
    assert run(*arguments, "--max-errors", "0")[0] == 3
    assert run(*arguments, "--max-errors", "1%")[0] == 3
    assert run(*arguments, "--max-errors", "5%")[0] == 0


def test_damage_is_status_3(run, planted_store, store_copy):
    shard = store_copy / "pixels/vectors-00000.npy"
    data = bytearray(shard.read_bytes())
    data[-3] ^= 4
    shard.write_bytes(bytes(data))
    status, _, err = run("info", store_copy, "--deep")
    assert status == 3
    assert "vectors-00000.npy is missing or damaged" in err


# Predictions.


@pytest.fixture(scope="module")
def head(planted_store, tmp_path_factory):
    from embedkit.heads import train

    return train(planted_store, backbone="pixels").save(tmp_path_factory.mktemp("head") / "head")


def test_a_picture_can_come_through_a_pipe(head, planted, tmp_path):
    picture = planted.folder / planted.twins[0]["a"]
    command = [sys.executable, "-m", "embedkit_cli", "predict", str(head), "-", "--json"]
    piped = subprocess.run(command, input=picture.read_bytes(), capture_output=True, check=True)
    (one,) = document(piped.stdout.decode())["predictions"]
    assert one["source"] == "-"


def test_one_unreadable_picture_among_others_is_told_and_no_failure(run, head, planted, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    picture = planted.folder / planted.twins[0]["a"]
    status, out, err = run("predict", head, tmp_path / "bad.jpg", picture)
    assert status == 0
    assert "not a picture (text)" in err
    assert str(picture) in out
    assert run("predict", head, tmp_path / "bad.jpg")[0] == 2


def test_offline_refuses_addresses(run, head):
    status, _, err = run("predict", head, "http://127.0.0.1:9/x.jpg", "--offline")
    assert status == 2
    assert "--offline" in err


# Settings.


def test_the_command_line_goes_before_variables_and_these_before_the_file(
    run, faces, monkeypatch, tmp_path
):
    def seed():
        status, out, err = run("embed", faces, "-o", "store", "--json", *arguments)
        assert status == 0, err
        return document(out)["spaces"][0]["name"]

    arguments = []
    file = tmp_path / "here/embedkit.toml"
    file.write_text('[embed]\nbackbone = ["pixels"]\n')
    assert seed() == "pixels"
    monkeypatch.setenv("EMBEDKIT_BACKBONE", "nonsense")
    assert run("embed", faces, "-o", "x")[0] == 2
    arguments = ["-b", "pixels"]
    assert seed() == "pixels"


def test_an_option_at_the_top_of_the_file_is_for_all_commands(run, planted_store, tmp_path):
    (tmp_path / "here/embedkit.toml").write_text('label = "nonsense"\nbackbone = "pixels"\n')
    status, _, err = run("train", planted_store.path)
    assert status == 2
    assert "no column 'nonsense'" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sed = 3", "did you mean seed"),
        ("[embd]\nseed = 3", "did you mean embed"),
        ("[embed]\nbackbon = 'x'", "did you mean backbone"),
        ("seed = ", "cannot be read"),
    ],
)
def test_an_unknown_key_names_the_nearest(run, faces, tmp_path, content, message):
    (tmp_path / "here/embedkit.toml").write_text(content)
    status, _, err = run("scan", faces)
    assert status == 2
    assert message in err


def test_an_unknown_variable_names_the_nearest(run, faces, monkeypatch):
    monkeypatch.setenv("EMBEDKIT_SEEED", "3")
    status, _, err = run("scan", faces)
    assert status == 2
    assert "did you mean EMBEDKIT_SEED" in err


# Long work.


def test_talk_goes_to_stderr_and_can_be_switched_off(run, faces):
    _, out, err = run("embed", faces, "-b", "pixels", "-o", "a")
    assert err
    assert len(out.splitlines()) == 1
    _, out, err = run("embed", faces, "-b", "pixels", "-o", "b", "-q")
    assert err == ""


def test_without_a_terminal_there_is_a_line_now_and_then(run, faces, monkeypatch):
    from embedkit_cli import console

    monkeypatch.setattr(console, "EVERY", 0.0)
    _, _, err = run("embed", faces, "-b", "pixels", "-o", "a")
    assert "embedding: 24 of 24 images" in err
    assert "/s" in err
    monkeypatch.setattr(console, "EVERY", 30.0)
    _, _, err = run("embed", faces, "-b", "pixels", "-o", "b")
    assert "embedding:" not in err


def test_on_a_terminal_there_is_a_bar(faces, tmp_path):
    make_different(faces, *(f"train/x/more{n}.png" for n in range(200)))
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "embedkit_cli",
            "embed",
            str(faces),
            "-b",
            "pixels",
            "-o",
            str(tmp_path / "store"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=secondary,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(secondary)
    seen = b""
    while True:
        try:
            piece = os.read(primary, 4096)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(primary)
    assert process.wait() == 0
    assert b"embedding" in seen
    assert b"/224" in seen
    assert b"/s" in seen


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_store_that_the_same_command_finishes(tmp_path, how):
    names = [f"{s}/{c}/{n}.jpg" for s in ("train", "test") for c in "xy" for n in range(900)]
    faces = make_different(tmp_path / "faces", *names)
    command = [sys.executable, "-m", "embedkit_cli", "embed", str(faces), "-b", "pixels", "-o"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    process = subprocess.Popen(
        [*command, str(tmp_path / "store")],
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job, and all that it starts, ignores SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    journal = tmp_path / "store/journal.jsonl"
    while not journal.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to go on" in err
    assert "Traceback" not in err
    subprocess.run([*command, str(tmp_path / "store")], check=True, capture_output=True)
    assert tree(tmp_path / "store") == tree(tmp_path / "whole")


def test_a_reader_that_has_had_enough_is_no_failure(faces, tmp_path):
    command = f"{sys.executable} -m embedkit_cli scan {faces} --json | head -c 10"
    shell = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True
    )
    assert "Traceback" not in shell.stderr
    assert shell.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize(("limit", "status"), [("quality=0.99", 0), ("quality=0", 1)])
def test_a_reader_that_has_had_enough_does_not_change_a_gate(planted_store, limit, status):
    program = f"{sys.executable} -m embedkit_cli audit {planted_store.path} -b pixels -q"
    line = f"{program} --check quality --limit {limit} | true; exit ${{PIPESTATUS[0]}}"
    assert subprocess.run(["bash", "-c", line], check=False).returncode == status


def test_no_name_starts_a_command_where_github_reads_the_log(run, tmp_path):
    make(tmp_path / "f", "train/::error title=x::y/1.png", "train/b/2.png")
    status, out, err = run("scan", tmp_path / "f")
    assert status == 0
    assert "error title=x" in out
    assert not any(line.lstrip().startswith("::") for line in (out + err).splitlines())


def test_somebody_without_the_right_to_write_can_read(run, planted_store, tmp_path):
    """All reading commands work on a store that cannot be written; writing ones say why not."""
    public = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    try:
        store = shutil.copytree(planted_store.path, public / "store")
        reading = (["info", store, "--deep"], ["audit", store, "-b", "pixels"])
        writing = ["train", store, "-b", "pixels"]
        for arguments in (*reading, writing):
            assert run(*arguments)[0] == 0  # as root, so that everything is imported
        for path in [public, *public.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        os.chdir(public)
        os.seteuid(65534)
        try:
            read = [run(*arguments) for arguments in reading]
            written = run(*writing)
        finally:
            os.seteuid(0)
        assert [status for status, _, _ in read] == [0, 0], read
        assert written[0] == 3
        assert "cannot be written: Permission denied" in written[2]
    finally:
        shutil.rmtree(public)


def test_a_report_that_cannot_be_written_is_one_line(run, planted_store, tmp_path):
    (tmp_path / "here/file").write_text("in the way")
    status, _, err = run("audit", planted_store.path, "-b", "pixels", "--report", "file/x.html")
    assert status == 3
    assert "cannot be written" in err
    assert "Traceback" not in err


def test_an_odd_name_does_not_end_a_run(run, tmp_path):
    for n, name in enumerate([b"caf\xe9.png", b"new\nline.png", b"\x1b[31mred.png"]):
        folder = tmp_path / "f" / ("train" if n % 2 else "test") / "x"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / os.fsdecode(name)
        path.write_bytes(saved(Image.fromarray(np.full((9, 9, 3), n, np.uint8)), "PNG"))
    assert run("embed", tmp_path / "f", "-b", "pixels", "-o", "store")[0] == 0
    status, out, _ = run("search", "store", tmp_path / "f/test/x/caf\udce9.png")
    assert status == 0
    assert "\x1b" not in out
    assert run("audit", "store", "--report", "r.html", "--json")[0] == 0


# The demonstration.


def test_the_demonstration_finds_what_it_planted_and_can_be_run_again(run, tmp_path, monkeypatch):
    import embedkit.demo

    monkeypatch.setattr(embedkit.demo, "PEOPLE", 24)
    status, out, _ = run("demo", "d")
    assert status == 0
    assert out.splitlines()[-1] == "Report: d/report.html"
    before = tree(tmp_path / "here/d")
    status, out, _ = run("demo", "d", "--json")
    planted = {row["fault"]: row for row in document(out)["planted"]}
    assert planted["exact copies of test images in train"]["planted"] > 0
    for row in planted.values():
        assert row["found"] >= 0.8 * row["planted"]
    assert tree(tmp_path / "here/d") == before
    status, _, err = run("demo", "d", "--seed", "7")
    assert status == 2
    assert "another data set" in err


def test_no_file_of_the_tests_is_left_half_written(tmp_path):
    files.write_whole(tmp_path / "x", b"old")
    files.write_whole(tmp_path / "x", b"new")
    assert tree(tmp_path) == {"x": b"new"}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("train", "store", "--seed", "-1"), 2, "--seed"),
        (("search", "store", "missing.png"), 2, "missing.png cannot be read: No such file"),
        (("predict", "missing.safetensors", "x.png"), 2, "missing.safetensors is no head"),
        (("audit", "store", "--report", "."), 3, "is a folder"),
        (("embed", ".", "--max-errors", "nan"), 2, "neither a number"),
        (("scan", 5000 * "x"), 2, "File name too long"),
        (("explain", "store", 5000 * "x"), 2, "is neither an image of store nor a picture file"),
    ],
)
def test_more_mistakes_are_one_line_each(run, planted_store, tmp_path, arguments, status, message):
    (tmp_path / "here/store").symlink_to(planted_store.path)
    if arguments[0] in ("search", "audit", "train", "explain"):
        arguments = (*arguments, "-b", "pixels")
    got, _, err = run(*arguments)
    assert got == status
    assert message in " ".join(err.split())
    assert "Traceback" not in err


def test_an_option_that_can_be_repeated_may_stand_alone_in_the_settings(run, faces, tmp_path):
    (tmp_path / "here/embedkit.toml").write_text('[embed]\nbackbone = "pixels"\n')
    assert run("embed", faces, "-o", "store")[0] == 0
    assert (tmp_path / "here/store/pixels/space.json").exists()


def test_a_program_without_standard_streams_keeps_its_status(planted_store):
    code = "import sys; sys.stdout = sys.stderr = None; from embedkit_cli import app; app.program()"
    for path, status in ((planted_store.path, 0), ("nowhere", 2)):
        ran = subprocess.run([sys.executable, "-c", code, "info", str(path)])
        assert ran.returncode == status


def test_short_commands_end_with_their_own_status(planted_store):
    """With pyarrow's threads about one run in five ended with SIGABRT."""
    command = [sys.executable, "-m", "embedkit_cli", "info", str(planted_store.path)]
    assert [subprocess.run(command, capture_output=True).returncode for _ in range(8)] == [0] * 8
