"""Views on the page: each with its figures and one picture changed so."""

from dataclasses import dataclass

from embedkit.audits import Audit
from embedkit.audits.looks import Look
from embedkit.audits.shortcuts import Shortcuts
from embedkit.audits.sights import VIEWS, neutral_views
from embedkit.audits.views import Views
from embedkit.pipeline.seen import sight_of
from embedkit.reports.pictures import Pictures, pixels_uri


@dataclass(frozen=True, slots=True)
class ShownViews:
    """Views with, for each, the address of an example; None where there is none."""

    found: Views
    rows: tuple[tuple[Look, str | None], ...]


def shown_views(result: Audit, pictures: Pictures) -> ShownViews | None:
    """Return what the page shows of views, None where none were looked at."""
    finding = next((one for one in result.findings if isinstance(one, Shortcuts)), None)
    found = None if finding is None else finding.views
    if found is None or found.example is None:
        return None
    id_, face = found.example
    items = result.store.items
    pixels = None if pictures.hidden else pictures.pixels(id_)
    examples: dict[str, str] = {}
    if pixels is not None:
        sight, _ = sight_of(pixels, face, str(items.column("sha256")[items.ids.index(id_)]))
        examples = {
            view.name: pixels_uri(view.change(sight))
            for view in (*VIEWS, *neutral_views(result.store))
            if face is not None or not view.of_face
        }
    return ShownViews(found, tuple((one, examples.get(one.name)) for one in found.looks))
