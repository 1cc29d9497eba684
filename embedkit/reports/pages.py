"""What all pages share: templates that escape, and a policy that lets nothing else in."""

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup


@cache
def _environment(package: str) -> Environment:
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def template(name: str, *, package: str = "embedkit.reports") -> Template:
    """Return a template of a package's folder `templates`, which escapes what is filled in."""
    return _environment(package).get_template(name)


def fill(page: str, /, *, style: Markup, script: Markup | None = None, **values: Any) -> str:
    """Return a template as a page that opens anywhere.

    Beside the values it finds `style` and `script`, to be set into their elements, and `policy`,
    which lets in these two and pictures that stand in the page, and nothing else.
    """
    allowed = [f"style-src '{_digest(style)}'"]
    if script is not None:
        allowed.append(f"script-src '{_digest(script)}'")
    policy = (
        f"default-src 'none'; img-src data:; {'; '.join(allowed)}; base-uri 'none'; "
        "form-action 'none'"
    )
    return template(page).render(style=style, script=script, policy=Markup(policy), **values)


def asset(name: str, *, package: str = "embedkit.reports") -> Markup:
    """Return a style or script of our own, which is not escaped."""
    return Markup((resources.files(package) / "templates" / name).read_text(encoding="utf-8"))


def _digest(text: str) -> str:
    """Return what a policy calls a style or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
