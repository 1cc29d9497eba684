"""Claims: the single things that audits list, each of which somebody can look at and judge."""

from collections.abc import Sequence
from dataclasses import dataclass

from embedkit.audits.kept import Document
from embedkit.errors import InputError
from embedkit.files import sha256

SAMPLE = 30


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that an audit lists, and that a person can judge.

    Attributes:
        finding: name of the audit.
        about: what is claimed, where the pictures alone do not say: the label, or the flaws.
        ids: of the pictures, sorted.
    """

    finding: str
    about: str
    ids: tuple[str, ...]


def claims_of(finding: Document, *, label: str = "label") -> tuple[Claim, ...]:
    """Return what a kept finding lists, in its order; () for one that lists nothing to judge.

    Args:
        finding: as `kept` returns it.
        label: column that the audit took for the class.

    Raises:
        InputError: it is none that embedkit wrote.
    """
    name = finding.get("name")
    try:
        details = finding["details"]
        if name == "twins" and details:
            return tuple(
                Claim(name, "", tuple(sorted((str(one["a"]), str(one["b"])))))
                for one in details["pairs"]
            )
        if name == "siblings" and details:
            return tuple(
                Claim(name, "", tuple(sorted((str(one["image"]), str(one["in_train"])))))
                for one in details["pairs"]
            )
        if name == "labels" and details:
            return tuple(
                Claim(name, f"{label} = {one['given']}", (str(one["id"]),))
                for one in details["issues"]
            )
        if name == "quality" and details:
            return tuple(
                Claim(name, ", ".join(sorted(f["check"] for f in one["faults"])), (one["id"],))
                for one in details["flagged"]
            )
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"the kept finding {name!r} is damaged; 'embedkit audit' makes it anew"
        ) from None
    return ()


def random_order(claims: Sequence[Claim]) -> list[int]:
    """Return the places of claims in an order that has nothing to do with what they are.

    By a hash of each: the first 30 are a random sample of the list, the same for everybody who
    looks, and most of them stay in it after a new audit.
    """
    drawn = [sha256("\0".join((one.finding, one.about, *one.ids)).encode()) for one in claims]
    return sorted(range(len(claims)), key=drawn.__getitem__)
