"""The contract that every backbone keeps, and what is particular to each."""

import threading

import numpy as np
import pytest
import torch
from networks import RANDOM
from PIL import Image, ImageOps

from embedkit.backbones import (
    CARDS,
    OPEN,
    contract,
    contract_hash,
    embed_pictures,
    load_backbone,
)
from embedkit.errors import InputError
from embedkit.synthetic.drawing import draw_face, draw_person, draw_photograph

CONTRACT = ["mtcnn", "pixels", *(name for name in RANDOM if name != "vgg16:pooled")]


@pytest.fixture(scope="module")
def pictures():
    generator = np.random.default_rng(0)
    drawn = []
    for side in (64, 96, 130):
        for _ in range(4):
            person = draw_person(generator, smiles=0.2)
            drawn.append(draw_face(person, draw_photograph(generator, person), side))
    odd = [np.zeros((1, 1, 3), np.uint8), np.full((3, 200, 3), 255, np.uint8)]
    return drawn + odd


@pytest.fixture(scope="module", params=CONTRACT)
def backbone(request, weights_of):
    return load_backbone(request.param, weights=weights_of(request.param))


def test_every_card_is_complete():
    for name, card in CARDS.items():
        assert card.name == name
    for card in (*CARDS.values(), *OPEN.values()):
        assert all((card.module, card.network, card.weights, card.licence, card.limits, card.batch))


@pytest.fixture(scope="module")
def rows(backbone, pictures):
    """The pictures' vectors, made in one pass."""
    return embed_pictures(backbone, pictures)


def test_vectors_have_the_cards_width_and_unit_length(backbone, rows, pictures):
    assert rows.shape == (len(pictures), backbone.card.dimension)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=1e-6)


def test_a_row_does_not_depend_on_its_neighbours(backbone, rows, pictures):
    order = np.random.default_rng(1).permutation(len(pictures))
    shuffled = embed_pictures(backbone, [pictures[place] for place in order])
    assert np.array_equal(shuffled, rows[order])
    assert np.array_equal(embed_pictures(backbone, [pictures[5]]), rows[[5]])


@pytest.mark.parametrize("threads", [1, 3])
def test_a_row_does_not_depend_on_the_number_of_threads(backbone, rows, pictures, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert np.array_equal(embed_pictures(backbone, pictures), rows)
    finally:
        torch.set_num_threads(before)


def test_passes_side_by_side_give_the_same_rows(backbone, rows, pictures):
    results = [None] * 3

    def work(place):
        results[place] = embed_pictures(backbone, pictures[place:])

    workers = [threading.Thread(target=work, args=(place,)) for place in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for place, result in enumerate(results):
        assert np.array_equal(result, rows[place:])


def test_the_callers_torch_threads_are_left_as_they_were(pictures):
    before = torch.get_num_threads()
    embed_pictures(load_backbone("mtcnn"), pictures[:3])
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("name", ["mtcnn", "pixels"])
def test_pictures_that_look_alike_are_nearer_than_others(name, pictures):
    backbone, original = load_backbone(name), pictures[4:11]
    darker = [(picture * 0.9).astype(np.uint8) for picture in original]
    vectors = embed_pictures(backbone, original + darker)
    similarity = vectors[:7] @ vectors[7:].T
    assert (similarity.argmax(axis=1) == np.arange(7)).all()


def test_a_mirrored_picture_has_the_same_mtcnn_vector_bit_for_bit(pictures):
    backbone = load_backbone("mtcnn")
    mirrored = [
        np.asarray(ImageOps.mirror(Image.fromarray(backbone.prepare(one)))) for one in pictures
    ]
    prepared = [backbone.prepare(one) for one in pictures]
    step = backbone.card.batch
    for start in range(0, len(pictures), step):
        some = slice(start, start + step)
        assert np.array_equal(
            backbone.embed(np.stack(prepared[some])), backbone.embed(np.stack(mirrored[some]))
        )


def test_the_network_is_frozen(pictures):
    backbone = load_backbone("mtcnn")
    before = {k: v.clone() for k, v in backbone._net.state_dict().items()}
    embed_pictures(backbone, pictures)
    assert not any(module.training for module in backbone._net.modules())
    assert all(torch.equal(v, before[k]) for k, v in backbone._net.state_dict().items())


def test_mtcnn_reads_the_layers_of_the_reference_network(pictures):
    # The reference: facenet-pytorch's own O-Net, its forward pass cut off by hooks.
    from facenet_pytorch.models.mtcnn import ONet

    reference, seen = ONet().eval(), {}
    reference.pool3.register_forward_hook(lambda _, __, out: seen.update(third=out))
    reference.prelu4.register_forward_hook(lambda _, __, out: seen.update(fourth=out))
    backbone = load_backbone("mtcnn")
    x = np.stack([backbone.prepare(one) for one in pictures[:4]]).transpose(0, 3, 1, 2)
    layers = {"third": 0, "fourth": 0}
    for view in (x, x[:, :, :, ::-1]):
        tensor = (torch.from_numpy(view.astype(np.float32)) - 127.5) / 128
        # At 80 pixels the dense layers do not fit any more; the features before them are made.
        with torch.inference_mode(), pytest.raises(RuntimeError):
            reference(tensor)
        for name, cells in (("third", 4), ("fourth", 2)):
            layers[name] = layers[name] + torch.nn.functional.adaptive_avg_pool2d(seen[name], cells)
    parts = [layer.flatten(1).double().numpy() for layer in layers.values()]
    rows = np.hstack([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.abs(embed_pictures(backbone, pictures[:4]) - rows).max() < 1e-6


def test_an_unknown_backbone_names_the_known_and_the_nearest():
    with pytest.raises(InputError, match=r"known are .*mtcnn.*; did you mean 'mtcnn'\?"):
        load_backbone("mtcn")


def test_the_contract_tells_spaces_apart():
    terms = contract(load_backbone("mtcnn"))
    assert contract_hash(terms) == contract_hash(dict(reversed(terms.items())))
    for key in terms:
        assert contract_hash(terms | {key: "other"}) != contract_hash(terms), key
