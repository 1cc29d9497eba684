"""Heads from prompts, and guessed attributes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import network

from embedkit.errors import InputError
from embedkit.heads import evaluate, load_head
from embedkit.heads.zeroshot import guesses, read_prompts, zeroshot
from embedkit.pipeline import embed

CLIP = "clip:ViT-B-32/laion2b_s34b_b79k"
PROMPTS = {"bad": ["a photo of a villain", "a mugshot"], "good": ["a photo of a kind person"]}


@pytest.fixture(scope="module")
def store(planted, weights_of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zeroshot")
    for place, id_ in enumerate(sorted(planted.kind)[:8]):
        name = f"{'train' if place < 4 else 'test'}/{('good', 'bad')[place % 2]}"
        (folder / "few" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(planted.folder / id_, folder / "few" / name / f"{place}{Path(id_).suffix}")
    return embed(
        folder / "few",
        folder / "store",
        backbone=[CLIP, "pixels"],
        weights=weights_of(CLIP),
        precision="fp32",
    )


def test_probabilities_are_those_of_open_clip(store):
    import open_clip

    model, tokens = network(CLIP), open_clip.get_tokenizer("ViT-B-32")
    with torch.no_grad():
        towers = [
            torch.nn.functional.normalize(
                model.encode_text(tokens(PROMPTS[name]), normalize=True).mean(0), dim=0
            )
            for name in ("bad", "good")
        ]
        images = torch.from_numpy(np.array(store.space("clip").vectors))
        expected = (model.logit_scale.exp() * images @ torch.stack(towers).T).softmax(dim=1)
    head = zeroshot(store, PROMPTS)
    found = head.probabilities(store.space("clip"), np.arange(8))
    assert head.labels == ("bad", "good")
    assert np.abs(found - expected.numpy()).max() < 1e-4


def test_it_is_scored_saved_and_used_like_any_head(store, tmp_path):
    head = zeroshot(store, PROMPTS)
    assert evaluate(head, store).n == 4
    again = load_head(head.save(tmp_path / "zero"))
    picture = store.items.path(store.items.ids[0])
    answer, expected = again.predict(picture), head.predict(picture)
    assert (answer.label, answer.neighbours) == (expected.label, ())
    assert answer.probabilities == expected.probabilities


def test_an_attribute_that_nobody_labelled_is_guessed_for_every_image(store):
    head = zeroshot(store, {"yes": ["a smiling person"], "no": ["a person"]}, label="smile")
    table = guesses(head, store)
    assert table.column_names == ["id", "smile", "p_no", "p_yes"]
    assert table.column("id").to_pylist() == store.items.ids
    p = np.column_stack([table.column(name) for name in ("p_no", "p_yes")])
    assert np.allclose(p.sum(axis=1), 1)
    assert table.column("smile").to_pylist() == [("no", "yes")[one] for one in p.argmax(axis=1)]


def test_prompts_of_other_classes_than_the_columns_are_refused(store):
    with pytest.raises(InputError, match="column 'label' are bad, good, prompts are of cat, dog"):
        zeroshot(store, {"cat": ["a cat"], "dog": ["a dog"]})


def test_a_store_that_knows_no_texts_says_what_does(planted_store):
    with pytest.raises(InputError, match="knows no texts.*-b clip"):
        zeroshot(planted_store, PROMPTS, backbone="mtcnn")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("good: a\nbad a photo", "line 2: 'bad a photo' is not 'class: prompt'"),
        ("good:\nbad: x", "line 1"),
        ("# nothing\n\n", "prompts of 0 classes"),
        ("good: a\ngood: b", "prompts of 1 classes"),
        (b"\xff\xfe\x00", "no UTF-8 text"),
        (None, "No such file"),
    ],
)
def test_a_file_of_prompts_that_is_none_names_the_line(tmp_path, content, reason):
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=reason):
        read_prompts(path)


def test_prompts_are_read_line_by_line(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\ufeff# smiles\nyes: a photo: smiling\n no :neutral\nyes:a grin\n")
    assert read_prompts(path) == {"yes": ["a photo: smiling", "a grin"], "no": ["neutral"]}


def test_the_command_writes_the_guesses_beside_the_head(store, tmp_path, capsys, monkeypatch):
    import json

    from embedkit_cli import main
    from pyarrow import parquet

    prompts = tmp_path / "smile.txt"
    prompts.write_text("yes: a smiling person\nno: a person\n")
    arguments = ["train", str(store.path), "--head", "zeroshot", "--prompts", str(prompts)]
    assert main([*arguments, "--label", "smile", "--json", "-o", str(tmp_path / "smile")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["kind"], document["n_train"], document["metrics"]) == ("zeroshot", 0, None)
    table = parquet.read_table(tmp_path / "smile.parquet", use_threads=False, pre_buffer=False)
    assert table.num_rows == 8
    assert main(["train", str(store.path), "--head", "zeroshot"]) == 2
    assert "--head zeroshot and --prompts FILE go together" in capsys.readouterr().err
