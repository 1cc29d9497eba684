"""Where the answer to one picture comes from, as plain text."""

from collections.abc import Sequence

from embedkit.audits.activation import ClassActivation
from embedkit.audits.occlusion import Covers, Occlusion
from embedkit.audits.peaks import Box, middle
from embedkit.backbones.places import Layer
from embedkit.reports.text import table


def plan_text(covers: Covers) -> str:
    """Say what an occlusion map will cost."""
    return (
        f"Occlusion embeds {covers.pictures} covered pictures: patches of {covers.patch} x "
        f"{covers.patch} pixels, {covers.stride} apart, of the {covers.width} x {covers.height} "
        "that the network sees"
    )


def occlusion_text(found: Occlusion) -> str:
    """Say where covering the picture takes off most."""
    covers = found.covers
    turns = (
        "enough to turn the answer" if found.largest > found.log_odds else "the answer stays as is"
    )
    return (
        f"\nOcclusion: log-odds of {found.answer!r} against {found.against!r} {found.log_odds:+.2f}"
        f"\n  covering takes off most {_where(found.peak, (covers.height, covers.width))}; one "
        f"patch takes off {found.largest:.2f} at most, {turns}"
    )


def activation_text(found: ClassActivation) -> str:
    """Say how the log-odds are put together."""
    rows = [
        [
            f"{one.layer}, {one.values.shape[0]} x {one.values.shape[1]} places",
            f"{one.values.sum():+.2f}",
        ]
        for one in found.layers
    ]
    if found.constant:
        rows.append(["constant of the network", f"{found.constant:+.2f}"])
    rows.append(["intercept of the head", f"{found.intercept:+.2f}"])
    rows.append(
        [f"log-odds of {found.answer!r} against {found.against!r}", f"{found.log_odds:+.2f}"]
    )
    return f"\nClass activation:\n{table(rows)}\n  most comes {_where(found.peak, found.size)}"


def layers_text(space: str, found: Sequence[Layer]) -> str:
    """Return the layers of a backbone that can be looked into."""
    rows = [["layer", "kind", "channels", "places"]]
    rows += [
        [one.name, one.kind, str(one.channels), f"{one.height} x {one.width}"] for one in found
    ]
    return (
        f"Layers of {space} whose output is feature maps, in the order of computation:\n"
        + table(rows)
    )


def _where(peak: Box, size: tuple[int, int]) -> str:
    """Say where a place lies in what the network sees, in ninths."""
    (x, y), (height, width) = middle(peak), size
    row = ("top", "middle", "bottom")[min(int(3 * y / height), 2)]
    column = ("left", "centre", "right")[min(int(3 * x / width), 2)]
    return f"at the {row} {column} (x {x:.0f}, y {y:.0f} of {width} x {height})"
