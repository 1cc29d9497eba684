"""Maps: places that are the same every time, figures that say what they are worth, columns."""

import shutil

import numpy as np
import pyarrow as pa
import pytest
from helpers import make_different
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

import embedkit as ek
from embedkit.audits import audit
from embedkit.audits.kept import keep
from embedkit.errors import InputError, NotEnoughImagesError
from embedkit.maps import map_of
from embedkit.maps.columns import FAINT, SHARED, Column, colour_numbers, item_columns
from embedkit.maps.edges import fuzzy_graph
from embedkit.maps.findings import audit_columns
from embedkit.maps.honesty import compare, nearest_in_plane, trustworthiness
from embedkit.maps.layout import lay_out, load_umap, neighbour_graph
from embedkit.maps.placing import place
from embedkit.pipeline import embed
from embedkit.store import Store
from embedkit.store.index import NeighbourIndex
from embedkit.vectors import unit_rows


def drawn(n, d=8, seed=0):
    """Return unit rows around a few centres."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(3, d))
    return unit_rows(centres[np.arange(n) % 3] + 0.4 * generator.normal(size=(n, d)))


def index_of(vectors):
    return NeighbourIndex(vectors)


def laid_out(vectors, k=15, seed=0):
    return lay_out(neighbour_graph(index_of(vectors), vectors, k), vectors, seed=seed)


@pytest.fixture(scope="module")
def audited(planted_store, tmp_path_factory):
    """A copy of the planted store in which an audit's findings are kept."""
    folder = tmp_path_factory.mktemp("audited") / "store"
    store = Store.open(shutil.copytree(planted_store.path, folder))
    keep(audit(store, checks=["twins", "quality"], backbone="mtcnn"))
    return store


@pytest.fixture(scope="module")
def made(audited):
    """A map of it."""
    return map_of(audited, backbone="mtcnn")


def test_a_map_is_the_same_every_time_and_with_any_number_of_threads(clean_store):
    with threadpool_limits(1):
        first = map_of(clean_store, backbone="pixels", seed=3)
    with threadpool_limits(2):
        again = map_of(clean_store, backbone="pixels", seed=3)
    other = map_of(clean_store, backbone="pixels", seed=4)
    assert first.places.tobytes() == again.places.tobytes()
    assert first.to_dict() == again.to_dict()
    assert first.places.tobytes() != other.places.tobytes()


def test_groups_of_vectors_are_groups_of_places():
    vectors = drawn(90)
    near = nearest_in_plane(laid_out(vectors, 8).places, 5)
    assert np.mean(near % 3 == np.arange(90)[:, None] % 3) > 0.95


@pytest.mark.parametrize("n", [4, 5, 16, 40])
def test_few_images_and_equal_vectors_have_places_too(n):
    for vectors in (drawn(n), np.repeat(drawn(1), n, axis=0), drawn(n, d=1)):
        places = laid_out(vectors).places
        assert places.shape == (n, 2)
        assert np.isfinite(places).all()
        assert len(np.unique(places, axis=0)) > 1


def test_too_few_images_are_refused_in_a_line(tmp_path):
    folder = make_different(tmp_path / "few", "a/1.png", "a/2.png", "b/3.png")
    store = embed(folder, tmp_path / "store", backbone="pixels")
    with pytest.raises(NotEnoughImagesError, match="holds 3 images; a map needs 4"):
        map_of(store)


def test_a_map_refuses_a_column_before_any_work_and_names_near_ones(clean_store, monkeypatch):
    monkeypatch.setattr("embedkit.maps.neighbour_graph", None)
    with pytest.raises(InputError, match="no column 'splt'.*did you mean 'split'"):
        map_of(clean_store, backbone="pixels", colour_by="splt")


def test_maps_have_no_more_images_than_asked_and_say_so(audited, monkeypatch):
    monkeypatch.setattr("embedkit.maps.MOST", 50)
    made = map_of(audited, backbone="pixels")
    n = len(audited.items)
    assert len(made.rows) == len(made.places) == len(made.ids) == 50
    assert made.title.endswith(f"50 of {n} pictures, drawn at random")
    assert [audited.items.ids[row] for row in made.rows] == made.ids
    whole = item_columns(audited, backbone="pixels")["split"].values
    assert made.columns["split"].values == tuple(whole[row] for row in made.rows)


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 40), st.integers(2, 9), st.integers(0, 10**6), st.booleans())
def test_edges_are_umaps(n, k, seed, copies):
    k = min(k, n - 1)
    vectors = unit_rows(np.random.default_rng(seed).normal(size=(n, 4)))
    if copies:
        vectors[n // 2 :] = vectors[: n - n // 2]
    graph = neighbour_graph(index_of(vectors), vectors, k)
    rows = np.concatenate([np.arange(n)[:, None], graph.rows], axis=1)
    near = np.maximum(1 - graph.similarities, 0)
    distances = np.concatenate([np.zeros((n, 1)), near], axis=1).astype(np.float32)
    theirs, _, _ = load_umap().fuzzy_simplicial_set(
        vectors, k + 1, None, "cosine", knn_indices=rows, knn_dists=distances
    )
    assert abs(fuzzy_graph(graph).toarray() - theirs.toarray()).max() < 2e-3


# ---- honesty ----------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 24), st.integers(1, 3), st.integers(0, 10**6))
def test_trustworthiness_is_scikit_learns(n, k, seed):
    from sklearn.manifold import trustworthiness as theirs

    generator = np.random.default_rng(seed)
    vectors = unit_rows(generator.normal(size=(n, 5)))
    places = generator.normal(size=(n, 2)).astype(np.float32)
    ours = trustworthiness(vectors, nearest_in_plane(places, k), np.arange(n))
    assert ours == pytest.approx(theirs(vectors, places, n_neighbors=k), abs=1e-9)


def test_a_turned_mirrored_and_scaled_layout_is_the_same_layout():
    places = np.random.default_rng(0).normal(size=(60, 2))
    turned = 3 * places @ np.array([[0.6, -0.8], [-0.8, -0.6]]) + 7
    moved, shared = compare([places, turned], 5)
    assert moved == pytest.approx(0, abs=1e-9)
    assert shared == 1
    moved, shared = compare([places, places[::-1]], 5)
    assert moved > 0.1
    assert shared < 0.5


def test_an_image_on_a_spot_with_many_others_is_not_its_own_neighbour():
    near = nearest_in_plane(np.zeros((30, 2), np.float32), 4)
    assert near.shape == (30, 4)
    assert not (near == np.arange(30)[:, None]).any()


def test_the_label_of_neighbours_stands_beside_the_space_and_chance(tmp_path):
    folder = make_different(tmp_path / "one", *(f"{c}/{i}.png" for c in "ab" for i in range(6)))
    made = map_of(embed(folder, tmp_path / "store", backbone="pixels"))
    honesty = made.honesty
    assert honesty.label_chance == pytest.approx(5 / 11)
    assert (honesty.labelled, honesty.ranked, honesty.laid_out) == (12, 12, 12)
    assert honesty.neighbours == 5  # of 11: beyond half, ranks say nothing
    assert 0 <= honesty.label_plane <= 1
    said = " ".join(honesty.sentences(12))
    assert f"{honesty.label_plane:.0%} carry the picture's label on the map" in said
    assert "45% by chance" in said
    assert "drawn" not in said
    assert "12 images drawn" in " ".join(honesty.sentences(13))


# ---- columns ----------------------------------------------------------------------------------


def test_what_the_data_set_the_head_the_audit_and_the_files_say_are_columns(made, audited):
    groups = {one.name: one.group for one in made.columns.columns}
    assert groups["label"] == groups["split"] == "data set"
    assert groups["prediction"] == groups["predicted label"] == "classifier"
    assert groups["copies"] == groups["quality"] == "audit"
    assert groups["sharpness"] == "file"
    assert made.columns["sharpness"].kind == "number"
    assert all(len(one.values) == len(audited.items) for one in made.columns.columns)


def test_answers_are_those_of_the_head_that_train_makes(made, audited):
    head = ek.train(audited, backbone="mtcnn")
    values, splits = made.columns["prediction"].values, audited.items.splits
    answered = [one for one in values if one in ("right", "wrong")]
    assert len(answered) == splits.count("test")
    accuracy = answered.count("right") / len(answered)
    assert accuracy == pytest.approx(head.metrics["accuracy"]["value"], abs=1e-6)
    for value, side in zip(values, splits, strict=True):
        assert (value == "not predicted (not in test)") == (side != "test")


def test_the_planted_copies_are_joined_and_marked(made, planted):
    ids, values = made.ids, made.columns["copies"].values
    found = {frozenset((ids[a], ids[b])) for a, b in made.columns.pairs}
    planted_pairs = {frozenset((one["a"], one["b"])) for one in planted.twins}
    assert len(found & planted_pairs) > 0.8 * len(planted_pairs)
    for a, b in made.columns.pairs:
        assert values[a] != "no copy found" != values[b]
    alone = set(range(len(ids))) - {row for pair in made.columns.pairs for row in pair}
    assert {values[row] for row in alone} == {"no copy found"}


def test_what_no_audit_was_kept_for_is_missing_and_said(made, clean_store):
    columns = item_columns(clean_store, backbone="pixels")
    said = " ".join(columns.missing)
    assert (
        "copies of one photograph, doubted labels, defects of pictures: no audit of 'label' was "
        "kept; run 'embedkit audit' first" in said
    )
    with pytest.raises(InputError, match="no audit of 'label' was kept"):
        _ = columns["copies"]
    assert not any("copies" in one for one in made.columns.missing)
    assert any("doubted labels" in one for one in made.columns.missing)


def test_columns_of_numbers_are_scales_and_names_are_never_taken_twice(clean_store):
    n = len(clean_store.items)
    items = clean_store.items
    for name, values in (
        ("age", [str(row % 60) for row in range(n)]),
        ("stars", [str(row % 5) for row in range(n)]),
        ("sharpness", ["much"] * n),
        ("empty", [None] * n),
    ):
        items = items.with_attribute(name, pa.array(values, pa.string()))
    store = Store(clean_store.path, clean_store.record, items, (), clean_store.spaces)
    columns = item_columns(store, backbone="pixels")
    assert columns["age"].kind == "number"
    assert columns["stars"].kind == "category"
    assert columns["sharpness"].values == ("much",) * n
    assert columns["sharpness (file)"].kind == "number"
    assert "empty" not in {one.name for one in columns.columns}


def test_the_commonest_values_have_colours_of_their_own():
    values = ["10"] * 3 + ["9"] * 5 + ["100"] * 2 + ["usual"] * 9 + ["rare", None]
    column = Column("x", "data set", tuple(values), usual="usual")
    colours = colour_numbers(column, 2)
    assert list(colours) == ["9", "10", "100", "rare", "usual"]
    assert [colours[one] for one in ("9", "10")] == [0, 1]
    assert colours["100"] == colours["rare"] == SHARED
    assert colours["usual"] == FAINT


# ---- new pictures -----------------------------------------------------------------------------


def test_a_new_picture_moves_nothing_and_a_copy_lands_where_it_lies(made, audited, tmp_path):
    row = 7
    copy = tmp_path / "copied.png"
    shutil.copy(audited.items.path(made.ids[row]), copy)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    again = map_of(audited, backbone="mtcnn", add=[tmp_path])
    assert again.places.tobytes() == made.places.tobytes()
    (added,) = again.added
    assert added.similarity == pytest.approx(1, abs=1e-6)
    same = audited.items.column("pixel_sha256")
    assert same[added.nearest] == same[row]
    assert added.place.tolist() == made.places[added.nearest].tolist()
    assert [one.id for one in again.refused] == [str(tmp_path / "broken.png")]
    document = again.to_dict()["added"][0]
    assert document["nearest"] == made.ids[added.nearest]


def test_a_new_vector_lands_among_its_own_and_does_not_depend_on_others():
    vectors = drawn(120)
    places = laid_out(vectors, 8).places
    index = index_of(vectors)
    new = drawn(129)[120:]
    for number, vector in enumerate(new):
        where, _, _ = place(vector[None], index, places, neighbours=8, seed=0)
        near = np.argsort(np.linalg.norm(places - where, axis=1))[:5]
        assert np.mean(near % 3 == number % 3) > 0.5
    once, again = (place(new[:1], index, places, neighbours=8, seed=0)[0] for _ in range(2))
    assert once.tobytes() == again.tobytes()


def test_pictures_that_cannot_be_read_are_refused(audited, tmp_path):
    with pytest.raises(InputError, match=r"no picture can be added: .*gone\.png"):
        map_of(audited, backbone="mtcnn", add=[str(tmp_path / "gone.png")])


@pytest.mark.parametrize("details", [None, {}, {"pairs": [{"a": "x"}]}, {"pairs": 3}])
def test_a_kept_finding_that_was_edited_is_said_to_be_damaged(clean_store, details):
    findings = {"twins": {"not_run_reason": None, "details": details}}
    found = audit_columns(clean_store, findings, "label")
    assert not [one for one in found.columns if one.name == "copies"]
    assert any("the kept finding is damaged" in one for one in found.missing)
