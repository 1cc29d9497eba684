"""What a gate decided, as text, as GitHub's workflow commands and as JUnit XML."""

from collections.abc import Callable, Iterable
from typing import Any
from xml.etree import ElementTree as ET

from embedkit.audits import Audit, Finding, Verdict
from embedkit.audits.baselines import Key
from embedkit.audits.gate import Gate, Judged, Outcome
from embedkit.audits.paths import Figure
from embedkit.audits.remainders import Remainder
from embedkit.errors import InputError
from embedkit.reports.audits import findings
from embedkit.reports.text import table

SHOWN = 5
# Left after escaping, these are the only control characters that XML 1.0 allows.
ALLOWED = "\t\n\r"


def plain(result: Audit, gate: Gate) -> str:
    """Return the findings as on a terminal; what the limits say goes beside it, not into it."""
    return findings(result)


def github(result: Audit, gate: Gate) -> str:
    """Return the findings for the log, then a workflow command for each thing to be seen.

    A failed limit is an error; one that was let pass, and a finding that no limit is on, a warning;
    what holds and what the baseline says, notices.
    """
    # A class or file name must not start a command of its own.
    lines = [_defused(line) for line in findings(result).splitlines()]
    for one in gate.judged:
        kind = {Outcome.HOLDS: "notice", Outcome.ALLOWED: "warning"}.get(one.outcome, "error")
        lines.append(_command(kind, f"embedkit: {one.limit.name}", _sentence(one)))
    limited = {one.limit.audit for one in gate.judged}
    lines += [
        _command("warning", f"embedkit: {finding.name}", finding.summary)
        for finding in result.findings
        if finding.verdict is Verdict.PRESENT and finding.name not in limited
    ]
    if gate.remainder is not None:
        said = "\n".join(baseline(gate.remainder))
        lines.append(_command("notice", "embedkit: baseline", said))
    return "\n".join(lines)


def junit(result: Audit, gate: Gate) -> str:
    """Return JUnit XML: a test case for each limit, and for each audit that no limit is on.

    A limit that is exceeded or was not judged is a failure; one that was let pass is skipped, as
    is an audit that did not run.
    """
    cases = [_of_limit(one) for one in gate.judged]
    limited = {one.limit.audit for one in gate.judged}
    cases += [_of_finding(one) for one in result.findings if one.name not in limited]
    counts = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": 0,
    }
    skipped = sum(case.find("skipped") is not None for case in cases)
    root = ET.Element("testsuites", _attributes(name="embedkit audit", **counts))
    suite = ET.SubElement(
        root, "testsuite", _attributes(name=str(result.store.path), **counts, skipped=skipped)
    )
    suite.extend(cases)
    if gate.remainder is not None:
        ET.SubElement(suite, "system-out").text = _xml("\n".join(baseline(gate.remainder)))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}'


FORMATS: dict[str, Callable[[Audit, Gate], str]] = {"text": plain, "github": github, "junit": junit}


def form_of(name: str) -> Callable[[Audit, Gate], str]:
    """Return what makes the text of a format.

    Raises:
        InputError: no format is called that.
    """
    if name not in FORMATS:
        raise InputError(f"--format {name}: known are {', '.join(FORMATS)}")
    return FORMATS[name]


def sentences(gate: Gate) -> list[str]:
    """Return lines about limits that failed or were let pass, and about the baseline."""
    lines = [] if gate.remainder is None else baseline(gate.remainder)
    for one in gate.judged:
        if one.note:
            lines.append(f"Baseline: {one.note}")
        if one.failed:
            lines.append(f"Limit exceeded: {one.sentence}")
        elif one.outcome is Outcome.ALLOWED:
            lines.append(f"Limit not judged: {one.sentence}")
    return lines


def baseline(found: Remainder) -> list[str]:
    """Say what is known, new and gone, with the first few of each."""
    lines = []
    for name in found.known:
        new, gone = found.new[name], found.gone[name]
        counts = f"{len(found.known[name])} known, {len(new)} new, {len(gone)} gone"
        lines.append(f"Baseline: {name}: {counts}")
        lines += [
            f"  {what}: {one}"
            for what, keys in (("new", new), ("gone", gone))
            for one in _some(keys)
        ]
    return lines


def figures(every: Iterable[Figure]) -> str:
    """Return every figure that can be limited, with its present value."""
    rows = [["figure", "now", "95% interval"]]
    for one in every:
        unknown = one.value != one.value
        interval = "" if one.low is None or unknown else f"{one.low:.4g} to {one.high:.4g}"
        rows.append([one.name, "not measured" if unknown else f"{one.value:.4g}", interval])
    return table(rows)


def figures_document(every: Iterable[Figure]) -> dict[str, Any]:
    """Return the same as JSON."""
    return {"schema": "embedkit.limits/1", "figures": [one.to_dict() for one in every]}


def _some(keys: frozenset[Key]) -> list[str]:
    shown = [" - ".join(key) for key in sorted(keys)[:SHOWN]]
    return shown + ([f"and {len(keys) - SHOWN} more"] if len(keys) > SHOWN else [])


def _sentence(one: Judged) -> str:
    return f"{one.sentence}. {one.note}." if one.note else f"{one.sentence}."


def _command(kind: str, title: str, message: str) -> str:
    """Return a workflow command; its own signs are escaped as GitHub's toolkit escapes them."""
    title = _escaped(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={title}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _defused(line: str) -> str:
    """Return a line that GitHub's runner takes for no command, in the new form or the old one."""
    line = line.replace("##[", "# #[")
    return f"\\{line}" if line.lstrip().startswith("::") else line


def _of_limit(one: Judged) -> ET.Element:
    case = _case(one.limit.audit, one.limit.words)
    if one.failed:
        ET.SubElement(case, "failure", _attributes(type=one.outcome.value, message=_sentence(one)))
    elif one.outcome is Outcome.ALLOWED:
        ET.SubElement(case, "skipped", _attributes(message=_sentence(one)))
    else:
        ET.SubElement(case, "system-out").text = _xml(_sentence(one))
    return case


def _of_finding(finding: Finding) -> ET.Element:
    case = _case(finding.name, finding.name)
    if finding.not_run_reason is not None:
        ET.SubElement(case, "skipped", _attributes(message=finding.not_run_reason))
    else:
        said = f"{finding.verdict.value}: {finding.summary}"
        ET.SubElement(case, "system-out").text = _xml(said)
    return case


def _case(audit: str, name: str) -> ET.Element:
    return ET.Element("testcase", _attributes(classname=f"embedkit.{audit}", name=name))


def _attributes(**values: object) -> dict[str, str]:
    return {name: _xml(str(value)) for name, value in values.items()}


def _xml(text: str) -> str:
    """Return a text without the characters that no XML can hold, each shown as its escape."""
    return "".join(one if _holds(ord(one)) else ascii(one)[1:-1] for one in text)


def _holds(code: int) -> bool:
    """Say whether XML 1.0 (section 2.2) can hold a character."""
    if code < 0x20:
        return chr(code) in ALLOWED
    return code < 0xD800 or 0xE000 <= code < 0xFFFE or code > 0xFFFF
