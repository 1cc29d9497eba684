"""Limits: what a figure of an audit may be at most, or must be at least."""

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from embedkit.audits import AUDITS
from embedkit.audits.paths import Figure, part_of
from embedkit.errors import InputError

_FORM = re.compile(r"(.+?)\s*(>=|<=|=)\s*([^=<>]*)", re.DOTALL)


class End(StrEnum):
    """Which number of an estimate is compared with its limit."""

    VALUE = "value"
    LOW = "ci-low"
    HIGH = "ci-high"


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on one figure.

    Attributes:
        text: as it was given.
        name: of the figure.
        at_least: whether it bounds from below.
        bound: the number.
        per_cent: whether it was given in per cent.
    """

    text: str
    name: str
    at_least: bool
    bound: float
    per_cent: bool

    @property
    def audit(self) -> str:
        """Name of the audit whose figure it is."""
        return self.name.partition(".")[0]

    @property
    def words(self) -> str:
        """The limit as a phrase."""
        return f"{self.name} at {'least' if self.at_least else 'most'} {self.bound:g}"

    def holds(self, number: float) -> bool:
        """Say whether a number keeps to it; NaN keeps to none."""
        return number >= self.bound if self.at_least else number <= self.bound


def parse_limits(texts: Iterable[str]) -> tuple[Limit, ...]:
    """Read `leakage=1%`, `twins.pairs<=0`, `ledger.logistic.honest>=0.8` and so on.

    `=` and `<=` say "at most". What a path beyond the audit's name leads to is known only when the
    audit has run, see `figure_of`.

    Raises:
        InputError: no name with a number, or no audit of that name.
    """
    return tuple(_parsed(text) for text in texts)


def parse_end(text: str) -> End:
    """Read `value`, `ci-low` or `ci-high`.

    Raises:
        InputError: none of these.
    """
    try:
        return End(text)
    except ValueError:
        raise InputError(f"--limit-on {text}: known are {', '.join(End)}") from None


def figure_of(limit: Limit, figures: dict[str, Figure], end: End) -> tuple[Figure, float]:
    """Return the figure that a limit bounds, and the number of it that is compared.

    Raises:
        InputError: there is no such figure, it has no interval although an end of one was asked
            for, or the bound cannot be one of it.
    """
    figure = part_of(figures, limit.name)
    where = f"--limit {limit.text}"
    if figure is None:
        raise InputError(f"{where}: no figure is called {limit.name!r}{_near(limit.name, figures)}")
    if limit.per_cent and (figure.whole or figure.name.endswith((".points", ".detectable"))):
        what = "a count" if figure.whole else "in accuracy points"
        raise InputError(f"{where}: {figure.name} is {what}; leave the % out")
    if figure.share and not -1 <= limit.bound <= 1:
        raise InputError(
            f"{where}: {figure.name} is a share, from 0 to 1 or in per cent; e.g. "
            f"{figure.name}={limit.bound:g}%"
        )
    # A part of an estimate, `NAME.high`, says itself which number it is.
    named = figure.name not in figures
    if end is End.VALUE or named or math.isnan(figure.value):
        return figure, figure.value
    if figure.low is None or figure.high is None:
        raise InputError(
            f"{where}: {figure.name} has no interval, which --limit-on {end.value} compares; leave "
            "that option out and name the ends where there are some, e.g. leakage.high=1%"
        )
    return figure, figure.low if end is End.LOW else figure.high


def _parsed(text: str) -> Limit:
    form = _FORM.fullmatch(text.strip())
    if form is None:
        raise InputError(
            f"--limit {text}: write NAME=VALUE for at most, 'NAME>=VALUE' for at least (in quotes: "
            "a shell takes > for itself); e.g. leakage=1%"
        )
    name, sign, given = form.groups()
    audit = name.partition(".")[0]
    if audit not in AUDITS:
        near = difflib.get_close_matches(audit, AUDITS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"--limit {text}: no audit is called {audit!r}; known: {', '.join(AUDITS)}{hint}"
        )
    try:
        # As floats, 0.7 / 100 is less than 0.007.
        bound = float(Decimal(given.removesuffix("%")) / (100 if given.endswith("%") else 1))
    except ArithmeticError:
        raise InputError(f"--limit {text}: {given!r} is no number; e.g. {name}=0.01") from None
    if not math.isfinite(bound):
        raise InputError(f"--limit {text}: {given!r} is no limit; e.g. {name}=0.01")
    if name in AUDITS and not 0 <= bound <= 1:
        raise InputError(
            f"--limit {text}: a limit is a share from 0 to 1, or in per cent; e.g. {name}=1%"
        )
    return Limit(text.strip(), name, sign == ">=", bound, given.endswith("%"))


def _near(name: str, figures: dict[str, Figure]) -> str:
    """Say which names are near, and where all are listed."""
    of_audit = [one for one in figures if one.partition(".")[0] == name.partition(".")[0]]
    end = name.rpartition(".")[2]
    near = [one for one in of_audit if one.rpartition(".")[2] == end]
    close = difflib.get_close_matches(name, near, n=3, cutoff=0)
    close += difflib.get_close_matches(name, of_audit, n=3, cutoff=0.7)
    hint = f"; did you mean {' or '.join(map(repr, dict.fromkeys(close[:3])))}?" if close else ";"
    return f"{hint} 'embedkit audit STORE --limits' lists all"
