"""Paths: the name of every figure in an audit's JSON, as `--limit` has it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from embedkit.audits import Audit

# What an entry of a list is called by, if it has these keys; a picture (`id`) is only counted.
CALLED = (
    ("attribute", "head"),
    ("sets", "head"),
    ("better", "worse"),
    ("given", "to"),
    *(("attributes",), ("attribute",), ("cause",), ("change",), ("check",), ("column",)),
    *(("group",), ("head",), ("label",), ("mistake",), ("model",), ("view",)),
)
# Left out of a path: they only hold what is named after them.
HOLDERS = ("details", "heads")
ESTIMATE = ("value", "low", "high")
# What is null where there is nothing to say, and no figure that could not be measured.
WORDS = ("reason", "because", "not_run", "split", "other", "cause", "column")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that an audit's JSON names.

    Attributes:
        name: path to it, `ledger.logistic.honest`.
        value: of it; NaN where it could not be measured.
        low: lower end of its 95% interval; None without one.
        high: upper end.
        whole: whether it is a count.
        part: whether it is one number of an estimate that is a share.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    whole: bool = False
    part: bool = False

    @property
    def audit(self) -> str:
        """Name of the audit that it comes from."""
        return self.name.partition(".")[0]

    @property
    def share(self) -> bool:
        """Whether it can be told to be a share, or a difference of shares, -1 to 1."""
        if self.low is None or self.high is None:
            return self.part
        return max(abs(self.low), abs(self.high)) <= 1

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        known = self.value == self.value
        return {
            "name": self.name,
            "value": self.value if known else None,
            "low": self.low,
            "high": self.high,
            "count": self.whole,
        }


def figures_of(result: Audit) -> dict[str, Figure]:
    """Return every figure that can be limited, by name, in the order of the JSON.

    A path leads through the finding's JSON. `details` and `heads` are left out; an entry of a list
    is named by what it is about (`quality.checks.blurred.failing`), a list by itself is the number
    of its entries (`twins.pairs`). An estimate is one figure. Entries of one name are only counted.
    """
    found: dict[str, Figure] = {}
    for finding in result.findings:
        document = finding.to_dict()
        for one in _figures(finding.name, document):
            found.setdefault(one.name, one)
        if finding.estimate is not None:  # as it was measured: the JSON's is rounded
            whole = finding.estimate
            figure = Figure(finding.name, whole.value, whole.low, whole.high)
            found[finding.name] = figure
    return found


def part_of(figures: dict[str, Figure], name: str) -> Figure | None:
    """Return a figure by its name, or one number of an estimate by `NAME.low` and so on.

    Returns:
        The figure, with NaN where it is a part of something that could not be measured; None if
        the JSON names nothing so.
    """
    if name in figures:
        return figures[name]
    whole, _, end = name.rpartition(".")
    figure = figures.get(whole)
    if figure is not None and figure.low is not None and end in ESTIMATE:
        number = getattr(figure, end) if figure.value == figure.value else figure.value
        return Figure(name, number, part=figure.share)
    while whole:
        if whole in figures and figures[whole].value != figures[whole].value and "." in whole:
            return Figure(name, float("nan"))
        whole = whole.rpartition(".")[0]
    return None


def _figures(path: str, node: Any) -> Iterator[Figure]:
    """Yield the figures at and below a place of the JSON."""
    if isinstance(node, dict):
        rest = node
        if set(ESTIMATE) <= set(node) and _numbers(node[key] for key in ESTIMATE):
            yield _estimate(path, node)
            rest = {key: value for key, value in node.items() if key not in ESTIMATE}
        for key, value in rest.items():
            yield from _figures(path if key in HOLDERS else f"{path}.{key}", value)
    elif isinstance(node, list):
        if path.count(".") and all(isinstance(one, str | dict) for one in node):
            yield Figure(path, len(node), whole=True)
        called = [_called(one) for one in node]
        for name, one in zip(called, node, strict=True):
            if name is not None and called.count(name) == 1:
                yield from _figures(f"{path}.{name}", one)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield Figure(path, node, whole=isinstance(node, int))
    elif node is None and not path.endswith(WORDS):
        yield Figure(path, float("nan"))


def _estimate(path: str, node: dict[str, Any]) -> Figure:
    value, low, high = (node[key] for key in ESTIMATE)
    return Figure(path, float("nan") if value is None else value, low, high)


def _numbers(values: Iterable[Any]) -> bool:
    return all(one is None or isinstance(one, int | float) for one in values)


def _called(entry: Any) -> str | None:
    """Return what an entry of a list is called; None for a picture and for what has no name."""
    if not isinstance(entry, dict) or "id" in entry:
        return None
    for keys in CALLED:
        if all(isinstance(entry.get(key), str | list) for key in keys):
            values = [entry[key] for key in keys]
            return " ".join(one if isinstance(one, str) else "+".join(one) for one in values)
    return None
