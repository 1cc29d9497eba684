"""What embedkit stands on: every locked package and every network's weights, with the licence.

    python .ci/components.py --page docs/licences.md    # the page, as a test holds it to be
    python .ci/components.py --sbom sbom.json           # the same as CycloneDX 1.6, with hashes

Names, versions and hashes come from requirements.lock, licences from the metadata of what is
installed in the environment that runs this (`make` makes one of the whole lock).
"""

import argparse
import json
import re
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import embedkit
from embedkit.backbones.cards import CARDS, OPEN

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
USERS, EXTRA, OURS = "always", "with an extra", "for development"

HEAD = """\
# Licences

Made by `python .ci/components.py --page docs/licences.md` from `requirements.lock` and the
metadata of the packages; a test holds it up to date and refuses a licence of another kind than
those below. `make sbom` writes the same with hashes, as CycloneDX. Not legal advice.

embedkit itself is under Apache-2.0. No package is under the GPL or the AGPL, or for non-commercial
use only. NVIDIA's are not free software: they come with PyTorch for Linux, under terms of their
own, and a CPU-only PyTorch does without (see Install in the [README](../README.md)).

## Weights

Weights have terms of their own, and so has what they were trained on. Only those of `mtcnn` come
with the packages; the others are fetched when asked for. Of `timm:NAME` the licence is the one that
timm's own table names, of `clip:MODEL/TAG`, where there is no such table, the page is said that has
it: by `embedkit weights get` before it fetches, and in the model card of every head.

| backbone | weights | licence |
| --- | --- | --- |
"""

# Licences of packages that are for other systems or whose metadata name none: read in their files.
READ = {
    "aequitas": "MIT",
    "appnope": "BSD-2-Clause",
    "axe-playwright-python": "MIT",
    "cffi": "MIT-0",
    "colorama": "BSD-3-Clause",
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",
    "httpx2-jsfetch": "BSD-3-Clause",
    "matplotlib": "PSF-2.0",
    "nvidia-cusparselt-cu13": "LicenseRef-NVIDIA-Proprietary",
    "pycparser": "BSD-3-Clause",
    "tqdm": "MPL-2.0 AND MIT",
    "umap-learn": "BSD-3-Clause",
}
# What older metadata call a licence, and its name today.
FORMS = {
    r"Apache": "Apache-2.0",
    r"BSD": "BSD-3-Clause",
    r"Mozilla|MPL": "MPL-2.0",
    r"ISC": "ISC",
    r"MIT": "MIT",
    r"Python Software Foundation": "PSF-2.0",
}


@dataclass(frozen=True, slots=True)
class Component:
    """A locked package: its hashes are of its files on the package index, its use one of three."""

    name: str
    version: str
    hashes: tuple[str, ...]
    licence: str
    use: str


def licence_of(name: str) -> str:
    """Return a package's licence as an SPDX expression.

    Raises:
        LookupError: its metadata name none that is known here.
    """
    if name in READ:
        return READ[name]
    about = metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return expression
    named = [one for one in about.get_all("Classifier", []) if one.startswith("License ::")]
    said = " ".join(named) or about.get("License", "").strip().partition("\n")[0]
    for form, spdx in FORMS.items():
        if re.search(form, said):
            return spdx
    raise LookupError(f"{name} names no licence ({said!r}): read its files and add it to READ")


def needed(wanted: list[str]) -> set[str]:
    """Return what these requirements bring along, as far as it is installed."""
    found: set[tuple[str, str]] = set()
    todo = [Requirement(one) for one in wanted]
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        for extra in ("", *one.extras):
            if (name, extra) in found:
                continue
            try:
                lines = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                break
            found.add((name, extra))
            todo += [
                line
                for line in map(Requirement, lines)
                if line.marker is None or line.marker.evaluate({"extra": extra})
            ]
    return {name for name, _ in found}


def components() -> list[Component]:
    """Return every package of the lock, in its order; of two versions for two Pythons both."""
    users = needed(PROJECT["dependencies"])
    extra = needed([one for each in PROJECT["optional-dependencies"].values() for one in each])
    blocks = re.split(r"\n(?=[a-z])", (ROOT / "requirements.lock").read_text().strip())
    made = []
    for block in blocks:
        name, version = re.match(r"([a-z0-9._-]+)==(\S+)", block).groups()
        use = USERS if name in users else EXTRA if name in extra else OURS
        hashes = tuple(re.findall(r"sha256:([0-9a-f]{64})", block))
        made.append(Component(name, version, hashes, licence_of(name), use))
    return made


def page() -> str:
    """Return docs/licences.md."""
    every = components()
    cards = (*CARDS.values(), *OPEN.values())
    lines = [HEAD + "\n".join(f"| `{c.name}` | {c.weights} | {c.licence} |" for c in cards)]
    for use in (USERS, EXTRA, OURS):
        lines += ["", f"## Packages: {use}", ""]
        lines += ["| package | version | licence |", "| --- | --- | --- |"]
        lines += [f"| {c.name} | {c.version} | {c.licence} |" for c in every if c.use == use]
    return "\n".join([*lines, ""])


def sbom() -> dict[str, object]:
    """Return the CycloneDX document; the same lock gives the same bytes."""
    libraries = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{one.name}@{one.version}",
            "name": one.name,
            "version": one.version,
            "scope": {USERS: "required", EXTRA: "optional", OURS: "excluded"}[one.use],
            "licenses": [{"expression": one.licence}],
            "purl": f"pkg:pypi/{one.name}@{one.version}",
            "externalReferences": [
                {
                    "type": "distribution",
                    "url": f"https://pypi.org/project/{one.name}/{one.version}/#files",
                    "hashes": [{"alg": "SHA-256", "content": value} for value in one.hashes],
                }
            ],
        }
        for one in components()
    ]
    networks = [
        {
            "type": "machine-learning-model",
            "bom-ref": f"backbone:{card.name}",
            "name": card.name,
            "scope": "required" if card.name == "mtcnn" else "optional",
            "description": f"{card.network}; weights: {card.weights}",
            "licenses": [{"license": {"name": card.licence}}],
        }
        for card in CARDS.values()
        if card.weights != "none"
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "embedkit",
                "name": "embedkit",
                "version": embedkit.__version__,
                "licenses": [{"expression": "Apache-2.0"}],
            }
        },
        "components": libraries + networks,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--sbom", type=Path)
    asked = parser.parse_args()
    if asked.page:
        asked.page.write_text(page(), encoding="utf-8")
    if asked.sbom:
        asked.sbom.write_text(json.dumps(sbom(), indent=1) + "\n", encoding="utf-8")
