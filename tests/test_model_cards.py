"""The card that is written beside a head."""

import json
from pathlib import Path

import numpy as np
from embedkit_cli import main

from embedkit.heads import evaluate, load_head, train
from embedkit.reports.model_cards import write_model_card


def card_of(stripes, tmp_path, **options):
    head = train(stripes)
    path = head.save(tmp_path / "head")
    return head, write_model_card(head, path, evaluation=evaluate(head), **options).read_text()


def test_its_figures_are_those_of_the_evaluation_and_of_each_group(stripes, tmp_path):
    head, text = card_of(stripes, tmp_path)
    scored = evaluate(head)
    assert f"| accuracy | {scored.accuracy.value:.1%} [" in text
    sides = dict(zip(stripes.items.ids, stripes.items.label_column("side"), strict=True))
    shown = 0
    for name in ("left|x", "right|x"):
        own = np.array([sides[id_] == name for id_ in scored.ids])
        escaped = name.replace("|", "\\|")
        if own.sum():
            line = f"| {escaped} | {own.sum()} | {scored.right[own].mean():.1%} ["
            shown += line in text
    assert shown == 2
    for label in head.labels:
        counts = [
            sum(
                one == label and side == split
                for one, side in zip(stripes.items.labels, stripes.items.splits, strict=True)
            )
            for split in ("train", "valid", "test")
            if split in stripes.items.splits
        ]
        assert f"| {label} | {' | '.join(map(str, counts))} |" in text


def test_it_says_under_which_licence_the_network_is(stripes, tmp_path):
    _, text = card_of(stripes, tmp_path)
    assert "It reads vectors of pixels. Licence: Apache-2.0." in text


def test_what_was_not_found_out_is_said_to_be_unknown(stripes, tmp_path):
    _, text = card_of(stripes, tmp_path, ledger="train again with --ledger")
    assert "Not known: train again with --ledger." in text
    assert (
        "How much of the accuracy comes from copies and people on both sides is not known" in text
    )
    head = train(stripes)
    bare = write_model_card(head, tmp_path / "bare.safetensors", evaluation=None).read_text()
    assert "Not measured: there is no test or valid split" in bare


def test_train_writes_it_with_the_ledger_of_that_head(store_copy, capsys):
    given = ["train", str(store_copy), "-b", "pixels", "--head", "knn", "--ledger", "--json"]
    assert main(given) == 0
    made = json.loads(capsys.readouterr().out)
    text = Path(made["card"]).read_text()
    reported = made["metrics"]["accuracy"]["value"]
    assert f"| reported | {reported:.1%} [" in text
    honest = next(line for line in text.splitlines() if line.startswith("| honest |"))
    assert float(honest.split("|")[2].split("%")[0]) < 100 * reported  # copies are planted
    assert "exact copies of test images" in text
    assert load_head(made["head"]).metrics["accuracy"]["value"] == reported


def test_a_label_is_called_what_somebody_said(stripes, tmp_path):
    _, text = card_of(stripes, tmp_path)
    assert "A label is what an annotator or a source said of a picture." in text
    assert "Not for: decisions about people" in text


def test_a_head_that_a_ledger_cannot_train_again_says_so(stripes, capsys):
    assert main(["train", str(stripes.path), "--balance", "classes", "--ledger", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    text = Path(made["card"]).read_text()
    assert "Not known: the ledger trains plain heads again, and none with a balance." in text
    assert "What such training changed" in text


def test_a_card_never_takes_the_place_of_another_file(stripes, tmp_path, capsys):
    (tmp_path / "notes.md").write_text("mine")
    given = ["train", str(stripes.path), "-o", str(tmp_path / "notes.safetensors")]
    assert main(given) == 2
    assert "would take the place of" in capsys.readouterr().err
    assert (tmp_path / "notes.md").read_text() == "mine"
    assert not (tmp_path / "notes.safetensors").exists()
    (tmp_path / "notes.md").unlink()
    assert main(given) == 0
    assert main(given) == 0  # a card may be written anew
