"""What a store or a head names is not opened because it says so: networks, weights, places."""

import ast
import io
import json
import os
import shutil
import zipfile
from hashlib import sha256
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from embedkit_cli import main
from helpers import make_different
from onnx_files import mean_colour_classifier
from safetensors import numpy as tensors

import embedkit as ek
from embedkit import trust
from embedkit.backbones import embed_pictures, load_again, load_backbone
from embedkit.backbones.scripts import check_script
from embedkit.errors import InputError, UnreadableImageError, WeightsError
from embedkit.images import read_bytes
from embedkit.store.schema import sealed

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning"
)
DESCRIPTION = '{"size": [8, 8], "mean": 0, "std": 1}'
ROOT = Path(__file__).resolve().parents[1]


class Writes(torch.nn.Module):
    """A network that makes a file as soon as it is run, which loading it does."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    def forward(self, x):
        y = torch.from_file(self.path, True, 64)
        return x.flatten(1)[:, :4] + 0 * y.fill_(1.0)[0]


class Saves(torch.nn.Module):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    def forward(self, x):
        torch.save(x, self.path)
        return x.flatten(1)[:, :4]


class Plain(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :4]


@pytest.fixture
def stranger(monkeypatch, tmp_path):
    """Be somebody who has named nothing on this machine."""

    def become():
        monkeypatch.setattr(trust, "_of_this_process", set())
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of a stranger"))
        load_again.cache_clear()

    yield become
    load_again.cache_clear()


def scripted(module, path):
    torch.jit.script(module).save(str(path))
    path.with_suffix(".json").write_text(DESCRIPTION)
    return f"torchscript:{path}"


def renamed(store: Path, network: str, weights: str = "") -> Path:
    """Make a store say that its space `pixels` was made by another network."""
    path = store / "pixels/space.json"
    record = json.loads(path.read_text())
    record.pop("seal")
    record["backbone"] |= {"name": network, "weights": weights}
    path.write_bytes(sealed(record))
    top = json.loads((store / "store.json").read_text())
    top.pop("seal")
    top["spaces"]["pixels"] = sha256(path.read_bytes()).hexdigest()
    (store / "store.json").write_bytes(sealed(top))
    return store


def renamed_head(path: Path, network: str, weights: str = "") -> Path:
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    record = json.loads(json.loads(data[8:end])["__metadata__"]["embedkit"])
    record.pop("seal")
    record["backbone"] |= {"name": network, "weights": weights}
    text = sealed(record, indent=None).decode()
    path.write_bytes(tensors.save(tensors.load(data), {"embedkit": text}))
    return path


@pytest.fixture
def picture(planted):
    return next((planted.folder / "test/good").iterdir())


COMMANDS = {
    "search": ("search", "{store}", "{picture}", "-b", "pixels"),
    "explain": ("explain", "{store}", "{new}", "-b", "pixels"),
    "map": ("map", "{store}", "-b", "pixels", "--add", "{new}", "-o", "{out}"),
    "embed again": ("embed", "{source}", "-o", "{store}"),
    "embed with options": ("embed", "{source}", "-o", "{store}", "--device", "cpu"),
    "copies": ("embed", "{source}", "-o", "{store}", "--augment", "flip", "--copies", "1"),
    "predict": ("predict", "{head}", "{picture}", "-k", "0"),
    "evaluate": ("evaluate", "{head}", "{store}"),
}
GO_ON = ("evaluate",)  # which needs no network


@pytest.fixture(scope="module")
def head(planted_store, tmp_path_factory):
    fitted = ek.train(planted_store, backbone="pixels")
    return fitted.save(tmp_path_factory.mktemp("heads") / "head")


def networks(folder: Path, marker: Path) -> dict[str, tuple[str, str]]:
    """Return what a stranger's record may name, as backbone and weights, by kind."""
    network = folder / "net.onnx"
    network.write_bytes(mean_colour_classifier(np.eye(3), np.zeros(3), 8))
    network.with_suffix(".json").write_text(DESCRIPTION)
    state = folder / "state.pth"
    state.write_bytes(b"of any kind")
    return {
        "a program that writes": (scripted(Writes(marker), folder / "writes.pt"), ""),
        "a program that saves": (scripted(Saves(marker), folder / "saves.pt"), ""),
        "a program that computes": (scripted(Plain(), folder / "plain.pt"), ""),
        "ONNX": (f"onnx:{network}", ""),
        "weights": ("torchvision:squeezenet1_1", str(state)),
        "a folder of weights": ("torchvision:squeezenet1_1", str(folder)),
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_a_network_that_only_a_store_or_a_head_names_is_not_opened(
    command, planted, store_copy, head, picture, tmp_path, stranger, capsys, thorough, figure
):
    marker = tmp_path / "ran"
    named = networks(tmp_path, marker)
    shutil.copy(tmp_path / "state.pth", tmp_path / "squeezenet1_1-b8a52dc0.pth")
    own = shutil.copy(head, tmp_path / "head.safetensors")
    words = {
        "store": store_copy,
        "picture": picture,
        "head": own,
        "source": planted.folder,
        "new": shutil.copy(picture, tmp_path / "new.jpg"),
        "out": tmp_path / "map.html",
    }
    marker.unlink(missing_ok=True)
    stranger()
    kinds = sorted(named) if thorough else ["a program that writes", "weights"]
    for kind in kinds:
        renamed(store_copy, *named[kind])
        renamed_head(own, *named[kind])
        status = main([part.format(**words) for part in COMMANDS[command]])
        out = capsys.readouterr()
        assert not marker.exists(), kind
        if command not in GO_ON:
            assert status == 2, (kind, out.err)
            # Where options are given for all spaces, the one that is named so is of no network.
            line = out.err.splitlines()[-1]
            assert "have not named" in line or "has no space that it made" in line, (kind, line)
        load_again.cache_clear()
    figure("D3", f"{command}: {len(kinds)} networks that only the record names: 0 opened")


def test_nothing_loads_a_recorded_network_as_if_the_user_had_named_it():
    """Who calls `load_backbone` says what names the network, unless only users do."""
    by_users = {"choices.py", "classifiers.py", "networks.py", "spaces.py", "weights.py"}
    loads = {}
    for path in [*(ROOT / "embedkit").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]:
        text = path.read_text()
        for node in ast.walk(ast.parse(text if "load_backbone(" in text else "")):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "load_backbone":
                said = any(keyword.arg == "named_by" for keyword in node.keywords)
                loads.setdefault(path.name, []).append(said)
    assert loads["decisions.py"] == loads["channels.py"] == [True]
    assert {name for name, said in loads.items() if not all(said)} <= by_users


@pytest.mark.parametrize("how", ["by embedding", "by the command"])
def test_a_network_that_the_user_names_is_used_from_then_on(how, planted, tmp_path, stranger):
    few = tmp_path / "few"
    for place, id_ in enumerate(sorted(planted.kind)[:8]):
        (few / "ab"[place % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(planted.folder / id_, few / "ab"[place % 2])
    network = scripted(Plain(), tmp_path / "net.pt")
    options = {"align": "none", "precision": "fp32"}
    store = ek.embed(few, tmp_path / "store", backbone=network, **options)
    (picture,) = [next((few / "a").iterdir())]
    if how == "by the command":
        stranger()
        with pytest.raises(InputError, match="embedkit weights trust"):
            ek.search(store, picture)
        assert main(["weights", "trust", str(tmp_path / "net.pt")]) == 0
    trust._of_this_process.clear()
    load_again.cache_clear()
    assert ek.search(store, picture)
    # By its content: another file of that name is another network.
    scripted(Writes(tmp_path / "ran"), tmp_path / "net.pt")
    (tmp_path / "ran").unlink(missing_ok=True)
    load_again.cache_clear()
    with pytest.raises(InputError, match="have not named"):
        ek.search(store, picture)
    assert not (tmp_path / "ran").exists()


def test_what_was_named_is_known_by_its_owner_alone(tmp_path, stranger):
    stranger()
    trust.trust("s3://bucket/faces")
    trust.trust("s3://bucket/faces")
    assert trust.place().read_text() == "s3://bucket/faces\n"
    assert trust.place().stat().st_mode & 0o777 == 0o600
    trust.check_url("s3://bucket/faces/a/b.png")
    for other in ("s3://bucket/faces2/a.png", "s3://bucket", "http://bucket/faces/a.png"):
        with pytest.raises(InputError, match="have not named"):
            trust.check_url(other)


def test_without_a_home_what_is_named_holds_for_the_process(monkeypatch, stranger):
    stranger()
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/no/such/place")
    trust.trust("s3://bucket")
    trust.check_url("s3://bucket/a")


def test_what_only_a_store_names_is_not_fetched(tmp_path, stranger, capsys):
    folder = make_different(tmp_path / "faces", *(f"{c}/{n}.png" for c in "ab" for n in range(4)))
    system = fsspec.filesystem("memory")
    for path in folder.rglob("*.png"):
        system.pipe(f"/faces/{path.relative_to(folder)}", path.read_bytes())
    system.pipe("/secret.png", next(folder.rglob("*.png")).read_bytes())
    store = ek.embed("memory://faces", tmp_path / "store", backbone="pixels")
    (first, *_) = store.items.ids
    assert read_bytes(store.items.path(first))
    for upwards in ("../secret.png", "a/%2e%2e/../../secret.png", "%2E%2e/secret.png"):
        with pytest.raises(UnreadableImageError, match="you have not named it"):
            read_bytes(store.items.root / upwards)
    stranger()
    fetched = []
    real = type(system)._open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(system), "_open", lambda *a, **o: fetched.append(a[1]) or real(*a, **o))
        with pytest.raises(UnreadableImageError, match="you have not named it"):
            read_bytes(store.items.path(first))
        for command in ("report", "audit", "info"):
            out = ["-o", str(tmp_path / "page.html")] if command == "report" else []
            main([command, str(store.path), *out])
    assert fetched == []
    assert main(["scan", "memory://faces"]) == 0
    assert read_bytes(store.items.path(first))
    system.store.clear()


# TorchScript that the user names.


@pytest.mark.parametrize("network", [Writes, Saves])
def test_a_program_that_writes_is_refused_whoever_names_it(network, tmp_path):
    marker = tmp_path / "ran"
    name = scripted(network(marker), tmp_path / "net.pt")
    marker.unlink(missing_ok=True)
    with pytest.raises(WeightsError, match=r"operator (from_file|save).*ONNX"):
        load_backbone(name)
    assert not marker.exists()


EXPORTED = """
    torchvision:squeezenet1_1 torchvision:resnet18 torchvision:mobilenet_v3_small
    torchvision:vit_b_16
    torchvision:efficientnet_b0 torchvision:swin_t torchvision:convnext_tiny torchvision:googlenet
    torchvision:densenet121 torchvision:regnet_y_400mf timm:vit_tiny_patch16_224 timm:resnet18
    timm:convnext_atto timm:eva02_tiny_patch14_224 timm:mixer_s32_224 timm:efficientnet_b0
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_networks_that_people_export_are_not_refused(tmp_path, thorough, figure):
    import timm
    import torchvision

    passed, names = 0, EXPORTED.split() if thorough else EXPORTED.split()[:1]
    for kind, name in (one.split(":") for one in names):
        if kind == "timm":
            made = timm.create_model(name, pretrained=False, num_classes=0).eval()
        else:
            made = torchvision.models.get_model(name, weights=None).eval()
        side = 518 if "eva02" in name else 224
        example = torch.zeros(1, 3, side, side)
        for how in ("script", "trace"):
            try:
                if how == "script":
                    program = torch.jit.script(made)
                else:
                    program = torch.jit.trace(made, example, check_trace=False)
            except Exception:  # noqa: BLE001 (not every network can be exported so)
                continue
            program.save(tmp_path / "net.pt")
            check_script((tmp_path / "net.pt").read_bytes(), tmp_path / "net.pt")
            passed += 1
    assert passed >= len(names)
    figure("D3", f"{passed} TorchScript exports of {len(names)} usual networks: 0 refused")


def archived(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(f"net/{name}", content)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("torch.from_file(p, True, 64)", "operator from_file"),
        ("torch . from_file (p, True, 64)", "operator from_file"),
        ("torch.\\\n  from_file(p, True, 64)", "operator from_file"),
        ("ops.aten.from_file(p, True, 64)", "operator from_file"),
        ("torch.save(x, p)", "operator save"),
        ("ops.prim.rpc_sync(a, b)", "operator rpc_sync"),
        ("ops.image.write_file(p, x)", "that torch itself does not have"),
        ("ops . image.write_file(p, x)", "that torch itself does not have"),
        ("ops.aten\n.from_file(p)", "torch itself does not have"),
        ("__torch__.torch.classes.dist_c10d.FileStore(p)", "a compiled class"),
        ("torch._foreach_add_(x)", "operator _foreach_add_"),
    ],
)
def test_an_operator_is_found_however_it_is_written(code, said):
    source = f"class M(Module):\n  def forward(self, x):\n    return {code}\n"
    members = {"data.pkl": b"", "version": b"3", "code/__torch__.py": source.encode()}
    with pytest.raises(WeightsError, match=said):
        check_script(archived(members), Path("net.pt"))
    check_script(archived(members | {"code/__torch__.py": b"torch.relu(x)"}), Path("net.pt"))


@pytest.mark.parametrize(
    ("record", "content", "said"),
    [
        ("data.pkl", b"c__torch__.torch.classes.inductor\nLoader\n", "a compiled class"),
        ("data.pkl", b"c__torch__.torch\nclasses.inductor.Loader\n", "a compiled class"),
        ("constants.pkl", b"c__torch__\ntorch.classes.x.Y\n", "a compiled class"),
        ("model.json", b"{}", "which no such file has"),
        ("../../evil.py", b"", "which no such file has"),
        ("payload.so", b"", "which no such file has"),
    ],
)
def test_what_a_torchscript_archive_never_holds_is_refused(record, content, said):
    members = {"data.pkl": b"", "version": b"3", "code/__torch__.py": b""} | {record: content}
    with pytest.raises(WeightsError, match=said):
        check_script(archived(members), Path("net.pt"))


def test_a_program_of_torchs_other_format_is_refused_whatever_archive_is_appended(tmp_path):
    """Torch runs the program at the begin, and an archive is found from its end."""
    harmless = {"data.pkl": b"", "version": b"3", "code/__torch__.py": b"torch.relu(x)"}
    program = torch.jit.script(Writes(tmp_path / "ran"))
    other = bytes(torch._C._save_jit_module_to_bytes(program._c, {}))
    path = tmp_path / "both.pt"
    path.write_bytes(other)
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in harmless.items():
            archive.writestr(f"archive/{name}", content)
    assert type(torch.jit.load(str(path))).__name__ == "RecursiveScriptModule"
    both = path.read_bytes()
    for data in (both, other, b"PK\3\4PTMF" + both[8:]):
        with pytest.raises(WeightsError, match="damaged, or no TorchScript file"):
            check_script(data, path)


# ONNX with numbers in files beside it.


def spread(path: Path, location: str, values: np.ndarray, length: int | None = None) -> str:
    import onnx

    model = onnx.load_model_from_string(mean_colour_classifier(values, np.zeros(3), 8))
    (tensor,) = [one for one in model.graph.initializer if one.name == "w"]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", length or values.nbytes // 2)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    path.write_bytes(model.SerializeToString())
    path.with_suffix(".json").write_text(DESCRIPTION)
    return f"onnx:{path}"


def test_numbers_beside_an_onnx_file_are_part_of_what_it_is(tmp_path):
    values = np.arange(9.0).reshape(3, 3) + 1
    name = spread(tmp_path / "net.onnx", "w.bin", values)
    vectors, hashes = [], []
    for one in (values, values[::-1]):
        (tmp_path / "w.bin").write_bytes(one.astype("<f4").tobytes())
        backbone = load_backbone(name)
        hashes.append(backbone.weights_sha256)
        colour = np.full((8, 8, 3), (90, 20, 200), np.uint8)
        vectors.append(embed_pictures(backbone, [colour])[0])
    assert hashes[0] != hashes[1]
    (tmp_path / "one.onnx").write_bytes(mean_colour_classifier(values, np.zeros(3), 8))
    shutil.copy(tmp_path / "net.json", tmp_path / "one.json")
    inside = embed_pictures(load_backbone(f"onnx:{tmp_path / 'one.onnx'}"), [colour])[0]
    assert np.array_equal(vectors[0], inside)
    assert not np.allclose(vectors[0], vectors[1])


@pytest.mark.parametrize(
    "location", ["../w.bin", "/etc/passwd", "a/w.bin", "..", "", "link.bin", "pipe", "missing.bin"]
)
def test_an_onnx_file_reads_nothing_but_its_neighbours(location, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(36))
    (folder / "link.bin").symlink_to("../w.bin")
    os.mkfifo(folder / "pipe")
    with pytest.raises(WeightsError, match="same folder|beside it|is no file"):
        load_backbone(spread(folder / "net.onnx", location, np.eye(3)))


def test_an_onnx_file_that_claims_more_than_is_there_is_damaged(tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(36))
    with pytest.raises(WeightsError, match="not where it says"):
        load_backbone(spread(tmp_path / "net.onnx", "w.bin", np.eye(3), length=10**12))
