"""Causes named by prompts: a planted one is named, and what any prompt would say is not."""

import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
from helpers import drawn_items
from scipy import stats

from embedkit.audits import audit, causes
from embedkit.audits.base import Verdict
from embedkit.audits.causes import CAUSES, MOST, TEMPLATES, UNRELATED, read_causes, with_own
from embedkit.audits.clues import Clues, find_clues
from embedkit.audits.cues import Cues, read_cues, score
from embedkit.audits.nuisance import Column
from embedkit.audits.prompted import PAIRS, name_causes
from embedkit.audits.rankings import (
    areas_by_class,
    areas_of,
    explained_by_class,
    placements,
    ranks_of,
)
from embedkit.audits.refits import Bench
from embedkit.audits.shortcuts import find_shortcuts
from embedkit.backbones import load_again
from embedkit.errors import InputError
from embedkit.pipeline import embed
from embedkit.vectors import unit_rows

DIMENSION = 48
CLIP = "clip:ViT-B-32/laion2b_s34b_b79k"
SCHEMA = json.loads((Path(__file__).parents[1] / "docs/audit.schema.json").read_text())
FINDING = jsonschema.Draft202012Validator({"$ref": "#/$defs/finding", "$defs": SCHEMA["$defs"]})


class Texts:
    """A text tower: each prompt has a direction of its own, but smiles have the planted one."""

    def __init__(self, smile=None, seed=0):
        self.smile = np.zeros(DIMENSION) if smile is None else smile
        self.seed = seed
        self.asked = []

    def embed_text(self, prompts):
        self.asked += prompts
        return unit_rows(np.stack([self._vector(one) for one in prompts]))

    def _vector(self, prompt):
        phrase = prompt.partition(" of ")[2]
        made = np.zeros(DIMENSION)
        for text, size in ((phrase, 1.0), (prompt, 0.3)):
            generator = np.random.default_rng([zlib.crc32(text.encode()), self.seed])
            made += size * generator.normal(size=DIMENSION)
        sign = ("smiling" in prompt) - ("serious" in prompt)
        return made + 20 * sign * self.smile


class World:
    """Pictures as vectors: some smile, and the label may go with that.

    Args:
        n: images, a third of them test.
        strength: share of images whose smile is given by their label; that of others is drawn.
        seen: how well the vectors show a smile.
        apart: how far the classes lie apart in the vectors' largest direction, which is no cause's.
        copies: images of each cluster.
        shares: of the classes.
    """

    def __init__(
        self, *, n=900, strength=0.0, seen=2.0, apart=0.0, copies=1, shares=(0.5, 0.5), seed=0
    ):
        generator = np.random.default_rng([seed, 1])
        y = generator.choice(len(shares), n // copies, p=shares)
        given = generator.random(n // copies) < strength
        smiles = np.where(given, y % 2, generator.integers(2, size=n // copies))
        self.y, self.smiles = np.repeat(y, copies), np.repeat(smiles, copies)
        self.axis, self.other = np.linalg.qr(generator.normal(size=(DIMENSION, 2)))[0].T
        shown = generator.normal(size=(n // copies, DIMENSION))
        shown += seen * (2 * smiles - 1)[:, None] * self.axis
        shown += (apart * y + (apart > 0) * generator.normal(size=n // copies) * 2)[
            :, None
        ] * self.other
        noise = 0.2 * generator.normal(size=(n, DIMENSION))
        self.vectors = unit_rows(np.repeat(shown, copies, axis=0) + noise)
        self.clusters = np.repeat(np.arange(n // copies), copies)
        self.path = "world"
        self.generator = generator
        split = np.repeat(np.arange(n // copies) % 3 == 0, copies)
        self.items = drawn_items(self.y, split)
        self.seed = seed

    def space(self, _):
        return SimpleNamespace(vectors=self.vectors)

    def cues(self, asked=CAUSES):
        return score("clip", self.vectors, Texts(self.axis, self.seed), asked)

    def bench(self):
        return Bench(
            self, "logistic", [self.clusters], split="test", label="label", backbone=None, seed=4
        )

    def find(self, cues=None):
        noise = Column("noise", "colour", self.generator.normal(size=len(self.y)))
        bench = self.bench()
        clues = find_clues(bench, [noise], split="test")
        ids = [str(row) for row in range(len(self.y))]
        return find_shortcuts(clues, bench, ids, split="test", cues=cues or self.cues())

    def named(self, cues=None):
        """Return the causes alone, without a look at the files."""
        bench = self.bench()
        rows = np.arange(len(self.y))
        test = np.isin(rows, bench.test)
        labels = tuple(bench.labels)
        nothing = dict.fromkeys(("without", "rare", "associations", "blindfolds", "sources"), ())
        clues = Clues(
            rows, self.y, labels, self.clusters, test, **nothing, purest=None, unasked=0,
            named={}, causes={}, together=frozenset(),
        )  # fmt: skip
        return name_causes(cues or self.cues(), clues, bench)


def present(prompts):
    return [one.cause.name for one in prompts.causes if one.present]


def unplanted(world):
    """Return cues by prompts of which none has anything to do with the pictures."""
    return score("clip", world.vectors, Texts(seed=world.seed), CAUSES)


# A planted cause.


@pytest.mark.parametrize("strength", [0.5, 0.8])
def test_a_planted_smile_is_named_with_its_class_and_what_it_is_worth(strength):
    world = World(strength=strength, seed=3)
    found = world.find()
    first = found.prompted.causes[0]
    assert (first.cause.name, first.label, first.more) == ("smiling", "class 1", True)
    assert first.present
    # Of pairs, those whose smiles are as their labels, and half of those that look alike.
    honest = np.mean(
        [(1 + a - b) / 2 for a in world.smiles[world.y == 1] for b in world.smiles[world.y == 0]]
    )
    assert first.pairs.low - 0.02 <= honest <= first.pairs.high + 0.02
    # The vectors show nothing but the smile, so without it half of the answers are right.
    effect = first.reliance.effect
    assert effect.low <= first.reliance.reported.value - 0.5 <= effect.high
    assert first.reliance.verdict() is Verdict.PRESENT
    assert "The label goes with 'smiling', as clip guesses it: 'class 1' scores higher" in (
        found.summary
    )
    assert "The logistic head follows that: it carries" in found.summary
    assert "guesses about pictures and not facts about anybody" in found.summary


def test_a_smile_that_one_of_several_classes_lacks_is_told_of_that_class():
    world = World(n=1500, shares=(0.3, 0.3, 0.4), seed=4)
    cues = world.cues()
    scores = cues.scores.copy()
    scores[:, 0] -= 5 * (world.y == 2) * scores[:, 0].std()
    found = world.named(Cues(cues.backbone, cues.causes, scores, cues.unrelated))
    first = found.causes[0]
    assert (first.cause.name, first.label, first.more) == ("smiling", "class 2", False)
    assert first.pairs.value > 0.9
    assert "'class 2' scores lower than another image" in found.sentence("logistic", 0.01)


def test_a_smile_that_no_head_could_follow_is_an_association_and_not_used():
    """What the head sees does not show it; CLIP, in another space, does."""
    world = World(n=3000, strength=0.3, seen=1.5, seed=5)
    cues = world.cues()
    generator = np.random.default_rng(5)
    shown = generator.normal(size=world.vectors.shape)
    shown[:, 0] += 3 * world.y
    world.vectors = unit_rows(shown)
    found = world.find(cues)
    first = found.prompted.causes[0]
    assert first.present
    assert first.cause.name == "smiling"
    assert first.reliance.verdict() is Verdict.ABSENT
    assert "The logistic head does not follow that" in found.summary


# Controls.


def few(alarms, worlds):
    """Say whether so many alarms are what a rate of 5% gives."""
    return alarms <= stats.binom.ppf(0.995, worlds, 0.05)


@pytest.fixture
def quick(monkeypatch):
    """Compare with fewer unrelated pairs and labellings, still enough for a cause to be named."""
    monkeypatch.setattr("embedkit.audits.prompted.PAIRS", 299)
    monkeypatch.setattr("embedkit.audits.prompted.DRAWS", 299)


@pytest.mark.slow
def test_labels_that_mean_nothing_have_no_cause(quick):
    worlds = [World(n=240, seed=seed) for seed in range(40)]
    assert few(sum(bool(present(one.named())) for one in worlds), len(worlds))


@pytest.mark.slow
def test_what_goes_with_any_prompt_is_no_cause(quick):
    """The classes lie apart in the largest direction of the vectors, of which any prompt has some.

    By permutation alone, most such sets would have a cause, and often several.
    """
    worlds = [World(n=240, seen=0.0, apart=4.0, seed=seed) for seed in range(40)]
    found = [one.named(unplanted(one)) for one in worlds]
    tied = [any(o.p < 0.05 / len(CAUSES) for o in prompts.causes) for prompts in found]
    assert sum(tied) > 30
    assert few(sum(bool(present(prompts)) for prompts in found), len(worlds))


@pytest.mark.slow
def test_photographs_of_one_picture_count_once(quick):
    """Each is there six times, so by images alone labels that mean nothing would seem tied."""
    worlds = [World(n=240, copies=6, seed=seed) for seed in range(30)]
    found = [one.named() for one in worlds]
    assert few(sum(min(o.p for o in f.causes) < 0.05 / len(CAUSES) for f in found), len(worlds))
    for world in worlds:
        world.clusters = np.arange(240)
    naive = [one.named() for one in worlds]
    assert sum(min(o.p for o in f.causes) < 0.05 / len(CAUSES) for f in naive) > 15


def test_where_nothing_is_named_it_says_from_when_it_would_have_been():
    world = World(n=600, seed=6)
    prompts = world.named()
    assert present(prompts) == []
    text = prompts.sentence("logistic", 0.01)
    assert text.startswith("None of 9 causes that clip was asked about")
    assert f"in {prompts.needed:.0%} of pairs would have been named" in text
    for away, named in ((0.01, True), (-0.01, False)):
        # A cause that tells the classes so well, and no more, in place of the first.
        target = prompts.needed + away
        shift = np.sqrt(2) * stats.norm.ppf(target)
        normal = stats.norm.ppf((np.arange(600) + 0.5) / 600)
        cues = world.cues()
        for label in (0, 1):
            inside = np.flatnonzero(world.y == label)
            part = stats.norm.ppf((np.arange(len(inside)) + 0.5) / len(inside))
            normal[inside] = np.random.default_rng(label).permutation(part) + shift * label
        scores = cues.scores.copy()
        scores[:, 0] = normal
        made = world.named(Cues(cues.backbone, cues.causes, scores, cues.unrelated))
        assert ("smiling" in present(made)) is named


def test_a_sure_cause_is_named_among_as_many_as_can_be_asked_about():
    world = World(strength=0.9, seed=7)
    own = with_own(
        tuple(causes.Cause(f"own {i}", ((f"this {i}", f"that {i}"),)) for i in range(MOST))
    )
    assert "smiling" in present(world.named(world.cues(own)))


# The statistics, by a few lines.


def test_explained_is_kruskal_and_walliss_and_areas_are_mann_and_whitneys():
    generator = np.random.default_rng(8)
    scores = generator.integers(8, size=(60, 3)) / 4.0
    y = generator.integers(3, size=60)
    ranks = ranks_of(scores)
    for c in range(3):
        groups = [scores[y == label, c] for label in range(3)]
        h = stats.kruskal(*groups).statistic
        assert explained_by_class(y[None], ranks, 3)[0, c] == pytest.approx(h / 59)
        for label in range(3):
            inside, outside = groups[label], scores[y != label, c]
            u = stats.mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside))
            assert areas_by_class(y, ranks, 3)[label, c] == pytest.approx(u)
            marked = y == label
            placed = placements(scores[:, c], marked)
            assert placed[marked].mean() == pytest.approx(u)
            assert placed[~marked].mean() == pytest.approx(u)


def test_an_area_of_images_drawn_anew_is_mann_and_whitneys_of_those_images():
    generator = np.random.default_rng(8)
    y = generator.integers(2, size=(600, 1)) == 1
    scores = generator.normal(size=(600, 1)) + y
    statistic = areas_of(placements(scores[:, 0], y[:, 0])[:, None], y.astype(float))
    for _ in range(5):
        often = generator.integers(600, size=600)
        weights = np.bincount(often, minlength=600)[None].astype(float)
        inside, outside = scores[often][y[often]], scores[often][~y[often]]
        u = stats.mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside))
        assert statistic(weights)[0, 0] == pytest.approx(u, abs=0.002)


def test_a_cause_is_the_mean_of_its_prompts_less_that_of_their_opposites():
    world, texts = World(n=30, seed=9), Texts(seed=9)
    asked = (causes.Cause("x", (("a", "b"), ("c", "d"))),)
    found = score("clip", world.vectors, texts, asked)

    def tower(*phrases):
        said = [form.format(phrase) for phrase in phrases for form in TEMPLATES]
        return unit_rows(texts.embed_text(said).mean(axis=0, keepdims=True))[0]

    expected = world.vectors @ (tower("a", "c") - tower("b", "d"))
    assert np.allclose(found.scores[:, 0], expected, atol=1e-6)
    expected = world.vectors @ tower(UNRELATED[3])
    assert np.allclose(found.unrelated[:, 3], expected, atol=1e-6)


def test_unrelated_things_are_many_and_none_is_a_cause():
    assert len(set(UNRELATED)) == len(UNRELATED) > 150
    assert len(UNRELATED) * (len(UNRELATED) - 1) / 2 > PAIRS
    asked = " ".join(text for one in CAUSES for pair in one.prompts for text in pair).split()
    assert not {thing.split()[-1] for thing in UNRELATED} & set(asked)


# Causes of the user's own.


def test_causes_are_read_line_by_line(tmp_path):
    path = tmp_path / "causes.txt"
    path.write_text(
        "\ufeff# mine\nblue eyes: a photo of a person with blue eyes. | a person with brown eyes\n"
        "blue eyes: pale eyes|dark eyes\nhat: a helmet | a bare head\n"
    )
    own = read_causes(path)
    assert [one.name for one in own] == ["blue eyes", "hat"]
    assert own[0].prompts[0] == ("a person with blue eyes", "a person with brown eyes")
    assert own[0].prompts[1] == ("pale eyes", "dark eyes")
    every = with_own(own)
    assert len(every) == len(CAUSES) + 1
    assert [one.prompts for one in every if one.name == "hat"] == [(("a helmet", "a bare head"),)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("smile a grin", "line 1: 'smile a grin' is not 'name: prompt . opposite'"),
        ("# x\nsmile: a grin", "line 2: 'smile' needs one prompt and another one for its opp"),
        ("smile: a grin | ", "line 1: 'smile' needs"),
        ("smile: a | b | c", "line 1: 'smile' needs"),
        ("smile: a grin | a grin", "line 1: 'smile' needs"),
        ("\n", "names 0 causes; 1 to 40"),
        ("".join(f"c{i}: a | b\n" for i in range(MOST + 1)), "names 41 causes"),
        (b"\xff\xfe\x00", "no UTF-8 text"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, content, reason):
    path = tmp_path / "causes.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=reason) as error:
        read_causes(path)
    assert "\n" not in str(error.value)


def test_the_command_refuses_a_wrong_file_before_any_audit(planted_store, tmp_path, capsys):
    from embedkit_cli import main

    path = tmp_path / "causes.txt"
    path.write_text("smile: a grin\n")
    arguments = ["audit", str(planted_store.path), "-b", "pixels", "--prompts", str(path)]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "needs one prompt and another one for its opposite" in error
    assert "Traceback" not in error


# In a store.


def test_a_store_that_knows_no_texts_says_what_would(planted_store):
    reason = read_cues(planted_store)
    assert "no space of the store knows texts" in reason
    assert "embedkit weights get clip" in reason
    assert "-b clip" in reason
    found = audit(planted_store, checks=["shortcuts"], backbone="pixels")["shortcuts"]
    assert found.prompted == reason
    assert found.details()["prompted"] is None
    assert found.details()["prompted_not_run"] == reason
    assert f"such as a smile, were not looked for: {reason}." in found.summary
    FINDING.validate(found.to_dict())


@pytest.fixture(scope="module")
def clip_store(planted, weights_of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompted")
    return embed(
        planted.folder,
        folder / "store",
        backbone=[CLIP, "pixels"],
        weights=weights_of(CLIP),
        precision="fp32",
    )


@pytest.mark.slow
def test_the_towers_of_clip_are_asked_about_every_picture(clip_store, monkeypatch, tmp_path):
    """Its weights are random, so all that it says is noise, but it says it all the way."""
    monkeypatch.setattr("embedkit.audits.cues.UNRELATED", UNRELATED[:12])
    path = tmp_path / "causes.txt"
    path.write_text("a round face: a person with a round face | a person with a narrow face\n")
    result = audit(clip_store, checks=["shortcuts"], backbone="pixels", prompts=path)
    document = result.to_dict()
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    # Whatever the head sees, the prompts are compared in the space that knows texts.
    prompted = document["findings"][0]["details"]["prompted"]
    assert prompted["backbone"] == clip_store.space("clip").name
    assert prompted["unrelated_pairs"] == 12 * 11 // 2
    asked = {one["cause"]: one["own"] for one in prompted["causes"]}
    assert asked == {one.name: False for one in CAUSES} | {"a round face": True}
    cues = read_cues(clip_store, CAUSES[:2], backbone="clip")
    first, n = CAUSES[0].prompts[0], len(clip_store.items)
    network = load_again(
        **clip_store.space("clip").record.backbone,
        contract_sha256=clip_store.space("clip").contract_sha256,
        where=str(clip_store.space("clip").folder),
    )
    said = [network.embed_text([form.format(side) for form in TEMPLATES]) for side in first]
    this, that = (unit_rows(side.mean(axis=0, keepdims=True))[0] for side in said)
    assert cues.scores.shape == (n, 2)
    expected = clip_store.space("clip").vectors @ (this - that)
    assert np.allclose(cues.scores[:, 0], expected, atol=1e-5)


def test_without_the_weights_it_does_not_run_and_fetches_nothing(clip_store, monkeypatch):
    load_again.cache_clear()
    record = clip_store.space("clip").record
    monkeypatch.setitem(record.backbone, "weights", "")
    reason = read_cues(clip_store)
    assert "weights" in reason
    assert "embedkit weights get" in reason


def test_the_document_is_valid_and_the_same_for_one_seed():
    made = [json.dumps(World(n=450, strength=0.8, seed=10).find().to_dict()) for _ in "ab"]
    assert made[0] == made[1]
    document = json.loads(made[0])
    FINDING.validate(document)
    assert document["details"]["prompted"]["causes"][0]["does_the_head_use_it"] is not None
    quiet = World(n=450, seed=10).find().to_dict()
    FINDING.validate(quiet)
    assert {one["guessed"] for one in quiet["details"]["prompted"]["causes"]} == {True}
    document["details"]["prompted"]["causes"][0].pop("guessed")
    assert not FINDING.is_valid(document)
