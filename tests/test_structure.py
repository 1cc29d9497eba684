"""The house: imports point downwards, heavy packages stay at the leaves, nothing can run code."""

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*(ROOT / "embedkit").rglob("*.py"), *(ROOT / "cli").rglob("*.py")])

# Each package may import from itself and from the lines below its own.
LAYERS = (
    {"embedkit_cli"},
    {"demo"},
    {"exports", "explorer"},
    {"reports"},
    {"maps"},
    {"wholeness"},
    {"finetuning"},  # trains again without the relatives that audits find
    {"audits"},
    {"heads", "pipeline"},
    {"neighbours", "videos"},
    {"inputs"},
    {"store", "readers", "backbones", "engines", "synthetic"},
    {"items", "images", "fetch"},
    {"joins", "shards"},
    {"statistics", "nuisance", "rows", "matrices"},
    {"decoders"},
    {
        "vectors",
        "files",
        "cells",
        "interrupts",
        "workers",
        "ranges",
        "remote",
        "hardware",
        "memory",
    },
    {"trust"},
    {"errors", "results"},
)
LEAVES = {
    # A backbone is frozen; what trains a network needs torch too, and is a package of its own. All
    # pairs of rows are products of matrices in bf16, which numpy cannot multiply.
    "torch": (
        "embedkit/backbones/",
        "embedkit/audits/registration.py",
        "embedkit/finetuning/",
        "embedkit/hardware.py",
        "embedkit/joins/",
    ),
    "facenet_pytorch": ("embedkit/backbones/",),
    "faiss": ("embedkit/store/index.py", "embedkit/store/index_"),
    "duckdb": ("embedkit/store/conditions.py",),
    "jinja2": ("embedkit/reports/", "embedkit/explorer/"),
    "starlette": ("embedkit/explorer/",),
    "uvicorn": ("embedkit/explorer/",),
    "matplotlib": (
        "embedkit/reports/figures.py",
        "embedkit/reports/heatmaps.py",
        "embedkit/reports/map_figure.py",
        "embedkit/reports/plots.py",
        # For the types of what is looked up when somebody asks:
        "embedkit/reports/notebooks.py",
        "embedkit/results.py",
    ),
    "umap": ("embedkit/maps/layout.py",),
    "pandas": ("embedkit/reports/notebooks.py", "embedkit/results.py"),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "sklearn": ("embedkit/heads/",),
    "cleanlab": ("embedkit/audits/labels.py",),
    "fairlearn": ("embedkit/audits/rates.py",),
    "safetensors": (
        "embedkit/heads/saving.py",
        "embedkit/backbones/weights.py",
        "embedkit/finetuning/networks.py",
    ),
    "torchvision": ("embedkit/backbones/",),
    "timm": ("embedkit/backbones/",),
    "open_clip": ("embedkit/backbones/",),
    "onnx": ("embedkit/backbones/", "embedkit/exports/"),
    "onnxruntime": ("embedkit/backbones/", "embedkit/exports/"),
    "av": ("embedkit/videos/",),
    "tkinter": ("cli/",),
    "openvino": ("embedkit/backbones/openvino_runtime.py",),
    "fsspec": ("embedkit/remote.py",),
    "ray": ("embedkit/engines/ray",),
}


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


@cache
def imports(path: Path) -> list[str]:
    found = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


def package(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "embedkit_cli":
        return "embedkit_cli"
    return parts[1] if parts[0] == "embedkit" and len(parts) > 1 else None


def home(path: Path) -> str | None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "embedkit_cli" if parts[0] == "cli" else parts[1] if parts[1] != "__init__" else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    level = {name: depth for depth, names in enumerate(LAYERS) for name in names}
    own = home(path)
    if own is None:
        return
    assert own in level, f"{own} has no layer"
    for module in imports(path):
        other = package(module)
        if other is not None and other != own:
            assert level[other] > level[own], f"{own} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_packages_stay_at_the_leaves(path):
    where = str(path.relative_to(ROOT))
    for module in imports(path):
        homes = LEAVES.get(module.split(".")[0])
        assert homes is None or where.startswith(homes), f"{where} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_can_run_code(path):
    forbidden = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
    for module in imports(path):
        assert module.split(".")[0] not in forbidden
        # torchvision's decoder ends the process on one flipped bit in a PNG.
        assert not module.startswith(("torchvision.io", "torch.hub"))
    for node in nodes(path):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert called not in ("eval", "exec", "faiss.write_index")
            if called == "faiss.read_index":  # never of a name, only of bytes that were checked
                assert "reader" in map(ast.unparse, node.args)
            if called == "torch.load":
                assert options.get("weights_only") == "True"
            if called in ("np.load", "numpy.load"):
                assert options.get("allow_pickle") == "False"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_depends_on_asserts(path):
    """`python -O` removes them."""
    assert not any(isinstance(node, ast.Assert) for node in nodes(path))


def modules_after(code: str) -> set[str]:
    code += "\nimport sys; print('\\n'.join(m for m in sys.modules if '.' not in m))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


HEAVY = {"torch", "faiss", "sklearn", "scipy", "numpy", "pyarrow", "PIL", "matplotlib", "umap"}


def test_help_loads_nothing_heavy():
    assert not modules_after("from embedkit_cli.app import main; main(['--help'])") & HEAVY
    assert not modules_after("from embedkit_cli.app import main; main(['embed', '--help'])") & HEAVY


def test_what_shows_a_store_loads_no_network_and_no_head():
    """What `embedkit info` imports; these alone would take it four times as long."""
    code = "import embedkit.store, embedkit.reports.documents, embedkit.reports.text"
    assert not modules_after(code) & {"torch", "sklearn"}


def test_making_a_store_loads_no_network_where_none_is_asked_for():
    """Every worker of a cluster would hold half a gigabyte of it."""
    assert "torch" not in modules_after("import embedkit.pipeline")


def test_importing_embedkit_loads_nothing_heavy_and_opens_no_file():
    assert not modules_after("import embedkit") & HEAVY


def test_the_python_interface_has_what_it_says():
    import embedkit

    for name in embedkit.__all__:
        assert callable(getattr(embedkit, name)), name
    with pytest.raises(AttributeError, match="no attribute 'embd'"):
        _ = embedkit.embd


def test_the_functions_are_functions_in_whatever_order_modules_are_loaded():
    code = (
        "import embedkit.pipeline, embedkit.neighbours, embedkit.heads.training, embedkit.demo\n"
        "import embedkit as ek\n"
        "assert all(callable(getattr(ek, name)) for name in ek.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_suite_does_not_need_the_real_data():
    """What CI runs without ../shared must not be less than these files."""
    marked = [p for p in (ROOT / "tests").glob("test_*.py") if "mark.data" in p.read_text()]
    assert {p.name for p in marked} <= {
        "test_structure.py",
        "test_real_data.py",
        "test_real_networks.py",
    }


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_built_stores_stay_out_of_git_and_out_of_the_packages():
    listed = subprocess.run(
        ["git", "ls-files", "indexes"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert listed.stdout.split() == ["indexes/README.md"]


def test_no_test_asserts_a_speed():
    source = (ROOT / "benchmarks").glob("*.py")
    assert os.environ.get("EMBEDKIT_ASSERT_SPEED") is None
    assert all("assert " not in path.read_text() for path in source)


def test_what_the_benchmarks_import_is_there():
    # Nobody runs them all before a commit; what was renamed is noticed here.
    scripts = {
        path.stem: ast.parse(path.read_text()) for path in (ROOT / "benchmarks").glob("*.py")
    }
    lacking = []
    for name, tree in scripts.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            if node.module in scripts:
                known = top_level_names(scripts[node.module])
            elif node.module.partition(".")[0] in ("embedkit", "embedkit_cli"):
                known = has_or_holds(node.module)
            else:
                continue
            lacking += [(name, node.module, one.name) for one in node.names if not known(one.name)]
    assert len(scripts) > 30
    assert lacking == []


def top_level_names(tree):
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {one.asname or one.name for one in node.names}
        else:
            names |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return names.__contains__


def has_or_holds(module):
    place = ROOT.joinpath("cli" if module.startswith("embedkit_cli") else ".", *module.split("."))
    inside = place.is_dir()
    file = place / "__init__.py" if inside else place.with_suffix(".py")
    known = top_level_names(ast.parse(file.read_text()))
    return lambda name: known(name) or (inside and any(place.glob(f"{name}*")))
