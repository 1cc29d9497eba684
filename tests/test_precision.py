"""Precision and device: what is taken, why, and that it is taken again."""

import numpy as np
import pytest
import torch
from networks import save_weights
from PIL import Image

from embedkit.backbones import embed_pictures, load_backbone
from embedkit.backbones.cards import PRECISIONS
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.errors import BackboneError, InputError, SpaceMismatchError
from embedkit.pipeline import choices, embed
from embedkit.pipeline.choices import agreement_of, choose_precision
from embedkit.synthetic.drawing import draw_face, draw_person, draw_photograph

SMALL = "timm:mobilenetv3_small_050"


@pytest.fixture(scope="module")
def pictures():
    generator = np.random.default_rng(3)
    people = [draw_person(generator, smiles=0.3) for _ in range(18)]
    return [draw_face(one, draw_photograph(generator, one), 140) for one in people]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_weights(SMALL, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module", params=PRECISIONS)
def backbone(request, weights):
    return load_backbone(SMALL, weights=weights, precision=request.param)


def test_every_precision_gives_a_picture_the_same_bits_in_any_batch(backbone, pictures, figure):
    rows = embed_pictures(backbone, pictures)
    order = np.random.default_rng(1).permutation(len(pictures))
    assert np.array_equal(embed_pictures(backbone, [pictures[one] for one in order]), rows[order])
    assert np.array_equal(embed_pictures(backbone, pictures[5:6]), rows[5:6])
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert np.array_equal(embed_pictures(backbone, pictures), rows)
    finally:
        torch.set_num_threads(before)
    kind = backbone.card.precision
    figure("E1", f"{kind}: {len(rows)} pictures in another order, alone, 3 threads: the same bits")


def test_another_size_of_batch_changes_next_to_nothing(weights, pictures, figure):
    from dataclasses import replace

    backbone = load_backbone(SMALL, weights=weights)
    expected = embed_pictures(backbone, pictures)
    most = 0.0
    for size in (1, 5, 64):
        backbone.card = replace(backbone.card, batch=size)
        most = max(most, float(np.abs(embed_pictures(backbone, pictures) - expected).max()))
    assert most < 1e-6
    figure("E2", f"batches of 1, 5 and 64 instead of 16: unit vectors differ by {most:.1g} at most")


def test_every_precision_agrees_with_the_reference(backbone, weights, pictures):
    expected = embed_pictures(load_backbone(SMALL, weights=weights), pictures)
    rows = embed_pictures(backbone, pictures)
    assert rows.dtype == np.float32
    assert agreement_of(rows, expected) > (0.997 if "bf16" in backbone.card.precision else 0.9995)
    assert np.array_equal(rows, expected) == (backbone.card.precision == "fp32")


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(size=(224, 224), to=256),
        Preprocessing(size=(224, 224), interpolation="bicubic"),
        Preprocessing(size=(160, 160), resize="squash"),
        Preprocessing(size=(112, 96), resize="longest", fill=127, channels="BGR"),
        Preprocessing(size=(64, 64), channels="L"),
        Preprocessing(size=(96, 96), interpolation="lanczos"),
    ],
    ids=lambda one: f"{one.resize}-{one.interpolation}-{one.channels}",
)
@pytest.mark.parametrize("size", [(300, 224), (75, 90), (480, 1000), (1, 7), (64, 64)])
def test_fast_resampling_is_within_one_grey_level_of_pillow(preprocessing, size, pictures):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
    face = np.asarray(Image.fromarray(pictures[0]).resize(size[::-1]))
    smooth = np.linspace(0, 255, noise.size).reshape(noise.shape).astype(np.uint8)
    # Enlarging by bicubic may differ by two.
    most = 2 if preprocessing.interpolation == "bicubic" and min(size) < 224 else 1
    for picture in (noise, smooth, face):
        slow, fast = preprocessing.prepare(picture), preprocessing.prepare_fast(picture)
        assert fast.shape == slow.shape
        assert np.abs(fast.astype(int) - slow.astype(int)).max() <= most


def test_the_mean_is_taken_off_before_vectors_are_compared():
    generator = np.random.default_rng(0)
    common = np.ones(64)
    one, other = (common + 0.01 * generator.normal(size=(20, 64)) for _ in range(2))
    cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosines.min() > 0.999  # which says nothing
    assert agreement_of(one, other) < 0.5
    assert agreement_of(one, one * 3) == pytest.approx(1)
    assert agreement_of(one[:1], one[:1]) == pytest.approx(1)


def choose(weights, pictures, asked="auto"):
    return choose_precision(SMALL, {"weights": str(weights)}, asked, "cpu", lambda: pictures)


def test_the_first_precision_that_agrees_is_taken(weights, pictures, monkeypatch):
    monkeypatch.setattr(choices, "_candidates", lambda asked, device: ["bf16", "openvino-fp32"])
    backbone, precision, said = choose(weights, pictures)
    assert (precision, backbone.card.precision) == ("bf16", "bf16")
    assert said.startswith("bf16 agrees with fp32 to 0.99")
    monkeypatch.setattr(choices, "AGREEMENT", 0.99995)
    backbone, precision, said = choose(weights, pictures)
    assert precision == "openvino-fp32"
    monkeypatch.setattr(choices, "AGREEMENT", 1.1)
    backbone, precision, said = choose(weights, pictures)
    assert (precision, backbone.card.precision) == ("fp32", "fp32")
    assert said.startswith("fp32, for bf16 agrees with fp32 to 0.99")


def test_few_pictures_do_not_decide(weights, pictures, monkeypatch):
    monkeypatch.setattr(choices, "_candidates", lambda asked, device: ["bf16"])
    assert choose(weights, pictures[:7])[1:] == (
        "fp32",
        "fp32, for 7 pictures are too few to compare by",
    )
    assert choose(weights, [])[1] == "fp32"
    assert choose(weights, pictures[:8])[1] == "bf16"


def test_what_cannot_be_computed_is_passed_over(weights, pictures, monkeypatch):
    monkeypatch.setattr(choices, "_candidates", lambda asked, device: ["openvino-bf16", "bf16"])
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    assert choose(weights, pictures)[1] == "bf16"


def test_bf16_that_was_asked_for_and_does_not_agree_is_refused(weights, pictures, monkeypatch):
    monkeypatch.setattr(choices, "AGREEMENT", 1.1)
    with pytest.raises(BackboneError, match=r"bf16 agrees with fp32 to 0\.99.*--precision auto"):
        choose(weights, pictures, "bf16")


def test_fp32_is_the_reference_and_looks_at_no_picture(weights):
    def never():
        raise AssertionError

    assert choose_precision(SMALL, {"weights": str(weights)}, "fp32", "cpu", never)[1:] == (
        "fp32",
        "",
    )
    assert choose_precision("mtcnn", {}, "auto", "cpu", never)[1:] == ("fp32", "")


def test_a_store_keeps_the_precision_that_it_was_begun_with(clean, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(choices, "_candidates", lambda asked, device: ["bf16"])
    said = []
    options = {"backbone": SMALL, "weights": weights}
    store = embed(clean.folder, tmp_path / "store", say=said.append, **options)
    space = store.space(None).record
    assert (space.backbone["precision"], space.contract["precision"]) == ("bf16", "bf16")
    assert space.contract["preprocessing"]["resampling"] == "torch"
    assert space.made_with["precision"] in said[0]
    # Another machine would choose otherwise; what is there decides.
    monkeypatch.setattr(choices, "_candidates", lambda asked, device: [])
    assert embed(clean.folder, tmp_path / "store", **options).record == store.record
    with pytest.raises(SpaceMismatchError, match="made with precision bf16, not fp32"):
        embed(clean.folder, tmp_path / "store", precision="fp32", **options)


def test_vectors_of_another_precision_are_of_another_space(weights):
    from embedkit.backbones import contract, contract_hash

    hashes = {
        contract_hash(contract(load_backbone(SMALL, weights=weights, precision=one)))
        for one in PRECISIONS
    }
    assert len(hashes) == len(PRECISIONS)


def test_a_device_with_too_little_memory_gets_smaller_batches(weights, pictures):
    backbone = load_backbone(SMALL, weights=weights)
    expected, read, sizes = embed_pictures(backbone, pictures), backbone._read, []

    def small_memory(x):
        sizes.append(len(x))
        if len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return read(x)

    backbone._read = small_memory
    rows = embed_pictures(backbone, pictures)
    assert np.abs(rows - expected).max() < 1e-6
    assert sizes[:3] == [16, 8, 4]
    assert set(sizes[3:]) == {4}  # it is not tried again
    backbone._read = lambda x: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(BackboneError, match="not even with one picture at a time; use --device"):
        embed_pictures(backbone, pictures)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_said_in_one_line(clean, weights, tmp_path):
    with pytest.raises(InputError, match="torch sees no CUDA device .* --device cpu"):
        embed(clean.folder, tmp_path / "s", backbone=SMALL, weights=weights, device="cuda")
    assert not (tmp_path / "s/store.json").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_gives_the_same_vectors(weights, pictures, precision):
    expected = embed_pictures(load_backbone(SMALL, weights=weights), pictures)
    backbone = load_backbone(SMALL, weights=weights, precision=precision, device="cuda")
    rows = embed_pictures(backbone, pictures)
    assert agreement_of(rows, expected) > (0.997 if precision == "bf16" else 0.99999)
    assert np.array_equal(embed_pictures(backbone, pictures[5:6]), rows[5:6])


def test_embedded_backbones_have_one_precision():
    with pytest.raises(InputError, match="mtcnn is computed in fp32 on the processor only"):
        load_backbone("mtcnn", precision="bf16")


def test_openvino_tells_nobody_that_it_was_used(weights):
    import subprocess
    import sys

    code = (
        "import socket, sys, threading\n"
        "def refuse(*a, **k): print('CONNECTS', a); raise OSError\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from embedkit.backbones import load_backbone\n"
        f"load_backbone({SMALL!r}, weights={str(weights)!r}, precision='openvino-fp32')\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "print(telemetry_utils.tm.__name__, [t.name for t in threading.enumerate()])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub ['MainThread']"
